"""Box, broker and collector of a book on SQLite die at random moments; every record is in the ledger exactly once.

The car is simulated and drives for as long as the killing goes on. `--kills` and `--kill-every-s` make it longer:
`pytest tests/worlds --kills 36 --kill-every-s 3.3` takes two minutes. On PostgreSQL with several workers: tests/chaos.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest

from brokers import Mosquitto
from packwire.ids import box_id_of
from packwire.messages import Hello, Kind
from packwire.seal import NO_PREVIOUS, check, digest, peek, read

FIRST_DAY = date(2026, 1, 1)
DRAIN_LIMIT_S = 120.0  # a shared machine; the box alone needs about ten seconds


@dataclass
class Program:
    """One of ours, started again and again."""

    name: str
    command: list[str]
    log: Path
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tail(self) -> str:
        return f"--- {self.name}, {self.starts} starts\n" + "\n".join(
            self.log.read_text(errors="replace").splitlines()[-25:]
        )


@dataclass
class System:
    broker: Mosquitto
    collector: Program
    box: Program

    def victims(self) -> dict[str, Mosquitto | Program]:
        return {"broker": self.broker, "collector": self.collector, "box": self.box}


@pytest.fixture
def system(tmp_path: Path, root: Path) -> Iterator[System]:
    (tmp_path / "broker").mkdir()
    broker = Mosquitto(tmp_path / "broker", persistent=True)
    where = f"mqtt://{broker.host}:{broker.port}"
    (tmp_path / "book.toml").write_text(f'database_url = "sqlite:///{tmp_path / "book.db"}"\nbroker = "{where}"\n')
    (tmp_path / "box.toml").write_text(
        f'data_dir = "{tmp_path / "box"}"\nprofile = "nissan-leaf"\nbattery = "chaos-1"\n'
        f'profiles_dir = "{root / "can_profiles"}"\nclock_trusted = "always"\n'
        f'[broker]\nhost = "{broker.host}"\nport = {broker.port}\n'
    )
    collect = [sys.executable, "-m", "packbook", "collect", "--settings", str(tmp_path / "book.toml")]
    run = [sys.executable, "-m", "packbox", "run", "--settings", str(tmp_path / "box.toml"), "--until-sent"]
    programs = Program("collector", collect, tmp_path / "collector.log"), Program("box", run, tmp_path / "box.log")
    with broker:
        yield System(broker, *programs)
        for program in programs:
            if program.running:
                program.kill()


def wait_until_gone(system: System) -> None:
    deadline = time.monotonic() + DRAIN_LIMIT_S
    while system.box.running:
        if time.monotonic() > deadline:
            pytest.fail(
                f"the box has not sent all within {DRAIN_LIMIT_S:.0f} s\n{system.box.tail()}\n{system.collector.tail()}"
            )
        time.sleep(0.1)


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


@pytest.mark.slow
def test_every_record_is_in_the_ledger_exactly_once_whatever_is_killed(
    system: System, tmp_path: Path, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    """A broker's PUBACK is no proof of storage, power goes at any instant: only the chain from box to ledger counts."""
    kills = int(pytestconfig.getoption("--kills"))
    every_s = float(pytestconfig.getoption("--kill-every-s"))
    seed = int(pytestconfig.getoption("--world-seed") or random.SystemRandom().randrange(2**32))
    print(f"\nworld seed {seed}: {kills} kills, one every {every_s} s")
    dice = random.Random(seed)
    # The car lives 12 simulated days longer than the killing lasts, at half a day a second.
    days = int(kills * every_s / 2) + 12
    until = FIRST_DAY + timedelta(days=days)
    system.box.command += ["--source", f"sim:leaf-24,seed=7,start={FIRST_DAY},until={until},speed=43200"]
    system.collector.start()
    system.box.start()

    victims = system.victims()
    struck: dict[str, int] = dict.fromkeys(victims, 0)
    for _ in range(kills):
        time.sleep(dice.uniform(0.5, 1.5) * every_s)
        name = dice.choice(sorted(victims))
        victims[name].kill()
        struck[name] += 1
        time.sleep(dice.uniform(0, 0.5))
        victims[name].start()

    wait_until_gone(system)
    assert system.box.process is not None
    assert system.box.process.returncode == 0, system.box.tail()

    (journal,) = (tmp_path / "box").glob("*.db")
    made = rows(journal, "SELECT seq, sealed FROM record ORDER BY seq")
    held = rows(tmp_path / "book.db", "SELECT seq, sealed FROM ledger ORDER BY seq")
    assert len(made) > 3 * kills
    assert held == made
    assert rows(tmp_path / "book.db", "SELECT reason FROM quarantine") == []

    public_key = b""
    previous = NO_PREVIOUS
    for place, (seq, sealed) in enumerate(made, start=1):
        assert isinstance(sealed, bytes)
        taken = peek(sealed)
        assert (seq, taken.envelope.seq, taken.envelope.previous) == (place, place, previous)
        if taken.kind_number == Kind.HELLO:
            message = read(taken).message
            assert isinstance(message, Hello)
            public_key = message.public_key
            assert box_id_of(public_key) == taken.envelope.box
        check(taken, public_key)
        previous = digest(sealed)

    figures = ", ".join(f"{name} {count}" for name, count in struck.items())
    print(f"killed {figures}; {len(made)} records made, {len(held)} held, chain verified")
    record_property("records", len(made))
