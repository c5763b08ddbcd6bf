"""`packbook collect`: take records from the broker into the ledger until asked to stop.

With `--workers N`, so many processes share the work over one PostgreSQL: see `app.workers`. One of these, asked by
SIGUSR1, leaves for good: it commits what the broker gave it, and the broker forgets it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from functools import partial
from typing import Final

from packbook.adapters.collector import BatchLimits, Collector
from packbook.adapters.metrics import Metrics
from packbook.adapters.reading_pool import ReadingPool
from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger, ReadAll, read_beside
from packbook.app.acts import ACTS
from packbook.app.alert_watch import alert_rules, watch_alerts
from packbook.app.command import DONE, add_settings, broker_address, run
from packbook.app.condition import ProcessCondition, ops_door, serve_ops
from packbook.app.fleet import keep_judged
from packbook.app.forget import forget_daily
from packbook.app.meanwhile import meanwhile
from packbook.app.operate import Office, operators_door
from packbook.app.source import source_of
from packbook.app.workers import supervise, worker_settings
from packbook.ports.taking import Observer
from packbook.settings import Settings
from packwire import __version__

PARENT_LOOK_EVERY_S: Final = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="so many processes share the work (PostgreSQL)")
    parser.add_argument("--worker", type=int, metavar="K", help=argparse.SUPPRESS)  # one of these


def main(args: argparse.Namespace) -> int:
    if args.workers is not None:
        return run(args, partial(supervise, args.settings, args.workers))
    return run(args, collect if args.worker is None else partial(_work, args.worker))


async def collect(settings: Settings) -> int:
    """The only one, or the first of several, with all that is done beside collecting."""
    rules = alert_rules(settings)
    async with (
        open_writer(settings.database_url.get_secret_value(), settings.collector_name) as database,
        operators_door(Office(database, settings), ACTS),
        meanwhile(keep_judged(database), "judge"),
        meanwhile(forget_daily(database, settings.heartbeat_days), "forget"),
        meanwhile(watch_alerts(settings, database, rules), "alerts"),
    ):
        await _until_retired(settings, database)
    return DONE


async def _only_collect(settings: Settings) -> int:
    async with open_writer(settings.database_url.get_secret_value(), settings.collector_name) as database:
        await _until_retired(settings, database)
    return DONE


async def _work(number: int, settings: Settings) -> int:
    """One of several, for as long as the process that began it is there."""
    parent = os.getppid()
    own = worker_settings(settings, number)
    task = asyncio.create_task(collect(own) if number == 0 else _only_collect(own))
    while not (await asyncio.wait([task], timeout=PARENT_LOOK_EVERY_S))[0]:
        if os.getppid() != parent:
            task.cancel()
    return DONE if task.cancelled() else task.result()


async def _until_retired(settings: Settings, database: Database) -> None:
    """Cancelled, it comes back to what the broker keeps for it; asked by SIGUSR1, it leaves nothing there."""
    with ops_door(settings) as ops, reading(settings) as read_all:
        metrics = Metrics(__version__)
        collector = make_collector(settings, database, read_all, metrics)
        condition = ProcessCondition(database, metrics, lambda: collector.up)
        async with AsyncExitStack() as beside:
            if ops is not None:
                await beside.enter_async_context(meanwhile(serve_ops(condition, ops), "metrics"))
            await _run_until_retired(collector)


async def _run_until_retired(collector: Collector) -> None:
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
    """How records are read: here, or by processes of their own when the settings say so."""
    if settings.verify_processes == 0:
        yield read_beside
        return
    with closing(ReadingPool(settings.verify_processes)) as pool:
        yield pool.read_all


def make_collector(
    settings: Settings, database: Database, read_all: ReadAll = read_beside, observer: Observer | None = None
) -> Collector:
    limits = BatchLimits(settings.batch_records_max, settings.batch_wait_max_s)
    ledger = Ledger(database, enrolled_only=settings.enrolled_only, read_all=read_all)
    source = source_of(settings)
    return Collector(ledger, broker_address(settings), limits, settings.share, observer=observer, source=source)
