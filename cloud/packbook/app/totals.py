"""`packbook totals`: what the book's batteries amount to, by family, year of manufacture or municipality.

In:  batteries whose owners agreed that they be shown, with state of health and usage. Out: a table, or JSON.
Nothing in it, nor anything that can be computed from it, rests on fewer batteries than `--k` (`core.totals`). A
municipality is what the operator says of a fleet (setting `municipalities`); nothing follows from where a car was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from typing import Any, Final

from packbook.adapters.store import declarations, fleets, open_reader
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.app.command import DONE, PROBLEM, add_settings, run
from packbook.app.passports import made_on_ms, rules_of
from packbook.clock import now_ms
from packbook.core.consent import PASSPORT, may_leave
from packbook.core.formats.writing import day
from packbook.core.history import Battery
from packbook.core.prospect import YEAR_MS
from packbook.core.rules import Fields
from packbook.core.totals import LEAST, LEAST_MIN, TRAITS, Group, Member, Release, release
from packbook.settings import Settings

NOT_DECLARED: Final = "not declared"
OTHERS: Final = "others"
COLUMNS: Final = ("", "batteries", "SoH quartiles %", "km watched", "kWh delivered", "age median")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=TRAITS, action="append", help="only this breakdown; may be given again")
    parser.add_argument("--k", type=_least, default=LEAST, help=f"size of the smallest group ({LEAST})")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    async def tell(settings: Settings) -> int:
        async with open_reader(settings.database_url.get_secret_value()) as database:
            members, left_out = await _members(settings, database)
        told = release(members, args.k)
        shown = [trait for trait in TRAITS if trait in (args.by or TRAITS)]
        print(json.dumps(_as_json(told, shown), ensure_ascii=False) if args.json else _table(told, shown))
        for why, count in sorted(left_out.items()):
            print(f"left out: {count} batteries: {why}", file=sys.stderr)
        if told.total is None:
            print(f"packbook: fewer than {args.k} batteries to tell of; nothing is told", file=sys.stderr)
        return DONE if told.total is not None else PROBLEM

    return run(args, tell)


async def _members(settings: Settings, database: Database) -> tuple[list[Member], Counter[str]]:
    """One that lacks a figure is left out of all of them: else two columns would tell how many lack it."""
    fields, fleet_of = rules_of(settings).fields(), await fleets.of_boxes(database)
    histories, left_out, members = SqlHistories(database), Counter[str](), []
    for head in await histories.batteries():
        if may_leave(await histories.purposes(head.battery), PASSPORT) is not None:
            left_out["the owner's consent to passport is missing"] += 1
        elif head.doubts:
            left_out["its history is in doubt"] += 1
        else:
            member = await _member(settings, database, head, fields, fleet_of)
            if member is None:
                left_out["no state of health or no usage yet"] += 1
            else:
                members.append(member)
    return members, left_out


async def _member(
    settings: Settings, database: Database, head: Battery, fields: Fields, fleet_of: dict[str, str]
) -> Member | None:
    usage = await SqlHistories(database).usage(head.battery)
    if usage is None or head.soh is None or head.soh.soh_pct is None:
        return None
    made_ms = made_on_ms(await declarations.said_of(database, head.battery, head.pack), fields)
    fleet = fleet_of.get(usage.provenance.box, "")
    traits = {
        "family": head.pack or NOT_DECLARED,
        "municipality": settings.municipalities.get(fleet, NOT_DECLARED),
        "year": NOT_DECLARED if made_ms is None else day(made_ms)[:4],
    }
    return Member(
        traits,
        soh_pct=head.soh.soh_pct,
        km=usage.distance_km,
        energy_kwh=usage.energy_out_wh / 1000.0,
        age_years=None if made_ms is None else max(0, now_ms() - made_ms) / YEAR_MS,
    )


def _as_json(told: Release, shown: list[str]) -> dict[str, Any]:
    return {
        "form": "packbook-totals/1",
        "as_of": day(now_ms()),
        "k": told.least,
        "total": None if told.total is None else _group(told.total),
        "by": {trait: [_group(group) for group in told.groups[trait]] for trait in shown},
    }


def _group(group: Group) -> dict[str, Any]:
    """The name null: others."""
    return asdict(group) | {"soh_quartiles_pct": list(group.soh_quartiles_pct)}


def _table(told: Release, shown: list[str]) -> str:
    if told.total is None:
        return ""
    rows = [COLUMNS, ("all", *_cells(told.total))]
    for trait in shown:
        rows.append((f"by {trait}", *("",) * (len(COLUMNS) - 1)))
        rows += [(f"  {OTHERS if group.name is None else group.name}", *_cells(group)) for group in told.groups[trait]]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _cells(group: Group) -> tuple[str, ...]:
    quartiles = " / ".join(str(pct) for pct in group.soh_quartiles_pct)
    age = "" if group.age_median_years is None else f"{group.age_median_years:.1f}"
    return str(group.batteries), quartiles, f"{group.km:,}", f"{group.energy_kwh:,}", age


def _least(text: str) -> int:
    if not text.isdigit() or int(text) < LEAST_MIN:
        raise argparse.ArgumentTypeError(f"{text!r}: groups are of at least {LEAST_MIN}")
    return int(text)
