"""One session in detail: what it did, what of it counted for the state of health, and the signed record it stands in.

In:  battery, box, store and number of the record, as the address names them. Out: the page, or a 404.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException, Request, Response

from packbook.core.history import Provenance, SessionRow, SohPoint
from packbook.core.words import ABSENT, Words
from packbook.web import csv_files
from packbook.web.access import histories
from packbook.web.charts import Chart, Table, curve_chart, interval_text
from packbook.web.figures import Figure
from packbook.web.owner.frame import battery_of, download
from packbook.web.render import render, words_for
from packbook.web.tables import kwh, percent

SEQ_DIGITS_MAX: Final = 15


@dataclass(frozen=True, slots=True)
class Counted:
    """Which methods of the next state of health name this session as evidence. None made yet: `after_ms` None."""

    methods: tuple[str, ...]
    figure: str | None  # the one made after it, in words
    after_ms: int | None


@dataclass(frozen=True, slots=True)
class Sheet:
    """One session in figures: the main ones, and every one in a table."""

    main: tuple[Figure, ...]
    table: Table
    counted: Counted | None  # None: sessions of this kind are no evidence
    curve: Chart | None  # of a charge that told one


async def session(request: Request) -> Response:
    book, battery = histories(request), await battery_of(request, "session")
    row, t = await _row(request, battery.battery), words_for(request)
    point = _made_after(row, await book.soh_series(battery.battery))
    return render(request, "owner/session.html", battery=battery, row=row, page=sheet(t, row, point))


async def curve_csv(request: Request) -> Response:
    """How this charge went over the state of charge, unrounded."""
    battery = await battery_of(request, "curve.csv")
    row = await _row(request, battery.battery)
    if row.curve is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return download(csv_files.curve_csv(row.curve), f"{battery.battery}-{row.provenance.seq}-curve.csv")


async def _row(request: Request, battery: str) -> SessionRow:
    source = _source(request)
    row = await histories(request).session(battery, source) if source else None
    if row is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return row


def _source(request: Request) -> Provenance | None:
    asked = request.path_params
    seq = asked["seq"]
    if not (seq.isascii() and seq.isdigit() and len(seq) <= SEQ_DIGITS_MAX):
        return None
    return Provenance(asked["box"], asked["store"], int(seq))


def _made_after(row: SessionRow, series: Sequence[SohPoint]) -> SohPoint | None:
    """The first state of health of the same store that stands behind this record."""
    place = row.provenance
    later = (
        point
        for point in series
        if (point.provenance.box, point.provenance.store) == (place.box, place.store)
        and point.provenance.seq > place.seq
    )
    return min(later, key=lambda point: point.provenance.seq, default=None)


def sheet(t: Words, row: SessionRow, point: SohPoint | None) -> Sheet:
    curve = None if row.curve is None else curve_chart(t, row.curve)
    return Sheet(_main(t, row), _table(t, row), _counted(t, row, point), curve)


def _main(t: Words, row: SessionRow) -> tuple[Figure, ...]:
    span = Figure(t("column.duration"), t.span(row.duration_s), _seen(t, row))
    level = Figure(t("column.soc"), _span(t, row.soc_start_pct, row.soc_end_pct, "%"), _shown(t, row))
    heat = Figure(
        t("session.temperature"), _between(t, row.temp_min_degc, row.temp_max_degc, "°C"), _mean(t, row.temp_mean_degc)
    )
    if row.kind == "charge":
        kind = t.or_raw("charge_kind", row.charge_kind or "unknown")
        energy = Figure(t("column.energy"), kwh(t, row.energy_in_wh), kind)
        power = Figure(t("column.power"), t.number(row.power_max_kw, 1, "kW"), _average(t, row))
        return (energy, level, span, power, heat)
    energy = Figure(t("session.taken"), kwh(t, row.energy_out_wh), None)
    if row.kind == "drive":
        share = percent(t, row.energy_in_wh / row.energy_out_wh if row.energy_out_wh else None)
        return (energy, Figure(t("column.energy_back"), kwh(t, row.energy_in_wh), share), level, span, heat)
    return (level, span, heat)


def _seen(t: Words, row: SessionRow) -> str | None:
    if not row.duration_s:
        return None
    return t("session.seen", share=percent(t, min(1.0, row.observed_s / row.duration_s)))


def _shown(t: Words, row: SessionRow) -> str | None:
    """What the dashboard said, where it is another than the battery's own."""
    if row.soc_shown_start_pct is None and row.soc_shown_end_pct is None:
        return None
    return t("session.shown", span=_span(t, row.soc_shown_start_pct, row.soc_shown_end_pct, "%"))


def _mean(t: Words, degc: float | None) -> str | None:
    return None if degc is None else t("session.mean", value=t.number(degc, 1, "°C"))


def _average(t: Words, row: SessionRow) -> str | None:
    """Over the time that was watched: gaps have no power that anybody knows."""
    if not row.observed_s:
        return None
    return t("session.average", value=t.number(row.energy_in_wh / 1000.0 / (row.observed_s / 3600.0), 1, "kW"))


def _span(t: Words, start: float | None, end: float | None, unit: str) -> str:
    return ABSENT if start is None and end is None else f"{t.number(start)} → {t.number(end, 0, unit)}"


def _between(t: Words, low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None:
        return ABSENT
    return t("session.between", low=t.number(low), high=t.number(high, 0, unit))


def _table(t: Words, row: SessionRow) -> Table:
    """Every figure that the record holds; what it does not hold is not listed."""
    told = (
        ("charge_in", row.charge_in_ah or None, 2, "Ah"),
        ("charge_out", row.charge_out_ah or None, 2, "Ah"),
        ("energy_in", row.energy_in_wh / 1000.0 or None, 2, "kWh"),
        ("energy_out", row.energy_out_wh / 1000.0 or None, 2, "kWh"),
        ("regained", None if row.energy_regenerated_wh is None else row.energy_regenerated_wh / 1000.0, 2, "kWh"),
        ("current_max", row.current_max_a, 1, "A"),
        ("current_min", row.current_min_a, 1, "A"),
        ("cell_max", row.cell_voltage_max_v, 3, "V"),
        ("cell_min", row.cell_voltage_min_v, 3, "V"),
        ("temp_min", row.temp_min_degc, 1, "°C"),
        ("temp_mean", row.temp_mean_degc, 1, "°C"),
        ("temp_max", row.temp_max_degc, 1, "°C"),
        ("segments", row.segments, 0, ""),
        ("odometer", row.odometer_end_km, 0, "km"),
    )
    rows = [
        (t(f"session.row.{name}"), t.number(value, digits, unit))
        for name, value, digits, unit in told
        if value is not None
    ]
    names = ("figure", "value")
    return Table(t("session.every"), tuple(t(f"column.{name}") for name in names), tuple(rows))


def _counted(t: Words, row: SessionRow, point: SohPoint | None) -> Counted | None:
    """A charge or a rest may be evidence; a drive is what lies between two of them."""
    if row.kind == "drive" and (point is None or not any(row.session in e.evidence for e in point.estimates)):
        return None
    if point is None:
        return Counted((), None, None)
    methods = tuple(
        t.or_raw("method", e.method.partition("/")[0]) for e in point.estimates if row.session in e.evidence
    )
    figure = interval_text(t, point)
    return Counted(methods, None if figure == ABSENT else figure, point.at_ms)
