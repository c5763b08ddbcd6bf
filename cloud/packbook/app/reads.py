"""`packbook reads BATTERY`: who read what of one battery's own life, newest first."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Final

from packbook.adapters.store import access as shelf
from packbook.adapters.store import open_reader
from packbook.adapters.store.relations import must_be_known
from packbook.app.access import read_as_json
from packbook.app.command import DONE, add_settings, run
from packbook.core.access import Read
from packbook.settings import Settings

FIELDS_SHOWN: Final = 4  # the rest is counted; --json names all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("battery", metavar="BATTERY")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most this many (100)")
    parser.add_argument("--json", action="store_true", help="JSON lines, with every field")


def main(args: argparse.Namespace) -> int:
    async def show(settings: Settings) -> int:
        url = settings.database_url.get_secret_value()
        async with open_reader(url) as database, database.transaction() as connection:
            await must_be_known(connection, args.battery)
            reads = await shelf.reads_of(connection, args.battery, args.limit)
        for read in reads:
            print(json.dumps(read_as_json(read), ensure_ascii=False) if args.json else _line(read))
        return DONE

    return run(args, show)


def _line(read: Read) -> str:
    who = [read.reader.name]
    if read.reader.link is not None:
        who.append(f"link {read.reader.link}")
    if read.reader.account is not None:
        who.append(read.reader.account)
    more = len(read.fields) - FIELDS_SHOWN
    fields = ", ".join(read.fields[:FIELDS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    at = f"{datetime.fromtimestamp(read.at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
    return "  ".join(filter(None, (at, ", ".join(who), f"{read.door} {read.what}", fields)))
