"""Who reads what of a battery, decided and put on record before it is shown.

In:  a request, with or without a share link's token; the access table; the gate to links and records of reads.
Out: what the reader may see, or an answer that says no. Unknown tokens get the same answer as pages that do not exist.
Who asks was decided at the door (`web.door`): `who_of`. A read that cannot be put on record is refused.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException, Request, Response

from packbook.clock import now_ms
from packbook.core.access import ALL_BATTERIES, AccessTable, Cut, Read, Reader
from packbook.core.accounts import BOOKS_OWN, KEY, NOBODY, May, Who
from packbook.core.consent import PASSPORT, may_leave
from packbook.core.enrolment import WrongTries
from packbook.core.share import Ended, Link, token_digest
from packbook.ports.histories import Histories
from packbook.ports.passports import Exports, Gate, Passports
from packbook.ports.trouble import PackbookError

# A page asks again whenever it hears of news (`web.live`): that is one visit, one note.
VISIT_MS: Final = 10 * 60 * 1000
VISITS_MAX: Final = 10_000  # remembered at once; a forgotten one is noted again
PRIVATE: Final = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex, nofollow"}


class Trail:
    """Puts reads on record. Those that come while a record is being written share the next one."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._turn = asyncio.Lock()
        self._open = _Batch()
        self._visits: OrderedDict[tuple[str, Reader, str, str], int] = OrderedDict()

    async def note(self, read: Read) -> None:
        """Raises PackbookError: then nothing may be shown."""
        visit = (read.battery, read.reader, read.door, read.what)
        if read.at_ms - self._visits.get(visit, -VISIT_MS) < VISIT_MS:
            return
        await self._write(read)
        self._visits[visit] = read.at_ms
        self._visits.move_to_end(visit)
        while len(self._visits) > VISITS_MAX:
            self._visits.popitem(last=False)

    async def _write(self, read: Read) -> None:
        batch = self._open
        batch.reads.append(read)
        async with self._turn:
            if batch.problem is not None:
                raise batch.problem
            if batch.done:
                return
            if batch is self._open:
                self._open = _Batch()
            try:
                await self._gate.note(batch.reads)
            except PackbookError as problem:
                batch.problem = problem
                raise
            batch.done = True


@dataclass(slots=True)
class _Batch:
    reads: list[Read] = field(default_factory=list)
    done: bool = False
    problem: PackbookError | None = None


@dataclass(slots=True)
class Access:
    """What the pages need to know who may see what. One for each application."""

    table: AccessTable
    gate: Gate
    passports: Passports
    exports: Exports
    public_url: str | None = None  # where others find this book's pages
    trail: Trail = field(init=False)
    wrong: WrongTries = field(default_factory=WrongTries)

    def __post_init__(self) -> None:
        self.trail = Trail(self.gate)


def access_of(request: Request) -> Access:
    access: Access | None = request.app.state.access
    if access is None:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "this book keeps no record of who reads it")
    return access


async def note_history(request: Request, battery: str, door: str, what: str) -> None:
    """Before a battery's own history is shown, with its sessions and times. Raises HTTPException or PackbookError."""
    access = access_of(request)
    if bearer(request) is not None:
        raise HTTPException(HTTPStatus.FORBIDDEN, "a share link opens the passport, not the history behind it")
    reader = who_of(request).reader
    grant = access.table.grant(reader)
    if grant is None or not grant.history:
        raise HTTPException(HTTPStatus.FORBIDDEN, f"{reader.name} may not read histories")
    await access.trail.note(Read(now_ms(), battery, reader, door, what))


async def note_list(request: Request, batteries: Sequence[str], door: str, what: str) -> None:
    """Before a list with the health of these is shown: one note where they are all there are, else one for each."""
    reach = who_of(request).reach
    if reach.batteries is None:
        await note_history(request, all_of(reach.tenant), door, what)
        return
    for battery in batteries:
        await note_history(request, battery, door, what)


def all_of(tenant: str | None) -> str:
    return ALL_BATTERIES if tenant is None else f"{ALL_BATTERIES}{tenant}"


async def cut_for(request: Request, battery: str, reader: Reader) -> Cut | None:
    """The passport as this reader may see it, whose way to this battery was found. None: not in this book."""
    access, book = access_of(request), whole_book(request)
    passport = await access.passports.passport(battery)
    if passport is None:
        return None
    return access.table.redact(passport, reader, no_consent=may_leave(await book.purposes(battery), PASSPORT))


def read_of(access: Access, cut: Cut, reader: Reader, door: str, what: str) -> Read:
    return Read(now_ms(), cut.passport.battery, reader, door, what, access.table.individual_in(cut.passport))


async def find_link(request: Request, token: str) -> tuple[bytes, Link]:
    """The link of a token, opened or not. Raises HTTPException; wrong tokens are counted by address."""
    access = access_of(request)
    digest = token_digest(token)
    link = None if digest is None else await access.gate.link(digest)
    if digest is None or link is None:
        _count_guess(request, access)
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such link", headers=PRIVATE)
    ended = link.ended(now_ms())
    grant = access.table.grant(link.reader)
    if ended is not None or grant is None or not grant.by_link:
        raise gone(ended or Ended.REVOKED)
    return digest, link


async def open_link(request: Request, digest: bytes, link: Link, cut: Cut, what: str) -> None:
    """Counts the read and puts it on record; after this it may be shown. Raises HTTPException or PackbookError."""
    access = access_of(request)
    ended = await access.gate.open(digest, read_of(access, cut, link.reader, "link", what))
    if ended is not None:
        raise gone(ended)


def link_address(request: Request, token: str) -> str:
    """To hand over; without a public address of the book it opens here and nowhere else."""
    root = access_of(request).public_url or str(request.base_url).rstrip("/")
    return f"{root}/s/{token}"


def gone(ended: Ended) -> HTTPException:
    return HTTPException(HTTPStatus.GONE, f"this link is {ended.replace('_', ' ')}", headers=PRIVATE)


def bearer(request: Request) -> str | None:
    """A share link's token, as programs send it. An API key is none."""
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    token = shown.strip()
    return token if scheme.lower() == "bearer" and not KEY.fullmatch(token) else None


def private(answer: Response) -> Response:
    """Kept by no cache, found by no search engine; the referrer policy of all pages keeps the address to itself."""
    answer.headers.update(PRIVATE)
    return answer


def _count_guess(request: Request, access: Access) -> None:
    """Right tokens always open, so nobody can be locked out by another's guesses from one proxy's address."""
    address = request.client.host if request.client is not None else "unknown"
    wait_ms = access.wrong.wait_ms(address, now_ms())
    if wait_ms > 0:
        headers = {**PRIVATE, "Retry-After": str(wait_ms // 1000 + 1)}
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong links; wait", headers=headers)
    access.wrong.count(address, now_ms())


def who_of(request: Request) -> Who:
    """Who asks, as the door found out. A request that came through no door (a wrong address) is nobody's."""
    open_book = request.app.state.accounts is None
    who: Who = getattr(request.state, "who", BOOKS_OWN if open_book else NOBODY)
    return who


def doer_of(request: Request) -> str:
    """Who does it, as the records of acts say: by the login, which nobody chooses for himself as he does his name."""
    reader = who_of(request).reader
    return reader.account or reader.role


def require(request: Request, may: May) -> Who:
    """For endpoints that let some in by other ways than their route's `may`. Raises HTTPException."""
    who = who_of(request)
    if may not in who.may:
        raise HTTPException(
            HTTPStatus.FORBIDDEN if who.account is not None else HTTPStatus.UNAUTHORIZED, "sign in, or send a key"
        )
    return who


def histories(request: Request) -> Histories:
    """The book as far as who asks may see."""
    return whole_book(request).within(who_of(request).reach)


def whole_book(request: Request) -> Histories:
    """Beyond anybody's reach: for share links and labels, which lead to one battery and show what they may."""
    book: Histories = request.app.state.histories
    return book
