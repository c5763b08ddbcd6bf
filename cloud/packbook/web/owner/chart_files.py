"""The figures behind one chart of a battery as CSV: what its table shows, unrounded, with English names and units.

In:  battery and chart, as the address names them. Out: the file; 404 for what is no chart, or shows nothing yet.
The charts of single records have files of their own: `soh.csv`, `cells.csv`, and `curve.csv` of one charge.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from fastapi import HTTPException, Request, Response

from packbook.core.history import Battery, UsageTotals
from packbook.core.prospect import Lacking
from packbook.core.words import Words
from packbook.ports.histories import Histories
from packbook.web import charts, csv_files, figures
from packbook.web.access import histories
from packbook.web.api import prospect_of
from packbook.web.charts import Chart, Table
from packbook.web.owner.calendar import calendar
from packbook.web.owner.frame import SESSIONS_ON_PAGE, all_sessions, download, unread_battery_of
from packbook.web.owner.use import stress_charts
from packbook.web.render import words_for


class Asked(NamedTuple):
    request: Request
    book: Histories
    battery: Battery
    t: Words


async def chart_csv(request: Request) -> Response:
    name = request.path_params["chart"]
    if name not in TABLES:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    battery = await unread_battery_of(request, f"charts/{name}.csv")
    table = await TABLES[name](Asked(request, histories(request), battery, words_for(request)))
    if table is None or table.data is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return download(csv_files.table_csv(*table.data), f"{battery.battery}-{name}.csv")


async def _calendar(asked: Asked) -> Table | None:
    made = calendar(asked.t, await all_sessions(asked.book, asked.battery.battery, "charge", SESSIONS_ON_PAGE), "")
    return None if made is None else made.table


async def _charge_weeks(asked: Asked) -> Table | None:
    charges = await all_sessions(asked.book, asked.battery.battery, "charge", SESSIONS_ON_PAGE)
    return _of(charts.charge_weeks_chart(asked.t, charges))


async def _drive_weeks(asked: Asked) -> Table | None:
    drives = await all_sessions(asked.book, asked.battery.battery, "drive", SESSIONS_ON_PAGE)
    return _of(charts.drive_weeks_chart(asked.t, drives))


async def _ahead(asked: Asked) -> Table | None:
    found = await prospect_of(asked.request, asked.book, asked.battery)
    return None if isinstance(found, Lacking) else charts.ahead_table(asked.t, found)


async def _coverage(asked: Asked) -> Table | None:
    seen = figures.coverage(await asked.book.usage(asked.battery.battery), asked.battery.soh)
    return None if seen is None else charts.coverage_table(asked.t, seen)


def _of(chart: Chart | None) -> Table | None:
    return None if chart is None else chart.table


def _stress(at: int) -> Callable[[Asked], Awaitable[Table | None]]:
    async def made(asked: Asked) -> Table | None:
        usage: UsageTotals | None = await asked.book.usage(asked.battery.battery)
        return None if usage is None else stress_charts(asked.t, usage)[at].table

    return made


TABLES: Final[Mapping[str, Callable[[Asked], Awaitable[Table | None]]]] = {
    "ahead": _ahead,
    "calendar": _calendar,
    "charge_weeks": _charge_weeks,
    "coverage": _coverage,
    "drive_weeks": _drive_weeks,
    **{name: _stress(at) for at, name in enumerate(("stress", "temperature", "c_rate", "depth"))},
}
