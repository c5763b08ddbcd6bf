"""What second-life makers and recyclers get: the right health for the category, harm, triage, and what is not known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from packbook.adapters.rules import RuleBook
from packbook.app.access import access_rules
from packbook.core.access import Reader
from packbook.core.formats.dossier import make
from packbook.core.passport import Fact, Passport
from packbook.core.state_of_health import state_of_health
from passport.records import declared, measured, poor, rich

RULES = RuleBook()
OWED = RULES.owed()
FIVE = [
    "remaining capacity, as state of health",
    "self-discharge, as state of health",
    "remaining power, as state of health",
    "round-trip efficiency, as state of health",
    "ohmic resistance, as state of health",
]


def dossier(passport: Passport) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(make(passport, OWED).data)
    return told


def with_facts(**facts: Fact) -> Passport:
    return replace(rich(), facts={**rich().facts, **{name: (fact,) for name, fact in facts.items()}})


@pytest.mark.parametrize(
    ("category", "names"),
    [("ev", ["state of certified energy"]), ("lmt", FIVE), ("stationary", FIVE), ("industrial", [])],
)
def test_state_of_health_is_what_the_law_calls_so(category: str, names: list[str]) -> None:
    """An EV has its certified energy alone, scooter and house store have five values, others none."""
    passport = replace(rich(), category=category)
    assert [one.name for one in state_of_health(passport, OWED)] == names
    health = dossier(passport)["state_of_health"]["in_law"]
    assert [value["name"] for value in health["values"]] == names
    assert ("why" in health) == (names == [])


@pytest.mark.parametrize("category", ["ev", "lmt", "stationary"])
def test_each_value_is_there_or_says_why_not(category: str) -> None:
    """A box cannot tell self-discharge: an empty place says so and is not filled with something near."""
    for passport in (replace(rich(), category=category), replace(poor(), category=category)):
        for value in dossier(passport)["state_of_health"]["in_law"]["values"]:
            assert (value["value"] is None) == ("why" in value)


def test_a_capacity_ratio_is_never_told_as_the_state_of_health_of_an_ev() -> None:
    """It stands beside, with its interval, under its own name."""
    bare = replace(rich(), facts={n: f for n, f in rich().facts.items() if not n.startswith("soce")})
    told = dossier(bare)["state_of_health"]
    assert [value["value"] for value in told["in_law"]["values"]] == [None]
    (ours,) = told["beside"]["soh_capacity_pct"]
    assert ours["lo90"] < ours["value"] < ours["hi90"]


def test_triage_comes_with_its_reasons() -> None:
    """Whoever is told 'stationary' asks why not a car."""
    conditions = {"refused": "car: low, short; small_mobility: knee", "not_known": "resistance"}
    told = dossier(with_facts(next_use=measured("stationary", "1", conditions=conditions)))["triage"]
    assert told["next_use"] == "stationary"
    assert told["refused"] == [
        {"use": "car", "reasons": ["low", "short"]},
        {"use": "small_mobility", "reasons": ["knee"]},
    ]
    assert told["not_known"] == ["resistance"]
    assert "inspects" in told["note"]


def test_masses_and_harm_are_told_or_named_as_not_known() -> None:
    """A recycler plans by them: no cobalt is another thing than cobalt unknown."""
    told = dossier(with_facts(cobalt_kg=declared(0.0, "kg")))
    assert told["matter"]["lithium_kg"][0]["value"] == 7.1
    assert told["matter"]["cobalt_kg"][0]["value"] == 0
    nickel = told["matter"]["nickel_kg"][0]
    assert nickel["value"] is None
    assert "nobody declared it" in nickel["why"]
    assert told["harm"]["deep_discharge_count"][0]["source"] == "measured"


def test_a_recycler_sees_in_a_dossier_what_he_may_and_no_outlook() -> None:
    """Purposes cut before the file is made; what was cut is not told as though it were not there."""
    cut = access_rules(RULES).redact(rich(), Reader("interest", "recycling")).passport
    told = dossier(cut)
    assert told["coverage"] is None
    assert told["triage"]["next_use"] is None
    assert "its reader may not see it" in told["triage"]["why"]
    assert told["matter"]["lithium_kg"][0]["value"] == 7.1


def test_what_a_dossier_leaves_out_is_named() -> None:
    """Forecasts and histograms are in the neutral record."""
    left = {one.name: one.reason for one in make(rich(), OWED).left_out}
    assert "evidence" in left
    assert "soc_temp_time_s" in left
    assert not {"chemistry", "deep_discharge_count", "soh_capacity_pct"} & left.keys()
