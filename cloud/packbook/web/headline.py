"""Health in one look: the figure with its interval, its state, and the scale it is drawn on.

In:  the newest SoH of a battery, and the doubts about its history.
Out: a `Headline`. Where a figure is missing, it holds the state and the reason instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from packbook.core.history import Doubt, SohPoint
from packbook.core.rounding import ShownSoh
from packbook.web import figures

STATES: Final = ("none", "learning", "ok", "stale", "inconsistent", "replaced")
RULER_LOW_PCT: Final = 50.0  # few packs on the road are below; the ruler then starts at 0
RULER_UNITS: Final = 360.0  # width of the drawing: pixels on a phone


@dataclass(frozen=True, slots=True)
class Ruler:
    """Places on the SoH scale, in drawing units from its left end."""

    lo: float
    hi: float
    value: float
    reported: float | None
    ticks: tuple[tuple[float, str | None], ...]  # place, and the label of a long tick
    units: float = RULER_UNITS

    @property
    def width(self) -> float:
        return max(self.hi - self.lo, 4.0)  # a line too thin to see would look like no interval


@dataclass(frozen=True, slots=True)
class Headline:
    """SoH in one look. `shown` is None where there is no figure; then `state` and `why` carry the reason."""

    state: str
    shown: ShownSoh | None
    reported_pct: float | None
    ruler: Ruler | None
    why: str | None
    at_ms: int | None
    unsure: bool  # a figure came, but without its uncertainty


def headline(point: SohPoint | None, doubts: Sequence[Doubt] = ()) -> Headline:
    """The words must fit the figure: without one there is nothing that could be settled or young.

    In dispute no figure stands as if it were settled, whatever the box said of it.
    """
    if point is None:
        return Headline("disputed" if doubts else "none", None, None, None, None, None, unsure=False)
    shown = figures.shown_soh(point)
    reported = figures.rounded_reported(point)
    state = point.state if point.state in STATES else "learning"
    if shown is None and state != "replaced":
        state = "none"
    elif shown is not None and state == "none":
        state = "learning"
    state = "disputed" if doubts else state
    return Headline(
        state,
        shown,
        reported,
        ruler(shown, reported) if shown else None,
        point.why,
        point.at_ms,
        unsure=shown is None and point.soh_pct is not None,
    )


def ruler(shown: ShownSoh, reported_pct: float | None) -> Ruler:
    lowest = min(shown.lo_pct, shown.value_pct if reported_pct is None else reported_pct)
    start = RULER_LOW_PCT if lowest >= RULER_LOW_PCT else 0.0
    long_every = 10 if start else 20

    def place(pct: float) -> float:
        return round((min(max(pct, start), 100.0) - start) / (100.0 - start) * RULER_UNITS, 1)

    step = 1 if start else 2
    ticks = tuple((place(pct), f"{pct}" if pct % long_every == 0 else None) for pct in range(int(start), 101, step))
    return Ruler(
        place(shown.lo_pct),
        place(shown.hi_pct),
        place(shown.value_pct),
        None if reported_pct is None else place(reported_pct),
        ticks,
    )
