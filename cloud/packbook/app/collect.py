"""`packbook collect`: take records from the broker into the ledger until asked to stop."""

from __future__ import annotations

import argparse

from packbook.adapters.collector import BatchLimits, Collector
from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.app.acts import ACTS
from packbook.app.command import DONE, add_settings, broker_address, run
from packbook.app.fleet import judging
from packbook.app.operate import Office, operators_door
from packbook.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, collect)


async def collect(settings: Settings) -> int:
    async with (
        open_writer(settings.database_url.get_secret_value(), settings.collector_name) as database,
        operators_door(Office(database, settings), ACTS),
        judging(database),
    ):
        await make_collector(settings, database).run()
    return DONE


def make_collector(settings: Settings, database: Database) -> Collector:
    limits = BatchLimits(settings.batch_records_max, settings.batch_wait_max_s)
    ledger = Ledger(database, enrolled_only=settings.enrolled_only)
    return Collector(ledger, broker_address(settings), limits, settings.share)
