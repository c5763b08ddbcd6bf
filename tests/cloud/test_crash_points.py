"""The worst between any two steps of a batch, on both databases: nothing is lost and nothing doubled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import pytest
import sqlalchemy as sa

from brokers import Mosquitto
from cloud.crashing_collector import DEATHS, DIED, LOSSES
from cloud.delivery import Sender
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.audit import audit
from packbook.testing.scripted_box import ScriptedBox

PATIENCE_S = 60.0
CHARGES = 12


@dataclass
class Collectors:
    """One after another, of a process that has everything loaded."""

    process: subprocess.Popen[str]

    def start(self, *order: object) -> int:
        """Its process id."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def collectors() -> Iterator[Collectors]:
    script = Path(__file__).with_name("crashing_collector.py")
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Collectors(process)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def box() -> ScriptedBox:
    box = ScriptedBox()
    box.hello()
    for _ in range(CHARGES):
        box.charge()
    return box


@contextmanager
def living(collectors: Collectors, *order: object) -> Iterator[None]:
    """Killed in the end. If it died before, that is told by what it left undone."""
    pid = collectors.start(*order)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        assert collectors.answer() == -signal.SIGKILL


async def assert_all_there_once(url: str) -> None:
    async with open_writer(url, "test") as database:
        async with database.transaction() as connection:
            held = list(await connection.scalars(sa.select(tables.ledger.c.seq).order_by(tables.ledger.c.seq)))
            counted = (await connection.execute(sa.select(tables.battery.c.records, tables.battery.c.charges))).one()
        found = await audit(database, lambda _done, _total: None)
    assert held == list(range(1, CHARGES + 2))
    assert tuple(counted) == (CHARGES + 1, CHARGES)
    assert (found.broken, found.quarantine, found.disputes) == (0, {}, [])


@pytest.mark.slow
@pytest.mark.parametrize("point", DEATHS)
async def test_dying_between_two_steps_costs_nothing(
    mosquitto: Mosquitto, tmp_path: Path, database_url: str, collectors: Collectors, box: ScriptedBox, point: str
) -> None:
    """The order receive, COMMIT, PUBACK, ack is worth something only if each gap between them may be the last."""
    flag = tmp_path / "died"
    order = (point, database_url, mosquitto.port, str(flag), 0)
    sender = Sender(box, mosquitto.host, mosquitto.port, aiomqtt.ProtocolVersion.V5)
    delivery = asyncio.create_task(sender.deliver(PATIENCE_S))
    await asyncio.to_thread(collectors.start, *order)
    assert await asyncio.to_thread(collectors.answer) == DIED
    assert flag.exists()
    with living(collectors, *order):
        await delivery
    await assert_all_there_once(database_url)


@pytest.mark.slow
@pytest.mark.parametrize("point", LOSSES)
async def test_losing_what_it_speaks_to_between_two_steps_costs_nothing(
    mosquitto: Mosquitto, tmp_path: Path, database_url: str, collectors: Collectors, box: ScriptedBox, point: str
) -> None:
    """The collector lives: a PUBACK that went nowhere was none, a COMMIT that nobody answered may have held."""
    flag = tmp_path / "lost"
    sender = Sender(box, mosquitto.host, mosquitto.port, aiomqtt.ProtocolVersion.V5)
    delivery = asyncio.create_task(sender.deliver(PATIENCE_S))
    with living(collectors, point, database_url, mosquitto.port, str(flag), mosquitto.pid):
        async with asyncio.timeout(PATIENCE_S):
            while not flag.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.02)
        if point.startswith("broker"):
            mosquitto.kill()  # takes note that it is dead
            mosquitto.start()
        await delivery
    await assert_all_there_once(database_url)
