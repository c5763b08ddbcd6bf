"""How finely a state of health may be told: no digit finer than its interval supports (facts/soh.md §2, §13).

In:  a value with its 90 % interval. Out: what pages and sheets show of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

SIGMAS_90: Final = 1.645  # half of a 90 % interval, in standard deviations
FULL_PCT: Final = 100.0  # a new pack may measure above 100 %: clipped when shown, kept when stored (facts §2)
# Interval half-width in percent points from which coarser steps apply: digits finer than these would be noise.
STEPS_PCT: Final = ((10.0, 5.0), (5.0, 1.0), (0.0, 0.5))


@dataclass(frozen=True, slots=True)
class ShownSoh:
    """SoH as people may read it. Bounds are rounded outwards, so rounding never narrows the interval."""

    value_pct: float
    half_pct: float
    lo_pct: float
    hi_pct: float
    digits: int


def shown(soh_pct: float, lo: float, hi: float) -> ShownSoh:
    half = (hi - lo) / 2
    step = next(step for least, step in STEPS_PCT if half >= least)
    return ShownSoh(
        value_pct=min(FULL_PCT, round(soh_pct / step) * step),
        half_pct=_up(half, step),
        lo_pct=min(FULL_PCT, max(0.0, math.floor(lo / step + 1e-9) * step)),
        hi_pct=min(FULL_PCT, _up(hi, step)),
        digits=1 if step < 1 else 0,
    )


def _up(value: float, step: float) -> float:
    return math.ceil(value / step - 1e-9) * step
