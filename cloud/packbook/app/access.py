"""Acts about share links and reads, by name, and the gate that pages and API go through (see `app.operate`).

A page server beside a running book cannot write its SQLite file, so it has the book do it; on PostgreSQL, and within
`serve`, it writes itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from packbook.adapters.rules import RuleBook, RulesError
from packbook.adapters.store import access as shelf
from packbook.adapters.store.database import Database
from packbook.adapters.store.relations import must_be_known
from packbook.app import formats
from packbook.app.evidence import ExportError
from packbook.app.operate import Act, Do, Office, OperateError, doing
from packbook.app.passports import BookPassports, rules_of
from packbook.clock import now_ms
from packbook.core.access import INTEREST, AccessError, AccessRules, AccessTable, Read, Reader, access_table
from packbook.core.passport import Passport
from packbook.core.share import Ended, Link
from packbook.ports.passports import PLAIN, Manner
from packbook.ports.trouble import NotMade
from packbook.settings import Settings
from packbook.web.access import Access


async def _new(office: Office, wish: Mapping[str, Any]) -> None:
    """A `Link` by its fields, `digest` as hex. The token stays with who made it."""
    named = {name: None if wish[name] is None else tuple(wish[name]) for name in ("fields", "formats")}
    link = Link(**{**wish, **named, "digest": bytes.fromhex(wish["digest"])})
    async with office.database.transaction() as connection:
        await must_be_known(connection, link.battery)
        await shelf.keep_link(connection, link)


async def _revoke(office: Office, wish: Mapping[str, Any]) -> int:
    """The link of this `battery` with this `id`, or all of them. Gives how many opened before."""
    now = now_ms()
    async with office.database.transaction() as connection:
        links = await shelf.links_of(connection, wish["battery"])
        chosen = [link for link in links if wish["id"] in (None, link.id)]
        if wish["id"] is not None and not chosen:
            raise OperateError(f"battery {wish['battery']} has no link {wish['id']}; 'packbook share' lists them")
        for link in chosen:
            await shelf.revoke_link(connection, link.digest, now)
    return sum(link.ended(now) is None for link in chosen)


async def _open(office: Office, wish: Mapping[str, Any]) -> str | None:
    digest, read = bytes.fromhex(wish["digest"]), read_from(wish["read"])
    async with office.database.transaction() as connection:
        link = await shelf.link_of(connection, digest)
        ended = Ended.REVOKED if link is None else link.ended(read.at_ms)
        if ended is None:
            await shelf.count_read(connection, digest)
            await shelf.note_reads(connection, [read])
    return ended


async def _note(office: Office, wish: Mapping[str, Any]) -> None:
    async with office.database.transaction() as connection:
        await shelf.note_reads(connection, [read_from(read) for read in wish["reads"]])


ACTS: Final[dict[str, Act]] = {"share.new": _new, "share.revoke": _revoke, "share.open": _open, "reads.note": _note}


def read_as_json(read: Read) -> dict[str, Any]:
    reader = read.reader
    return {
        "at_ms": read.at_ms,
        "battery": read.battery,
        "role": reader.role,
        "purpose": reader.purpose,
        "link": reader.link,
        "account": reader.account,
        "door": read.door,
        "what": read.what,
        "fields": list(read.fields),
    }


def read_from(said: Mapping[str, Any]) -> Read:
    reader = Reader(said["role"], said["purpose"], link=said["link"], account=said["account"])
    return Read(said["at_ms"], said["battery"], reader, said["door"], said["what"], tuple(said["fields"]))


class BookGate:
    """`ports.Gate` over a database that is read here and, where it must be, written by the running book."""

    def __init__(self, database: Database, do: Do) -> None:
        self._database = database
        self._do = do

    async def link(self, digest: bytes) -> Link | None:
        async with self._database.transaction() as connection:
            return await shelf.link_of(connection, digest)

    async def open(self, digest: bytes, read: Read) -> Ended | None:
        ended = await self._do("share.open", {"digest": digest.hex(), "read": read_as_json(read)})
        return None if ended is None else Ended(ended)

    async def note(self, reads: Sequence[Read]) -> None:
        await self._do("reads.note", {"reads": [read_as_json(read) for read in reads]})

    async def named(self, key: str) -> str | None:
        async with self._database.transaction() as connection:
            return await shelf.named(connection, key)

    async def reads(self, battery: str, limit: int, offset: int = 0) -> Sequence[Read]:
        async with self._database.transaction() as connection:
            return await shelf.reads_of(connection, battery, limit, offset)

    async def links_of(self, battery: str) -> Sequence[Link]:
        async with self._database.transaction() as connection:
            return await shelf.links_of(connection, battery)

    async def keep_link(self, link: Link) -> None:
        await self._do("share.new", {**asdict(link), "digest": link.digest.hex()})

    async def revoke_link(self, battery: str, link_id: str) -> None:
        await self._do("share.revoke", {"battery": battery, "id": link_id})


def gate_of(office: Office, *, own: bool) -> BookGate:
    """`own`: see `app.operate.doing`."""
    return BookGate(office.database, doing(office, ACTS, own=own))


class BookExports:
    """`ports.Exports`: every format of `app.formats`."""

    def __init__(self, settings: Settings, rules: RuleBook) -> None:
        self.settings = settings
        self._rules = rules
        self.suffixes = {name: chosen.suffix for name, chosen in formats.FORMATS.items()}

    async def make(self, name: str, passport: Passport, manner: Manner = PLAIN) -> bytes:
        try:
            made = await formats.make(name, passport, self._rules, self.settings, manner)
        except ExportError as problem:
            raise NotMade(str(problem)) from problem
        return made.data


def access_for(settings: Settings, gate: BookGate, database: Database) -> Access:
    """All that pages need to decide who sees what. Raises RulesError."""
    rules = rules_of(settings)
    passports, exports = BookPassports(database, rules), BookExports(settings, rules)
    return Access(access_rules(rules), gate, passports, exports, settings.public_url)


def access_rules(rules: RuleBook) -> AccessTable:
    """Who may see what, by the versions in force. Raises RulesError."""
    tiers = {name: rule.tier for name, rule in rules.fields().fields.items()}
    try:
        return access_table(rules.load("access", AccessRules), tiers)
    except AccessError as problem:
        raise RulesError(f"access-{rules.version('access')}.toml: {problem}") from problem


def add_reader(parser: argparse.ArgumentParser, role: str) -> None:
    parser.add_argument("--role", default=role, help=f"for whom it is ({role}); docs/access.md lists them")
    parser.add_argument("--purpose", help="of a legitimate interest: repair, recycling, ...; the role is then interest")


def reader_from(args: argparse.Namespace, *, account: str | None = None) -> Reader:
    return Reader(args.role if args.purpose is None else INTEREST, args.purpose, account=account)
