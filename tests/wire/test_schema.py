"""The contract file and docs/wire.md say what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cbor2
import pytest

from packwire.codec import plan_of
from packwire.messages import BYTE_BUDGET, MESSAGES, TYPICAL_BYTES, EventKind, Kind
from packwire.schema import FILE, contract, contract_text, tables
from packwire.seal import ENVELOPE_KEYS, peek
from packwire.topics import Leaf
from wire_samples import MAXIMAL, PUBLIC_KEY, RELEASED, TYPICAL, sealed_sample

RENEW = "run `python -m packwire.schema --write` (and --markdown for docs/wire.md) and review the difference"


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs/wire.md").read_text(encoding="utf-8")


def test_the_contract_file_is_up_to_date() -> None:
    """A change of the contract must be seen in review, whoever made it and why."""
    assert FILE.read_text(encoding="utf-8") == contract_text(), RENEW


def test_the_page_shows_the_contract(page: str) -> None:
    """Docs say what is true today: every topic, kind, field, unit and step."""
    assert page.endswith(tables()), RENEW


def test_every_topic_field_and_word_is_on_the_page(page: str) -> None:
    """Checked by another way than the generator's own."""
    for leaf in Leaf:
        assert f"`pb/v1/<box>/{leaf.value}`" in page
    for kind, model in MESSAGES.items():
        section = page.split(f"### `{kind.name.lower()}`\n")[1].split("\n### ", maxsplit=1)[0]
        for plan in plan_of(model):
            assert f"| {plan.wire.key} | `{plan.name}` |" in section
    assert all(kind.value in page for kind in EventKind)


def test_every_number_has_a_unit_or_is_a_count() -> None:
    """The unit is the last word of a name; one that is not known here would be shown without unit."""
    bare = {
        field["name"]
        for body in (*contract()["kinds"], *contract()["parts"])
        for field in body["fields"]
        if field["type"] == "number" and field["unit"] is None
    }
    assert bare == {"equivalent_full_cycles", "extreme"}


def test_the_envelope_on_the_page_is_the_one_that_travels() -> None:
    """`ENVELOPE_KEYS` is written beside the code, not by it."""
    golden = json.loads((RELEASED / "charge-typical.json").read_text(encoding="utf-8"))
    assert set(cbor2.loads(peek(bytes.fromhex(golden["sealed_hex"])).payload)) == set(ENVELOPE_KEYS)


def test_the_measured_sizes_on_the_page_are_todays(page: str) -> None:
    """An operator plans data volume by them."""
    for typical, largest in zip(TYPICAL, MAXIMAL, strict=True):
        sizes = len(sealed_sample(typical, largest=False)), len(sealed_sample(largest, largest=True))
        assert f"{typical.KIND.name.lower()} {sizes[0]} / {sizes[1]}" in page
    assert set(BYTE_BUDGET) == set(TYPICAL_BYTES) == set(Kind)


def test_a_stranger_can_check_a_record_by_the_page_alone(page: str) -> None:
    """The fifteen lines run, accept every golden and refuse every changed byte."""
    lines = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert lines is not None
    stranger: dict[str, Any] = {}
    exec(lines[1], stranger)  # noqa: S102 - the page's own example
    verify = stranger["verify"]
    files = [
        f for f in sorted(RELEASED.glob("*.json")) if not f.name.startswith(("ack", "command", "config", "heartbeat"))
    ]
    for file in files:
        sealed = bytes.fromhex(json.loads(file.read_text(encoding="utf-8"))["sealed_hex"])
        assert verify(sealed, PUBLIC_KEY)[0] == 1
    sealed = sealed_sample(TYPICAL[7], largest=False)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(Exception):  # noqa: B017 - cbor2, cryptography or an assert: each says no in its own way
            verify(bytes(changed), PUBLIC_KEY)


def test_the_command_prints_the_contract() -> None:
    """Other languages generate their readers from it."""
    ran = subprocess.run([sys.executable, "-m", "packwire.schema"], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == contract()
    wrong = subprocess.run(
        [sys.executable, "-m", "packwire.schema", "what"], capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
