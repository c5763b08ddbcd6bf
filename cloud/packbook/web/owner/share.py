"""Share links of one battery: who may look without an account, made and taken back by whoever may decide about it.

In:  forms: as whom the holder reads, which parts, how long, how often. Out: the page; a new link's address, once.
The book keeps a digest of the address alone, so the answer to the form is the only place where it ever stands: it is
shown at once, in an answer that no cache keeps, and not behind a redirect that would have to remember it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import segno
from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import FormData

from packbook.clock import now_ms
from packbook.core.access import COVERAGE, INTEREST, AccessTable, Reader
from packbook.core.consent import PASSPORT, may_leave
from packbook.core.history import Battery
from packbook.core.share import NOTE_MAX, READS_MAX, TOKEN_BYTES, Link, token_digest, unfit
from packbook.core.words import Words
from packbook.web.access import access_of, doer_of, histories, link_address, private
from packbook.web.owner.frame import battery_of
from packbook.web.passport_page import REST, SECTIONS
from packbook.web.render import render, words_for

DAY_MS: Final = 86_400_000
DAYS: Final = (1, 3, 7, 14, 30, 90)
DAYS_USUAL: Final = 14
FIRST: Final = "buyer"  # offered first


@dataclass(frozen=True, slots=True)
class Row:
    """A link as its maker sees it; never its address."""

    link: Link
    state: str  # opens, or why not
    reader: str
    parts: str
    reads: str


@dataclass(frozen=True, slots=True)
class Made:
    """A link that was just made."""

    address: str
    code: str  # QR, as a data URI
    row: Row
    local: bool  # the book has no public address: it opens here and nowhere else


async def share(request: Request) -> Response:
    battery = await battery_of(request, "share")
    return await _page(request, battery)


async def make(request: Request) -> Response:
    battery, access, t = await battery_of(request, "share"), access_of(request), words_for(request)
    form = await request.form()
    token, now = secrets.token_urlsafe(TOKEN_BYTES), now_ms()
    link = _asked(access.table, form, battery.battery, token, now, doer_of(request))
    if link is None or unfit(access.table, link, access.exports.suffixes) is not None:
        return await _page(request, battery, wrong=True)
    await access.gate.keep_link(link)
    address = link_address(request, token)
    code = segno.make(address, error="m").svg_data_uri(scale=5, border=3, dark="#000", light="#fff")
    made = Made(address, code, _row(t, access.table, link, now), access.public_url is None)
    return await _page(request, battery, made=made)


async def revoke(request: Request) -> Response:
    """Answers as if an id that is none had been revoked long ago: there is nothing left to do about it."""
    battery, access = await battery_of(request, "share"), access_of(request)
    wanted = str((await request.form()).get("id", ""))
    if any(link.id == wanted for link in await access.gate.links_of(battery.battery)):
        await access.gate.revoke_link(battery.battery, wanted)
    return RedirectResponse(request.url.path.removesuffix("/revoke"), HTTPStatus.SEE_OTHER)


async def _page(request: Request, battery: Battery, made: Made | None = None, *, wrong: bool = False) -> Response:
    access, t, now = access_of(request), words_for(request), now_ms()
    links = await access.gate.links_of(battery.battery)
    readers = sorted(name for name, grant in access.table.grants.items() if grant.by_link)
    readers.sort(key=lambda name: name != FIRST)
    answer = render(
        request,
        "owner/share.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if wrong else 200,
        battery=battery,
        rows=[_row(t, access.table, link, now) for link in links],
        readers=readers,
        days=DAYS,
        days_usual=DAYS_USUAL,
        note_max=NOTE_MAX,
        parts_offered=tuple(parts_of(access.table)),
        made=made,
        wrong=wrong,
        consent=may_leave(await histories(request).purposes(battery.battery), PASSPORT) is None,
    )
    return private(answer)


def parts_of(table: AccessTable) -> dict[str, frozenset[str]]:
    """The sections that a reader's page has, and the fields in each."""
    placed = {name: frozenset(fields) & table.tiers.keys() for name, fields in SECTIONS.items()}
    rest = table.tiers.keys() - {COVERAGE}.union(*placed.values())
    return {**placed, REST: frozenset(rest), COVERAGE: frozenset({COVERAGE})}


def _asked(table: AccessTable, form: FormData, battery: str, token: str, now: int, maker: str) -> Link | None:
    """None: nothing that our form sends."""
    role, _, purpose = str(form.get("reader", "")).partition("/")
    days, reads, note = str(form.get("days", "")), str(form.get("reads", "")).strip(), str(form.get("note", "")).strip()
    digest = token_digest(token)
    if days not in map(str, DAYS) or (purpose and role != INTEREST) or digest is None:
        return None
    if reads and not (reads.isascii() and reads.isdigit() and 1 <= int(reads) <= READS_MAX):
        return None
    return Link(
        digest,
        battery,
        role,
        purpose or None,
        _fields(table, Reader(role, purpose or None), map(str, form.getlist("part"))),
        None,
        note,
        now,
        maker,
        now + int(days) * DAY_MS,
        int(reads) if reads else None,
    )


def _fields(table: AccessTable, reader: Reader, ticked: Iterable[str]) -> tuple[str, ...] | None:
    """Of the ticked parts, what this reader may see at all. None: every part was ticked, and whatever comes later."""
    parts, chosen = parts_of(table), set(ticked)
    if chosen >= parts.keys():
        return None
    wanted = set().union(*(fields for name, fields in parts.items() if name in chosen))
    return tuple(sorted(field for field in wanted if table.may_see(reader, field)))


def _row(t: Words, table: AccessTable, link: Link, now: int) -> Row:
    ended = link.ended(now)
    reads = t("links.reads_of", n=t.number(link.reads), most=t.number(link.reads_max)) if link.reads_max else None
    return Row(
        link,
        str(ended) if ended else "opens",
        t.or_raw("reader", link.reader.name),
        _parts(t, table, link),
        reads or t.number(link.reads),
    )


def _parts(t: Words, table: AccessTable, link: Link) -> str:
    if link.fields is None:
        return t("links.all_parts")
    some = [t(f"links.part.{name}") for name, fields in parts_of(table).items() if fields & set(link.fields)]
    return t.joined(some) if some else t("links.no_parts")
