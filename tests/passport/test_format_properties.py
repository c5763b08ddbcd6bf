"""Whatever a record holds, a format is valid or is refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aas_core3 import jsonization, verification
from hypothesis import HealthCheck, given, settings

from packbook.core.formats import Made
from packbook.core.passport import Passport
from passport import mappings
from passport.makers import all_made
from passport.official import odd_numbers, odd_times, refusals, strangers
from passport.random_records import passports
from passport.test_official_schemas import BATTERY_PASS, CONDITION, HEADER, LIFE, SPECTRUM, group_by_group

Schema = Callable[[str], Any]


def faults(name: str, made: Any, schema: Schema) -> list[str]:
    if name == "aas":
        environment = jsonization.environment_from_jsonable(made)
        return [f"{error.path}: {error.cause}" for error in verification.verify(environment)]
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
