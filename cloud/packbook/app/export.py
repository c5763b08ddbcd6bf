"""`packbook export BATTERY --format F`: what the book knows of one battery, as one file.

In:  a battery's name and a format. Out: a file, or standard output.
Each format is a module with `SUFFIX` and `make(settings, battery)`; only the one asked for is imported.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Final

from packbook.adapters.private_file import PUBLIC_MODE, write_atomically
from packbook.app.command import DONE, add_settings, run
from packbook.app.evidence import ExportError
from packbook.settings import Settings

# A module named here has SUFFIX (with its dot) and `async make(settings, battery) -> bytes`.
FORMATS: Final[dict[str, tuple[str, str]]] = {
    "bundle": ("packbook.app.export_bundle", "all signed records; 'packbook verify' checks it anywhere"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("battery", metavar="BATTERY", help="the battery's id")
    formats = "; ".join(f"{name}: {summary}" for name, (_, summary) in FORMATS.items())
    parser.add_argument("--format", choices=FORMATS, default="bundle", help=formats)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to; '-' is standard output (BATTERY.SUFFIX)")


def main(args: argparse.Namespace) -> int:
    async def export(settings: Settings) -> int:
        module = importlib.import_module(FORMATS[args.format][0])
        data: bytes = await module.make(settings, args.battery)
        write(data, args.out or Path(args.battery + module.SUFFIX))
        return DONE

    return run(args, export)


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
