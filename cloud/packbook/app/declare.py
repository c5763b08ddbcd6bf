"""`packbook declare BATTERY`: take down what people and firms say of a battery or its model; show what they said.

In:  a card (TOML), or one foreign diagnosis, or the name of what is taken back.
Out: rows in the store, added and never changed: what is said later supersedes, what was said stays on file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from packbook.adapters.cards import read_card
from packbook.adapters.store import declarations, open_reader
from packbook.adapters.store.histories import SqlHistories
from packbook.app.command import DONE, WRONG_USAGE, add_settings, run
from packbook.app.declaration import ACTS, as_arguments
from packbook.app.evidence import ExportError
from packbook.app.operate import operate
from packbook.app.passports import rules_of
from packbook.app.token import day
from packbook.clock import now_ms
from packbook.core.declared import Declared, Scope, in_force
from packbook.core.rules import Fields
from packbook.settings import Settings

FOREIGN_SOH: Final = "soh_declared_pct"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", metavar="BATTERY", help="the battery's id; with --model the pack's name")
    parser.add_argument("--model", action="store_true", help="holds for every battery with this pack")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, metavar="CARD", help="a card in TOML (docs/passport.md)")
    what.add_argument("--soh", type=float, metavar="PCT", help="a state of health that somebody else found")
    what.add_argument("--withdraw", metavar="FIELD", help="take back what was said of this field")
    what.add_argument("--list", action="store_true", help="everything that was ever said, the newest last")
    parser.add_argument("--by", help="who says so: a firm or a role, not a person's name")
    parser.add_argument("--on", metavar="DAY", help="the day it was found, like 2026-05-03")
    parser.add_argument("--method", help="how it was found, like 'workshop OBD'")
    parser.add_argument("--sigma", type=float, metavar="PCT", help="its standard uncertainty, where they name one")
    parser.add_argument("--document", metavar="ID", help="the document that says so")
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    missing = _missing(args)
    if missing:
        print(f"packbook declare: {missing}", file=sys.stderr)
        return WRONG_USAGE
    return run(args, lambda settings: _show(settings, args) if args.list else _declare(settings, args))


def _missing(args: argparse.Namespace) -> str | None:
    if args.soh is not None and not (args.by and args.on and args.method):
        return "--soh needs --by, --on and --method: a figure without its source is worth nothing"
    if args.withdraw is not None and not args.by:
        return "--withdraw needs --by"
    named = [name for name in ("by", "on", "method", "sigma", "document") if getattr(args, name) is not None]
    if (args.file or args.list) and named:
        return f"--{named[0]} stands in the card" if args.file else f"--{named[0]} does not go with --list"
    return None


async def _declare(settings: Settings, args: argparse.Namespace) -> int:
    scope = Scope.MODEL if args.model else Scope.BATTERY
    said = _said(args, scope, rules_of(settings).fields())
    await operate(settings, ACTS, "declare", as_arguments(scope, args.subject, said))
    names = sorted({declared.name for declared in said})
    print(f"{scope} {args.subject}: {'taken back' if args.withdraw else 'declared'}: {', '.join(names)}")
    return DONE


def _said(args: argparse.Namespace, scope: Scope, fields: Fields) -> list[Declared]:
    if args.file is not None:
        return read_card(args.file, fields, scope, now_ms())
    return [
        Declared(
            name=args.withdraw or FOREIGN_SOH,
            value=args.soh,
            by=args.by,
            entered_ms=now_ms(),
            on=args.on,
            method=args.method,
            document=args.document,
            sigma=args.sigma,
            scope=scope,
        )
    ]


async def _show(settings: Settings, args: argparse.Namespace) -> int:
    """Superseded ones too: nothing that was said is lost."""
    fields = rules_of(settings).fields()
    async with open_reader(settings.database_url.get_secret_value()) as database:
        if args.model:
            said = await declarations.said_of(database, "", args.subject)
        else:
            head = await SqlHistories(database).battery(args.subject)
            if head is None:
                raise ExportError(f"no battery {args.subject!r} is in this book")
            said = await declarations.said_of(database, args.subject, head.pack)
    valid = [declared for some in in_force(said, fields.fields).values() for declared in some]
    print("\n".join(_line(declared, declared in valid) for declared in said) or "nothing was declared")
    return DONE


def _line(declared: Declared, valid: bool) -> str:
    value = "taken back" if declared.value is None else declared.value
    held = "" if declared.on is None else f" of {declared.on}"
    source = ", ".join(filter(None, (declared.by, declared.method, declared.document)))
    mark = "" if valid or declared.value is None else "  (superseded)"
    return f"{day(declared.entered_ms)}  {declared.scope:7}  {declared.name} = {value}{held}  ({source}){mark}"
