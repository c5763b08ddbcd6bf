"""`packbook credential issue|list|revoke`: W3C credentials of a battery, with what they rest on.

`issue` names the end of every chain of records behind the values, vouches for the boxes' keys and, with `--bundle`,
writes the evidence bundle beside the credentials and its digest into them. What is taken back stays on file.
"""

from __future__ import annotations

import argparse
import getpass
import json
from pathlib import Path
from typing import Final

from packbook.adapters.store import credentials as shelf
from packbook.adapters.store import open_reader
from packbook.adapters.store.evidence import SqlEvidence
from packbook.app import access, export_bundle
from packbook.app.command import DONE, add_settings, run
from packbook.app.credentials import ACTS, Grounds
from packbook.app.export import add_rules, chosen_rules, cut_for, need_role, note_export, read, tell, write
from packbook.app.export_credential import SUFFIX, make
from packbook.app.operate import operate
from packbook.app.token import day
from packbook.settings import Settings

FORMAT: Final = "credential"
REASON_MAX: Final = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    issuing = ways.add_parser("issue", help="sign what the record says, and on which records it rests")
    issuing.add_argument("battery", metavar="BATTERY")
    issuing.add_argument("--out", type=Path, metavar="FILE", help="where to; '-' is standard output (BATTERY.vc.json)")
    issuing.add_argument("--bundle", type=Path, metavar="FILE", help="write the evidence bundle there, and name it")
    issuing.add_argument("--left-out", action="store_true", help="say on stderr what has no place in a credential")
    access.add_reader(issuing, "operator")
    add_rules(issuing)
    listing = ways.add_parser("list", help="every credential of a battery or box, the newest first")
    listing.add_argument("about", metavar="BATTERY|BOX")
    listing.add_argument("--json", action="store_true", help="JSON lines")
    revoking = ways.add_parser("revoke", help="take back: the status list says so from now on")
    which = revoking.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", metavar="UUID", help="this one, as the list names it")
    which.add_argument("--all", metavar="BATTERY|BOX", help="all of this battery or box")
    revoking.add_argument("--reason", required=True, type=_reason, help="why; it stays in this book")
    for way in ways.choices.values():
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: WAYS[args.way](settings, args))


async def _issue(settings: Settings, args: argparse.Namespace) -> int:
    rules, reader = chosen_rules(settings, args), access.reader_from(args, account=getpass.getuser())
    table = access.access_rules(rules)
    grant = need_role(table, reader)
    cut = await cut_for(settings, await read(settings, args.battery, rules), table, reader)
    bundle = None
    if args.bundle is not None:
        need_role(table, reader, history=True)
        bundle = await export_bundle.make(settings, args.battery)
    async with open_reader(settings.database_url.get_secret_value()) as database:
        heads = await SqlEvidence(database).heads(args.battery) if grant.history else []
    await note_export(settings, args.battery, reader, FORMAT, table.individual_in(cut.passport))
    made = await make(settings, cut.passport, rules, Grounds(heads, bundle))
    if bundle is not None:
        write(bundle, args.bundle)
    write(made.data, args.out or Path(args.battery + SUFFIX))
    if args.left_out:
        tell(made.left_out)
    return DONE


async def _list(settings: Settings, args: argparse.Namespace) -> int:
    async with open_reader(settings.database_url.get_secret_value()) as database, database.transaction() as connection:
        found = await shelf.of(connection, args.about)
    for one in found:
        print(json.dumps(_as_json(one)) if args.json else _line(one))
    if not found and not args.json:
        print("no credential was issued")
    return DONE


async def _revoke(settings: Settings, args: argparse.Namespace) -> int:
    wish = {"id": args.id, "about": args.all, "reason": args.reason}
    count = await operate(settings, ACTS, "credential.revoke", wish)
    print(f"{count} credentials taken back")
    return DONE


WAYS: Final = {"issue": _issue, "list": _list, "revoke": _revoke}


def _as_json(one: shelf.Issued) -> dict[str, object]:
    names = ("number", "id", "about", "part", "issued_ms", "until_ms", "revoked_ms", "reason")
    return {name: getattr(one, name) for name in names}


def _line(one: shelf.Issued) -> str:
    until = "" if one.until_ms is None else f" until {day(one.until_ms)}"
    gone = "" if one.revoked_ms is None else f"  taken back {day(one.revoked_ms)}: {one.reason}"
    return f"{one.id}  {one.part:8}  {day(one.issued_ms)}{until}{gone}"


def _reason(text: str) -> str:
    if not 0 < len(text.strip()) <= REASON_MAX or not text.isprintable():
        raise argparse.ArgumentTypeError(f"expected 1 to {REASON_MAX} printable characters")
    return text
