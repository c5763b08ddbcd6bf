"""`packbook rebuild`: make all histories anew from the ledger, for example after an update that reads more from it.

What fleets teach is learned anew from them; earlier versions of it stay.
"""

from __future__ import annotations

import argparse

from packbook.adapters.store import open_writer, rebuilding
from packbook.app.command import DONE, add_settings, run, show_progress
from packbook.app.learn import learn_fleets
from packbook.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, rebuild)


async def rebuild(settings: Settings) -> int:
    async with open_writer(settings.database_url.get_secret_value(), "rebuild") as database:
        records = await rebuilding.rebuild(database, show_progress("rebuild"))
        await learn_fleets(database)
        print(f"{database.name}: histories made anew from {records} records")
    return DONE
