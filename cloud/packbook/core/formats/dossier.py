"""What a second-life maker or a recycler must know of one battery before he takes it on, in one file.

In:  a passport, the table of what is owed. Out: JSON: chemistry and masses, state of health with its interval, harm,
triage with its reasons, how long it served, who held it. Instead of a value that is not known stands the reason.
It proposes and decides nothing: before any re-use a person inspects the battery.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from packbook.core.formats import LeftOut, Made
from packbook.core.formats.neutral import fact_told
from packbook.core.formats.writing import ABOUT_LIFE, ABOUT_VALUES, Account, as_json, day
from packbook.core.passport import Coverage, Fact, Passport
from packbook.core.rules import Owed
from packbook.core.state_of_health import NOT_TOLD, state_of_health

SUFFIX: Final = ".dossier.json"
FORM: Final = "packbook-dossier/1"
NO_PLACE: Final = "not what a second life or recycling asks for; the neutral record has it"
NO_SOH: Final = "the law defines no state of health for this category"
ADVICE: Final = "common practice, not law; a person inspects the battery before any re-use"
EVIDENCE: Final = LeftOut("evidence", "the neutral record and the evidence bundle name the signed records")

WHICH: Final = (
    "identifiers",
    "passport_id",
    "passport_before_id",
    "status",
    "manufacturer",
    "model",
    "made_on",
    "in_service_on",
    "cells_in_series",
    "rated_capacity_ah",
    "rated_energy_kwh",
    "voltage_min_v",
    "voltage_nominal_v",
    "voltage_max_v",
)
MATTER: Final = ("chemistry", "mass_kg", "lithium_kg", "cobalt_kg", "nickel_kg", "manganese_kg")
BESIDE: Final = ("soh_capacity_pct", "soh_reported_pct", "soh_declared_pct", "remaining_capacity_ah", "resistance_ohm")
HARM: Final = ("negative_event", "deep_discharge_count", "overcharge_count", "accident")
NOW: Final = ("soc_pct", "temp_degc")
SERVED: Final = ("age_years", "odometer_km", "energy_delivered_kwh", "full_cycles", "charges_ac", "charges_dc")
MAY_BE_EMPTY: Final = {"negative_event": "none was seen", "accident": "none was declared"}

Json = dict[str, Any]


def make(passport: Passport, owed: Owed) -> Made:
    account = Account(passport, dict.fromkeys(passport.facts, NO_PLACE))
    told = {
        "form": FORM,
        "battery": passport.battery,
        "category": passport.category,
        "as_of": day(passport.made_ms),
        "rules": {**passport.rules, owed.family: owed.version},
        "which": _all(passport, WHICH, account),
        "matter": _all(passport, MATTER, account),
        "state_of_health": _health(passport, owed, account),
        "harm": _all(passport, HARM, account),
        "now": _all(passport, NOW, account),
        "triage": _triage(passport, account),
        "served": _all(passport, SERVED, account),
        "custody": [_fact(fact) for fact in _taken(passport, "custody", account)],
        "coverage": None if passport.coverage is None else _coverage(passport.coverage),
    }
    left = tuple(one for one in account.left_out() if one not in (ABOUT_VALUES, ABOUT_LIFE))
    return Made(as_json(told), (*left, EVIDENCE))


def _all(passport: Passport, names: Iterable[str], account: Account) -> dict[str, list[Json]]:
    """Every fact of each field, side by side; one without any says so."""
    found = {name: [_fact(fact) for fact in _taken(passport, name, account)] for name in names}
    return {name: facts or [_absent(name, passport)] for name, facts in found.items()}


def _taken(passport: Passport, name: str, account: Account) -> tuple[Fact, ...]:
    facts = passport.facts.get(name, ())
    account.taken.update((name, at) for at in range(len(facts)))
    return facts


def _absent(name: str, passport: Passport) -> Json:
    """No harm seen is a finding, but only where somebody watched and the reader may see harm."""
    may_see = "deep_discharge_count" in passport.facts
    return {"value": None, "why": MAY_BE_EMPTY[name] if may_see and name in MAY_BE_EMPTY else NOT_TOLD}


def _health(passport: Passport, owed: Owed, account: Account) -> Json:
    asked = state_of_health(passport, owed)
    values = []
    for one in asked:
        if one.field is not None:
            account.take(one.field)
        values.append({"name": one.name, **({"value": None, "why": one.why} if one.fact is None else _fact(one.fact))})
    in_law: Json = {"values": values} if asked else {"values": [], "why": NO_SOH}
    return {"in_law": in_law, "beside": _all(passport, BESIDE, account)}


def _triage(passport: Passport, account: Account) -> Json:
    """Refused uses stand in the order they were looked at, the best first."""
    fact = next(iter(_taken(passport, "next_use", account)), None)
    if fact is None or fact.value is None:
        return {"next_use": None, "why": NOT_TOLD if fact is None else fact.why, "note": ADVICE}
    refused = [one.partition(": ") for one in str(fact.conditions.get("refused", "")).split("; ") if one]
    not_known = [one for one in str(fact.conditions.get("not_known", "")).split(", ") if one]
    return {
        "next_use": fact.value,
        "on": None if fact.at_ms is None else day(fact.at_ms),
        "method": fact.method,
        "refused": [{"use": use, "reasons": reasons.split(", ")} for use, _, reasons in refused],
        "not_known": not_known,
        "note": ADVICE,
    }


def _fact(fact: Fact) -> Json:
    return {name: said for name, said in fact_told(fact).items() if name != "evidence"}


def _coverage(seen: Coverage) -> Json:
    return {
        "since": None if seen.since_ms is None else day(seen.since_ms),
        "until": None if seen.until_ms is None else day(seen.until_ms),
        "observed_s": seen.observed_s,
        "inferred_s": seen.inferred_s,
        "unobserved_s": seen.unobserved_s,
        "unwatched_s": seen.unwatched_s,
        "gaps": len(seen.gaps),
    }
