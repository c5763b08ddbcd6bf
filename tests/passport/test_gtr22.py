"""Durability reports: the car's monitor and our estimate apart, and no verdict that nobody may give."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from packbook.core.formats.gtr22 import Limits, fleet_report, make, standing
from packbook.core.passport import Passport
from passport import mappings, records


def limits(version: str = "gtr22") -> Limits:
    return mappings.load("limits", Limits, version)


def car(
    soce: float | None = 85.0,
    *,
    years: float = 4.0,
    km: float = 60_000.0,
    virtual_km: float | None = 0.0,
    kind: str = "car",
) -> Passport:
    facts = {
        "vehicle_class": (records.declared(kind),),
        "model": (records.declared("62A"),),
        "age_years": (records.measured(years, "year"),),
        "odometer_km": (records.reported(km, "km"),),
        "soce_pct": (records.measured(99.0, "%"),),
    }
    if soce is not None:
        facts["soce_reported_pct"] = (records.reported(soce, "%"),)
    if virtual_km is not None:
        facts["virtual_distance_km"] = (records.measured(virtual_km, "km"),)
    return replace(records.rich(), facts=facts)


def report(passport: Passport, version: str = "gtr22") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(make(passport, limits(version)).data)
    return document


def family(*passports: Passport, sample: int = 4) -> dict[str, Any]:
    (told,) = json.loads(fleet_report(passports, replace(limits(), sample_least=sample)))["families"]
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize(
    ("version", "kind", "years", "km", "least"),
    [
        ("gtr22", "car", 5.0, 100_000.0, 80.0),
        ("gtr22", "van", 1.0, 10.0, 75.0),
        ("gtr22", "car", 5.1, 10.0, 70.0),
        ("gtr22", "van", 4.0, 100_001.0, 65.0),
        ("euro7", "car", 4.0, 160_000.0, 72.0),
        ("euro7", "van", 8.0, 10.0, 67.0),
        ("euro7", "car", 8.1, 10.0, None),
        ("gtr22", "car", 1.0, 160_001.0, None),
    ],
)
def test_the_limit_follows_age_or_distance_whichever_comes_first(
    version: str, kind: str, years: float, km: float, least: float | None
) -> None:
    """Figures of facts/passport.md §7; the rule set is data."""
    assert standing(car(years=years, km=km, kind=kind), limits(version)).least_pct == least


def test_one_vehicle_gets_no_verdict() -> None:
    """Part B judges families. What is said of one car is how its own monitor stands to the limit."""
    document = report(car(79.9))
    assert document["verdict"] is None
    assert document["vehicle"]["limit"] == {
        "point": "5 years or 100 000 km",
        "least_pct": 80.0,
        "reported_is_above": False,
        "why_unknown": None,
    }


def test_our_estimate_never_stands_in_for_the_cars_monitor() -> None:
    document = report(car(None))["vehicle"]
    assert document["soce"]["reported_by_vehicle"] is None
    assert document["soce"]["estimated_by_us"]["pct"] == 99.0
    assert document["limit"]["reported_is_above"] is None
    assert "our own estimate" in document["limit"]["why_unknown"]


def test_virtual_distance_counts_and_its_absence_is_said() -> None:
    """A car that feeds a house may be past a limit that its odometer has not reached."""
    known = report(car(75.0, km=90_000.0, virtual_km=20_000.0))["vehicle"]
    assert known["distance"] | {"why_unknown": None} == {
        "driven_km": 90_000.0,
        "virtual_km": 20_000.0,
        "total_km": 110_000.0,
        "virtual_share_pct": 18.18,
        "why_unknown": None,
    }
    assert known["limit"]["least_pct"] == 70.0
    assert known["limit"]["reported_is_above"] is True
    unknown = report(car(75.0, km=90_000.0, virtual_km=None))["vehicle"]
    assert unknown["distance"]["total_km"] is None
    assert unknown["limit"]["reported_is_above"] is None
    assert "virtual distance" in unknown["limit"]["why_unknown"]
    assert report(car(85.0, virtual_km=None))["vehicle"]["limit"]["reported_is_above"] is True


@pytest.mark.parametrize("missing", ["vehicle_class", "age_years", "odometer_km"])
def test_without_age_distance_or_class_no_limit_is_chosen(missing: str) -> None:
    stands = standing(records.without(car(), missing), limits())
    assert (stands.least_pct, stands.above) == (None, None)
    assert stands.why == f"not known: {missing}"


def test_what_was_not_read_in_the_rule_itself_is_named() -> None:
    for version in ("gtr22", "euro7"):
        assert any("Annex 2" in said for said in report(car(), version)["not_verified"])


def test_every_value_that_part_b_wants_is_there_or_its_absence_explained() -> None:
    values = report(records.rich())["vehicle"]["part_b"]
    assert len(values) == 9
    assert all(value["value"] is not None or value["why_unknown"] for value in values)
    assert {value["name"] for value in values if value["value"] is not None} >= {"SOCE", "SOCR", "odometer"}


def test_a_family_passes_when_enough_of_a_large_enough_sample_stand_above() -> None:
    sample = family(*[car(85.0)] * 9, car(70.0), sample=10)["points"][0]
    assert (sample["verdict"], sample["share_above_pct"]["at_least"]) == ("pass", 90.0)
    assert sample["soce_reported_pct"] == {"min": 70.0, "median": 85.0, "max": 85.0}
    assert family(*[car(85.0)] * 8, car(70.0), car(70.0), sample=10)["points"][0]["verdict"] == "fail"


def test_a_small_sample_gets_no_verdict() -> None:
    """The rule wants 500 vehicles; the one of a workshop is no fleet."""
    told = json.loads(fleet_report([car()] * 3, limits()))["families"][0]["points"][0]
    assert told["verdict"] is None
    assert told["why_no_verdict"] == "a sample of 3; the rule wants 500"


def test_vehicles_that_cannot_be_told_do_not_make_a_family_look_better() -> None:
    """Without the virtual distance only good values are certain: counting those alone, every family would pass."""
    sample = family(car(85.0), car(85.0), car(75.0, virtual_km=None), car(75.0, virtual_km=None))["points"][0]
    assert (sample["above"], sample["unclear"]) == (2, 2)
    assert sample["share_above_pct"] == {"at_least": 50.0, "at_most": 100.0, "wanted": 90.0}
    assert sample["verdict"] is None
    assert "virtual distance" in sample["why_no_verdict"]


def test_families_are_not_mixed() -> None:
    told = json.loads(fleet_report([car(), car(kind="van"), records.without(car(), "model")], limits()))["families"]
    assert [(one["class"], one["model"]) for one in told] == [("car", "62A"), ("car", "unknown"), ("van", "62A")]


def test_no_time_of_day_is_in_a_report() -> None:
    data = make(records.rich(), limits()).data + fleet_report([records.rich()], limits())
    assert b"13:37" not in data
    assert b"2026-10-31" in data
