"""The data inventory lists every field that leaves the box: one that is added without a word about it fails here."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from packwire.consent import Purpose, needed_for
from packwire.messages import EventKind, Kind
from packwire.schema import contract

ROW = re.compile(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
PARTS = {name["name"]: name for name in (*contract()["kinds"], *contract()["parts"])}
NOT_FIELDS = {"envelope of every record", "status (topic `s`)"}


@pytest.fixture(scope="module")
def rows(root: Path) -> list[tuple[str, list[str], str]]:
    """Message, its fields, the purpose, of every row of the inventory."""
    text = (root / "docs/privacy.md").read_text(encoding="utf-8")
    table = text.partition("## Every field that leaves")[2].partition("\n## ")[0]
    found = [(what, re.findall(r"`(\w+)`", fields), purpose) for what, fields, purpose, _, _ in ROW.findall(table)]
    return [row for row in found if row[0] not in ("message", "---")]


def test_every_field_on_the_wire_is_in_the_inventory_once(rows: list[tuple[str, list[str], str]]) -> None:
    """An owner who asks what leaves his car gets the whole answer, and nothing that is not true any more."""
    listed = Counter((what, field) for what, fields, _ in rows if what not in NOT_FIELDS for field in fields)
    there = {(name, field["name"]) for name, part in PARTS.items() for field in part["fields"]}
    assert set(listed) == there
    assert max(listed.values()) == 1
    (envelope,) = [fields for what, fields, _ in rows if what == "envelope of every record"]
    assert envelope == [field["name"] for field in contract()["envelope"]]


@pytest.mark.parametrize("kind", Kind)
def test_the_inventory_names_the_purpose_that_the_code_asks_for(
    rows: list[tuple[str, list[str], str]], kind: Kind
) -> None:
    """A page that promises more than the box keeps would be worse than none."""
    needed = needed_for(kind, EventKind.CELL_LOW)
    words = " or ".join(purpose for purpose in Purpose if purpose in needed) or "none"
    purposes = {purpose for what, _, purpose in rows if what == kind.name.lower()}
    expected = f"of the battery: {words}; of the box: none" if kind is Kind.EVENT else words
    assert purposes == {expected}


def test_no_field_could_hold_a_position_a_person_or_a_vehicle_number() -> None:
    """By name, at least; the texts that are free say in the contract what must not be in them."""
    forbidden = re.compile(
        r"(^|_)(lat|lon|latitude|longitude|position|gps|driver|owner|name|vin|chassis|plate|phone)(_|$)"
    )
    names = [field["name"] for part in PARTS.values() for field in part["fields"]]
    assert [name for name in names if forbidden.search(name)] == []
