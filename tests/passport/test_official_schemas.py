"""What we write holds against the files of those who defined the formats."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft4Validator
from jsonschema.validators import validator_for

from packbook.core.formats import Made, batterypass, dpp_header, idta, load_spectrum, remaining_life
from packbook.core.passport import Passport
from passport import mappings
from passport.official import odd_numbers, odd_times, refusals, strangers
from passport.records import measured, poor, rich

Schema = Callable[[str], Any]
CONDITION = "idta-02035/ProductCondition-1.0.1.schema.json"
BATTERY_PASS = "batterypass/PerformanceAndDurability-1.2.1.schema.json"
BLOCK = "BatteryConditionEntity"
SPECTRUM = "catena-x/ClassifiedLoadSpectrum-2.0.0.schema.json"
LIFE = "catena-x/RemainingUsefulLife-2.0.0.schema.json"
HEADER = "idta-02035/DppMetadata-1.0.0.schema.json"


def read(made: Made) -> Any:
    return json.loads(made.data)


def group_by_group(schema: Any) -> Any:
    """The block with all its groups optional: each that is there must still be whole."""
    relaxed = copy.deepcopy(schema)
    assert relaxed["components"]["schemas"][BLOCK].pop("required")
    relaxed["required"] = ["batteryCondition"]
    return relaxed


@pytest.mark.parametrize("version", ["1.0.1", "1.0.3"])
@pytest.mark.parametrize("passport", [rich(), poor()], ids=["rich", "poor"])
def test_a_product_condition_is_one_by_its_official_schema(schema: Schema, passport: Passport, version: str) -> None:
    """A fleet's data space refuses what its model does not allow, and takes in silence what it does not know."""
    mapping = mappings.condition(version)
    made = read(idta.make(passport, mapping))
    official = schema(CONDITION)
    assert refusals(official, made) == []
    assert strangers(official, made) == []
    assert odd_times(made) == []
    assert odd_numbers(made, mapping) == []


def test_a_rich_record_fills_all_groups_but_the_one_nobody_can_know(schema: Schema) -> None:
    """What is measured must arrive: a format that quietly writes little also validates."""
    made = idta.make(rich(), mappings.condition())
    assert set(schema(CONDITION)["properties"]) - set(read(made)) == {"EvolutionOfSelfDischarge"}


@pytest.mark.parametrize("passport", [rich(), poor()], ids=["rich", "poor"])
def test_each_group_of_a_battery_pass_is_whole(schema: Schema, passport: Passport) -> None:
    """The model asks for fifteen groups; those without evidence are missing, none is half there."""
    made = batterypass.make(passport, mappings.batterypass())
    official = schema(BATTERY_PASS)
    assert refusals(group_by_group(official), read(made)) == []
    assert strangers(official, read(made)) == []
    assert odd_times(read(made)) == []
    assert odd_numbers(read(made), mappings.batterypass()) == []
    wanted = set(official["components"]["schemas"][BLOCK]["required"])
    missing = wanted - set(read(made)["batteryCondition"])
    assert missing <= {left.name for left in made.left_out}


def test_a_battery_pass_with_every_group_is_whole_by_the_untouched_block(schema: Schema) -> None:
    """The block is left incomplete for want of evidence, not for want of a mapping."""
    made = read(batterypass.make(rich(), mappings.batterypass()))["batteryCondition"]
    official = schema(BATTERY_PASS)
    block = {**official["components"]["schemas"]["BatteryCondition"], "components": official["components"]}
    assert refusals(block | {"$schema": official["$schema"]}, made) == [
        "$: 'evolutionOfSelfDischarge' is a required property"
    ]


def test_load_spectra_are_ones_by_their_official_schema(schema: Schema) -> None:
    """Histograms have no other standard shape than this one."""
    aspects = read(load_spectrum.make(rich(), mappings.load_spectra()))
    assert len(aspects) == 3
    for aspect in aspects:
        assert refusals(schema(SPECTRUM), aspect) == []
        assert strangers(schema(SPECTRUM), aspect) == []
        assert odd_times(aspect) == []


def test_a_remaining_life_is_one_by_its_official_schema(schema: Schema) -> None:
    made = read(remaining_life.make(rich(), mappings.remaining_life()))
    assert refusals(schema(LIFE), made) == []
    assert strangers(schema(LIFE), made) == []
    assert odd_times(made) == []


def test_a_passport_header_is_one_by_its_official_schema(schema: Schema) -> None:
    made = read(dpp_header.make(rich(), mappings.header()))
    assert refusals(schema(HEADER), made) == []
    assert strangers(schema(HEADER), made) == []
    assert odd_times(made) == []


@pytest.mark.parametrize(
    ("name", "sample"),
    [(CONDITION, "idta-02035/ProductCondition-1.0.1"), (LIFE, "catena-x/RemainingUsefulLife-2.0.0")],
)
def test_official_samples_pass_the_same_check(schema: Schema, name: str, sample: str) -> None:
    """A check that refuses the official sample would say nothing about ours."""
    assert refusals(schema(name), schema(f"{sample}.sample.json")) == []


def test_the_schema_is_read_by_the_draft_it_names(schema: Schema) -> None:
    """They are draft-04: a newer reading of `minimum` and `exclusive...` would be another test."""
    assert validator_for(schema(CONDITION), default=None) is Draft4Validator
    assert refusals(schema(CONDITION), {"StateOfCharge": {}}) != []


def test_a_misspelt_key_is_caught(schema: Schema) -> None:
    """The official schema takes any key; a misspelt one would be data that nobody reads."""
    made = read(idta.make(rich(), mappings.condition()))
    made["RemainingEnergy"]["RemainingEnergyalue"] = made["RemainingEnergy"]["RemainingEnergyValue"]
    assert refusals(schema(CONDITION), made) == []
    assert strangers(schema(CONDITION), made) == ["$.RemainingEnergy.RemainingEnergyalue"]


def test_a_time_without_its_zone_or_with_its_hour_is_caught(schema: Schema) -> None:
    """The official pattern takes local time, and text around a time. An hour would tell when somebody drives."""
    made = read(idta.make(rich(), mappings.condition()))
    for odd in ("2026-10-31T00:00:00", "2026-10-31T13:37:21Z", "on 2026-10-31T00:00:00Z or so"):
        made["StateOfCharge"]["LastUpdate"] = odd
        assert refusals(schema(CONDITION), made) == []
        assert odd_times(made) == [f"$.StateOfCharge.LastUpdate: {odd}"]


def test_an_absurd_value_and_a_fraction_of_a_count_are_caught(schema: Schema) -> None:
    """The official schema has no ranges, and its counts are numbers."""
    made = read(idta.make(rich(), mappings.condition()))
    made["StateOfCharge"]["StateOfChargeValue"] = -5000
    made["NumberOfFullCycles"]["NumberOfFullCyclesValue"] = 412.7
    assert refusals(schema(CONDITION), made) == []
    assert odd_numbers(made, mappings.condition()) == [
        "$.NumberOfFullCycles.NumberOfFullCyclesValue: 412.7",
        "$.StateOfCharge.StateOfChargeValue: -5000",
    ]


def test_facts_without_a_day_are_not_written() -> None:
    """The models want a day with each value; the box's clock may never have been set."""
    dateless = {**rich().facts, "temp_degc": (measured(21.0, "degC", at_ms=None),)}
    made = idta.make(Passport("b", "ev", 0, {}, dateless, None), mappings.condition())
    assert "MeasuredTemp" not in read(made)["TemperatureInformation"]
    assert ("temp_degc", "its day is not known") in {(left.name, left.reason) for left in made.left_out}
