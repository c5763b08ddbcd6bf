"""Capacity from a charge over nearly the whole scale: from 10 % or less to 95 % or more.

In:  samples and ends of sessions.
Out: an estimate by the newest such charge, taken in one go or in several with no drive between.
Such a charge needs no model, but its SoC is the car's, so ever more of them make it no surer.
Refuses: charges in the cold, with lost charge, or across a break of the clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from packbox.core.packs import PackFacts
from packbox.core.sample import Col, Samples, Sum
from packbox.core.soh.method import (
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

START_MAX_PCT: Final = 10.0
END_MIN_PCT: Final = 95.0
BACK_PCT: Final = 1.5  # a fall of the SoC by more ends the charge: somebody drove
COLD_DEGC: Final = 5.0  # below it a pack gives less than it holds (facts/soh.md §7)
SIGMA: Final = 0.025  # of the capacity
UNKNOWN_MAX_S: Final = 600.0
SILENT_MAX_A: Final = 1.5
BALANCING_C: Final = 0.02  # slower charge is shunted past full cells (facts/soh.md §7)


class Mark(NamedTuple):
    """A step of the SoC."""

    soc_pct: float
    charge_in_ah: float  # net
    unknown_s: float


@dataclass(frozen=True, slots=True)
class FullSpanState:
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
        rated_ah = None if pack is None else pack.rated_ah or pack.reference_ah
        bms = samples.column(Col.SOC_PCT)
        soc = np.where(np.isnan(bms), samples.column(Col.SOC_SHOWN_PCT), bms)
        current, cold = samples.column(Col.CURRENT_A), samples.column(Col.TEMP_DEGC) < COLD_DEGC
        told = np.flatnonzero(~np.isnan(soc))
        before = np.concatenate(([np.nan if state.soc_pct is None else state.soc_pct], soc[told]))[:-1]
        happens = samples.broken | (samples.gap_s > UNKNOWN_MAX_S) | cold
        trickle = (current > 0.0) & (current < BALANCING_C * (rated_ah or 0.0))  # through the balancing resistors
        happens[told[(soc[told] != before) & ~np.isnan(before) & ~trickle[told]]] = True
        for row in np.flatnonzero(happens).tolist():
            if samples.broken[row] or cold[row] or _flowing(state, samples, row):
                if state.low is not None:
                    state = replace(state, low=None, high=None)
            elif not math.isnan(soc[row]):
                total = samples.total[row + 1]
                net_ah = float(total[Sum.CHARGE_IN_AH] - total[Sum.CHARGE_OUT_AH])
                unknown_s = float(total[Sum.AWAKE_S] - total[Sum.OBSERVED_S])
                state = _step(state, Mark(float(soc[row]), net_ah, unknown_s))
        flowing = np.flatnonzero(~np.isnan(current))
        return replace(
            state,
            soc_pct=float(soc[told[-1]]) if told.size else state.soc_pct,
            current_a=float(current[flowing[-1]]) if flowing.size else state.current_a,
        )

    def take(self, state: FullSpanState, pack: PackFacts | None) -> tuple[FullSpanState, tuple[SpanCharged, ...]]:
        del pack
        if state.done is None:
            return state, ()
        low, high = state.done
        state = replace(state, done=None)
        moved_ah = high.charge_in_ah - low.charge_in_ah
        if moved_ah <= 0.0 or high.unknown_s - low.unknown_s > UNKNOWN_MAX_S:
            return state, ()
        return state, (as_sent(SpanCharged(moved_ah, high.soc_pct - low.soc_pct)),)

    def use(self, state: FullSpanState, reading: SpanCharged, end: SessionEnd, pack: PackFacts | None) -> FullSpanState:
        del pack
        return replace(
            state,
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
    return replace(state, low=None, high=None, done=before.done)


def _flowing(state: FullSpanState, samples: Samples, row: int) -> bool:
    """Charge moved in a silence before this row."""
    if samples.gap_s[row] <= UNKNOWN_MAX_S:
        return False
    before = samples.column(Col.CURRENT_A)[:row]
    known = before[~np.isnan(before)]
    current_a = float(known[-1]) if known.size else state.current_a
    return current_a is not None and abs(current_a) > SILENT_MAX_A


def _step(state: FullSpanState, mark: Mark) -> FullSpanState:
    if state.low is not None and state.high is not None and mark.soc_pct < state.high.soc_pct - BACK_PCT:
        state = replace(state, low=None, high=None)
    if mark.soc_pct <= START_MAX_PCT and (state.low is None or mark.soc_pct <= state.low.soc_pct):
        return replace(state, low=mark, high=None)
    if state.low is None or (state.high is not None and mark.soc_pct <= state.high.soc_pct):
        return state
    done = (state.low, mark) if mark.soc_pct >= END_MIN_PCT else state.done
    return replace(state, high=mark, done=done)
