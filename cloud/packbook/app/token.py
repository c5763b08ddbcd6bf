"""`packbook token`: one-time codes for new boxes. Printed once; the book keeps only their digests.

In:  how many, for which fleet, how long.
Out: the codes on standard output; on request a sheet of labels and one file per code for boot partitions.
"""

from __future__ import annotations

import argparse
import getpass
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from packbook.adapters.authority import Authority, fingerprint_of
from packbook.adapters.private_file import SECRET_MODE, write_atomically
from packbook.app.command import DONE, add_settings, run
from packbook.app.enrolment import ACTS
from packbook.app.operate import operate
from packbook.clock import now_ms
from packbook.core.enrolment import MS_PER_DAY
from packbook.core.labels import Label, boot_text, sheet
from packbook.ports.trouble import AuthorityError, PackbookError, SettingsError
from packbook.settings import Settings
from packwire.enrolment import BOOT_FILE, code_digest, new_code
from packwire.ids import is_hex_id

FLEET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
COUNT_MAX: Final = 10_000
DAYS_IN: Final = {"h": 1 / 24, "d": 1, "w": 7}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    new = ways.add_parser("new", help="make codes and print them, once")
    new.add_argument("--count", type=_count, default=1, help="how many (default 1)")
    new.add_argument("--fleet", type=fleet_name, default="default", help="the boxes' fleet (default: default)")
    new.add_argument("--expires", type=days, default=30.0, metavar="TIME", help="such as 30d, 12h, 4w (default 30d)")
    new.add_argument("--replaces", type=box_name, metavar="BOX", help="the new box takes this one's place")
    new.add_argument("--labels", type=Path, metavar="FILE", help="a sheet of labels to print (.html)")
    new.add_argument("--boot-files", type=Path, metavar="DIR", help=f"one folder per code, with its {BOOT_FILE}")
    ways.add_parser("list", help="show which codes were used and which expire when; never the codes")
    ways.add_parser("drop", help="make all unused codes worthless")
    for way in ways.choices.values():
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: WAYS[args.way](settings, args))


async def _new(settings: Settings, args: argparse.Namespace) -> int:
    if settings.ca_dir is None:
        raise SettingsError("ca_dir is not set: run 'packbook ca init' first, and name its folder")
    root = fingerprint_of(Authority(settings.ca_dir).root)
    if (args.labels or args.boot_files) and settings.enrol_url is None:
        raise SettingsError("enrol_url is not set: labels and boot files say where boxes enrol")
    if args.replaces is not None and args.count != 1:
        raise SettingsError("--replaces: one code for one box")
    codes = [new_code() for _ in range(args.count)]
    expires_ms = now_ms() + int(args.expires * MS_PER_DAY)
    wish = {
        "digests": [code_digest(code).hex() for code in codes],
        "fleet": args.fleet,
        "expires_ms": expires_ms,
        "replaces": args.replaces,
        "who": getpass.getuser(),
    }
    await operate(settings, ACTS, "codes.keep", wish)
    labels = [Label(settings.enrol_url or "", code, root, args.fleet, expires_ms) for code in codes]
    if args.labels is not None:
        _write(args.labels, sheet(labels))
    if args.boot_files is not None:
        _write_boot_files(args.boot_files, labels)
    print("\n".join(codes))
    return DONE


async def _list(settings: Settings, _args: argparse.Namespace) -> int:
    now = now_ms()
    for code in await operate(settings, ACTS, "codes.list", {}):
        print(f"{code['digest']}  made {day(code['made_ms'])}  fleet {code['fleet']}  {_state(code, now)}")
    return DONE


async def _drop(settings: Settings, _args: argparse.Namespace) -> int:
    print(f"{await operate(settings, ACTS, 'codes.drop', {'who': getpass.getuser()})} codes dropped")
    return DONE


WAYS: Final = {"new": _new, "list": _list, "drop": _drop}


def _write_boot_files(folder: Path, labels: Sequence[Label]) -> None:
    """A folder each, so that the file has its name already when it is copied; numbered as printed."""
    for number, label in enumerate(labels, 1):
        place = folder / f"{number:03d}"
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as problem:
            raise AuthorityError(f"{place}: cannot be made ({problem.strerror})") from problem
        _write(place / BOOT_FILE, boot_text(label))


def _write(file: Path, text: str) -> None:
    try:
        write_atomically(file, text.encode(), SECRET_MODE)
    except OSError as problem:
        raise CodesNotWritten(
            f"{file}: cannot be written ({problem.strerror}); 'packbook token drop' makes the new codes worthless"
        ) from problem


class CodesNotWritten(PackbookError):
    """The codes are on file, but nobody can read them."""


def _state(code: dict[str, Any], now: int) -> str:
    if code["used_by"] is not None:
        return f"used {day(code['used_ms'])} by box {code['used_by']}"
    word = "expired" if code["expires_ms"] <= now else "expires"
    return f"{word} {day(code['expires_ms'])}"


def day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"


def fleet_name(text: str) -> str:
    if not FLEET.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: letters, digits, dot, dash and underscore, at most 63")
    return text


def box_name(text: str) -> str:
    if not is_hex_id(text):
        raise argparse.ArgumentTypeError(f"{text!r}: a box's name has 16 digits of 0-9 and a-f")
    return text


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= COUNT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to {COUNT_MAX}")
    return int(text)


def days(text: str) -> float:
    """A span such as 30d, 12h or 4w."""
    number, unit = text[:-1], text[-1:]
    if unit not in DAYS_IN or not number.isdigit() or not 0 < int(number) * DAYS_IN[unit] <= 365:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time such as 30d, 12h or 4w, at most a year")
    return int(number) * DAYS_IN[unit]
