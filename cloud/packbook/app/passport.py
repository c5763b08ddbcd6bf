"""`packbook passport BATTERY`: what a passport of its category owes, what is there, what is missing and why.

It says where values come from, never what they are: that is for `packbook export`, which asks who reads.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from packbook.app.command import DONE, PROBLEM, add_settings, run
from packbook.app.export import add_rules, chosen_rules, read
from packbook.core.formats.neutral import day
from packbook.core.owed import Due, Standing, due
from packbook.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("battery", metavar="BATTERY", help="the battery's id")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_rules(parser)
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    """PROBLEM when something is missing or too much, so that a script can tell."""

    async def tell(settings: Settings) -> int:
        rules = chosen_rules(settings, args)
        owed, fields = rules.owed(), rules.fields()
        passport = await read(settings, args.battery, rules)
        dues = due(passport, owed, fields)
        if args.json:
            told = {"battery": passport.battery, "category": passport.category, "owed": owed.version}
            print(json.dumps(told | {"rows": [_row(one) for one in dues]}, ensure_ascii=False))
        else:
            print(f"{passport.battery}: category {passport.category}, owed by {owed.source} ({owed.version})")
            print("\n".join(_line(one) for one in dues))
        wrong = sum(one.standing in (Standing.MISSING, Standing.TOO_MUCH) for one in dues)
        if wrong:
            print(f"packbook: battery {passport.battery}: {wrong} of {len(dues)} rows are not met", file=sys.stderr)
        return PROBLEM if wrong else DONE

    return run(args, tell)


def _line(one: Due) -> str:
    shown = "; ".join(f"{name}, {fact.source} by {fact.by}" for name, fact in one.facts) or one.why or ""
    note = f" ({one.note})" if one.note else ""
    return f"{one.standing:8}  {one.verdict:13}  {one.name}{note}: {shown}".rstrip(" :")


def _row(one: Due) -> dict[str, Any]:
    return {
        "name": one.name,
        "asked_in": one.asked_in,
        "verdict": one.verdict,
        "standing": one.standing,
        "why": one.why,
        "note": one.note,
        "filled_by": [
            {"field": name, "unit": fact.unit, "source": fact.source, "by": fact.by, "on": day(fact.at_ms)}
            for name, fact in one.facts
        ],
    }
