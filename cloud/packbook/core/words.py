"""Say things in one language: messages by key, numbers, spans of time and dates as its readers write them.

In:  messages, keyed by their dotted path. Out: plain text; nothing here is markup.
A missing key is our own mistake and raises. Where the messages come from is the caller's affair.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

ABSENT: Final = "–"  # stands where a value is unknown; never a zero


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

    def month(self, at_ms: int) -> str:
        """Of the UTC date."""
        at = utc(at_ms)
        return self("time.month_of", year=at.year, month=at.month, month_name=self(f"time.month.{at.month}"))

    def moment(self, at_ms: int | None) -> str:
        if at_ms is None:
            return self("time.unknown")
        return self("time.moment", date=self.date(at_ms), clock=f"{utc(at_ms):%H:%M}")


def utc(at_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_ms / 1000, tz=datetime.UTC)


def iso(at_ms: int) -> str:
    return utc(at_ms).strftime("%Y-%m-%dT%H:%M:%SZ")
