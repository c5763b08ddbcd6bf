"""`packbook box`: which boxes are enrolled, and what operators decide about one."""

from __future__ import annotations

import argparse
import json
from getpass import getuser
from typing import Any, Final

from packbook.app.command import DONE, add_settings, run
from packbook.app.enrolment import ACTS
from packbook.app.operate import operate
from packbook.app.token import box_name, day, fleet_name
from packbook.core.enrolment import BoxState
from packbook.settings import Settings

DECISIONS: Final = {
    "retire": (BoxState.RETIRED, "decommission: its history stays, it may say no more"),
    "reinstate": (BoxState.ACTIVE, "let a revoked or retired box enrol again, with a new code"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    listing = ways.add_parser("list", help="all boxes with fleet, state and certificate")
    showing = ways.add_parser("show", help="one box and what was done about it")
    moving = ways.add_parser("transfer", help="put it into another fleet")
    adopting = ways.add_parser("adopt", help="put a box that speaks without being enrolled into a fleet")
    for way in (moving, adopting):
        way.add_argument("--fleet", type=fleet_name, required=True)
    deciding = [ways.add_parser(way, help=help_) for way, (_, help_) in DECISIONS.items()]
    for way in (showing, moving, adopting, *deciding):
        way.add_argument("box", type=box_name, metavar="BOX")
    for way in (moving, *deciding):
        way.add_argument("--why", default="", help="goes into the log of acts")
    for way in (listing, showing):
        way.add_argument("--json", action="store_true", help="print JSON")
    for way in ways.choices.values():
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _box(settings, args))


async def _box(settings: Settings, args: argparse.Namespace) -> int:
    if args.way == "list":
        boxes = await operate(settings, ACTS, "box.list", {})
        print("\n".join(json.dumps(box) if args.json else _line(box) for box in boxes))
    elif args.way == "show":
        box = await operate(settings, ACTS, "box.show", {"box": args.box})
        print(json.dumps(box) if args.json else _told(box))
    elif args.way == "transfer":
        await operate(
            settings, ACTS, "box.transfer", {"box": args.box, "fleet": args.fleet, "why": args.why, "who": getuser()}
        )
        print(f"box {args.box} is of fleet {args.fleet} now; its certificate says so from the next renewal on")
    elif args.way == "adopt":
        await operate(settings, ACTS, "box.adopt", {"box": args.box, "fleet": args.fleet})
        print(f"box {args.box} is of fleet {args.fleet} now")
    else:
        await decide(settings, args.box, DECISIONS[args.way][0], args.why)
    return DONE


async def decide(settings: Settings, box: str, state: BoxState, why: str) -> None:
    await operate(settings, ACTS, "box.state", {"box": box, "state": str(state), "why": why, "who": getuser()})
    print(f"box {box} is {state} now")


def _line(box: dict[str, Any]) -> str:
    certificate = box["certificate"]
    held = "no certificate"
    if certificate is not None:
        held = "certificate " + ("revoked" if certificate["revoked_ms"] else f"until {day(certificate['until_ms'])}")
    instead = f"  in place of {box['replaces']}" if box["replaces"] else ""
    return f"{box['box']}  {box['state']:<8}  fleet {box['fleet']}  {held}{instead}"


def _told(box: dict[str, Any]) -> str:
    acts = (f"  {day(act['at_ms'])}  {act['act']}  {act['detail']}".rstrip() for act in box["acts"])
    return "\n".join((_line(box), *acts))
