"""`packbook quarantine`: look at what could not be believed, and deal with it. Every act is written down for good.

In:  what to list; or messages by number, or a disputed store, with the reason why.
Out: what stands in quarantine and which stores are disputed; `--json` prints JSON lines.
Exit code 1 when a number or store is not there, or a message that was released is refused again.
"""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from packbook.adapters.store import open_reader, open_writer, quarantine
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.quarantine import Act, Dispute, Item
from packbook.app.command import DONE, PROBLEM, add_settings, run
from packbook.clock import now_ms
from packbook.core.intake import Arrival, Fate
from packbook.ports import PackbookError
from packbook.settings import Settings

WORKER = "quarantine"


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
            case "release":
                return await _release(url, args, enrolled_only=settings.enrolled_only)
            case "drop":
                return await _drop(url, args)
            case _:
                return await _settle(url, args)

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


async def _release(url: str, args: argparse.Namespace, *, enrolled_only: bool) -> int:
    """Through the same door as everything, so nothing enters that its box did not sign and its chain does not bear."""
    refused = 0
    async with open_writer(url, WORKER) as database:
        ledger = Ledger(database, enrolled_only=enrolled_only)
        async with database.transaction() as connection:
            items = _all_there(args.items, await quarantine.items(connection, ids=args.items))
            for item in items:
                await quarantine.note(connection, _act(args, item))
        for item in items:
            taken = await ledger.take([Arrival(item.topic, item.payload, item.received_ms)], vouched=True)
            believed = taken.accepted + taken.duplicates > 0
            refused += not believed
            why = ", ".join(taken.quarantined) or "its box's key is not on file"
            outcome = "in the ledger" if believed else f"refused again: {why}"
            print(
                json.dumps({"item": item.id, "believed": believed, "refused": None if believed else why})
                if args.json
                else f"{item.id}: {outcome}"
            )
    return PROBLEM if refused else DONE


async def _drop(url: str, args: argparse.Namespace) -> int:
    async with open_writer(url, WORKER) as database, database.transaction() as connection:
        for item in _all_there(args.items, await quarantine.items(connection, ids=args.items)):
            await quarantine.drop(connection, item)
            await quarantine.note(connection, _act(args, item))
            print(json.dumps({"item": item.id, "state": Fate.DROPPED}) if args.json else f"{item.id}: dropped")
    return DONE


async def _settle(url: str, args: argparse.Namespace) -> int:
    trust = args.act == "trust"
    act = Act(now_ms(), args.act, getpass.getuser(), args.why, box=args.box, store=args.store)
    async with open_writer(url, WORKER) as database:
        records = await Ledger(database).settle(act, trust=trust)
    if records is None:
        raise NotThereError(f"store {args.store} of box {args.box} is not disputed")
    where = "entered the history" if trust else "stay out of the history"
    told = {"box": args.box, "store": args.store, "act": args.act, "records": records}
    print(json.dumps(told) if args.json else f"store {args.store}: {records} records {where}")
    return DONE


def _act(args: argparse.Namespace, item: Item) -> Act:
    who = getpass.getuser()
    return Act(now_ms(), args.act, who, args.why, item.id, item.digest, item.box, item.store)


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
