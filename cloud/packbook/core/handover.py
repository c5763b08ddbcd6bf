"""One hand-over of a battery: a statement, signed by who gives it and countersigned by who takes it.

In:  a statement and a signer; or bytes that somebody brings.
Out: an offer, a link, the statement in it, believed; a file of links to hand on.
Refuses bytes that could be otherwise (strict CBOR), unknown parts, texts that hold a vehicle's number.
A signature says that the holder of a key said so; who that is, and whether it is true, only the parties know.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import cbor2

from packbook.core.declared import VIN, day_ms
from packbook.core.did import ED25519_PUB_BYTES, did_key
from packwire.cbor import dumps, loads
from packwire.errors import BadSignature, Malformed
from packwire.signed import open_whole, sign_whole

OFFER: Final = "packbook/custody/1/offer"
ACCEPT: Final = "packbook/custody/1/accept"
FORM: Final = 1
FILE_FORM: Final = "packbook-custody/1"
NAME_MAX: Final = 100
TEXT_MAX: Final = 300  # a document, or a passport whose name is a link
BATTERY_MAX: Final = 64
MANY_MAX: Final = 16  # documents, or passports before
VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,31}")  # it becomes part of a file's name
DIGEST_BYTES: Final = 32
DAY_CHARACTERS: Final = 10


class Signs(Protocol):
    @property
    def public_key(self) -> bytes: ...

    def sign(self, data: bytes) -> bytes: ...


class NotACustody(ValueError):
    """These bytes or this statement cannot be believed; the text says why."""


@dataclass(frozen=True, slots=True)
class Party:
    key: bytes  # raw Ed25519 public key
    name: str  # of a firm, or a role; not a person's

    @property
    def did(self) -> str:
        return did_key(self.key)


@dataclass(frozen=True, slots=True)
class Statement:
    """`previous` None: the first. Where giver and taker are one, the holder says what became of the battery."""

    battery: str
    previous: bytes | None  # digest of the link before
    giver: Party
    taker: Party
    role: str  # of the taker
    on: str  # YYYY-MM-DD
    status: str  # from then on
    rules: str  # version of the life-cycle rules it was made under
    documents: tuple[str, ...] = ()
    passport_id: str | None = None  # in force from then on; None: as before
    passport_before: tuple[str, ...] = ()  # closed by it
    category: str | None = None  # from then on; None: as before
    recycled: bool = False  # the end


@dataclass(frozen=True, slots=True)
class Link:
    statement: Statement
    digest: bytes


def offer(statement: Statement, giver: Signs) -> bytes:
    """Raises NotACustody."""
    if giver.public_key != statement.giver.key:
        raise NotACustody(f"this key is not the giver's, {statement.giver.did}")
    _must_be_sound(statement)
    return sign_whole(_encoded(statement), OFFER, giver.sign, giver.public_key)


def accept(offered: bytes, taker: Signs) -> bytes:
    """The link. Raises NotACustody."""
    statement = read_offer(offered)
    if taker.public_key != statement.taker.key:
        raise NotACustody(f"this key is not the taker's, {statement.taker.did}")
    return sign_whole(offered, ACCEPT, taker.sign, taker.public_key)


def read_offer(offered: bytes) -> Statement:
    """Believed: the giver signed it. Raises NotACustody."""
    try:
        statement = _decoded(_payload(offered, "offer"))
        open_whole(offered, OFFER, statement.giver.key, "offer")
    except (Malformed, BadSignature) as problem:
        raise NotACustody(str(problem)) from problem
    return statement


def read_link(link: bytes) -> Link:
    """Both signed it. Raises NotACustody."""
    try:
        offered = _payload(link, "link")
        statement = read_offer(offered)
        open_whole(link, ACCEPT, statement.taker.key, "link")
    except (Malformed, BadSignature) as problem:
        raise NotACustody(str(problem)) from problem
    return Link(statement, hashlib.sha256(link).digest())


def write_file(links: Sequence[bytes], offered: bytes | None = None) -> bytes:
    """A chain to hand on, perhaps with an open offer behind it."""
    return dumps([FILE_FORM, list(links), offered])


def read_file(data: bytes) -> tuple[list[bytes], bytes | None]:
    """Links and the open offer, not yet believed. Raises NotACustody."""
    try:
        told = loads(data, "custody file")
    except Malformed as problem:
        raise NotACustody(str(problem)) from problem
    if not isinstance(told, list) or len(told) != 3 or told[0] != FILE_FORM:
        raise NotACustody(f"not a {FILE_FORM} file")
    _, links, offered = told
    if not isinstance(links, list) or not all(isinstance(link, bytes) for link in [*links, offered or b""]):
        raise NotACustody("custody file: links and offer must be byte strings")
    return links, offered


def _payload(signed: bytes, what: str) -> bytes:
    """What was signed, to learn from it whose signature to look for."""
    whole = loads(signed, what)
    inside = whole.value if isinstance(whole, cbor2.CBORTag) else None
    if not isinstance(inside, list) or len(inside) != 4 or not isinstance(inside[2], bytes):
        raise Malformed(f"{what}: not a signed whole")
    payload: bytes = inside[2]
    return payload


def _encoded(said: Statement) -> bytes:
    parties = [[party.key, party.name] for party in (said.giver, said.taker)]
    told = [FORM, said.battery, said.previous, *parties, said.role, said.on, said.status, said.rules]
    told += [list(said.documents), said.passport_id, list(said.passport_before), said.category, said.recycled]
    return dumps(told)


def _decoded(payload: bytes) -> Statement:
    """Raises Malformed, NotACustody."""
    told = loads(payload, "statement")
    if not isinstance(told, list) or len(told) != 14 or told[0] != FORM:
        raise NotACustody(f"statement: not of form {FORM}")
    _, battery, previous, giver, taker, role, on, status, rules, documents, passport, before, category, recycled = told
    if not isinstance(documents, list) or not isinstance(before, list):
        raise NotACustody("statement: expected a list of documents and of passports")
    if previous is not None and (not isinstance(previous, bytes) or len(previous) != DIGEST_BYTES):
        raise NotACustody(f"previous: expected {DIGEST_BYTES} bytes or null")
    if not isinstance(recycled, bool):
        raise NotACustody("recycled: expected true or false")
    said = Statement(
        battery=battery,
        previous=previous,
        giver=_party(giver),
        taker=_party(taker),
        role=role,
        on=on,
        status=status,
        rules=rules,
        documents=tuple(documents),
        passport_id=passport,
        passport_before=tuple(before),
        category=category,
        recycled=recycled,
    )
    _must_be_sound(said)
    if _encoded(said) != payload:  # true is 1 to Python, not to whoever compares bytes
        raise NotACustody("statement: written in another way than ours")
    return said


def _party(told: object) -> Party:
    if not isinstance(told, list) or len(told) != 2 or not isinstance(told[0], bytes):
        raise NotACustody("statement: a party is a key and a name")
    if len(told[0]) != ED25519_PUB_BYTES:
        raise NotACustody(f"statement: a key has {ED25519_PUB_BYTES} bytes")
    return Party(told[0], told[1])


def _must_be_sound(said: Statement) -> None:
    """Every part is what it should be. Raises NotACustody; a vehicle's number is never repeated."""
    names: dict[str, object] = {
        "giver": said.giver.name,
        "taker": said.taker.name,
        "role": said.role,
        "day": said.on,
        "status": said.status,
        "rules": said.rules,
    }
    names |= {"category": said.category} if said.category is not None else {}
    texts: dict[str, object] = {f"document {number}": text for number, text in enumerate(said.documents, start=1)}
    texts |= {f"passport before {number}": text for number, text in enumerate(said.passport_before, start=1)}
    texts |= {"passport": said.passport_id} if said.passport_id is not None else {}
    _must_be_text("battery", said.battery, BATTERY_MAX)
    for name, text in (names | texts).items():
        told = _must_be_text(name, text, TEXT_MAX if name in texts else NAME_MAX)
        if VIN.search(told.upper()):
            raise NotACustody(f"{name}: looks like a vehicle's number, which has no place in a battery's record")
    if max(len(said.documents), len(said.passport_before)) > MANY_MAX:
        raise NotACustody(f"at most {MANY_MAX} documents, and as many passports before")
    if not VERSION.fullmatch(said.rules):
        raise NotACustody(f"rules: {said.rules!r} is no version")
    if len(said.on) != DAY_CHARACTERS or day_ms(said.on) is None:
        raise NotACustody(f"day: {said.on!r} is not a day like 2026-05-03")


def _must_be_text(name: str, text: object, most: int) -> str:
    if not isinstance(text, str) or not text.strip() or not text.isprintable() or len(text) > most:
        raise NotACustody(f"{name}: expected 1 to {most} printable characters")
    return text
