"""What the book says about the future of one battery: forecast, passages, promises and next use, from its history.

In:  the battery's SoH points, oldest first, and its events; an `AgeingModel` where a fleet taught one.
Out: a `Prospect`, or the reason why none can be given. It begins at the newest reading, not today.
One reading in thirty days is used, the newest of each: those between are the same charges told again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from packbook.core.forecast import (
    MONTHS_A_YEAR,
    PERSISTENT_SD_PCT,
    PRIOR,
    SIGMAS_90,
    AgeingModel,
    Course,
    Mileage,
    Outlook,
    Passage,
    age_inferred_years,
    interval90,
    mileage,
    outlook,
    passages,
    since_rise,
)
from packbook.core.guarantee import KNEE_RATIO, Decision, Evidence, decide, knee_ratio
from packbook.core.history import EventRow, SohPoint
from packbook.core.triage import CAR_SOH_MIN_PCT, Standing, Triage, triage

DAY_MS: Final = 86_400_000
YEAR_MS: Final = 365.25 * DAY_MS
UPDATE_EVERY_MS: Final = 30 * DAY_MS  # facts/soh.md §12
READINGS_MIN: Final = 3  # two months; with fewer the forecast would be the prior and nothing of the battery
MONTHS_AHEAD: Final = 36
THRESHOLDS_PCT: Final = (80.0, CAR_SOH_MIN_PCT)  # the floors of UN GTR 22 at five and at eight years
PROMISE_YEARS: Final = (1.0, 2.0, 3.0)
PROMISE_KM_A_YEAR: Final = 20_000.0  # warranties pair 5 years with 100 000 km, 8 with 160 000 (facts/soh.md §2, §3)
RESISTANCE_READINGS_MIN: Final = 6  # months
RESISTANCE_SPAN_MIN_YEARS: Final = 0.5  # winter against autumn would be taken for growth
# A crash or an isolation fault stands until a workshop has looked; the others are open while they last.
HARM_UNTIL_INSPECTED: Final = ("crash", "isolation_fault")
HARM_WHILE_IT_LASTS: Final = ("cell_low", "cell_high", "pack_hot", "cold_charge")
BMS_VALUE: Final = "bms-value"  # basis of an SoH that rests on the car's own capacity figure
BMS_VALUE_METHOD: Final = "bms_value/"


class Lacking(StrEnum):
    """Why there is no forecast. The names are stable: the pages' catalogues use them."""

    NO_VALUE = "no_value"  # no dated SoH with its uncertainty
    TOO_FEW = "too_few"  # fewer than READINGS_MIN months of them
    DISPUTED = "disputed"  # the readings may be of two histories: see `history.Doubt`


@dataclass(frozen=True, slots=True)
class MonthAhead:
    at_ms: int
    soh_pct: float
    lo90_pct: float
    hi90_pct: float


@dataclass(frozen=True, slots=True)
class Prospect:
    from_ms: int  # the newest reading
    readings: int  # months it rests on
    age_years: float
    age_documented: bool
    vehicles: int  # that taught the model; 0: published prior
    model_version: str  # of the model: the same version and history give the same forecast
    months: tuple[MonthAhead, ...]  # the first is the newest reading itself
    passages: tuple[Passage, ...]
    promises: tuple[Decision, ...]
    next_use: Triage


@dataclass(frozen=True, slots=True)
class Reading:
    at_ms: int
    soh_pct: float
    sigma_pct: float
    point: SohPoint


def forecast_of(
    points: Sequence[SohPoint],
    events: Sequence[EventRow] = (),
    *,
    made_ms: int | None = None,
    model: AgeingModel = PRIOR,
) -> Prospect | Lacking:
    """`made_ms`: when the battery was made, where documented; else its age is inferred from its first readings."""
    found = course_of(points, made_ms)
    if isinstance(found, Lacking):
        return found
    seen, readings = found
    newest = readings[-1]
    known = outlook(seen, model)
    this_battery = points[_first_of_this_battery(points) :]
    driven = _mileage(this_battery)
    evidence = _evidence(newest.point, events, _resistance_growth_pct(this_battery))
    passed = passages(known, THRESHOLDS_PCT, driven)
    months = _months(known, newest.at_ms)
    ratio = knee_ratio(seen)
    standing = Standing(
        soh_lo90_pct=months[0].lo90_pct,
        to_car_minimum=passed[THRESHOLDS_PCT.index(CAR_SOH_MIN_PCT)],
        knee=None if ratio is None else ratio >= KNEE_RATIO,
        harmful_open=evidence.harmful_open,
        resistance_growth_pct=evidence.resistance_growth_pct,
    )
    return Prospect(
        from_ms=newest.at_ms,
        readings=len(readings),
        age_years=known.years,
        age_documented=seen.age_documented,
        vehicles=model.vehicles,
        model_version=model.version,
        months=months,
        passages=passed,
        promises=tuple(
            decide(seen, known, evidence, threshold, years, years * PROMISE_KM_A_YEAR, driven)
            for threshold in THRESHOLDS_PCT
            for years in PROMISE_YEARS
        ),
        next_use=triage(standing),
    )


def course_of(points: Sequence[SohPoint], made_ms: int | None = None) -> tuple[Course, Sequence[Reading]] | Lacking:
    """The monthly course of this battery since it was put in or its figure last rose at once; and its readings."""
    readings = _monthly(points[_first_of_this_battery(points) :])
    if not readings:
        return Lacking.NO_VALUE
    risen = since_rise([reading.soh_pct for reading in readings])
    if risen:
        readings, made_ms = readings[risen:], None  # perhaps another pack, of another age
    return Lacking.TOO_FEW if len(readings) < READINGS_MIN else (_course(readings, made_ms), readings)


def _first_of_this_battery(points: Sequence[SohPoint]) -> int:
    """Index after the newest point that says the battery was replaced: what was before it is another battery's."""
    return next((n + 1 for n in reversed(range(len(points))) if points[n].state == "replaced"), 0)


def _monthly(points: Sequence[SohPoint]) -> list[Reading]:
    """The newest reading of every thirty days, counted back from the newest of all; oldest first."""
    usable = [
        Reading(point.at_ms, point.soh_pct, point.sigma_pct, point)
        for point in points
        if point.at_ms is not None and point.soh_pct is not None and point.sigma_pct is not None
    ]
    if not usable:
        return []
    usable.sort(key=lambda reading: reading.at_ms)
    kept = {(usable[-1].at_ms - reading.at_ms) // UPDATE_EVERY_MS: reading for reading in usable}
    return sorted(kept.values(), key=lambda reading: reading.at_ms)


def _course(readings: Sequence[Reading], made_ms: int | None) -> Course:
    """The newest reading's error is shared by all; what earlier ones had more of it is their own noise."""
    soh = np.array([reading.soh_pct for reading in readings])
    sigma = np.array([reading.sigma_pct for reading in readings])
    first_ms = readings[0].at_ms
    age = age_inferred_years(float(np.median(soh[:3]))) if made_ms is None else max(0, first_ms - made_ms) / YEAR_MS
    return Course(
        np.array([age + (reading.at_ms - first_ms) / YEAR_MS for reading in readings]),
        soh,
        age_documented=made_ms is not None,
        extra_sd_pct=np.sqrt(np.maximum(0.0, sigma**2 - sigma[-1] ** 2)),
        persistent_sd_pct=max(PERSISTENT_SD_PCT, float(sigma[-1])),
    )


def _months(known: Outlook, from_ms: int) -> tuple[MonthAhead, ...]:
    ahead = np.arange(MONTHS_AHEAD + 1) / MONTHS_A_YEAR
    mean, half = interval90(known, known.years + ahead)
    return tuple(
        MonthAhead(from_ms + round(years * YEAR_MS), float(soh), float(soh - wide), float(soh + wide))
        for years, soh, wide in zip(ahead, mean, half, strict=True)
    )


def _mileage(points: Sequence[SohPoint]) -> Mileage | None:
    """The odometer belongs to the car, so it needs a date but no SoH."""
    known = [(p.at_ms / YEAR_MS, p.odometer_km) for p in points if p.at_ms is not None and p.odometer_km is not None]
    return mileage([at for at, _ in known], [km for _, km in known])


def _resistance_growth_pct(points: Sequence[SohPoint]) -> float | None:
    """Percent a year of what it was at the first of these points; None with too little to tell."""
    known = [(p.at_ms, p.resistance_ohm) for p in points if p.at_ms is not None and p.resistance_ohm is not None]
    if not known:
        return None
    newest_ms = max(at_ms for at_ms, _ in known)
    monthly = {(newest_ms - at_ms) // UPDATE_EVERY_MS: (at_ms / YEAR_MS, ohm) for at_ms, ohm in sorted(known)}
    years, ohm = np.array(sorted(monthly.values())).T
    if years.size < RESISTANCE_READINGS_MIN or np.ptp(years) < RESISTANCE_SPAN_MIN_YEARS:
        return None
    slope, at_first = np.polyfit(years - years[0], ohm, 1)
    return float(100.0 * slope / at_first) if at_first > 0.0 else None


def _evidence(newest: SohPoint, events: Sequence[EventRow], resistance_growth_pct: float | None) -> Evidence:
    given = [estimate for estimate in newest.estimates if estimate.capacity_ah is not None]
    of_car = [estimate.n for estimate in given if estimate.method.startswith(BMS_VALUE_METHOD)]
    measured = [estimate.n for estimate in given if not estimate.method.startswith(BMS_VALUE_METHOD)]
    half_width = None if newest.sigma_pct is None else SIGMAS_90 * newest.sigma_pct
    if newest.lo90_pct is not None and newest.hi90_pct is not None:
        half_width = (newest.hi90_pct - newest.lo90_pct) / 2.0
    return Evidence(
        half_width_pct=half_width,
        segments=max(measured, default=0),
        bms_readings=max(of_car, default=0) if newest.basis == BMS_VALUE else None,
        harmful_open=any(
            event.event in HARM_UNTIL_INSPECTED or (event.event in HARM_WHILE_IT_LASTS and event.duration_s is None)
            for event in events
        ),
        resistance_growth_pct=resistance_growth_pct,
    )
