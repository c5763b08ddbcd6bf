"""Several collectors on one machine: processes under one shared subscription, begun again when they die.

In:  settings with `share` and a PostgreSQL; how many.
Out: workers `NAME-0`, `NAME-1`, ... with one MQTT session each, which the broker keeps while one is away.
SIGTTIN begins one more. SIGTTOU has the last one leave for good: it commits what the broker gave it, and the broker
forgets it, also when it was dead or died over that: then we end its session ourselves. SIGTERM stops all of them; what
the broker has for them then waits there.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packbook.adapters.collector import RETRY_MAX_S, Outage, forget
from packbook.adapters.store.database import database_url
from packbook.app.command import DONE, OWN_NAME, broker_address
from packbook.ports.trouble import BrokerError, SettingsError
from packbook.settings import Settings

WORKERS_MAX: Final = 64
AGAIN_FIRST_S: Final = 1.0
AGAIN_MAX_S: Final = 5.0  # a fleet waits: one that dies at once costs a start every five seconds, no more
WELL_AFTER_S: Final = 10.0  # one that ran so long has earned a quick start again
LEAVE_WAIT_MAX_S: Final = 30.0  # a batch and its acks; then we stop waiting politely

log = logging.getLogger(__name__)


def worker_settings(settings: Settings, number: int) -> Settings:
    """Fixed names: under its name the broker keeps a worker's messages while it is away."""
    own: dict[str, object] = {"collector_name": f"{settings.collector_name}-{number}"}
    if settings.metrics_port:  # 0 takes any free one
        own["metrics_port"] = settings.metrics_port + number
    return settings.model_copy(update=own)


async def supervise(settings_file: Path | None, workers: int, settings: Settings) -> int:
    """Until cancelled. Raises SettingsError when several cannot share the work."""
    if not 1 <= workers <= WORKERS_MAX:
        raise SettingsError(f"--workers: from 1 to {WORKERS_MAX}")
    if database_url(settings.database_url.get_secret_value()).get_backend_name() == "sqlite":
        raise SettingsError("database_url: several workers need PostgreSQL; a SQLite database has one writer")
    if settings.share is None:
        raise SettingsError("share: several workers need the name of a shared subscription")
    command = [sys.executable, "-m", "packbook", "collect"]
    command += ["--settings", str(settings_file)] if settings_file is not None else []
    team = Team(command, settings)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTTIN, team.add)
    loop.add_signal_handler(signal.SIGTTOU, team.retire_last)
    for _ in range(workers):
        team.add()
    team.clear_up()
    try:
        await asyncio.Event().wait()
    finally:
        await team.stop()
    return DONE


@dataclass(slots=True)
class _Worker:
    number: int
    task: asyncio.Task[None] | None = None
    process: asyncio.subprocess.Process | None = None
    wanted: bool = True
    pause_s: float = 0.0  # before its last start


class Team:
    def __init__(self, command: list[str], settings: Settings) -> None:
        self._command = command
        self._settings = settings
        self._workers: list[_Worker] = []
        self._leaving: dict[int, _Worker] = {}
        self._clearing_up: asyncio.Task[None] | None = None

    def add(self) -> None:
        number = len(self._workers)
        if number < WORKERS_MAX:
            self._workers.append(self._back(number) or self._begun(number))

    def _back(self, number: int) -> _Worker | None:
        """One that is leaving begins again when it has left: its name is taken until then."""
        worker = self._leaving.pop(number, None)
        if worker is not None:
            worker.wanted = True
        return worker

    def _begun(self, number: int) -> _Worker:
        worker = _Worker(number)
        worker.task = asyncio.create_task(self._keep_running(worker), name=f"worker {number}")
        return worker

    def retire_last(self) -> asyncio.Task[None] | None:
        """Gives what is done when it has left. One stays in any case."""
        if len(self._workers) == 1:
            return None
        worker = self._workers.pop()
        worker.wanted = False
        self._leaving[worker.number] = worker
        if worker.process is not None and worker.process.returncode is None:
            worker.process.send_signal(signal.SIGUSR1)
        return worker.task

    def clear_up(self) -> asyncio.Task[None]:
        """End what workers of an earlier, larger team left at the broker."""
        self._clearing_up = asyncio.create_task(self._end_sessions_above(), name="sessions of earlier workers")
        return self._clearing_up

    async def _end_sessions_above(self) -> None:
        for number in range(len(self._workers), WORKERS_MAX):
            if number >= len(self._workers) and number not in self._leaving:  # nobody has the name now
                await self._end_session(number)

    async def _keep_running(self, worker: _Worker) -> None:
        while worker.wanted:
            await self._run_once(worker)
        del self._leaving[worker.number]

    async def _run_once(self, worker: _Worker) -> None:
        """From its start until it may start again, or until nothing is left of it."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        worker.process = await asyncio.create_subprocess_exec(*self._command, "--worker", str(worker.number))
        log.info("worker %d runs", worker.number, extra={"PID": worker.process.pid})
        if not worker.wanted:  # since a moment ago
            worker.process.terminate()
        code = await worker.process.wait()
        if worker.wanted:
            worker.pause_s = pause_s(worker.pause_s, loop.time() - begun_s)
            log.warning("worker %d ended with %d; again in %.0f s", worker.number, code, worker.pause_s)
            await asyncio.sleep(worker.pause_s)
        if not worker.wanted:
            await self._end_session(worker.number)
            log.info("worker %d left", worker.number)

    async def _end_session(self, number: int) -> None:
        """It would hold the worker's share of messages until it ran out. Until the broker has taken it."""
        certificate = self._settings.broker_cert_file
        if certificate is not None and OWN_NAME not in str(certificate):
            return  # the broker may know all workers by the one name in it: we would end the session of one that runs
        try:
            address = broker_address(worker_settings(self._settings, number))
        except SettingsError:
            return  # without a certificate there never was such a worker
        outage = Outage("broker", RETRY_MAX_S)
        while True:
            try:
                await forget(address)
            except BrokerError as problem:
                outage.go_on(problem)
                await outage.wait()
            else:
                outage.over()
                return

    async def stop(self) -> None:
        """All at once, each with what it is committing."""
        everyone = [*self._workers, *self._leaving.values()]
        tasks = [task for task in (*(worker.task for worker in everyone), self._clearing_up) if task is not None]
        for task in tasks:
            task.cancel()  # before anything ends: what stops is neither begun again nor forgotten at the broker
        await asyncio.gather(*tasks, return_exceptions=True)
        running = [worker.process for worker in everyone if worker.process is not None]
        for process in running:
            with suppress(ProcessLookupError):
                process.terminate()
        for process in running:
            try:
                async with asyncio.timeout(LEAVE_WAIT_MAX_S):
                    await process.wait()
            except TimeoutError:
                process.kill()


def pause_s(before_s: float, ran_s: float) -> float:
    """Until a worker that ran so long may start again. `before_s`: the pause before that run."""
    return AGAIN_FIRST_S if ran_s > WELL_AFTER_S else min(max(2 * before_s, AGAIN_FIRST_S), AGAIN_MAX_S)
