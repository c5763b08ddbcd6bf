"""Capacity from a charge over nearly the whole scale: from 10 % or less to 95 % or more.

In:  samples and ends of sessions.
Out: an estimate by the newest such charge, taken in one go or in several with no drive between.
Such a charge needs no model, but its SoC is the car's, so ever more of them make it no surer.
Refuses: charges in the cold, with lost charge, or across a break of the clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from packbox.core.frames import BoolArray, FloatArray
from packbox.core.packs import PackFacts
from packbox.core.sample import Col, Samples, Sum
from packbox.core.soh.method import (
    BALANCING_C,
    BALANCING_FROM_PCT,
    DRIFT_PER_YEAR,
    DRIFT_SIGMA_PER_ROOT_YEAR,
    EVIDENCE_KEPT,
    YEAR_S,
    Basis,
    Estimate,
    MethodId,
    SessionEnd,
)
from packbox.core.soh.reading import SpanCharged, as_sent
from packbox.core.soh.screen import before_each, newest_of

START_MAX_PCT: Final = 10.0
END_MIN_PCT: Final = 95.0
BACK_PCT: Final = 1.5  # a fall of the SoC by more ends the charge: somebody drove
COLD_DEGC: Final = 5.0  # below it a pack gives less than it holds (facts/soh.md §7)
SIGMA: Final = 0.025  # of the capacity
UNKNOWN_MAX_S: Final = 600.0
SILENT_MAX_A: Final = 1.5


class Mark(NamedTuple):
    """A step of the SoC."""

    soc_pct: float
    charge_in_ah: float  # net
    unknown_s: float


class FullSpanState(NamedTuple):
    """Saved without names: it is written with every commit."""

    soc_pct: float | None = None
    current_a: float | None = None
    low: Mark | None = None
    high: Mark | None = None
    done: tuple[Mark, Mark] | None = None
    # What was concluded
    capacity_ah: float | None = None
    at_s: float = 0.0
    n: int = 0
    evidence: tuple[int, ...] = ()


class FullSpan:
    id: Final = MethodId("full_span/1")

    def start(self) -> FullSpanState:
        return FullSpanState()

    def watch(self, state: FullSpanState, samples: Samples, pack: PackFacts | None) -> FullSpanState:
        bms = samples.column(Col.SOC_PCT)
        soc = np.where(np.isnan(bms), samples.column(Col.SOC_SHOWN_PCT), bms)
        known = ~np.isnan(soc)
        current = samples.column(Col.CURRENT_A)
        heard = _Marks(state.low, state.high, state.done)
        if state.low is not None or (soc <= START_MAX_PCT).any():
            rated_ah = None if pack is None else pack.rated_ah or pack.reference_ah
            trickle = (current > 0.0) & (current < BALANCING_C * (rated_ah or 0.0)) & (soc >= BALANCING_FROM_PCT)
            stepped = known & (soc != before_each(soc, known, state.soc_pct)) & ~trickle
            heard.watch(samples, soc, stepped, state.current_a)
        return state._replace(
            soc_pct=newest_of(soc, known, state.soc_pct),
            current_a=newest_of(current, ~np.isnan(current), state.current_a),
            low=heard.low,
            high=heard.high,
            done=heard.done,
        )

    def take(self, state: FullSpanState, pack: PackFacts | None) -> tuple[FullSpanState, tuple[SpanCharged, ...]]:
        del pack
        if state.done is None:
            return state, ()
        low, high = state.done
        state = state._replace(done=None)
        moved_ah = high.charge_in_ah - low.charge_in_ah
        if moved_ah <= 0.0 or high.unknown_s - low.unknown_s > UNKNOWN_MAX_S:
            return state, ()
        return state, (as_sent(SpanCharged(moved_ah, high.soc_pct - low.soc_pct)),)

    def use(self, state: FullSpanState, reading: SpanCharged, end: SessionEnd, pack: PackFacts | None) -> FullSpanState:
        del pack
        return state._replace(
            capacity_ah=100.0 * reading.charge_ah / reading.soc_change_pct,
            at_s=float(end.at_s),
            n=state.n + 1,
            evidence=(*state.evidence, end.number)[-EVIDENCE_KEPT:],
        )

    def estimate(self, state: FullSpanState, at_s: float, pack: PackFacts | None) -> Estimate:
        del pack
        if state.capacity_ah is None:
            why = f"no charge from below {START_MAX_PCT:g} % to above {END_MIN_PCT:g} % yet"
            return Estimate(self.id, Basis.BMS_SOC, why=why)
        years = max(0.0, at_s - state.at_s) / YEAR_S
        capacity_ah = state.capacity_ah * math.exp(-DRIFT_PER_YEAR * years)
        sigma_ah = capacity_ah * math.hypot(SIGMA, DRIFT_SIGMA_PER_ROOT_YEAR * math.sqrt(years))
        return Estimate(self.id, Basis.BMS_SOC, capacity_ah, sigma_ah, state.n, state.evidence, state.at_s)


def forget(state: FullSpanState, before: FullSpanState) -> FullSpanState:
    """False charge was counted since `before`: what was open then or ended meanwhile is no charge."""
    return state._replace(low=None, high=None, done=before.done)


@dataclass(slots=True)
class _Marks:
    """The ends of the charge on their way through one call of `watch`."""

    low: Mark | None
    high: Mark | None
    done: tuple[Mark, Mark] | None

    def watch(self, samples: Samples, soc: FloatArray, stepped: BoolArray, current_a: float | None) -> None:
        current = samples.column(Col.CURRENT_A)
        silent = samples.gap_s > UNKNOWN_MAX_S
        flowing = np.abs(before_each(current, ~np.isnan(current), current_a)) > SILENT_MAX_A
        void = samples.broken | (samples.column(Col.TEMP_DEGC) < COLD_DEGC) | (silent & flowing)
        for row in np.flatnonzero(void | stepped | (silent & ~np.isnan(soc))).tolist():
            if void[row]:
                self.low = self.high = None
            else:
                total = samples.total[row + 1]
                net_ah = float(total[Sum.CHARGE_IN_AH] - total[Sum.CHARGE_OUT_AH])
                self._step(Mark(float(soc[row]), net_ah, float(total[Sum.AWAKE_S] - total[Sum.OBSERVED_S])))

    def _step(self, mark: Mark) -> None:
        if self.low is not None and self.high is not None and mark.soc_pct < self.high.soc_pct - BACK_PCT:
            self.low = self.high = None
        if mark.soc_pct <= START_MAX_PCT and (self.low is None or mark.soc_pct <= self.low.soc_pct):
            self.low, self.high = mark, None
        elif self.low is not None and (self.high is None or mark.soc_pct > self.high.soc_pct):
            self.high = mark
            if mark.soc_pct >= END_MIN_PCT:
                self.done = self.low, mark
