"""`packbook export BATTERY --format F`: what the book knows of one battery, as one file.

In:  a battery's name and a format. Out: a file, or standard output; on request what the format had to leave out.
`bundle` is the signed records themselves; all other formats are views of the neutral record (`app.formats`).
Refuses every format that is made for others (all but `OWNERS_OWN`) unless the owner agreed to `passport`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from packbook.adapters.private_file import PUBLIC_MODE, write_atomically
from packbook.adapters.rules import RuleBook
from packbook.adapters.store import open_reader
from packbook.adapters.store.histories import SqlHistories
from packbook.app import export_bundle
from packbook.app.command import DONE, add_settings, run
from packbook.app.evidence import ExportError
from packbook.app.formats import FORMATS, make
from packbook.app.passports import BookPassports, rules_of
from packbook.core.consent import may_leave
from packbook.core.formats import LeftOut
from packbook.core.passport import Passport
from packbook.ports import PackbookError
from packbook.settings import Settings

BUNDLE: Final = "bundle"
OWNERS_OWN: Final = frozenset({BUNDLE})  # what he takes away himself, to give to whom he likes


class NoConsent(PackbookError):
    """The owner did not agree that this battery's figures go to others. Nothing was made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("battery", metavar="BATTERY", help="the battery's id")
    summaries = {BUNDLE: "all signed records; 'packbook verify' checks it anywhere"}
    summaries |= {name: chosen.summary for name, chosen in FORMATS.items()}
    formats = "; ".join(f"{name}: {summary}" for name, summary in summaries.items())
    parser.add_argument("--format", choices=tuple(summaries), default=BUNDLE, help=formats)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to; '-' is standard output (BATTERY.SUFFIX)")
    parser.add_argument("--left-out", action="store_true", help="say on stderr what the format has no place for")
    add_rules(parser)


def add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rule",
        action="append",
        type=_rule,
        default=[],
        metavar="FAMILY=VERSION",
        help="another version of a rule set or mapping than the settings name; may be given again",
    )


def main(args: argparse.Namespace) -> int:
    async def export(settings: Settings) -> int:
        if args.format == BUNDLE:
            made = await export_bundle.make(settings, args.battery)
            write(made, args.out or Path(args.battery + export_bundle.SUFFIX))
            return DONE
        rules = chosen_rules(settings, args)
        passport = await read(settings, args.battery, rules, for_others=True)
        made_of_it = make(args.format, passport, rules, settings)
        write(made_of_it.data, args.out or Path(args.battery + FORMATS[args.format].suffix))
        if args.left_out:
            tell(made_of_it.left_out)
        return DONE

    return run(args, export)


def chosen_rules(settings: Settings, args: argparse.Namespace) -> RuleBook:
    return rules_of(settings, dict(args.rule))


async def read(settings: Settings, battery: str, rules: RuleBook, *, for_others: bool = False) -> Passport:
    """Raises ExportError when there is nothing to tell; `for_others`: NoConsent when the owner did not agree."""
    async with open_reader(settings.database_url.get_secret_value()) as database:
        passport = await BookPassports(database, rules).passport(battery)
    if passport is None:
        raise ExportError(f"no battery {battery!r} is in this book")
    if for_others:
        await need_consent(settings, battery)
    if passport.coverage is None:
        raise ExportError(f"battery {battery}: no usage or state of health has arrived yet; there is nothing to tell")
    return passport


async def need_consent(settings: Settings, battery: str) -> None:
    """Raises NoConsent unless what the book knows of the battery may go to others."""
    async with open_reader(settings.database_url.get_secret_value()) as database:
        why = may_leave(await SqlHistories(database).purposes(battery), "passport")
    if why is not None:
        raise NoConsent(f"battery {battery}: {why}")


def tell(left_out: tuple[LeftOut, ...]) -> None:
    for left in left_out:
        print(f"left out: {left.name}: {left.reason}", file=sys.stderr)
    if not left_out:
        print("left out: nothing", file=sys.stderr)


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


def _rule(text: str) -> tuple[str, str]:
    family, equals, version = text.partition("=")
    if not (family and equals and version):
        raise argparse.ArgumentTypeError(f"{text!r} is not FAMILY=VERSION, like owed=2026-07")
    return family, version
