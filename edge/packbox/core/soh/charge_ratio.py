"""Capacity as charge moved over the change of state of charge that the car's battery management saw, or displays.

In:  samples (charge is counted at the frames' native rate) and the ends of sessions.
Out: an estimate from a Kalman filter on one number, the capacity, with one reading per unbroken leg.
A leg runs from one step of the SoC to another in the same direction, because only at a step is the SoC known
better than its resolution (facts/soh.md §7). Refuses: legs that moved less than `CHARGE_MIN` of the capacity,
legs with long unknown current, readings that contradict the filter.

The car counts charge with a sensor of its own and divides by a capacity of its own, so the basis is `bms-soc`;
the floor for sensor gain is added by `weigh`, not here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

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
from packbox.core.soh.reading import SocLeg, as_sent
from packbox.core.soh.screen import before_each, newest_of

CHARGE_MIN: Final = 0.20  # of the capacity; chosen on charge, never on the noisy SoC difference (facts/soh.md §7)
SOC_CHANGE_MIN_PCT: Final = 10.0  # below this the SoC steps alone make the reading worthless
JUMP_PCT: Final = 2.0  # a step of SoC that no charge explains: the BMS corrected itself (facts/soh.md §7)
JUMP_STEPS: Final = 1.2  # and more than one step of a SoC told coarsely
STEP_MAX_PCT: Final = 5.0  # nobody tells it more coarsely
UNKNOWN_CURRENT_MAX_S: Final = 600.0
SLEEP_MAX_A: Final = 1.5  # below this before a silence the car fell asleep and its charge stays
ANCHOR_PCT: Final = 0.5  # what a BMS SoC is worth at a step, each end
STEP_SHARE: Final = 0.06  # of the SoC step, left over after counting edge to edge (facts/soh.md §7)
CHARGE_SIGMA_ROOT: Final = 0.02  # sigma of counted charge: 0.02 * sqrt(Ah) + 0.02 Ah (facts/soh.md §6)
REJECT_Z2: Final = 25.0
DOUBT_Z2: Final = 6.0
SETTLED_N: Final = 10  # readings before one can be rejected
RESTART_AFTER: Final = 8  # rejected in a row: the pack is not the one the filter knows (facts/soh.md §13)
SHOWN_SCALE: Final = 0.04  # of the capacity: displayed SoC hides reserves at both ends (facts/soh.md §6)
SHOWN_OFFSET: Final = 0.03  # 0.3 A of the sensor over a charge of 10 A: what is displayed is pulled straight at rest
LEGS_KEPT: Final = 2  # of one session, until it ends; only those long enough to be read
_FALLBACK_AH: Final = 50.0  # only scales the jump test while no capacity at all is known

Rows: TypeAlias = npt.NDArray[np.intp]


class Edge(NamedTuple):
    """A second in which the SoC stepped. Saved without names: it is many."""

    soc_pct: float
    step_pct: float
    charge_in_ah: float  # net
    observed_s: float
    awake_s: float
    sampling_a2s2: float
    lost_ah2: float  # variance of charge lost in silences so far


class Leg(NamedTuple):
    """From the first to the last step in one direction."""

    first: Edge
    last: Edge

    @property
    def charge_ah(self) -> float:
        return self.last.charge_in_ah - self.first.charge_in_ah

    @property
    def soc_change_pct(self) -> float:
        return self.last.soc_pct - self.first.soc_pct

    @property
    def observed_s(self) -> float:
        return self.last.observed_s - self.first.observed_s

    @property
    def unknown_s(self) -> float:
        """Awake, yet no current known."""
        return max(0.0, self.last.awake_s - self.first.awake_s - self.observed_s)

    def charge_sigma_ah(self) -> float:
        charge_ah = abs(self.charge_ah)
        counted = CHARGE_SIGMA_ROOT * math.sqrt(charge_ah) + CHARGE_SIGMA_ROOT
        sampled = 0.5 * math.sqrt(self.last.sampling_a2s2 - self.first.sampling_a2s2) / 3600.0
        missing = charge_ah * self.unknown_s / max(self.observed_s, 1.0)
        return math.sqrt(counted**2 + sampled**2 + missing**2 + self.last.lost_ah2 - self.first.lost_ah2)

    def soc_sigma_pct(self) -> float:
        steps = (STEP_SHARE * self.first.step_pct) ** 2 + (STEP_SHARE * self.last.step_pct) ** 2
        return math.sqrt(2.0 * ANCHOR_PCT**2 + steps)


@dataclass(frozen=True, slots=True, eq=False)
class ChargeRatioState:
    soc_pct: float | None = None  # newest
    soc_net_ah: float = 0.0  # net charge total at that time
    chained: bool = False  # no hole since then: the next step of the SoC has a time
    current_a: float | None = None  # newest
    rise: Leg | None = None
    fall: Leg | None = None
    lost_ah2: float = 0.0
    legs: tuple[Leg, ...] = ()  # broken off since the last session ended
    best_ah: float = 0.0  # largest charge of a leg that was still too small
    bms_seen: bool = False  # the BMS told its own SoC: from then on the displayed one is not looked at
    step_pct: float = math.inf  # smallest of the SoC so far
    # What was concluded
    capacity_ah: float | None = None
    variance_ah2: float = 0.0
    at_s: float = 0.0  # of the newest accepted reading
    n: int = 0
    rejected_in_a_row: int = 0
    restarted: bool = False
    shown: bool = True  # the newest reading was of the displayed SoC
    evidence: tuple[int, ...] = ()


class ChargeRatio:
    id: Final = MethodId("charge_ratio/1")

    def start(self) -> ChargeRatioState:
        return ChargeRatioState()

    def watch(self, state: ChargeRatioState, samples: Samples, pack: PackFacts | None) -> ChargeRatioState:
        return _Watch(state, samples, pack).run()

    def take(self, state: ChargeRatioState, pack: PackFacts | None) -> tuple[ChargeRatioState, tuple[SocLeg, ...]]:
        scale_ah, best_ah = _scale_ah(state, pack), state.best_ah
        readings: list[SocLeg] = []
        for leg in (*state.legs, _longer(state.rise, state.fall)):
            if leg is None:
                continue
            if not _long_enough(scale_ah, leg):
                best_ah = max(best_ah, abs(leg.charge_ah))
            elif leg.unknown_s <= UNKNOWN_CURRENT_MAX_S and leg.charge_ah * leg.soc_change_pct > 0:
                readings.append(_reading_of(leg, bms=state.bms_seen))
        return replace(state, legs=(), rise=None, fall=None, best_ah=best_ah), tuple(readings)

    def use(
        self, state: ChargeRatioState, reading: SocLeg, end: SessionEnd, pack: PackFacts | None
    ) -> ChargeRatioState:
        del pack
        return _used(state, reading, end)

    def estimate(self, state: ChargeRatioState, at_s: float, pack: PackFacts | None) -> Estimate:
        if state.capacity_ah is None:
            if pack is None or pack.reference_ah is None:
                need = f"{SOC_CHANGE_MIN_PCT:g} % of the SoC scale"
            else:
                need = f"{CHARGE_MIN * pack.reference_ah:.1f} Ah"
            why = f"no charge or drive has moved {need} in one go yet; the most was {state.best_ah:.1f} Ah"
            return Estimate(self.id, Basis.BMS_SOC, why=why)
        capacity_ah, variance_ah2 = _predicted(state, at_s)
        scale_ah = math.hypot(SHOWN_SCALE, SHOWN_OFFSET) * capacity_ah if state.shown else 0.0
        return Estimate(
            self.id,
            Basis.BMS_SOC,
            capacity_ah,
            math.hypot(math.sqrt(variance_ah2), scale_ah),
            state.n,
            state.evidence,
            state.at_s,
            state.restarted and state.n < SETTLED_N,
        )


def forget(state: ChargeRatioState, before: ChargeRatioState) -> ChargeRatioState:
    """False charge was counted since `before`: what was open then or ended meanwhile is no leg."""
    return replace(state, chained=False, rise=None, fall=None, legs=before.legs)


def _soc(state: ChargeRatioState, samples: Samples) -> tuple[FloatArray, BoolArray]:
    """The SoC to count between, and from which row on it is the BMS's own."""
    bms = samples.column(Col.SOC_PCT)
    bms_seen = np.logical_or.accumulate(~np.isnan(bms)) | state.bms_seen
    return np.where(bms_seen, bms, samples.column(Col.SOC_SHOWN_PCT)), bms_seen


def _scale_ah(state: ChargeRatioState, pack: PackFacts | None) -> float:
    if state.capacity_ah is not None:
        return state.capacity_ah
    return pack.reference_ah if pack is not None and pack.reference_ah is not None else _FALLBACK_AH


def _long_enough(scale_ah: float, leg: Leg) -> bool:
    return abs(leg.charge_ah) >= CHARGE_MIN * scale_ah and abs(leg.soc_change_pct) >= SOC_CHANGE_MIN_PCT


class _Watch:
    """One call of `watch`: columns once, then only the rows where something happens. Holds what changes on the way."""

    def __init__(self, state: ChargeRatioState, samples: Samples, pack: PackFacts | None) -> None:
        self.state, self.samples, self.pack = state, samples, pack
        self.scale_ah = _scale_ah(state, pack)
        self.soc, self.bms_seen = _soc(state, samples)
        self.current = samples.column(Col.CURRENT_A)
        self.net_ah = samples.total[1:, Sum.CHARGE_IN_AH] - samples.total[1:, Sum.CHARGE_OUT_AH]
        self.told = np.flatnonzero(~np.isnan(self.soc))
        self.soc_pct, self.chained = state.soc_pct, state.chained
        self.step_pct = state.step_pct
        self.rise, self.fall, self.legs = state.rise, state.fall, state.legs
        self.lost_ah2, self.best_ah = state.lost_ah2, state.best_ah

    def run(self) -> ChargeRatioState:
        samples, state, told = self.samples, self.state, self.told
        jump = np.zeros(len(samples), np.bool_)
        soc_net_ah = state.soc_net_ah
        if told.size:
            soc, net_ah = self.soc[told], self.net_ah[told]
            before = np.concatenate(([soc[0] if state.soc_pct is None else state.soc_pct], soc[:-1]))
            before_ah = np.concatenate(([net_ah[0] if state.soc_pct is None else state.soc_net_ah], net_ah[:-1]))
            change = soc - before
            unexplained = np.abs(change - (net_ah - before_ah) * 100.0 / self.scale_ah)
            jump[told] = unexplained > self._jump_pct(np.abs(change))
            soc_net_ah = float(net_ah[-1])
        known = ~np.isnan(self.current)
        before_a = before_each(self.current, known, state.current_a)
        broken = jump | samples.broken
        holes = np.flatnonzero(broken | (samples.gap_s > 0)).tolist()
        for low, high in pairwise(sorted({0, *holes, len(samples)})):
            if holes and low == holes[0]:
                holes.pop(0)
                self._across(low, float(before_a[low]), broken=bool(broken[low]))
            self._along(low, high)
        return replace(
            state,
            soc_pct=self.soc_pct,
            soc_net_ah=soc_net_ah,
            chained=self.chained,
            current_a=newest_of(self.current, known, state.current_a),
            rise=self.rise,
            fall=self.fall,
            lost_ah2=self.lost_ah2,
            legs=self.legs,
            best_ah=self.best_ah,
            bms_seen=bool(self.bms_seen[-1]),
            step_pct=self.step_pct,
        )

    def _jump_pct(self, change_pct: FloatArray) -> FloatArray | float:
        """What is a jump, by the smallest step of the SoC seen up to each row."""
        if self.step_pct * JUMP_STEPS <= JUMP_PCT:
            return JUMP_PCT
        steps = np.where(change_pct > 0.0, change_pct, math.inf)
        smallest = np.minimum.accumulate(np.minimum(steps, self.step_pct))
        self.step_pct = float(smallest[-1])
        return np.where(smallest <= STEP_MAX_PCT, np.maximum(JUMP_PCT, JUMP_STEPS * smallest), JUMP_PCT)

    def _across(self, row: int, before_a: float, *, broken: bool) -> None:
        """Step over a hole before this row: go on with more doubt, or end the leg."""
        self.chained = False
        gap_s = float(self.samples.gap_s[row])
        flowing_a = abs(before_a) if abs(before_a) > SLEEP_MAX_A else 0.0
        if not broken and not (flowing_a and gap_s > UNKNOWN_CURRENT_MAX_S):
            # A step of the SoC while nobody looked has no time: do not take it for an edge.
            self.lost_ah2 += (flowing_a * gap_s / 3600.0) ** 2
            return
        leg = _longer(self.rise, self.fall)
        self.rise = self.fall = None
        if leg is None:
            return
        if _long_enough(self.scale_ah, leg):
            self.legs = (*self.legs, leg)[-LEGS_KEPT:]
        else:
            self.best_ah = max(self.best_ah, abs(leg.charge_ah))

    def _along(self, low: int, high: int) -> None:
        """Find the steps of the SoC in rows without a hole."""
        first, end = np.searchsorted(self.told, (low, high)).tolist()
        if first == end:
            return
        rows = self.told[first:end]
        soc = self.soc[rows]
        before = self.soc_pct if self.chained and self.soc_pct is not None else soc[0]
        step = soc - np.concatenate(([before], soc[:-1]))
        self.soc_pct, self.chained = float(soc[-1]), True
        current = self.current[rows]
        trickle = (current > 0.0) & (current < BALANCING_C * self.scale_ah) & (soc >= BALANCING_FROM_PCT)
        self.rise = self._leg(self.rise, rows, step, np.flatnonzero((step > 0.0) & ~trickle))
        self.fall = self._leg(self.fall, rows, step, np.flatnonzero(step < 0.0))

    def _leg(self, old: Leg | None, rows: Rows, step: FloatArray, edges: Rows) -> Leg | None:
        if not edges.size:
            return old
        first, last = int(edges[0]), int(edges[-1])
        begin = self._edge(int(rows[first]), float(step[first])) if old is None else old.first
        return Leg(begin, self._edge(int(rows[last]), float(step[last])))

    def _edge(self, row: int, step_pct: float) -> Edge:
        total = self.samples.total[row + 1]
        return Edge(
            float(self.soc[row]),
            abs(step_pct),
            float(self.net_ah[row]),
            float(total[Sum.OBSERVED_S]),
            float(total[Sum.AWAKE_S]),
            float(total[Sum.SAMPLING_A2S2]),
            self.lost_ah2,
        )


def _longer(rise: Leg | None, fall: Leg | None) -> Leg | None:
    legs = [leg for leg in (rise, fall) if leg is not None]
    return max(legs, key=lambda leg: abs(leg.charge_ah), default=None)


def _predicted(state: ChargeRatioState, at_s: float) -> tuple[float, float]:
    """Capacity and variance carried to a later time: packs age."""
    assert state.capacity_ah is not None
    years = max(0.0, at_s - state.at_s) / YEAR_S
    kept = math.exp(-DRIFT_PER_YEAR * years)
    capacity_ah = state.capacity_ah * kept
    return capacity_ah, state.variance_ah2 * kept**2 + (DRIFT_SIGMA_PER_ROOT_YEAR * capacity_ah) ** 2 * years


def _reading_of(leg: Leg, *, bms: bool) -> SocLeg:
    sigmas = leg.charge_sigma_ah(), leg.soc_sigma_pct()
    return as_sent(SocLeg(abs(leg.charge_ah), abs(leg.soc_change_pct), *sigmas, bms))


def _used(state: ChargeRatioState, leg: SocLeg, end: SessionEnd) -> ChargeRatioState:
    """One reading into the filter: charge = capacity x change of SoC."""
    state = replace(state, shown=not leg.bms)
    charge_ah, share = leg.charge_ah, leg.soc_change_pct / 100.0
    charge_var, share_var = leg.charge_sigma_ah**2, (leg.soc_sigma_pct / 100.0) ** 2
    evidence = (*(e for e in state.evidence if e != end.number), end.number)[-EVIDENCE_KEPT:]
    if state.capacity_ah is None:
        capacity_ah = charge_ah / share
        variance_ah2 = (charge_var + capacity_ah**2 * share_var) / share**2
        return replace(
            state, capacity_ah=capacity_ah, variance_ah2=variance_ah2, at_s=float(end.at_s), n=1, evidence=evidence
        )
    capacity_ah, variance_ah2 = _predicted(state, end.at_s)
    residual_ah = charge_ah - capacity_ah * share
    noise = charge_var + capacity_ah**2 * share_var
    z2 = residual_ah**2 / (variance_ah2 * share**2 + noise)
    if z2 > REJECT_Z2 and state.n >= SETTLED_N:
        if state.rejected_in_a_row + 1 >= RESTART_AFTER:
            return _used(replace(state, capacity_ah=None, restarted=True, rejected_in_a_row=0, evidence=()), leg, end)
        return replace(state, rejected_in_a_row=state.rejected_in_a_row + 1)
    if z2 > DOUBT_Z2:
        noise *= z2 / DOUBT_Z2
    gain = variance_ah2 * share / (variance_ah2 * share**2 + noise)
    return replace(
        state,
        capacity_ah=capacity_ah + gain * residual_ah,
        variance_ah2=variance_ah2 * (1.0 - gain * share),
        at_s=float(end.at_s),
        n=state.n + 1,
        rejected_in_a_row=0,
        evidence=evidence,
    )
