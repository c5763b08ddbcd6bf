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
    kept = np.full(len(state.mean), math.exp(-DRIFT_PER_YEAR * years))
    kept[-1] = 1.0
    mean = state.mean * kept
    held = mean.copy()
    held[-1] = 0.0
    cov = state.cov * (kept[:, np.newaxis] * kept) + DRIFT_SIGMA_PER_ROOT_YEAR**2 * years * (held[:, np.newaxis] * held)
    wander = BAND_DRIFT**2 * years * held * held
    wander[-1] = OFFSET_DRIFT_A**2 * years
    cov.flat[:: len(mean) + 1] += wander
    return Bands(mean, cov)


def take_swing(state: Bands, swing: Swing, *, may_reject: bool) -> tuple[Bands, float]:
    """The state after the swing, and z2: how far off it was. A rejected swing changes nothing."""
    design = _design(state, swing)
    residual = swing.charge_out_ah - float(design @ state.mean)
    expected = float(design[:-1] @ state.mean[:-1])
    if expected != 0.0:
        # The SoC change is as uncertain as the charge: let the gain see the one that the charge speaks for,
        # or noise in the SoC would pull the capacity down (regression dilution).
        stretch = (swing.charge_out_ah - swing.hours * state.offset_a) / expected
        design[:-1] *= min(max(stretch, STRETCH_MIN), STRETCH_MAX)
    noise = swing.charge_sigma_ah**2 + (state.capacity_ah / 100.0 * swing.soc_sigma_pct) ** 2
    z2 = residual**2 / (float(design @ state.cov @ design) + noise)
    if may_reject and z2 > REJECT_Z2:
        return state, z2
    return _updated(state, design, residual, noise * max(1.0, z2 / DOUBT_Z2)), z2


def take_direct(state: Bands, capacity_ah: float, sigma_ah: float) -> Bands:
    """A reading of the whole capacity."""
    design = np.append(np.ones(len(state.mean) - 1), 0.0)
    return _updated(state, design, capacity_ah - state.capacity_ah, sigma_ah**2)


def _design(state: Bands, swing: Swing) -> FloatArray:
    """Which share of each band the swing crossed, with the sign of the charge, and for how long the offset counted."""
    bands = len(state.mean) - 1
    width = 100.0 / bands
    low, high = sorted((swing.from_soc_pct, swing.to_soc_pct))
    sign = 1.0 if swing.from_soc_pct > swing.to_soc_pct else -1.0
    crossed = [sign * max(0.0, min(high, (j + 1) * width) - max(low, j * width)) / width for j in range(bands)]
    return np.array([*crossed, swing.hours])


def _updated(state: Bands, design: FloatArray, residual: float, noise: float) -> Bands:
    spread = state.cov @ design
    gain = spread / (float(design @ spread) + noise)
    cov = state.cov - gain[:, np.newaxis] * spread
    return Bands(state.mean + gain * residual, (cov + cov.T) / 2.0)
