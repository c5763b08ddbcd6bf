"""How far the cells are apart in quiet, over time: a line drawn on the server, with the table behind it.

In:  `CellsPoint`s, oldest first. Out: `Spread`: the line in drawing units with its scale; and the figure for advice.
Only moments at which the spread tells something are compared: near empty and near full all cells part.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from packbook.core.history import CellsPoint
from packbook.core.words import Words
from packbook.web.charts import Moment, Table

WIDTH: Final = 600.0
HEIGHT: Final = 160.0
STEP_MV: Final = 10.0  # the scale ends at a multiple of it
SHOWN_MAX: Final = 200  # points of the line; the table and the CSV have more
ROWS_MAX: Final = 60
NEWEST: Final = 5  # their median: one look may fall into a disturbance
TELLING_SOC_PCT: Final = (20.0, 90.0)


@dataclass(frozen=True, slots=True)
class Spread:
    """`line`: SVG path data. `ticks`: height in the drawing, and mV."""

    line: str
    ticks: tuple[tuple[float, str], ...]
    first_ms: int
    last_ms: int
    now_mv: float
    table: Table
    width: float = WIDTH
    height: float = HEIGHT


def telling(cells: Sequence[CellsPoint]) -> list[CellsPoint]:
    low, high = TELLING_SOC_PCT
    return [point for point in cells if point.soc_pct is not None and low <= point.soc_pct <= high]


def spread_mv(cells: Sequence[CellsPoint]) -> float | None:
    """As it is now. None: nobody looked yet."""
    newest = [point.spread_mv for point in telling(cells)[-NEWEST:]]
    return statistics.median(newest) if newest else None


def spread(t: Words, cells: Sequence[CellsPoint]) -> Spread | None:
    """None before two dated looks."""
    dated = [(point.at_ms, point) for point in telling(cells) if point.at_ms is not None]
    now_mv = spread_mv(cells)
    if len(dated) < 2 or now_mv is None:
        return None
    step = -(-len(dated) // SHOWN_MAX)
    shown = dated[::-1][::step][::-1]
    top = (max(point.spread_mv for _, point in shown) // STEP_MV + 1) * STEP_MV
    first_ms, last_ms = shown[0][0], shown[-1][0]

    def place(at_ms: int, mv: float) -> str:
        x = (at_ms - first_ms) / max(1, last_ms - first_ms) * WIDTH
        return f"{x:.1f} {HEIGHT - mv / top * HEIGHT:.1f}"

    return Spread(
        "M" + "L".join(place(at_ms, point.spread_mv) for at_ms, point in shown),
        tuple((HEIGHT - share * HEIGHT, t.number(share * top, 0, "mV")) for share in (0.0, 0.5, 1.0)),
        first_ms,
        last_ms,
        now_mv,
        _table(t, cells),
    )


def _table(t: Words, cells: Sequence[CellsPoint]) -> Table:
    """The newest, whatever the charge: it says at which."""
    rows = tuple(
        (
            Moment(point.at_ms),
            t.number(point.spread_mv, 0, "mV"),
            t.number(point.cell_voltage_min_v, 3, "V"),
            t.number(point.cell_voltage_max_v, 3, "V"),
            t.number(point.lowest_cell),
            t.number(point.soc_pct, 0, "%"),
        )
        for point in list(reversed(cells))[:ROWS_MAX]
    )
    names = ("date", "spread", "cell_lowest", "cell_highest", "weakest", "soc")
    return Table(t("cells.title"), tuple(t(f"column.{name}") for name in names), rows)
