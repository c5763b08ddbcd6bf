"""What the operator's pages share: the ports they ask, a table with links, CSV files, and answers to forms.

In:  a request. Out: `Fleet`, how far who asks may see, cells and headings for fleet/parts.html, redirects after a form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from packbook.core.accounts import Reach
from packbook.core.told import Told
from packbook.core.words import ABSENT, Words, iso
from packbook.ports.fleet import Alerts, FleetBoxes, FleetDesk, FleetList, FleetPapers
from packbook.web import csv_files
from packbook.web.access import who_of
from packbook.web.charts import Moment

DESKS_WORDS: Final = frozenset({"enrolled", "renewed", "replaced", "transferred"})  # acts whose detail it writes
WHY_MAX: Final = 500  # characters of a reason


@dataclass(frozen=True, slots=True)
class Fleet:
    """The ports behind the operator's pages."""

    batteries: FleetList
    boxes: FleetBoxes
    papers: FleetPapers
    desk: FleetDesk
    alerts: Alerts


def fleet_of(request: Request) -> Fleet:
    fleet: Fleet | None = request.app.state.fleet
    if fleet is None:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "this book shows histories, but no fleet")
    return fleet


def reach_of(request: Request) -> Reach:
    return who_of(request).reach


# --- tables --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """`tone`: a badge. `state`: of a battery. `wide`: running text that may break into lines."""

    text: str | Told | Moment
    href: str | None = None
    tone: str | None = None
    state: str | None = None
    number: bool = False
    wide: bool = False
    code: bool = False


DASH: Final = Cell(ABSENT)


@dataclass(frozen=True, slots=True)
class Heading:
    """`address` None: the table cannot be sorted by it. `sorted`: ascending or descending, where it is."""

    label: str
    address: str | None = None
    sorted: str | None = None
    number: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]


def grid(t: Words, caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Grid:
    """One that cannot be sorted; headings are the messages `fleet.column.*`."""
    body = tuple(tuple(row) for row in rows)
    headings = (
        Heading(t(f"fleet.column.{name}"), number=any(row[at].number for row in body))
        for at, name in enumerate(columns)
    )
    return Grid(caption, tuple(headings), body)


def number(t: Words, value: float | None, digits: int = 0, unit: str = "") -> Cell:
    return DASH if value is None else Cell(t.number(value, digits, unit), number=True)


def text(value: str | None, *, wide: bool = False) -> Cell:
    return Cell(value, wide=wide) if value else DASH


def act_cell(t: Words, act: str, detail: str) -> Cell:
    """What is behind an act: the desk's own words are said in the reader's, a person's stay as they were typed."""
    return Cell(t.told(detail), wide=True) if act in DESKS_WORDS and detail else text(detail, wide=True)


def moment(at_ms: int | None) -> Cell:
    return DASH if at_ms is None else Cell(Moment(at_ms, "moment"))


def battery_cell(battery: str | None) -> Cell:
    return DASH if battery is None else Cell(battery, href=f"/battery/{quote(battery, safe='')}")


def box_cell(box: str | None) -> Cell:
    return DASH if box is None else Cell(box, href=f"/fleet/boxes/{quote(box, safe='')}", code=True)


# --- answers -------------------------------------------------------------------------------------------------------


def csv_answer(names: Sequence[str], rows: Iterable[Iterable[object]], name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "private, no-cache"}
    return Response(csv_files.table_csv(names, rows), media_type="text/csv; charset=utf-8", headers=headers)


def told_at(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso(at_ms)


def done(path: str, note: str) -> Response:
    """Back to a page that says what was done: `note` is one of the messages `fleet.done.*`."""
    return RedirectResponse(f"{path}?{urlencode({'done': note})}", HTTPStatus.SEE_OTHER)


def note_in(request: Request, t: Words) -> str | None:
    """What a form did, from the address it led back to. A made-up note says nothing."""
    note = request.query_params.get("done")
    return t.messages.get(f"fleet.done.{note}")


def reason_in(form: Mapping[str, Any]) -> str:
    """Why something is done: asked for, and written down. Raises HTTPException."""
    why = str(form.get("why", "")).strip()
    if not why:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "a reason is asked for; it is written down with your name")
    return why[:WHY_MAX]


# --- places in a long list -----------------------------------------------------------------------------------------


def page_in(request: Request) -> int:
    """Pages are counted from 1; anything else means the first."""
    asked = request.query_params.get("page", "")
    return max(1, int(asked)) if 0 < len(asked) < 6 and asked.isascii() and asked.isdigit() else 1


def page_address(request: Request, page: int) -> str:
    """This page with its other parameters, at another place of a long list."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in ("page", "done", "lang")]
    pairs = kept if page == 1 else [*kept, ("page", str(page))]
    return f"{quote(request.url.path)}?{urlencode(pairs)}" if pairs else quote(request.url.path)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a long list a page is; `last` None: nobody counted them."""

    number: int
    last: int | None
    earlier: str | None
    later: str | None


def place_of(request: Request, *, more: bool) -> Place:
    page = page_in(request)
    return Place(
        page,
        None,
        page_address(request, page - 1) if page > 1 else None,
        page_address(request, page + 1) if more else None,
    )
