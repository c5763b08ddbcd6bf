"""What runs, and may be killed: programs of ours, the broker, the database. Each is a `Victim`.

In:  commands, folders.
Out: `strike` kills it with SIGKILL and gives False when there was nothing to kill; `mend` starts it again.
Both block and are called from threads, one at a time for each victim.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import asyncpg

from brokers import Mosquitto
from postgres_server import Postgres
from processes import children_of

GONE_WAIT_MAX_S: Final = 20.0
MEND_WAIT_MAX_S: Final = 90.0
AGAIN_EVERY_S: Final = 0.3


class Victim(Protocol):
    kind: str

    def strike(self, dice: random.Random) -> bool: ...

    def mend(self) -> None: ...


@dataclass
class Program:
    """A program in a process group of its own, started again and again."""

    kind: str
    command: list[str]
    log: Path
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out, start_new_session=True)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def strike(self, _dice: random.Random) -> bool:
        """All of the group, as systemd would and as power does."""
        if not self.running:
            return False
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(GONE_WAIT_MAX_S)
        return True

    def mend(self) -> None:
        if not self.running:
            self.start()

    def tell(self, what: signal.Signals) -> None:
        if self.running:
            assert self.process is not None
            self.process.send_signal(what)

    def leave(self) -> int | None:
        """Asked politely; the exit code, None when it had to be killed."""
        if not self.running:
            return 0
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(GONE_WAIT_MAX_S)
        except subprocess.TimeoutExpired:
            self.strike(random.Random())
            return None

    def tail(self, lines: int = 12) -> str:
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"--- {self.log.name}, {self.starts} starts", *said[-lines:]])


@dataclass
class OneWorker:
    """One process of `packbook collect --workers`: its supervisor starts it again."""

    team: Program
    kind: str = "worker"

    def strike(self, dice: random.Random) -> bool:
        if not self.team.running:
            return False
        assert self.team.process is not None
        workers = children_of(self.team.process.pid)
        return bool(workers) and killed(dice.choice(workers))

    def mend(self) -> None:
        """Not our business."""


@dataclass
class Broker:
    mosquitto: Mosquitto
    kind: str = "broker"

    def strike(self, _dice: random.Random) -> bool:
        self.mosquitto.kill()
        return True

    def mend(self) -> None:
        again_and_again(self.mosquitto.start, (AssertionError, TimeoutError, OSError))


@dataclass
class Server:
    """PostgreSQL, all of its processes at once."""

    postgres: Postgres
    kind: str = "database"

    def strike(self, _dice: random.Random) -> bool:
        self.postgres.kill()
        return True

    def mend(self) -> None:
        again_and_again(self.postgres.resume, (subprocess.SubprocessError,))


@dataclass
class Backend:
    """The process that serves one connection: PostgreSQL throws out all others and recovers."""

    server: Server
    url: str
    kind: str = "database backend"

    def strike(self, dice: random.Random) -> bool:
        try:
            pids = asyncio.run(self._serving())
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        victim = dice.choice(pids) if pids else None
        if victim is None or not killed(victim):
            return False
        deadline = time.monotonic() + GONE_WAIT_MAX_S
        while Path(f"/proc/{victim}").exists():  # whoever connects before the server noticed is thrown out again
            assert time.monotonic() < deadline, "PostgreSQL does not notice that one of its processes died"
            time.sleep(0.01)
        return True

    async def _serving(self) -> list[int]:
        connection = await asyncpg.connect(self.url, timeout=5)
        try:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'packbook' ORDER BY pid"
            return [row["pid"] for row in await connection.fetch(query)]
        finally:
            connection.terminate()

    def mend(self) -> None:
        """It does so itself."""


def killed(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def again_and_again(start: object, troubles: tuple[type[Exception], ...]) -> None:
    """Until it runs: what the last life left (a port, shared memory) may be held for a moment."""
    assert callable(start)
    deadline = time.monotonic() + MEND_WAIT_MAX_S
    while True:
        try:
            start()
        except troubles:
            if time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_EVERY_S)
        else:
            return
