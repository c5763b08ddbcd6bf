"""Whatever a record holds, a format is valid or is refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aas_core3 import jsonization, verification
from hypothesis import HealthCheck, given, settings

from packbook.adapters.cards import read_card
from packbook.adapters.rules import RuleBook
from packbook.app.demo_cards import CARDS
from packbook.core.declared import Declared, Scope
from packbook.core.formats import Made
from packbook.core.passport import Passport
from packbook.core.passport_of import Life, passport_of
from packbook.core.prospect import forecast_of
from packbook.testing.lived_in import lived_in
from passport import mappings
from passport.makers import all_made
from passport.official import odd_numbers, odd_times, refusals, strangers
from passport.random_records import passports
from passport.records import MADE_MS, PASSPORT_ID, URI
from passport.test_aas import findings
from passport.test_official_schemas import BATTERY_PASS, CONDITION, HEADER, LIFE, SPECTRUM, group_by_group

Schema = Callable[[str], Any]


def faults(name: str, made: Any, schema: Schema) -> list[str]:
    if name == "aas":
        environment = jsonization.environment_from_jsonable(made)
        said = [f"{error.path}: {error.cause}" for error in verification.verify(environment)]
        return [*said, *filter(None, [findings(made)])]
    official, documents = {
        "idta": (schema(CONDITION), [made]),
        "idta-1.0.3": (schema(CONDITION), [made]),
        "batterypass": (group_by_group(schema(BATTERY_PASS)), [made]),
        "load-spectrum": (schema(SPECTRUM), made),
        "remaining-life": (schema(LIFE), [made]),
        "dpp": (schema(HEADER), [made]),
    }[name]
    model = mappings.batterypass() if name == "batterypass" else mappings.condition()
    return [
        fault
        for document in documents
        for fault in (
            *refusals(official, document),
            *strangers(official, document),
            *odd_times(document),
            *odd_numbers(document, model),
        )
    ]


@pytest.mark.parametrize("card", ["leaf-24", "leaf-62", "imiev-16", None])
async def test_a_battery_that_lived_in_a_car_makes_valid_files(schema: Schema, card: str | None) -> None:
    """The whole way: what a box told, what a card declares, the record, and every format of it."""
    book, battery = lived_in(), "leaf-24-0001"
    head = await book.battery(battery)
    assert head is not None
    points, events = await book.soh_series(battery), await book.events(battery, 500)
    usage, sessions = await book.usage(battery), await book.sessions(battery, limit=50)
    life = Life(head, points, usage, sessions, events, forecast_of(points, events))
    rules = RuleBook().fields()
    said = read_card(CARDS / f"{card}.toml", rules, Scope.BATTERY, MADE_MS) if card else []
    told = {"identifiers": f"gs1:{URI}", "passport_id": PASSPORT_ID, "made_on": "2020-04"} if card else {}
    said = [*said, *(Declared(name, value, "Example Motors", MADE_MS) for name, value in told.items())]
    made = all_made(passport_of(life, rules, said, made_ms=MADE_MS))
    refused = {name for name, one in made.items() if isinstance(one, str)}
    assert refused == (set() if card else {"load-spectrum", "remaining-life", "dpp"})
    assert [faults(name, json.loads(one.data), schema) for name, one in made.items() if isinstance(one, Made)] == [
        [] for name in made if name not in refused
    ]


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(passport=passports())
def test_every_format_of_any_record_is_valid_or_refused_with_a_reason(schema: Schema, passport: Passport) -> None:
    """Records come from cars, cards and workshops: none of them may make a file that a partner refuses."""
    for name, made in all_made(passport).items():
        if isinstance(made, Made):
            assert faults(name, json.loads(made.data), schema) == [], name
            assert all(left.name and left.reason for left in made.left_out)
        else:
            assert ": " in made


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(passport=passports())
def test_a_group_is_there_only_for_a_field_that_is(passport: Passport) -> None:
    """No value comes from elsewhere than the record given."""
    for name, model in (("idta", mappings.condition()), ("batterypass", mappings.batterypass())):
        made = all_made(passport)[name]
        if isinstance(made, str):
            continue
        document = json.loads(made.data)
        groups = document.get("batteryCondition", document)
        for group in model.groups:
            fields = {field for place in group.places for field in place.fields} | set(group.fields)
            held = {field for field in fields if any(fact.value is not None for fact in passport.facts.get(field, ()))}
            assert held or group.empty or group.name not in groups
