"""`packbook collect`: take records from the broker into the ledger until asked to stop."""

from __future__ import annotations

import argparse
import asyncio
import socket

from packbook.adapters.collector import BatchLimits, Collector
from packbook.adapters.metrics import Metrics
from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.app.acts import ACTS
from packbook.app.alert_watch import alert_rules, watch_alerts
from packbook.app.command import DONE, add_settings, broker_address, run
from packbook.app.condition import ProcessCondition, ops_door, serve_ops
from packbook.app.fleet import judging
from packbook.app.operate import Office, operators_door
from packbook.ports import Observer
from packbook.settings import Settings
from packwire import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, collect)


async def collect(settings: Settings) -> int:
    with ops_door(settings) as ops:
        await _collect(settings, ops)
    return DONE


async def _collect(settings: Settings, ops: socket.socket | None) -> None:
    async with (
        open_writer(settings.database_url.get_secret_value(), settings.collector_name) as database,
        operators_door(Office(database, settings), ACTS),
        judging(database),
    ):
        rules, metrics = alert_rules(settings), Metrics(__version__)
        collector = make_collector(settings, database, metrics)
        async with asyncio.TaskGroup() as book:
            if ops is not None:
                condition = ProcessCondition(database, metrics, collector.connected.is_set)
                book.create_task(serve_ops(condition, ops), name="metrics")
            book.create_task(collector.run(), name="collect")
            book.create_task(watch_alerts(settings, database, rules), name="alerts")


def make_collector(settings: Settings, database: Database, observer: Observer | None = None) -> Collector:
    limits = BatchLimits(settings.batch_records_max, settings.batch_wait_max_s)
    ledger = Ledger(database, enrolled_only=settings.enrolled_only)
    return Collector(ledger, broker_address(settings), limits, settings.share, observer=observer)
