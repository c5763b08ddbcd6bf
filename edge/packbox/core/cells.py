"""Wait for a quiet moment, and say how far the cells are apart then.

In:  `Samples`, and single cells where somebody asks the car for them.
Out: `QuietCells`, at most one a day and one more when the spread grew notably.
A moment is quiet when next to no current flowed for `QUIET_MIN_S`, asleep or awake, the SoC is still the one at which
it ceased (nobody drove while the box was not looking), and the cells are told alike for `STEADY_MIN_S`.
Refuses: to call a spread under load, or while a car wakes up, a spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray, IntArray
from packbox.core.sample import Col, Samples, known
from packbox.core.signals import CellsTold
from packbox.core.stamp import NS_PER_S

# A car that wakes up takes some amperes for its 12 V side. Cells of a pack differ by tenths of a milliohm: a millivolt.
QUIET_OUT_MAX_A: Final = 5.0
QUIET_IN_MAX_A: Final = 1.5  # facts/soh.md §7; more is a slow charge
QUIET_MIN_S: Final = 1800  # a rest voltage takes hours, but cells of one pack relax alike
SAME_SOC_PCT: Final = 2.0
STEADY_MIN_S: Final = 5  # while a car wakes up, cells are told volts apart for a second or two
STEADY_MAX_V: Final = 0.02  # the coarsest step in which a car tells them (facts/vehicles.md, Hyundai and Kia)
MV_PER_V: Final = 1000
EVERY_S: Final = 86_400
SINGLE_FRESH_S: Final = 120  # as long as a sample holds the lowest and the highest
SINGLE_RANGE_MV: Final = (500, 5000)  # as of `cell_voltage_min_v` in core.quantities
GREW_V: Final = 0.03  # more than one of those steps; facts/soh.md §7 calls it a change of the spread


@dataclass(frozen=True, slots=True)
class Steady:
    """Cells told alike since, in quiet."""

    since_s: int
    end_s: int
    low_v: float
    high_v: float


@dataclass(frozen=True, slots=True)
class CellsState:
    loud_s: int | None = None  # last second with current, or of which nothing is known
    soc_pct: float | None = None  # first one told from then on, by the battery management
    soc_shown_pct: float | None = None
    steady: Steady | None = None
    said_s: int | None = None
    said_v: float = 0.0  # spread, the last time
    grew_s: int | None = None  # when one was said because it grew
    single: dict[int, tuple[int, int]] = field(default_factory=dict)  # cell by number: mV, and the second it was told


@dataclass(frozen=True, slots=True)
class QuietCells:
    """At the end of second `at_s` - 1, row `row` of the samples given."""

    row: int
    at_s: int
    quiet_s: int
    low_v: float
    high_v: float
    soc_pct: float | None
    current_a: float
    temps_degc: tuple[float, ...]  # coldest and hottest place, or the one that is told
    cells_v: tuple[float | None, ...] = ()  # from number 1 on, where they were told one by one


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What of the samples matters here. Arrays (n,)."""

    second: IntArray
    begin_s: IntArray  # of the time that the row stands for
    loud_s: IntArray  # last second with current before it or in it
    soc_pct: FloatArray
    soc_shown_pct: FloatArray
    low_v: FloatArray
    high_v: FloatArray
    ready: IntArray  # rows at which it has been quiet for long enough, and cells are told


def watch(state: CellsState, samples: Samples, told: Sequence[CellsTold] = ()) -> tuple[CellsState, list[QuietCells]]:
    """Take in samples, n >= 1, and single cells in order. How they are cut into calls does not matter."""
    found: list[QuietCells] = []
    begin, n = 0, len(samples)
    single = dict(state.single) if told else state.single
    waiting = iter(told)
    ahead = next(waiting, None)
    while begin < n:
        part = samples if begin == 0 else samples.cut(begin, n)
        state, one, taken = _next(state, part)
        begin += taken
        until_ns = (int(samples.second[begin - 1]) + 1) * NS_PER_S
        while ahead is not None and ahead.mono_ns < until_ns:
            single |= _single(ahead)
            ahead = next(waiting, None)
        if one is not None:
            found.append(replace(one, row=begin - 1, cells_v=_fresh(single, one.at_s)))
    return replace(state, single=single), found


def _single(told: CellsTold) -> dict[int, tuple[int, int]]:
    """A cell that is void, or that cannot be, was told as nothing."""
    low, high = SINGLE_RANGE_MV
    in_mv = {n: -1 if volts is None else round(volts * MV_PER_V) for n, volts in told.cells_v.items()}
    return {n: (mv if low <= mv <= high else -1, told.mono_ns // NS_PER_S) for n, mv in in_mv.items()}


def _fresh(single: Mapping[int, tuple[int, int]], at_s: int) -> tuple[float | None, ...]:
    """What was told lately, by number; absent cells stay absent."""
    fresh = {n: mv / MV_PER_V for n, (mv, told_s) in single.items() if mv >= 0 and at_s - told_s <= SINGLE_FRESH_S}
    return tuple(fresh.get(n) for n in range(1, max(fresh, default=0) + 1))


def _next(state: CellsState, samples: Samples) -> tuple[CellsState, QuietCells | None, int]:
    """Up to the row at which something was found, or at which it shows that it was not quiet; how many that took."""
    rows = _rows(state, samples)
    steady = state.steady
    for k in rows.ready.tolist():
        if not _is_due(state, int(rows.second[k]), rows.high_v[k] - rows.low_v[k]):
            continue
        steady = _longer(steady, rows, k)
        untold = np.isnan(rows.soc_pct[k]) and np.isnan(rows.soc_shown_pct[k])
        if untold or steady.end_s - steady.since_s < STEADY_MIN_S:
            continue
        begun = _from(state, rows, k)
        if not _is_same_soc(begun, rows, k):
            return _from(replace(begun, loud_s=None, steady=None), rows, k, int(rows.second[k])), None, k + 1
        one = _found(samples, rows, k)
        return _said(begun, one), one, k + 1
    last = len(samples) - 1
    goes_on = steady is not None and steady.end_s == rows.second[last] + 1
    return replace(_from(state, rows, last), steady=steady if goes_on else None), None, last + 1


def _rows(state: CellsState, samples: Samples) -> _Rows:
    low_a, high_a = samples.column(Col.CURRENT_LOW_A), samples.column(Col.CURRENT_HIGH_A)
    loud = (high_a > QUIET_IN_MAX_A) | (low_a < -QUIET_OUT_MAX_A)  # a comparison with NaN is false
    still = (high_a <= QUIET_IN_MAX_A) & (low_a >= -QUIET_OUT_MAX_A)
    loud |= samples.broken & (samples.gap_s == 0)  # a restart of unknown length
    if state.loud_s is None:
        loud[0] = True
    before_s = samples.second[0] if state.loud_s is None else state.loud_s
    loud_s = np.maximum.accumulate(np.where(loud, samples.second, before_s))
    low, high = samples.column(Col.CELL_LOW_V), samples.column(Col.CELL_HIGH_V)
    ready = still & (samples.second - loud_s >= QUIET_MIN_S) & (high >= low)
    return _Rows(
        samples.second,
        samples.second + 1 - samples.span_s,
        loud_s,
        samples.column(Col.SOC_PCT),
        samples.column(Col.SOC_SHOWN_PCT),
        low,
        high,
        np.flatnonzero(ready),
    )


def _from(state: CellsState, rows: _Rows, k: int, loud_s: int | None = None) -> CellsState:
    """Since when it is quiet at row k, and at which SoC that began. `loud_s`: where that is known better."""
    loud_s = int(rows.loud_s[k]) if loud_s is None else loud_s
    first = int(np.searchsorted(rows.second, loud_s))  # row 0 where it lies before these rows
    goes_on = loud_s == state.loud_s

    def begun(carried: float | None, told: FloatArray) -> float | None:
        if goes_on and carried is not None:
            return carried
        values = told[~np.isnan(told)]
        return float(values[0]) if values.size else None

    return replace(
        state,
        loud_s=loud_s,
        soc_pct=begun(state.soc_pct, rows.soc_pct[first : k + 1]),
        soc_shown_pct=begun(state.soc_shown_pct, rows.soc_shown_pct[first : k + 1]),
    )


def _is_same_soc(begun: CellsState, rows: _Rows, k: int) -> bool:
    """Whether it is the one at which the current ceased; the two of them never against each other."""
    pairs = ((begun.soc_pct, rows.soc_pct[k]), (begun.soc_shown_pct, rows.soc_shown_pct[k]))
    return not any(then is not None and abs(now - then) > SAME_SOC_PCT for then, now in pairs)  # NaN is not above


def _is_due(state: CellsState, at_s: int, spread_v: float) -> bool:
    if state.said_s is None or at_s - state.said_s >= EVERY_S:
        return True
    return spread_v >= state.said_v + GREW_V and (state.grew_s is None or at_s - state.grew_s >= EVERY_S)


def _longer(steady: Steady | None, rows: _Rows, k: int) -> Steady:
    low, high = float(rows.low_v[k]), float(rows.high_v[k])
    begin_s, end_s = int(rows.begin_s[k]), int(rows.second[k]) + 1
    if steady is None or begin_s != steady.end_s or _apart(steady, low, high) > STEADY_MAX_V:
        return Steady(begin_s, end_s, low, high)
    return replace(steady, end_s=end_s)


def _apart(steady: Steady, low_v: float, high_v: float) -> float:
    return max(abs(low_v - steady.low_v), abs(high_v - steady.high_v))


def _found(samples: Samples, rows: _Rows, k: int) -> QuietCells:
    low, mean, high = samples.value[k, [Col.TEMP_LOW_DEGC, Col.TEMP_DEGC, Col.TEMP_HIGH_DEGC]].tolist()
    temps = (low, high) if low <= high else (mean,) if mean == mean else ()  # a comparison with NaN is false
    return QuietCells(
        k,
        int(rows.second[k]) + 1,
        int(rows.second[k] - rows.loud_s[k]),
        float(rows.low_v[k]),
        float(rows.high_v[k]),
        known(rows.soc_pct[k]),
        float(samples.value[k, Col.CURRENT_A]),
        temps,
    )


def _said(state: CellsState, one: QuietCells) -> CellsState:
    early = state.said_s is not None and one.at_s - 1 - state.said_s < EVERY_S
    return replace(
        state,
        steady=None,
        said_s=one.at_s - 1,
        said_v=one.high_v - one.low_v,
        grew_s=one.at_s - 1 if early else state.grew_s,
    )
