"""The list of batteries: search, filter, order, page and columns, all told by the address; the same as CSV.

How health and coverage are spread over what is filtered stands on a page of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request, Response

from packbook.clock import now_ms
from packbook.core.fleet_reports import Spread, spread
from packbook.core.fleet_table import (
    ROWS_PER_PAGE,
    STATES,
    Column,
    FleetQuery,
    FleetRow,
    Link,
    address_of,
    read_query,
)
from packbook.core.rounding import shown
from packbook.core.triage import Use
from packbook.core.words import ABSENT, Words
from packbook.web.access import note_list
from packbook.web.charts import Chart, Table
from packbook.web.fleet.room import (
    DASH,
    Cell,
    Grid,
    Heading,
    Place,
    battery_cell,
    box_cell,
    csv_answer,
    fleet_of,
    moment,
    number,
    reach_of,
    text,
    told_at,
)
from packbook.web.render import render, words_for

FLEET: Final = "/fleet"
NUMBERS: Final = frozenset({Column.SOH, Column.REPORTED, Column.COVERAGE, Column.ODOMETER, Column.ALERTS})
DISPUTED: Final = "disputed"
LINK_TONES: Final = {Link.ONLINE: "good", Link.REVOKED: "bad"}
SOH_BAND_PCT: Final = 2.0
COVERAGE_BAND_PCT: Final = 10.0
SOH_SPAN_PCT: Final = (0.0, 130.0)
FULL_PCT: Final = 100.0
CSV_NAMES: Final = (
    "battery",
    "vehicle",
    "pack",
    "family",
    "fleet",
    "soh_at",
    "state",
    "soh_pct",
    "lo90_pct",
    "hi90_pct",
    "soh_reported_pct",
    "coverage_pct",
    "odometer_km",
    "box",
    "seen",
    "link",
    "software",
    "alerts",
    "promise_pct",
    "promise_years",
    "next_use",
)
CHOICES: Final[Mapping[str, Any]] = {
    "states": STATES,
    "links": tuple(Link),
    "uses": tuple(Use),
    "columns": tuple(Column),
}


async def fleet(request: Request) -> Response:
    t, query, book, reach = words_for(request), query_in(request), fleet_of(request).batteries, reach_of(request)
    page = await book.page(reach, query, now_ms())
    await note_list(request, [row.battery for row in page.rows], "page", "fleet")
    last = max(1, -(-page.total // ROWS_PER_PAGE))
    earlier, later = (_at(query, page=page.number + step) for step in (-1, 1))
    return render(
        request,
        "fleet/table.html",
        query=query,
        grid=_grid(t, query, page.rows),
        total=page.total,
        place=Place(page.number, last, earlier if page.number > 1 else None, later if page.number < last else None),
        wish=address_of(query, page=1),
        there=await book.choices(reach),
        path=FLEET,
        **CHOICES,
    )


async def fleet_csv(request: Request) -> Response:
    rows = await fleet_of(request).batteries.rows(reach_of(request), query_in(request), now_ms())
    await note_list(request, [row.battery for row in rows], "page", "fleet.csv")
    return csv_answer(CSV_NAMES, (_csv_row(row) for row in rows), "fleet.csv")


async def spreads(request: Request) -> Response:
    t, query, book, reach = words_for(request), query_in(request), fleet_of(request).batteries, reach_of(request)
    found = await _spreads(request, query)
    return render(
        request,
        "fleet/spread.html",
        query=query,
        charts=[(name, _chart(t, name, told), told) for name, told in found.items()],
        wish=address_of(query, page=1),
        there=await book.choices(reach),
        path=f"{FLEET}/distribution",
        **CHOICES,
    )


async def spreads_csv(request: Request) -> Response:
    found = await _spreads(request, query_in(request))
    rows = (
        (name, told.edges[at], told.edges[at + 1], count)
        for name, told in found.items()
        for at, count in enumerate(told.counts)
    )
    return csv_answer(("figure", "from_pct", "below_pct", "batteries"), rows, "fleet-distribution.csv")


def query_in(request: Request) -> FleetQuery:
    return read_query(request.query_params.multi_items())


def _at(query: FleetQuery, **changes: object) -> str:
    wish = address_of(query, **changes)
    return f"{FLEET}?{wish}" if wish else FLEET


# --- rows ----------------------------------------------------------------------------------------------------------


def _grid(t: Words, query: FleetQuery, rows: Sequence[FleetRow]) -> Grid:
    headings = tuple(_heading(t, query, column) for column in query.columns)
    body = tuple(tuple(_cell(t, column, row) for column in query.columns) for row in rows)
    return Grid(t("fleet.table.title"), headings, body)


def _heading(t: Words, query: FleetQuery, column: Column) -> Heading:
    here = query.sort is column
    way = ("descending" if query.falling else "ascending") if here else None
    address = _at(query, sort=column, falling=here and not query.falling)
    return Heading(t(f"fleet.column.{column}"), address, way, column in NUMBERS)


def _cell(t: Words, column: Column, row: FleetRow) -> Cell:
    match column:
        case Column.BATTERY:
            return battery_cell(row.battery)
        case Column.SOH:
            return Cell(soh_text(t, row), number=True)
        case Column.STATE:
            return state_cell(t, row)
        case Column.REPORTED:
            return number(t, row.soh_reported_pct, 0, "%")
        case Column.COVERAGE:
            return number(t, row.coverage_pct, 0, "%")
        case Column.ODOMETER:
            return number(t, row.odometer_km, 0, "km")
        case Column.SEEN:
            return moment(row.seen_ms)
        case Column.BOX:
            return box_cell(row.box)
        case Column.LINK:
            return link_cell(t, row.box, row.link)
        case Column.ALERTS:
            return alerts_cell(t, row)
        case Column.GUARANTEE:
            return promise_cell(t, row)
        case Column.NEXT_USE:
            return DASH if row.next_use is None else Cell(t(f"next_use.{row.next_use}.name"))
        case _:
            return text(getattr(row, column.value))


def soh_text(t: Words, row: FleetRow) -> str:
    """With its interval or not at all; nothing of a history in dispute."""
    if row.soh_pct is None or row.lo90_pct is None or row.hi90_pct is None or row.lacking == DISPUTED:
        return ABSENT
    told = shown(row.soh_pct, row.lo90_pct, row.hi90_pct)
    return t("soh.plus_minus", value=t.number(told.value_pct, told.digits), half=t.number(told.half_pct, told.digits))


def state_cell(t: Words, row: FleetRow) -> Cell:
    state = DISPUTED if row.lacking == DISPUTED else row.state
    return Cell(t.messages.get(f"state.{state}.name", state), state=state)


def link_cell(t: Words, box: str | None, link: Link | None) -> Cell:
    if box is None:
        return DASH
    name = "unknown" if link is None else link.value
    tone = "quiet" if link is None else LINK_TONES.get(link, "quiet")
    return Cell(t(f"fleet.link.{name}"), f"/fleet/boxes/{box}", tone)


def alerts_cell(t: Words, row: FleetRow) -> Cell:
    if not row.alerts:
        return Cell(t.number(0), number=True)
    return Cell(t.number(row.alerts), f"/fleet/alerts?{urlencode({'battery': row.battery})}", "bad", number=True)


def promise_cell(t: Words, row: FleetRow) -> Cell:
    if row.promise_pct is None or row.promise_years is None:
        return DASH
    return Cell(t("fleet.promise", pct=t.number(row.promise_pct), years=t.number(row.promise_years)))


def _csv_row(row: FleetRow) -> list[object]:
    told: dict[str, object] = {
        "soh_at": told_at(row.soh_at_ms),
        "seen": told_at(row.seen_ms),
        "link": None if row.link is None else row.link.value,
    }
    if row.lacking == DISPUTED:
        told |= {"state": DISPUTED, "soh_pct": None, "lo90_pct": None, "hi90_pct": None}
    return [told[name] if name in told else getattr(row, name) for name in CSV_NAMES]


# --- how figures are spread ----------------------------------------------------------------------------------------


async def _spreads(request: Request, query: FleetQuery) -> dict[str, Spread]:
    """No battery is told from another, so nothing is put on record."""
    figures = await fleet_of(request).batteries.figures(reach_of(request), query, now_ms())
    return {
        "soh": spread((soh for soh, _ in figures), SOH_BAND_PCT, *SOH_SPAN_PCT),
        "coverage": spread((covered for _, covered in figures), COVERAGE_BAND_PCT, 0.0, FULL_PCT),
    }


def _chart(t: Words, name: str, told: Spread) -> Chart | None:
    if not told.known:
        return None
    bands = [f"{t.number(told.edges[at])}–{t.number(told.edges[at + 1])}" for at in range(len(told.counts))]
    title, series = t(f"fleet.spread.{name}"), t("fleet.spread.batteries")
    return Chart(
        id=f"spread-{name}",
        title=title,
        unit=series,
        label=t("fleet.spread.label", what=title),
        spec={
            "kind": "bars",
            "mirrored": False,
            "categories": bands,
            "unit": "",
            "series": [{"name": series, "tone": "ac", "values": list(told.counts)}],
        },
        table=Table(
            title,
            (t("fleet.spread.band"), series),
            tuple((f"{band} %", t.number(count)) for band, count in zip(bands, told.counts, strict=True)),
        ),
        note=t.count("fleet.spread.unknown", told.unknown) if told.unknown else None,
    )
