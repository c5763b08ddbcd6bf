"""Energy of a full pack by the car's own count of what is left: kWh, or gids. Beside the capacity, never in it.

In:  samples in which the car tells energy and SoC together, and the ends of sessions.
Out: `EnergyFull`: the energy at 100 % SoC with its sigma, or why there is none.
The count is zero before the SoC is (a real Leaf: gids = 2.75 per % - 31), so that a quotient of the two would change
with the SoC: a filter follows the energy at both ends of the scale instead, as packs age.
Refuses: a pack below `COLD_DEGC`, which gives less than it holds; the lowest part of the scale, where cars bend it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from packbox.core.sample import Col, Samples
from packbox.core.soh.method import (
    DRIFT_PER_YEAR,
    DRIFT_SIGMA_PER_ROOT_YEAR,
    EVIDENCE_KEPT,
    YEAR_S,
    MethodId,
    SessionEnd,
)
from packbox.core.soh.reading import EnergyLeft, as_sent

ID: Final = MethodId("energy_series/1")

GID_KWH: Final = 0.07875  # middle of the 77.5 to 80 Wh that a gid is said to be (facts/soh.md §3)
SCALE_SIGMA: Final = 0.025  # of the energy: the car's own opinion is biased and slow (facts/soh.md §6)
GID_SIGMA: Final = 0.016  # and by so much a gid may be another
SOC_MIN_PCT: Final = 30.0  # a real Leaf's gids follow a line from there up
COLD_DEGC: Final = 5.0
SPAN_MIN_PCT: Final = 5.0  # within less of the SoC a second pair of one session tells nothing new
READ_SIGMA: Final = 0.015  # of the full energy: rounding of both, and that they are told at different instants
EMPTY_SIGMA: Final = 0.10  # of the full energy: what the count may say at 0 % SoC, either way
EMPTY_MAX: Final = 0.4  # of it: more is no reserve, but another quantity
EMPTY_DRIFT: Final = 0.01  # of the full energy a root year
DOUBT_Z2: Final = 6.0
REJECT_Z2: Final = 25.0
SETTLED_N: Final = 10  # readings before one can be rejected
RESTART_AFTER: Final = 8  # rejected in a row: the car counts otherwise now


class Pair(NamedTuple):
    """What the car told in one second."""

    energy_left_kwh: float
    soc_pct: float


@dataclass(frozen=True, slots=True)
class EnergyFull:
    """The car's own count carried to 100 % SoC. Either an energy with its sigma, or why there is none."""

    energy_full_kwh: float | None = None
    sigma_kwh: float | None = None
    n: int = 0  # readings it rests on
    evidence: tuple[int, ...] = ()  # newest session numbers, oldest first
    gids: bool = False  # worked out from gids, whose size nobody publishes
    why: str | None = None
    method: MethodId = ID


@dataclass(frozen=True, slots=True)
class EnergySeriesState:
    kwh_seen: bool = False  # from then on gids are not looked at
    bms_seen: bool = False  # nor the displayed SoC
    low: Pair | None = None  # of the session under way: lowest SoC
    high: Pair | None = None
    # What was concluded: energy at 100 % and at 0 % SoC, and their covariance
    full_kwh: float | None = None
    empty_kwh: float = 0.0
    full_kwh2: float = 0.0
    both_kwh2: float = 0.0
    empty_kwh2: float = 0.0
    at_s: float = 0.0
    n: int = 0
    rejected_in_a_row: int = 0
    gids: bool = False
    bms: bool = False
    evidence: tuple[int, ...] = ()


def watch(state: EnergySeriesState, samples: Samples) -> EnergySeriesState:
    """How samples are cut into calls does not matter."""
    energy = samples.value[:, Col.ENERGY_LEFT_KWH : Col.ENERGY_LEFT_GID + 1]
    if np.isnan(energy).all():
        return state
    told = ~np.isnan(energy).all(axis=1)
    kwh, bms = energy[:, 0], samples.column(Col.SOC_PCT)
    kwh_seen = np.logical_or.accumulate(~np.isnan(kwh)) | state.kwh_seen
    bms_seen = np.logical_or.accumulate(~np.isnan(bms) & told) | state.bms_seen
    left_kwh = np.where(kwh_seen, kwh, energy[:, 1] * GID_KWH)
    soc = np.where(bms_seen, bms, samples.column(Col.SOC_SHOWN_PCT))
    scale = bool(kwh_seen[-1]), bool(bms_seen[-1])
    low, high = (state.low, state.high) if scale == (state.kwh_seen, state.bms_seen) else (None, None)
    fit = (left_kwh > 0.0) & (soc >= SOC_MIN_PCT) & ~(samples.column(Col.TEMP_DEGC) < COLD_DEGC)
    rows = np.flatnonzero(fit & (kwh_seen == scale[0]) & (bms_seen == scale[1]))
    if rows.size:
        newest_first = rows[::-1]
        least, most = (newest_first[find(soc[newest_first])] for find in (np.argmin, np.argmax))
        if low is None or soc[least] <= low.soc_pct:
            low = Pair(float(left_kwh[least]), float(soc[least]))
        if high is None or soc[most] >= high.soc_pct:
            high = Pair(float(left_kwh[most]), float(soc[most]))
    return replace(state, kwh_seen=scale[0], bms_seen=scale[1], low=low, high=high)


def take(state: EnergySeriesState) -> tuple[EnergySeriesState, tuple[EnergyLeft, ...]]:
    """A session ended: the pairs at both ends of it, rounded as they are sent."""
    low, high = state.low, state.high
    if low is None or high is None:
        return state, ()
    pairs = (low, high) if high.soc_pct - low.soc_pct >= SPAN_MIN_PCT else (high,)
    readings = tuple(as_sent(EnergyLeft(*pair, gids=not state.kwh_seen, bms=state.bms_seen)) for pair in pairs)
    return replace(state, low=None, high=None), readings


def use(state: EnergySeriesState, reading: EnergyLeft, end: SessionEnd) -> EnergySeriesState:
    """Conclude from a reading of that session. Looks at nothing that `watch` or `take` left in the state."""
    if state.full_kwh is None or (reading.gids, reading.bms) != (state.gids, state.bms):
        return _begun(state, reading, end)
    full, empty, full2, both2, empty2 = _predicted(state, end.at_s)
    share = reading.soc_pct / 100.0
    gain_full = full2 * share + both2 * (1.0 - share)
    gain_empty = both2 * share + empty2 * (1.0 - share)
    off_kwh = reading.energy_left_kwh - (full * share + empty * (1.0 - share))
    noise2, explained2 = (READ_SIGMA * full) ** 2, gain_full * share + gain_empty * (1.0 - share)
    z2 = off_kwh**2 / (explained2 + noise2)
    if z2 > REJECT_Z2 and state.n >= SETTLED_N:
        if state.rejected_in_a_row + 1 >= RESTART_AFTER:
            return _begun(state, reading, end)
        return replace(state, rejected_in_a_row=state.rejected_in_a_row + 1)
    spread2 = explained2 + noise2 * max(1.0, z2 / DOUBT_Z2)
    return replace(
        state,
        full_kwh=full + gain_full * off_kwh / spread2,
        empty_kwh=empty + gain_empty * off_kwh / spread2,
        full_kwh2=full2 - gain_full**2 / spread2,
        both_kwh2=both2 - gain_full * gain_empty / spread2,
        empty_kwh2=empty2 - gain_empty**2 / spread2,
        at_s=float(end.at_s),
        n=state.n + 1,
        rejected_in_a_row=0,
        evidence=_with(state.evidence, end.number),
    )


def estimate(state: EnergySeriesState, at_s: float) -> EnergyFull:
    """What the readings used so far say."""
    if state.full_kwh is None:
        return EnergyFull(why=f"the car told no energy left beside an SoC of {SOC_MIN_PCT:g} % or more")
    full, empty, full2, _, _ = _predicted(state, at_s)
    if full <= 0.0 or full2 <= 0.0 or abs(empty) > EMPTY_MAX * full:
        return EnergyFull(why="the energy left does not go with the SoC")
    scale = math.hypot(SCALE_SIGMA, GID_SIGMA) if state.gids else SCALE_SIGMA
    return EnergyFull(full, math.hypot(math.sqrt(full2), scale * full), state.n, state.evidence, state.gids)


def _begun(state: EnergySeriesState, reading: EnergyLeft, end: SessionEnd) -> EnergySeriesState:
    """From one reading, with what a count may say at the empty end."""
    share = reading.soc_pct / 100.0
    full = reading.energy_left_kwh / share
    empty2 = (EMPTY_SIGMA * full) ** 2
    lean = (1.0 - share) / share
    return replace(
        state,
        full_kwh=full,
        empty_kwh=0.0,
        full_kwh2=(READ_SIGMA * full / share) ** 2 + lean**2 * empty2,
        both_kwh2=-lean * empty2,
        empty_kwh2=empty2,
        at_s=float(end.at_s),
        n=1,
        rejected_in_a_row=0,
        gids=reading.gids,
        bms=reading.bms,
        evidence=(end.number,),
    )


def _predicted(state: EnergySeriesState, at_s: float) -> tuple[float, float, float, float, float]:
    """Both ends and their covariance, carried to a later time: packs age."""
    assert state.full_kwh is not None
    years = max(0.0, at_s - state.at_s) / YEAR_S
    kept = math.exp(-DRIFT_PER_YEAR * years)
    full, empty = state.full_kwh * kept, state.empty_kwh * kept
    return (
        full,
        empty,
        state.full_kwh2 * kept**2 + (DRIFT_SIGMA_PER_ROOT_YEAR * full) ** 2 * years,
        state.both_kwh2 * kept**2,
        state.empty_kwh2 * kept**2 + (EMPTY_DRIFT * full) ** 2 * years,
    )


def _with(evidence: tuple[int, ...], number: int) -> tuple[int, ...]:
    return evidence if evidence[-1:] == (number,) else (*evidence, number)[-EVIDENCE_KEPT:]
