"""Sessions, SoH and events as CSV (RFC 4180), for spreadsheets: a row for each record, unrounded, units in the names.

Text that a spreadsheet could take for a formula is defused; figures stay figures.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable
from typing import Final

from packbook.core.history import CellsPoint, ChargeCurve, EventRow, SessionRow, SohPoint
from packbook.core.words import iso

Row = SohPoint | SessionRow | EventRow | CellsPoint

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
TIMES: Final = {"at_ms": "at", "start_ms": "start"}
# Nested: the API has them, and the columns of the record's id name the source.
LEFT_OUT: Final = frozenset({"estimates", "provenance", "energy", "curve"})


def soh_csv(points: Iterable[SohPoint]) -> str:
    return _csv(SohPoint, points)


def sessions_csv(rows: Iterable[SessionRow]) -> str:
    return _csv(SessionRow, rows)


def events_csv(rows: Iterable[EventRow]) -> str:
    return _csv(EventRow, rows)


def cells_csv(points: Iterable[CellsPoint]) -> str:
    return _csv(CellsPoint, points)


def curve_csv(curve: ChargeCurve) -> str:
    temps = curve.temp_degc or (None,) * len(curve.power_kw)
    return table_csv(
        ("soc_from_pct", "soc_to_pct", "power_kw", "temp_degc"),
        (
            (curve.soc_from_pct + n * curve.band_pct, curve.soc_from_pct + (n + 1) * curve.band_pct, power, temp)
            for n, (power, temp) in enumerate(zip(curve.power_kw, temps, strict=True))
        ),
    )


def table_csv(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Any table. Times are the caller's to write (`core.words.iso`)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _csv(kind: type[Row], rows: Iterable[Row]) -> str:
    names = [field.name for field in dataclasses.fields(kind) if field.name not in LEFT_OUT]
    return table_csv(
        [*(TIMES.get(name, name) for name in names), "box", "store", "seq"],
        ((*(_timed(name, getattr(row, name)) for name in names), *dataclasses.astuple(row.provenance)) for row in rows),
    )


def _timed(name: str, value: object) -> object:
    return iso(value) if name in TIMES and isinstance(value, int) else value


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return "" if value is None else value
