"""`packbook alerts`: what operators are alerted to; take one on; try whether news of them arrives.

In:  what to list; an alert's number and a note; a receiver's name.
Out: alerts in words; `--json` prints JSON lines. Exit code 1 when there is no such alert, or a test was not delivered.
"""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from packbook.adapters.store import alerts as shelf
from packbook.adapters.store import open_reader
from packbook.adapters.store.alerts import Delivery
from packbook.adapters.store.database import Database
from packbook.app.alert_news import as_json, posts
from packbook.app.command import DONE, add_settings, run
from packbook.app.operate import Act, Do, Office, doing
from packbook.clock import now_ms
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.alerts import OPEN, OPEN_ONES, Alert, AlertQuery, Kind, Severity, State
from packbook.core.words import ABSENT, iso
from packbook.core.words_of_alerts import alert_advice, alert_severity, alert_state, alert_text, alert_title
from packbook.ports.trouble import PackbookError
from packbook.settings import Settings
from packbook.web.words import ALL_WORDS, LANGUAGES

NOTE_CHARS_MAX: Final = 1000


class NoSuchAlert(PackbookError):
    """There is none with this number, or no receiver of this name. Nothing was changed."""


# --- acts and port ------------------------------------------------------------------------------------------------


async def _acknowledge(office: Office, wish: Mapping[str, Any]) -> bool:
    """`id`, `who`, `note`, and whose reach it is (`tenant`, `batteries`). False: no such alert within it."""
    batteries = wish["batteries"]
    reach = Reach(wish["tenant"], None if batteries is None else frozenset(batteries))
    async with office.database.transaction() as connection:
        alert = await shelf.one(connection, reach, wish["id"])
        if alert is not None and alert.state is State.RAISED:
            await shelf.acknowledge(connection, wish["id"], wish["who"], wish["note"][:NOTE_CHARS_MAX], now_ms())
    return alert is not None


ACTS: Final[dict[str, Act]] = {"alerts.acknowledge": _acknowledge}


class BookAlerts:
    """`ports.Alerts` over a database that is read here and, where it must be, written by the running book."""

    def __init__(self, database: Database, do: Do) -> None:
        self._database = database
        self._do = do

    async def acknowledge(self, number: int, who: str, note: str, reach: Reach = EVERYWHERE) -> Alert | None:
        batteries = None if reach.batteries is None else sorted(reach.batteries)
        wish = {"id": number, "who": who, "note": note, "tenant": reach.tenant, "batteries": batteries}
        if not await self._do("alerts.acknowledge", wish):
            return None
        async with self._database.transaction() as connection:
            return await shelf.one(connection, reach, number)

    async def counts(self, reach: Reach) -> Mapping[tuple[Kind, Severity, State], int]:
        async with self._database.transaction() as connection:
            return await shelf.counted(connection, reach)

    async def list(self, reach: Reach, query: AlertQuery = OPEN_ONES) -> Sequence[Alert]:
        async with self._database.transaction() as connection:
            return await shelf.listed(connection, reach, query)


def alerts_of(office: Office, *, own: bool) -> BookAlerts:
    """`own`: see `app.operate.doing`."""
    return BookAlerts(office.database, doing(office, ACTS, own=own))


# --- command ------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    listing = acts.add_parser("list", help="what is wrong now, newest first")
    listing.add_argument("--state", choices=[state.value for state in State if state is not State.PENDING])
    listing.add_argument("--kind", choices=[kind.value for kind in Kind])
    listing.add_argument("--box", help="of this box only")
    listing.add_argument("--battery", help="of this battery only")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (100)")
    listing.add_argument("--lang", choices=LANGUAGES, default="en", help="language (en)")
    listing.add_argument("--json", action="store_true", help="print JSON lines")
    ack = acts.add_parser("ack", help="take an alert on: it stays so until its cause is gone")
    ack.add_argument("id", type=int, metavar="ID")
    ack.add_argument("--note", required=True, help="what is being done, written down with your name")
    test = acts.add_parser("test", help="send a made-up alert to a receiver of the settings")
    test.add_argument("receiver", metavar="RECEIVER")
    for act in (listing, ack, test):
        add_settings(act)


def main(args: argparse.Namespace) -> int:
    works = {"list": _list, "ack": _ack, "test": _test}
    return run(args, lambda settings: works[args.act](settings, args))


async def _list(settings: Settings, args: argparse.Namespace) -> int:
    states = OPEN if args.state is None else (State(args.state),)
    kind = None if args.kind is None else Kind(args.kind)
    query = AlertQuery(states, kind, box=args.box, battery=args.battery, limit=max(0, args.limit))
    async with open_reader(settings.database_url.get_secret_value()) as database:
        shown = alerts_of(Office(database, settings), own=False)
        found = await shown.list(EVERYWHERE, query)
    for alert in found:
        print(json.dumps(as_json(alert, args.lang), ensure_ascii=False) if args.json else _told(alert, args.lang))
    if not found and not args.json:
        print("no alerts")
    return DONE


async def _ack(settings: Settings, args: argparse.Namespace) -> int:
    who = f"{getpass.getuser()} (command line)"
    async with open_reader(settings.database_url.get_secret_value()) as database:
        alert = await alerts_of(Office(database, settings), own=False).acknowledge(args.id, who, args.note)
    if alert is None:
        raise NoSuchAlert(f"there is no alert {args.id}; 'packbook alerts list' shows them")
    print(f"alert {args.id}: {alert.state}" + (f" by {alert.acknowledged_by}" if alert.acknowledged_by else ""))
    return DONE


async def _test(settings: Settings, args: argparse.Namespace) -> int:
    """Sent at once and not kept. Raises NotDelivered with the reason."""
    at_ms = now_ms()
    invented = Alert(
        Kind.BOX_SILENT,
        Severity.INFO,
        State.RAISED,
        "test",
        0.0,
        at_ms,
        "test",
        id=0,
        box="0" * 16,
        detail={"last_seen_ms": at_ms},
        raised_ms=at_ms,
    )
    async with posts(settings) as everyone:
        post = next((post for post in everyone if post.receiver.name == args.receiver), None)
        if post is None:
            names = ", ".join(receiver.name for receiver in settings.alert_receivers) or "none"
            raise NoSuchAlert(f"there is no receiver {args.receiver}; the settings have: {names}")
        await post.send([Delivery(0, args.receiver, State.RAISED, 0, at_ms, invented)], at_ms)
    print(f"{args.receiver} took it")
    return DONE


def _told(alert: Alert, language: str) -> str:
    t = ALL_WORDS[language]
    since = iso(alert.raised_ms) if alert.raised_ms is not None else ABSENT
    taken = f" ({alert.acknowledged_by}: {alert.note})" if alert.acknowledged_by else ""
    head = (
        f"{alert.id:>6}  {since}  {alert_severity(t, alert)}  {alert_title(t, alert)}  {alert_state(t, alert)}{taken}"
    )
    return f"{head}\n        {alert_text(t, alert)}\n        {alert_advice(t, alert)}"
