"""Hears every ack the book gives, and looks at once whether the database holds what it names.

In:  the broker and the database themselves, not through any cable.
Out: counts, and every ack that named what was not committed.
An ack heard while the database is down is looked at when it is back: what was committed before the crash must be there.
Retained copies that the broker hands out again are no news and not looked at.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import aiomqtt
import asyncpg

from packwire.ack import Ack, decode_ack
from packwire.topics import Leaf, parse

AT_ONCE_S: Final = 1.0
AGAIN_EVERY_S: Final = 0.05
HELD: Final = "SELECT count(*) FROM ledger WHERE box = $1 AND store = $2 AND seq BETWEEN $3 AND $4"
HEAD: Final = "SELECT digest FROM ledger WHERE box = $1 AND store = $2 AND seq = $3"


@dataclass
class Witness:
    host: str
    port: int
    url: str
    acks: int = 0
    late: int = 0
    lags_s: list[float] = field(default_factory=list)
    lies: list[str] = field(default_factory=list)
    _heard: asyncio.Queue[tuple[float, str, Ack]] = field(default_factory=asyncio.Queue)
    _known: dict[tuple[str, str], int] = field(default_factory=dict)  # looked at already: 1..upto
    _connection: asyncpg.Connection | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as work:
            work.create_task(self._hear())
            work.create_task(self._look())

    async def _hear(self) -> None:
        while True:
            with suppress(aiomqtt.MqttError, TimeoutError):
                async with aiomqtt.Client(
                    self.host, self.port, protocol=aiomqtt.ProtocolVersion.V5, timeout=5
                ) as client:
                    await client.subscribe("pb/v1/+/ack", qos=1)
                    async for message in client.messages:
                        address = parse(str(message.topic))
                        if address is None or address.leaf is not Leaf.ACK or message.retain or not message.payload:
                            continue
                        assert isinstance(message.payload, bytes)
                        self._heard.put_nowait((time.monotonic(), address.box, decode_ack(message.payload)))
            await asyncio.sleep(AGAIN_EVERY_S)

    async def _look(self) -> None:
        while True:
            heard_s, box, ack = await self._heard.get()
            missing = await self._missing(box, ack)
            lag_s = time.monotonic() - heard_s
            self.acks += 1
            self.late += lag_s > AT_ONCE_S
            self.lags_s.append(lag_s)
            if missing:
                self.lies.append(f"an ack to {box} named {missing} of store {ack.store}, which the ledger did not hold")
            self._heard.task_done()

    async def _missing(self, box: str, ack: Ack) -> str:
        while True:
            try:
                if self._connection is None:
                    self._connection = await asyncpg.connect(self.url, timeout=5, command_timeout=20)
                return await self.compare(self._connection, box, ack)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
                await asyncio.sleep(AGAIN_EVERY_S)

    async def compare(self, connection: asyncpg.Connection, box: str, ack: Ack) -> str:
        """What the ack names and the ledger does not hold; empty when all is well."""
        key = (box, str(ack.store))
        known = self._known.get(key, 0)
        for lo, hi in [(known + 1, ack.upto), *ack.ranges]:
            if hi >= lo and await connection.fetchval(HELD, *key, lo, hi) != hi - lo + 1:
                return f"records {lo}..{hi}"
        if ack.head is not None and await connection.fetchval(HEAD, *key, ack.upto) != ack.head:
            return f"another record {ack.upto}"
        self._known[key] = max(known, ack.upto)
        return ""

    async def forget(self) -> None:
        """The book is about to lose its memory: look at what was heard first."""
        await self._heard.join()
        self._known.clear()
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
