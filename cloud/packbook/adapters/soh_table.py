"""Read a table of SoH by unit and month, as fleets keep it.

In:  CSV with the columns unit, month (2020-07, or a whole number of months) and soh_pct; odometer_km and made (the
     month of manufacture, written like month) where known. Other columns are ignored; an empty soh_pct is a month
     not measured.
Out: `UnitHistory` for each unit, months rising.
Anything that cannot be read, or cannot be a state of health, is refused with file, line and column: a silent guess here
would become a promise.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packbook.core.forecast import MONTHS_A_YEAR, Course, Mileage, course, mileage, since_rise
from packbook.ports.trouble import PackbookError

COLUMNS: Final = ("unit", "month", "soh_pct")
SOH_LOW_PCT: Final = 5.0  # below: most likely a share written as 0.93
SOH_HIGH_PCT: Final = 130.0  # above: no reference capacity is that far off
CALENDAR: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
COUNTED: Final = re.compile(r"[0-9]{1,4}")


class TableError(PackbookError):
    """The table cannot be used. The text names file, line, column and reason."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month, and how it was written: on a calendar, or counted from somewhere."""

    index: int
    calendar: bool

    def __str__(self) -> str:
        return f"{self.index // 12:04d}-{self.index % 12 + 1:02d}" if self.calendar else str(self.index)

    def later(self, months: int) -> Month:
        return Month(self.index + months, self.calendar)


@dataclass(frozen=True, slots=True)
class MonthReading:
    month: Month
    soh_pct: float
    odometer_km: float | None


@dataclass(frozen=True, slots=True)
class UnitHistory:
    unit: str
    readings: tuple[MonthReading, ...]
    made: Month | None

    def until(self, last: Month) -> UnitHistory:
        kept = tuple(reading for reading in self.readings if reading.month.index <= last.index)
        return UnitHistory(self.unit, kept, self.made)

    def course(self) -> Course:
        first = self.readings[0].month.index
        age = None if self.made is None else (first - self.made.index) / MONTHS_A_YEAR
        return course(self._years(self.readings), [reading.soh_pct for reading in self.readings], age)

    def rise(self) -> Month | None:
        """The first month after the last rise of SoH that stays; the course begins there."""
        first = since_rise([reading.soh_pct for reading in self.readings])
        return self.readings[first].month if first else None

    def mileage(self) -> Mileage | None:
        known = [reading for reading in self.readings if reading.odometer_km is not None]
        return mileage(self._years(known), [reading.odometer_km or 0.0 for reading in known])

    def _years(self, readings: Sequence[MonthReading]) -> list[float]:
        return [(reading.month.index - self.readings[0].month.index) / MONTHS_A_YEAR for reading in readings]


def month(text: str) -> Month | None:
    """None if it is written in neither way."""
    if found := CALENDAR.fullmatch(text):
        return Month(int(found[1]) * 12 + int(found[2]) - 1, calendar=True)
    return Month(int(text), calendar=False) if COUNTED.fullmatch(text) else None


def read_table(path: Path) -> Mapping[str, UnitHistory]:
    """Units in the order they first appear. Raises TableError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(path, file))
    except OSError as problem:
        raise TableError(f"{path}: {problem.strerror or problem}") from problem
    except UnicodeDecodeError as problem:
        raise TableError(f"{path}: not UTF-8 text (byte {problem.start})") from problem
    except csv.Error as problem:
        raise TableError(f"{path}: not CSV: {problem}") from problem
    if not rows:
        raise TableError(f"{path}: no row below the header")
    return _units(path, rows)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    unit: str
    month: Month
    soh_pct: float | None
    odometer_km: float | None
    made: Month | None


def _rows(path: Path, file: Iterator[str]) -> Iterator[_Row]:
    reader = csv.DictReader(file, skipinitialspace=True, strict=True)
    names = [name.strip() for name in reader.fieldnames or ()]
    for column in COLUMNS:
        if column not in names:
            raise TableError(f"{path}, line 1: no column {column}; there are: {', '.join(names) or 'none'}")
    for column in (*COLUMNS, "odometer_km", "made"):
        if names.count(column) > 1:
            raise TableError(f"{path}, line 1: column {column} stands there twice")
    reader.fieldnames = names
    for cells in reader:
        if None in cells:  # a decimal comma, most often: 92,5 would be read as 92
            raise TableError(f"{path}, line {reader.line_num}: more cells than the {len(names)} columns of line 1")
        yield _row(_Cells(path, reader.line_num, cells))


@dataclass(frozen=True, slots=True)
class _Cells:
    path: Path
    line: int
    cells: Mapping[str, str | None]

    def text(self, column: str) -> str:
        return (self.cells.get(column) or "").strip()

    def wrong(self, column: str, why: str) -> TableError:
        return TableError(f"{self.path}, line {self.line}, column {column}: {why}")

    def month(self, column: str) -> Month:
        found = month(self.text(column))
        if found is None:
            raise self.wrong(column, f"{self.text(column)!r} is neither a month like 2020-07 nor a whole number")
        return found

    def number(self, column: str) -> float | None:
        text = self.text(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            raise self.wrong(column, f"{text!r} is not a number") from None
        if not math.isfinite(value):
            raise self.wrong(column, f"{text!r} is not a finite number")
        return value


def _row(cells: _Cells) -> _Row:
    unit = cells.text("unit")
    if not unit:
        raise cells.wrong("unit", "empty")
    soh = cells.number("soh_pct")
    if soh is not None and not SOH_LOW_PCT <= soh <= SOH_HIGH_PCT:
        raise cells.wrong("soh_pct", f"{soh:g} is not between {SOH_LOW_PCT:g} and {SOH_HIGH_PCT:g} percent")
    odometer = cells.number("odometer_km")
    if odometer is not None and odometer < 0.0:
        raise cells.wrong("odometer_km", f"{odometer:g} is negative")
    at = cells.month("month")
    made = cells.month("made") if cells.text("made") else None
    if made is not None and (made.calendar != at.calendar or made.index > at.index):
        raise cells.wrong("made", f"{made} is not a month up to {at}")
    return _Row(cells.line, unit, at, soh, odometer, made)


def _units(path: Path, rows: Sequence[_Row]) -> Mapping[str, UnitHistory]:
    first = rows[0]
    grouped: dict[str, dict[int, _Row]] = {}
    for row in rows:
        if row.month.calendar != first.month.calendar:
            raise TableError(
                f"{path}, line {row.line}, column month: {row.month} is written in another way than "
                f"{first.month} in line {first.line}"
            )
        twin = grouped.setdefault(row.unit, {}).setdefault(row.month.index, row)
        if twin is not row:
            raise TableError(
                f"{path}, line {row.line}, column month: unit {row.unit} has {row.month} already in line {twin.line}"
            )
    return {unit: _unit(path, unit, [by_month[at] for at in sorted(by_month)]) for unit, by_month in grouped.items()}


def _unit(path: Path, unit: str, rows: Sequence[_Row]) -> UnitHistory:
    made = {row.made.index: row for row in rows if row.made is not None}
    if len(made) > 1:
        line = max(row.line for row in made.values())
        raise TableError(f"{path}, line {line}, column made: unit {unit} was made in two months")
    readings = tuple(MonthReading(row.month, row.soh_pct, row.odometer_km) for row in rows if row.soh_pct is not None)
    return UnitHistory(unit, readings, next((row.made for row in made.values()), None))
