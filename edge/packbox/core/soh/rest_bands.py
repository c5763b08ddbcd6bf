"""Capacity from charge moved between rests, where the voltage of the cells tells the state of charge.

In:  samples and ends of sessions; a pack with an open-circuit curve.
Out: an estimate from the filter of `banded`, fed with the swings between the anchors of `rest_anchors`.
Refuses: any value at all while the swings contradict the current's sign or the curve.

Flat chemistries (LFP) have one band and few anchors: only where the curve is steep enough.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median
from typing import Final, TypeAlias

import numpy as np

from packbox.core.ocv import curve_of
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.sample import Col, Samples
from packbox.core.soh import banded, rest_anchors
from packbox.core.soh.banded import Swing, swing_of_charge_in
from packbox.core.soh.method import EVIDENCE_KEPT, RATED_NOW, RATED_SIGMA, YEAR_S, Basis, Estimate, MethodId, SessionEnd
from packbox.core.soh.reading import CapacityTold, RestsSeen, RestSwing, as_sent
from packbox.core.soh.rest_anchors import REST_S
from packbox.core.soh.rest_state import CHARGE_MIN, VISIT_BINS, RestBandsState, scale_ah
from packbox.core.soh.screen import UNRATED_AH

PRIOR_BMS: Final = 0.03  # of the capacity, one sigma: the BMS's own value
BAND_SIGMA: Final = 0.03  # with a curve measured on that cell
CURVE_SIGMA: Final = 0.01
BMS_SIGMA: Final = 0.025
BMS_EVERY_S: Final = 7 * 86_400.0
SETTLED_N: Final = 10
RESTART_AFTER: Final = 8
CONTRARY_MIN: Final = 3  # swings whose charge ran against the voltage, before that means anything
EARLY_S: Final = 90 * 86_400.0  # what later changes are counted from
APART_USUAL_PCT: Final = 5.0  # 0.4 to 3.3 on the simulated cars; a cell too few in the voltage makes 9
APART_MAX_PCT: Final = 15.0  # hidden reserves and a BMS's own error together stay below
VISIT_SHARE: Final = 0.02


RestReading: TypeAlias = RestSwing | RestsSeen | CapacityTold


class RestBands:
    id: Final = MethodId("rest_bands/1")

    def start(self) -> RestBandsState:
        return RestBandsState()

    def watch(self, state: RestBandsState, samples: Samples, pack: PackFacts | None) -> RestBandsState:
        state = _heard(state, samples)
        curve = None if pack is None else curve_of(pack.ocv)
        if pack is None or curve is None or pack.cells_in_series is None:
            return state
        return rest_anchors.watch(state, samples, pack, curve)

    def take(self, state: RestBandsState, pack: PackFacts | None) -> tuple[RestBandsState, tuple[RestReading, ...]]:
        del pack
        readings: list[RestReading] = [*state.moves]
        told = _capacity_told(state)
        if told is not None and state.bands is None and readings:
            readings.insert(0, told)  # what to start from
        if told is not None and (state.bands is not None or readings):
            readings.append(told)
        seen = as_sent(RestsSeen(state.visits, state.off_curve, state.stuck_n, state.apart_n, state.apart_pct))
        if seen != state.seen:
            readings.append(seen)
        return replace(state, moves=()) if state.moves else state, tuple(readings)

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
            first_ah=None if state.restarted else state.early_ah,
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
        need_ah = CHARGE_MIN * scale_ah(state, pack)
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


def _prior(state: RestBandsState, pack: PackFacts | None) -> tuple[float, float]:
    """Capacity to start from, and its sigma as a share."""
    assert pack is not None
    if state.prior_ah is not None:
        return state.prior_ah, PRIOR_BMS
    if pack.capacity_start_ah is not None:
        return pack.capacity_start_ah, PRIOR_BMS
    return RATED_NOW * (pack.rated_ah or pack.reference_ah or UNRATED_AH), RATED_SIGMA


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
        fresh = banded.begin(median(ratios_ah), RATED_SIGMA, BAND_SIGMA, bands.bands)
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
