"""The charge that each band of the SoC scale holds, the sensor's offset and the cells' hysteresis: a Kalman filter.

In:  swings (charge moved between two known SoC) and direct readings of the capacity.
Out: the capacity, the sum over the bands, with its sigma.
SoC scales are stretched and current sensors have an offset: one number could not follow both. A cell rests higher
after charging than after discharging, so that swings between the two look longer than they are; those between rests
of the same kind do not, and so the filter learns by how much.

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
HYSTERESIS_SIGMA_V: Final = 0.003  # at the start; its third of the 5 mV with relaxation and ADC (facts/soh.md §4)
BAND_DRIFT: Final = 0.003  # of a band, per root of a year: bands may age differently
STRETCH_MIN, STRETCH_MAX = 0.5, 2.0  # how far counted charge may correct a change of SoC
REJECT_Z2: Final = 25.0
DOUBT_Z2: Final = 6.0
_EDGES: Final = {bands: np.linspace(0.0, 100.0, bands + 1) for bands in (1, BANDS)}  # one for flat curves
_WITHOUT_HYSTERESIS: Final = (2, BANDS + 1)  # lengths of the state before there was any


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """`mean` (n + 2,): Ah in each band from empty to full, offset in A, hysteresis in V. `cov` (n + 2, n + 2)."""

    mean: FloatArray
    cov: FloatArray

    def __post_init__(self) -> None:
        if len(self.mean) in _WITHOUT_HYSTERESIS:  # from a snapshot of before
            cov = np.pad(self.cov, (0, 1))
            cov[-1, -1] = HYSTERESIS_SIGMA_V**2
            object.__setattr__(self, "mean", np.append(self.mean, 0.0))
            object.__setattr__(self, "cov", cov)

    @property
    def bands(self) -> int:
        return len(self.mean) - 2

    @property
    def capacity_ah(self) -> float:
        return float(self.mean[:-2].sum())

    @property
    def variance_ah2(self) -> float:
        return float(self.cov[:-2, :-2].sum())

    @property
    def offset_a(self) -> float:
        """What the sensor shows above the truth, positive in discharge."""
        return float(self.mean[-2])

    @property
    def hysteresis_v(self) -> float:
        """What a cell at rest shows above the curve after a charge, and below it after a discharge."""
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
    lean_pct_per_v: float = 0.0  # what a volt of hysteresis adds to the fall of the SoC


def swing_of_charge_in(
    from_soc_pct: float,
    to_soc_pct: float,
    charge_in_ah: float,
    hours: float,
    soc_sigma_pct: float,
    charge_sigma_ah: float,
    lean_pct_per_v: float = 0.0,
) -> Swing:
    """From our sign (positive into the pack) to that of the equations."""
    return Swing(from_soc_pct, to_soc_pct, -charge_in_ah, hours, soc_sigma_pct, charge_sigma_ah, lean_pct_per_v)


def begin(capacity_ah: float, share_sigma: float, band_sigma: float, bands: int = BANDS) -> Bands:
    """`share_sigma`: of the capacity. `band_sigma`: how unevenly the scale may be stretched."""
    one_ah = capacity_ah / bands
    cov = np.zeros((bands + 2, bands + 2))
    cov[:-2, :-2] = (share_sigma * one_ah) ** 2 + (band_sigma * one_ah) ** 2 * (np.eye(bands) - 1.0 / bands)
    cov[-2, -2] = OFFSET_SIGMA_A**2
    cov[-1, -1] = HYSTERESIS_SIGMA_V**2
    return Bands(np.append(np.full(bands, one_ah), (0.0, 0.0)), cov)


def predict(state: Bands, years: float) -> Bands:
    """Packs age, sensors wander."""
    if years <= 0.0:
        return state
    kept = math.exp(-DRIFT_PER_YEAR * years)
    held = kept * state.mean
    held[-2:] = 0.0  # offset and hysteresis do not age
    shared = (DRIFT_SIGMA_PER_ROOT_YEAR * math.sqrt(years)) * held
    own = (BAND_DRIFT * math.sqrt(years)) * held
    own[-2] = OFFSET_DRIFT_A * math.sqrt(years)
    cov = kept * state.cov
    cov[:-2, :-2] *= kept
    cov[-2:, -2:] = state.cov[-2:, -2:]
    cov += shared[:, np.newaxis] * shared
    cov.flat[:: len(held) + 1] += own * own
    held[-2:] = state.mean[-2:]
    return Bands(held, cov)


def take_swing(state: Bands, swing: Swing, *, settled: bool) -> tuple[Bands, float]:
    """The state after the swing, and z2: how far off it was.

    `settled`: the state knows enough to reject a swing, which then changes nothing, and to say where it lay.
    """
    sign = 1.0 if swing.from_soc_pct > swing.to_soc_pct else -1.0
    middle_pct = 0.5 * (swing.from_soc_pct + swing.to_soc_pct)
    half_pct = 0.5 * abs(swing.from_soc_pct - swing.to_soc_pct)
    lean_ah_per_v = -0.01 * state.capacity_ah * swing.lean_pct_per_v
    beside = swing.hours, lean_ah_per_v
    design = _design(state.bands, middle_pct, half_pct, sign, beside)
    residual = swing.charge_out_ah - float(design @ state.mean)
    by_bands_ah = swing.charge_out_ah - swing.hours * state.offset_a - lean_ah_per_v * state.hysteresis_v
    expected_ah = by_bands_ah - residual
    if expected_ah != 0.0:
        # The SoC change is as uncertain as the charge: let the gain see the one that the charge speaks for,
        # or noise in the SoC would pull the capacity down (regression dilution).
        stretch = min(max(by_bands_ah / expected_ah, STRETCH_MIN), STRETCH_MAX)
        if settled:
            # About its own middle: errors of the two ends then leave the bands at either end alone, too. Scaled
            # bands let them dilute what tells one band from the next, half a percent of capacity in 1000 swings.
            design = _design(state.bands, middle_pct, half_pct * stretch, sign, beside)
        else:
            design[:-2] *= stretch  # as published
    noise = swing.charge_sigma_ah**2 + (state.capacity_ah / 100.0 * swing.soc_sigma_pct) ** 2
    spread = state.cov @ design
    explained = float(design @ spread)
    z2 = residual**2 / (explained + noise)
    if settled and z2 > REJECT_Z2:
        return state, z2
    return _updated(state, spread, explained + noise * max(1.0, z2 / DOUBT_Z2), residual), z2


def take_direct(state: Bands, capacity_ah: float, sigma_ah: float) -> Bands:
    """A reading of the whole capacity."""
    design = np.append(np.ones(state.bands), (0.0, 0.0))
    spread = state.cov @ design
    return _updated(state, spread, float(design @ spread) + sigma_ah**2, capacity_ah - state.capacity_ah)


def _design(bands: int, middle_pct: float, half_pct: float, sign: float, beside: tuple[float, float]) -> FloatArray:
    """Which share of each band is crossed, with the sign of the charge, and what counts for offset and hysteresis."""
    within = np.minimum(np.maximum(_EDGES[bands], middle_pct - half_pct), middle_pct + half_pct)
    design = np.empty(bands + 2)
    np.subtract(within[1:], within[:-1], out=design[:-2])
    design *= sign * bands / 100.0
    design[-2:] = beside
    return design


def _updated(state: Bands, spread: FloatArray, variance: float, residual: float) -> Bands:
    """`spread`: covariance with what was read. `variance`: of the reading. The product below is exactly symmetric."""
    unit = spread / math.sqrt(variance)
    return Bands(state.mean + spread * (residual / variance), state.cov - unit[:, np.newaxis] * unit)
