"""`packbook custody WAY`: sign who handed a battery to whom and what it counts as, check it, keep it in the book.

`new-key`, `offer`, `accept` and `verify` work with files alone: parties need neither a book nor an account.
`keep` takes a chain into the book, which only ever adds to it; `show` and `status` tell what the book holds.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path
from typing import Any, Final

from packbook.adapters.private_file import PUBLIC_MODE, write_atomically
from packbook.adapters.signing_key import make_key, read_key
from packbook.adapters.store import custody as shelf
from packbook.adapters.store import open_reader
from packbook.adapters.store.relations import must_be_known
from packbook.app.access import access_rules
from packbook.app.command import DONE, PROBLEM, add_settings, run
from packbook.app.custody_acts import ACTS
from packbook.app.custody_told import as_json, in_words, line, standing
from packbook.app.export import need_role, note_export
from packbook.app.operate import operate
from packbook.app.passports import lifecycles, rules_of
from packbook.clock import now_ms
from packbook.core.access import Reader
from packbook.core.custody import Chain, objection, verify
from packbook.core.did import NotADid, did_key, read_multikey
from packbook.core.formats.writing import day
from packbook.core.handover import NotACustody, Party, Statement, accept, offer, read_file, read_offer, write_file
from packbook.core.lifecycle import LifeCycle
from packbook.ports.trouble import PackbookError
from packbook.settings import Settings

SUFFIX: Final = ".custody"
FILE_BYTES_MAX: Final = 131_072  # what strict CBOR reads: some three hundred hand-overs
FIELDS: Final = ("custody", "passport_before_id", "passport_id", "status")


class CustodyError(PackbookError):
    """Nothing was signed, kept or told; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    new_key = ways.add_parser("new-key", help="make a party's key and print its DID, to be given to others")
    new_key.add_argument("--key", type=Path, required=True, metavar="FILE", help="where it shall lie; keep a copy")
    _add_offer(ways.add_parser("offer", help="sign that a battery goes to somebody, or what it counts as from now on"))
    accepting = ways.add_parser("accept", help="countersign an offer that is ours to take")
    accepting.add_argument("file", type=Path, metavar="OFFER")
    accepting.add_argument("--key", type=Path, required=True, metavar="FILE", help="our key")
    accepting.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the longer chain goes")
    keeping = ways.add_parser("keep", help="take a chain into the book, which must know the battery")
    keeping.add_argument("file", type=Path, metavar="FILE")
    verifying = ways.add_parser("verify", help="check a chain; the first link that is broken is named")
    verifying.add_argument("file", type=Path, metavar="FILE")
    verifying.add_argument("--first", metavar="DID", help="the party it must begin with")
    verifying.add_argument("--json", action="store_true", help="JSON lines")
    showing = ways.add_parser("show", help="who held a battery, as the book has it")
    showing.add_argument("battery", metavar="BATTERY")
    showing.add_argument("--out", type=Path, metavar="FILE", help="write the chain, to make an offer from")
    showing.add_argument("--json", action="store_true", help="JSON lines")
    telling = ways.add_parser("status", help="what a battery counts as, its passports, and what may come next")
    telling.add_argument("battery", metavar="BATTERY")
    telling.add_argument("--json", action="store_true", help="one JSON object")
    for way in ways.choices.values():
        add_settings(way)


def _add_offer(offering: argparse.ArgumentParser) -> None:
    of = offering.add_mutually_exclusive_group(required=True)
    of.add_argument("--chain", type=Path, metavar="FILE", help="the chain so far")
    of.add_argument("--battery", help="of the first hand-over that is written down: the battery's id")
    offering.add_argument("--key", type=Path, required=True, metavar="FILE", help="our key")
    offering.add_argument("--name", help="we, as others shall read it: a firm or a role (as in the chain)")
    offering.add_argument("--to", metavar="DID", help="who takes it (ourselves: we keep it)")
    offering.add_argument("--to-name", metavar="NAME", help="the same in words: a firm or a role")
    offering.add_argument("--role", help="of who takes it: dealer, auction, ... (as in the chain)")
    offering.add_argument("--on", metavar="DAY", help="the day, like 2026-05-03 (today)")
    offering.add_argument("--status", help="what it counts as from then on (as before)")
    offering.add_argument("--category", choices=("ev", "lmt", "stationary", "industrial"), help="from then on")
    offering.add_argument("--document", action="append", default=[], metavar="ID", help="that goes with it; repeatable")
    offering.add_argument("--passport", metavar="ID", help="the passport in force from then on")
    offering.add_argument("--passport-before", action="append", default=[], metavar="ID", help="that it follows")
    offering.add_argument("--recycled", action="store_true", help="the end: its passport ceases to exist")
    offering.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the offer goes")


def main(args: argparse.Namespace) -> int:
    async def work(settings: Settings) -> int:
        try:
            return int(await WAYS[args.way](settings, args))
        except NotACustody as problem:
            raise CustodyError(str(problem)) from problem

    return run(args, work)


async def _new_key(_settings: Settings, args: argparse.Namespace) -> int:
    print(did_key(make_key(args.key).public_key))
    return DONE


async def _offer(settings: Settings, args: argparse.Namespace) -> int:
    key = read_key(args.key)
    links = [] if args.chain is None else _accepted_only(args.chain)
    chain = _believed(settings, links)
    statement = _statement(settings, args, chain, key.public_key)
    _must_follow(settings, chain, statement)
    _write(args.out, write_file(links, offer(statement, key)))
    print(f"{args.out}: {line(statement)}; send it to who takes it", file=sys.stderr)
    return DONE


def _statement(settings: Settings, args: argparse.Namespace, chain: Chain, key: bytes) -> Statement:
    last = chain.last
    name = args.name or (last and last.taker.name)
    status = args.status or (last and last.status)
    role = args.role or (last.role if last is not None and args.to is None else None)
    if not (name and status and role):
        missing = next(flag for flag, told in (("--name", name), ("--status", status), ("--role", role)) if not told)
        raise CustodyError(f"{missing} is missing: the chain does not say it")
    if args.to is not None and args.to_name is None:
        raise CustodyError("--to needs --to-name")
    giver = Party(key, name)
    return Statement(
        battery=args.battery or (last.battery if last else ""),
        previous=chain.head,
        giver=giver,
        taker=giver if args.to is None else Party(_public_key(args.to), args.to_name),
        role=role,
        on=args.on or day(now_ms()),
        status=status,
        rules=rules_of(settings).version("lifecycle"),
        documents=tuple(args.document),
        passport_id=args.passport,
        passport_before=tuple(args.passport_before),
        category=args.category,
        recycled=args.recycled,
    )


async def _accept(settings: Settings, args: argparse.Namespace) -> int:
    links, offered = read_file(_read(args.file))
    if offered is None:
        raise CustodyError(f"{args.file}: holds no open offer")
    statement = read_offer(offered)
    _must_follow(settings, _believed(settings, links), statement)
    _write(args.out, write_file([*links, accept(offered, read_key(args.key))]))
    print(f"{args.out}: {line(statement)}", file=sys.stderr)
    return DONE


async def _keep(settings: Settings, args: argparse.Namespace) -> int:
    links = _accepted_only(args.file)
    new = await operate(settings, ACTS, "custody.keep", {"links": [link.hex() for link in links]})
    print(f"{new} of {len(links)} hand-overs were new")
    return DONE


async def _verify(settings: Settings, args: argparse.Namespace) -> int:
    links, offered = read_file(_read(args.file))
    first = None if args.first is None else _public_key(args.first)
    chain = verify(links, lifecycles(rules_of(settings)), first=first)
    _tell(chain, json_lines=args.json)
    if offered is not None and chain.broken is None:
        statement = read_offer(offered)
        _must_follow(settings, chain, statement)
        if not args.json:
            print(f"not accepted yet: {line(statement)}")
    return _outcome(chain, len(links))


async def _show(settings: Settings, args: argparse.Namespace) -> int:
    links, chain = await _held(settings, args.battery)
    if args.out is not None:
        _write(args.out, write_file(links))
    _tell(chain, json_lines=args.json)
    if not links and not args.json:
        print("nobody wrote down a hand-over")
    return _outcome(chain, len(links)) if links else DONE


async def _status(settings: Settings, args: argparse.Namespace) -> int:
    links, chain = await _held(settings, args.battery)
    told = standing(args.battery, chain, rules_of(settings).load("lifecycle", LifeCycle))
    if args.json:
        print(json.dumps(told, ensure_ascii=False))
    else:
        for name, value in told.items():
            print(f"{name.replace('_', ' ')}: {in_words(value)}")
    return DONE if chain.broken is None else _outcome(chain, len(links))


WAYS: Final[dict[str, Any]] = {
    "new-key": _new_key,
    "offer": _offer,
    "accept": _accept,
    "keep": _keep,
    "verify": _verify,
    "show": _show,
    "status": _status,
}


async def _held(settings: Settings, battery: str) -> tuple[list[bytes], Chain]:
    """Put on record first: who held a battery is told of one battery."""
    rules, reader = rules_of(settings), Reader("operator", account=getpass.getuser())
    need_role(access_rules(rules), reader)
    async with open_reader(settings.database_url.get_secret_value()) as database, database.transaction() as connection:
        await must_be_known(connection, battery)
        links = await shelf.links_of(connection, battery)
    await note_export(settings, battery, reader, "custody", FIELDS)
    return links, verify(links, lifecycles(rules))


def _believed(settings: Settings, links: list[bytes]) -> Chain:
    chain = verify(links, lifecycles(rules_of(settings)))
    if chain.broken is not None:
        raise CustodyError(f"link {chain.broken.number}: {chain.broken.why}")
    return chain


def _must_follow(settings: Settings, chain: Chain, statement: Statement) -> None:
    why = objection(chain, statement, lifecycles(rules_of(settings)))
    if why is not None:
        raise CustodyError(why)


def _tell(chain: Chain, *, json_lines: bool) -> None:
    for number, link in enumerate(chain.links, start=1):
        told = link.statement
        if json_lines:
            print(json.dumps(as_json(number, told, link.digest), ensure_ascii=False))
        else:
            print(f"{number}  {told.on}  {line(told)}")


def _outcome(chain: Chain, links: int) -> int:
    if chain.broken is not None:
        print(f"packbook: link {chain.broken.number}: {chain.broken.why}", file=sys.stderr)
        return PROBLEM
    print(f"{links} hand-overs, each signed by giver and taker", file=sys.stderr)
    return DONE


def _public_key(did: str) -> bytes:
    """Of a did:key, or 64 hex digits."""
    try:
        return bytes.fromhex(did) if len(did) == 64 else read_multikey(did.removeprefix("did:key:"))
    except (ValueError, NotADid) as problem:
        raise CustodyError(f"{did}: neither a did:key nor 64 hex digits") from problem


def _accepted_only(path: Path) -> list[bytes]:
    links, offered = read_file(_read(path))
    if offered is not None:
        raise CustodyError(f"{path}: the offer in it was not accepted yet")
    return links


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as problem:
        raise CustodyError(f"{path}: cannot be read ({problem.strerror})") from problem


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data, PUBLIC_MODE)
    except OSError as problem:
        raise CustodyError(f"{path}: cannot be written ({problem.strerror})") from problem
