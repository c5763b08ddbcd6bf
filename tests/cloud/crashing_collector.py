"""A collector to which the worst happens at one place, once. Keeps a copy of itself ready for the next.

In:  on standard input, one line of JSON for each collector: `[POINT, URL, PORT, FLAG, BROKER_PID]`.
Out: its process id on a line, and when it ended its exit code on another.
POINT is one of `DEATHS`, where it dies as by a power cut, or of `LOSSES`, where it lives and what it speaks to is lost.
FLAG is a file that is not there yet: the first to come to the point makes it; to later ones nothing happens.
Each is a fork of this process: starting Python anew for each would take longer than everything that is tried.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiosqlite
import asyncpg.transaction

from packbook.adapters import mqtt
from packbook.adapters.collector import BatchLimits, Collector
from packbook.adapters.mqtt import BrokerAddress, Link, Message
from packbook.adapters.store import batch, open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.core.intake import Reading
from packbook.ports.taking import Taken

DIED: Final = 9
DEATHS: Final = (
    "before reading",
    "before the transaction",
    "before COMMIT",
    "after COMMIT",
    "between two PUBACKs",
    "after PUBACK",
    "half an ack",
    "after the ack",
)
COMMIT_LOST: Final = "COMMIT lost"
ANSWER_LOST: Final = "answer to COMMIT lost"
LOSSES: Final = (
    "broker lost before COMMIT",
    "broker lost after COMMIT",
    "broker lost between two PUBACKs",
    "broker lost after PUBACK",
    "broker lost after the ack",
    COMMIT_LOST,
    ANSWER_LOST,
)


class Fate:
    """What happens, and whether it did."""

    def __init__(self, point: str, flag: Path, broker: int) -> None:
        self.point = point
        self.flag = flag
        self.broker = broker

    def due(self, point: str) -> bool:
        """True once, at the chosen point."""
        if point != self.point or self.flag.exists():
            return False
        self.flag.touch()
        return True

    def at(self, point: str) -> None:
        if self.due(point):
            os._exit(DIED)
        if self.due(f"broker lost {point}"):
            os.kill(self.broker, signal.SIGKILL)


class FatefulLedger(Ledger):
    fate: Fate

    async def read(self, arrivals: Sequence[object]) -> Sequence[Reading]:
        self.fate.at("before reading")
        return await super().read(arrivals)  # type: ignore[arg-type]  # as they come

    async def keep(self, readings: Sequence[Reading], *, vouched: bool = False) -> Taken:
        self.fate.at("before the transaction")
        taken = await super().keep(readings, vouched=vouched)
        if taken.accepted:
            self.fate.at("after COMMIT")
        return taken


def install(fate: Fate) -> None:
    """Between the steps of the shipped code, without a line of it changed."""
    FatefulLedger.fate = fate
    _at_the_database(fate)
    _at_the_broker(fate)


def _at_the_database(fate: Fate) -> None:
    write = batch.write
    commit_of_sqlite, commit_of_postgres = aiosqlite.Connection.commit, asyncpg.transaction.Transaction.commit
    written = False  # by the transaction that is about to be committed

    async def fateful_write(*args: object) -> Taken:
        nonlocal written
        taken = await write(*args)  # type: ignore[arg-type]  # passed on
        if taken.accepted:
            fate.at("before COMMIT")
            written = True
        return taken

    async def fateful_sqlite(connection: aiosqlite.Connection) -> None:
        if written and fate.due(COMMIT_LOST):
            raise sqlite3.OperationalError("database or disk is full")
        await commit_of_sqlite(connection)
        if written and fate.due(ANSWER_LOST):
            raise sqlite3.OperationalError("disk I/O error")

    async def fateful_postgres(transaction: asyncpg.transaction.Transaction) -> None:
        if written and fate.due(COMMIT_LOST):
            transaction._connection.terminate()
        await commit_of_postgres(transaction)
        if written and fate.due(ANSWER_LOST):
            transaction._connection.terminate()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    batch.write = fateful_write  # type: ignore[assignment]
    aiosqlite.Connection.commit = fateful_sqlite  # type: ignore[method-assign]
    asyncpg.transaction.Transaction.commit = fateful_postgres


def _at_the_broker(fate: Fate) -> None:
    puback, publish = Link.puback, Link.publish
    acknowledged = 0

    def fateful_puback(link: Link, message: Message) -> None:
        nonlocal acknowledged
        puback(link, message)
        link._client.loop_write()  # on its way to the broker before we die
        acknowledged += 1
        if acknowledged == 2:
            fate.at("between two PUBACKs")

    def fateful_publish(link: Link, *args: object, **more: object) -> None:
        fate.at("after PUBACK")
        if fate.due("half an ack"):
            _send_half(link, args)
            os._exit(DIED)
        publish(link, *args, **more)  # type: ignore[arg-type]  # passed on
        link._client.loop_write()
        fate.at("after the ack")

    def _send_half(link: Link, args: Sequence[object]) -> None:
        client = link._client
        client._flush = lambda: None  # type: ignore[method-assign]  # nothing leaves but by our own hand
        before = len(client._to_send)
        publish(link, *args)  # type: ignore[arg-type]  # passed on
        client.loop_write()
        packet = bytes(client._to_send)
        assert len(packet) > before + 4, "the ack is not among what would have been sent"
        client._sock.send(packet[: before + (len(packet) - before) // 2])  # type: ignore[union-attr]  # connected

    mqtt.Link.puback = fateful_puback  # type: ignore[method-assign]
    mqtt.Link.publish = fateful_publish  # type: ignore[method-assign]


async def collect(url: str, port: int) -> None:
    async with open_writer(url, "collector-0") as database:
        limits = BatchLimits(records_max=5, wait_max_s=0.0)
        address = BrokerAddress("127.0.0.1", port, "collector-0")
        await Collector(FatefulLedger(database), address, limits, retry_max_s=0.5).run()


def main() -> None:
    for line in sys.stdin:
        point, url, port, flag, broker = json.loads(line)
        pid = os.fork()
        if pid == 0:
            install(Fate(point, Path(flag), broker))
            asyncio.run(collect(url, port))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
