"""What a stretch of charging leaves behind besides its sums: power over SoC, and time by temperature.

In:  rows of `Samples` during which the pack was charged by the plug. Out: `Charged`; pieces add up.
Everything is counted in whole numbers, so that how the rows were cut into pieces cannot show.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.sample import Col, Samples
from packbox.core.usage import TEMP_BANDS, temp_band

BAND_PCT: Final = 5.0
BANDS: Final = 20
FLOWS_KW: Final = 0.1  # less is a charger that waits
BAND_MIN_S: Final = 10  # of a band for a point; fewer are only its edge
POINTS_MIN: Final = 2  # a curve of one point is none
W_PER_KW: Final = 1000
STEPS_PER_DEGC: Final = 10


class Scale(IntEnum):
    """Which SoC a curve runs over: two quantities, never mixed."""

    BMS = 0
    SHOWN = 1


class Part(IntEnum):
    """What is counted of each band of the SoC."""

    SECONDS = 0
    WATT_S = 1
    WARM_S = 2  # with the temperature known
    TEMP_S = 3  # temperature in `STEPS_PER_DEGC` x time


@dataclass(frozen=True, slots=True)
class ChargeCurve:
    """Mean power and temperature in bands of `BAND_PCT` from `soc_from_pct` on; None where nothing was seen."""

    soc_from_pct: float
    power_kw: tuple[float | None, ...]
    temp_degc: tuple[float | None, ...]
    shown: bool  # over the displayed SoC: the car told no other


@dataclass(frozen=True, slots=True, eq=False)
class Charged:
    by_soc: IntArray  # (len(Scale), len(Part), BANDS)
    temp_s: IntArray  # (TEMP_BANDS,)

    def __add__(self, other: Charged) -> Charged:
        return Charged(self.by_soc + other.by_soc, self.temp_s + other.temp_s)


def add(a: Charged | None, b: Charged | None) -> Charged | None:
    """Of two stretches together; None: nobody charged."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def charged(samples: Samples, low: int, high: int) -> Charged:
    """Of rows low to high (not included), all of which show a charge."""
    value, span_s = samples.value[low:high], samples.span_s[low:high]
    power, temp = value[:, Col.POWER_KW], value[:, Col.TEMP_DEGC]
    warm = ~np.isnan(temp)
    flows = power >= FLOWS_KW  # unknown power is no power
    by_soc = np.array([_bands(value[:, col], power, temp, span_s, flows) for col in (Col.SOC_PCT, Col.SOC_SHOWN_PCT)])
    temp_s = np.zeros(TEMP_BANDS, np.int64)
    np.add.at(temp_s, temp_band(temp[warm]), span_s[warm])
    return Charged(by_soc, temp_s)


def _bands(
    soc: FloatArray, power_kw: FloatArray, temp_degc: FloatArray, span_s: IntArray, flows: BoolArray
) -> IntArray:
    counts = np.zeros((len(Part), BANDS), np.int64)
    told = flows & ~np.isnan(soc)
    band, span_s = np.clip(soc[told] // BAND_PCT, 0, BANDS - 1).astype(np.int64), span_s[told]
    np.add.at(counts[Part.SECONDS], band, span_s)
    np.add.at(counts[Part.WATT_S], band, np.rint(power_kw[told] * W_PER_KW).astype(np.int64) * span_s)
    temp = temp_degc[told]
    warm = ~np.isnan(temp)
    np.add.at(counts[Part.WARM_S], band[warm], span_s[warm])
    np.add.at(counts[Part.TEMP_S], band[warm], np.rint(temp[warm] * STEPS_PER_DEGC).astype(np.int64) * span_s[warm])
    return counts


def curve_of(one: Charged | None) -> ChargeCurve | None:
    """None where the SoC hardly moved or was not told."""
    if one is None:
        return None
    scale = Scale.BMS if one.by_soc[Scale.BMS, Part.SECONDS].any() else Scale.SHOWN
    seconds, watt_s, warm_s, temp_s = one.by_soc[scale]
    seen = np.flatnonzero(seconds >= BAND_MIN_S)
    if len(seen) < POINTS_MIN:
        return None
    bands = range(int(seen[0]), int(seen[-1]) + 1)
    return ChargeCurve(
        BAND_PCT * bands[0],
        tuple(int(watt_s[k]) / (W_PER_KW * int(seconds[k])) if seconds[k] >= BAND_MIN_S else None for k in bands),
        tuple(int(temp_s[k]) / (STEPS_PER_DEGC * int(warm_s[k])) if warm_s[k] >= BAND_MIN_S else None for k in bands),
        scale is Scale.SHOWN,
    )
