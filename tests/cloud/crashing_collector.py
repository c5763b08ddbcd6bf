"""A collector that dies at one place, once: `python crashing_collector.py POINT URL PORT FLAG`.

POINT is one of `POINTS`. FLAG is a file that is not there yet: the first process to come to the point makes it and
dies as by a power cut; later ones live on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from packbook.adapters import mqtt
from packbook.adapters.collector import BatchLimits, Collector
from packbook.adapters.mqtt import BrokerAddress, Link, Message
from packbook.adapters.store import batch, open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.core.intake import Reading
from packbook.ports import Taken

POINTS: Final = (
    "before reading",
    "before the transaction",
    "before COMMIT",
    "after COMMIT",
    "between two PUBACKs",
    "after PUBACK",
    "after the ack",
)


class Death:
    def __init__(self, point: str, flag: Path) -> None:
        self.point = point
        self.flag = flag

    def at(self, point: str) -> None:
        if point == self.point and not self.flag.exists():
            self.flag.touch()
            os._exit(9)


class DyingLedger(Ledger):
    death: Death

    async def read(self, arrivals: Sequence[object]) -> Sequence[Reading]:
        self.death.at("before reading")
        return await super().read(arrivals)  # type: ignore[arg-type]  # as they come

    async def keep(self, readings: Sequence[Reading], *, vouched: bool = False) -> Taken:
        self.death.at("before the transaction")
        taken = await super().keep(readings, vouched=vouched)
        if taken.accepted:
            self.death.at("after COMMIT")
        return taken


def install(death: Death) -> None:
    """Between the steps of the shipped code, without a line of it changed."""
    DyingLedger.death = death
    write, puback, publish = batch.write, Link.puback, Link.publish
    acknowledged = 0

    async def dying_write(*args: object) -> Taken:
        taken = await write(*args)  # type: ignore[arg-type]  # passed on
        if taken.accepted:
            death.at("before COMMIT")
        return taken

    def dying_puback(link: Link, message: Message) -> None:
        nonlocal acknowledged
        puback(link, message)
        link._client.loop_write()  # on its way to the broker before we die
        acknowledged += 1
        if acknowledged == 2:
            death.at("between two PUBACKs")

    def dying_publish(link: Link, *args: object, **more: object) -> None:
        death.at("after PUBACK")
        publish(link, *args, **more)  # type: ignore[arg-type]  # passed on
        link._client.loop_write()
        death.at("after the ack")

    batch.write = dying_write  # type: ignore[assignment]
    mqtt.Link.puback = dying_puback  # type: ignore[method-assign]
    mqtt.Link.publish = dying_publish  # type: ignore[method-assign]


async def collect(url: str, port: int) -> None:
    async with open_writer(url, "collector-0") as database:
        limits = BatchLimits(records_max=5, wait_max_s=0.0)
        await Collector(DyingLedger(database), BrokerAddress("127.0.0.1", port, "collector-0"), limits).run()


if __name__ == "__main__":
    point, url, port, flag = sys.argv[1:]
    install(Death(point, Path(flag)))
    asyncio.run(collect(url, int(port)))
