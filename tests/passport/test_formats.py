"""What each format writes, what it leaves out and why, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from packbook.adapters.rules import RuleBook
from packbook.core.formats import CannotMake, Made, aas, dpp_header, idta, load_spectrum, remaining_life
from packbook.core.formats.groups import Model
from packbook.core.formats.writing import UNWRITABLE
from packbook.core.passport import Axis, Histogram, Passport
from passport import mappings
from passport.makers import MAKERS, all_made, made_or_why
from passport.official import leaves
from passport.records import (
    LAST_MS,
    SOC_AXIS,
    TEMP_AXIS,
    URI,
    declared,
    having,
    measured,
    poor,
    reported,
    rich,
    without,
)


def condition(passport: Passport, mapping: Model | None = None) -> Any:
    return json.loads(idta.make(passport, mapping or mappings.condition()).data)


def reasons(made: Made) -> dict[str, str]:
    return {left.name: left.reason for left in made.left_out}


def test_the_same_record_gives_the_same_bytes() -> None:
    """What is signed today must be made again, byte for byte, tomorrow."""
    assert all_made(rich()) == all_made(rich())


def test_a_rich_record_makes_every_format() -> None:
    assert [name for name, made in all_made(rich()).items() if isinstance(made, str)] == []


def test_half_a_history_makes_what_it_can_and_says_what_is_missing() -> None:
    """A box since last week: state of charge and cycles go out, what needs more says what it needs."""
    made = all_made(poor())
    assert {name for name, one in made.items() if isinstance(one, str)} == {"load-spectrum", "remaining-life", "dpp"}
    assert made["dpp"] == (
        "DPP header 1.0.0: digitalProductPassportId: declare passport_id; uniqueProductIdentifier: declare one of "
        "identifiers as a URI: it must lead to the passport; economicOperatorId: declare operator_id"
    )
    assert "age_years: the age is not known: declare made_on" in str(made["remaining-life"])
    assert made["load-spectrum"] == (
        "ClassifiedLoadSpectrum 2.0.0: targetComponentID: declare one of identifiers as a URI"
    )


def test_a_record_without_state_of_charge_is_refused_by_name() -> None:
    """IDTA requires it; a zero in its place would be a lie about an empty battery."""
    with pytest.raises(
        CannotMake, match=r"^IDTA ProductCondition 1\.0\.1: StateOfCharge: the record holds none: no drive .*$"
    ):
        condition(without(rich(), "soc_pct"))


def test_the_reason_of_the_record_is_the_reason_of_the_format() -> None:
    """`learning` tells an owner more than `missing`."""
    learning = having(rich(), remaining_capacity_ah=measured(None, "Ah", at_ms=None, why="2 of 10 segments seen"))
    made = idta.make(learning, mappings.condition())
    assert reasons(made)["RemainingCapacity"] == "2 of 10 segments seen"


USED = {
    *("energy_throughput_kwh", "charge_throughput_ah", "full_cycles", "soce_reported_pct", "remaining_energy_kwh"),
    *("remaining_capacity_ah", "negative_event", "deep_discharge_count", "self_discharge_pct_per_month", "soc_pct"),
    *("time_hot_s", "time_cold_s", "time_hot_charging_s", "time_cold_charging_s", "remaining_power_w"),
    "round_trip_efficiency_pct",
}
IN_IDTA = USED | {"accident", "temp_degc"}
ON_PLATE = {"manufacturer", "facility_id", "status", "operator_id", "in_service_on"}
HISTOGRAMS = {"soc_temp_time_s", "c_rate_temp_time_s", "depth_counts"}
WRITTEN: Mapping[str, set[str]] = {
    "idta": IN_IDTA,
    "idta-1.0.3": IN_IDTA,
    "aas": IN_IDTA | ON_PLATE | {"battery_id", "identifiers"},
    "batterypass": USED | {"capacity_fade_pct", "resistance_increase_pct"},
    "load-spectrum": HISTOGRAMS | {"identifiers", "odometer_km"},
    "remaining-life": {"months_to_80_pct", "km_to_80_pct", "odometer_km", "age_years"},
    "dpp": {"passport_id", "identifiers", "operator_id", "facility_id"},
}


def content(name: str, passport: Passport) -> bytes | None:
    made = made_or_why(name, passport)
    return made.data if isinstance(made, Made) else None


@pytest.mark.parametrize("name", MAKERS)
def test_a_format_holds_exactly_the_fields_of_this_table(name: str) -> None:
    """Who may see a format follows from what is in it: no other field may change a byte of it."""
    passport = rich()
    whole = content(name, passport)
    assert {field for field in passport.facts if content(name, without(passport, field)) != whole} == WRITTEN[name]


@pytest.mark.parametrize("name", MAKERS)
def test_a_field_that_is_not_written_is_told_to_be_left_out(name: str) -> None:
    """Nothing of a record disappears in silence."""
    made = made_or_why(name, rich())
    assert isinstance(made, Made)
    told = {left.name.partition(" (")[0] for left in made.left_out}
    assert set(rich().facts) - WRITTEN[name] <= told


def test_capacity_is_never_made_certified_energy() -> None:
    """SOCE is energy over certified energy; a capacity ratio under its name would be another quantity's number."""
    made = idta.make(without(rich(), "soce_pct", "soce_reported_pct"), mappings.condition())
    assert "StateOfCertifiedEnergy" not in json.loads(made.data)
    assert "certified energy is another quantity" in reasons(made)["soh_capacity_pct"]


def test_the_cars_own_monitor_goes_before_our_estimate_and_the_other_is_told() -> None:
    """UN GTR 22 means the on-board monitor. The model has one place and no name for a source."""
    made = idta.make(rich(), mappings.condition())
    assert json.loads(made.data)["StateOfCertifiedEnergy"]["StateOfCertifiedEnergyValue"] == 89.0
    assert reasons(made)["soce_pct"] == "the model has one place for it, which another fact fills"
    assert (
        condition(without(rich(), "soce_reported_pct"))["StateOfCertifiedEnergy"]["StateOfCertifiedEnergyValue"] == 86.9
    )


def test_another_version_of_the_mapping_changes_the_file_not_the_code() -> None:
    """Which source goes first is data."""
    first = mappings.condition()
    turned = replace(
        first,
        groups=tuple(
            replace(group, places=tuple(replace(place, fields=place.fields[::-1]) for place in group.places))
            for group in first.groups
        ),
    )
    assert condition(rich(), turned)["StateOfCertifiedEnergy"]["StateOfCertifiedEnergyValue"] == 86.9


def test_a_wrong_unit_is_not_written() -> None:
    """kWh in a place for Ah is the error that was published in 1.0.1; nobody downstream could see it."""
    made = idta.make(having(rich(), remaining_capacity_ah=measured(51.7, "kWh")), mappings.condition())
    assert "RemainingCapacity" not in json.loads(made.data)
    assert reasons(made)["remaining_capacity_ah"] == "its unit is kWh, the place wants Ah"


@pytest.mark.parametrize("absurd", [-0.1, 100.1, float("nan"), float("inf"), True, "full"])
def test_an_absurd_state_of_charge_is_not_written(absurd: Any) -> None:
    """The next best fact is; without one the file is refused."""
    two = Passport("b", "ev", 0, {}, {**rich().facts, "soc_pct": (measured(absurd, "%"), reported(60.0, "%"))}, None)
    made = idta.make(two, mappings.condition())
    assert json.loads(made.data)["StateOfCharge"]["StateOfChargeValue"] == 60.0
    assert "soc_pct (measured, box-7)" in reasons(made)
    with pytest.raises(CannotMake, match=r"StateOfCharge: .*(is outside 0 to 100|it is no number)$"):
        condition(having(rich(), soc_pct=measured(absurd, "%")))


def test_a_cycle_counts_when_it_is_complete_and_is_an_integer() -> None:
    made = condition(having(rich(), full_cycles=measured(412.99, "1")))
    assert made["NumberOfFullCycles"]["NumberOfFullCyclesValue"] == 412
    assert type(made["NumberOfFullCycles"]["NumberOfFullCyclesValue"]) is int


def test_no_list_of_accidents_is_not_a_list_of_no_accidents() -> None:
    """The model requires the list. It is empty because nothing is known, and that is said."""
    made = idta.make(poor(), mappings.condition())
    assert json.loads(made.data)["InformationOnAccidents"] == []
    assert "does not say that none happened" in reasons(made)["InformationOnAccidents"]


def test_counts_of_harmful_events_go_as_texts_and_zero_is_no_event() -> None:
    """The models have texts only; a count of nothing would read as an event."""
    made = idta.make(rich(), mappings.condition())
    assert [event["NegativeEventValue"] for event in json.loads(made.data)["NegativeEvents"]] == [
        "pack too hot (3 times)",
        "cell voltage below its limit (2 times)",
    ]
    assert reasons(made)["overcharge_count"] == "none was counted"


def test_an_event_that_is_counted_and_named_is_told_once() -> None:
    """The record holds deep discharges as a count and as a kind; two entries would be read as two kinds of harm."""
    named = having(rich(), negative_event=measured("cell_low", "1", conditions={"count": 2.0}))
    made = idta.make(named, mappings.condition())
    assert [event["NegativeEventValue"] for event in json.loads(made.data)["NegativeEvents"]] == [
        "cell voltage below its limit (2 times)"
    ]
    assert reasons(made)["deep_discharge_count"] == "told already, as cell_low"


def test_power_without_its_state_of_charge_is_no_power_capability() -> None:
    """The same pack gives half the power when nearly empty."""
    made = idta.make(having(rich(), remaining_power_w=measured(118000.0, "W")), mappings.condition())
    assert "RemainingPowerCapability" not in json.loads(made.data)
    assert reasons(made)["remaining_power_w"] == "it does not say at which state of charge it holds"


def test_a_group_is_as_old_as_its_oldest_value() -> None:
    """One day for several values must not make any of them newer than it is."""
    older = having(rich(), temp_degc=measured(20.0, "degC", at_ms=LAST_MS - 9 * 86_400_000))
    assert condition(older)["TemperatureInformation"]["LastUpdate"] == "2026-10-22T00:00:00Z"


def test_no_file_tells_an_hour() -> None:
    """The records' times are at 13:37 and later; a time of day would tell when somebody drives or sleeps."""
    for made in all_made(rich()).values():
        assert isinstance(made, Made)
        texts = [str(value) for _, _, value in leaves(json.loads(made.data))]
        assert [one for one in texts if ":37" in one or "T13" in one or "T04" in one] == []


def test_histograms_are_written_class_by_class() -> None:
    """A reader rebuilds the same table from classes, limits and counts."""
    seconds = Histogram((SOC_AXIS, TEMP_AXIS), tuple(7 if band == 13 else 0 for band in range(90)))
    only = having(without(rich(), "c_rate_temp_time_s", "depth_counts"), soc_temp_time_s=measured(seconds, "s"))
    made = load_spectrum.make(only, mappings.load_spectra())
    (aspect,) = json.loads(made.data)
    assert aspect["targetComponentID"] == URI
    assert aspect["body"] == {
        "classes": [
            {"className": "StateOfCharge-class", "classList": [2]},
            {"className": "PackTemperature-class", "classList": [5]},
        ],
        "counts": {"countsName": "Time", "countsList": [7]},
    }
    soc, temp = aspect["header"]["channels"]
    assert soc["binLimits"][1:3] == [10.0, 20.0]
    assert temp["binLimits"][4:6] == [20.0, 30.0]
    for channel in (soc, temp):
        limits = channel["binLimits"]
        assert (limits[0], limits[-1], len(limits) - 1) == (
            channel["lowerLimit"],
            channel["upperLimit"],
            channel["numberOfBins"],
        )
    assert "-60 and 150 degC stand for them" in reasons(made)["soc_temp_time_s: open ends of temp_degc"]


@pytest.mark.parametrize(
    ("histogram", "unit", "why"),
    [
        (Histogram((SOC_AXIS,), (1,) * 9), "s", "its counts do not match its axes"),
        (Histogram((SOC_AXIS,), (0,) * 10), "s", "nothing was counted"),
        (Histogram((SOC_AXIS,), (1,) * 10), "min", "its unit is min, the place wants s"),
        (Histogram((Axis("altitude_m", "m", (0.0, 1.0)),), (1,)), "s", "the mapping knows no axis altitude_m"),
        (Histogram((Axis("soc_pct", "%", (0.0, 9.0, 5.0)),), (1, 1)), "s", "the edges of soc_pct do not rise"),
        (Histogram((Axis("soc_pct", "%", (0.0, None, 5.0)),), (1, 1)), "s", "the edges of soc_pct do not rise"),
    ],
)
def test_a_strange_histogram_is_left_out(histogram: Histogram, unit: str, why: str) -> None:
    strange = having(rich(), soc_temp_time_s=measured(histogram, unit))
    made = load_spectrum.make(strange, mappings.load_spectra())
    assert len(json.loads(made.data)) == 2
    assert why in {left.reason for left in made.left_out if left.name == "soc_temp_time_s"}


def test_a_remaining_life_tells_what_ends_it_and_how_sure_it_is() -> None:
    """One number without its threshold and interval would be read as a promise."""
    told = [f"{left.name}: {left.reason}" for left in remaining_life.make(rich(), mappings.remaining_life()).left_out]
    assert "threshold: the model does not say what ends the life; here it is 80 % SoH" in told
    assert "months_to_80_pct: the model has one number; nine in ten lie within 38 to 97 month" in told


def test_a_life_without_a_forecast_says_why_there_is_none() -> None:
    """An owner can wait for months of readings; he cannot do anything about `not in the record`."""
    early = without(rich(), "months_to_80_pct", "km_to_80_pct")
    early = having(early, forecast_soh_pct=measured(None, "%", at_ms=None, why="too few months of readings"))
    with pytest.raises(CannotMake, match="months_to_70_pct: too few months of readings; km_to_70_pct: too few"):
        remaining_life.make(early, mappings.remaining_life())


def test_the_declared_end_of_life_goes_before_the_usual_one() -> None:
    both = having(rich(), months_to_70_pct=measured(120.0, "month"), km_to_70_pct=measured(99000.0, "km"))
    made = json.loads(remaining_life.make(both, mappings.remaining_life()).data)
    assert made["remainingRunningDistance"] == 99000


def test_the_header_is_as_new_as_the_newest_fact() -> None:
    made = json.loads(dpp_header.make(rich(), mappings.header()).data)
    assert made["lastUpdate"] == "2026-10-31T00:00:00Z"
    assert made["granularity"] == "Item"


@pytest.mark.parametrize(
    ("spelt", "scheme", "value"),
    [
        (f"gs1:{URI}", "gs1", URI),
        (URI, "https", URI),
        ("did:web:example.com:b:1", "did", "did:web:example.com:b:1"),
        ("did:did:web:example.com:b:1", "did", "did:web:example.com:b:1"),
    ],
)
def test_an_identifier_that_is_a_uri_names_the_battery(spelt: str, scheme: str, value: str) -> None:
    """Identifiers keep the spelling they were declared in; a URI may stand with or without a scheme before it."""
    made = json.loads(
        aas.make(having(rich(), identifiers=declared(spelt)), mappings.condition(), mappings.nameplate()).data
    )
    about = made["assetAdministrationShells"][0]["assetInformation"]
    assert about["globalAssetId"] == value
    assert about["specificAssetIds"] == [{"name": scheme, "value": value}]


def test_an_identifier_that_leads_into_the_web_goes_before_others() -> None:
    """A passport's header asks for one that does; a URN leads nowhere."""
    several = tuple(declared(value) for value in ("urn:uuid:1f0c", "gbt34014:001PB240000003B3C0221953", f"gs1:{URI}"))
    passport = replace(rich(), facts={**rich().facts, "identifiers": several})
    made = dpp_header.make(passport, mappings.header())
    assert json.loads(made.data)["uniqueProductIdentifier"] == URI
    assert sum(left.name.startswith("identifiers") for left in made.left_out) == 1  # both told in one line


@pytest.mark.parametrize("odd", ["", "   ", "bell \x07", "x" * 1001])
def test_a_text_that_no_model_can_hold_is_not_written(odd: str) -> None:
    """A control character makes an AAS file that every reader refuses."""
    made = aas.make(
        having(rich(), manufacturer=declared(odd), negative_event=measured(odd, "1"), accident=declared(odd)),
        mappings.condition(),
        mappings.nameplate(),
    )
    assert reasons(made)["accident"] == reasons(made)["negative_event"] == UNWRITABLE
    assert reasons(made)["BatteryNameplate"] == "no manufacturer is declared"
    assert odd.encode() not in made.data or not odd.strip()


@pytest.mark.parametrize("model", [mappings.condition(), mappings.condition("1.0.3"), mappings.batterypass()])
def test_every_place_asks_for_fields_of_the_record_in_their_own_unit(model: Model) -> None:
    """A field renamed in the rules of the record would silently empty a place of a format."""
    fields = RuleBook().fields().fields
    asked = {name: place.unit for group in model.groups for place in group.places for name in place.fields}
    assert asked == {name: fields[name].unit for name in asked}
    assert {name for group in model.groups for name in (*group.fields, *group.counts)} <= set(fields)
    assert set(model.no_place) <= set(fields)


def test_spectra_and_lives_ask_for_fields_of_the_record_in_their_own_unit() -> None:
    fields = RuleBook().fields().fields
    for spectrum in mappings.load_spectra().spectra:
        assert fields[spectrum.field].unit == spectrum.record_unit
    for end in mappings.remaining_life().ends:
        assert (fields[end.months].unit, fields[end.km].unit) == ("month", "km")
    assert {element.field for element in mappings.nameplate().elements} <= set(fields)
    units = {name: fact.unit for name, facts in rich().facts.items() for fact in facts}
    assert units == {name: fields[name].unit for name in units}


def test_a_withheld_field_leaves_no_trace() -> None:
    """Formats get a record already cut down to its reader; what is not in it must not come from elsewhere."""
    seen = without(rich(), "accident", "temp_degc", "odometer_km", "operator_id")
    for made in all_made(seen).values():
        text = made.data.decode() if isinstance(made, Made) else ""
        assert "DOC-2024-0815" not in text
        assert "81234" not in text
        assert "operator/417" not in text
        assert "MeasuredTemp" not in text
