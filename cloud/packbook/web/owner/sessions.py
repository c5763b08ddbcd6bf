"""All charges, drives and rests of one battery: a year of charging as a calendar, and the list behind it.

In:  `?kind=`, `?from=` and `?to=` (UTC days, both included), `?page=`. What cannot be read means: not filtered.
Out: the page, or the rows as CSV. Each row leads to the session's own page.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

from fastapi import HTTPException, Request, Response

from packbook.web import csv_files
from packbook.web.access import histories
from packbook.web.current import kept_in, version_of
from packbook.web.owner.calendar import Calendar, calendar
from packbook.web.owner.frame import SESSIONS_ON_PAGE, all_sessions, battery_of, download, unread_battery_of
from packbook.web.render import render, words_for
from packbook.web.tables import session_table

KINDS: Final = ("charge", "drive", "rest")
ROWS_PER_PAGE: Final = 50
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the reader asked for. Days as he wrote them; "" for none."""

    kind: str | None
    first: str
    last: str
    page: int

    @property
    def since_ms(self) -> int | None:
        return _ms(self.first)

    @property
    def until_ms(self) -> int | None:
        last = _ms(self.last)
        return None if last is None else last + DAY_MS

    def query(self, **change: str | int | None) -> str:
        """`?...` of this list with something changed; None takes it out."""
        said: dict[str, str | int | None] = {"kind": self.kind, "from": self.first, "to": self.last, "page": None}
        found = {name: value for name, value in (said | change).items() if value not in (None, "")}
        return f"?{urlencode(found)}" if found else ""


def wanted(request: Request) -> Wanted:
    asked = request.query_params
    kind = asked.get("kind")
    return Wanted(
        kind if kind in KINDS else None,
        _day(asked.get("from")),
        _day(asked.get("to")),
        _page_number(asked.get("page")),
    )


async def sessions(request: Request) -> Response:
    book, battery = histories(request), await unread_battery_of(request, "sessions")
    name, asked, t = battery.battery, wanted(request), words_for(request)
    offset = (asked.page - 1) * ROWS_PER_PAGE
    rows = await book.sessions(
        name, asked.kind, ROWS_PER_PAGE + 1, offset, since_ms=asked.since_ms, until_ms=asked.until_ms
    )
    filtered = asked.kind not in (None, "charge") or asked.first or asked.last or asked.page > 1
    year: Calendar | None = None
    if not filtered:

        async def make() -> Calendar | None:
            charges = await all_sessions(book, name, "charge", SESSIONS_ON_PAGE)
            return calendar(t, charges, f"/battery/{quote(name, safe='')}/sessions")

        year = await kept_in(request).part(("calendar", name, version_of(request), t.language), make)
    return render(
        request,
        "owner/sessions.html",
        battery=battery,
        asked=asked,
        kinds=KINDS,
        year=year,
        table=session_table(t, name, rows[:ROWS_PER_PAGE], asked.kind),
        more=len(rows) > ROWS_PER_PAGE,
    )


async def sessions_csv(request: Request) -> Response:
    """The whole of one kind, or of all. A kind that is none is refused: a program would take silence for an answer."""
    book, battery = histories(request), await battery_of(request, "sessions.csv")
    kind = request.query_params.get("kind")
    if kind is not None and kind not in KINDS:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"kind {kind!r} is none of {', '.join(KINDS)}")
    rows = await all_sessions(book, battery.battery, kind, None)
    return download(csv_files.sessions_csv(rows), f"{battery.battery}-{kind or 'sessions'}.csv")


def _day(text: str | None) -> str:
    """As browsers send a date; anything else is none."""
    try:
        return datetime.date.fromisoformat(text).isoformat() if text and len(text) == 10 else ""
    except ValueError:
        return ""


def _ms(day: str) -> int | None:
    if not day:
        return None
    at = datetime.datetime.combine(datetime.date.fromisoformat(day), datetime.time(), datetime.UTC)
    return int(at.timestamp() * 1000)


def _page_number(text: str | None) -> int:
    """Pages are counted from 1; anything else means the first."""
    return max(1, int(text)) if text and len(text) < 6 and text.isascii() and text.isdigit() else 1
