"""The AAS environment against three checkers that others wrote, and against the published templates by our own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from packbook.core.formats import aas, idta
from packbook.core.passport import Passport
from passport import mappings
from passport.records import URI, declared, having, measured, poor, rich, without
from passport.templates import departures

Schema = Callable[[str], Any]
CONDITION = "idta-02035/IDTA-02035-5_ProductCondition-1.0.1.aas.json"
NAMEPLATE = "idta-02035/IDTA-02035-1_DigitalNameplate-1.0.no-values.aas.json"
BOTH = pytest.mark.parametrize("passport", [rich(), poor()], ids=["rich", "poor"])


def environment(passport: Passport, version: str = "1.0.1") -> Any:
    return json.loads(aas.make(passport, mappings.condition(version), mappings.nameplate()).data)


def findings(made: Any) -> str:
    """What the reference checker says; empty is good."""
    from aas_test_engines import file

    result = file.check_json_file(io.StringIO(json.dumps(made)))
    return "" if result.ok() else str(result.to_dict())


def submodel(made: Any, id_short: str) -> Any:
    return next(one for one in made["submodels"] if one["idShort"] == id_short)


@BOTH
@pytest.mark.parametrize("version", ["1.0.1", "1.0.3"])
def test_the_reference_checker_finds_nothing(passport: Passport, version: str) -> None:
    """The checker of the organisation behind AAS is what partners run before they take a file."""
    assert findings(environment(passport, version)) == ""


def test_the_reference_checker_finds_a_text_in_a_number_and_a_fraction_of_a_count() -> None:
    """A checker that takes everything would prove nothing."""
    for value in ("many", "412.7"):
        made = environment(rich())
        cycles = next(e for e in made["submodels"][0]["submodelElements"] if e["idShort"] == "NumberOfFullCycles")
        cycles["value"][0]["value"] = value
        assert findings(made) != ""


@BOTH
def test_the_strict_reader_of_the_python_sdk_takes_it(passport: Passport) -> None:
    """The most used library of AAS servers in Python reads it without being told to forgive."""
    from basyx.aas.adapter.json import read_aas_json_file

    made = aas.make(passport, mappings.condition(), mappings.nameplate()).data
    read = read_aas_json_file(io.StringIO(made.decode()), failsafe=False)
    assert len(read) == (3 if "manufacturer" in passport.facts else 2)


@BOTH
def test_the_verification_of_aas_core_finds_nothing(passport: Passport) -> None:
    """A second reading of the metamodel's constraints, written by others than the first."""
    from aas_core3 import jsonization, verification

    made = jsonization.environment_from_jsonable(environment(passport))
    assert [f"{error.path}: {error.cause}" for error in verification.verify(made)] == []


@BOTH
def test_cardinality_types_and_meanings_are_those_of_the_published_template(schema: Schema, passport: Passport) -> None:
    """No checker knows this template: it is read here, with its qualifiers, element by element."""
    (template,) = schema(CONDITION)["submodels"]
    assert departures(template, submodel(environment(passport), "ProductCondition")) == []


def test_version_1_0_3_says_what_its_template_says() -> None:
    """The template released as 1.0.3 carries 1.0.2 in each of its ids; otherwise it is that of 1.0.1."""
    one, three = json.dumps(environment(rich())), json.dumps(environment(rich(), "1.0.3"))
    assert one.replace("condition:1.0.1#", "condition:1.0.2#").replace("condition:1.0.0#", "condition:1.0.2#") == three


def test_what_the_nameplate_lacks_is_what_was_told(schema: Schema) -> None:
    """It asks for an address, markings and declarations that no in-use record holds: missing and said, not invented."""
    made = aas.make(rich(), mappings.condition(), mappings.nameplate())
    (template,) = schema(NAMEPLATE)["submodels"]
    lacking = departures(template, submodel(json.loads(made.data), "BatteryNameplate"))
    told = {left.name.removeprefix("BatteryNameplate.") for left in made.left_out if "Nameplate." in left.name}
    assert {f"/{name}: 0 for One" for name in told} == set(lacking)


def value_only(element: Any) -> Any:
    """AAS part 2, value-only: a collection is an object, a list an array, a property its value."""
    if element["modelType"] == "SubmodelElementCollection":
        return {inner["idShort"]: value_only(inner) for inner in element["value"]}
    if element["modelType"] == "SubmodelElementList":
        return [value_only(inner) for inner in element.get("value", [])]
    return float(element["value"]) if element["valueType"] in ("xs:float", "xs:unsignedInt") else element["value"]


@BOTH
def test_both_shapes_of_a_condition_say_the_same(passport: Passport) -> None:
    """A partner who takes the AAS file and one who takes the value-only file must agree about the battery.

    Only the models name the point of power differently.
    """
    elements = submodel(environment(passport), "ProductCondition")["submodelElements"]
    told = json.dumps({element["idShort"]: value_only(element) for element in elements})
    plain = json.loads(idta.make(passport, mappings.condition()).data)
    assert json.loads(told.replace("RemainingPowerCapabilityDynamicAt", "RemainingPowerCapabilityValue")) == plain


def test_a_record_without_a_manufacturer_has_no_nameplate() -> None:
    """A nameplate of nobody identifies nothing."""
    made = aas.make(without(rich(), "manufacturer"), mappings.condition(), mappings.nameplate())
    assert [one["idShort"] for one in json.loads(made.data)["submodels"]] == ["ProductCondition"]
    assert "no manufacturer is declared" in {left.reason for left in made.left_out}


def test_a_month_is_not_made_a_day() -> None:
    """The law asks for the month of manufacture, the model for a day: the first of the month would be invented."""
    month, day = rich(), having(rich(), made_on=declared("2020-02-17"))
    assert "DateOfManufacture" not in json.dumps(environment(month))
    assert '"2020-02-17"' in json.dumps(environment(day))


def test_the_shell_is_the_batterys_not_the_cars() -> None:
    """The asset is the declared identifier; all others stand beside it by their scheme."""
    (shell,) = environment(rich())["assetAdministrationShells"]
    assert shell["assetInformation"] == {
        "assetKind": "Instance",
        "globalAssetId": URI,
        "specificAssetIds": [
            {"name": "gs1", "value": URI},
            {"name": "gbt34014", "value": "001PB240000003B3C0221953"},
        ],
    }


def test_two_accidents_and_no_event_are_lists_that_hold() -> None:
    """An empty list is no list in AAS, and children of one carry no idShort."""
    accidents = (declared("DOC-1"), declared("DOC-2"))
    some = without(rich(), "negative_event", "deep_discharge_count")
    some = Passport(some.battery, some.category, some.made_ms, {}, {**some.facts, "accident": accidents}, None)
    assert findings(environment(some)) == ""
    assert "NegativeEvents" not in json.dumps(environment(some))
    assert findings(environment(having(rich(), negative_event=measured('collision <&> "x"', "1")))) == ""
