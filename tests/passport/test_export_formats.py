"""The formats as `packbook export --format` finds them: by name, with the mapping in force or the one asked for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from packbook.adapters.rules import RuleBook, RulesError
from packbook.app.evidence import ExportError
from packbook.app.formats import FORMATS, make
from packbook.core.passport import Passport
from packbook.settings import Settings
from passport.makers import MAKERS
from passport.records import poor, rich

OURS = sorted(set(MAKERS) - {"idta-1.0.3"})


def exported(name: str, passport: Passport, **versions: str) -> bytes:
    rules = RuleBook({family.replace("_", "-"): version for family, version in versions.items()})
    return asyncio.run(make(name, passport, rules, Settings.model_construct())).data


@pytest.mark.parametrize("name", OURS)
def test_every_format_is_offered_with_a_mapping_in_force(name: str) -> None:
    """A format that only its tests can reach is not shipped."""
    assert json.loads(exported(name, rich()))
    assert FORMATS[name].suffix.endswith(".json")


def test_every_format_is_documented(root: Path) -> None:
    """What a format leaves out is as much part of it as what it holds."""
    page = (root / "docs/formats.md").read_text()
    assert [name for name in FORMATS if f"`{name}`" not in page] == []


def test_another_version_changes_the_file() -> None:
    """Ids follow the version of the mapping; the program stays as it is."""
    newest, older = exported("aas", rich()), exported("aas", rich(), idta_productcondition="1.0.1")
    assert b"product_condition:1.0.2#remainingCapacityValue" in newest
    assert b"product_condition:1.0.1#remainingCapacityValue" in older


def test_an_unknown_version_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(RulesError, match=r"version 9 is not known; known are: 1\.0\.1, 1\.0\.3$"):
        exported("idta", rich(), idta_productcondition="9")


def test_what_cannot_be_made_says_which_battery_and_what_is_missing() -> None:
    """Half a history is no fault of the program: the command says what to declare, and makes no file."""
    with pytest.raises(ExportError, match=r"^battery provisional-3f9a: nothing was made\. DPP .* declare passport_id"):
        exported("dpp", poor())
