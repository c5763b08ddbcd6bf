"""GB/T 32960 data blocks: read by a decoder that others wrote, both editions."""

from __future__ import annotations

import json
from functools import reduce
from operator import xor
from typing import Any

import pytest
from rtm_con import con_to_pyobj, msg  # type: ignore[import-untyped]  # it ships no types

from packbook.core.formats.gbt32960 import Edition, make
from packbook.core.passport import Passport
from passport import mappings, records

STARTS = {"2016": b"##", "2025": b"$$"}
SIGNED = bytes.fromhex("FF 03 0001 00 0001 00")  # frames of 2025 end with a signature; this one signs nothing
MOMENT = bytes([26, 11, 2, 0, 0, 0])


def edition(year: str) -> Edition:
    return mappings.load("gbt32960", Edition, year)


def told(passport: Passport, year: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(make(passport, edition(year)).data)
    return document


def decoded(passport: Passport, year: str) -> dict[str, Any]:
    return read_blocks(told(passport, year), year)


def read_blocks(document: dict[str, Any], year: str) -> dict[str, Any]:
    """The blocks in a frame with an invented vehicle, as rtm-con reads it."""
    blocks = b"".join(bytes.fromhex(block["hex"]) for block in document["blocks"])
    body = MOMENT + blocks + (SIGNED if year == "2025" else b"")
    frame = b"\x02\xfe" + b"LTEST000000000000" + b"\x01" + len(body).to_bytes(2, "big") + body
    read = con_to_pyobj(msg.parse(STARTS[year] + frame + bytes([reduce(xor, frame)])))
    assert read["starter"] == f"protocol_{year}"
    return {block["data_type"]: block["data_content"] for block in read["payload"]["data_list"]}


@pytest.mark.parametrize("year", STARTS)
def test_a_decoder_that_others_wrote_reads_what_is_known(year: str) -> None:
    """State of charge and distance come out as they went in; everything else is called invalid."""
    read = decoded(records.rich(), year)
    vehicle = read["whole_vehicle"]
    assert float(vehicle["mileage_total"].removesuffix(" km")) == pytest.approx(81234.4)
    assert vehicle["soc"] == "61 %"
    assert read["probe_temps"] == [{"index": "1", "probe_temps": ["23 ℃"]}]
    invalid = {"vehicle_state", "charge_state", "operate_state", "vehicle_speed", "voltage_total", "current_total"}
    assert all("invalid" in str(vehicle[name]) for name in invalid)


def test_the_gear_is_called_unknown_where_the_edition_can() -> None:
    assert decoded(records.rich(), "2025")["whole_vehicle"]["gear_state"]["gear_postion_validity"] == "invalid"
    reasons = {left.name: left.reason for left in make(records.rich(), edition("2016")).left_out}
    assert "cannot call it unknown" in reasons["whole vehicle.gear"]


def test_the_edition_is_data() -> None:
    """Block numbers moved in 2025; the code did not."""
    types = {year: [block["type"] for block in told(records.rich(), year)["blocks"]] for year in STARTS}
    assert types == {"2016": ["01", "09"], "2025": ["01", "08"]}


def test_a_poor_record_gives_no_block_that_says_nothing() -> None:
    document = told(records.poor(), "2025")
    assert [block["name"] for block in document["blocks"]] == ["whole vehicle"]
    left = {one.name: one.reason for one in make(records.poor(), edition("2025")).left_out}
    assert left["temperatures"] == "temp_degc is not known"
    assert left["whole vehicle.odometer"] == "odometer_km is not known"


def test_harmful_events_of_a_life_are_no_alarms_of_now() -> None:
    """A bit set in a block would raise an alarm in a monitoring centre for what happened years ago."""
    low = records.measured("cell_low", "", conditions={"count": 3.0})
    document = told(records.having(records.rich(), negative_event=low), "2025")
    assert document["alarms_in_life"] == [
        {"bit": 3, "name": "pack voltage low", "count": 2},
        {"bit": 6, "name": "cell voltage low", "count": 3},
    ]
    assert all(block["type"] != "06" for block in document["blocks"])


@pytest.mark.parametrize(
    ("value", "unit", "reason"),
    [(4.3e8, "km", "does not fit"), (50000.0, "mile", "its unit is mile"), (-1.0, "km", "fit")],
)
def test_a_value_that_does_not_fit_is_called_invalid(value: float, unit: str, reason: str) -> None:
    """The two highest numbers mean something else, and a wrapped distance would be a wrong one."""
    passport = records.having(records.rich(), odometer_km=records.reported(value, unit))
    left = {one.name: one.reason for one in make(passport, edition("2016")).left_out}
    assert reason in left["whole vehicle.odometer"]
    assert "invalid" in decoded(passport, "2016")["whole_vehicle"]["mileage_total"]
