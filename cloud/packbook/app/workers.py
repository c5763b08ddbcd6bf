"""Several collectors on one machine: processes under one shared subscription, begun again when they die.

In:  settings with `share` and a PostgreSQL; how many.
Out: workers `NAME-0`, `NAME-1`, ... with one MQTT session each, which the broker keeps while one is away.
SIGTTIN begins one more. SIGTTOU has the last one leave for good: it commits what the broker gave it, and the broker
forgets it. SIGTERM stops all of them; what the broker has for them then waits there.
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

from packbook.adapters.store.database import database_url
from packbook.app.command import DONE
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings

WORKERS_MAX: Final = 64
AGAIN_FIRST_S: Final = 1.0
AGAIN_MAX_S: Final = 30.0
WELL_AFTER_S: Final = 60.0  # one that ran so long has earned a quick start again
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
    team = _Team(command)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTTIN, team.add)
    loop.add_signal_handler(signal.SIGTTOU, team.retire_last)
    for _ in range(workers):
        team.add()
    try:
        await asyncio.Event().wait()
    finally:
        await team.stop()
    return DONE


@dataclass(slots=True)
class _Worker:
    task: asyncio.Task[None] | None = None
    process: asyncio.subprocess.Process | None = None
    wanted: bool = True


class _Team:
    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._workers: list[_Worker] = []
        self._leaving: list[_Worker] = []

    def add(self) -> None:
        number = len(self._workers)
        if number < WORKERS_MAX and not self._leaving:  # its name is taken until it has left
            worker = _Worker()
            worker.task = asyncio.create_task(self._keep_running(worker, number), name=f"worker {number}")
            self._workers.append(worker)

    def retire_last(self) -> None:
        """One stays in any case."""
        if len(self._workers) > 1:
            worker = self._workers.pop()
            worker.wanted = False
            self._leaving.append(worker)
            assert worker.task is not None
            worker.task.add_done_callback(lambda _task: self._leaving.remove(worker))
            if worker.process is not None and worker.process.returncode is None:
                worker.process.send_signal(signal.SIGUSR1)

    async def _keep_running(self, worker: _Worker, number: int) -> None:
        loop = asyncio.get_running_loop()
        pause_s = AGAIN_FIRST_S
        while True:
            begun_s = loop.time()
            worker.process = await asyncio.create_subprocess_exec(*self._command, "--worker", str(number))
            log.info("worker %d runs", number, extra={"PID": worker.process.pid})
            code = await worker.process.wait()
            if worker.wanted:
                pause_s = AGAIN_FIRST_S if loop.time() - begun_s > WELL_AFTER_S else min(2 * pause_s, AGAIN_MAX_S)
                log.warning("worker %d ended with %d; again in %.0f s", number, code, pause_s)
                await asyncio.sleep(pause_s)
            if not worker.wanted:
                log.info("worker %d left", number)
                return

    async def stop(self) -> None:
        """All at once, each with what it is committing."""
        everyone = [*self._workers, *self._leaving]
        for worker in everyone:
            worker.wanted = False
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
        tasks = [worker.task for worker in everyone if worker.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
