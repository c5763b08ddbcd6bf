"""Issue credentials with the book's key, take them back, and publish what checks them: DID, status lists, schema.

In:  a battery's record, already cut down to what its reader may see. Out: signed credentials, each on file with its
place in a status list.
The issuer is did:web of the public address, or did:key of the book's key while there is none. What says the same as
the one before is not signed again: the one on file is given, unless it was taken back or ends soon.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4, uuid5

from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.rules import OWN_FOLDER, RuleBook
from packbook.adapters.signing_key import read_or_make_key
from packbook.adapters.store import credentials as shelf
from packbook.adapters.store.database import Database
from packbook.adapters.store.evidence import Head
from packbook.app.operate import Act, Office, OperateError, operate
from packbook.clock import now_ms
from packbook.core import did
from packbook.core.data_integrity import canonical, secure
from packbook.core.formats import credential as vc
from packbook.core.formats.status_list import BITS, place, status_list
from packbook.core.formats.writing import as_json, day_utc, uri
from packbook.core.passport import Part, Passport
from packbook.ports.trust import Signer
from packbook.settings import Settings

STATUS_PATH: Final = "/credentials/status/"
SCHEMA_NAME: Final = "credential-1.schema.json"
SCHEMA_PATH: Final = f"/credentials/schema/{SCHEMA_NAME}"
SCHEMA_FILE: Final = OWN_FOLDER / SCHEMA_NAME
SCHEMA_TYPE: Final = "application/schema+json"
VC_TYPE: Final = "application/vc"
BUNDLE_TYPE: Final = "application/vnd.packbook.bundle"
# How a battery is changes slowly; a quarter later a buyer should ask again. Which one it is does not change.
VALID_DAYS: Final[Mapping[str, int | None]] = {Part.VALUE: 90, Part.IDENTITY: None, shelf.ABOUT_BOX: None}
RENEW_BEFORE_DAYS: Final = 30
SAID: Final = ("issuer", "credentialSubject", "credentialSchema", "relatedResource")
NAMELESS: Final = UUID("6a1d3f7e-0f0b-4f0e-9d5a-6f3f0c1e7b52")  # namespace for batteries that nobody gave a URI

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grounds:
    """What the values rest on, besides the record itself."""

    heads: Sequence[Head] = ()  # of the stores that watched the battery
    bundle: bytes | None = None  # an evidence bundle, which goes with the credential


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs, and where others find what checks it."""

    signer: Signer
    public_url: str | None

    @property
    def name(self) -> str:
        return did.did_key(self.signer.public_key) if self.public_url is None else did.did_web(self.public_url)

    def sign(self, document: Json, at_ms: int) -> Json:
        method = did.method(self.name, self.signer.public_key)
        return secure(document, method, day_utc(at_ms), self.signer.sign)

    def subject(self, passport: Passport) -> str:
        """The battery's own URI, or one that leads to this book, or one that leads nowhere but is its own."""
        declared = uri(passport)
        if declared is not None:
            return declared
        if self.public_url is not None:
            return f"{self.public_url}/id/{quote(passport.battery, safe='')}"
        return uuid5(NAMELESS, f"{self.name} {passport.battery}").urn


def issuer_of(settings: Settings) -> Issuer:
    """Raises SigningKeyError."""
    return Issuer(read_or_make_key(settings.book_key), settings.public_url)


async def issue(settings: Settings, passport: Passport, rules: RuleBook, grounds: Grounds | None = None) -> list[Json]:
    """Identity, condition, and of each box behind the values that its key is its own. Raises PackbookError."""
    issuer, grounds = issuer_of(settings), grounds or Grounds()
    fields = {name: rule.part for name, rule in rules.fields().fields.items()}
    drafts = [
        Draft(
            passport.battery,
            part,
            partial(vc.credential, passport, part, fields, issuer.subject(passport)),
            base_terms(issuer, passport.made_ms, part, grounds),
        )
        for part in Part
        if any(fields.get(name) is part for name in passport.facts)
    ]
    for box, key in sorted({head.box: head.public_key for head in grounds.heads}.items()):
        terms = base_terms(issuer, passport.made_ms, shelf.ABOUT_BOX)
        drafts.append(Draft(box, shelf.ABOUT_BOX, partial(vc.voucher, box, did.did_key(key)), terms))
    return await _issued(settings, issuer, drafts)


@dataclass(frozen=True, slots=True)
class Draft:
    """One credential to be, about a battery or a box; `build` makes it when its number is known."""

    about: str
    part: str
    build: Callable[[vc.Terms], Json]
    terms: vc.Terms

    @property
    def content(self) -> bytes:
        """What is said, whenever it is said, and to whom records are named: how long the chains are does not count."""
        document = self.build(self.terms)
        told = {name: document.get(name) for name in SAID}
        told["chains"] = sorted(f"{chain.box}/{chain.store}" for chain in self.terms.chains)
        return hashlib.sha256(canonical(told)).digest()

    def wish(self) -> Json:
        """What the store is asked for."""
        at_ms, days = vc.day_ms(self.terms.at_ms), self.terms.valid_days
        return {
            "about": self.about,
            "part": str(self.part),
            "content": self.content.hex(),
            "id": str(uuid4()),
            "issued_ms": at_ms,
            "until_ms": None if days is None else at_ms + days * vc.MS_PER_DAY,
        }


def base_terms(issuer: Issuer, at_ms: int, part: str, grounds: Grounds | None = None) -> vc.Terms:
    """Its name, its place in a list and the one before it come when it is on file."""
    public, measured = issuer.public_url, grounds if part == Part.VALUE else None
    return vc.Terms(
        id="",
        issuer=issuer.name,
        at_ms=at_ms,
        valid_days=VALID_DAYS[part],
        schema=None if public is None else vc.Resource(public + SCHEMA_PATH, sri(schema()), SCHEMA_TYPE),
        chains=() if measured is None else [_chain(head) for head in measured.heads],
        resources=() if measured is None or measured.bundle is None else [_bundle(measured.bundle)],
    )


async def _issued(settings: Settings, issuer: Issuer, drafts: Sequence[Draft]) -> list[Json]:
    """As on file, or signed and put there: all drafts in two acts, because each may be done by another process."""
    wishes = [draft.wish() for draft in drafts]
    answers = await operate(settings, ACTS, "credential.reserve", {"wishes": wishes})
    made = []
    new: Json = {}
    for draft, wish, answer in zip(drafts, wishes, answers, strict=True):
        if "document" in answer:
            made.append(json.loads(answer["document"]))
            continue
        document = issuer.sign(draft.build(_full_terms(issuer, draft.terms, wish["id"], answer)), draft.terms.at_ms)
        made.append(document)
        new[str(answer["number"])] = json.dumps(document, ensure_ascii=False)
    if new:
        await operate(settings, ACTS, "credential.finish", {"documents": new})
    return made


def _full_terms(issuer: Issuer, terms: vc.Terms, identifier: str, answer: Json) -> vc.Terms:
    terms = replace(terms, id=UUID(identifier).urn, previous=_previous(answer["previous"]))
    if issuer.public_url is None:
        return terms
    number, index = place(answer["number"] - 1)
    return replace(terms, status_list=f"{issuer.public_url}{STATUS_PATH}{number}", status_index=index)


def _previous(document: str | None) -> vc.Resource | None:
    if document is None:
        return None
    before = json.loads(document)
    return vc.Resource(before["id"], sri(canonical(before)), VC_TYPE)


def _chain(head: Head) -> vc.Chain:
    return vc.Chain(head.box, head.store, head.upto, head.digest)


def _bundle(data: bytes) -> vc.Resource:
    """Named by its digest: where it lies is its holder's business."""
    return vc.Resource(uuid5(NAMELESS, hashlib.sha256(data).hexdigest()).urn, sri(data), BUNDLE_TYPE)


def sri(data: bytes) -> str:
    """Subresource Integrity: as one may also get it from `openssl dgst -sha256 -binary FILE | base64`."""
    return "sha256-" + base64.b64encode(hashlib.sha256(data).digest()).decode()


@cache
def schema() -> bytes:
    return SCHEMA_FILE.read_bytes()


# --- acts of the book that may write --------------------------------------------------------------------------------


async def _reserve(office: Office, given: Mapping[str, Any]) -> list[Json]:
    """Of each wish the one on file if it says the same and stands a while longer; else a number, and the one before."""
    async with office.database.transaction() as connection:
        return [await _reserved(connection, wish) for wish in given["wishes"]]


async def _reserved(connection: AsyncConnection, wish: Mapping[str, Any]) -> Json:
    content = bytes.fromhex(wish["content"])
    same = await shelf.newest(connection, wish["about"], wish["part"], content)
    if same is not None and _stands(same, now_ms()):
        return {"document": same.document}
    before = await shelf.newest(connection, wish["about"], wish["part"])
    new = shelf.Issued(number=0, document=None, **{**wish, "content": content})
    return {"number": await shelf.reserve(connection, new), "previous": None if before is None else before.document}


def _stands(issued: shelf.Issued, at_ms: int) -> bool:
    ends_soon = issued.until_ms is not None and issued.until_ms < at_ms + RENEW_BEFORE_DAYS * vc.MS_PER_DAY
    return issued.revoked_ms is None and not ends_soon


async def _finish(office: Office, given: Mapping[str, Any]) -> None:
    async with office.database.transaction() as connection:
        for number, document in given["documents"].items():
            await shelf.finish(connection, int(number), document)


async def _revoke(office: Office, wish: Mapping[str, Any]) -> int:
    """One by its `id`, or all `about` a battery or box. Gives how many stood before."""
    async with office.database.transaction() as connection:
        if wish["id"] is not None:
            one = await shelf.by_id(connection, wish["id"])
            found = [] if one is None else [one]
        else:
            found = list(await shelf.of(connection, wish["about"]))
        if not found:
            raise OperateError(
                f"there is no credential of {wish['id'] or wish['about']}; 'packbook credential list' says"
            )
        standing = [one.number for one in found if one.revoked_ms is None]
        await shelf.revoke(connection, standing, now_ms(), wish["reason"])
    return len(standing)


ACTS: Final[dict[str, Act]] = {
    "credential.reserve": _reserve,
    "credential.finish": _finish,
    "credential.revoke": _revoke,
}


# --- what others ask for --------------------------------------------------------------------------------------------


class BookCredentials:
    """Fills `ports.Credentials`."""

    def __init__(self, database: Database, issuer: Issuer) -> None:
        self._database = database
        self._issuer = issuer

    def did_document(self) -> bytes | None:
        if self._issuer.public_url is None:
            return None
        return as_json(did.document(self._issuer.name, [self._issuer.signer.public_key]))

    async def status_list(self, number: int) -> bytes | None:
        if self._issuer.public_url is None:
            return None
        first = number * BITS + 1
        async with self._database.transaction() as connection:
            if number > 0 and await shelf.numbered(connection) < first:
                return None
            revoked = await shelf.revoked(connection, first, first + BITS - 1)
        at_ms = now_ms()
        url = f"{self._issuer.public_url}{STATUS_PATH}{number}"
        document = status_list(url, self._issuer.name, at_ms, [one - first for one in revoked])
        return as_json(self._issuer.sign(document, at_ms))

    def schema(self) -> bytes:
        return schema()
