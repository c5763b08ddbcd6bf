"""`packbook share BATTERY new|list|revoke`: links that open one battery to somebody without an account.

In:  as whom the holder reads (role or purpose), which fields and formats at most, how long, how often.
Out: the address, once, as text and as a QR code (on the terminal, or an SVG file). The book keeps its digest alone.
"""

from __future__ import annotations

import argparse
import getpass
import io
import json
import secrets
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

import segno

from packbook.adapters.private_file import SECRET_MODE, write_atomically
from packbook.adapters.store import access as shelf
from packbook.adapters.store import open_reader
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.relations import must_be_known
from packbook.app.access import ACTS, access_rules, add_reader, reader_from
from packbook.app.command import DONE, add_settings, run
from packbook.app.formats import FORMATS
from packbook.app.operate import operate
from packbook.app.passports import rules_of
from packbook.app.token import day, days
from packbook.clock import now_ms
from packbook.core.consent import PASSPORT, may_leave
from packbook.core.enrolment import MS_PER_DAY
from packbook.core.share import TOKEN_BYTES, Link, token_digest, unfit
from packbook.ports.trouble import PackbookError, SettingsError
from packbook.settings import Settings

PATH: Final = "/s/"


class ShareError(PackbookError):
    """No link was made or changed; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("battery", metavar="BATTERY")
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    new = ways.add_parser("new", help="make a link and print it, once")
    add_reader(new, "buyer")
    new.add_argument("--fields", metavar="A,B", type=_names, help="at most these fields")
    new.add_argument("--formats", metavar="A,B", type=_names, help="at most these formats to take away; '' for none")
    new.add_argument("--expires", type=days, default=14.0, metavar="TIME", help="such as 14d, 12h, 4w (default 14d)")
    new.add_argument("--reads", type=_count, metavar="N", help="opens so often (default: until it expires)")
    new.add_argument("--note", default="", help="whom it is for; shown in the list alone")
    new.add_argument("--svg", type=Path, metavar="FILE", help="the QR code as a drawing to print")
    new.add_argument("--no-qr", action="store_true", help="no QR code on the terminal")
    listing = ways.add_parser("list", help="links of this battery, never their addresses")
    listing.add_argument("--json", action="store_true", help="JSON lines")
    revoking = ways.add_parser("revoke", help="links that open nothing any more, at once")
    which = revoking.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", help="this one, as the list names it")
    which.add_argument("--all", action="store_true", help="all of them")
    for way in ways.choices.values():
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: WAYS[args.way](settings, args))


async def _new(settings: Settings, args: argparse.Namespace) -> int:
    if settings.public_url is None:
        raise SettingsError("public_url is not set: a link must say where this book's pages are")
    reader = reader_from(args)
    token, now = secrets.token_urlsafe(TOKEN_BYTES), now_ms()
    digest = token_digest(token)
    assert digest is not None
    link = Link(
        digest,
        args.battery,
        reader.role,
        reader.purpose,
        args.fields,
        args.formats,
        args.note,
        now,
        getpass.getuser(),
        now + int(args.expires * MS_PER_DAY),
        args.reads,
    )
    problem = unfit(access_rules(rules_of(settings)), link, FORMATS)
    if problem is not None:
        option = problem.partition(":")[0] in ("fields", "formats", "note")
        raise ShareError(f"--{problem}" if option else problem)
    await operate(settings, ACTS, "share.new", {**asdict(link), "digest": digest.hex()})
    await _warn(settings, args.battery)
    address = settings.public_url + PATH + token
    code = segno.make(address, error="m")
    if args.svg is not None:
        _write(args.svg, code)
    print(address)
    print(f"link {link.id} for {link.reader.name}, until {day(link.expires_ms)}; not shown again", file=sys.stderr)
    if sys.stdout.isatty() and not args.no_qr:
        code.terminal(compact=True)
    return DONE


async def _list(settings: Settings, args: argparse.Namespace) -> int:
    async with open_reader(settings.database_url.get_secret_value()) as database, database.transaction() as connection:
        await must_be_known(connection, args.battery)
        links = await shelf.links_of(connection, args.battery)
    now = now_ms()
    for link in links:
        state = link.ended(now)
        if args.json:
            shown = {name: value for name, value in asdict(link).items() if name != "digest"}
            print(json.dumps({"id": link.id, "ended": state, **shown}, ensure_ascii=False))
            continue
        times = f"{link.reads} of {link.reads_max}" if link.reads_max is not None else f"{link.reads}"
        word = state.replace("_", " ") if state else "opens"
        narrowed = f"  fields {','.join(link.fields)}" if link.fields is not None else ""
        note = f"  {link.note}" if link.note else ""
        print(
            f"{link.id}  {link.reader.name}  {word}  made {day(link.made_ms)} by {link.made_by}  "
            f"until {day(link.expires_ms)}  read {times}{narrowed}{note}"
        )
    return DONE


async def _revoke(settings: Settings, args: argparse.Namespace) -> int:
    revoked = await operate(settings, ACTS, "share.revoke", {"battery": args.battery, "id": args.id})
    print(f"battery {args.battery}: {revoked} links revoked")
    return DONE


WAYS: Final = {"new": _new, "list": _list, "revoke": _revoke}


async def _warn(settings: Settings, battery: str) -> None:
    async with open_reader(settings.database_url.get_secret_value()) as database:
        why = may_leave(await SqlHistories(database).purposes(battery), PASSPORT)
    if why is not None:
        print(f"the link shows model data alone until the owner agrees: {why}", file=sys.stderr)


def _write(file: Path, code: segno.QRCode) -> None:
    drawing = io.BytesIO()
    code.save(drawing, kind="svg", scale=4, border=4)
    try:
        write_atomically(file, drawing.getvalue(), SECRET_MODE)
    except OSError as problem:
        raise ShareError(f"{file}: cannot be written ({problem.strerror}); the link was made: revoke it") from problem


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to 1,000,000")
    return int(text)
