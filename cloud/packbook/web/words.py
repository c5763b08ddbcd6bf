"""Say things in the reader's language: catalogues, choice of language, numbers and spans of time.

In:  i18n/<language>.toml (same keys in each; tests hold them to it) and what the browser says it reads.
Out: plain text. Templates escape it; nothing here is markup.
A missing key is our own mistake and raises; an unknown language falls back to English.
"""

from __future__ import annotations

import datetime
import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LANGUAGES: Final = ("en", "ja")
COOKIE: Final = "packbook_lang"
FOLDER: Final = Path(__file__).with_name("i18n")
ABSENT: Final = "–"  # stands where a value is unknown; never a zero


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


@dataclass(frozen=True, slots=True)
class Words:
    """One language: messages by key, and numbers as its readers write them."""

    language: str
    messages: Mapping[str, str]

    def __call__(self, key: str, /, **values: object) -> str:
        message = self.messages[key]
        return message.format(**values) if values else message

    def or_raw(self, prefix: str, name: str) -> str:
        """The word for a name that came over the wire, or the name itself: newer boxes know names we do not."""
        return self.messages.get(f"{prefix}.{name}", name)

    def count(self, key: str, n: int) -> str:
        return self(f"{key}.{'one' if n == 1 else 'other'}", n=self.number(n))

    def joined(self, parts: Iterable[str], kind: str = "items") -> str:
        """Items of a list, or sentences of a paragraph: Japanese puts no space between these."""
        return functools.reduce(lambda left, right: self(f"list.{kind}", left=left, right=right), parts)

    def number(self, value: float | None, digits: int = 0, unit: str = "") -> str:
        """English and Japanese both group by comma and break at the point."""
        if value is None:
            return ABSENT
        text = f"{value:,.{digits}f}".replace("-", "−")
        text = text.removeprefix("−") if not any(c in "123456789" for c in text) else text  # no minus zero
        return f"{text} {unit}" if unit else text

    def span(self, seconds: float | None) -> str:
        """A span of time in its two largest units: days and hours, hours and minutes, or minutes."""
        if seconds is None:
            return ABSENT
        minutes = round(seconds / 60)
        hours, days = minutes // 60, minutes // 1440
        if days >= 3:
            return self("span.days", days=self.number(days), hours=hours - days * 24)
        if hours:
            return self("span.hours", hours=hours, minutes=minutes - hours * 60)
        return self("span.minutes", minutes=minutes) if minutes else self("span.seconds", seconds=round(seconds))

    def date(self, at_ms: int | None) -> str:
        """The UTC date, for readers without JavaScript; with it the browser's own zone replaces this."""
        if at_ms is None:
            return self("time.unknown")
        at = utc(at_ms)
        return self("time.date", year=at.year, month=at.month, month_name=self(f"time.month.{at.month}"), day=at.day)

    def moment(self, at_ms: int | None) -> str:
        if at_ms is None:
            return self("time.unknown")
        return self("time.moment", date=self.date(at_ms), clock=f"{utc(at_ms):%H:%M}")


def utc(at_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_ms / 1000, tz=datetime.UTC)


def iso(at_ms: int) -> str:
    return utc(at_ms).strftime("%Y-%m-%dT%H:%M:%SZ")


ALL_WORDS: Final[Mapping[str, Words]] = {language: Words(language, read_catalogue(language)) for language in LANGUAGES}
