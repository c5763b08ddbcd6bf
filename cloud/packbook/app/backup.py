"""`packbook backup FILE`: a copy of a SQLite book while it runs. docs/book.md says how it comes back."""

from __future__ import annotations

import argparse
import asyncio
from functools import partial
from pathlib import Path

from packbook.adapters.store.backup import copy_book
from packbook.adapters.store.database import database_url
from packbook.app.command import DONE, add_settings, run
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("file", type=Path, metavar="FILE", help="where the copy goes; it must not be there yet")


def main(args: argparse.Namespace) -> int:
    return run(args, partial(_backup, args.file))


async def _backup(copy: Path, settings: Settings) -> int:
    url = database_url(settings.database_url.get_secret_value())
    if url.get_backend_name() != "sqlite" or not url.database:
        raise SettingsError("database_url: this copies SQLite; for PostgreSQL use pg_dump (docs/book.md)")
    size = await asyncio.to_thread(copy_book, Path(url.database), copy)
    print(f"{copy}: {size} bytes")
    return DONE
