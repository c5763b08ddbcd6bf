"""The pages: gather what a page needs from the `Histories` and render it.

All figures are on the page when it arrives; scripts only draw charts from the tables' data and keep the page current.
"""

from __future__ import annotations

from typing import Final

from fastapi import HTTPException, Request, Response

from packbook.core.history import Battery, SessionRow
from packbook.ports import Histories
from packbook.web import csv_files
from packbook.web import owner as owner_page
from packbook.web.access import access_of, histories, note_history, note_list, who_of
from packbook.web.api import prospect_of
from packbook.web.passport_page import HOLDERS, figures_of
from packbook.web.render import render, words_for
from packbook.web.tables import session_table

KINDS: Final = ("charge", "drive", "rest")
ROWS_PER_PAGE: Final = 50
CHUNK: Final = 500  # sessions asked of the store at once
SESSIONS_ON_PAGE: Final = 2000  # of a kind, the newest: the weekly charts look back a year


async def home(request: Request) -> Response:
    book = histories(request)
    batteries = sorted(await book.batteries(), key=lambda battery: (battery.vehicle or battery.battery).casefold())
    await note_list(request, [battery.battery for battery in batteries], "page", "batteries")
    cards = [owner_page.card(battery) for battery in batteries]
    refused = len(await book.quarantine(CHUNK))
    return render(request, "home.html", cards=cards, boxes=await book.boxes(), refused=refused, refused_max=CHUNK)


async def owner(request: Request) -> Response:
    book, battery = histories(request), await _battery(request, "battery")
    name = battery.battery
    series, events = await book.soh_series(name), await book.events(name)
    t, access = words_for(request), access_of(request)
    page = owner_page.build(
        t,
        battery,
        series=series,
        prospect=await prospect_of(book, battery, series, events),
        usage=await book.usage(name),
        charges=await all_sessions(book, name, "charge", SESSIONS_ON_PAGE),
        drives=await all_sessions(book, name, "drive", SESSIONS_ON_PAGE),
        events=events,
        reads=await access.gate.reads(name, owner_page.READS_SHOWN),
    )
    reader = who_of(request).reader
    said = await access.passports.said(name)
    held = {field: facts for field, facts in said.items() if access.table.may_see(reader, field)}
    holders = figures_of(t, HOLDERS, held)
    return render(request, "owner.html", page=page, battery=battery, holders=holders)


async def sessions(request: Request) -> Response:
    book, battery = histories(request), await _battery(request, "sessions")
    asked = request.query_params.get("kind")
    kind = asked if asked in KINDS else None
    number = _page_number(request.query_params.get("page"))
    offset = (number - 1) * ROWS_PER_PAGE
    rows = await book.sessions(battery.battery, kind, ROWS_PER_PAGE + 1, offset)
    table = session_table(words_for(request), rows[:ROWS_PER_PAGE], kind)
    return render(
        request,
        "sessions.html",
        battery=battery,
        kind=kind,
        kinds=KINDS,
        number=number,
        table=table,
        more=len(rows) > ROWS_PER_PAGE,
    )


async def sessions_csv(request: Request) -> Response:
    book, battery = histories(request), await _battery(request, "sessions.csv")
    kind = request.query_params.get("kind")
    if kind is not None and kind not in KINDS:
        raise HTTPException(422, f"kind {kind!r} is none of {', '.join(KINDS)}")
    rows = await all_sessions(book, battery.battery, kind, None)
    return _download(csv_files.sessions_csv(rows), f"{battery.battery}-{kind or 'sessions'}.csv")


async def soh_csv(request: Request) -> Response:
    book, battery = histories(request), await _battery(request, "soh.csv")
    return _download(csv_files.soh_csv(await book.soh_series(battery.battery)), f"{battery.battery}-soh.csv")


async def all_sessions(book: Histories, battery: str, kind: str | None, most: int | None) -> list[SessionRow]:
    """Newest first, chunk by chunk. Records that arrive meanwhile shift the chunks: a row seen twice counts once."""
    found: dict[object, SessionRow] = {}
    offset = 0
    while most is None or len(found) < most:
        rows = await book.sessions(battery, kind, CHUNK, offset)
        found |= {row.provenance: row for row in rows}
        offset += CHUNK
        if len(rows) < CHUNK:
            break
    return list(found.values())[:most]


async def _battery(request: Request, page: str) -> Battery:
    """Reading it is put on record before it is shown."""
    battery = await histories(request).battery(request.path_params["battery"])
    if battery is None:
        raise HTTPException(404)
    await note_history(request, battery.battery, "page", page)
    return battery


def _page_number(text: str | None) -> int:
    """Pages are counted from 1; anything else means the first."""
    return max(1, int(text)) if text and len(text) < 6 and text.isascii() and text.isdigit() else 1


def _download(text: str, name: str) -> Response:
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    headers = {"Content-Disposition": f'attachment; filename="{safe}"', "Cache-Control": "private, no-cache"}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
