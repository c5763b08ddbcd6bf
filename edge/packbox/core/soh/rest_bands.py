"""Capacity from charge moved between rests, where the voltage of the cells tells the state of charge.

In:  samples and ends of sessions; a pack with an open-circuit curve.
Out: an estimate from the filter of `banded`.
An *anchor* is the last quiet second of a long rest. Two anchors with enough charge between them make a swing.
Refuses: rests too short, too cold or too hot, voltages off the curve, stretches with lost charge; and any value at
all while the swings contradict the current's sign or the curve.

Flat chemistries (LFP) have one band and few anchors: only where the curve is steep enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.ocv import VOLT_SIGMA_V, Curve, curve_of
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.sample import Col, Samples, Sum
from packbox.core.soh import banded
from packbox.core.soh.banded import Bands, Swing, swing_of_charge_in
from packbox.core.soh.method import EVIDENCE_KEPT, YEAR_S, Basis, Estimate, MethodId, SessionEnd
from packbox.core.soh.reading import CapacityTold, RestsSeen, RestSwing, as_sent
from packbox.core.soh.screen import (
    CURRENT_MAX_C,
    QUIET_A,
    STUCK_JUMP_V,
    STUCK_S,
    UNRATED_AH,
    before_each,
    newest_of,
    same_since,
)

REST_S: Final = 2 * 3600
REST_COLD_S: Final = 4 * 3600
COLD_DEGC: Final = 10.0
TEMP_MIN_DEGC, TEMP_MAX_DEGC = 0.0, 45.0
SPREAD_CHANGE_V: Final = 0.030  # of the cells against each other within a minute: not at rest
SPREAD_WINDOW_S: Final = 60
ANCHOR_SIGMA_MAX_PCT: Final = 3.0  # where the curve is flatter, the voltage says nothing
CHARGE_MIN: Final = 0.20  # of the capacity; chosen on charge, never on the noisy SoC difference
GAP_LOST_S: Final = 600  # longer without a known current: the charge is lost
GAP_SOC_PCT: Final = 3.0  # a silence over which the SoC changed by more was no sleep
MOVING_KMH: Final = 0.5
STANDBY_AH_PER_DAY: Final = 0.1  # sleeping cars draw less than 0.2
CHARGE_SIGMA_ROOT: Final = 0.02
LEAN_SHARE: Final = 0.02  # of the rating: after so much charge one way a cell rests on that side of its curve
OHM_PER_CELL_AH: Final = 0.066  # 1 mOhm for a 66 Ah cell pair: corrects the key-on load while R is not measured

PRIOR_BMS: Final = 0.03  # of the capacity, one sigma: the BMS's own value
PRIOR_RATED: Final = 0.07
RATED_NOW: Final = 0.93  # of the rating, where the BMS says nothing
BAND_SIGMA: Final = 0.03  # with a curve measured on that cell
CURVE_SIGMA: Final = 0.01
BMS_SIGMA: Final = 0.025
BMS_EVERY_S: Final = 7 * 86_400.0
SETTLED_N: Final = 10
RESTART_AFTER: Final = 8
CONTRARY_MIN: Final = 3  # swings whose charge ran against the voltage, before that means anything
MOVES_KEPT: Final = 2  # of one session, until it ends; each rested for hours
EARLY_S: Final = 90 * 86_400.0  # what later changes are counted from
APART_USUAL_PCT: Final = 5.0  # 0.4 to 3.3 on the simulated cars; a cell too few in the voltage makes 9
APART_MAX_PCT: Final = 15.0  # hidden reserves and a BMS's own error together stay below
APART_KEPT: Final = 0.95  # of all before, per anchor
VISIT_BINS: Final = 20
VISIT_SHARE: Final = 0.02


RestReading: TypeAlias = RestSwing | RestsSeen | CapacityTold
NOTHING_SEEN: Final = RestsSeen((0,) * VISIT_BINS)


class Anchor(NamedTuple):
    """An instant at which the SoC is known, with all that was counted up to then. Saved without names: it is many."""

    at_s: float
    loud_s: float  # last second before it with current: tells one rest from another
    soc_pct: float
    sigma_pct: float
    charge_in_ah: float  # net
    moved_ah: float  # both ways
    counted_s: float
    unknown_s: float
    sampling_a2s2: float
    lost_ah2: float
    soc_told_pct: float  # by the car; NaN where it did not
    lean: float = 0.0  # 1: rests after a charge; -1: after a discharge; between: not clear


class Move(NamedTuple):
    """From one anchor to another, not yet read."""

    first: Anchor
    last: Anchor


@dataclass(frozen=True, slots=True, eq=False)
class RestBandsState:
    # What the samples so far lead to
    current_a: float | None = None
    loud_s: float | None = None
    unknown_at_loud_s: float = 0.0
    soc_pct: float | None = None  # as the car says, newest
    same_since_s: float | None = None  # the current has not changed since
    volts: float | None = None  # mean cell, newest
    stuck_n: int = 0  # hours in which the voltage jumped and the current stayed
    stuck_hour: int | None = None  # the newest of them
    filled_ah: float = 0.0  # net
    filled_moved_ah: float = 0.0  # both ways
    filled_s: float = 0.0
    lost_ah2: float = 0.0
    spread_v: float | None = None
    spread_s: float = 0.0
    leans: tuple[int, int] = (0, 0)  # the way the charge last crossed a line of either grid
    candidate: Anchor | None = None
    lowest: Anchor | None = None
    highest: Anchor | None = None
    moves: tuple[Move, ...] = ()
    visits: tuple[int, ...] = (0,) * VISIT_BINS
    off_curve: int = 0
    apart_n: int = 0  # anchors beside which the car told its SoC
    apart_pct: float = 0.0  # how far the two were apart, mean
    reported_ah: float | None = None
    reported_s: float | None = None
    best_ah: float = 0.0
    # What was concluded
    seen: RestsSeen = NOTHING_SEEN
    prior_ah: float | None = None  # as the car reported it before the first swing
    bands: Bands | None = None
    at_s: float = 0.0  # of the prediction in `bands`
    newest_s: float | None = None
    reported_taken_s: float | None = None
    n: int = 0
    misfits_in_a_row: int = 0
    ratios_ah: tuple[float, ...] = ()
    contrary: int = 0
    restarted: bool = False
    evidence: tuple[int, ...] = ()
    first_s: float | None = None  # of the first swing
    early_ah: float = 0.0  # the capacity at the end of the first `EARLY_S`


class RestBands:
    id: Final = MethodId("rest_bands/1")

    def start(self) -> RestBandsState:
        return RestBandsState()

    def watch(self, state: RestBandsState, samples: Samples, pack: PackFacts | None) -> RestBandsState:
        state = _heard(state, samples)
        curve = None if pack is None else curve_of(pack.ocv)
        if pack is None or curve is None or pack.cells_in_series is None:
            return state
        return _Watch(state, samples, pack, curve).run()

    def take(self, state: RestBandsState, pack: PackFacts | None) -> tuple[RestBandsState, tuple[RestReading, ...]]:
        del pack
        readings: list[RestReading] = [
            _reading_of(m) for m in state.moves if m.last.unknown_s - m.first.unknown_s <= GAP_LOST_S
        ]
        told = _capacity_told(state)
        if told is not None and state.bands is None and readings:
            readings.insert(0, told)  # what to start from
        if told is not None and (state.bands is not None or readings):
            readings.append(told)
        seen = as_sent(RestsSeen(state.visits, state.off_curve, state.stuck_n, state.apart_n, state.apart_pct))
        if seen != state.seen:
            readings.append(seen)
        return replace(state, moves=()), tuple(readings)

    def use(
        self, state: RestBandsState, reading: RestReading, end: SessionEnd, pack: PackFacts | None
    ) -> RestBandsState:
        if isinstance(reading, RestSwing):
            return use_swing(state, swing_of(reading), float(reading.at_s), end.number, pack)
        if isinstance(reading, CapacityTold):
            return _use_told(state, reading, float(end.at_s))
        return replace(state, seen=reading)

    def estimate(self, state: RestBandsState, at_s: float, pack: PackFacts | None) -> Estimate:
        why = _contradiction(state)
        if why is not None:
            return Estimate(self.id, Basis.OCV, why=why, contradicted=True)
        why = _why_not(state, pack)
        if why is not None:
            return Estimate(self.id, Basis.OCV, why=why)
        assert state.bands is not None
        bands = banded.predict(state.bands, (at_s - state.at_s) / YEAR_S)
        capacity_ah = bands.capacity_ah
        # One band alone is crossed whole: how much of the scale was visited then says nothing.
        unseen = _scale_sigma(state.seen.visits, _curve_sigma(state)) if bands.bands > 1 else 0.0
        sigma_ah = math.hypot(math.sqrt(bands.variance_ah2), unseen * capacity_ah)
        return Estimate(
            self.id,
            Basis.OCV,
            capacity_ah,
            sigma_ah,
            state.n,
            state.evidence,
            state.newest_s,
            state.restarted and state.n < SETTLED_N,
        )


def _contradiction(state: RestBandsState) -> str | None:
    """Why this cannot be the pack that its facts describe."""
    seen = state.seen
    if seen.off_curve > sum(seen.visits) + CONTRARY_MIN:
        return f"{seen.off_curve} rest voltages lie off the curve of this pack: is it another one?"
    if state.contrary >= CONTRARY_MIN and state.contrary > state.n:
        return (
            f"{state.contrary} times charge ran against the rest voltage: wrong sign of the current, or another pack?"
        )
    if seen.stuck_n > max(state.n, SETTLED_N):
        return f"in {seen.stuck_n} hours the voltage jumped and the current stayed the same: is its sensor frozen?"
    if seen.apart_n >= SETTLED_N and seen.apart_pct > APART_MAX_PCT:
        return f"rest voltages and the car's own SoC are {seen.apart_pct:.0f} % apart: is it another pack?"
    return None


def _why_not(state: RestBandsState, pack: PackFacts | None) -> str | None:
    if pack is None or not pack.ocv:
        return "no open-circuit curve is known for this pack"
    if state.bands is None:
        need_ah = CHARGE_MIN * _scale_ah(state, pack)
        most = f"the most was {state.best_ah:.1f} Ah"
        return f"no {need_ah:.1f} Ah moved between two rests of {REST_S / 3600:g} h yet; {most}"
    return None


def _curve_sigma(state: RestBandsState) -> float:
    """Of the SoC that the curve tells. Rests far from the car's own SoC mean another curve, or a cell miscounted."""
    return state.seen.apart_pct / 100.0 if state.seen.apart_pct > APART_USUAL_PCT else CURVE_SIGMA


def _scale_sigma(visits: tuple[int, ...], curve_sigma: float) -> float:
    """Of the capacity: what an error of the curve costs, the less the more of the scale was visited.

    Never more than an error at both ends of what was visited: between them the errors of swings cancel.
    """
    total = max(sum(visits), 1)
    seen = [k for k, n in enumerate(visits) if n and n >= VISIT_SHARE * total]
    share = max(len(seen), 1) / VISIT_BINS
    span = (seen[-1] - seen[0] + 1) / VISIT_BINS if seen else share
    return math.sqrt(2.0) * curve_sigma * min(max(1.0 / share - 0.6, 0.3), 1.0 / span)


def _scale_ah(state: RestBandsState, pack: PackFacts | None) -> float:
    """For limits that scale with the pack."""
    if state.bands is not None:
        return state.bands.capacity_ah
    rated_ah = None if pack is None else pack.reference_ah or pack.rated_ah
    return rated_ah or UNRATED_AH


def _prior(state: RestBandsState, pack: PackFacts | None) -> tuple[float, float]:
    """Capacity to start from, and its sigma as a share."""
    assert pack is not None
    if state.prior_ah is not None:
        return state.prior_ah, PRIOR_BMS
    if pack.capacity_start_ah is not None:
        return pack.capacity_start_ah, PRIOR_BMS
    return RATED_NOW * (pack.rated_ah or pack.reference_ah or UNRATED_AH), PRIOR_RATED


def _heard(state: RestBandsState, samples: Samples) -> RestBandsState:
    """What the BMS says of its capacity."""
    said = np.flatnonzero(~np.isnan(samples.column(Col.CAPACITY_REPORTED_AH)))
    if not said.size:
        return state
    row = said[-1]
    return replace(
        state,
        reported_ah=float(samples.value[row, Col.CAPACITY_REPORTED_AH]),
        reported_s=float(samples.second[row]),
    )


def _crossings(samples: Samples, grid_ah: float) -> list[tuple[IntArray, IntArray]]:
    """Rows at which the net charge crossed a line of a grid, and which way; for two grids half a step apart.

    Two, because charge that jitters about one line lies clear of the other.
    """
    lines = (samples.total[:, Sum.CHARGE_IN_AH] - samples.total[:, Sum.CHARGE_OUT_AH]) / grid_ah
    found = []
    for shift in (0.0, 0.5):
        step = np.diff(np.floor(lines + shift))
        rows = np.flatnonzero(step)
        found.append((rows, np.sign(step[rows]).astype(np.int64)))
    return found


def _newest_sign(rows: IntArray, ways: IntArray, low: int, row: int, held: int) -> int:
    """The newest way in rows `low` to `row`, else the one held."""
    k = int(np.searchsorted(rows, row, side="right")) - 1
    return int(ways[k]) if k >= 0 and rows[k] >= low else held


class _Watch:
    """One call of `watch`: columns once, then only the rows where something happens."""

    def __init__(self, state: RestBandsState, samples: Samples, pack: PackFacts, curve: Curve) -> None:
        assert pack.cells_in_series is not None
        self.state, self.samples, self.pack, self.curve = state, samples, pack, curve
        self.second = samples.second.astype(np.float64)
        self.current = samples.column(Col.CURRENT_A)
        self.volts = samples.column(Col.VOLTAGE_V) / pack.cells_in_series
        self.temp = samples.column(Col.TEMP_DEGC)
        self.unknown_s = samples.total[1:, Sum.AWAKE_S] - samples.total[1:, Sum.OBSERVED_S]
        soc = samples.column(Col.SOC_PCT)
        self.soc = np.where(np.isnan(soc), samples.column(Col.SOC_SHOWN_PCT), soc)
        self.scale_ah = _scale_ah(state, pack)
        self.cell_ohm = OHM_PER_CELL_AH / self.scale_ah
        self.crossings = _crossings(samples, LEAN_SHARE * (pack.rated_ah or pack.reference_ah or UNRATED_AH))
        self.broke_at = 0

    def run(self) -> RestBandsState:
        samples, state = self.samples, self.state
        known = ~np.isnan(self.current)
        wild = known & (np.abs(self.current) > CURRENT_MAX_C * self.scale_ah)
        gap = samples.gap_s > 0
        before = before_each(self.current, known, state.current_a)
        lost = gap & (samples.gap_s > GAP_LOST_S) & (np.abs(before) > QUIET_A)
        told = ~np.isnan(self.soc)
        lost |= gap & (np.abs(self.soc - before_each(self.soc, told, state.soc_pct)) > GAP_SOC_PCT)
        same_since_s = same_since(samples, self.current, known, before, state.same_since_s)
        stuck = self._stuck(same_since_s, gap)
        broken = samples.broken | wild | lost | stuck
        loud = (known & (np.abs(self.current) > QUIET_A)) | broken
        loud_s, unknown_at_loud = self._since_loud(loud)
        rest_s = self.second - loud_s
        cold = ~(self.temp >= COLD_DEGC)  # also where no temperature is known
        fit = ~((self.temp < TEMP_MIN_DEGC) | (self.temp > TEMP_MAX_DEGC)) & ~np.isnan(self.volts)
        quiet = known & ~loud & (self.unknown_s - unknown_at_loud <= SPREAD_WINDOW_S)
        rested = quiet & fit & (rest_s >= np.where(cold, REST_COLD_S, REST_S))
        for row in np.flatnonzero(rested | gap | broken).tolist():
            self._settle(float(loud_s[row]))
            if broken[row]:
                self._break(row)
            elif gap[row]:
                self._bridge(row, float(before[row]))
            if rested[row]:
                self._anchor(row, float(loud_s[row]))
        self._settle(float(loud_s[-1]))
        self.state = replace(
            self.state,
            current_a=newest_of(self.current, known, state.current_a),
            soc_pct=newest_of(self.soc, told, state.soc_pct),
            same_since_s=float(same_since_s[-1]),
            volts=newest_of(self.volts, ~np.isnan(self.volts), state.volts),
            loud_s=float(loud_s[-1]),
            unknown_at_loud_s=float(unknown_at_loud[-1]),
            leans=self._leans(len(samples) - 1),
        )
        return self.state

    def _stuck(self, same_since_s: FloatArray, gap: BoolArray) -> BoolArray:
        """Rows at which the current is the same for long, and the car or the voltage says that it cannot be."""
        known = ~np.isnan(self.volts)
        jumps = (
            ~gap
            & ~np.isnan(self.current)
            & (np.abs(self.volts - before_each(self.volts, known, self.state.volts)) > STUCK_JUMP_V)
        )
        long = self.second - same_since_s > STUCK_S
        jumps &= long
        if jumps.any():
            hours = np.unique(self.samples.second[jumps] // 3600)
            new = hours.size - int(hours[0] == self.state.stuck_hour)
            self.state = replace(self.state, stuck_n=self.state.stuck_n + new, stuck_hour=int(hours[-1]))
        stuck: BoolArray = jumps | (long & (self.samples.column(Col.SPEED_KMH) > MOVING_KMH))
        return stuck

    def _since_loud(self, loud: BoolArray) -> tuple[FloatArray, FloatArray]:
        """For each row the last second with current, and how long the current had been unknown by then."""
        n = len(loud)
        newest = np.maximum.accumulate(np.where(loud, np.arange(n), -1))
        first = self.second[0] if self.state.loud_s is None else self.state.loud_s  # nobody saw the rest before
        first_unknown = 0.0 if self.state.loud_s is None else self.state.unknown_at_loud_s
        return np.append(self.second, first)[newest], np.append(self.unknown_s, first_unknown)[newest]

    def _settle(self, loud_s: float) -> None:
        """The rest is over: its last quiet second is an anchor."""
        candidate = self.state.candidate
        if candidate is None or candidate.loud_s == loud_s:
            return
        self.state = _anchored(replace(self.state, candidate=None), candidate, CHARGE_MIN * self.scale_ah)

    def _break(self, row: int) -> None:
        """Charge moved that nobody counted."""
        self.broke_at = row
        self.state = replace(self.state, lowest=None, highest=None, leans=(0, 0))

    def _leans(self, row: int) -> tuple[int, int]:
        """The way the charge last crossed a line of either grid, up to this row."""
        first, second = (
            _newest_sign(rows, ways, self.broke_at, row, held)
            for (rows, ways), held in zip(self.crossings, self.state.leans, strict=True)
        )
        return first, second

    def _bridge(self, row: int, before_a: float) -> None:
        """A silence: sleep, or a short hole whose charge can be guessed."""
        gap_s = float(self.samples.gap_s[row] + self.samples.span_s[row])
        counted = self.samples.total[row : row + 2, Sum.OBSERVED_S]
        if gap_s > GAP_LOST_S or counted[1] > counted[0] or math.isnan(before_a):
            return
        after_a = float(self.current[row])
        after = before_a if math.isnan(after_a) else after_a
        strongest_a = max(abs(before_a), abs(after))
        if strongest_a <= QUIET_A:
            return
        gap_h, doubt_a = gap_s / 3600.0, 0.5 * strongest_a
        self.state = replace(
            self.state,
            filled_ah=self.state.filled_ah + 0.5 * (before_a + after) * gap_h,
            filled_moved_ah=self.state.filled_moved_ah + 0.5 * (abs(before_a) + abs(after)) * gap_h,
            filled_s=self.state.filled_s + 3600.0 * gap_h,
            lost_ah2=self.state.lost_ah2 + (doubt_a * gap_h) ** 2,
        )

    def _anchor(self, row: int, loud_s: float) -> None:
        value, total = self.samples.value[row], self.samples.total[row + 1]
        spread_v = float(value[Col.CELL_HIGH_V] - value[Col.CELL_LOW_V])
        state, at_s = self.state, float(self.second[row])
        if state.spread_v is None or at_s - state.spread_s > SPREAD_WINDOW_S:
            state = replace(state, spread_v=None if math.isnan(spread_v) else spread_v, spread_s=at_s)
        moving = state.spread_v is not None and abs(spread_v - state.spread_v) > SPREAD_CHANGE_V
        self.state = state
        if moving:
            return
        # Positive current into the pack lifts the voltage.
        rested_v = float(self.volts[row]) - float(self.current[row]) * self.cell_ohm
        found = self.curve.at(rested_v)
        if found is None:
            self.state = replace(state, off_curve=state.off_curve + int(state.candidate is None))
            return
        soc_pct, sigma_pct = found
        if sigma_pct > ANCHOR_SIGMA_MAX_PCT:
            return
        into, out = float(total[Sum.CHARGE_IN_AH]), float(total[Sum.CHARGE_OUT_AH])
        anchor = Anchor(
            at_s,
            loud_s,
            soc_pct,
            sigma_pct,
            into - out + state.filled_ah,
            into + out + state.filled_moved_ah,
            float(total[Sum.OBSERVED_S]) + state.filled_s,
            float(self.unknown_s[row]),
            float(total[Sum.SAMPLING_A2S2]),
            state.lost_ah2,
            float(self.soc[row]),
            sum(self._leans(row)) / 2.0,
        )
        self.state = replace(self.state, candidate=anchor)


def _anchored(state: RestBandsState, anchor: Anchor, need_ah: float) -> RestBandsState:
    """Pair the anchor with the lowest or highest one since the last swing."""
    bin_ = min(int(anchor.soc_pct * VISIT_BINS / 100.0), VISIT_BINS - 1)
    visits = (*state.visits[:bin_], state.visits[bin_] + 1, *state.visits[bin_ + 1 :])
    state = _apart(replace(state, visits=visits), abs(anchor.soc_pct - anchor.soc_told_pct))
    low, high = state.lowest, state.highest
    if low is None or high is None:
        return replace(state, lowest=anchor, highest=anchor)
    far = max((low, high), key=lambda other: abs(anchor.charge_in_ah - other.charge_in_ah))
    moved_ah = abs(anchor.charge_in_ah - far.charge_in_ah)
    if moved_ah >= need_ah:
        return replace(state, lowest=anchor, highest=anchor, moves=(*state.moves, Move(far, anchor))[-MOVES_KEPT:])
    return replace(
        state,
        lowest=anchor if anchor.charge_in_ah < low.charge_in_ah else low,
        highest=anchor if anchor.charge_in_ah > high.charge_in_ah else high,
        best_ah=max(state.best_ah, moved_ah),
    )


def _apart(state: RestBandsState, apart_pct: float) -> RestBandsState:
    if math.isnan(apart_pct):
        return state
    kept = min(APART_KEPT, state.apart_n / (state.apart_n + 1))
    return replace(state, apart_n=state.apart_n + 1, apart_pct=kept * state.apart_pct + (1.0 - kept) * apart_pct)


def _reading_of(move: Move) -> RestSwing:
    first, last = move.first, move.last
    moved_ah = last.moved_ah - first.moved_ah
    days = (last.at_s - first.at_s) / 86_400.0
    counted = CHARGE_SIGMA_ROOT * math.sqrt(moved_ah) + CHARGE_SIGMA_ROOT
    sampled = 0.5 * math.sqrt(max(0.0, last.sampling_a2s2 - first.sampling_a2s2)) / 3600.0
    unknown = moved_ah * max(0.0, last.unknown_s - first.unknown_s) / max(last.counted_s - first.counted_s, 1.0)
    lost = max(0.0, last.lost_ah2 - first.lost_ah2)
    return as_sent(
        RestSwing(
            int(last.at_s),
            first.soc_pct,
            last.soc_pct,
            last.charge_in_ah - first.charge_in_ah,
            (last.counted_s - first.counted_s) / 3600.0,
            math.hypot(first.sigma_pct, last.sigma_pct),
            math.sqrt(counted**2 + sampled**2 + unknown**2 + lost + (STANDBY_AH_PER_DAY * days) ** 2),
            (first.lean * first.sigma_pct - last.lean * last.sigma_pct) / VOLT_SIGMA_V,
        )
    )


def swing_of(reading: RestSwing) -> Swing:
    return swing_of_charge_in(
        reading.from_soc_pct,
        reading.to_soc_pct,
        reading.charge_in_ah,
        reading.counted_h,
        reading.soc_sigma_pct,
        reading.charge_sigma_ah,
        reading.lean_pct_per_v,
    )


def use_swing(
    state: RestBandsState, swing: Swing, at_s: float, evidence: int, pack: PackFacts | None
) -> RestBandsState:
    """One swing into the filter."""
    if swing.charge_out_ah * (swing.from_soc_pct - swing.to_soc_pct) <= 0.0:
        return replace(state, contrary=state.contrary + 1)
    if state.bands is None:
        capacity_ah, sigma = _prior(state, pack)
        flat = pack is not None and pack.chemistry is Chemistry.LFP
        bands = banded.begin(capacity_ah, sigma, BAND_SIGMA, 1 if flat else banded.BANDS)
        state = replace(state, bands=bands, at_s=at_s)
    assert state.bands is not None
    bands = banded.predict(state.bands, (at_s - state.at_s) / YEAR_S)
    ratio_ah = (swing.charge_out_ah - swing.hours * bands.offset_a) / (swing.from_soc_pct - swing.to_soc_pct) * 100.0
    ratios_ah = (*state.ratios_ah, ratio_ah)[-RESTART_AFTER:]
    after, z2 = banded.take_swing(bands, swing, settled=state.n >= SETTLED_N)
    misfits = state.misfits_in_a_row + 1 if z2 > banded.REJECT_Z2 else 0
    if misfits >= RESTART_AFTER:
        # The pack is not the one the filter knows: begin with what its last swings say.
        fresh = banded.begin(median(ratios_ah), PRIOR_RATED, BAND_SIGMA, bands.bands)
        return replace(state, bands=fresh, at_s=at_s, n=0, misfits_in_a_row=0, restarted=True, evidence=())
    first_s = at_s if state.first_s is None else state.first_s
    rejected = z2 > banded.REJECT_Z2 and state.n >= SETTLED_N
    return replace(
        state,
        bands=after,
        at_s=at_s,
        newest_s=state.newest_s if rejected else at_s,
        n=state.n + (not rejected),
        misfits_in_a_row=misfits,
        ratios_ah=ratios_ah,
        evidence=state.evidence if rejected else (*state.evidence, evidence)[-EVIDENCE_KEPT:],
        first_s=first_s,
        early_ah=after.capacity_ah if at_s - first_s <= EARLY_S else state.early_ah,
    )


def change_ah(state: RestBandsState, at_s: float) -> float | None:
    """Since the first three months: errors of the scale cancel."""
    if state.bands is None or state.first_s is None or at_s - state.first_s <= EARLY_S or state.restarted:
        return None
    return banded.predict(state.bands, (at_s - state.at_s) / YEAR_S).capacity_ah - state.early_ah


def _capacity_told(state: RestBandsState) -> CapacityTold | None:
    """The BMS's value, at most weekly."""
    last_s = state.reported_taken_s
    if state.reported_ah is None or state.reported_s is None:
        return None
    if last_s is not None and state.reported_s - last_s < BMS_EVERY_S:
        return None
    return as_sent(CapacityTold(int(state.reported_s), state.reported_ah))


def _use_told(state: RestBandsState, told: CapacityTold, at_s: float) -> RestBandsState:
    """Where to start from, and later only while we know less than it does."""
    if state.bands is None:
        return replace(state, prior_ah=told.capacity_ah)
    reported_ah = told.capacity_ah
    bands = banded.predict(state.bands, (at_s - state.at_s) / YEAR_S)
    state = replace(state, bands=bands, at_s=max(at_s, state.at_s), reported_taken_s=float(told.at_s))
    if math.sqrt(bands.variance_ah2) <= 0.8 * BMS_SIGMA * bands.capacity_ah:
        return state
    return replace(state, bands=banded.take_direct(bands, reported_ah, BMS_SIGMA * reported_ah))
