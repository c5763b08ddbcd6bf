"""The passport's page: what every figure of a section says of itself is said once."""

from __future__ import annotations

from packbook.core.passport import Fact, Passport, Source
from packbook.web.passport_page import section
from packbook.web.words import ALL_WORDS

NAMES = ("made_by", "chemistry", "category", "weight_kg", "warranty")


def passport(*by: str) -> Passport:
    facts = {name: (Fact("x", "1", 0, Source.DECLARED, who),) for name, who in zip(NAMES, by, strict=True)}
    return Passport("b", "ev", 0, {}, facts, None)


def test_a_note_that_most_figures_carry_stands_once_above_them() -> None:
    """Twenty-five times "declared by the maker" hides the one that somebody else declared."""
    made = section(ALL_WORDS["en"], "state", NAMES, passport("Maker", "Maker", "Maker", "Maker", "Dealer"))
    assert "Maker" in str(made.note)
    assert [bool(figure.detail) for figure in made.figures] == [False, False, False, False, True]


def test_figures_with_a_note_each_keep_it() -> None:
    """Nothing is common to them."""
    made = section(ALL_WORDS["en"], "state", NAMES, passport("Maker", "Dealer", "Owner", "Lab", "Auction"))
    assert made.note is None
    assert all(figure.detail for figure in made.figures)
