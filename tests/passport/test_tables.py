"""The record as CSV and Parquet: every fact a row, with its unit and source, the same bytes for the same record."""

from __future__ import annotations

import csv
import io

import pytest
from pyarrow import parquet  # type: ignore[import-untyped]  # it ships no types

from packbook.core.formats import table_csv, table_parquet
from packbook.core.formats.table import rows
from packbook.core.passport import Histogram, Passport
from passport import records


def read_csv(passport: Passport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table_csv.make(passport).data.decode(), newline="")))


def read_parquet(passport: Passport) -> list[dict[str, object]]:
    found: list[dict[str, object]] = parquet.read_table(io.BytesIO(table_parquet.make(passport).data)).to_pylist()
    return found


def test_every_fact_is_a_row_and_every_band_of_a_histogram_one() -> None:
    """Nothing of the record is lost on the way to a table."""
    passport = records.rich()
    wanted = 0
    for facts in passport.facts.values():
        for fact in facts:
            wanted += len(fact.value.counts) if isinstance(fact.value, Histogram) else 1
    assert len(read_csv(passport)) == len(read_parquet(passport)) == wanted


def test_a_row_says_what_where_from_and_how_sure() -> None:
    (row,) = (row for row in read_csv(records.rich()) if row["field"] == "soh_capacity_pct")
    assert row == {
        "battery": "62A-000417",
        "field": "soh_capacity_pct",
        "value": "88.42",
        "text": "",
        "unit": "%",
        "band": "",
        "day": "2026-10-31",
        "source": "measured",
        "by": "box-7",
        "method": "kalman/3",
        "sigma": "1.1",
        "lo90": "86.6",
        "hi90": "90.2",
        "conditions": "",
        "records": "box-7/store-1/4711",
        "why": "",
    }


def test_both_tables_say_the_same() -> None:
    """Parquet has numbers and nulls where CSV has text and nothing."""
    for text, typed in zip(read_csv(records.rich()), read_parquet(records.rich()), strict=True):
        assert {name: "" if value is None else str(value) for name, value in typed.items()} == text


def test_sources_stand_side_by_side() -> None:
    found = [(row.source, row.value) for row in rows(records.rich()) if row.field == "soc_pct"]
    assert found == [("measured", 61.37), ("vehicle-reported", 60.0)]


def test_a_fact_without_a_value_keeps_its_row_and_says_why() -> None:
    (row,) = (row for row in read_csv(records.poor()) if row["field"] == "soh_capacity_pct")
    assert (row["value"], row["why"]) == ("", "2 of 10 segments seen")


def test_bands_of_a_histogram_are_named() -> None:
    bands = [row.band for row in rows(records.rich()) if row.field == "soc_temp_time_s"]
    assert bands[0] == "soc_pct 0..10; temp_degc ..-10"
    assert bands[-1] == "soc_pct 90..100; temp_degc 60.."
    assert len(set(bands)) == len(bands) == 90


@pytest.mark.parametrize("make", [table_csv.make, table_parquet.make])
def test_the_same_record_gives_the_same_table(make: object) -> None:
    assert callable(make)
    assert make(records.rich()).data == make(records.rich()).data


def test_no_text_of_a_record_is_a_formula() -> None:
    """Names come from cars and people; a spreadsheet would run what begins with =."""
    passport = records.having(records.rich(), model=records.declared("=HYPERLINK(1)"))
    (row,) = (row for row in read_csv(passport) if row["field"] == "model")
    assert row["text"] == "'=HYPERLINK(1)"


def test_no_time_of_day_is_in_a_table() -> None:
    for data in (table_csv.make(records.rich()).data, table_parquet.make(records.rich()).data):
        assert b"13:37" not in data
        assert str(records.LAST_MS).encode() not in data
