"""`packbook user`: accounts, from the machine that runs the book: the first admin is made here.

Passwords come from a prompt or from standard input, never from an argument that others see in the list of processes.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import sys
from typing import Any, Final

from packbook.adapters.store import accounts as shelf
from packbook.adapters.store.database import Database
from packbook.app.account_acts import ACTS
from packbook.app.accounts import OperatorsOwn, operators_accounts
from packbook.app.command import DONE, add_settings, run
from packbook.app.operate import operate
from packbook.app.token import day
from packbook.core.accounts import EVERYWHERE, FIRST_TENANT, Account, Role, login_of
from packbook.ports.accounts import AccountProblem
from packbook.ports.trouble import SettingsError
from packbook.settings import Settings

PATH: Final = "/account/invitation/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    adding = ways.add_parser("add", help="make an account; its password is asked for, or a line of standard input")
    adding.add_argument("--name", default="", help="as pages greet him (default: LOGIN)")
    adding.add_argument("--tenant", default=FIRST_TENANT, help=f"whose it is ({FIRST_TENANT})")
    listing = ways.add_parser("list", help="all accounts")
    listing.add_argument("--json", action="store_true", help="JSON lines")
    password = ways.add_parser("password", help="set another password; all sessions end")
    for way in (adding, password):
        way.add_argument("--link", action="store_true", help="print a link to set it by instead, once, within a week")
    role = ways.add_parser("role", help="give another role, or an owner other batteries")
    for way in (adding, role):
        way.add_argument("--role", type=Role, choices=list(Role), required=True)
        way.add_argument("--battery", action="append", default=[], metavar="BATTERY", help="that an owner sees; again")
    disabling = ways.add_parser("disable", help="no way in any more, for its keys neither")
    enabling = ways.add_parser("enable", help="a way in again")
    sessions = ways.add_parser("sessions", help="browsers that are signed in")
    sessions.add_argument("--end", metavar="ID", help="end this one, or all of them with --end all")
    second = ways.add_parser("second-step-off", help="for somebody who lost phone and recovery codes")
    binding = ways.add_parser("bind", help="let the identity provider's word for this subject open the account")
    binding.add_argument("--subject", required=True, help="what the provider calls him, for ever (claim sub)")
    unbinding = ways.add_parser("unbind", help="no identity provider's word opens the account any more")
    for way in (adding, password, role, disabling, enabling, sessions, second, binding, unbinding):
        way.add_argument("login", metavar="LOGIN", help="e-mail address or name")
    for way in ways.choices.values():
        add_settings(way)


def main(args: argparse.Namespace) -> int:
    return run(args, lambda settings: _user(settings, args))


async def _user(settings: Settings, args: argparse.Namespace) -> int:
    async with operators_accounts(settings) as own:
        if args.way == "list":
            await _list(own.database, args)
        elif args.way == "add":
            await _add(settings, own, args)
        else:
            account = await account_of(own.database, args.login)
            await _decide(settings, own, account, args)
    return DONE


async def _add(settings: Settings, own: OperatorsOwn, args: argparse.Namespace) -> None:
    password = None if args.link else await _asked_password()
    made = await own.accounts.add(
        args.login, args.name, args.tenant, args.role, args.battery, own.by, password=password
    )
    print(f"{args.login} is {args.role} of {args.tenant}", file=sys.stderr)
    if password is None:
        _print_link(settings, made)
    if settings.accounts == "off":
        print('nobody is asked to sign in yet: set accounts = "on"', file=sys.stderr)


async def _list(database: Database, args: argparse.Namespace) -> None:
    async with database.transaction() as connection:
        accounts = await shelf.all_of(connection, EVERYWHERE)
    for account in accounts:
        print(json.dumps(_shown(account), ensure_ascii=False) if args.json else _line(account))


async def _decide(settings: Settings, own: OperatorsOwn, account: Account, args: argparse.Namespace) -> None:
    named = {"account": account.account}
    if args.way == "password" and args.link:
        _print_link(settings, await own.accounts.invitation(account, own.by))
    elif args.way == "password":
        await own.accounts.put_password(account, await _asked_password(), own.by)
        print(f"{account.login}: password set, signed out everywhere")
    elif args.way == "role":
        batteries = await own.accounts.usable(account.tenant, args.role, args.battery)
        wish = named | {"role": str(args.role), "batteries": batteries} | own.by
        await operate(settings, ACTS, "account.role", wish)
        print(f"{account.login} is {args.role} now")
    elif args.way == "sessions":
        await _sessions(settings, own, account, args.end)
    elif args.way == "second-step-off":
        wish = named | {"sealed": None, "step": None, "recovery": [], "here": None} | own.by
        await operate(settings, ACTS, "account.totp", wish)
        print(f"{account.login} signs in with the password alone now")
    elif args.way == "bind":
        if settings.oidc_issuer is None:
            raise SettingsError("oidc_issuer: there is no identity provider to bind to")
        identity = {"issuer": settings.oidc_issuer, "subject": args.subject, "proven": True}
        await operate(settings, ACTS, "identity.bind", named | identity | own.by)
        print(f"{account.login} comes in by the word of {settings.oidc_issuer}")
    elif args.way == "unbind":
        await _unbind(settings, own, account)
    else:
        disabled = args.way == "disable"
        await operate(settings, ACTS, "account.disable", named | {"disabled": disabled} | own.by)
        print(f"{account.login} is {'disabled' if disabled else 'enabled'}")


async def _sessions(settings: Settings, own: OperatorsOwn, account: Account, end: str | None) -> None:
    if end is not None:
        wish = {"account": account.account, "only": None if end == "all" else end, "but": None}
        print(f"{await operate(settings, ACTS, 'session.end', wish | own.by)} sessions ended")
        return
    for one in await own.accounts.sessions(account.who()):
        print(f"{one.id}  since {day(one.made_ms)}  seen {day(one.seen_ms)}  {one.device}")


async def _unbind(settings: Settings, own: OperatorsOwn, account: Account) -> None:
    for identity in await own.accounts.identities(account.who()):
        wish = {"account": account.account, "issuer": identity.issuer, "here": None}
        await operate(settings, ACTS, "identity.unbind", wish | own.by)
        print(f"{account.login} does not come in by the word of {identity.issuer} any more, signed out everywhere")


async def account_of(database: Database, login: str) -> Account:
    """Raises AccountProblem."""
    async with database.transaction() as connection:
        found = await shelf.of_login(connection, login_of(login) or "")
    if found is None:
        raise AccountProblem("unknown", f"{login}: there is no such account; 'packbook user list' lists them")
    return found


async def _asked_password() -> str:
    """Twice at a terminal; else a line of standard input. Raises AccountProblem."""
    if not sys.stdin.isatty():
        line: str = await asyncio.to_thread(sys.stdin.readline)
        return line.rstrip("\r\n")
    first: str = await asyncio.to_thread(getpass.getpass, "Password: ")
    if await asyncio.to_thread(getpass.getpass, "Again: ") != first:
        raise AccountProblem("password", "these were two passwords; nothing was changed")
    return first


def _print_link(settings: Settings, token: str) -> None:
    base = settings.public_url or f"http://{settings.web_host}:{settings.web_port}"
    print(f"{base}{PATH}{token}")
    print("opens once, within a week; not shown again", file=sys.stderr)


def _shown(account: Account) -> dict[str, Any]:
    return {
        "account": account.account,
        "login": account.login,
        "name": account.name,
        "tenant": account.tenant,
        "role": account.role,
        "batteries": sorted(account.batteries),
        "second_step": account.has_totp,
        "password": account.has_password,
        "identity_provider": account.is_bound,
        "disabled": account.disabled_ms is not None,
    }


def _line(account: Account) -> str:
    way_in = "active" if account.has_password or account.is_bound else "invited"
    state = way_in if account.disabled_ms is None else "disabled"
    extra = "  second step" if account.has_totp else ""
    batteries = f"  {' '.join(sorted(account.batteries))}" if account.batteries else ""
    return f"{account.login}  {account.role} of {account.tenant}  {state}{extra}{batteries}"
