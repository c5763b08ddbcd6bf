"""From blocks of a table to one verdict a day, by the methods of the box.

In:  `Block`s in file order. Out: the panel's state at the end of each day, and the swings it read.
Rows go through `core.sample` as frames do; a silence of `SESSION_GAP_S` ends a session. A table has no boots: time
that runs back, or leaps by more than a year, is a break across which nothing is counted. After time ran back the line
is ahead of the table until the next long sleep, so that no day comes twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from packbox.adapters.sample_csv import Block, SegmentRow
from packbox.core import sample as sampling
from packbox.core.frames import FloatArray
from packbox.core.packs import PackFacts
from packbox.core.sample import Samples
from packbox.core.signals import Decoded, Signal
from packbox.core.soh import panel
from packbox.core.soh.banded import Swing, swing_of_charge_in
from packbox.core.soh.method import SessionEnd
from packbox.core.soh.panel import PanelState
from packbox.core.soh.reading import RestSwing
from packbox.core.soh.rest_bands import swing_of, use_swing
from packbox.core.soh.rest_state import CHARGE_SIGMA_ROOT
from packbox.core.stamp import NS_PER_S

SESSION_GAP_S: Final = 300  # as a drive outlives a silence (core.segment)
ROW_GAP_S: Final = 15  # rows of about 10 s jitter; a silence only beyond that
LEAP_S: Final = 366 * 86_400
DAY_S: Final = 86_400
HOLE_MAX_S: Final = 30.0  # an empty current between two known: a cell or two were lost, no sensor fell silent
END_SIGMA_PCT: Final = 1.0  # of a segment's SoC, each end: what rest anchors of LMO and NMC have (facts/soh.md §4)


@dataclass(frozen=True, slots=True, eq=False)
class DayEnd:
    """Everything up to the end of a day."""

    day: int  # whole days of the table's time
    t_s: float  # in the table's time
    at_s: float  # on the line
    state: PanelState


@dataclass(frozen=True, slots=True)
class SwingRead:
    """A swing between two rests, and whether the filter took it."""

    t_s: float
    swing: Swing
    taken: bool


class Feeder:
    """Works through a table; `finish` closes what is open."""

    def __init__(self, pack: PackFacts) -> None:
        self.pack = pack
        self.state = panel.start()
        self.rows = 0
        self.breaks = 0
        self.sessions = 0
        self._sample = sampling.start()
        self._shift_s = 0  # line = time of the table + shift
        self._last_s: int | None = None  # newest second worked on, on the line
        self._held: Block | None = None  # rows of the unfinished second
        self._day: int | None = None  # of the line
        self._swings: list[SwingRead] = []

    def feed(self, block: Block) -> Iterator[DayEnd]:
        self.rows += len(block.t_s)
        block = block if self._held is None else _joined(self._held, block)
        self._held = None
        step_s = np.diff(block.t_s)
        breaks = np.flatnonzero((step_s < 0.0) | (step_s > LEAP_S)) + 1
        bounds = [0, *breaks.tolist(), len(block.t_s)]
        for low, high in pairwise(bounds):
            if low:
                self._break(float(block.t_s[low]))
            caught_up = low + self._catch_up(step_s[low : max(low, high - 1)])
            if caught_up > low:
                yield from self._take(_rows(block, low, caught_up), keep_open=False)
                self._shift_s = 0
            yield from self._take(_rows(block, caught_up, high), keep_open=high == len(block.t_s))

    def _catch_up(self, step_s: FloatArray) -> int:
        """The row before which a sleep is long enough to come back to the table's own time; 0: none."""
        if self._shift_s <= 0:
            return 0
        long = np.flatnonzero(step_s > self._shift_s + SESSION_GAP_S)
        return int(long[0]) + 1 if long.size else 0

    def finish(self) -> Iterator[DayEnd]:
        if self._held is not None:
            part, self._held = self._held, None
            yield from self._work(part)
        if self._last_s is not None and self._day is not None:
            self._close(self._last_s + 1)
            yield self._day_end(self._last_s + 1)

    def _break(self, t_s: float) -> None:
        self.breaks += 1
        if self._last_s is not None:
            self._close(self._last_s + 1)
            self._shift_s = self._last_s + 1 - math.floor(t_s)
        self._sample = sampling.after_break(self._sample, forget=True)

    def _take(self, part: Block, *, keep_open: bool) -> Iterator[DayEnd]:
        if keep_open:
            open_from = int(np.searchsorted(part.t_s, math.floor(part.t_s[-1])))
            self._held = _rows(part, open_from, len(part.t_s))
            part = _rows(part, 0, open_from)
        if len(part.t_s):
            yield from self._work(part)

    def _work(self, part: Block) -> Iterator[DayEnd]:
        """Whole seconds, cut where sessions and days end."""
        at_ns = np.round(part.t_s * 1e9).astype(np.int64) + self._shift_s * NS_PER_S
        seconds = at_ns // NS_PER_S  # rising, several rows a second perhaps
        seconds = seconds[np.concatenate(([True], seconds[1:] != seconds[:-1]))]
        signals = {}
        for quantity, value in part.values.items():
            if quantity == "pack_current_a":
                value = _bridged(part.t_s, value)
            told = ~np.isnan(value)
            if told.any():
                signals[quantity] = Signal(at_ns[told], value[told])
        self._sample, samples = sampling.sample(self._sample, seconds, Decoded(signals), gap_s=ROW_GAP_S)
        yield from self._watch(samples)

    def _watch(self, samples: Samples) -> Iterator[DayEnd]:
        day = samples.second // DAY_S
        before_s = samples.second - samples.gap_s - samples.span_s  # end of the row before, at the latest
        new_day = np.concatenate(([self._day is None or day[0] != self._day], day[1:] != day[:-1]))
        starts = np.flatnonzero(new_day | (samples.gap_s >= SESSION_GAP_S))
        bounds = sorted({0, *starts.tolist(), len(samples)})
        for low, high in pairwise(bounds):
            if samples.gap_s[low] >= SESSION_GAP_S and self._last_s is not None:
                self._close(int(before_s[low]) + 1)
            if self._day is None:
                self._day = int(day[low])
            while self._day < day[low]:
                yield self._day_end((self._day + 1) * DAY_S)
                self._day += 1
            self.state = panel.watch(self.state, samples.cut(low, high), self.pack)
            self._last_s = int(samples.second[high - 1])

    def _day_end(self, at_s: int) -> DayEnd:
        assert self._day is not None
        leapt_s = min(self._shift_s, 0)
        return DayEnd(self._day - leapt_s // DAY_S, float(at_s - leapt_s), float(at_s), self.state)

    def _close(self, at_s: int) -> None:
        self.sessions += 1
        before_n = self.state.rest_bands.n
        self.state, readings = panel.closed(self.state, SessionEnd(self.sessions, at_s), self.pack)
        swings = [] if readings is None else [r for r in readings.rest_bands if isinstance(r, RestSwing)]
        taken = self.state.rest_bands.n - before_n == len(swings)
        self._swings += [SwingRead(s.at_s - self._shift_s, swing_of(s), taken) for s in swings]

    def take_swings(self) -> list[SwingRead]:
        """Those read since the last call."""
        swings, self._swings = self._swings, []
        return swings


class SegmentFeeder:
    """Takes segments that somebody else cut, one by one."""

    def __init__(self, pack: PackFacts) -> None:
        self.pack = pack
        self.state = panel.start()
        self.rows = 0
        self.at_s = 0.0

    def feed(self, row: SegmentRow) -> None:
        self.rows += 1
        self.at_s = max(self.at_s, row.t_s or self.at_s)
        charge_sigma_ah = CHARGE_SIGMA_ROOT * math.sqrt(abs(row.charge_ah)) + CHARGE_SIGMA_ROOT
        swing = swing_of_charge_in(
            row.from_soc_pct, row.to_soc_pct, row.charge_ah, row.hours, math.sqrt(2.0) * END_SIGMA_PCT, charge_sigma_ah
        )
        after = use_swing(self.state.rest_bands, swing, self.at_s, self.rows, self.pack)
        self.state = replace(self.state, rest_bands=after)


def _bridged(t_s: FloatArray, value: FloatArray) -> FloatArray:
    """Values, straight over empty cells between two known ones that are not far apart."""
    told = ~np.isnan(value)
    if told.all() or told.sum() < 2:
        return value
    at, holes = np.flatnonzero(told), np.flatnonzero(~told)
    after = np.searchsorted(at, holes)
    between = (after > 0) & (after < at.size)
    holes, after = holes[between], after[between]
    near = t_s[at[after]] - t_s[at[after - 1]] <= HOLE_MAX_S
    filled = value.copy()
    filled[holes[near]] = np.interp(t_s[holes[near]], t_s[at], value[at])
    return filled


def _rows(block: Block, low: int, high: int) -> Block:
    rows = slice(low, high)
    return replace(block, t_s=block.t_s[rows], values={q: v[rows] for q, v in block.values.items()})


def _joined(a: Block, b: Block) -> Block:
    values = {q: np.concatenate((a.values[q], b.values[q])) for q in b.values}
    return replace(b, t_s=np.concatenate((a.t_s, b.t_s)), values=values)
