"""`packbook owner export|forget BATTERY`: what an owner may ask for.

export: everything that the book holds of his battery and of his relation to it, as one JSON file.
forget: what ties the battery to a vehicle is thrown away for good, its number's key first. The battery's own history
stays (docs/privacy.md says why); the box is retired with `packbook box retire`, or goes on for the next owner.
"""

from __future__ import annotations

import argparse
import base64
import getpass
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from packbook.adapters.private_file import write_atomically
from packbook.adapters.store import open_reader, relations
from packbook.app.command import DONE, WRONG_USAGE, add_settings, run
from packbook.app.export import note_export
from packbook.app.operate import operate
from packbook.app.relation import ACTS, vault_of
from packbook.clock import now_ms
from packbook.core.access import Reader
from packbook.ports.trouble import PackbookError
from packbook.settings import Settings
from packwire.codec import shown
from packwire.errors import WireError
from packwire.seal import peek, read

FORMAT: Final = "packbook/owner-export/1"


class ExportFileError(PackbookError):
    """The export could not be written. A file that was there was not touched."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    exporting = ways.add_parser("export", help="everything the book holds, as JSON")
    exporting.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file, mode 0600")
    forgetting = ways.add_parser("forget", help="end the owner's relation to the battery, for good")
    forgetting.add_argument("--yes", action="store_true", help="it cannot be undone: say so")
    for way in ways.choices.values():
        way.add_argument("battery", metavar="BATTERY")
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    if args.way == "forget" and not args.yes:
        print(
            "packbook owner forget: cannot be undone; give the owner his export first, then say --yes", file=sys.stderr
        )
        return WRONG_USAGE
    return run(args, lambda settings: _owner(settings, args))


async def _owner(settings: Settings, args: argparse.Namespace) -> int:
    if args.way == "forget":
        ended = await operate(settings, ACTS, "owner.forget", {"battery": args.battery})
        print(f"battery {args.battery}: {ended} vehicle numbers can never be read again")
        return DONE
    if args.out.exists():
        raise ExportFileError(f"{args.out}: is there already")
    whole = await everything(settings, args.battery)
    await note_export(settings, args.battery, Reader("owner", account=getpass.getuser()), FORMAT)
    try:
        write_atomically(args.out, json.dumps(whole, ensure_ascii=False, indent=1).encode() + b"\n")
    except OSError as problem:
        raise ExportFileError(f"{args.out}: cannot be written ({problem.strerror})") from problem
    print(f"{args.out}: {len(whole['records'])} records, {len(whole['vehicles'])} vehicles")
    return DONE


async def everything(settings: Settings, battery: str) -> dict[str, Any]:
    """What the owner gets: the signed bytes, so that he can prove them, and what they say."""
    async with open_reader(settings.database_url.get_secret_value()) as database:
        records = [_record(held) async for held in relations.records_of(database, battery)]
        purposes = await relations.purposes_of(database, battery)
        vehicles: list[relations.Vehicle] = []
        if settings.vehicle_keys_dir is not None:
            vehicles = await relations.vehicles(database, vault_of(settings), battery)
    return {
        "format": FORMAT,
        "battery": battery,
        "made_ms": now_ms(),
        "vehicles": [asdict(vehicle) for vehicle in vehicles],
        "purposes": purposes,
        "records": records,
    }


def _record(held: relations.HeldRecord) -> dict[str, Any]:
    place = {"box": held.box, "store": held.store, "seq": held.seq, "received_ms": held.received_ms}
    try:
        record = read(peek(held.sealed))
    except WireError as problem:
        said: dict[str, Any] = {"unreadable": str(problem)}
    else:
        said = {
            "kind": record.kind.name.lower(),
            "wall_ms": record.envelope.wall_ms,
            "says": shown(record.message, all_fields=False),
        }
    return {**place, **said, "sealed_base64": base64.b64encode(held.sealed).decode()}
