"""Catalogues, and the choice of language.

In:  i18n/<language>.toml (same keys in each; tests hold them to it) and what the browser says it reads.
Out: `Words`. What they give is plain text; templates escape it. An unknown language falls back to English.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from packbook.core.told import WRITTEN_IN, reasons_in
from packbook.core.words import Words

LANGUAGES: Final = ("en", "ja")
COOKIE: Final = "packbook_lang"
FOLDER: Final = Path(__file__).with_name("i18n")


def read_catalogue(language: str) -> dict[str, str]:
    """All messages of a language, keyed by their dotted path."""
    with (FOLDER / f"{language}.toml").open("rb") as file:
        return dict(_leaves(tomllib.load(file), ""))


def _leaves(table: Mapping[str, object], path: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{path}{key}.")
        else:
            found.append((path + key, str(value).strip()))
    return found


def choose_language(asked: str | None, remembered: str | None, accepted: str | None) -> str:
    """`?lang=` wins over the cookie, the cookie over Accept-Language."""
    for language in (asked, remembered):
        if language in LANGUAGES:
            return language
    ranked = sorted(_accepted(accepted or ""), key=lambda entry: -entry[1])
    return next((language for language, weight in ranked if language in LANGUAGES and weight > 0), LANGUAGES[0])


def _accepted(header: str) -> list[tuple[str, float]]:
    """RFC 9110 §12.5.4, by primary subtag: `ja-JP;q=0.8` counts as `ja`. Unreadable weights count as 0."""
    ranges = []
    for part in header.split(","):
        tag, _, weight = part.partition(";")
        try:
            rank = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            rank = 0.0
        ranges.append((tag.strip().lower().split("-")[0], rank))
    return ranges


_REASONS: Final = reasons_in(read_catalogue(WRITTEN_IN))
ALL_WORDS: Final[Mapping[str, Words]] = {
    language: Words(language, read_catalogue(language), _REASONS) for language in LANGUAGES
}
