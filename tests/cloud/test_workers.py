"""Several collectors under one shared subscription: killed, added and taken away under load."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest
import sqlalchemy as sa

from brokers import Mosquitto
from cloud.delivery import Sender
from packbook.__main__ import main
from packbook.adapters.reading_pool import ReadingPool
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.audit import audit
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.testing.scripted_box import ScriptedBox
from processes import children_of

PATIENCE_S = 120.0
BOXES = 4
CHARGES = 40


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.mark.slow
async def test_workers_come_go_and_die_and_nothing_is_lost(
    mosquitto: Mosquitto, tmp_path: Path, postgres_url: str
) -> None:
    """Each has messages of its own at the broker; what one of them held comes to the book in any case, and once."""
    settings = tmp_path / "packbook.toml"
    settings.write_text(
        f'database_url = "{postgres_url}"\nbroker = "mqtt://{mosquitto.host}:{mosquitto.port}"\nshare = "shared"\n'
        "batch_records_max = 5\n"
    )
    boxes = [ScriptedBox(name=f"box-{number}") for number in range(BOXES)]
    for box in boxes:
        box.hello(f"BAT-{box.name}")
        for _ in range(CHARGES):
            box.charge()
    senders = [Sender(box, mosquitto.host, mosquitto.port, aiomqtt.ProtocolVersion.V5) for box in boxes]
    command = [sys.executable, "-m", "packbook", "collect", "--workers", "2", "--settings", str(settings)]
    supervisor = await asyncio.create_subprocess_exec(*command)
    deliveries = [asyncio.create_task(sender.deliver(PATIENCE_S)) for sender in senders]
    try:
        await held(senders, 1)
        os.kill(children_of(supervisor.pid)[0], signal.SIGKILL)
        supervisor.send_signal(signal.SIGTTIN)
        await held(senders, 100)
        assert len(children_of(supervisor.pid)) >= 2
        supervisor.send_signal(signal.SIGTTOU)
        await asyncio.gather(*deliveries)
    finally:
        supervisor.terminate()
        await supervisor.wait()
    assert supervisor.returncode == 0
    async with open_writer(postgres_url, "test") as database:
        async with database.transaction() as connection:
            counted = await connection.execute(sa.select(tables.battery.c.records, tables.battery.c.charges))
            assert [tuple(row) for row in counted] == [(CHARGES + 1, CHARGES)] * BOXES
        found = await audit(database, lambda _done, _total: None)
    assert (found.records, found.broken, found.quarantine) == (BOXES * (CHARGES + 1), 0, {})


async def held(senders: list[Sender], records: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while sum(sender.ack.upto for sender in senders) < records:  # noqa: ASYNC110 - acks come by themselves
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("lines", "workers", "said"),
    [
        ('database_url = "sqlite:///book.db"\n', "2", "several workers need PostgreSQL"),
        ('database_url = "postgresql://nobody@127.0.0.1/none"\n', "2", "name of a shared subscription"),
        ('database_url = "postgresql://nobody@127.0.0.1/none"\nshare = "s"\n', "0", "--workers: from 1 to"),
    ],
    ids=["sqlite", "alone", "none"],
)
def test_workers_that_cannot_share_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str, workers: str, said: str
) -> None:
    """Two that each hear everything would do all the work twice."""
    settings = tmp_path / "packbook.toml"
    settings.write_text(lines)
    assert main(["collect", "--workers", workers, "--settings", str(settings)]) == 2
    assert said in capsys.readouterr().err


async def test_processes_read_what_the_collector_would(sqlite_url: str) -> None:
    """A hello's key is good for records that another process was given; a process that died is replaced."""
    boxes = [ScriptedBox(name=f"box-{number}") for number in range(20)]
    for box in boxes:
        box.life()
    arrivals = [message for step in zip(*(box.arrivals for box in boxes), strict=True) for message in step]
    pool = await asyncio.to_thread(ReadingPool, 2)
    try:
        database = Database(sqlite_url)
        ledger = Ledger(database, read_all=pool.read_all)
        assert await ledger.read(arrivals) == await Ledger(database).read(arrivals)
        assert (await ledger.take(arrivals)).accepted == 140
        await database.aclose()
    finally:
        await asyncio.to_thread(pool.close)
