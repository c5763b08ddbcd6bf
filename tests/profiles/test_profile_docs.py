"""docs/profiles.md is the only description of the format: it must name every key there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from packbox.adapters import profile_file

TABLES = [
    table
    for table in vars(profile_file).values()
    if isinstance(table, type) and issubclass(table, BaseModel) and table.__module__ == profile_file.__name__
]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.__name__)
def test_every_key_of_a_profile_is_documented(root: Path, table: type[BaseModel]) -> None:
    """Unknown keys are refused, so a key that is not written down cannot be found."""
    page = (root / "docs/profiles.md").read_text(encoding="utf-8")
    assert [key for key in table.model_fields if f"`{key}`" not in page and f"[{key}" not in page] == []
