"""How a collector is put together from the settings, and how it leaves for good."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from packbook.adapters.collector import BatchLimits, Collector
from packbook.adapters.signature_pool import SignaturePool
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger, ReadAll, read_beside
from packbook.app.command import broker_address
from packbook.app.source import source_of
from packbook.ports.taking import Observer
from packbook.settings import Settings

GC_AFTER: Final = 50_000  # new objects until Python looks for rings of them; its own 700 is meant for small programs
SWITCH_S: Final = 0.001  # the loop asks the database some twenty times for a batch, and reading is not to hold it up


async def run_until_retired(collector: Collector) -> None:
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(GC_AFTER, 20, 50)  # 7 % of the processor time of a record (docs/benchmarks.md)
    running = asyncio.create_task(collector.run(), name="collect")
    leaving: list[asyncio.Task[None]] = []

    async def leave() -> None:
        await collector.drain()
        running.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: leaving.append(asyncio.create_task(leave())))
    try:
        await asyncio.wait([running])
    finally:
        running.cancel()
        await asyncio.wait([running, *leaving])
    if not running.cancelled():
        running.result()


@contextmanager
def reading(settings: Settings) -> Iterator[ReadAll]:
    """How records are read: signatures are checked by processes of their own unless the settings say otherwise."""
    if settings.verify_processes == 0:
        yield read_beside
        return
    with closing(SignaturePool(settings.verify_processes)) as pool:
        yield pool.read_all


def make_collector(
    settings: Settings, database: Database, read_all: ReadAll = read_beside, observer: Observer | None = None
) -> Collector:
    limits = BatchLimits(settings.batch_records_max, settings.batch_wait_max_s)
    ledger = Ledger(database, enrolled_only=settings.enrolled_only, read_all=read_all)
    source = source_of(settings)
    return Collector(ledger, broker_address(settings), limits, settings.share, observer=observer, source=source)
