"""`packbook durability`: how the fleet's batteries stand to UN GTR 22 or Euro 7, family by family.

In:  every battery of the book, as the reader may see it. Out: JSON with shares, and verdicts where samples allow one.
Cars without consent to `passport` are left out and counted.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Final

from packbook.adapters.store import open_reader
from packbook.adapters.store.histories import SqlHistories
from packbook.app.access import access_rules, add_reader, reader_from
from packbook.app.command import DONE, add_settings, run
from packbook.app.export import NoConsent, add_rules, chosen_rules, cut_for, need_role, note_export, write
from packbook.app.passports import BookPassports
from packbook.core.formats.gtr22 import MAPPING, fleet_report
from packbook.settings import Settings

RULES: Final = ("gtr22", "euro7")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--law", choices=RULES, default=RULES[0], help="whose limits (gtr22)")
    parser.add_argument("--out", type=Path, default=Path("-"), metavar="FILE", help="where to (standard output)")
    add_reader(parser, "operator")
    add_rules(parser)
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _durability(settings, args))


async def _durability(settings: Settings, args: argparse.Namespace) -> int:
    rules, reader = chosen_rules(settings, args), reader_from(args, account=getpass.getuser())
    table = access_rules(rules)
    need_role(table, reader)
    limits = rules.load("limits", MAPPING, args.law)
    async with open_reader(settings.database_url.get_secret_value()) as database:
        heads = await SqlHistories(database).batteries()
        whole = [await BookPassports(database, rules).passport(head.battery) for head in heads]
    seen = []
    silent = 0
    for passport in whole:
        if passport is None:
            continue
        try:
            cut = await cut_for(settings, passport, table, reader)
        except NoConsent:
            silent += 1
            continue
        await note_export(settings, passport.battery, reader, "durability", table.individual_in(cut.passport))
        seen.append(cut.passport)
    write(fleet_report(seen, limits), args.out)
    if silent:
        print(f"{silent} batteries are left out: their owners did not agree to 'passport'", file=sys.stderr)
    return DONE
