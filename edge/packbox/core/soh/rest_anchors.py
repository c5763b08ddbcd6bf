"""Find the anchors: quiet seconds at the end of a rest, where the voltage of the cells tells the state of charge.

In:  samples; a pack with an open-circuit curve.
Out: the state with the anchors found, and the swings between those that have enough charge between them.
Refuses: rests too short, too cold or too hot, voltages off the curve, stretches with lost charge.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.ocv import VOLT_SIGMA_V, Curve
from packbox.core.packs import PackFacts
from packbox.core.sample import Col, Samples, Sum
from packbox.core.soh.method import BALANCING_C, BALANCING_FROM_PCT
from packbox.core.soh.rest_state import CHARGE_MIN, VISIT_BINS, Anchor, RestBandsState, scale_ah, swing_between
from packbox.core.soh.screen import (
    CURRENT_MAX_C,
    QUIET_A,
    STUCK_S,
    UNRATED_AH,
    before_each,
    jump_of,
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
GAP_LOST_S: Final = 600  # longer without a known current: the charge is lost
GAP_SOC_PCT: Final = 3.0  # a silence over which the SoC changed by more was no sleep
MOVING_KMH: Final = 0.5
STEP_KNOWN_V: Final = 0.005  # of the cell voltage: finer steps are within the sigma of the curve
LEAN_SHARE: Final = 0.02  # of the rating: after so much charge one way a cell rests on that side of its curve
OHM_PER_CELL_AH: Final = 0.066  # 1 mOhm for a 66 Ah cell pair: corrects the key-on load while R is not measured
MOVES_KEPT: Final = 2  # of one session, until it ends; each rested for hours
APART_KEPT: Final = 0.95  # of all before, per anchor


def watch(state: RestBandsState, samples: Samples, pack: PackFacts, curve: Curve) -> RestBandsState:
    """How samples are cut into calls does not matter."""
    return _Watch(state, samples, pack, curve).run()


class _Watch:
    """One call of `watch`: columns once, then only the rows where something happens. Holds what changes on the way."""

    def __init__(self, state: RestBandsState, samples: Samples, pack: PackFacts, curve: Curve) -> None:
        assert pack.cells_in_series is not None
        self.state, self.samples, self.curve = state, samples, curve
        self.second = samples.second.astype(np.float64)
        self.current = samples.column(Col.CURRENT_A)
        self.volts = samples.column(Col.VOLTAGE_V) / pack.cells_in_series
        self.temp = samples.column(Col.TEMP_DEGC)
        self.unknown_s = samples.total[1:, Sum.AWAKE_S] - samples.total[1:, Sum.OBSERVED_S]
        soc = samples.column(Col.SOC_PCT)
        self.soc = np.where(np.isnan(soc), samples.column(Col.SOC_SHOWN_PCT), soc)
        self.scale_ah = scale_ah(state, pack)
        self.cell_ohm = OHM_PER_CELL_AH / self.scale_ah
        rated_ah = pack.rated_ah or pack.reference_ah or UNRATED_AH
        self.crossings = _crossings(samples, LEAN_SHARE * rated_ah)
        self.shunted = _shunted(state, self.current, self.volts, samples, BALANCING_C * rated_ah, curve)
        self.broke_at = 0
        self.leans = state.leans
        self.step_v = state.step_v
        self.stuck_n, self.stuck_hour = state.stuck_n, state.stuck_hour
        self.filled_ah, self.filled_moved_ah, self.filled_s = state.filled_ah, state.filled_moved_ah, state.filled_s
        self.lost_ah2 = state.lost_ah2
        self.spread_v, self.spread_s = state.spread_v, state.spread_s
        self.candidate, self.lowest, self.highest = state.candidate, state.lowest, state.highest
        self.moves, self.visits, self.best_ah = state.moves, state.visits, state.best_ah
        self.off_curve, self.apart_n, self.apart_pct = state.off_curve, state.apart_n, state.apart_pct

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
        shunted_ah, shunted_s = self.shunted[-1].tolist()
        return replace(
            state,
            current_a=newest_of(self.current, known, state.current_a),
            soc_pct=newest_of(self.soc, told, state.soc_pct),
            same_since_s=float(same_since_s[-1]),
            volts=newest_of(self.volts, ~np.isnan(self.volts), state.volts),
            loud_s=float(loud_s[-1]),
            unknown_at_loud_s=float(unknown_at_loud[-1]),
            leans=self._leans(len(samples) - 1),
            step_v=self.step_v,
            stuck_n=self.stuck_n,
            stuck_hour=self.stuck_hour,
            shunted_ah=shunted_ah,
            shunted_s=shunted_s,
            filled_ah=self.filled_ah,
            filled_moved_ah=self.filled_moved_ah,
            filled_s=self.filled_s,
            lost_ah2=self.lost_ah2,
            spread_v=self.spread_v,
            spread_s=self.spread_s,
            candidate=self.candidate,
            lowest=self.lowest,
            highest=self.highest,
            moves=self.moves,
            visits=self.visits,
            off_curve=self.off_curve,
            apart_n=self.apart_n,
            apart_pct=self.apart_pct,
            best_ah=self.best_ah,
        )

    def _stuck(self, same_since_s: FloatArray, gap: BoolArray) -> BoolArray:
        """Rows at which the current is the same for long, and the car or the voltage says that it cannot be."""
        long = self.second - same_since_s > STUCK_S
        change_v = np.abs(self.volts - before_each(self.volts, ~np.isnan(self.volts), self.state.volts))
        jump_v, self.step_v = jump_of(change_v, self.step_v)
        jumps = long & ~gap & ~np.isnan(self.current) & (change_v > jump_v)
        if jumps.any():
            hours = np.unique(self.samples.second[jumps] // 3600)
            self.stuck_n += hours.size - int(hours[0] == self.stuck_hour)
            self.stuck_hour = int(hours[-1])
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
        candidate = self.candidate
        if candidate is None or candidate.loud_s == loud_s:
            return
        self.candidate = None
        self._pair(candidate)

    def _break(self, row: int) -> None:
        """Charge moved that nobody counted."""
        self.broke_at = row
        self.lowest = self.highest = None
        self.leans = (0, 0)

    def _leans(self, row: int) -> tuple[int, int]:
        """The way the charge last crossed a line of either grid, up to this row."""
        first, second = (
            _newest_sign(rows, ways, self.broke_at, row, held)
            for (rows, ways), held in zip(self.crossings, self.leans, strict=True)
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
        self.filled_ah += 0.5 * (before_a + after) * gap_h
        self.filled_moved_ah += 0.5 * (abs(before_a) + abs(after)) * gap_h
        self.filled_s += 3600.0 * gap_h
        self.lost_ah2 += (doubt_a * gap_h) ** 2

    def _anchor(self, row: int, loud_s: float) -> None:
        value, total = self.samples.value[row], self.samples.total[row + 1]
        spread_v = float(value[Col.CELL_HIGH_V] - value[Col.CELL_LOW_V])
        at_s = float(self.second[row])
        if self.spread_v is None or at_s - self.spread_s > SPREAD_WINDOW_S:
            self.spread_v, self.spread_s = None if math.isnan(spread_v) else spread_v, at_s
        if self.spread_v is not None and abs(spread_v - self.spread_v) > SPREAD_CHANGE_V:
            return
        # Positive current into the pack lifts the voltage.
        found = self.curve.at(float(self.volts[row]) - float(self.current[row]) * self.cell_ohm)
        if found is None:
            self.off_curve += self.candidate is None
            return
        soc_pct, sigma_pct = found
        if STEP_KNOWN_V < self.step_v < math.inf:  # told in coarse steps
            sigma_pct *= math.hypot(1.0, self.step_v / math.sqrt(12.0) / VOLT_SIGMA_V)
        if sigma_pct > ANCHOR_SIGMA_MAX_PCT:
            return
        into, out = float(total[Sum.CHARGE_IN_AH]), float(total[Sum.CHARGE_OUT_AH])
        shunted_ah, shunted_s = self.shunted[row].tolist()
        self.candidate = Anchor(
            at_s,
            loud_s,
            soc_pct,
            sigma_pct,
            into - out + self.filled_ah - shunted_ah,
            into + out + self.filled_moved_ah - shunted_ah,
            float(total[Sum.OBSERVED_S]) + self.filled_s - shunted_s,
            float(self.unknown_s[row]),
            float(total[Sum.SAMPLING_A2S2]),
            self.lost_ah2,
            float(self.soc[row]),
            sum(self._leans(row)) / 2.0,
            shunted_ah,
        )

    def _pair(self, anchor: Anchor) -> None:
        """Pair the anchor with the lowest or highest one since the last swing."""
        bin_ = min(int(anchor.soc_pct * VISIT_BINS / 100.0), VISIT_BINS - 1)
        self.visits = (*self.visits[:bin_], self.visits[bin_] + 1, *self.visits[bin_ + 1 :])
        self._compare(abs(anchor.soc_pct - anchor.soc_told_pct))
        low, high = self.lowest, self.highest
        if low is None or high is None:
            self.lowest = self.highest = anchor
            return
        far = max((low, high), key=lambda other: abs(anchor.charge_in_ah - other.charge_in_ah))
        moved_ah = abs(anchor.charge_in_ah - far.charge_in_ah)
        if moved_ah >= CHARGE_MIN * self.scale_ah:
            self.lowest = self.highest = anchor
            if anchor.unknown_s - far.unknown_s <= GAP_LOST_S:
                self.moves = (*self.moves, swing_between(far, anchor))[-MOVES_KEPT:]
            return
        self.lowest = anchor if anchor.charge_in_ah < low.charge_in_ah else low
        self.highest = anchor if anchor.charge_in_ah > high.charge_in_ah else high
        self.best_ah = max(self.best_ah, moved_ah)

    def _compare(self, apart_pct: float) -> None:
        """How far the rest voltages and the car's own SoC are apart."""
        if math.isnan(apart_pct):
            return
        kept = min(APART_KEPT, self.apart_n / (self.apart_n + 1))
        self.apart_n += 1
        self.apart_pct = kept * self.apart_pct + (1.0 - kept) * apart_pct


def _shunted(
    state: RestBandsState, current: FloatArray, volts: FloatArray, samples: Samples, trickle_a: float, curve: Curve
) -> FloatArray:
    """Charge and seconds up to each row, shape (n, 2), that went through the balancing resistors of full cells."""
    before = np.array([[state.shunted_ah, state.shunted_s]])
    rows = (current > 0.0) & (current < trickle_a) & (volts >= curve.volts_at(BALANCING_FROM_PCT))
    if not rows.any():
        return np.broadcast_to(before, (len(samples), 2))
    steps = np.diff(samples.total[:, (Sum.CHARGE_IN_AH, Sum.OBSERVED_S)], axis=0)
    steps[~rows] = 0.0
    return np.cumsum(np.concatenate((before, steps)), axis=0)[1:]


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
