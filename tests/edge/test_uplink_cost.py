"""What a day costs on a mobile link: real MQTT over real TLS, counted by a proxy between box and broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from brokers import HOST, Mosquitto
from certificates import make_certificates
from packbox.adapters.uplink import MqttUplink, TlsFiles, UplinkSettings
from packbox.core.record import BoxId, StoreId
from packbox.settings import Settings
from packwire.ack import ack_of, encode_ack
from packwire.ids import StoreId as WireStoreId
from packwire.messages import TYPICAL_BYTES, Health, Kind
from packwire.presence import HEARTBEAT_EVERY_S, HEARTBEAT_QUIET_S, STANDING_EVERY_S, encode_heartbeat

BOX = BoxId("b000000000000001")
STORE = StoreId("5700000000000001")
DAY_BYTES_MAX: Final = 50_000
# A commuter's day, as the simulated cars drive it, and a household's worth of garages without reception.
DAY: Final = {
    Kind.DRIVE: 4, Kind.REST: 5, Kind.CHARGE: 1, Kind.READING: 10, Kind.USAGE: 1, Kind.SOH: 2, Kind.CELLS: 2,
    Kind.EVENT: 1, Kind.HEALTH: 1,
}  # fmt: skip
AWAKE_H: Final = 5  # three of driving, two of charging
CONNECTS: Final = 2
MANY: Final = 10


@dataclass(slots=True)
class Toll:
    """A way to the broker that counts what passes, both ways."""

    to: int
    bytes: int = 0
    port: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Toll]:
        server = await asyncio.start_server(self._pass, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await asyncio.wait_for(asyncio.gather(*self.tasks), 10)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(HOST, self.to)
        for source, sink in ((reader, there[1]), (there[0], writer)):
            self.tasks.append(asyncio.create_task(self._copy(source, sink)))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                self.bytes += len(data)
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()


async def settled(toll: Toll) -> int:
    """What has passed, once nothing passes any more."""
    before = -1
    while before != toll.bytes:
        before = toll.bytes
        await asyncio.sleep(0.15)
    return toll.bytes


@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
async def test_a_day_costs_at_most_fifty_kilobytes(tmp_path: Path) -> None:
    """Owners pay for mobile data. Each kind of traffic is measured and multiplied by how often a day has it."""
    make_certificates(tmp_path, BOX)
    options = f"cafile {tmp_path}/ca.crt\ncertfile {tmp_path}/server.crt\nkeyfile {tmp_path}/server.key\n"
    with Mosquitto(tmp_path, options=options + "require_certificate true") as broker:
        toll = Toll(broker.port)
        async with asyncio.timeout(60), toll.open():
            files = TlsFiles(tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")
            settings = UplinkSettings(HOST, toll.port, tls=files, keepalive_s=1)
            costs = await measured(settings, toll, broker, files)
    keep_alive_s = Settings().broker.keep_alive_s
    beats = AWAKE_H * 3600 / HEARTBEAT_EVERY_S + (24 - AWAKE_H) * 3600 / HEARTBEAT_QUIET_S
    records = sum(DAY.values())
    parts = {
        "records": sum(TYPICAL_BYTES[kind] * times for kind, times in DAY.items()) + records * costs["around a record"],
        "acks": records * costs["ack"],
        "heartbeats": beats * costs["heartbeat"],
        "pings": 24 * 3600 / keep_alive_s * costs["ping"],
        "standing": (CONNECTS + 24 * 3600 / STANDING_EVERY_S) * costs["standing"],
        "connections": CONNECTS * costs["connect and leave"],
    }
    day = sum(parts.values())
    print("\n" + ", ".join(f"{name} {cost:.0f} B" for name, cost in costs.items()))
    print(f"a day: {day / 1000:.1f} kB = " + ", ".join(f"{name} {part / 1000:.1f}" for name, part in parts.items()))
    assert day <= DAY_BYTES_MAX


async def measured(settings: UplinkSettings, toll: Toll, broker: Mosquitto, files: TlsFiles) -> dict[str, float]:
    """Bytes of each thing that happens, both ways."""
    uplink = MqttUplink(settings, BOX)
    async with uplink:
        at = connect = await settled(toll)
        record = bytes(TYPICAL_BYTES[Kind.DRIVE])
        for _ in range(MANY):
            await uplink.publish(record)
        records, at = await settled(toll) - at, toll.bytes
        health = Health(uptime_s=90_000.0, frames=123_456_789, journal_bytes=12_345_678, software="0.1.0", clock="set")
        for _ in range(MANY):
            await uplink.beat(encode_heartbeat(health))
        beats, at = await settled(toll) - at, toll.bytes
        for held in range(MANY):
            await uplink.present(STORE, 4000 + held)
        standings, at = await settled(toll) - at, toll.bytes
        async with MqttUplink(UplinkSettings(broker.host, broker.port, tls=files), BoxId("b0" * 8)) as book:
            ack = encode_ack(ack_of(WireStoreId(STORE), range(1, 5000)))
            for _ in range(MANY):
                await book._client.publish(f"pb/v1/{BOX}/ack", ack, qos=1, retain=True)
        acks, at = await settled(toll) - at, toll.bytes
        while toll.bytes == at:  # noqa: ASYNC110  a second of silence, and a ping comes
            await asyncio.sleep(0.05)
        ping, at = await settled(toll) - at, toll.bytes
    leave = await settled(toll) - at
    assert uplink.wire_bytes == pytest.approx(toll.bytes, rel=0.1), "what the box says of itself is what passed"
    return {
        "connect and leave": connect + leave,
        "around a record": records / MANY - len(record),
        "heartbeat": beats / MANY,
        "ack": acks / MANY,
        "ping": ping,
        "standing": standings / MANY,
    }
