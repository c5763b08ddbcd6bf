"""Small pictures of health over time, drawn on the server: lines that need no script and no library.

In:  SoH points of one or two batteries. Out: `Trend`s: paths in drawing units.
Only figures with their uncertainty are drawn; the band is the 90 % interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from packbook.core.history import SohPoint
from packbook.web import figures

WIDTH: Final = 240.0
HEIGHT: Final = 56.0
POINTS_MAX: Final = 60  # two pixels each on a phone
SPAN_MIN_PCT: Final = 10.0  # a scale that is never so fine that noise looks like decay
YEAR_MS: Final = 365 * 86_400_000


@dataclass(frozen=True, slots=True)
class Reading:
    at_ms: int
    value: float
    lo: float
    hi: float
    point: SohPoint


@dataclass(frozen=True, slots=True)
class Scale:
    """What the picture's edges stand for."""

    first_ms: int
    last_ms: int
    low_pct: float
    high_pct: float

    def place(self, at_ms: int, pct: float) -> str:
        x = (at_ms - self.first_ms) / max(1, self.last_ms - self.first_ms) * WIDTH
        y = (self.high_pct - pct) / (self.high_pct - self.low_pct) * HEIGHT
        return f"{x:.1f} {y:.1f}"


@dataclass(frozen=True, slots=True)
class Trend:
    """`line`, `band`: SVG path data. `shown`: what they are drawn from, oldest first."""

    line: str
    band: str
    shown: tuple[Reading, ...]
    scale: Scale

    @property
    def first(self) -> Reading:
        return self.shown[0]

    @property
    def last(self) -> Reading:
        return self.shown[-1]


def readings(series: Sequence[SohPoint]) -> list[Reading]:
    """Dated and sure, oldest first."""
    found = []
    for point in series:
        interval = figures.interval_pct(point) if figures.shown_soh(point) is not None else None
        if point.at_ms is not None and point.soh_pct is not None and interval is not None:
            found.append(Reading(point.at_ms, point.soh_pct, *interval, point))
    return sorted(found, key=lambda reading: reading.at_ms)


def thinned(shown: Sequence[Reading]) -> list[Reading]:
    """To what a small picture can show; the newest is always one."""
    step = -(-len(shown) // POINTS_MAX) or 1
    return list(shown[::-1][::step])[::-1]


def trend(series: Sequence[SohPoint]) -> Trend | None:
    """The last year of it; None with fewer than two readings."""
    every = readings(series)
    shown = thinned([reading for reading in every if every[-1].at_ms - reading.at_ms <= YEAR_MS])
    return _drawn(shown, scale_of([shown])) if len(shown) > 1 else None


def together(one: Sequence[SohPoint], other: Sequence[SohPoint]) -> tuple[Trend | None, Trend | None]:
    """Two on one scale, to be compared."""
    shown = (thinned(readings(one)), thinned(readings(other)))
    scale = scale_of(shown)
    first, second = (_drawn(some, scale) if len(some) > 1 else None for some in shown)
    return first, second


def scale_of(several: Sequence[Sequence[Reading]]) -> Scale:
    """Around all of them, outwards to whole fives."""
    every = [reading for some in several for reading in some]
    if not every:
        return Scale(0, 1, 0.0, 100.0)
    low, high = min(r.lo for r in every), max(r.hi for r in every)
    if high - low < SPAN_MIN_PCT:
        middle = (low + high) / 2.0
        low, high = middle - SPAN_MIN_PCT / 2.0, middle + SPAN_MIN_PCT / 2.0
    return Scale(
        min(r.at_ms for r in every), max(r.at_ms for r in every), low // 5.0 * 5.0, min(100.0, -(-high // 5.0) * 5.0)
    )


def _drawn(shown: Sequence[Reading], scale: Scale) -> Trend:
    def clipped(pct: float) -> float:
        return min(scale.high_pct, max(scale.low_pct, pct))

    line = "L".join(scale.place(r.at_ms, clipped(r.value)) for r in shown)
    upper = [scale.place(r.at_ms, clipped(r.hi)) for r in shown]
    lower = [scale.place(r.at_ms, clipped(r.lo)) for r in reversed(shown)]
    return Trend(f"M{line}", f"M{'L'.join([*upper, *lower])}Z", tuple(shown), scale)
