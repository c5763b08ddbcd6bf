"""Charts and the tables behind them, from one source each, so that both say the same.

In:  values of `core.history` and the reader's `Words`.
Out: `Chart`s: a spec that static/charts.js draws (kinds: band, bars, heat) and a table that says it without JavaScript.
Figures are rounded here once; the script adds no words and no arithmetic of its own.
"""

from __future__ import annotations

import datetime
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from packbook.core.history import SOC_BANDS_PCT, ChargeCurve, SessionRow, SohPoint
from packbook.core.prospect import MonthAhead, Prospect
from packbook.core.told import Told
from packbook.core.words import ABSENT, Words, iso, utc
from packbook.web import figures

POINTS_MAX: Final = 400  # more than a desktop chart has pixels for; the CSV has every one
WEEKS_MAX: Final = 53
AHEAD_EVERY_MONTHS: Final = 3  # a fan is smooth; every month would drown the history in the table


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in a table: the browser shows it in its own zone."""

    at_ms: int | None
    style: str = "date"  # or "moment": with the time of day; or "day": of UTC, in no other zone
    href: str | None = None  # where it leads


Cell = str | Told | Moment


class Data(NamedTuple):
    """The same figures for a program: unrounded, with English names and units."""

    names: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class Table:
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    wrapped: frozenset[int] = frozenset()  # columns of running text, by index: they may break into lines
    data: Data | None = None  # of a chart without a CSV of its records


@dataclass(frozen=True, slots=True)
class Chart:
    id: str
    title: str
    unit: str
    label: str  # what a listener to a screen reader hears instead of the picture
    spec: Mapping[str, object]
    table: Table
    note: str | None = None


def thinned(points: Sequence[SohPoint]) -> list[SohPoint]:
    """At most POINTS_MAX of them, evenly spread; the newest is always one."""
    step = -(-len(points) // POINTS_MAX) or 1
    return list(points[::-1][::step])[::-1]


def interval_text(t: Words, point: SohPoint) -> str:
    shown = figures.shown_soh(point)
    if shown is None:
        return ABSENT
    return t(
        "soh.plus_minus", value=t.number(shown.value_pct, shown.digits), half=t.number(shown.half_pct, shown.digits)
    )


def soh_chart(t: Words, series: Sequence[SohPoint], prospect: Prospect | None = None) -> Chart | None:
    """The interval over time, the car's own figure beside it, and the forecast. None before the first figure."""
    points = [p for p in series if figures.shown_soh(p) is not None or p.soh_reported_pct is not None]
    if not points:
        return None
    points = thinned(points)
    drawn, rows = [], []
    for point in points:
        interval = figures.interval_pct(point) if figures.shown_soh(point) else None
        text, reported = interval_text(t, point), t.number(figures.rounded_reported(point), 0, "%")
        rows.append((Moment(point.at_ms), text, reported, t.messages.get(f"state.{point.state}.name", point.state)))
        if point.at_ms is None:
            continue
        drawn.append(
            {
                "at": point.at_ms,
                "value": _tenth(point.soh_pct) if interval else None,
                "lo": _tenth(interval[0]) if interval else None,
                "hi": _tenth(interval[1]) if interval else None,
                "reported": _tenth(point.soh_reported_pct),
                "text": text,
                "reported_text": reported,
            }
        )
    undated = len(points) - len(drawn)
    names = {name: t(f"chart.soh.{name}") for name in ("value", "interval", "reported", "ahead")}
    fan = [_fan_point(t, month) for month in ahead(prospect)]
    return Chart(
        id="soh",
        title=t("chart.soh.title"),
        unit="%",
        label=t("chart.soh.label"),
        spec={"kind": "band", "points": drawn, "fan": fan, "names": names, "unit": "%"},
        table=Table(
            t("chart.soh.title"),
            (t("column.date"), names["value"], names["reported"], t("column.state")),
            tuple(reversed(rows)),
        ),
        note=t.count("chart.undated", undated) if undated else None,
    )


def ahead(prospect: Prospect | None) -> Sequence[MonthAhead]:
    """The months that the fan shows, the newest reading first."""
    return prospect.months[::AHEAD_EVERY_MONTHS] if prospect else ()


def ahead_table(t: Words, prospect: Prospect) -> Table:
    """The fan in figures, whole percent: no forecast is sharper."""
    rows = tuple((Moment(month.at_ms), _ahead_text(t, month)) for month in ahead(prospect))
    data = tuple((iso(each.at_ms), each.soh_pct, each.lo90_pct, each.hi90_pct) for each in ahead(prospect))
    names = ("at", "soh_pct", "lo90_pct", "hi90_pct")
    return Table(t("prospect.table"), (t("column.date"), t("chart.soh.ahead")), rows, data=Data(names, data))


def _ahead_text(t: Words, month: MonthAhead) -> str:
    value, lo, hi = (t.number(min(100.0, max(0.0, pct))) for pct in (month.soh_pct, month.lo90_pct, month.hi90_pct))
    return t("prospect.range", value=value, lo=lo, hi=hi)


def _fan_point(t: Words, month: MonthAhead) -> dict[str, object]:
    pcts = {"value": month.soh_pct, "lo": month.lo90_pct, "hi": month.hi90_pct}
    point: dict[str, object] = {end: _tenth(min(100.0, max(0.0, pct))) for end, pct in pcts.items()}
    return point | {"at": month.at_ms, "text": _ahead_text(t, month)}


def _tenth(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


@dataclass(frozen=True, slots=True)
class _Series:
    name: str
    column: str  # of the CSV
    tone: str  # colour and pattern: static/charts.js
    values: tuple[float, ...]


def _bars(
    t: Words,
    chart: str,
    categories: Sequence[str],
    series: Sequence[_Series],
    unit: str,
    *,
    keys: Sequence[str],
    digits: int,
    mirrored: bool = False,
    note: str | None = None,
) -> Chart:
    """Columns side by side or on top of each other; `mirrored`: two series to both sides of one axis.

    `keys`: the categories in the CSV, after the name of their column.
    """
    spec = {
        "kind": "bars",
        "mirrored": mirrored,
        "categories": list(categories),
        "unit": unit,
        "series": [{"name": s.name, "tone": s.tone, "values": [round(v, digits) for v in s.values]} for s in series],
    }
    columns = (t(f"chart.{chart}.category"), *(f"{s.name} ({unit})" for s in series))
    rows = tuple((category, *(t.number(s.values[i], digits) for s in series)) for i, category in enumerate(categories))
    title, (key, *places) = t(f"chart.{chart}.title"), keys
    data = Data(
        (key, *(s.column for s in series)),
        tuple((place, *(s.values[i] for s in series)) for i, place in enumerate(places)),
    )
    table = Table(title, columns, rows, data=data)
    return Chart(chart, title, unit, t(f"chart.{chart}.label"), spec, table, note)


def _weekly(t: Words, rows: Sequence[SessionRow]) -> tuple[list[datetime.date], list[str]]:
    """Mondays (UTC) from the first dated session to the last, newest WEEKS_MAX, and their labels."""
    mondays = [_monday(row.start_ms) for row in rows if row.start_ms is not None]
    if not mondays:
        return [], []
    last = max(mondays)
    first = max(min(mondays), last - datetime.timedelta(weeks=WEEKS_MAX - 1))
    weeks = [first + datetime.timedelta(weeks=n) for n in range((last - first).days // 7 + 1)]
    return weeks, [t.day(week) for week in weeks]


def _monday(at_ms: int) -> datetime.date:
    day = utc(at_ms).date()
    return day - datetime.timedelta(days=day.weekday())


def charge_weeks_chart(t: Words, charges: Sequence[SessionRow]) -> Chart | None:
    weeks, labels = _weekly(t, charges)
    if not weeks:
        return None
    kwh: dict[tuple[str, datetime.date], float] = defaultdict(float)
    for row in charges:
        if row.start_ms is not None:
            kwh[_kind(row), _monday(row.start_ms)] += row.energy_in_wh / 1000.0
    kinds = [kind for kind in ("ac", "dc", "unknown") if any(found == kind for found, _ in kwh) or kind == "ac"]
    series = [
        _Series(t(f"charge_kind.{kind}"), f"{kind}_kwh", kind, tuple(kwh[kind, week] for week in weeks))
        for kind in kinds
    ]
    undated = sum(row.start_ms is None for row in charges)
    note = t.count("chart.undated", undated) if undated else None
    return _bars(t, "charge_weeks", labels, series, "kWh", keys=_mondays(weeks), digits=1, note=note)


def _mondays(weeks: Sequence[datetime.date]) -> list[str]:
    return ["week_from", *(week.isoformat() for week in weeks)]


def _kind(row: SessionRow) -> str:
    return row.charge_kind if row.charge_kind in ("ac", "dc") else "unknown"


def curve_chart(t: Words, curve: ChargeCurve) -> Chart:
    """Power into the pack over the state of charge. A band in which nothing was seen is a gap in the table."""
    title = t("chart.curve.title")
    edges = [curve.soc_from_pct + n * curve.band_pct for n in range(len(curve.power_kw) + 1)]
    bands = [f"{low:.0f}–{high:.0f}" for low, high in itertools.pairwise(edges)]
    temps = curve.temp_degc or (None,) * len(bands)
    powers = [round(power, 1) if power is not None else 0.0 for power in curve.power_kw]
    columns = ("soc", "power_mean", "temperature")
    return Chart(
        id="curve",
        title=title,
        unit="kW",
        label=t("chart.curve.label"),
        spec={
            "kind": "bars",
            "mirrored": False,
            "categories": bands,
            "unit": "kW",
            "series": [{"name": t("column.power_mean"), "tone": "plain", "values": powers}],
        },
        table=Table(
            title,
            tuple(t(f"column.{name}") for name in columns),
            tuple(
                (f"{band} %", t.number(power, 1, "kW"), t.number(temp, 1, "°C"))
                for band, power, temp in zip(bands, curve.power_kw, temps, strict=True)
            ),
        ),
        note=t("chart.curve.shown") if curve.shown else None,
    )


def drive_weeks_chart(t: Words, drives: Sequence[SessionRow]) -> Chart | None:
    """By energy: what was spent for good, and on top of it what braking gave back; both together left the battery."""
    weeks, labels = _weekly(t, drives)
    if not weeks:
        return None
    taken: dict[datetime.date, float] = defaultdict(float)
    back: dict[datetime.date, float] = defaultdict(float)
    for row in drives:
        if row.start_ms is not None:
            taken[_monday(row.start_ms)] += row.energy_out_wh / 1000.0
            back[_monday(row.start_ms)] += row.energy_in_wh / 1000.0
    series = [
        _Series(t("chart.drive_weeks.spent"), "spent_kwh", "plain", tuple(taken[week] - back[week] for week in weeks)),
        _Series(t("chart.drive_weeks.back"), "back_kwh", "out", tuple(back[week] for week in weeks)),
    ]
    return _bars(t, "drive_weeks", labels, series, "kWh", keys=_mondays(weeks), digits=1)


def stress_chart(t: Words, soc_temp: figures.Grid) -> Chart:
    """Hours at each state of charge and temperature; the fullest row on top."""
    hours = [[round(seconds / 3600.0, 1) for seconds in row] for row in soc_temp]
    temps = [band_text(t, band) for band in figures.TEMP_BAND_EDGES]
    socs = [f"{low:.0f}–{high:.0f}" for low, high in SOC_BANDS_PCT]
    title = t("chart.stress.title")
    return Chart(
        id="stress",
        title=title,
        unit=t("unit.hours"),
        label=t("chart.stress.label"),
        spec={
            "kind": "heat",
            "x": temps,
            "y": socs,
            "x_name": t("chart.stress.x"),
            "y_name": t("chart.stress.y"),
            "values": hours,
            "unit": t("unit.hours"),
        },
        table=Table(
            title,
            (t("chart.stress.corner"), *temps),
            tuple((soc, *(t.number(h, 1) for h in row)) for soc, row in reversed([*zip(socs, hours, strict=True)])),
            data=Data(
                ("soc_band_pct", *(f"hours_at_{_band_key(band)}_degc" for band in figures.TEMP_BAND_EDGES)),
                tuple(
                    (_band_key(band), *(seconds / 3600.0 for seconds in row))
                    for band, row in reversed([*zip(SOC_BANDS_PCT, soc_temp, strict=True)])
                ),
            ),
        ),
    )


def temperature_chart(t: Words, soc_temp: figures.Grid) -> Chart:
    hours = tuple(seconds / 3600.0 for seconds in figures.column_sums(soc_temp))
    bands = [band_text(t, band) for band in figures.TEMP_BAND_EDGES]
    keys = ["temp_band_degc", *map(_band_key, figures.TEMP_BAND_EDGES)]
    series = [_Series(t("chart.hours"), "hours", "plain", hours)]
    return _bars(t, "temperature", bands, series, t("unit.hours"), keys=keys, digits=1)


def c_rate_chart(t: Words, rates: figures.Grid) -> Chart:
    """Hours at each C-rate: charging to the right, discharging to the left."""
    hours = tuple(seconds / 3600.0 for seconds in figures.row_sums(rates))
    bands = [band_text(t, band) for band in figures.C_RATE_BAND_EDGES]
    series = [
        _Series(t("chart.c_rate.discharge"), "discharge_hours", "out", hours[figures.C_RATE_BANDS :]),
        _Series(t("chart.c_rate.charge"), "charge_hours", "ac", hours[: figures.C_RATE_BANDS]),
    ]
    keys = ["c_rate_band", *map(_band_key, figures.C_RATE_BAND_EDGES)]
    return _bars(t, "c_rate", bands, series, t("unit.hours"), keys=keys, digits=1, mirrored=True)


def depth_chart(t: Words, depths: figures.Grid) -> Chart:
    counts = tuple(float(count) for count in figures.row_sums(depths))
    bands = [f"{low:.0f}–{high:.0f} %" for low, high in figures.DEPTH_BAND_EDGES]
    keys = ["depth_band_pct", *map(_band_key, figures.DEPTH_BAND_EDGES)]
    series = [_Series(t("chart.depth.series"), "times", "plain", counts)]
    return _bars(t, "depth", bands, series, t("unit.times"), keys=keys, digits=0)


def coverage_table(t: Words, seen: figures.Coverage) -> Table:
    """Of all time since the box was fitted: seen, known by what stands on both sides, unknown."""
    parts = (("observed", seen.observed_s), ("inferred", seen.inferred_s), ("unobserved", seen.unobserved_s))
    hours = [(name, seconds / 3600.0) for name, seconds in parts]
    return Table(
        t("section.coverage"),
        (t("column.figure"), t("unit.hours")),
        tuple((t(f"coverage.{name}"), t.number(value, 1)) for name, value in hours),
        data=Data(("part", "hours"), tuple(hours)),
    )


def _band_key(band: figures.Band) -> str:
    """`10..20`; an end that is open is left out."""
    return "..".join("" if edge is None else f"{edge:g}" for edge in band)


def band_text(t: Words, band: figures.Band) -> str:
    low, high = band
    if low is None or (low == 0.0 and high is not None and high < 1.0):
        return t("band.below", edge=_edge(t, high))
    if high is None:
        return t("band.above", edge=_edge(t, low))
    return t("band.between", low=_edge(t, low), high=_edge(t, high))


def _edge(t: Words, value: float | None) -> str:
    assert value is not None  # a band is open on one side at most
    return t.number(value, 0 if value == int(value) else 1)
