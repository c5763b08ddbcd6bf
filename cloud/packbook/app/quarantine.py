"""`packbook quarantine`: look at what could not be believed, and deal with it. Every act is written down for good.

In:  what to list; or messages by number, or a disputed store, with the reason why.
Out: what stands in quarantine and which stores are disputed; `--json` prints JSON lines.
Exit code 1 when a number or store is not there, or a message that was released is refused again.
"""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from packbook.adapters.store import open_reader, quarantine
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.quarantine import Act, Dispute, Item
from packbook.app.command import DONE, PROBLEM, add_settings, run
from packbook.app.operate import Act as OperatorsAct
from packbook.app.operate import Office, operate
from packbook.clock import now_ms
from packbook.core.intake import Arrival, Fate
from packbook.ports.trouble import PackbookError
from packbook.settings import Settings


class NotThereError(PackbookError):
    """No such message or dispute. Nothing was changed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    listing = acts.add_parser("list", help="what nobody has dealt with, and disputed stores")
    listing.add_argument("--box", help="of this box only")
    listing.add_argument("--reason", help="for this reason only")
    listing.add_argument("--all", action="store_true", help="also what was dealt with")
    show = acts.add_parser("show", help="one message with its bytes, and what was done about it")
    show.add_argument("item", type=int, metavar="ID")
    release = acts.add_parser("release", help="offer messages to the ledger again; vouches for a revoked box")
    drop = acts.add_parser("drop", help="throw the bytes of messages away; that they came stays known")
    for act in (release, drop):
        act.add_argument("items", type=int, nargs="+", metavar="ID")
    trust = acts.add_parser("trust", help="end a dispute: the history that the ledger holds goes on")
    distrust = acts.add_parser("distrust", help="end a dispute: what came after it stays out of the history")
    for act in (trust, distrust):
        act.add_argument("box", metavar="BOX")
        act.add_argument("store", metavar="STORE")
    for act in (release, drop, trust, distrust):
        act.add_argument("--why", required=True, help="the reason, written down with your name")
    for act in (listing, show, release, drop, trust, distrust):
        add_settings(act)
        act.add_argument("--json", action="store_true", help="print JSON lines")


def main(args: argparse.Namespace) -> int:
    async def work(settings: Settings) -> int:
        url = settings.database_url.get_secret_value()
        match args.act:
            case "list":
                return await _list(url, args)
            case "show":
                return await _show(url, args)
            case _:
                return await _act(settings, args)

    return run(args, work)


async def _list(url: str, args: argparse.Namespace) -> int:
    async with open_reader(url) as database, database.transaction() as connection:
        disputes = await quarantine.disputes(connection)
        items = await quarantine.items(connection, box=args.box, reason=args.reason, every_state=args.all)
    disputes = [
        dispute
        for dispute in disputes
        if (args.all or dispute.settled_ms is None) and args.box in (None, dispute.box) and args.reason is None
    ]
    if args.json:
        for dispute in disputes:
            print(json.dumps({"dispute": asdict(dispute)}))
        for item in items:
            print(json.dumps({"item": _plain(item)}, ensure_ascii=False))
        return DONE
    for dispute in disputes:
        print(_dispute_told(dispute))
    for item in items:
        print(_told(item))
    if not items and not disputes:
        print("nothing waits in quarantine")
    return DONE


async def _show(url: str, args: argparse.Namespace) -> int:
    async with open_reader(url) as database, database.transaction() as connection:
        (item,) = _all_there([args.item], await quarantine.items(connection, ids=[args.item]))
        acts = await quarantine.acts(connection, item.id)
    if args.json:
        told = _plain(item) | {"payload": item.payload.hex()}
        print(json.dumps({"item": told, "acts": [_plain_act(act) for act in acts]}, ensure_ascii=False))
        return DONE
    print(_told(item))
    for act in acts:
        print(f"  {_when(act.at_ms)} {act.act} by {act.who}: {act.why}")
    print(f"  {len(item.payload)} bytes: {item.payload.hex()}")
    return DONE


async def _act(settings: Settings, args: argparse.Namespace) -> int:
    """Have it done, here or by the running book."""
    arguments: dict[str, Any] = {"who": getpass.getuser(), "why": args.why}
    if args.act in ("release", "drop"):
        arguments["items"] = args.items
    else:
        arguments |= {"box": args.box, "store": args.store}
    answers = await operate(settings, ACTS, f"quarantine.{args.act}", arguments)
    for answer in answers:
        print(json.dumps(answer) if args.json else _answer_told(answer))
    return PROBLEM if any(answer.get("refused") for answer in answers) else DONE


def _answer_told(answer: Mapping[str, Any]) -> str:
    match answer:
        case {"item": item, "refused": str(why)}:
            return f"{item}: refused again: {why}"
        case {"item": item, "state": state}:
            return f"{item}: {state}"
        case {"store": store, "records": records, "act": "trust"}:
            return f"store {store}: {records} records entered the history"
        case _:
            return f"store {answer['store']}: {answer['records']} records stay out of the history"


# --- done here, or inside the running book ---------------------------------------------------------------------------


async def _release(office: Office, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Through the same door as everything, so nothing enters that its box did not sign and its chain does not bear."""
    ledger = Ledger(office.database, enrolled_only=office.settings.enrolled_only)
    async with office.database.transaction() as connection:
        items = _all_there(arguments["items"], await quarantine.items(connection, ids=arguments["items"]))
        for item in items:
            await quarantine.note(connection, _noted("release", arguments, item))
    answers: list[dict[str, Any]] = []
    for item in items:
        taken = await ledger.take([Arrival(item.topic, item.payload, item.received_ms)], vouched=True)
        if taken.accepted + taken.duplicates:
            answers.append({"item": item.id, "state": Fate.BELIEVED.value})
        else:
            why = ", ".join(taken.quarantined) or "the key of its box is not on file"
            answers.append({"item": item.id, "refused": why})
    return answers


async def _drop(office: Office, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    async with office.database.transaction() as connection:
        items = _all_there(arguments["items"], await quarantine.items(connection, ids=arguments["items"]))
        for item in items:
            await quarantine.drop(connection, item)
            await quarantine.note(connection, _noted("drop", arguments, item))
    return [{"item": item.id, "state": Fate.DROPPED.value} for item in items]


async def _settle(office: Office, arguments: Mapping[str, Any], *, trust: bool) -> list[dict[str, Any]]:
    box, store = arguments["box"], arguments["store"]
    word = "trust" if trust else "distrust"
    act = Act(now_ms(), word, arguments["who"], arguments["why"], box=box, store=store)
    records = await Ledger(office.database).settle(act, trust=trust)
    if records is None:
        raise NotThereError(f"store {store} of box {box} is not disputed")
    return [{"box": box, "store": store, "act": word, "records": records}]


ACTS: Final[dict[str, OperatorsAct]] = {
    "quarantine.release": _release,
    "quarantine.drop": _drop,
    "quarantine.trust": partial(_settle, trust=True),
    "quarantine.distrust": partial(_settle, trust=False),
}


def _noted(act: str, arguments: Mapping[str, Any], item: Item) -> Act:
    return Act(now_ms(), act, arguments["who"], arguments["why"], item.id, item.digest, item.box, item.store)


def _all_there(asked: Sequence[int], found: Sequence[Item]) -> Sequence[Item]:
    missing = sorted(set(asked) - {item.id for item in found})
    if missing:
        raise NotThereError(f"quarantine has no message {', '.join(map(str, missing))}")
    return found


def _told(item: Item) -> str:
    state = "" if item.state == Fate.OPEN else f" [{item.state}]"
    times = f", {item.times} times until {_when(item.last_ms)}" if item.times > 1 else ""
    return f"{item.id:>6}  {_when(item.received_ms)}  {item.reason}{state}  {item.topic}{times}\n        {item.detail}"


def _dispute_told(dispute: Dispute) -> str:
    settled = "" if dispute.settled_ms is None else f", settled {_when(dispute.settled_ms)}"
    return (
        f"DISPUTED  box {dispute.box} store {dispute.store}, battery {dispute.battery or 'unknown'}: two histories "
        f"from record {dispute.from_seq} on, seen {_when(dispute.since_ms)}; {dispute.held_out} records held out"
        f"{settled}\n"
        "        'packbook quarantine trust' or 'distrust' ends it; a card in two boxes: revoke the box"
    )


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _plain(item: Item) -> dict[str, object]:
    """Without the bytes: what a box wrote stays out of lists and logs."""
    return asdict(item) | {"digest": item.digest.hex(), "payload": len(item.payload)}


def _plain_act(act: Act) -> dict[str, object]:
    return asdict(act) | {"digest": act.digest.hex() if act.digest else None}
