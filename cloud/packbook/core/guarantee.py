"""Decide whether "SoH is at least so much then" may be promised, and say what stands against it.

In:  the course of a battery, its outlook, and the evidence behind its readings.
Out: a `Decision`: probability, offered or not, every failed condition by name, and what could not be checked.
Rules and limits are those of facts/soh.md §12. A promise that fails one of them is not made smaller, it is not made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import NormalDist
from typing import Final

import numpy as np

from packbook.core.forecast import (
    PERSISTENT_SD_PCT,
    SIGMAS_90,
    Course,
    FloatArray,
    Mileage,
    Outlook,
    factor_ahead,
    predict,
    reached_years,
)

PROBABILITY_MIN: Final = 0.95
FACTOR_MIN: Final = 1.3  # the widening without which no promise is made
LOGGED_MIN_YEARS: Final = 180.0 / 365.25
UPDATES_MIN: Final = 6
SEGMENTS_MIN: Final = 40
BMS_READINGS_MIN: Final = 20
HALF_WIDTH_MAX_PCT: Final = 3.0
HORIZON_MAX_YEARS: Final = 3.0
HORIZON_TO_AGE_MAX: Final = 2.0
MARGIN_MIN_PCT: Final = 3.0
RESISTANCE_GROWTH_MAX_PCT: Final = 30.0  # a year
LOW_PACK_PCT: Final = 75.0  # knees lie below
KNEE_RATIO: Final = 2.0  # slope of the last half year to that of the last two years
KNEE_RECENT_YEARS: Final = 0.5
KNEE_BASE_YEARS: Final = 2.0
# Slopes nearer than this to each other differ by reading noise alone: 0.3 pp at both ends of half a year.
KNEE_SLOPE_NOISE_PCT: Final = 1.0  # a year
MONTH_SLACK_YEARS: Final = 0.02  # calendar months are not equally long


class Condition(StrEnum):
    """What a promise can fail on. The names are stable: other programs and the pages' catalogues use them."""

    PROBABILITY = "probability"
    LOGGED = "logged"
    EVIDENCE = "evidence"
    INTERVAL = "interval"
    HORIZON = "horizon"
    MARGIN = "margin"
    HARM = "harm"
    RESISTANCE = "resistance"
    LOW_PACK = "low_pack"
    KNEE = "knee"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What stands behind the readings. None: not known here, then the condition is named as not checked."""

    half_width_pct: float | None = None  # of the newest reading's 90 % interval
    segments: int | None = None  # accepted ones
    bms_readings: int | None = None  # of the car's own capacity figure, where that is the basis
    harmful_open: bool | None = None
    resistance_growth_pct: float | None = None  # a year


@dataclass(frozen=True, slots=True)
class Failed:
    """A condition with what was found and what is asked, in the condition's unit."""

    condition: Condition
    found: float
    asked: float


@dataclass(frozen=True, slots=True)
class Decision:
    threshold_pct: float
    horizon_years: float  # from the newest reading
    horizon_km: float | None  # driven from then on; the promise ends with whichever comes first. None: years alone
    judged_years: float  # when that is
    probability: float
    failed: tuple[Failed, ...]
    not_checked: tuple[Condition, ...]
    bms_based: bool

    @property
    def offered(self) -> bool:
        return not self.failed


def probability_above(known: Outlook, threshold_pct: float, years: float, factor_min: float = FACTOR_MIN) -> float:
    """That SoH is at least the threshold at this age, with the sd widened for what the model cannot know."""
    sure = replace(known, persistent_sd_pct=max(known.persistent_sd_pct, PERSISTENT_SD_PCT))
    mean, sd = predict(sure, np.array([years]))
    ahead_years = np.array([years - known.years])
    factor = max(
        factor_min, *(float(factor_ahead(f, ahead_years)[0]) for f in (known.model.factor, known.model.factor_low))
    )
    return NormalDist().cdf(float((mean[0] - threshold_pct) / (factor * sd[0])))


def decide(
    seen: Course,
    known: Outlook,
    evidence: Evidence,
    threshold_pct: float,
    horizon_years: float,
    horizon_km: float | None = None,
    driven: Mileage | None = None,
) -> Decision:
    """Every condition is looked at, so that the owner learns all that is missing at once.

    A horizon in km counts only where the odometer tells a pace: without one the promise must hold for all its years.
    """
    judged_years = horizon_years
    if horizon_km is None or driven is None:
        horizon_km = None
    else:
        judged_years = min(horizon_years, reached_years(driven, horizon_km))
    failed, not_checked = _check_standing(seen, known, evidence)
    now_pct = float(predict(known, np.array([known.years]))[0][0])
    logged_years = float(seen.years[-1] - seen.years[0])
    age_years = float(seen.years[-1]) if seen.age_documented else logged_years
    horizon_max = min(HORIZON_MAX_YEARS, HORIZON_TO_AGE_MAX * age_years)
    probability = probability_above(known, threshold_pct, known.years + judged_years)
    if judged_years > horizon_max + MONTH_SLACK_YEARS:
        failed.append(Failed(Condition.HORIZON, judged_years, horizon_max))
    if now_pct - threshold_pct < MARGIN_MIN_PCT:
        failed.append(Failed(Condition.MARGIN, now_pct - threshold_pct, MARGIN_MIN_PCT))
    if probability < PROBABILITY_MIN:
        failed.append(Failed(Condition.PROBABILITY, probability, PROBABILITY_MIN))
    bms_based = evidence.bms_readings is not None
    return Decision(
        threshold_pct, horizon_years, horizon_km, judged_years, probability, tuple(failed), not_checked, bms_based
    )


def _check_standing(seen: Course, known: Outlook, evidence: Evidence) -> tuple[list[Failed], tuple[Condition, ...]]:
    """The conditions that do not depend on what is promised."""
    failed: list[Failed] = []
    not_checked: list[Condition] = []
    logged_years = float(seen.years[-1] - seen.years[0])
    if logged_years < LOGGED_MIN_YEARS - MONTH_SLACK_YEARS and seen.years.size < UPDATES_MIN:
        failed.append(Failed(Condition.LOGGED, logged_years, LOGGED_MIN_YEARS))
    if evidence.bms_readings is not None:
        if evidence.bms_readings < BMS_READINGS_MIN:
            failed.append(Failed(Condition.EVIDENCE, evidence.bms_readings, BMS_READINGS_MIN))
    elif evidence.segments is None:
        not_checked.append(Condition.EVIDENCE)
    elif evidence.segments < SEGMENTS_MIN:
        failed.append(Failed(Condition.EVIDENCE, evidence.segments, SEGMENTS_MIN))
    now_pct, now_sd_pct = (float(values[0]) for values in predict(known, np.array([known.years])))
    half_width = evidence.half_width_pct if evidence.half_width_pct is not None else SIGMAS_90 * now_sd_pct
    if half_width > HALF_WIDTH_MAX_PCT:
        failed.append(Failed(Condition.INTERVAL, half_width, HALF_WIDTH_MAX_PCT))
    if evidence.harmful_open is None:
        not_checked.append(Condition.HARM)
    elif evidence.harmful_open:
        failed.append(Failed(Condition.HARM, 1.0, 0.0))
    if evidence.resistance_growth_pct is None:
        not_checked.append(Condition.RESISTANCE)
    elif evidence.resistance_growth_pct > RESISTANCE_GROWTH_MAX_PCT:
        failed.append(Failed(Condition.RESISTANCE, evidence.resistance_growth_pct, RESISTANCE_GROWTH_MAX_PCT))
    lowest_pct = min(now_pct, float(seen.soh_pct[-1]))
    if lowest_pct < LOW_PACK_PCT:
        failed.append(Failed(Condition.LOW_PACK, lowest_pct, LOW_PACK_PCT))
    ratio = knee_ratio(seen)
    if ratio is not None and ratio >= KNEE_RATIO:
        failed.append(Failed(Condition.KNEE, ratio, KNEE_RATIO))
    return failed, tuple(not_checked)


def knee_ratio(seen: Course) -> float | None:
    """How much faster the last half year fades than the last two years (or all there is, if shorter).

    None where either cannot be told from this few readings; 1 where they differ by no more than reading noise makes.
    """
    recent = seen.years >= seen.years[-1] - KNEE_RECENT_YEARS - MONTH_SLACK_YEARS
    base = seen.years >= seen.years[-1] - KNEE_BASE_YEARS - MONTH_SLACK_YEARS
    if recent.sum() < 3 or base.sum() < recent.sum() + 3:
        return None
    fast, usual = _fade_a_year(seen, recent), _fade_a_year(seen, base)
    if fast - usual <= KNEE_SLOPE_NOISE_PCT:
        return 1.0
    return fast / usual if usual > 0.0 else float("inf")


def _fade_a_year(seen: Course, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    years, soh = seen.years[chosen], seen.soh_pct[chosen]
    centred: FloatArray = years - years.mean()
    return -float(centred @ soh / (centred @ centred))
