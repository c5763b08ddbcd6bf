"""`packbook key`: what programs show to be let in, each for as much as it needs and never more than its account may."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Final

from packbook.adapters.store import accounts as shelf
from packbook.adapters.store.database import Database
from packbook.app.account_acts import ACTS
from packbook.app.accounts import OperatorsOwn, operators_accounts
from packbook.app.command import DONE, add_settings, run
from packbook.app.operate import operate
from packbook.app.token import day
from packbook.app.user import account_of
from packbook.clock import now_ms
from packbook.core.accounts import EVERYWHERE, SCOPES, ApiKey
from packbook.settings import Settings

DAYS: Final = 90


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    new = ways.add_parser("new", help="make a key and print it, once")
    new.add_argument("--user", required=True, metavar="LOGIN", help="whose it is: it sees what he sees")
    new.add_argument("--scope", nargs="+", action="extend", required=True, choices=list(SCOPES), metavar="SCOPE")
    new.add_argument("--note", default="", help="what it is for; shown in the list")
    new.add_argument("--days", type=int, default=DAYS, help=f"how long it is valid ({DAYS})")
    listing = ways.add_parser("list", help="keys by their prefixes, never the keys")
    listing.add_argument("--user", metavar="LOGIN", help="of this account alone")
    listing.add_argument("--json", action="store_true", help="JSON lines")
    revoking = ways.add_parser("revoke", help="it opens nothing any more, at once")
    revoking.add_argument("prefix", metavar="PREFIX", help="as the list names it")
    for way in ways.choices.values():
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _key(settings, args))


async def _key(settings: Settings, args: argparse.Namespace) -> int:
    async with operators_accounts(settings) as own:
        if args.way == "new":
            await _new(own, args)
        elif args.way == "list":
            await _list(own.database, args)
        else:
            prefix = args.prefix.removeprefix("pbk_")
            await operate(settings, ACTS, "key.revoke", {"prefix": prefix} | own.by)
            print(f"key {prefix} revoked")
    return DONE


async def _new(own: OperatorsOwn, args: argparse.Namespace) -> None:
    account = await account_of(own.database, args.user)
    print(await own.accounts.key_for(account, args.note, args.scope, args.days, own.by))
    print(f"reads and does {' '.join(sorted(set(args.scope)))} as {account.login}; not shown again", file=sys.stderr)


async def _list(database: Database, args: argparse.Namespace) -> None:
    async with database.transaction() as connection:
        accounts = {one.account: one.login for one in await shelf.all_of(connection, EVERYWHERE)}
    chosen = accounts if args.user is None else [(await account_of(database, args.user)).account]
    async with database.transaction() as connection:
        keys = await shelf.keys_of(connection, list(chosen))
    for key in keys:
        print(json.dumps(asdict(key)) if args.json else _line(key, accounts[key.account]))


def _line(key: ApiKey, login: str) -> str:
    state = "revoked" if key.revoked_ms else "opens" if key.opens(now_ms()) else "expired"
    used = "never used" if key.used_ms is None else f"used {day(key.used_ms)}"
    until = "" if key.expires_ms is None else f"  until {day(key.expires_ms)}"
    return f"pbk_{key.prefix}  {login}  {' '.join(key.scopes)}  {state}{until}  {used}  {key.note}".rstrip()
