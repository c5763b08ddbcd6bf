"""The demo's three cars, after months: every format of every one of them, by every checker that others wrote."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from basyx.aas.adapter.json import read_aas_json_file
from jsonschema import Draft202012Validator
from openvc.proof.errors import ProofError
from pyarrow import parquet  # type: ignore[import-untyped]  # it ships no types

import lived_fleet
from packbook.__main__ import main
from packbook.adapters.rules import RuleBook
from packbook.adapters.store import open_writer
from packbook.app.access import access_rules
from packbook.app.credentials import BookCredentials, issuer_of
from packbook.app.credentials import schema as credential_schema
from packbook.app.evidence import ExportError
from packbook.app.formats import FORMATS, make
from packbook.app.passports import BookPassports
from packbook.clock import now_ms
from packbook.core.access import Reader
from packbook.core.data_integrity import BadProof, check
from packbook.core.did import key_of
from packbook.core.formats import Made
from packbook.core.passport import Passport
from packbook.settings import Settings
from passport import js
from passport.official import refusals
from passport.reading import text_of
from passport.templates import departures
from passport.test_aas import CONDITION as CONDITION_TEMPLATE
from passport.test_aas import NAMEPLATE as NAMEPLATE_TEMPLATE
from passport.test_aas import submodel
from passport.test_format_properties import faults
from passport.test_gbt32960 import read_blocks
from passport.test_official_schemas import BATTERY_PASS, BLOCK
from passport.verifiers import by_javascript, by_openvc

Schema = Callable[[str], Any]
PUBLIC: Final = "https://book.example/fleet"
OPERATOR: Final = Reader("operator")
CARS: Final = pytest.mark.parametrize("battery", lived_fleet.BATTERIES)


@dataclass(frozen=True)
class Fleet:
    """What the operator takes away of each battery, in each format."""

    settings: Settings
    passports: Mapping[str, Passport]
    made: Mapping[str, Mapping[str, Made]]
    template: Mapping[str, Made]  # the AAS by the version whose template is published beside it
    did: Mapping[str, Any]

    def json(self, battery: str, name: str) -> Any:
        return json.loads(self.made[battery][name].data)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Fleet:
    settings = Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('fleet') / 'book.db'}", public_url=PUBLIC)
    lived_fleet.fill(settings, root / "can_profiles")
    return asyncio.run(exported(settings))


async def exported(settings: Settings) -> Fleet:
    rules = RuleBook()
    table = access_rules(rules)
    async with open_writer(settings.database_url.get_secret_value(), "test") as database:
        whole = {battery: await BookPassports(database, rules).passport(battery) for battery in lived_fleet.BATTERIES}
        did = BookCredentials(database, issuer_of(settings)).did_document()
    passports = {battery: table.redact(record, OPERATOR).passport for battery, record in whole.items() if record}
    made = {
        battery: {name: await make(name, passport, rules, settings) for name in FORMATS}
        for battery, passport in passports.items()
    }
    older = RuleBook({"idta-productcondition": "1.0.1"})
    template = {battery: await make("aas", passport, older, settings) for battery, passport in passports.items()}
    assert did is not None
    return Fleet(settings, passports, made, template, json.loads(did))


def fact(passport: Passport, name: str) -> float:
    found = passport.first(name)
    assert found is not None, name
    assert isinstance(found.value, int | float), name
    return found.value


@CARS
def test_months_of_a_car_are_a_record_worth_exporting(fleet: Fleet, battery: str) -> None:
    """A checker that is shown empty files finds nothing."""
    passport = fleet.passports[battery]
    assert passport.coverage is not None
    assert passport.coverage.until_ms is not None
    assert passport.coverage.since_ms is not None
    assert passport.coverage.until_ms - passport.coverage.since_ms > 200 * 86_400_000
    assert 60 < fact(passport, "soh_capacity_pct") < 100
    assert fact(passport, "full_cycles") > 1
    for name in (
        "soh_declared_pct",
        "remaining_capacity_ah",
        "soce_pct",
        "odometer_km",
        "soc_temp_time_s",
        "identifiers",
    ):
        assert passport.first(name) is not None, name


@CARS
@pytest.mark.parametrize("name", ["idta", "aas", "batterypass", "load-spectrum", "remaining-life", "dpp"])
def test_every_model_holds_by_its_official_files(fleet: Fleet, schema: Schema, battery: str, name: str) -> None:
    """The official schemas; for AAS aas-test-engines and aas-core; and ours for keys, ranges and days in UTC."""
    assert faults(name, fleet.json(battery, name), schema) == []


@CARS
def test_a_battery_pass_lacks_whole_groups_and_nothing_else(fleet: Fleet, schema: Schema, battery: str) -> None:
    """By the untouched schema: what a box in a car cannot see is missing, and said to be."""
    official = schema(BATTERY_PASS)
    block = {**official["components"]["schemas"][BLOCK], "components": official["components"]}
    made = fleet.json(battery, "batterypass")["batteryCondition"]
    told = refusals(block | {"$schema": official["$schema"]}, made)
    missing = set(block["required"]) - set(made)
    assert told == [f"$: {name!r} is a required property" for name in block["required"] if name in missing]
    assert missing <= {left.name for left in fleet.made[battery]["batterypass"].left_out}


@CARS
def test_a_strict_reader_and_the_published_templates_find_the_shell_in_order(
    fleet: Fleet, schema: Schema, battery: str
) -> None:
    """Cardinality and meanings are looked at by no checker; the nameplate lacks what no record in use holds."""
    data = fleet.made[battery]["aas"].data.decode()
    assert len(read_aas_json_file(io.StringIO(data), failsafe=False)) == 3
    made = fleet.template[battery]
    (condition,), (nameplate,) = (schema(name)["submodels"] for name in (CONDITION_TEMPLATE, NAMEPLATE_TEMPLATE))
    environment = json.loads(made.data)
    assert departures(condition, submodel(environment, "ProductCondition")) == []
    told = {left.name.removeprefix("BatteryNameplate.") for left in made.left_out if "Nameplate." in left.name}
    lacking = departures(nameplate, submodel(environment, "BatteryNameplate"))
    assert set(lacking) == {f"/{name}: 0 for One" for name in told}


def test_two_foreign_verifiers_believe_each_credential_and_refuse_each_changed_one(
    fleet: Fleet, schema: Schema
) -> None:
    """Somebody who sells a tired battery improves one number; it must not get past anybody."""
    now, documents = datetime.fromtimestamp(now_ms() / 1000, UTC), {fleet.did["id"]: fleet.did}
    good = [one for battery in fleet.made for one in fleet.json(battery, "credential")["verifiableCredential"]]
    assert len(good) == 2 * len(lived_fleet.BATTERIES)
    bad = [improved(one) for one in good]
    official, ours = schema("w3c-vc/verifiable-credential-2.0.schema.json"), json.loads(credential_schema())
    for document in good:
        by_openvc(document, documents, now)
        assert check(document, lambda method: key_of(method, documents))
        Draft202012Validator(official).validate(document)
        Draft202012Validator(ours).validate(document)
    for document in bad:
        with pytest.raises(ProofError):
            by_openvc(document, documents, now)
        with pytest.raises(BadProof):
            check(document, lambda method: key_of(method, documents))
    assert by_javascript(good, documents) == [None] * len(good)
    assert None not in by_javascript(bad, documents)


def improved(credential: dict[str, Any]) -> dict[str, Any]:
    """One number of one fact, by a little."""
    better = deepcopy(credential)
    (value, *_) = (
        fact
        for facts in better["credentialSubject"]["facts"].values()
        for fact in facts
        if isinstance(fact["value"], int | float)
    )
    value["value"] = value["value"] + 0.1
    return better


@CARS
def test_both_parts_of_the_neutral_record_are_signed(
    fleet: Fleet, battery: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each by itself, checked without the book; a changed value breaks its part, and another's key is not believed."""
    file, document = tmp_path / "record.json", fleet.json(battery, "neutral")
    file.write_bytes(fleet.made[battery]["neutral"].data)
    assert main(["verify-record", str(file), "--trust", document["book_key"]]) == 0
    assert main(["verify-record", str(file), "--trust", "00" * 32]) == 1
    assert "NOT the one you believe" in capsys.readouterr().out
    document["value"]["record"]["facts"]["soh_capacity_pct"][0]["value"] += 0.1
    file.write_text(json.dumps(document))
    assert main(["verify-record", str(file)]) == 1
    said = capsys.readouterr().out
    assert "identity  signed by" in said
    assert "value     NOT signed" in said


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "expected the form"),
        ('{"form": "packbook-passport/1", "form": "packbook-passport/1"}', "stands twice"),
        ('{"form": "packbook-passport/1"}', "no identity part"),
    ],
)
def test_what_is_no_record_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, reason: str
) -> None:
    (tmp_path / "x.json").write_text(content)
    assert main(["verify-record", str(tmp_path / "x.json")]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(("name", "command"), [("neutral", "verify-record"), ("credential", "verify-credential")])
def test_a_file_shown_to_the_wrong_command_is_sent_to_the_right_one(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    """Who has a file and one command should not be told that something is wrong with the file."""
    file = tmp_path / "file"
    file.write_bytes(next(iter(fleet.made.values()))[name].data)
    assert main(["verify", str(file)]) == 2
    assert f"'packbook {command}'" in capsys.readouterr().err


@CARS
def test_a_foreign_decoder_reads_the_blocks_of_the_chinese_standard(fleet: Fleet, battery: str) -> None:
    passport = fleet.passports[battery]
    read = read_blocks(fleet.json(battery, "gbt32960"), "2025")["whole_vehicle"]
    assert float(read["mileage_total"].removesuffix(" km")) == pytest.approx(fact(passport, "odometer_km"))
    assert int(read["soc"].removesuffix(" %")) == round(fact(passport, "soc_pct"))


def test_a_foreign_reader_finds_the_identifiers_of_each_battery(fleet: Fleet) -> None:
    """The label on a pack leads anybody's scanner to this battery."""
    links = [fleet.json(battery, "dpp")["uniqueProductIdentifier"] for battery in fleet.made]
    read = js.ask(links=links)["links"]
    assert [one["21"] for one in read] == list(lived_fleet.BATTERIES)


@CARS
def test_tables_hold_every_fact_with_its_unit_and_source(fleet: Fleet, battery: str) -> None:
    """Read back by the csv module and by pyarrow."""
    text = list(csv.DictReader(io.StringIO(fleet.made[battery]["csv"].data.decode(), newline="")))
    typed = parquet.read_table(io.BytesIO(fleet.made[battery]["parquet"].data)).to_pylist()
    assert len(text) == len(typed)
    assert {row["field"] for row in text} == {row["field"] for row in typed} == set(fleet.passports[battery].facts)
    assert all(row["unit"] and row["source"] and (row["value"] or row["text"] or row["why"]) for row in text)


@CARS
def test_durability_sets_the_cars_own_monitor_apart_from_ours(fleet: Fleet, battery: str) -> None:
    """These cars tell no SOCE: our estimate must not take its place, and one car gets no verdict."""
    told = fleet.json(battery, "gtr22")
    assert told["verdict"] is None
    assert told["vehicle"]["soce"]["reported_by_vehicle"] is None
    assert told["vehicle"]["soce"]["estimated_by_us"]["pct"] == fact(fleet.passports[battery], "soce_pct")
    assert told["vehicle"]["limit"]["reported_is_above"] is None


# --- every format there is, also those to come ----------------------------------------------------------------------

EACH: Final = pytest.mark.parametrize("name", FORMATS)
# Moments: a time of day that is not midnight, or one as a number; a vehicle's number.
TELLING: Final = re.compile(
    r"T(?!00:00(?::00)?)\d\d:\d\d|(?<![\d:])(?!00:00:00)\d\d:\d\d:\d\d(?![\d:])|\b1[67]\d{8}(?:\d{3})?\b"
    r"|\b(?=[A-Z]*\d)(?=\d*[A-Z])[A-HJ-NPR-Z0-9]{17}\b"
)
PLACES: Final = re.compile(r"\b(?:lat(?:itude)?|lon(?:gitude)?|gps|driver|vin|address|home)\b", re.IGNORECASE)


@EACH
@CARS
def test_no_file_tells_a_moment_a_place_a_person_or_the_car(fleet: Fleet, battery: str, name: str) -> None:
    """A battery's condition is to be shared; when and where somebody drives is nobody's business."""
    text = text_of(name, fleet.made[battery][name].data)
    assert TELLING.findall(text) == []
    assert PLACES.findall(text) == []
    assert lived_fleet.NAMES[battery] not in text


@EACH
def test_the_same_record_is_the_same_file(fleet: Fleet, name: str) -> None:
    """What changed without a reason could not be told from what was changed for one."""
    for battery, passport in fleet.passports.items():
        again = asyncio.run(make(name, passport, RuleBook(), fleet.settings))
        assert again == fleet.made[battery][name]


@EACH
def test_each_fact_is_in_the_file_or_said_to_be_left_out(fleet: Fleet, name: str) -> None:
    """What is not on the list must matter: the file without that fact is another, or cannot be made."""
    passport = fleet.passports["demo-leaf-24-1"]
    made = fleet.made["demo-leaf-24-1"][name]
    assert all(left.name and left.reason for left in made.left_out)
    left_out = {left.name.partition(" (")[0] for left in made.left_out}
    claimed = [field for field in passport.facts if field not in left_out]
    some = claimed if FORMATS[name].mapping else claimed[::6]  # the others sign, draw or write long tables
    silent = [field for field in some if not matters(fleet, name, field, made)]
    assert silent == []


def matters(fleet: Fleet, name: str, field: str, made: Made) -> bool:
    passport = fleet.passports["demo-leaf-24-1"]
    fewer = replace(passport, facts={other: facts for other, facts in passport.facts.items() if other != field})
    try:
        return asyncio.run(make(name, fewer, RuleBook(), fleet.settings)).data != made.data
    except ExportError:
        return True
