"""The real thing under load: mosquitto, a database, `packbook collect`, and the fleet's messages.

In:  a database's URL, messages.
Out: how long the collector took for them, what it held of memory, when each ack came.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bench.ingest.fleet import Life
from brokers import Mosquitto
from packbook.adapters.mqtt import BrokerAddress, Link, Message
from packwire.ack import decode_ack
from packwire.topics import Leaf, everything_up, parse
from processes import children_of

NAME: Final = "bench-collector"
COLLECT: Final = (sys.executable, "-m", "packbook", "collect")
IN_FLIGHT: Final = 200  # publications that the broker has not confirmed
V5: Final = aiomqtt.ProtocolVersion.V5
PATIENCE_S: Final = 600.0
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

Messages = Iterable[tuple[str, bytes]]


@dataclass
class Acks:
    """What the book says it holds, by box, and when each record's ack came."""

    upto: dict[str, int] = field(default_factory=dict)
    at_s: dict[tuple[str, int], float] = field(default_factory=dict)  # (box, record) -> when
    timed: bool = False
    records: int = 0

    def hear(self, box: str, upto: int) -> None:
        before = self.upto.get(box, 0)
        if upto <= before:
            return
        if self.timed:
            now = time.monotonic()
            self.at_s.update(((box, seq), now) for seq in range(before + 1, upto + 1))
        self.upto[box] = upto
        self.records += upto - before

    def forget(self) -> None:
        self.upto.clear()
        self.at_s.clear()
        self.records = 0


@contextmanager
def collector(
    url: str, broker: Mosquitto, folder: Path, settings: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """`packbook collect` as it is shipped."""
    file = folder / "packbook.toml"
    lines = [f'database_url = "{url}"', f'broker = "mqtt://{broker.host}:{broker.port}"', f'collector_name = "{NAME}"']
    file.write_text("\n".join([*lines, *settings]) + "\n")
    running = subprocess.Popen([*COLLECT, "--settings", str(file)], cwd=folder)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(timeout=30)


async def begin_session(broker: Mosquitto, patterns: Sequence[str] = ()) -> None:
    """From now on the broker keeps everything for the collector, as when it is away for a while."""
    later = aiomqtt.Client(
        broker.host, broker.port, identifier=NAME, protocol=V5, clean_start=False, properties=lasting()
    )
    async with later:
        for pattern in patterns or everything_up(None):
            await later.subscribe(pattern, qos=1)


def lasting() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    return properties


async def publish(broker: Mosquitto, messages: Messages, per_s: float | None = None) -> list[float]:
    """As fast as the broker takes them, or so many a second. Gives when each was handed over."""
    return await asyncio.to_thread(_publish, broker, messages, per_s)


def _publish(broker: Mosquitto, messages: Messages, per_s: float | None) -> list[float]:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_inflight_messages_set(IN_FLIGHT)
    window = threading.BoundedSemaphore(2 * IN_FLIGHT)
    client.on_publish = lambda *_: window.release()
    client.connect(broker.host, broker.port)
    client.loop_start()
    sent: list[float] = []
    begin = time.monotonic()
    for number, (topic, payload) in enumerate(messages):
        if per_s is not None and (early_s := begin + number / per_s - time.monotonic()) > 0:
            time.sleep(early_s)
        window.acquire()
        sent.append(time.monotonic())
        client.publish(topic, payload, qos=1)
    for _ in range(2 * IN_FLIGHT):  # until the last one is confirmed
        window.acquire()
    client.disconnect()
    client.loop_stop()
    return sent


@asynccontextmanager
async def listening(broker: Mosquitto, *, timed: bool = False) -> AsyncIterator[Acks]:
    """By our own link: a slower one would tell its own waiting for the book's."""
    acks = Acks(timed=timed)

    def hear(message: Message) -> None:
        address = parse(message.topic)
        if address is not None and address.leaf is Leaf.ACK:
            acks.hear(str(address.box), decode_ack(message.payload).upto)
        message.acknowledge()

    link = Link(BrokerAddress(broker.host, broker.port, "bench-ear"), hear)
    await link.open(("pb/v1/+/ack",))
    try:
        yield acks
    finally:
        await link.close(forget=True)


async def until_held(acks: Acks, lives: Sequence[Life], begin: int) -> list[tuple[float, int]]:
    """When how many records were acknowledged, until all are. Raises TimeoutError."""
    total = sum(begin + len(one.records) for one in lives)
    seen: list[tuple[float, int]] = []
    async with asyncio.timeout(PATIENCE_S):
        while acks.records < total:
            await asyncio.sleep(0.02)
            seen.append((time.monotonic(), acks.records))
    return seen


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    """Resident, with the processes that check signatures; what they share is counted in each."""
    pids = (process.pid, *children_of(process.pid))
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6 for pid in pids)


def processor_s(pid: int) -> float:
    """Of a process and its living children: its own threads, and PostgreSQL's backends."""
    return sum(map(_own_processor_s, (pid, *children_of(pid))))


def _own_processor_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:  # a backend that left meanwhile
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
