"""`packbook tenant`: firms and households that share a book and see nothing of one another."""

from __future__ import annotations

import argparse
from typing import Final

from packbook.app.account_acts import ACTS
from packbook.app.accounts import on_the_spot
from packbook.app.command import DONE, add_settings, run
from packbook.app.operate import operate
from packbook.app.token import fleet_name
from packbook.core.accounts import FIRST_TENANT
from packbook.settings import Settings

LABEL_MAX: Final = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    adding = ways.add_parser("add", help="make one")
    adding.add_argument("tenant", type=fleet_name, metavar="TENANT")
    adding.add_argument("--label", default="", help="in words")
    ways.add_parser("list", help="all of them, with their fleets")
    fleet = ways.add_parser("fleet", help="give a fleet, its boxes and the batteries they watch to a tenant")
    fleet.add_argument("fleet", type=fleet_name, metavar="FLEET")
    battery = ways.add_parser("battery", help="let a tenant whose box watches it have another's battery")
    battery.add_argument("battery", metavar="BATTERY")
    for way in (fleet, battery):
        way.add_argument("--tenant", type=fleet_name, required=True, metavar="TENANT")
    for way in ways.choices.values():
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _tenant(settings, args))


async def _tenant(settings: Settings, args: argparse.Namespace) -> int:
    if args.way == "add":
        wish = {"tenant": args.tenant, "label": args.label[:LABEL_MAX]}
        await operate(settings, ACTS, "tenant.keep", wish | on_the_spot())
        print(f"tenant {args.tenant} is there; 'packbook tenant fleet' gives it fleets")
    elif args.way == "fleet":
        wish = {"fleet": args.fleet, "tenant": args.tenant}
        batteries = await operate(settings, ACTS, "fleet.keep", wish | on_the_spot())
        print(f"fleet {args.fleet} is {args.tenant}'s now, who has {batteries} batteries")
    elif args.way == "battery":
        await operate(
            settings, ACTS, "tenant.battery", {"battery": args.battery, "tenant": args.tenant} | on_the_spot()
        )
        print(f"battery {args.battery} is {args.tenant}'s now, with its history")
    else:
        known = await operate(settings, ACTS, "tenant.list", {})
        for tenant, label in known["tenants"].items():
            fleets = [fleet for fleet, of in known["fleets"].items() if of == tenant]
            rest = "  and all other fleets" if tenant == FIRST_TENANT else ""
            print(f"{tenant}  {label}  fleets: {' '.join(fleets) or '-'}{rest}")
    return DONE
