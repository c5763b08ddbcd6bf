"""Durability of car batteries as UN GTR 22 and Euro 7 look at it, Part B: what each car's own monitor says.

In:  records of cars' batteries, and `Limits`: one version of the rule as data.
Out: a report of one vehicle (`make`), or of a family of them (`fleet_report`).
The car's monitor and our own estimate are two values with two sources; the rule is about the monitor alone. Part B
judges families by a sample, so one vehicle gets no verdict, and a sample that is too small none either. What is not
known (as a rule the virtual distance, so the total one too) is said, never taken for zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from packbook.core.formats import Made
from packbook.core.formats.writing import Account, as_json, day, number, text
from packbook.core.passport import Passport

SUFFIX: Final = ".durability.json"
FORM: Final = "packbook/durability/1"
ONE: Final = "Part B judges a sample of a family, not one vehicle"
DECIMALS: Final = 2
NO_VIRTUAL: Final = "energy delivered out of the car is not known, so neither is the virtual distance"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """Up to so many years or kilometres, whichever comes first, the SOCE of a class is at least so much."""

    name: str
    years: float
    km: float
    least_pct: Mapping[str, float]  # by class of vehicle


@dataclass(frozen=True, slots=True)
class PartB:
    """A value that Part B wants to be read. `field` empty: a record never has it, and `reason` says why."""

    name: str
    field: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    family: str
    version: str
    title: str
    source: str
    sample_least: int
    share_least_pct: float
    points: tuple[Point, ...]  # the nearest first
    values: tuple[PartB, ...]
    unverified: tuple[str, ...] = ()  # what nobody here read in the rule itself


MAPPING: Final = Limits


@dataclass(frozen=True, slots=True)
class Standing:
    """How one vehicle stands to the point that holds for it. `above` None: it cannot be told, and `why` says so."""

    point: Point | None
    least_pct: float | None
    above: bool | None
    why: str | None


def make(passport: Passport, mapping: Limits) -> Made:
    account = Account(passport)
    report = {
        "form": FORM,
        **_rule(mapping),
        "vehicle": _vehicle(passport, mapping, account),
        "verdict": None,
        "why_no_verdict": ONE,
    }
    return Made(as_json(report), account.left_out())


def fleet_report(passports: Sequence[Passport], limits: Limits) -> bytes:
    """Of each family (class and battery model) how its vehicles stand, and a verdict where the sample allows one."""
    families: dict[tuple[str, str], list[Passport]] = {}
    for passport in passports:
        family = text(passport, "vehicle_class") or "unknown", text(passport, "model") or "unknown"
        families.setdefault(family, []).append(passport)
    told = [_family(*family, members, limits) for family, members in sorted(families.items())]
    return as_json({"form": FORM, **_rule(limits), "families": told})


def standing(passport: Passport, limits: Limits) -> Standing:
    """The car's monitor against the limit that holds at its age and distance."""
    reported, years, driven_km = (_value(passport, n) for n in ("soce_reported_pct", "age_years", "odometer_km"))
    vehicle_class = text(passport, "vehicle_class")
    missing = {"vehicle_class": vehicle_class, "age_years": years, "odometer_km": driven_km}
    unknown = [name for name, value in missing.items() if value is None]
    if years is None or driven_km is None or vehicle_class is None:
        return Standing(None, None, None, f"not known: {', '.join(unknown)}")
    total_km = _total_km(passport)
    least_km = driven_km if total_km is None else total_km
    point = next((one for one in limits.points if years <= one.years and least_km <= one.km), None)
    if point is None:
        return Standing(None, None, None, "older or further than the rule looks")
    least = point.least_pct.get(vehicle_class)
    if least is None:
        return Standing(point, None, None, f"the rule has no limit for class {vehicle_class}")
    if reported is None:
        return Standing(point, least, None, "the car reports no SOCE; our own estimate does not stand in for it")
    if reported >= least:
        return Standing(point, least, above=True, why=None)  # with virtual distance the limit could only be lower
    if total_km is None:
        return Standing(point, least, None, f"{NO_VIRTUAL}; with it another limit may hold")
    return Standing(point, least, above=False, why=None)


def _vehicle(passport: Passport, limits: Limits, account: Account) -> Json:
    stands = standing(passport, limits)
    driven, virtual, total = (
        _value(passport, "odometer_km"),
        _value(passport, "virtual_distance_km"),
        _total_km(passport),
    )
    share = round(100 * virtual / total, DECIMALS) if virtual is not None and total else None
    names = ("soce_reported_pct", "soce_pct", "socr_reported_pct", "odometer_km", "virtual_distance_km", "age_years")
    for name in (*names, "vehicle_class", "model", *(value.field for value in limits.values if value.field)):
        account.take(name)
    return {
        "battery": passport.battery,
        "class": text(passport, "vehicle_class"),
        "model": text(passport, "model"),
        "age_years": _value(passport, "age_years"),
        "soce": {
            "reported_by_vehicle": _told(passport, "soce_reported_pct"),
            "estimated_by_us": _told(passport, "soce_pct"),
        },
        "socr": {"reported_by_vehicle": _told(passport, "socr_reported_pct")},
        "distance": {
            "driven_km": driven,
            "virtual_km": virtual,
            "total_km": total,
            "virtual_share_pct": share,
            "why_unknown": NO_VIRTUAL if virtual is None else None,
        },
        "limit": {
            "point": stands.point and stands.point.name,
            "least_pct": stands.least_pct,
            "reported_is_above": stands.above,
            "why_unknown": stands.why,
        },
        "part_b": [_part_b(passport, value) for value in limits.values],
    }


def _family(vehicle_class: str, model: str, members: Sequence[Passport], limits: Limits) -> Json:
    stands = [(passport, standing(passport, limits)) for passport in members]
    told: Json = {"class": vehicle_class, "model": model, "vehicles": len(members), "points": []}
    for point in limits.points:
        here = [(passport, one) for passport, one in stands if one.point is point]
        told["points"].append(_sample(point, point.least_pct.get(vehicle_class), here, limits))
    reasons = [one.why for _, one in stands if one.above is None]
    told["not_judged"] = {why: reasons.count(why) for why in dict.fromkeys(reasons)}
    return told


def _sample(point: Point, least: float | None, here: Sequence[tuple[Passport, Standing]], limits: Limits) -> Json:
    """Who cannot be told counts both ways: leaving those out would leave out the tired ones."""
    reporting = [(soce, one) for passport, one in here if (soce := _value(passport, "soce_reported_pct")) is not None]
    values = [soce for soce, _ in reporting]
    above = sum(one.above is True for _, one in reporting)
    unclear = sum(one.above is None for _, one in reporting)
    shares = [round(100 * n / len(values), DECIMALS) for n in (above, above + unclear)] if values else [None, None]
    verdict, why = _verdict(shares, len(values), limits)
    return {
        "point": point.name,
        "least_pct": least,
        "vehicles": len(here),
        "reporting": len(values),
        "above": above,
        "unclear": unclear,
        "share_above_pct": {"at_least": shares[0], "at_most": shares[1], "wanted": limits.share_least_pct},
        "soce_reported_pct": _spread(values),
        "verdict": verdict,
        "why_no_verdict": why,
    }


def _verdict(shares: Sequence[float | None], sample: int, limits: Limits) -> tuple[str | None, str | None]:
    least, most = shares
    if sample < limits.sample_least or least is None or most is None:
        return None, f"a sample of {sample}; the rule wants {limits.sample_least}"
    if least >= limits.share_least_pct:
        return "pass", None
    if most < limits.share_least_pct:
        return "fail", None
    return None, f"{least:g} to {most:g} % are above, {limits.share_least_pct:g} % are wanted; {NO_VIRTUAL}"


def _spread(values: Sequence[float]) -> Json | None:
    return {"min": min(values), "median": round(median(values), DECIMALS), "max": max(values)} if values else None


def _rule(limits: Limits) -> Json:
    rule = {"title": limits.title, "version": limits.version, "source": limits.source}
    return {"rule": rule, "not_verified": list(limits.unverified)}


def _part_b(passport: Passport, wanted: PartB) -> Json:
    fact = passport.first(wanted.field) if wanted.field else None
    if fact is None:
        absent = next((one.why for one in passport.facts.get(wanted.field, ()) if one.why), None)
        return {"name": wanted.name, "value": None, "why_unknown": absent or wanted.reason or "not in the record"}
    return {"name": wanted.name, "value": fact.value, "unit": fact.unit, "source": fact.source.value}


def _told(passport: Passport, name: str) -> Json | None:
    """With its source: what the car's monitor says may also have been read off by somebody and declared."""
    fact = passport.first(name)
    if fact is None:
        return None
    told = {
        "pct": fact.value,
        "source": fact.source.value,
        "by": fact.by,
        "method": fact.method,
        "day": None if fact.at_ms is None else day(fact.at_ms),
        "lo90": fact.lo90,
        "hi90": fact.hi90,
    }
    return {key: value for key, value in told.items() if value is not None}


def _value(passport: Passport, name: str) -> float | None:
    fact = passport.first(name)
    return None if fact is None else number(fact)


def _total_km(passport: Passport) -> float | None:
    driven, virtual = _value(passport, "odometer_km"), _value(passport, "virtual_distance_km")
    return None if driven is None or virtual is None else round(driven + virtual, DECIMALS)
