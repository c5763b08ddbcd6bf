"""Sessions and events as tables, for the owner's page and the list of sessions.

In:  rows of a battery's history and the reader's `Words`. Out: a `Table`; what is not known has a dash in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from packbook.core.history import EventRow, Provenance, SessionRow
from packbook.core.words import ABSENT, Words
from packbook.web.charts import Moment, Table

STORE_DIGITS: Final = 8  # of 16: enough to tell a battery's few stores apart
EXTREME_UNITS: Final = {
    "cell_low": "V",
    "cell_high": "V",
    "pack_hot": "°C",
    "cold_charge": "°C",
    "soc_jump": "%",
    "clock_set": "ms",
    "time_back": "ms",
}
EXTREME_DIGITS: Final = {"V": 2, "°C": 1, "%": 1, "ms": 0}


def _record(provenance: Provenance) -> str:
    """Store and number, the store cut short: CSV and API name it whole, with its box."""
    return f"{provenance.store[:STORE_DIGITS]} / {provenance.seq}"


def percent(t: Words, share: float | None) -> str:
    """A share 0..1 as whole percent; a small one is not called nothing."""
    if share is None:
        return ABSENT
    return t("share.under_one") if 0.0 < share < 0.01 else t.number(share * 100.0, 0, "%")


def session_path(battery: str, source: Provenance) -> str:
    """The address of one session's page: the record that tells of it names it for good."""
    return "/".join(
        (
            "",
            "battery",
            *(quote(part, safe="") for part in (battery, "sessions", source.box, source.store)),
            str(source.seq),
        )
    )


def session_table(t: Words, battery: str, rows: Sequence[SessionRow], kind: str | None) -> Table:
    """Sessions of one kind with what matters for it, or of any kind with what they share. Each leads to its page."""
    own_columns, own_cells = {
        "charge": (("charge_kind", "energy", "power"), _charge_cells),
        "drive": (("distance", "energy_out", "energy_back"), _drive_cells),
    }.get(kind or "", (("session_kind", "energy_in", "energy_out"), _any_cells))
    names = ("start", *own_columns, "soc", "duration", "temperature", "remarks", "record")
    return Table(
        t(f"sessions.caption.{kind if kind in ('charge', 'drive') else 'any'}"),
        tuple(t(f"column.{name}") for name in names),
        tuple(
            (
                Moment(row.start_ms, "moment", session_path(battery, row.provenance)),
                *own_cells(t, row),
                _soc(t, row),
                t.span(row.duration_s),
                t.number(row.temp_mean_degc, 0, "°C"),
                _remarks(t, row),
                _record(row.provenance),
            )
            for row in rows
        ),
        wrapped=frozenset({names.index("remarks")}),
    )


def _charge_cells(t: Words, row: SessionRow) -> tuple[str, str, str]:
    kind = t.or_raw("charge_kind", row.charge_kind or "unknown")
    return kind, kwh(t, row.energy_in_wh), t.number(row.power_max_kw, 1, "kW")


def _drive_cells(t: Words, row: SessionRow) -> tuple[str, str, str]:
    return t.number(row.distance_km, 1, "km"), kwh(t, row.energy_out_wh), kwh(t, row.energy_in_wh)


def _any_cells(t: Words, row: SessionRow) -> tuple[str, str, str]:
    return t.or_raw("session_kind", row.kind), kwh(t, row.energy_in_wh), kwh(t, row.energy_out_wh)


def kwh(t: Words, energy_wh: float) -> str:
    return t.number(energy_wh / 1000.0, 1, "kWh")


def _soc(t: Words, row: SessionRow) -> str:
    if row.soc_start_pct is None and row.soc_end_pct is None:
        return ABSENT
    return f"{t.number(row.soc_start_pct)} → {t.number(row.soc_end_pct, 0, '%')}"


def _remarks(t: Words, row: SessionRow) -> str:
    remarks = []
    if row.interrupted:
        remarks.append(t("remark.interrupted"))
    if row.segments is not None and row.segments > 1:
        remarks.append(t.count("remark.segments", row.segments))
    return ", ".join(remarks) or ABSENT


def event_table(t: Words, caption: str, rows: Sequence[EventRow]) -> Table:
    names = ("start", "event", "extreme", "duration", "text", "record")
    return Table(
        caption,
        tuple(t(f"column.{name}") for name in names),
        tuple(
            (
                Moment(row.at_ms, "moment"),
                t.or_raw("event", row.event),
                _extreme(t, row),
                t.span(row.duration_s),
                t.told(row.text) if row.text else ABSENT,
                _record(row.provenance),
            )
            for row in rows
        ),
        wrapped=frozenset({4}),
    )


def _extreme(t: Words, row: EventRow) -> str:
    unit = EXTREME_UNITS.get(row.event)
    return t.number(row.extreme, EXTREME_DIGITS[unit], unit) if unit else ABSENT
