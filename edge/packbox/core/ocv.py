"""State of charge from the voltage of a rested cell.

In:  a pack's open-circuit curve, pairs of SoC and mean cell volts, both rising.
Out: SoC in percent with its sigma, or None where the voltage lies off the curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray

VOLT_SIGMA_V: Final = 0.005  # relaxation, hysteresis and converter together (facts/soh.md §4)
OFF_CURVE_V: Final = 0.030  # beyond an end of the curve: another cell, or not at rest
SLOPE_WINDOW_PCT: Final = 2.5  # to each side: a curve's own kinks say nothing about a cell
KINK: Final = 4.0  # times what the slope tells: then one side of the voltage is a plateau


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    soc_pct: FloatArray  # (n,), rising
    volts: FloatArray  # (n,), rising, or level where a flat curve was rounded

    def at(self, volts: float) -> tuple[float, float] | None:
        """SoC and its sigma, both in percent."""
        if not self.volts[0] - OFF_CURVE_V <= volts <= self.volts[-1] + OFF_CURVE_V:
            return None
        soc = float(np.interp(volts, self.volts, self.soc_pct))
        low = max(soc - SLOPE_WINDOW_PCT, float(self.soc_pct[0]))
        high = min(soc + SLOPE_WINDOW_PCT, float(self.soc_pct[-1]))
        rise_v = float(np.interp(high, self.soc_pct, self.volts) - np.interp(low, self.soc_pct, self.volts))
        by_slope = VOLT_SIGMA_V * (high - low) / rise_v if rise_v > 0.0 else math.inf
        # Where a plateau begins, a few millivolts less are many percent, though the other side is steep.
        below, above = np.interp((volts - VOLT_SIGMA_V, volts + VOLT_SIGMA_V), self.volts, self.soc_pct).tolist()
        by_range = 0.5 * (above - below)
        return soc, by_range if by_range > KINK * by_slope else by_slope

    def volts_at(self, soc_pct: float) -> float:
        return float(np.interp(soc_pct, self.soc_pct, self.volts))

    @property
    def mean_v(self) -> float:
        """Over the whole SoC scale."""
        return float(np.trapezoid(self.volts, self.soc_pct) / (self.soc_pct[-1] - self.soc_pct[0]))


@lru_cache(maxsize=8)
def curve_of(pairs: tuple[tuple[float, float], ...]) -> Curve | None:
    """None where no curve may be shipped."""
    if not pairs:
        return None
    soc_pct, volts = np.array(pairs, np.float64).T
    assert np.all(np.diff(soc_pct) > 0)
    assert np.all(np.diff(volts) >= 0)
    return Curve(soc_pct, volts)
