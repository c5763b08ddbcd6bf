"""What a signal's value means as a quantity, and which values that quantity may have at all.

In:  a `QuantityUse` and values of its signal, or a quantity and what is known of the pack.
Out: values in the quantity's terms and where they mean anything; lowest and highest plausible value.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from packbox.core.frames import BoolArray, FloatArray
from packbox.core.layout import among
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.profile import QuantityUse
from packbox.core.quantities import QUANTITIES

# A lithium cell outside this is a wrong value, not a cell (facts/vehicles.md 2, rule 4). LTO has other voltages.
CELL_LOW_V: Final = 2.0
CELL_HIGH_V: Final = 4.35
CELL_QUANTITIES: Final = ("cell_voltage_min_v", "cell_voltage_max_v")


def as_quantity(use: QuantityUse, value: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Signal values in the quantity's terms, and where the signal means anything for it."""
    if not use.steps:
        means = ~among(value, use.void) if use.void else np.ones(value.shape, np.bool_)
        if use.factor == 1.0 and use.offset == 0.0:
            return value, means
        return value * use.factor + use.offset, means
    result = np.zeros(value.shape, np.float64)
    known = np.zeros(value.shape, np.bool_)
    for low, high, meaning in use.steps:
        hit = (value >= low) & (value <= high) & ~known
        np.copyto(result, meaning, where=hit)
        known |= hit
    return result, known


def plausible_range(quantity: str, pack: PackFacts | None) -> tuple[float, float]:
    """What the quantity may be at all, narrowed by what is known of the pack."""
    limits = QUANTITIES[quantity]
    if pack is None or pack.chemistry is Chemistry.LTO:
        return limits.low, limits.high
    if quantity == "pack_voltage_v" and pack.cells_in_series is not None:
        return CELL_LOW_V * pack.cells_in_series, CELL_HIGH_V * pack.cells_in_series
    if quantity in CELL_QUANTITIES:
        return CELL_LOW_V, CELL_HIGH_V
    return limits.low, limits.high
