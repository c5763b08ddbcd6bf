"""Who drives the simulated car, where, and in what weather.

In:  habits, climate, vehicle and a seeded die.
Out: the day's trips, speed over a trip, the power a trip takes from the pack, the air temperature at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
DAY_BEGINS_H: Final = 4  # a simulated day runs from four in the morning: the hour at which nobody drives
STANDING_BEFORE_S: Final = 8
STANDING_AFTER_S: Final = 6
_AIR_KG_M3: Final = 1.2
_GRAVITY: Final = 9.81
_WEATHER: Final = 11  # keeps the dice of the weather apart from those of the driver


@dataclass(frozen=True, slots=True)
class Climate:
    mean_degc: float
    season_k: float  # half the swing between January and July
    day_k: float  # half the swing between night and afternoon
    weather_k: float = 2.0  # day-to-day scatter, 1 sigma


@dataclass(frozen=True, slots=True)
class Habits:
    commute_km: float  # one way, on workdays
    weekend_km: float  # mean of a weekend trip
    long_trip_share: float  # of weekend days, with a long trip
    long_trip_km: float
    quick_charge_share: float  # of days with a commute, that end at a quick charger
    plug_in_below: float  # state of charge at home under which the owner plugs in
    charge_to: float
    home_power_w: float
    quick_power_w: float
    home_socket_share: float = 1.0  # of evenings at which the home socket is free


@dataclass(frozen=True, slots=True)
class Vehicle:
    mass_kg: float
    drag_m2: float
    rolling: float
    idle_w: float
    power_limit_w: float
    regeneration_limit_w: float


@dataclass(frozen=True, slots=True)
class Trip:
    leaves_ms: int  # after the day began
    km: float


def trips(habits: Habits, die: np.random.Generator, weekday: int) -> Sequence[Trip]:
    """The day's plan in time order. `weekday`: 0 is Monday."""

    def trip(hour: float, scatter_h: float, km: float) -> Trip:
        leaves_h = hour + die.normal(0, scatter_h) - DAY_BEGINS_H
        return Trip(int(leaves_h * HOUR_MS), max(1.5, km * die.lognormal(0, 0.12)))

    if weekday < 5:
        if die.random() < 0.06:  # ill, on leave, or working at home
            return []
        planned = [trip(7.6, 0.2, habits.commute_km), trip(18.0, 0.4, habits.commute_km)]
        if die.random() < 0.2:
            planned.insert(1, trip(12.5, 0.2, 0.4 * habits.commute_km))
        return planned
    if die.random() < habits.long_trip_share:
        return [trip(8.5, 0.5, habits.long_trip_km), trip(15.5, 0.5, habits.long_trip_km)]
    return [trip(10.0 + 3.0 * k, 0.4, habits.weekend_km) for k in range(int(die.integers(0, 3)))]


def speed_kmh(die: np.random.Generator, km: float) -> FloatArray:
    """Speed once a second from standstill to standstill, standing a little before and after."""
    cruise_kmh = min(95.0, 32.0 + 1.1 * km)
    stretches = int(km / cruise_kmh * 3600 / 35) + 8
    lengths_s = die.integers(20, 90, stretches)
    levels = np.where(die.random(stretches) < 0.12, 0.0, die.uniform(0.6, 1.15, stretches)) * cruise_kmh
    levels[0] = cruise_kmh
    kernel = np.convolve(np.ones(7), np.ones(11)) / 77.0  # a driver changes speed over some 15 s
    wanted = np.convolve(np.repeat(levels, lengths_s), kernel)
    far = np.cumsum(wanted) / 3600.0
    driven = wanted[: max(30, int(np.searchsorted(far, km)))]
    brake = np.linspace(float(driven[-1]), 0.0, 15)
    return np.concatenate([np.zeros(STANDING_BEFORE_S), driven, brake, np.zeros(STANDING_AFTER_S + 1)])


def drive_power_w(vehicle: Vehicle, speed: FloatArray, ambient_degc: float, room: float) -> FloatArray:
    """Power into the pack (so mostly negative), once a second. `room`: share of regeneration the full pack allows."""
    v = speed / 3.6
    push_n = 1.05 * vehicle.mass_kg * np.gradient(v) + 0.5 * _AIR_KG_M3 * vehicle.drag_m2 * v**2
    push_n += vehicle.rolling * vehicle.mass_kg * _GRAVITY * (v > 0)
    wheels_w = push_n * v
    gained_w = np.minimum(-wheels_w * 0.65, vehicle.regeneration_limit_w * room)
    motor_w = np.where(wheels_w > 0, -wheels_w / 0.88, gained_w)
    into_w = motor_w - vehicle.idle_w - _climate_w(ambient_degc, len(v))
    return np.maximum(into_w, -vehicle.power_limit_w)


def ambient_degc(climate: Climate, seed: int, local_ms: int) -> float:
    """Air temperature at a local time. The same whenever asked, so that a resumed car meets the same weather."""
    day, in_day = divmod(local_ms, DAY_MS)
    year = 2 * np.pi * (local_ms / DAY_MS - 205.0) / 365.25  # hottest in late July
    clock = 2 * np.pi * (in_day / HOUR_MS - 14.5) / 24.0
    today, tomorrow = (_weather(seed, int(d)) for d in (day, day + 1))
    weather = today + (tomorrow - today) * in_day / DAY_MS
    return float(
        climate.mean_degc
        + climate.season_k * np.cos(year)
        + climate.day_k * np.cos(clock)
        + climate.weather_k * weather
    )


def _weather(seed: int, day: int) -> float:
    return float(np.random.default_rng([seed, _WEATHER, day]).normal())


def _climate_w(ambient: float, n: int) -> FloatArray:
    """Heater or cooler: strong at first, then holding."""
    hold_w = min(2500.0, 110.0 * max(0.0, 17.0 - ambient) + 70.0 * max(0.0, ambient - 25.0))
    return hold_w * (1 + 0.8 * np.exp(-np.arange(n) / 240.0))
