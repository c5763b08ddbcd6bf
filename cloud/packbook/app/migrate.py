"""`packbook migrate`: bring the database to this version's schema. Forward only; run it while nothing else writes."""

from __future__ import annotations

import argparse
from contextlib import aclosing

from packbook.adapters.store.database import Database, head
from packbook.app.command import DONE, add_settings, run
from packbook.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, migrate)


async def migrate(settings: Settings) -> int:
    async with aclosing(Database(settings.database_url.get_secret_value())) as database:
        async with database.claim(settings.collector_name):
            before = await database.revision()
            await database.migrate()
        print(f"{database.name}: schema {head()} (was {before or 'empty'})")
    return DONE
