"""No English sentence on an operator's Japanese pages."""

from __future__ import annotations

import pytest

from web.reading import english_in

from .conftest import Open
from .test_fleet_pages import BOX, LISTED, WHOLE


@pytest.mark.parametrize("name", ["empty", "lived"])
async def test_operators_pages_hold_no_english_sentence_in_japanese(opened: Open, name: str) -> None:
    """Why a message was refused, what was done at the desk and by whom: said in Japanese, or marked as English."""
    names = ("Leaf, demo car 1", "e-NV200 delivery van")
    async with opened(name) as fleet:
        for path in LISTED if name == "empty" else (*WHOLE, BOX):
            assert english_in(await fleet.text(path, "ja"), names) == set(), path
