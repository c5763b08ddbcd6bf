"""Samples from tables: our own columns, and the layouts of public data sets.

In:  a CSV file, plain or gzipped, with a header. Empty cells and `nan` mean unknown.
Out: blocks of columns named as in `core.quantities`, times in seconds.
Refuses with SampleFileError, naming column and line: missing columns, known ones with another unit, cells that are no
numbers, torn rows. Other columns are left alone.
Values outside a quantity's range (sentinels) become unknown and are counted.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import IO, Final

import numpy as np

from packbox.core.frames import FloatArray
from packbox.core.packs import PackFacts
from packbox.core.quantities import QUANTITIES
from packbox.ports import PackboxError

BLOCK_ROWS: Final = 16_384  # larger ones fall out of the processor's cache
PER_CELL: Final = "cell_voltage_mean_v"  # becomes pack voltage with the number of cells
SOC: Final = "soc_pct"  # becomes the BMS's or the displayed one
MEAN: Final = "pack_temp_mean_degc"


class SampleFileError(PackboxError):
    """A table of samples cannot be read. The text names column and line; nothing was changed."""


class Layout(StrEnum):
    OWN = "own"
    SIM = "sim"
    LEAF24 = "leaf24"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    quantity: str
    factor: float = 1.0
    needed: bool = True


# Current is positive into the pack with us; where a table counts discharge as positive its factor is -1.
COLUMNS: Final[Mapping[Layout, Sequence[Column]]] = {
    Layout.OWN: (
        Column("t_s", "t_s"),
        Column("pack_current_a", "pack_current_a"),
        Column("pack_voltage_v", "pack_voltage_v", needed=False),
        Column("cell_voltage_mean_v", PER_CELL, needed=False),
        Column("soc_pct", SOC, needed=False),
        Column("temp_degc", MEAN, needed=False),
        Column("bms_capacity_ah", "capacity_reported_ah", needed=False),
        Column("energy_left_kwh", "energy_left_kwh", needed=False),
        Column("energy_left_gid", "energy_left_gid", needed=False),
    ),
    Layout.SIM: (
        Column("t", "t_s"),
        Column("i_a", "pack_current_a", -1.0),
        Column("v_mv", PER_CELL, 1e-3),
        Column("soc_pct", SOC),
        Column("temp_c", MEAN),
        Column("kind", "", needed=False),
    ),
    Layout.LEAF24: (
        Column("t", "t_s"),
        Column("pack_a", "pack_current_a", -1.0),
        Column("pack_v", "pack_voltage_v"),
        Column("soc_pct", SOC),
        Column("ahr_bms", "capacity_reported_ah", needed=False),
        Column("soh_bms", "soh_reported_pct", needed=False),
        Column("hx_bms", "health_hx_pct", needed=False),
        Column("gids", "energy_left_gid", needed=False),
        Column("cell_min_mv", "cell_voltage_min_v", 1e-3, needed=False),
        Column("cell_max_mv", "cell_voltage_max_v", 1e-3, needed=False),
        Column("t1_c", MEAN, needed=False),
        Column("t2_c", MEAN, needed=False),
        Column("t4_c", MEAN, needed=False),
        Column("speed_kmh", "speed_kmh", needed=False),
        Column("odo_km", "odometer_km", needed=False),
    ),
}
ONE_OF: Final = ("pack_voltage_v", "cell_voltage_mean_v")  # of the own layout


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows of a table. `t_s` (n,) known and finite; `values[quantity]` (n,), NaN where unknown."""

    t_s: FloatArray
    values: Mapping[str, FloatArray]
    first_line: int
    out_of_range: int = 0
    ignored: tuple[str, ...] = ()  # columns that this layout does not know


def read_blocks(path: Path, layout: Layout, pack: PackFacts, soc_quantity: str) -> Iterator[Block]:
    """Raises SampleFileError."""
    try:
        with _opened(path) as lines:
            header = lines.readline()
            if not header.strip():
                raise SampleFileError(f"{path}: line 1: no header")
            names = [name.strip() for name in header.lstrip("\ufeff").split(",")]
            places = _places(path, names, layout, pack)
            line = 2
            while rows := list(islice(lines, BLOCK_ROWS)):
                yield _block(path, line, rows, names, places, pack, soc_quantity)
                line += len(rows)
    except (OSError, EOFError, zlib.error) as cause:
        raise SampleFileError(f"{path}: {getattr(cause, 'strerror', None) or cause}") from cause
    except UnicodeDecodeError as cause:
        raise SampleFileError(f"{path}: not a text file ({cause.reason} at byte {cause.start})") from cause


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _places(path: Path, names: Sequence[str], layout: Layout, pack: PackFacts) -> list[tuple[int, Column]]:
    columns = COLUMNS[layout]
    known = {column.name for column in columns}
    for column in columns:
        if column.needed and column.name not in names:
            raise SampleFileError(
                f"{path}: line 1: column {column.name} is missing (layout {layout} has {_list(known)})"
            )
    for name in names:
        if names.count(name) > 1:
            raise SampleFileError(f"{path}: line 1: column {name} stands there twice")
        meant = [one for one in known if name not in known and _stem(one) in (_stem(name), name.lower())]
        if layout is Layout.OWN and meant:
            raise SampleFileError(f"{path}: line 1: no column is called {name!r}; is it {_list(set(meant))}?")
    if layout is Layout.OWN and not set(ONE_OF) & set(names):
        raise SampleFileError(f"{path}: line 1: column {' or '.join(ONE_OF)} is missing")
    if pack.cells_in_series is None and any(c.quantity == PER_CELL and c.name in names for c in columns):
        raise SampleFileError(f"{path}: line 1: cell voltages need cells_in_series of the pack")
    return [(names.index(column.name), column) for column in columns if column.name in names and column.quantity]


def _stem(name: str) -> str:
    """Without the unit: a quantity in another unit must not pass as a column that nobody needs."""
    return name.lower().rpartition("_")[0]


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _block(
    path: Path,
    line: int,
    rows: Sequence[str],
    names: Sequence[str],
    places: Sequence[tuple[int, Column]],
    pack: PackFacts,
    soc_quantity: str,
) -> Block:
    numbers = _quick(rows, len(names), places) or _careful(path, line, rows, names, places)
    t_name = next(column.name for _, column in places if column.quantity == "t_s")
    t_s = numbers.pop(t_name)
    bad = np.flatnonzero(~np.isfinite(t_s))
    if bad.size:
        raise SampleFileError(f"{path}: line {line + int(bad[0])}: column {t_name}: every row needs its time")
    values: dict[str, FloatArray] = {}
    parts: dict[str, list[FloatArray]] = {}
    out_of_range = 0
    for _, column in places:
        if column.name == t_name:
            continue
        quantity, value = column.quantity, numbers[column.name] * column.factor
        if quantity == PER_CELL:
            assert pack.cells_in_series is not None
            quantity, value = "pack_voltage_v", value * pack.cells_in_series
        quantity = soc_quantity if quantity == SOC else quantity
        limits = QUANTITIES[quantity]
        silly = (value < limits.low) | (value > limits.high)
        out_of_range += int(np.count_nonzero(silly))
        parts.setdefault(quantity, []).append(np.where(silly, math.nan, value))
    for quantity, several in parts.items():
        known = np.sum([~np.isnan(part) for part in several], axis=0)
        total = np.sum([np.nan_to_num(part) for part in several], axis=0)
        values[quantity] = np.divide(total, known, out=np.full(len(rows), math.nan), where=known > 0)
    known_names = {column.name for _, column in places}
    return Block(t_s, values, line, out_of_range, tuple(name for name in names if name not in known_names))


def _quick(rows: Sequence[str], width: int, places: Sequence[tuple[int, Column]]) -> dict[str, FloatArray] | None:
    """By numpy's own reader; None where it finds anything odd, which it could not name by column and line."""
    if any(row.count(",") != width - 1 for row in rows):
        return None
    text = "\n" + "".join(rows).replace("\r\n", "\n").rstrip("\n") + "\n"
    if ",," in text or "\n," in text or ",\n" in text:
        text = text.replace(",,", ",nan,").replace(",,", ",nan,").replace("\n,", "\nnan,").replace(",\n", ",nan\n")
    try:
        table = np.loadtxt(
            text[1:-1].split("\n"), delimiter=",", usecols=[place for place, _ in places], comments=None, ndmin=2
        )
    except ValueError:
        return None
    return {column.name: table[:, k] for k, (_, column) in enumerate(places)} if len(table) == len(rows) else None


def _careful(
    path: Path, line: int, rows: Sequence[str], names: Sequence[str], places: Sequence[tuple[int, Column]]
) -> dict[str, FloatArray]:
    """The same by Python, which knows where it is."""
    cells = [row.rstrip("\r\n").split(",") for row in rows]
    for k, row in enumerate(cells):
        if len(row) != len(names):
            raise SampleFileError(f"{path}: line {line + k}: {len(row)} cells, the header has {len(names)}")
    columns = list(zip(*cells, strict=True))
    return {column.name: _numbers(path, line, column.name, columns[place]) for place, column in places}


def _numbers(path: Path, line: int, name: str, cells: Sequence[str]) -> FloatArray:
    try:
        return np.array([float(cell) if cell else math.nan for cell in cells], np.float64)
    except ValueError:
        for k, cell in enumerate(cells):
            try:
                float(cell or "nan")
            except ValueError:
                if not cell.strip():
                    return _numbers(path, line, name, [c.strip() for c in cells])
                raise SampleFileError(f"{path}: line {line + k}: column {name}: {cell!r} is no number") from None
        raise


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment that somebody else cut. Charge positive into the pack."""

    line: int
    from_soc_pct: float
    to_soc_pct: float
    charge_ah: float
    hours: float
    t_s: float | None = None


SEGMENT_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "from_soc_pct": (0.0, 100.0),
    "to_soc_pct": (0.0, 100.0),
    "charge_ah": (-10_000.0, 10_000.0),
    "hours": (0.0, 10_000.0),
}


def read_segments(path: Path) -> Iterator[SegmentRow]:
    """Columns `from_soc_pct, to_soc_pct, charge_ah, hours` and perhaps `t_s`. Raises SampleFileError."""
    try:
        with _opened(path) as lines:
            names = [name.strip() for name in lines.readline().lstrip("\ufeff").split(",")]
            for name in SEGMENT_LIMITS:
                if name not in names:
                    raise SampleFileError(f"{path}: line 1: column {name} is missing")
            for line, row in enumerate(lines, 2):
                cells = row.rstrip("\r\n").split(",")
                if len(cells) != len(names):
                    raise SampleFileError(f"{path}: line {line}: {len(cells)} cells, the header has {len(names)}")
                given = dict(zip(names, cells, strict=True))
                values = {
                    name: _limited(path, line, name, given[name], limits) for name, limits in SEGMENT_LIMITS.items()
                }
                at = given.get("t_s", "").strip()
                t_s = _limited(path, line, "t_s", at, (-math.inf, math.inf)) if at else None
                yield SegmentRow(line, t_s=t_s, **values)
    except (OSError, EOFError, zlib.error) as cause:
        raise SampleFileError(f"{path}: {getattr(cause, 'strerror', None) or cause}") from cause
    except UnicodeDecodeError as cause:
        raise SampleFileError(f"{path}: not a text file ({cause.reason} at byte {cause.start})") from cause


def _limited(path: Path, line: int, name: str, cell: str, limits: tuple[float, float]) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise SampleFileError(f"{path}: line {line}: column {name}: {cell!r} is no number") from None
    if not math.isfinite(value) or not limits[0] <= value <= limits[1]:
        raise SampleFileError(f"{path}: line {line}: column {name}: {cell} is outside {limits[0]:g} to {limits[1]:g}")
    return value
