"""The charge that each band of the SoC scale holds, and the offset of the current sensor: a Kalman filter.

In:  swings (charge moved between two known SoC) and direct readings of the capacity.
Out: the capacity, the sum over the bands, with its sigma.
SoC scales are stretched and current sensors have an offset: one number could not follow both.

Current and charge are positive in *discharge* here and nowhere else, as in the equations (facts/soh.md §6);
`swing_of_charge_in` is the one place that turns them round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray
from packbox.core.soh.method import DRIFT_PER_YEAR, DRIFT_SIGMA_PER_ROOT_YEAR

BANDS: Final = 10
OFFSET_SIGMA_A: Final = 0.3  # at the start
OFFSET_DRIFT_A: Final = 0.02  # per root of a year
BAND_DRIFT: Final = 0.003  # of a band, per root of a year: bands may age differently
STRETCH_MIN, STRETCH_MAX = 0.5, 2.0  # how far counted charge may correct a change of SoC
REJECT_Z2: Final = 25.0
DOUBT_Z2: Final = 6.0
_EDGES: Final = {bands: np.linspace(0.0, 100.0, bands + 1) for bands in (1, BANDS)}  # one for flat curves


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """`mean` (n + 1,): Ah in each band from empty to full, then the offset in A. `cov` (n + 1, n + 1)."""

    mean: FloatArray
    cov: FloatArray

    @property
    def capacity_ah(self) -> float:
        return float(self.mean[:-1].sum())

    @property
    def variance_ah2(self) -> float:
        return float(self.cov[:-1, :-1].sum())

    @property
    def offset_a(self) -> float:
        """What the sensor shows above the truth, positive in discharge."""
        return float(self.mean[-1])


@dataclass(frozen=True, slots=True)
class Swing:
    """Charge moved between two instants of known SoC."""

    from_soc_pct: float
    to_soc_pct: float
    charge_out_ah: float  # net; negative when the pack was charged
    hours: float  # awake, that is with the sensor counted
    soc_sigma_pct: float  # of both ends together
    charge_sigma_ah: float


def swing_of_charge_in(
    from_soc_pct: float,
    to_soc_pct: float,
    charge_in_ah: float,
    hours: float,
    soc_sigma_pct: float,
    charge_sigma_ah: float,
) -> Swing:
    """From our sign (positive into the pack) to that of the equations."""
    return Swing(from_soc_pct, to_soc_pct, -charge_in_ah, hours, soc_sigma_pct, charge_sigma_ah)


def begin(capacity_ah: float, share_sigma: float, band_sigma: float, bands: int = BANDS) -> Bands:
    """`share_sigma`: of the capacity. `band_sigma`: how unevenly the scale may be stretched."""
    one_ah = capacity_ah / bands
    cov = np.zeros((bands + 1, bands + 1))
    cov[:-1, :-1] = (share_sigma * one_ah) ** 2 + (band_sigma * one_ah) ** 2 * (np.eye(bands) - 1.0 / bands)
    cov[-1, -1] = OFFSET_SIGMA_A**2
    return Bands(np.append(np.full(bands, one_ah), 0.0), cov)


def predict(state: Bands, years: float) -> Bands:
    """Packs age, sensors wander."""
    if years <= 0.0:
        return state
    kept = math.exp(-DRIFT_PER_YEAR * years)
    held = kept * state.mean
    held[-1] = 0.0  # the offset does not age
    shared = (DRIFT_SIGMA_PER_ROOT_YEAR * math.sqrt(years)) * held
    own = (BAND_DRIFT * math.sqrt(years)) * held
    own[-1] = OFFSET_DRIFT_A * math.sqrt(years)
    cov = kept * state.cov
    cov[:-1, :-1] *= kept
    cov[-1, -1] = state.cov[-1, -1]
    cov += shared[:, np.newaxis] * shared
    cov.flat[:: len(held) + 1] += own * own
    held[-1] = state.mean[-1]
    return Bands(held, cov)


def take_swing(state: Bands, swing: Swing, *, settled: bool) -> tuple[Bands, float]:
    """The state after the swing, and z2: how far off it was.

    `settled`: the state knows enough to reject a swing, which then changes nothing, and to say where it lay.
    """
    sign = 1.0 if swing.from_soc_pct > swing.to_soc_pct else -1.0
    middle_pct = 0.5 * (swing.from_soc_pct + swing.to_soc_pct)
    half_pct = 0.5 * abs(swing.from_soc_pct - swing.to_soc_pct)
    design = _design(state, middle_pct, half_pct, sign, swing.hours)
    residual = swing.charge_out_ah - float(design @ state.mean)
    offset_ah = swing.hours * state.offset_a
    expected = swing.charge_out_ah - residual - offset_ah
    if expected != 0.0:
        # The SoC change is as uncertain as the charge: let the gain see the one that the charge speaks for,
        # or noise in the SoC would pull the capacity down (regression dilution).
        stretch = min(max((swing.charge_out_ah - offset_ah) / expected, STRETCH_MIN), STRETCH_MAX)
        if settled:
            # About its own middle: errors of the two ends then leave the bands at either end alone, too. Scaled
            # bands let them dilute what tells one band from the next, half a percent of capacity in 1000 swings.
            design = _design(state, middle_pct, half_pct * stretch, sign, swing.hours)
        else:
            design[:-1] *= stretch  # as published
    noise = swing.charge_sigma_ah**2 + (state.capacity_ah / 100.0 * swing.soc_sigma_pct) ** 2
    spread = state.cov @ design
    explained = float(design @ spread)
    z2 = residual**2 / (explained + noise)
    if settled and z2 > REJECT_Z2:
        return state, z2
    return _updated(state, spread, explained + noise * max(1.0, z2 / DOUBT_Z2), residual), z2


def take_direct(state: Bands, capacity_ah: float, sigma_ah: float) -> Bands:
    """A reading of the whole capacity."""
    design = np.append(np.ones(len(state.mean) - 1), 0.0)
    spread = state.cov @ design
    return _updated(state, spread, float(design @ spread) + sigma_ah**2, capacity_ah - state.capacity_ah)


def _design(state: Bands, middle_pct: float, half_pct: float, sign: float, hours: float) -> FloatArray:
    """Which share of each band is crossed, with the sign of the charge, and for how long the offset counted."""
    bands = len(state.mean) - 1
    within = np.minimum(np.maximum(_EDGES[bands], middle_pct - half_pct), middle_pct + half_pct)
    design = np.empty(bands + 1)
    np.subtract(within[1:], within[:-1], out=design[:-1])
    design *= sign * bands / 100.0
    design[-1] = hours
    return design


def _updated(state: Bands, spread: FloatArray, variance: float, residual: float) -> Bands:
    """`spread`: covariance with what was read. `variance`: of the reading. The product below is exactly symmetric."""
    unit = spread / math.sqrt(variance)
    return Bands(state.mean + spread * (residual / variance), state.cov - unit[:, np.newaxis] * unit)
