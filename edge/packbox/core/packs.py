"""What is known of a pack from outside: chemistry, cells, reference capacity, each with its source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Chemistry(StrEnum):
    LMO = "lmo"  # LMO and its blends
    NMC = "nmc"
    LFP = "lfp"
    NCA = "nca"
    LTO = "lto"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PackFacts:
    id: str  # unique over all profiles, for example "leaf-24"
    chemistry: Chemistry
    cells_in_series: int | None
    reference_ah: float | None  # what 100 % SoH means
    reference_source: str | None
    rated_ah: float | None = None
    nominal_kwh: float | None = None
    ocv: tuple[tuple[float, float], ...] = ()  # (soc_pct, mean cell volts), rising; empty = none that may be shipped
    ocv_source: str | None = None
    current_gain_sigma_pct: float | None = None  # of the current sensor; None: nobody knows this sensor
    current_gain_source: str | None = None
    resistance_slope_k: float | None = None  # B in R25 * exp(B * (1/T - 1/298.15)); None: the chemistry's
    resistance_slope_source: str | None = None
    capacity_start_ah: float | None = None  # what the BMS held when watching began, where it tells that only once
