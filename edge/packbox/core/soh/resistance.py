"""Resistance of the pack at 25 °C, from steps of the current.

In:  samples. Out: R25 in ohms, with the slope over temperature that was learned, or why there is none.
Steps of at least a third of C within a few seconds are counted by temperature, so that the slope can be learned and
applied to all of them afterwards. Refuses: steps near empty or full, silences, and steps that fit none of the others.

Voltage and current that were polled at different instants bias the value low: its change is worth more than its size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from packbox.core.frames import FloatArray
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.sample import Col, Samples

STEP_MIN_C: Final = 0.35
STEP_MAX_S: Final = 6.0
SOC_MIN_PCT, SOC_MAX_PCT = 15.0, 95.0
KEPT: Final = 0.999  # of all before, per step
KEPT_SLOPE: Final = 0.9999  # the slope must remember last winter
OUTLIER_SIGMA: Final = 6.0
OUTLIER_FROM: Final = 50  # steps before any is refused
TOLD_FROM: Final = 200  # steps before a value is told (facts/soh.md §5)
SLOPE_K: Final = {Chemistry.LMO: 2000.0, Chemistry.NMC: 2500.0, Chemistry.NCA: 2500.0, Chemistry.LFP: 3000.0}
SLOPE_OTHER_K: Final = 2500.0
SLOPE_SIGMA_K: Final = 700.0  # of these defaults: 20-30 degC data of one LMO pack gave 2750
SLOPE_SPREAD_K: Final = 10.0  # temperature range needed to learn a slope
LOG_SIGMA: Final = 0.02  # of the resistance of one temperature against another: load and SoC differ by season
BIN_LOW_DEGC, BIN_K, BINS = -20.0, 5.0, 16
BIN_SHARE: Final = 0.02  # of the weight, for a bin to count towards the spread
REFERENCE_K: Final = 298.15
ZERO_K: Final = 273.15


Sums: TypeAlias = npt.NDArray[np.float32]  # half the bytes of a state that is written with every commit


def _zeros() -> Sums:
    return np.zeros((BINS, 3), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ResistanceState:
    """`recent` and `slow` (BINS, 3): sums of dI^2, dI*dV and (1/T - 1/298.15)*dI^2 by temperature, forgetting."""

    recent: Sums = field(default_factory=_zeros)
    slow: Sums = field(default_factory=_zeros)
    recent_v2: float = 0.0  # sum of dV^2
    steps: int = 0
    first_ohm: float | None = None  # the first that was told
    second: float | None = None  # newest row
    current_a: float = math.nan
    voltage_v: float = math.nan

    def __post_init__(self) -> None:
        object.__setattr__(self, "recent", self.recent.astype(np.float32, copy=False))  # older snapshots: float64
        object.__setattr__(self, "slow", self.slow.astype(np.float32, copy=False))


def start() -> ResistanceState:
    return ResistanceState()


def watch(state: ResistanceState, samples: Samples, pack: PackFacts | None) -> ResistanceState:
    """How samples are cut into calls does not matter."""
    rated_ah = None if pack is None else pack.rated_ah or pack.reference_ah
    current, voltage = samples.column(Col.CURRENT_A), samples.column(Col.VOLTAGE_V)
    last_s = -math.inf if state.second is None else state.second
    quick = _rise(samples.second.astype(np.float64), last_s) <= STEP_MAX_S
    if rated_ah is not None and quick.any():
        step_a, step_v = _rise(current, state.current_a), _rise(voltage, state.voltage_v)
        soc = samples.column(Col.SOC_PCT)
        soc = np.where(np.isnan(soc), samples.column(Col.SOC_SHOWN_PCT), soc)
        temp = samples.column(Col.TEMP_DEGC)
        fit = quick & (np.abs(step_a) >= STEP_MIN_C * rated_ah) & ~samples.broken
        fit &= ~np.isnan(step_v) & ~np.isnan(temp) & (soc >= SOC_MIN_PCT) & (soc <= SOC_MAX_PCT)
        rows = np.flatnonzero(fit)
        if rows.size:
            state = _steps(state, step_a[rows].tolist(), step_v[rows].tolist(), temp[rows].tolist(), pack)
    return replace(state, second=float(samples.second[-1]), current_a=float(current[-1]), voltage_v=float(voltage[-1]))


def _rise(value: FloatArray, before: float) -> FloatArray:
    """How much each row is above the one before it."""
    return value - np.concatenate(([before], value[:-1]))


def _steps(
    state: ResistanceState, steps_a: list[float], steps_v: list[float], temps: list[float], pack: PackFacts | None
) -> ResistanceState:
    recent, slow = state.recent.copy(), state.slow.copy()
    v2, n, first = state.recent_v2, state.steps, state.first_ohm
    for step_a, step_v, temp in zip(steps_a, steps_v, temps, strict=True):
        tau = 1.0 / (temp + ZERO_K) - 1.0 / REFERENCE_K
        if n >= OUTLIER_FROM and _outlier(recent, v2, n, step_a, step_v, tau, slope_k(slow, pack)):
            continue
        place = min(max(int((temp - BIN_LOW_DEGC) // BIN_K), 0), BINS - 1)
        seen = (step_a * step_a, step_a * step_v, tau * step_a * step_a)
        recent *= KEPT
        recent[place] += seen
        slow *= KEPT_SLOPE
        slow[place] += seen
        v2 = v2 * KEPT + step_v * step_v
        n += 1
        if first is None and n >= TOLD_FROM:
            first = _ohm(recent, slope_k(slow, pack))
    return replace(state, recent=recent, slow=slow, recent_v2=v2, steps=n, first_ohm=first)


def _outlier(recent: Sums, v2: float, n: int, step_a: float, step_v: float, tau: float, slope: float) -> bool:
    ohm = _ohm(recent, slope)
    weight = 1.0 / (1.0 - KEPT) if n > 1.0 / (1.0 - KEPT) else float(n)
    explained = _warm(recent, slope)[1] * ohm
    sigma_v = math.sqrt(max(v2 - explained, 1e-9) / weight)
    return abs(step_v - ohm * math.exp(slope * tau) * step_a) > OUTLIER_SIGMA * sigma_v


def _warm(few: Sums, slope: float) -> tuple[float, float]:
    """dI^2 and dI*dV of all steps as if taken at 25 degC."""
    sums = few.astype(np.float64)
    tau = np.divide(sums[:, 2], sums[:, 0], out=np.zeros(BINS), where=sums[:, 0] > 0)
    warmth = np.exp(slope * tau)
    return float((sums[:, 0] * warmth * warmth).sum()), float((sums[:, 1] * warmth).sum())


def _ohm(sums: Sums, slope: float) -> float:
    squares, products = _warm(sums, slope)
    return products / squares


def slope_k(few: Sums, pack: PackFacts | None) -> float:
    """B in R = R25 * exp(B * (1/T - 1/298.15)): the pack's, else the chemistry's, moved to what was seen."""
    default_k = SLOPE_OTHER_K if pack is None else pack.resistance_slope_k or SLOPE_K.get(pack.chemistry, SLOPE_OTHER_K)
    sums = few.astype(np.float64)
    weight = sums[:, 0]
    used = (weight > BIN_SHARE * weight.sum()) & (sums[:, 1] > 0)
    places = np.flatnonzero(used)
    if not places.size or (places[-1] - places[0]) * BIN_K < SLOPE_SPREAD_K:
        return default_k
    squares, products, taus = sums[used].T
    tau, log_ohm = taus / squares, np.log(products / squares)
    share = squares / squares.sum()
    tau = tau - share @ tau
    log_ohm = log_ohm - share @ log_ohm
    spread = float(share @ (tau * tau))
    seen_k = float(share @ (tau * log_ohm)) / spread
    seen_sigma_k = LOG_SIGMA / math.sqrt(spread)
    trust = SLOPE_SIGMA_K**2 / (SLOPE_SIGMA_K**2 + seen_sigma_k**2)
    return default_k + trust * (seen_k - default_k)


def ohm25(state: ResistanceState, pack: PackFacts | None) -> tuple[float | None, str | None]:
    """Ohms of the pack, or why not."""
    if state.steps < TOLD_FROM:
        return None, f"{state.steps} of {TOLD_FROM} steps of the current seen within {STEP_MAX_S:g} s each"
    ohm = _ohm(state.recent, slope_k(state.slow, pack))
    if ohm <= 0.0:
        return None, "the voltage falls when charging: wrong sign of the current?"
    return ohm, None
