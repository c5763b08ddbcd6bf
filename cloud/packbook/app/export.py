"""`packbook export BATTERY --format F`: what the book knows of one battery, as one file.

In:  a battery's name and a format. Out: a file, or standard output.
Each format is a module with `SUFFIX` and `make(settings, battery)`; only the one asked for is imported.
Refuses every format that is made for others (all but `OWNERS_OWN`) unless the owner agreed to `passport`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Final

from packbook.adapters.private_file import PUBLIC_MODE, write_atomically
from packbook.adapters.store import open_reader
from packbook.adapters.store.histories import SqlHistories
from packbook.app.command import DONE, add_settings, run
from packbook.app.evidence import ExportError
from packbook.core.consent import may_leave
from packbook.ports import PackbookError
from packbook.settings import Settings

# A module named here has SUFFIX (with its dot) and `async make(settings, battery) -> bytes`.
FORMATS: Final[dict[str, tuple[str, str]]] = {
    "bundle": ("packbook.app.export_bundle", "all signed records; 'packbook verify' checks it anywhere"),
}

OWNERS_OWN: Final = frozenset({"bundle"})  # what he takes away himself, to give to whom he likes


class NoConsent(PackbookError):
    """The owner did not agree that this battery's figures go to others. Nothing was made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("battery", metavar="BATTERY", help="the battery's id")
    formats = "; ".join(f"{name}: {summary}" for name, (_, summary) in FORMATS.items())
    parser.add_argument("--format", choices=FORMATS, default="bundle", help=formats)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to; '-' is standard output (BATTERY.SUFFIX)")


def main(args: argparse.Namespace) -> int:
    async def export(settings: Settings) -> int:
        if args.format not in OWNERS_OWN:
            await need_consent(settings, args.battery)
        module = importlib.import_module(FORMATS[args.format][0])
        data: bytes = await module.make(settings, args.battery)
        write(data, args.out or Path(args.battery + module.SUFFIX))
        return DONE

    return run(args, export)


async def need_consent(settings: Settings, battery: str) -> None:
    """Raises NoConsent unless what the book knows of the battery may go to others."""
    async with open_reader(settings.database_url.get_secret_value()) as database:
        why = may_leave(await SqlHistories(database).purposes(battery), "passport")
    if why is not None:
        raise NoConsent(f"battery {battery}: {why}")


def write(data: bytes, out: Path) -> None:
    """Raises ExportError; then an older file of that name is untouched."""
    if str(out) == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        write_atomically(out, data, PUBLIC_MODE)
    except OSError as problem:
        raise ExportError(f"{out}: cannot be written ({problem.strerror})") from problem
    print(f"{out}: {len(data)} bytes", file=sys.stderr)
