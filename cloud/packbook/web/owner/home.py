"""The start page: the batteries as cards, each with its health and its last year; and two of them side by side.

In:  the batteries within the reader's reach. Out: pages; who may see a fleet is led to the fleet's page instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlencode

from fastapi import HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from packbook.core.accounts import May
from packbook.core.history import Battery, SohPoint, UsageTotals
from packbook.core.words import ABSENT, Words, iso
from packbook.ports.histories import Histories
from packbook.web import charts, csv_files, figures
from packbook.web.access import histories, note_history, note_list, who_of
from packbook.web.charts import Data, Moment, Table
from packbook.web.headline import Headline, headline
from packbook.web.owner import trend
from packbook.web.owner.frame import CHUNK, download
from packbook.web.render import render, words_for
from packbook.web.tables import percent

TRENDS_MAX: Final = 40  # each asks the store once; who has more reads the fleet's table
COMPARED: Final = 2
FLEET: Final = "/fleet"


@dataclass(frozen=True, slots=True)
class Card:
    battery: Battery
    headline: Headline
    trend: trend.Trend | None


async def home(request: Request) -> Response:
    """Whose work is a fleet begins with its table; whoever runs a book of his own without accounts has his few cars."""
    who = who_of(request)
    if who.role is not None and May.READ_FLEET in who.may and FLEET in request.app.state.pages:
        return RedirectResponse(FLEET, HTTPStatus.SEE_OTHER)
    book = histories(request)
    batteries = sorted(await book.batteries(), key=lambda battery: (battery.vehicle or battery.battery).casefold())
    await note_list(request, [battery.battery for battery in batteries], "page", "batteries")
    cards = [
        Card(one, headline(one.soh, one.doubts), await _trend(book, one) if number < TRENDS_MAX else None)
        for number, one in enumerate(batteries)
    ]
    refused = len(await book.quarantine(CHUNK))
    return render(request, "home.html", cards=cards, boxes=await book.boxes(), refused=refused, refused_max=CHUNK)


async def _trend(book: Histories, battery: Battery) -> trend.Trend | None:
    return None if battery.soh is None or battery.doubts else trend.trend(await book.soh_series(battery.battery))


class Compared(NamedTuple):
    every: Sequence[Battery]
    chosen: Sequence[Battery]
    trends: tuple[trend.Trend | None, ...]


async def compare(request: Request) -> Response:
    """`?battery=A&battery=B`. Each is read, and put on record, on its own."""
    found, t = await _compared(request, "compare"), words_for(request)
    if found is None:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    totals = [await histories(request).usage(one.battery) for one in found.chosen]
    return render(
        request,
        "owner/compare.html",
        every=found.every,
        chosen=found.chosen,
        trends=found.trends,
        table=compared(t, found.chosen, totals),
        readings=lines_table(t, found),
        wish=urlencode([("battery", one.battery) for one in found.chosen]),
    )


async def compare_csv(request: Request) -> Response:
    """What the two lines are drawn from."""
    found = await _compared(request, "compare.csv")
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    data = lines_table(words_for(request), found).data
    assert data is not None
    return download(csv_files.table_csv(*data), "compare.csv")


async def _compared(request: Request, page: str) -> Compared | None:
    """None: there are not two. Raises HTTPException."""
    book = histories(request)
    every = sorted(await book.batteries(), key=lambda battery: (battery.vehicle or battery.battery).casefold())
    known = {battery.battery: battery for battery in every}
    asked = request.query_params.getlist("battery")[:COMPARED]
    if any(name not in known for name in asked):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    names = list(dict.fromkeys([*asked, *known]))[:COMPARED]
    if len(names) < COMPARED:
        return None
    for name in names:
        await note_history(request, name, "page", page)
    chosen = [known[name] for name in names]
    series = [[] if one.doubts else await book.soh_series(one.battery) for one in chosen]
    return Compared(every, chosen, trend.together(series[0], series[1]))


def lines_table(t: Words, found: Compared) -> Table:
    """The readings that the lines are drawn from, newest first."""
    shown = [
        (battery, reading)
        for battery, line in zip(found.chosen, found.trends, strict=True)
        for reading in (reversed(line.shown) if line else ())
    ]
    names = (t("column.date"), t("soh.name"), t("fleet.column.battery"))
    rows = tuple(
        (Moment(reading.at_ms), charts.interval_text(t, reading.point), one.vehicle or one.battery)
        for one, reading in shown
    )
    data = tuple(
        (iso(reading.at_ms), reading.value, reading.point.lo90_pct, reading.point.hi90_pct, one.battery)
        for one, reading in shown
    )
    return Table(
        t("chart.soh.title"), names, rows, data=Data(("at", "soh_pct", "lo90_pct", "hi90_pct", "battery"), data)
    )


def compared(t: Words, batteries: Sequence[Battery], totals: Sequence[UsageTotals | None]) -> Table:
    """Figures of each in a column of its own. What one does not have is a dash, never a zero."""
    columns = [_figures(t, battery, usage) for battery, usage in zip(batteries, totals, strict=True)]
    rows = tuple((label, *(column[label] for column in columns)) for label in columns[0])
    return Table(t("compare.table"), (t("column.figure"), *(b.vehicle or b.battery for b in batteries)), rows)


def _figures(t: Words, battery: Battery, usage: UsageTotals | None) -> dict[str, str | Moment]:
    seen = figures.coverage(usage, battery.soh)
    charged = usage.energy_ac_in_wh + usage.energy_dc_in_wh if usage else 0.0
    hot = figures.stressed_share(figures.grid(usage.soc_temp_s, figures.TEMP_BANDS)) if usage else None
    told: dict[str, str | Moment] = {
        t("soh.name"): _soh(t, battery),
        t("soh.reported"): t.number(figures.rounded_reported(battery.soh) if battery.soh else None, 0, "%"),
        t("capacity.reference"): t.number(battery.reference_ah, 1, "Ah"),
        t("charging.cycles"): t.number(usage.equivalent_full_cycles if usage else None, 1),
        t("charging.dc_share"): percent(t, usage.energy_dc_in_wh / charged if usage and charged else None),
        t("stress.full_hot"): percent(t, hot),
        t("coverage.share"): percent(t, seen.share if seen else None),
        t("home.last"): Moment(battery.last_ms),
    }
    return told


def _soh(t: Words, battery: Battery) -> str:
    point: SohPoint | None = None if battery.doubts else battery.soh
    shown = figures.shown_soh(point) if point else None
    if shown is None:
        return ABSENT
    return t(
        "soh.plus_minus", value=t.number(shown.value_pct, shown.digits), half=t.number(shown.half_pct, shown.digits)
    )
