"""A collector that dies between any two steps of a batch loses nothing and doubles nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest
import sqlalchemy as sa

from brokers import Mosquitto
from cloud.crashing_collector import POINTS
from cloud.delivery import Sender
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.audit import audit
from packbook.testing.scripted_box import ScriptedBox

PATIENCE_S = 60.0
CHARGES = 12


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
async def test_dying_between_two_steps_costs_nothing(
    mosquitto: Mosquitto, tmp_path: Path, postgres_url: str, point: str
) -> None:
    """The order receive, COMMIT, PUBACK, ack is worth something only if each gap between them may be the last."""
    box = ScriptedBox()
    box.hello()
    for _ in range(CHARGES):
        box.charge()
    flag = tmp_path / "died"
    script = Path(__file__).with_name("crashing_collector.py")
    command = [sys.executable, str(script), point, postgres_url, str(mosquitto.port), str(flag)]
    delivery = asyncio.create_task(
        Sender(box, mosquitto.host, mosquitto.port, aiomqtt.ProtocolVersion.V5).deliver(PATIENCE_S)
    )
    first = await asyncio.create_subprocess_exec(*command)
    async with asyncio.timeout(PATIENCE_S):
        assert await first.wait() == 9
    assert flag.exists()
    with subprocess.Popen(command) as second:  # noqa: ASYNC220 - begins at once
        try:
            await delivery
        finally:
            second.kill()
    async with open_writer(postgres_url, "test") as database:
        async with database.transaction() as connection:
            held = list(await connection.scalars(sa.select(tables.ledger.c.seq).order_by(tables.ledger.c.seq)))
            counted = (await connection.execute(sa.select(tables.battery.c.records, tables.battery.c.charges))).one()
        found = await audit(database, lambda _done, _total: None)
    assert held == list(range(1, CHARGES + 2))
    assert tuple(counted) == (CHARGES + 1, CHARGES)
    assert (found.broken, found.quarantine, found.disputes) == (0, {}, [])
