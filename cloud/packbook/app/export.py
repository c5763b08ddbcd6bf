"""`packbook export BATTERY --format F`: what the book knows of one battery, as one file.

In:  a battery's name and a format. Out: a file, or standard output; on request what the format had to leave out.
`bundle` is the signed records themselves; all other formats are views of the neutral record (`app.formats`), cut
down to what the reader they are made for may see. Every export is put on record first.
Refuses individual data without the owner's consent, but to himself, and a bundle to all but owner and operator.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from packbook.adapters.private_file import PUBLIC_MODE, write_atomically
from packbook.adapters.rules import RuleBook
from packbook.adapters.store import open_reader
from packbook.adapters.store.histories import SqlHistories
from packbook.app import export_bundle
from packbook.app.access import ACTS, access_rules, add_reader, read_as_json, reader_from
from packbook.app.command import DONE, add_settings, run
from packbook.app.evidence import ExportError
from packbook.app.formats import FORMATS, make
from packbook.app.operate import operate
from packbook.app.passports import BookPassports, rules_of
from packbook.clock import now_ms
from packbook.core.access import AccessTable, Cut, Grant, Read, Reader
from packbook.core.consent import PASSPORT, may_leave
from packbook.core.formats import LeftOut
from packbook.core.passport import Passport
from packbook.ports.passports import PLAIN, Manner
from packbook.ports.trouble import PackbookError
from packbook.settings import Settings
from packbook.web.words import LANGUAGES

BUNDLE: Final = "bundle"
LINK_MAX: Final = 300  # characters that a QR code of two centimetres still carries to a telephone


class NoConsent(PackbookError):
    """The owner did not agree that this battery's figures go to others. Nothing was made."""


class NotForThisReader(PackbookError):
    """This reader may not have that. Nothing was made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("battery", metavar="BATTERY", help="the battery's id")
    summaries = {BUNDLE: "all signed records; 'packbook verify' checks it anywhere"}
    summaries |= {name: chosen.summary for name, chosen in FORMATS.items()}
    formats = "; ".join(f"{name}: {summary}" for name, summary in summaries.items())
    parser.add_argument("--format", choices=tuple(summaries), default=BUNDLE, help=formats)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to; '-' is standard output (BATTERY.SUFFIX)")
    parser.add_argument("--left-out", action="store_true", help="say on stderr what the format has no place for")
    parser.add_argument("--lang", choices=LANGUAGES, default=PLAIN.language, help="of a sheet")
    parser.add_argument("--link", type=_address, metavar="URL", help="where a sheet's QR code leads (the public page)")
    add_reader(parser, "operator")
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
    return run(args, lambda settings: _export(settings, args))


async def _export(settings: Settings, args: argparse.Namespace) -> int:
    rules, reader = chosen_rules(settings, args), reader_from(args, account=getpass.getuser())
    table = access_rules(rules)
    need_role(table, reader, history=args.format == BUNDLE)
    if args.format == BUNDLE:
        data = await export_bundle.make(settings, args.battery)
        await note_export(settings, args.battery, reader, BUNDLE)
        write(data, args.out or Path(args.battery + export_bundle.SUFFIX))
        return DONE
    cut = await cut_for(settings, await read(settings, args.battery, rules), table, reader)
    made = await make(args.format, cut.passport, rules, settings, Manner(args.lang, args.link))
    await note_export(settings, args.battery, reader, args.format, table.individual_in(cut.passport))
    write(made.data, args.out or Path(args.battery + FORMATS[args.format].suffix))
    if args.left_out:
        tell(made.left_out)
    if cut.passport.doubts:  # most formats have no place for it
        doubts = ", ".join(cut.passport.doubts)
        print(f"battery {args.battery}: its history is in dispute ({doubts}); any figure may be wrong", file=sys.stderr)
    return DONE


def need_role(table: AccessTable, reader: Reader, *, history: bool = False) -> Grant:
    """Raises NotForThisReader. `history`: he wants sessions and times, too."""
    grant = table.grant(reader)
    if grant is None:
        raise NotForThisReader(f"there is no role {reader.name}; there are {', '.join(sorted(table.grants))}")
    if history and not grant.history:
        raise NotForThisReader(f"{reader.name}: a bundle holds sessions and times; it is for owner and operator")
    return grant


def chosen_rules(settings: Settings, args: argparse.Namespace) -> RuleBook:
    return rules_of(settings, dict(args.rule))


async def read(settings: Settings, battery: str, rules: RuleBook) -> Passport:
    """The whole record. Raises ExportError when there is nothing to tell."""
    async with open_reader(settings.database_url.get_secret_value()) as database:
        passport = await BookPassports(database, rules).passport(battery)
    if passport is None:
        raise ExportError(f"no battery {battery!r} is in this book")
    status = passport.first("status")
    if passport.coverage is None and (status is None or "recycled_on" not in status.conditions):
        raise ExportError(f"battery {battery}: no usage or state of health has arrived yet; there is nothing to tell")
    return passport


async def cut_for(settings: Settings, passport: Passport, table: AccessTable, reader: Reader) -> Cut:
    """The record as this reader may see it. Raises NoConsent when the owner did not agree."""
    async with open_reader(settings.database_url.get_secret_value()) as database:
        why = may_leave(await SqlHistories(database).purposes(passport.battery), PASSPORT)
    cut = table.redact(passport, reader, no_consent=why)
    if cut.why is not None:
        raise NoConsent(f"battery {passport.battery}: {why}")
    return cut


def tell(left_out: tuple[LeftOut, ...]) -> None:
    for left in left_out:
        print(f"left out: {left.name}: {left.reason}", file=sys.stderr)
    if not left_out:
        print("left out: nothing", file=sys.stderr)


async def note_export(
    settings: Settings, battery: str, reader: Reader, what: str, fields: tuple[str, ...] = ()
) -> None:
    """Put on record who takes what away. Raises PackbookError: then nothing may be given."""
    noted = read_as_json(Read(now_ms(), battery, reader, "export", what, fields))
    await operate(settings, ACTS, "reads.note", {"reads": [noted]})


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


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable() or len(text) > LINK_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no address of a web page, or too long for a QR code on a sheet")
    return text
