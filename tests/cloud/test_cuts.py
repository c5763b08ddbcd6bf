"""The network between collector and broker, or collector and database, fails in each of four ways under load."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest
import sqlalchemy as sa

from brokers import Mosquitto
from chaos.cable import Cable
from cloud.delivery import Sender
from packbook.adapters.collector import BatchLimits, Collector
from packbook.adapters.mqtt import BrokerAddress
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.ledger import Ledger
from packbook.testing.scripted_box import ScriptedBox
from postgres_server import Postgres

PATIENCE_S = 120.0
CHARGES = 40
CUT_S = 0.3


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.mark.parametrize("way", ["reset", "pause", "half_open", "slow"])
@pytest.mark.parametrize("side", ["broker", "database"])
async def test_a_network_that_fails_under_load_costs_nothing(
    mosquitto: Mosquitto, postgres: Postgres, postgres_url: str, side: str, way: str
) -> None:
    """A PUBACK or a COMMIT on its way is lost with the line: records come again, and are kept once."""
    box = ScriptedBox()
    box.hello()
    for _ in range(CHARGES):
        box.charge()
    sender = Sender(box, mosquitto.host, mosquitto.port, aiomqtt.ProtocolVersion.V5)
    async with (
        Cable("broker", mosquitto.host, mosquitto.port) as to_broker,
        Cable("database", "127.0.0.1", postgres.port) as to_database,
        open_writer(postgres_url.replace(f":{postgres.port}/", f":{to_database.port}/"), "test") as database,
    ):
        where = BrokerAddress(to_broker.host, to_broker.port, "collector-0")
        limits = BatchLimits(records_max=3, wait_max_s=0.0)
        running = asyncio.create_task(Collector(Ledger(database), where, limits, retry_max_s=0.2).run())
        delivery = asyncio.create_task(sender.deliver(PATIENCE_S))
        async with asyncio.timeout(PATIENCE_S):
            while not sender.ack.upto:  # noqa: ASYNC110 - acks come by themselves
                await asyncio.sleep(0.005)
        assert not delivery.done(), "all was there before the cut"
        await getattr(to_broker if side == "broker" else to_database, way)(CUT_S)
        await delivery
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    async with open_writer(postgres_url, "test") as database, database.transaction() as connection:
        held = list(await connection.scalars(sa.select(tables.ledger.c.seq).order_by(tables.ledger.c.seq)))
        counted = (await connection.execute(sa.select(tables.battery.c.records, tables.battery.c.charges))).one()
    assert (held, tuple(counted)) == ([*range(1, CHARGES + 2)], (CHARGES + 1, CHARGES))
