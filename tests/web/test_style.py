"""The style sheet: readable by everyone, in light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAIRS = (
    ("ink", "paper"),
    ("ink", "card"),
    ("soft", "paper"),
    ("soft", "card"),
    ("indigo", "paper"),
    ("indigo", "card"),
    ("card", "indigo"),
    ("amber", "card"),
    ("ink", "indigo-soft"),
    *((tone, ground) for tone in ("good", "warn", "bad") for ground in ("card", "paper", f"{tone}-soft")),
    ("hero-ink", "hero"),
    ("hero-soft", "hero"),
    ("hero-amber", "hero"),
)
DRAWN = (
    ("indigo-fill", "card"),
    ("amber-fill", "card"),
    ("grey-fill", "card"),
    ("grey-fill", "paper"),
    ("hero-line", "hero"),
)


def colours(root: Path, scheme: str) -> dict[str, str]:
    css = (root / "cloud/packbook/web/static/style.css").read_text()
    light = re.search(r":root \{(.*?)\}", css, re.DOTALL)
    dark = re.search(r":root:not\(\[data-paper\]\) \{(.*?)\}", css, re.DOTALL)
    assert light
    assert dark
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light[1]))
    return found | (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark[1])) if scheme == "dark" else {})


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(root: Path, scheme: str) -> None:
    """WCAG AA: 4.5 : 1 for text, 3 : 1 for what is drawn."""
    found = colours(root, scheme)
    assert {
        pair: contrast(found[pair[0]], found[pair[1]])
        for pair in PAIRS
        if contrast(found[pair[0]], found[pair[1]]) < 4.5
    } == {}
    assert {
        pair: contrast(found[pair[0]], found[pair[1]])
        for pair in DRAWN
        if contrast(found[pair[0]], found[pair[1]]) < 3.0
    } == {}


def test_every_colour_named_exists(root: Path) -> None:
    """A misspelt colour is no colour."""
    css = (root / "cloud/packbook/web/static/style.css").read_text()
    assert set(re.findall(r"var\(--([\w-]+)\)", css)) <= set(re.findall(r"--([\w-]+):", css))


def test_motion_and_paper_are_thought_of(root: Path) -> None:
    """Readers who asked for calm get calm; a printed page shows figures, not buttons."""
    css = (root / "cloud/packbook/web/static/style.css").read_text()
    moving = css.index("animation: breathe")
    assert css.rindex("@media (prefers-reduced-motion: no-preference)", 0, moving) > 0
    assert "@media print" in css
    assert "prefers-reduced-motion" in (root / "cloud/packbook/web/static/charts.js").read_text()
