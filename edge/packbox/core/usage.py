"""How the battery has been used: throughput, time at SoC, temperature and load, cycles, ageing-weighted time.

In:  `Samples` and the sessions that ended.
Out: `Usage`, life so far; two usages of one battery add up.
Sleep counts as time at the values held before it, and is named inferred. A silence after which the SoC or the
odometer is another was no sleep: that time is unobserved, and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import numpy as np

from packbox.core import rainflow
from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.rainflow import RainflowState
from packbox.core.sample import Col, Samples, Sum, known

Number = TypeVar("Number", int, float)

SOC_BANDS: Final = 10
TEMP_EDGES_DEGC: Final = (-10.0, 0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
TEMP_BANDS: Final = len(TEMP_EDGES_DEGC) + 1
C_RATE_EDGES: Final = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
C_RATE_BANDS: Final = len(C_RATE_EDGES) + 1
# Arrhenius-weighted age (facts/soh.md §10): mid of the published calendar ageing fits, and their SoC slope.
AGE_K: Final = 5000.0
AGE_PER_SOC: Final = 0.6
AGE_SOC: Final = 0.6
AGE_REFERENCE_K: Final = 298.15
ZERO_DEGC_K: Final = 273.15
ASLEEP_SOC_PCT: Final = 5.0  # self-discharge and the 12 V side take up to 2 % a month
ASLEEP_KM: Final = 1.0  # resolution of odometers
CORRECTED_SOC_PCT: Final = 10.0  # by so much a BMS may correct itself during a rest; the odometer tells it from a drive


@dataclass(frozen=True, slots=True, eq=False)
class Usage:
    """Life so far. Histograms: `soc_temp_s` (10, 9) and `c_rate_temp_s` (20, 9) seconds, charge bands first;
    `depth_counts` (7, 10) half cycles by depth and mean SoC; `charging_temp_s` (9,) seconds of charges that ended."""

    observed_s: float
    inferred_s: float
    unobserved_s: float
    charge_in_ah: float
    charge_out_ah: float
    energy_in_wh: float
    energy_out_wh: float
    energy_ac_in_wh: float
    energy_dc_in_wh: float
    charges_ac: int
    charges_dc: int
    drives: int
    distance_km: float
    odometer_km: float | None
    soc_temp_s: IntArray
    c_rate_temp_s: IntArray
    depth_counts: IntArray
    arrhenius_s: float
    events: Mapping[str, int] = field(default_factory=dict)
    charge_count_ac_reported: int | None = None
    charge_count_dc_reported: int | None = None
    first_wall_ms: int | None = None
    charging_temp_s: IntArray = field(default_factory=lambda: np.zeros(TEMP_BANDS, np.int64))

    def equivalent_full_cycles(self, reference_ah: float | None) -> float | None:
        return None if reference_ah is None else (self.charge_in_ah + self.charge_out_ah) / (2.0 * reference_ah)

    def __add__(self, other: Usage) -> Usage:
        names = sorted({*self.events, *other.events})
        return Usage(
            **{name: getattr(self, name) + getattr(other, name) for name in _ADDED},
            odometer_km=_larger(self.odometer_km, other.odometer_km),
            events={name: self.events.get(name, 0) + other.events.get(name, 0) for name in names},
            charge_count_ac_reported=_larger(self.charge_count_ac_reported, other.charge_count_ac_reported),
            charge_count_dc_reported=_larger(self.charge_count_dc_reported, other.charge_count_dc_reported),
            first_wall_ms=_smaller(self.first_wall_ms, other.first_wall_ms),
        )


_ADDED: Final = (
    "observed_s",
    "inferred_s",
    "unobserved_s",
    "charge_in_ah",
    "charge_out_ah",
    "energy_in_wh",
    "energy_out_wh",
    "energy_ac_in_wh",
    "energy_dc_in_wh",
    "charges_ac",
    "charges_dc",
    "drives",
    "distance_km",
    "soc_temp_s",
    "c_rate_temp_s",
    "depth_counts",
    "arrhenius_s",
    "charging_temp_s",
)


@dataclass(frozen=True, slots=True)
class Sleep:
    """A silence not yet judged: what was known before it."""

    seconds: int
    soc_pct: float | None
    temp_degc: float | None
    odometer_km: float | None

    def was_rest(self, soc_pct: float, odometer_km: float | None) -> bool:
        """Whether the pack looks untouched after it."""
        step_pct = 0.0 if self.soc_pct is None else abs(soc_pct - self.soc_pct)
        if self.odometer_km is None or odometer_km is None:
            return step_pct <= ASLEEP_SOC_PCT
        return step_pct <= CORRECTED_SOC_PCT and abs(odometer_km - self.odometer_km) <= ASLEEP_KM

    def spread(self, soc_temp_s: IntArray, ageing_s: FloatArray, row: int) -> None:
        """Count it as time at the values held."""
        if self.soc_pct is None or self.temp_degc is None:
            return
        soc, temp = np.array([self.soc_pct]), np.array([self.temp_degc])
        soc_temp_s[soc_band(soc), temp_band(temp)] += self.seconds
        ageing_s[row] += self.seconds * ageing(soc, temp)[0]


@dataclass(frozen=True, slots=True, eq=False)
class UsageState:
    total: FloatArray  # (len(Sum),) of the samples since the pack is watched
    soc_temp_s: IntArray
    c_rate_temp_s: IntArray
    swings: RainflowState
    newest: FloatArray  # (len(Col),) newest known value of each column, however old
    arrhenius_s: float = 0.0
    inferred_s: int = 0
    unseen_use_s: int = 0  # silences in which the car was used
    sleep: Sleep | None = None
    energy_ac_in_wh: float = 0.0
    energy_dc_in_wh: float = 0.0
    charges_ac: int = 0
    charges_dc: int = 0
    drives: int = 0
    distance_km: float = 0.0
    events: tuple[tuple[str, int], ...] = ()  # by name
    before: FloatArray = field(default_factory=lambda: np.zeros(len(Sum)))  # what other packs had moved
    charging_temp_s: IntArray = field(default_factory=lambda: np.zeros(TEMP_BANDS, np.int64))


def start(before: FloatArray | None = None) -> UsageState:
    """`before`: the samples' totals when another pack went."""
    return UsageState(
        np.zeros(len(Sum)),
        np.zeros((SOC_BANDS, TEMP_BANDS), np.int64),
        np.zeros((2 * C_RATE_BANDS, TEMP_BANDS), np.int64),
        rainflow.start(),
        np.full(len(Col), np.nan),
        before=np.zeros(len(Sum)) if before is None else before.copy(),
    )


def watch(state: UsageState, samples: Samples, reference_ah: float | None) -> UsageState:
    """Take in samples, n >= 1. How they are cut into calls does not matter."""
    soc, temp = samples.column(Col.SOC_PCT), samples.column(Col.TEMP_DEGC)
    told, warm = ~np.isnan(soc), ~np.isnan(temp)
    ageing_s = np.zeros(len(samples))
    ageing_s[warm] = samples.span_s[warm] * ageing(soc[warm], temp[warm])
    soc_temp_s = state.soc_temp_s.copy()
    both = told & warm
    np.add.at(soc_temp_s, (soc_band(soc[both]), temp_band(temp[both])), samples.span_s[both])
    sleep, inferred_s, unseen_use_s = state.sleep, state.inferred_s, state.unseen_use_s
    for row in _turning_rows(samples, told, pending=sleep is not None):
        if samples.gap_s[row]:
            sleep = _longer(sleep, state, samples, row)
        if told[row] and sleep is not None:
            odometer_km = known(samples.value[row, Col.ODOMETER_KM])
            if sleep.was_rest(float(soc[row]), odometer_km):
                inferred_s += sleep.seconds
                sleep.spread(soc_temp_s, ageing_s, row)
            else:
                unseen_use_s += sleep.seconds
            sleep = None
    return replace(
        state,
        total=samples.total[-1] - state.before,
        soc_temp_s=soc_temp_s,
        c_rate_temp_s=_c_rates(state.c_rate_temp_s, samples, reference_ah),
        swings=rainflow.feed(state.swings, soc[told]) if told.any() else state.swings,
        arrhenius_s=float(np.cumsum(np.concatenate(([state.arrhenius_s], ageing_s)))[-1]),
        inferred_s=inferred_s,
        unseen_use_s=unseen_use_s,
        sleep=sleep,
        newest=_newest(state.newest, samples.value),
    )


def _turning_rows(samples: Samples, told: BoolArray, *, pending: bool) -> list[int]:
    """Rows at which a silence ends or can be judged."""
    holes = np.flatnonzero(samples.gap_s)
    if not holes.size and not pending:
        return []
    told_rows = np.flatnonzero(told)
    from_rows = np.concatenate(([0], holes)) if pending else holes
    judged = np.searchsorted(told_rows, from_rows)
    return sorted({*holes.tolist(), *told_rows[judged[judged < told_rows.size]].tolist()})


def _longer(sleep: Sleep | None, state: UsageState, samples: Samples, row: int) -> Sleep:
    seconds = int(samples.gap_s[row])
    if sleep is not None:
        return replace(sleep, seconds=sleep.seconds + seconds)
    before = _newest(state.newest, samples.value[:row])
    return Sleep(seconds, known(before[Col.SOC_PCT]), known(before[Col.TEMP_DEGC]), known(before[Col.ODOMETER_KM]))


def _newest(newest: FloatArray, value: FloatArray) -> FloatArray:
    """The newest known value of each column, shape (len(Col),)."""
    if not len(value):
        return newest
    row = np.max(np.where(np.isnan(value), -1, np.arange(len(value))[:, np.newaxis]), axis=0)
    return np.where(row < 0, newest, value[row, np.arange(value.shape[1])])


def _c_rates(counts: IntArray, samples: Samples, reference_ah: float | None) -> IntArray:
    current, temp = samples.column(Col.CURRENT_A), samples.column(Col.TEMP_DEGC)
    both = ~np.isnan(current) & ~np.isnan(temp)
    if reference_ah is None or not both.any():
        return counts
    band = np.searchsorted(C_RATE_EDGES, np.abs(current[both]) / reference_ah, side="right")
    counts = counts.copy()
    np.add.at(
        counts,
        (np.where(current[both] > 0, band, band + C_RATE_BANDS), temp_band(temp[both])),
        samples.span_s[both],
    )
    return counts


def soc_band(soc_pct: FloatArray) -> IntArray:
    return np.clip(soc_pct // 10.0, 0, SOC_BANDS - 1).astype(np.int64)


def temp_band(temp_degc: FloatArray) -> IntArray:
    return np.searchsorted(TEMP_EDGES_DEGC, temp_degc, side="right").astype(np.int64)


def ageing(soc_pct: FloatArray, temp_degc: FloatArray) -> FloatArray:
    """How much faster the pack ages than at 25 degC and 60 % SoC; an unknown SoC (NaN) counts as that."""
    heat = np.exp(-AGE_K * (1.0 / (temp_degc + ZERO_DEGC_K) - 1.0 / AGE_REFERENCE_K))
    soc = np.where(np.isnan(soc_pct), AGE_SOC, soc_pct / 100.0)
    weight: FloatArray = heat * np.exp(AGE_PER_SOC * (soc - AGE_SOC))
    return weight


def add_charge(state: UsageState, energy_in_wh: float, temp_s: IntArray | None = None, *, dc: bool) -> UsageState:
    """`temp_s` (9,): its seconds by temperature."""
    if temp_s is not None:
        state = replace(state, charging_temp_s=state.charging_temp_s + temp_s)
    if dc:
        return replace(state, charges_dc=state.charges_dc + 1, energy_dc_in_wh=state.energy_dc_in_wh + energy_in_wh)
    return replace(state, charges_ac=state.charges_ac + 1, energy_ac_in_wh=state.energy_ac_in_wh + energy_in_wh)


def add_drive(state: UsageState, distance_km: float | None) -> UsageState:
    return replace(state, drives=state.drives + 1, distance_km=state.distance_km + (distance_km or 0.0))


def add_event(state: UsageState, name: str) -> UsageState:
    counts = dict(state.events)
    counts[name] = counts.get(name, 0) + 1
    return replace(state, events=tuple(sorted(counts.items())))


def usage_of(state: UsageState, first_wall_ms: int | None) -> Usage:
    total = state.total
    return Usage(
        observed_s=float(total[Sum.OBSERVED_S]),
        inferred_s=float(state.inferred_s),
        unobserved_s=max(0.0, float(total[Sum.AWAKE_S] - total[Sum.OBSERVED_S])) + state.unseen_use_s,
        charge_in_ah=float(total[Sum.CHARGE_IN_AH]),
        charge_out_ah=float(total[Sum.CHARGE_OUT_AH]),
        energy_in_wh=float(total[Sum.ENERGY_IN_WH]),
        energy_out_wh=float(total[Sum.ENERGY_OUT_WH]),
        energy_ac_in_wh=state.energy_ac_in_wh,
        energy_dc_in_wh=state.energy_dc_in_wh,
        charges_ac=state.charges_ac,
        charges_dc=state.charges_dc,
        drives=state.drives,
        distance_km=state.distance_km,
        odometer_km=known(state.newest[Col.ODOMETER_KM]),
        soc_temp_s=state.soc_temp_s,
        c_rate_temp_s=state.c_rate_temp_s,
        depth_counts=rainflow.counted(state.swings),
        arrhenius_s=state.arrhenius_s,
        events=dict(state.events),
        charge_count_ac_reported=_whole(state.newest[Col.CHARGE_COUNT_AC]),
        charge_count_dc_reported=_whole(state.newest[Col.CHARGE_COUNT_DC]),
        first_wall_ms=first_wall_ms,
        charging_temp_s=state.charging_temp_s,
    )


def _whole(value: float) -> int | None:
    return None if np.isnan(value) else int(value)


def _larger(a: Number | None, b: Number | None) -> Number | None:
    return max((x for x in (a, b) if x is not None), default=None)


def _smaller(a: Number | None, b: Number | None) -> Number | None:
    return min((x for x in (a, b) if x is not None), default=None)
