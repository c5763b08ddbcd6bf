"""A year of charging at a glance: one field a day, darker where more energy went in. Drawn on the server.

In:  charges, newest first. Out: `Calendar`: fields of the drawing, and the table behind it with a row for each day.
Days are UTC, as everywhere on these pages. A day without a charge is a light field, not a gap.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from packbook.core.history import SessionRow
from packbook.core.words import Words, utc
from packbook.web.charts import Data, Moment, Table

WEEKS: Final = 53
CELL: Final = 14  # drawing units, with the gap
LEFT: Final = 34  # room for names of days
RIGHT: Final = 16  # the last month's name may reach beyond its week
TOP: Final = 20  # room for names of months
SHADES: Final = 4  # beside the empty one
DAY: Final = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Field:
    x: int
    y: int
    shade: int  # 0: no charge
    fast: bool  # a fast charge among them
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A name beside the fields."""

    x: int
    y: int
    text: str


@dataclass(frozen=True, slots=True)
class Calendar:
    width: int
    height: int
    fields: tuple[Field, ...]
    marks: tuple[Mark, ...]
    table: Table
    undated: int


@dataclass(slots=True)
class _Day:
    charges: int = 0
    fast: int = 0
    kwh: float = 0.0


def calendar(t: Words, charges: Sequence[SessionRow], sessions_path: str) -> Calendar | None:
    """The year that ends with the newest charge; None without a dated one. `sessions_path`: leads to a day's list."""
    days: dict[datetime.date, _Day] = defaultdict(_Day)
    for row in charges:
        if row.start_ms is not None:
            day = days[utc(row.start_ms).date()]
            day.charges += 1
            day.fast += row.charge_kind == "dc"
            day.kwh += row.energy_in_wh / 1000.0
    if not days:
        return None
    last = max(days)
    monday = last - datetime.timedelta(days=last.weekday(), weeks=WEEKS - 1)
    first = max(monday, min(days) - datetime.timedelta(days=min(days).weekday()))
    shown = {day: found for day, found in days.items() if day >= first}
    most = max(found.kwh for found in shown.values())
    weeks = (last - first).days // 7 + 1
    return Calendar(
        LEFT + weeks * CELL + RIGHT,
        TOP + 7 * CELL,
        tuple(_fields(t, first, last, shown, most)),
        tuple(_marks(t, first, weeks)),
        _table(t, shown, sessions_path),
        sum(row.start_ms is None for row in charges),
    )


def _fields(
    t: Words, first: datetime.date, last: datetime.date, days: dict[datetime.date, _Day], most: float
) -> list[Field]:
    fields = []
    for number in range((last - first).days + 1):
        day = first + number * DAY
        found = days.get(day, _Day())
        shade = 0 if not found.charges else min(SHADES, 1 + int(SHADES * found.kwh / most)) if most else 1
        title = t(
            "calendar.day", day=t.date(_ms(day)), charges=t.count("home.charges", found.charges), kwh=_kwh(t, found)
        )
        fields.append(Field(LEFT + number // 7 * CELL, TOP + number % 7 * CELL, shade, found.fast > 0, title))
    return fields


def _marks(t: Words, first: datetime.date, weeks: int) -> list[Mark]:
    """Each month above the week that holds its first day; every second day of the week."""
    marks = [Mark(0, TOP + row * CELL + 10, t.locale.days["format"]["abbreviated"][row]) for row in (0, 2, 4)]
    for week in range(weeks):
        monday = first + datetime.timedelta(weeks=week)
        starts = [monday + n * DAY for n in range(7) if (monday + n * DAY).day == 1]
        if starts:
            marks.append(Mark(LEFT + week * CELL, TOP - 7, t.locale.months["format"]["abbreviated"][starts[0].month]))
    return marks


def _table(t: Words, days: dict[datetime.date, _Day], sessions_path: str) -> Table:
    rows = tuple(
        (
            Moment(_ms(day), "day", f"{sessions_path}?kind=charge&from={day}&to={day}"),
            t.number(found.charges),
            t.number(found.fast),
            _kwh(t, found),
        )
        for day, found in sorted(days.items(), reverse=True)
    )
    names = ("date", "charges", "fast", "energy")
    data = Data(
        ("day", "charges", "fast_charges", "energy_kwh"),
        tuple(
            (day.isoformat(), found.charges, found.fast, found.kwh) for day, found in sorted(days.items(), reverse=True)
        ),
    )
    return Table(t("calendar.title"), tuple(t(f"column.{name}") for name in names), rows, data=data)


def _kwh(t: Words, day: _Day) -> str:
    return t.number(day.kwh, 1, "kWh")


def _ms(day: datetime.date) -> int:
    return int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp() * 1000)
