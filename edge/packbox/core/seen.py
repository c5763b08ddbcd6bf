"""Which quantities have been seen, in what range, and what they said last.

In:  decoded signals. Out: `SeenState`, columns over `NAMES`; NaN where a quantity never spoke.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray, IntArray
from packbox.core.quantities import QUANTITIES
from packbox.core.signals import Decoded

NAMES: Final = tuple(QUANTITIES)
_PLACE: Final = {name: place for place, name in enumerate(NAMES)}


@dataclass(frozen=True, slots=True, eq=False)
class SeenState:
    """Each array has shape (len(NAMES),)."""

    count: IntArray
    last: FloatArray
    low: FloatArray
    high: FloatArray

    def has(self, quantity: str) -> bool:
        return bool(self.count[_PLACE[quantity]])


def start() -> SeenState:
    unknown = np.full(len(NAMES), np.nan)
    return SeenState(np.zeros(len(NAMES), np.int64), unknown, unknown, unknown)


def note(state: SeenState, decoded: Decoded) -> SeenState:
    count, last, low, high = state.count.copy(), state.last.copy(), state.low.copy(), state.high.copy()
    for name, signal in decoded.signals.items():
        place = _PLACE.get(name)
        if place is None or not len(signal):
            continue
        count[place] += len(signal)
        last[place] = signal.value[-1]
        low[place] = np.fmin(low[place], signal.value.min())
        high[place] = np.fmax(high[place], signal.value.max())
    return SeenState(count, last, low, high)
