"""Passports that tests export: one of a battery everything is known of, one of a battery nearly nothing is known of.

Values are made up and plausible: a pack of 62 kWh, six years old. Nothing here comes from a real car.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from packbook.core.history import Provenance
from packbook.core.passport import Axis, Coverage, Fact, Histogram, Passport, Source, Value

URI: Final = "https://id.example.com/01/09506000134352/21/62A-000417"
PASSPORT_ID: Final = "urn:uuid:8d3f0f0e-6a43-4c3b-9f0e-3f0a4a3c1b52"
BOX: Final = "box-7"
RULES: Final[Mapping[str, str]] = {"fields": "1"}

SOC_AXIS: Final = Axis("soc_pct", "%", tuple(float(edge) for edge in range(0, 101, 10)))
TEMP_AXIS: Final = Axis("temp_degc", "degC", (None, -10.0, 0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, None))
RATES: Final = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
C_RATE_AXIS: Final = Axis("c_rate", "1", (None, *(-rate for rate in reversed(RATES)), 0.0, *RATES, None))
DEPTH_AXIS: Final = Axis("depth_pct", "%", (0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0))


def day_ms(day: str, clock: str = "13:37:21") -> int:
    """A moment within a day: exports must not tell which."""
    return int(datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC).timestamp() * 1000)


LAST_MS: Final = day_ms("2026-10-31")
MADE_MS: Final = day_ms("2026-11-02", "04:05:06")


def measured(value: Value | None, unit: str, *, at_ms: int | None = LAST_MS, **more: object) -> Fact:
    fact = Fact(value, unit, at_ms, Source.MEASURED, BOX, "count/1", evidence=(Provenance(BOX, "store-1", 4711),))
    return replace(fact, **more)


def reported(value: Value, unit: str, *, at_ms: int | None = LAST_MS) -> Fact:
    return Fact(value, unit, at_ms, Source.VEHICLE, "vehicle")


def declared(value: Value, unit: str = "1", *, at_ms: int | None = day_ms("2020-03-02"), **more: object) -> Fact:
    return replace(Fact(value, unit, at_ms, Source.DECLARED, "Example Motors"), **more)


def spread(axes: tuple[Axis, ...], most: int) -> Histogram:
    """Counts over all bands, most in the middle, the outer ones never visited."""
    bands = math.prod(len(axis.edges) - 1 for axis in axes)
    middle = bands // 2
    return Histogram(axes, tuple(max(0, most - most * (band - middle) ** 2 * 6 // bands**2) for band in range(bands)))


IDENTITY: Final[Mapping[str, tuple[Fact, ...]]] = {
    "battery_id": (declared("62A-000417"),),
    "identifiers": (declared(f"gs1:{URI}"), declared("gbt34014:001PB240000003B3C0221953")),
    "passport_id": (declared(PASSPORT_ID),),
    "category": (declared("ev"),),
    "status": (declared("original", at_ms=day_ms("2020-03-02")),),
    "manufacturer": (declared("Example Cells K.K."),),
    "manufacturing_place": (declared("Zama, Japan"),),
    "made_on": (declared("2020-02"),),
    "in_service_on": (declared("2020-03-14"),),
    "model": (declared("62A"),),
    "chemistry": (declared("NMC"),),
    "cells_in_series": (declared(96),),
    "mass_kg": (declared(410.0, "kg"),),
    "lithium_kg": (declared(7.1, "kg"),),
    "rated_capacity_ah": (declared(176.4, "Ah"),),
    "rated_energy_kwh": (declared(62.0, "kWh"),),
    "certified_energy_kwh": (declared(59.5, "kWh"),),
    "certified_range_km": (declared(385.0, "km"),),
    "voltage_min_v": (declared(240.0, "V"),),
    "voltage_nominal_v": (declared(350.4, "V"),),
    "voltage_max_v": (declared(403.2, "V"),),
    "rated_power_w": (declared(160000.0, "W"),),
    "idle_temp_min_degc": (declared(-20.0, "degC"),),
    "idle_temp_max_degc": (declared(50.0, "degC"),),
    "expected_cycles": (declared(1500),),
    "expected_years": (declared(15.0, "year"),),
    "exhaustion_threshold_pct": (declared(70.0, "%"),),
    "vehicle_class": (declared("car"),),
    "operator_id": (declared("https://id.example.com/operator/417"),),
    "facility_id": (declared("https://id.example.com/facility/414"),),
}

USE: Final[Mapping[str, tuple[Fact, ...]]] = {
    "soc_pct": (measured(61.37, "%"), reported(60.0, "%")),
    "full_cycles": (measured(412.71, "1", conditions={"reference_capacity_ah": 176.4}),),
    "energy_throughput_kwh": (measured(49812.44, "kWh"),),
    "charge_throughput_ah": (measured(145604.2, "Ah"),),
    "energy_delivered_kwh": (measured(24120.9, "kWh"),),
    "soh_capacity_pct": (measured(88.42, "%", method="kalman/3", sigma=1.1, lo90=86.6, hi90=90.2),),
    "soh_reported_pct": (reported(90.1, "%"),),
    "soh_declared_pct": (declared(87.5, "%", at_ms=day_ms("2026-05-03"), method="workshop OBD"),),
    "soce_pct": (measured(86.9, "%", method="kalman/3", sigma=1.6, lo90=84.3, hi90=89.5),),
    "soce_reported_pct": (reported(89.02, "%"),),
    "socr_reported_pct": (reported(88.63, "%"),),
    "remaining_capacity_ah": (measured(155.97, "Ah", sigma=1.9),),
    "remaining_energy_kwh": (measured(51.71, "kWh", sigma=0.9),),
    "capacity_fade_pct": (measured(11.58, "%", sigma=1.1),),
    "remaining_power_w": (
        measured(118000.0, "W", conditions={"soc_pct": 80.0, "temp_degc": 25.0, "pulse_s": 10.0}),
        measured(91000.0, "W", conditions={"soc_pct": 20.0, "temp_degc": 25.0, "pulse_s": 10.0}),
    ),
    "round_trip_efficiency_pct": (measured(94.1, "%"),),
    "resistance_ohm": (measured(0.0934, "Ohm", sigma=0.002),),
    "resistance_increase_pct": (measured(18.4, "%"),),
    "self_discharge_pct_per_month": (measured(1.2, "%/month"),),
    "temp_degc": (measured(23.4, "degC"),),
    "time_hot_s": (measured(7260, "s"),),
    "time_cold_s": (measured(0, "s"),),
    "time_hot_charging_s": (measured(1830, "s"),),
    "time_cold_charging_s": (measured(0, "s"),),
    "deep_discharge_count": (measured(2, "1"),),
    "overcharge_count": (measured(0, "1"),),
    "negative_event": (measured("pack_hot", "1", conditions={"count": 3.0}, at_ms=day_ms("2025-01-19")),),
    "accident": (declared("DOC-2024-0815", at_ms=day_ms("2024-08-15")),),
    "charges_ac": (measured(1204, "1"),),
    "charges_dc": (measured(83, "1"),),
    "odometer_km": (reported(81234.4, "km"),),
    "soc_temp_time_s": (measured(spread((SOC_AXIS, TEMP_AXIS), 90000), "s"),),
    "c_rate_temp_time_s": (measured(spread((C_RATE_AXIS, TEMP_AXIS), 300000), "s"),),
    "depth_counts": (measured(spread((DEPTH_AXIS, SOC_AXIS), 9000), "1"),),
    "cell_spread_mv": (measured(14.0, "mV"),),
    "age_years": (measured(6.66, "year"),),
    "months_to_80_pct": (measured(61.2, "month", method="forecast/2", lo90=38.0, hi90=97.0),),
    "km_to_80_pct": (measured(58300.0, "km", method="forecast/2", lo90=36000.0, hi90=92000.0),),
}

COVERAGE: Final = Coverage(
    since_ms=day_ms("2023-04-01"),
    until_ms=LAST_MS,
    observed_s=4_212_000.0,
    inferred_s=60_480_000.0,
    unobserved_s=2_592_000.0,
    observed_ah=72_900.0,
    observed_km=40_120.0,
    odometer_km=81_234.4,
)


def rich() -> Passport:
    """Everything a box can measure, a car can report and an operator can declare."""
    return Passport("62A-000417", "ev", MADE_MS, RULES, {**IDENTITY, **USE}, COVERAGE)


def poor() -> Passport:
    """Half a history: a box since last week, state of charge and cycles only, and a reason for having no more."""
    facts = {
        "soc_pct": (measured(43.0, "%"),),
        "full_cycles": (measured(1.9, "1"),),
        "soh_capacity_pct": (measured(None, "%", at_ms=None, why="2 of 10 segments seen"),),
    }
    seen = replace(COVERAGE, since_ms=day_ms("2026-10-24"), observed_s=36_000.0, observed_km=240.0, odometer_km=None)
    return Passport("provisional-3f9a", "ev", MADE_MS, RULES, facts, seen)


def without(passport: Passport, *names: str) -> Passport:
    return replace(passport, facts={name: facts for name, facts in passport.facts.items() if name not in names})


def having(passport: Passport, **facts: Fact) -> Passport:
    """The same with these fields holding this one fact."""
    return replace(passport, facts={**passport.facts, **{name: (fact,) for name, fact in facts.items()}})
