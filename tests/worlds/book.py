"""The book of a world: the real collector and the real ledger on SQLite, over the broker in memory.

The database has threads of its own, so it lives on a real loop beside; the world stands still while it is asked, and
nothing depends on how long that took.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from packbook.adapters import collector as collecting
from packbook.adapters.collector import BatchLimits, Collector
from packbook.adapters.mqtt import BrokerAddress, Message
from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.core.intake import Arrival, Reading
from packbook.ports.taking import Taken
from packbook.ports.trouble import BrokerError
from packwire.testing import Arrived, BrokerDownError, MemoryBroker, MemoryLink
from packwire.topics import Leaf, parse

NAME = "book"


class BookLink:
    """What `packbook.adapters.mqtt.Link` does over MQTT, without a network."""

    def __init__(self, broker: MemoryBroker, take: Callable[[Message], None]) -> None:
        self._broker = broker
        self._take = take
        self._link: MemoryLink | None = None
        self._arrived: dict[int, Arrived] = {}
        self._pump: asyncio.Task[None] | None = None
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def open(self, subscriptions: Sequence[str]) -> None:
        try:
            self._link = self._broker.connect(NAME, lasting=True)
        except BrokerDownError as problem:
            raise BrokerError(str(problem)) from problem
        self._link.subscribe(*subscriptions)
        self._pump = asyncio.create_task(self._receive(self._link))

    async def _receive(self, link: MemoryLink) -> None:
        try:
            while True:
                arrived = await link.receive()
                address = parse(arrived.topic)
                qos = 0 if address is not None and address.leaf is Leaf.HEARTBEAT else 1
                message = Message(self, arrived.topic, arrived.payload, arrived.number, qos)  # type: ignore[arg-type]
                self._arrived[arrived.number] = arrived
                self._take(message)
        except BrokerDownError as problem:
            if not self.lost.done():
                self.lost.set_result(str(problem))

    def puback(self, message: Message) -> None:
        assert self._link is not None
        self._link.ack(self._arrived.pop(message.mid))

    def publish(self, topic: str, payload: bytes, done: Callable[[], None]) -> None:
        assert self._link is not None
        if self._link.up:
            self._link.publish(topic, payload, retain=True)
            done()

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
        if self._link is not None:
            self._link.cut()


class Book:
    """`ports.Ledger` over a database in `folder`."""

    def __init__(self, folder: Path, template: Path, broker: MemoryBroker, address: BrokerAddress) -> None:
        self.file = folder / "book.db"
        folder.mkdir()
        shutil.copy(template, self.file)
        self._broker = broker
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="book's database", daemon=True)
        self._thread.start()
        self._database = self._do(self._open())
        self._ledger = Ledger(self._database)

    async def read(self, arrivals: Sequence[Arrival]) -> Sequence[Reading]:
        return self._do(self._ledger.read(arrivals))

    async def keep(self, readings: Sequence[Reading]) -> Taken:
        return self._do(self._ledger.keep(readings))

    async def collect(self) -> None:
        """Until cancelled, which is how the book is killed."""
        await Collector(self, self._address, BatchLimits(wait_max_s=0.05)).run()

    def backup(self) -> Path:
        """Yesterday's copy."""
        copy = self.file.with_name("backup.db")
        self._do(self._shut())
        shutil.copy(self.file, copy)
        self._database = self._do(self._open())
        self._ledger = Ledger(self._database)
        return copy

    def restore(self, copy: Path) -> None:
        self._do(self._shut())
        shutil.copy(copy, self.file)
        self._database = self._do(self._open())
        self._ledger = Ledger(self._database)

    def close(self) -> None:
        self._do(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> Database:
        return Database(f"sqlite:///{self.file}")

    async def _shut(self) -> None:
        await self._database.aclose()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@contextmanager
def collector_in_memory(broker: MemoryBroker, now_ms: Callable[[], int], seed: int) -> Iterator[None]:
    """The collector's three ways to the outside lead into the world: link, clock, dice."""
    before = collecting.Link, collecting.now_ms, collecting.random
    dice = SimpleNamespace(SystemRandom=lambda: random.Random(f"book {seed}"))
    collecting.Link = lambda _address, take: BookLink(broker, take)  # type: ignore[assignment,misc]
    collecting.now_ms = now_ms  # type: ignore[assignment]
    collecting.random = dice  # type: ignore[assignment]
    try:
        yield
    finally:
        collecting.Link, collecting.now_ms, collecting.random = before  # type: ignore[misc]


def make_template(file: Path) -> Path:
    """An empty book with the present schema: made once, copied for each world."""

    async def make() -> None:
        async with open_writer(f"sqlite:///{file}", "template"):
            pass

    asyncio.run(make())
    return file
