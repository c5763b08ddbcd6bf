"""`packbook vehicle set|show|find`: which vehicle a battery is in.

Boxes send no vehicle's number; an operator enters it, from a file or standard input, never as a word of the command
line, where the shell's history and other users would see it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from packbook.adapters.store import open_reader, relations
from packbook.app.command import DONE, PROBLEM, add_settings, run
from packbook.app.operate import operate
from packbook.app.relation import ACTS, number_from, vault_of
from packbook.app.token import day
from packbook.ports.trouble import PackbookError
from packbook.settings import Settings

NUMBER_FILE_BYTES_MAX: Final = 1024


class NumberFileError(PackbookError):
    """The vehicle's number could not be read. Nothing was changed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    setting = ways.add_parser("set", help="this battery is in that vehicle from now on")
    showing = ways.add_parser("show", help="vehicles of a battery, the newest last")
    finding = ways.add_parser("find", help="batteries that are in a vehicle")
    for way in (setting, showing):
        way.add_argument("battery", metavar="BATTERY")
    for way in (setting, finding):
        way.add_argument(
            "--vin", default="-", metavar="FILE", help="file with the VIN or chassis number; - is standard input"
        )
    for way in ways.choices.values():
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _vehicle(settings, args))


async def _vehicle(settings: Settings, args: argparse.Namespace) -> int:
    if args.way == "set":
        await operate(settings, ACTS, "vehicle.set", {"battery": args.battery, "number": _number(args.vin)})
        print(f"battery {args.battery}: is in that vehicle from now on")
        return DONE
    if args.way == "show":
        async with open_reader(settings.database_url.get_secret_value()) as database:
            found = await relations.vehicles(database, vault_of(settings), args.battery)
        print("\n".join(map(_line, found)) or "no vehicle")
        return DONE
    number = number_from(_number(args.vin))
    async with open_reader(settings.database_url.get_secret_value()) as database:
        batteries = await relations.batteries_in(database, vault_of(settings), number)
    print("\n".join(batteries) or "no battery is known to be in that vehicle")
    return DONE if batteries else PROBLEM


def _line(vehicle: relations.Vehicle) -> str:
    until = "" if vehicle.ended_ms is None else f" until {day(vehicle.ended_ms)}"
    return f"{vehicle.number or '(relation ended)'}  since {day(vehicle.since_ms)}{until}"


def _number(file: str) -> str:
    """A word that is no file may be the number itself, so it is never repeated."""
    try:
        if file == "-":
            return sys.stdin.read(NUMBER_FILE_BYTES_MAX)
        with Path(file).open(encoding="utf-8") as source:
            return source.read(NUMBER_FILE_BYTES_MAX)
    except OSError as problem:
        raise NumberFileError(
            f"--vin: the file cannot be read ({problem.strerror}); a number belongs into a file or standard input"
        ) from None
    except UnicodeDecodeError:
        raise NumberFileError("--vin: the file is not text") from None
