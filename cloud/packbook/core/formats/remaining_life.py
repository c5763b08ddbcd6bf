"""Catena-X RemainingUsefulLife: how far and how long until the battery reaches the end of its life in the car.

In:  a record with a forecast of the first passage below a threshold, an odometer and an age. Out: JSON.
Refuses (CannotMake) a record without them. The model has one number each: the interval goes to what was left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from packbook.core.formats import CannotMake, LeftOut, Made
from packbook.core.formats.writing import Account, as_json, day_utc, number
from packbook.core.passport import Fact, Passport

SUFFIX: Final = ".remaininglife.json"
FORECAST: Final = "forecast_soh_pct"  # holds the reason where there is no forecast
HOURS_MEANT: Final = LeftOut("operating hours", "the model has hours of operation; written are hours of the calendar")


@dataclass(frozen=True, slots=True)
class End:
    """A threshold of SoH, and the fields that say when it is passed."""

    threshold_pct: float
    months: str
    km: str


@dataclass(frozen=True, slots=True)
class RemainingLife:
    family: str
    version: str
    source: str
    hours_a_month: float
    hours_a_year: float
    origin: str
    ends: tuple[End, ...]
    lacking: Mapping[str, str] = field(default_factory=dict)  # what to do about a field that is not there


MAPPING: Final = RemainingLife


def make(passport: Passport, mapping: RemainingLife) -> Made:
    end = _end(passport, mapping)
    wanted = {end.months: "month", end.km: "km", "odometer_km": "km", "age_years": "year"}
    facts = {name: passport.first(name) for name in wanted}
    values = {name: _value(fact, wanted[name]) for name, fact in facts.items()}
    months = facts[end.months]
    lacking = [LeftOut(name, _why(passport, name, mapping)) for name, value in values.items() if value is None]
    if lacking or months is None or months.at_ms is None:
        lacking = lacking or [LeftOut(end.months, "its day is not known")]
        raise CannotMake(f"RemainingUsefulLife {mapping.version}", tuple(lacking))
    known = {name: value for name, value in values.items() if value is not None}
    account = Account(passport)
    account.lacks("threshold", f"the model does not say what ends the life; here it is {end.threshold_pct:g} % SoH")
    for name in wanted:
        account.take(name)
        _tell_interval(account, name, facts[name])
    life = {
        "remainingRunningDistance": math.floor(known[end.km]),
        "remainingOperatingHours": float(math.floor(known[end.months] * mapping.hours_a_month)),
        "determinationStatus": {
            "date": day_utc(months.at_ms),
            "operatingHours": float(math.floor(known["age_years"] * mapping.hours_a_year)),
            "mileage": math.floor(known["odometer_km"]),
        },
        "determinationLoaddataSource": {"informationOriginLoadSpectrum": mapping.origin},
    }
    return Made(as_json(life), (HOURS_MEANT, *account.left_out()))


def _end(passport: Passport, mapping: RemainingLife) -> End:
    """The first that is forecast, the declared threshold's before the others."""
    declared = passport.first("exhaustion_threshold_pct")
    ends = sorted(mapping.ends, key=lambda end: declared is None or end.threshold_pct != declared.value)
    return next((end for end in ends if passport.first(end.months) and passport.first(end.km)), ends[0])


def _value(fact: Fact | None, unit: str) -> float | None:
    value = number(fact) if fact and fact.unit == unit else None
    return value if value is not None and value >= 0 else None


def _why(passport: Passport, name: str, mapping: RemainingLife) -> str:
    """What the record says of the missing value, or of there being no forecast at all."""
    fields = (name,) if name in mapping.lacking else (name, FORECAST)
    told = next((fact.why for known in fields for fact in passport.facts.get(known, ()) if fact.why), None)
    return told or mapping.lacking.get(name, "not in the record given, or not a number that can be believed")


def _tell_interval(account: Account, name: str, fact: Fact | None) -> None:
    if fact and fact.lo90 is not None and fact.hi90 is not None:
        account.lacks(
            name, f"the model has one number; nine in ten lie within {fact.lo90:g} to {fact.hi90:g} {fact.unit}"
        )
