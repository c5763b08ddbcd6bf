"""Say things in one language: messages by key; numbers, plurals, spans of time and dates as its readers write them.

In:  messages, keyed by their dotted path; what CLDR knows of the language, by Babel.
Out: plain text; nothing here is markup. Units are SI symbols after a space, on paper as on the screen.
A missing key is our own mistake and raises. Where the messages come from is the caller's affair.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import NumberPattern, parse_pattern
from babel.units import format_unit

from packbook.core.told import BETWEEN, INNER, NO_REASONS, WRITTEN_IN, Piece, Reasons, Told

ABSENT: Final = "–"  # stands where a value is unknown; never a zero
TEXTS_KEPT: Final = 8192  # of numbers, and of days


class Manner(NamedTuple):
    """Whose conventions a language follows, and which of CLDR's lengths of a date reads best in running text."""

    locale: str
    date: str
    day: str  # skeleton of a day without its year, short enough for an axis
    between: str  # units of a span
    within: str  # a figure of a span and its unit


MANNERS: Final = {
    # Day before month in letters, and 24 hours: read alike by all who read English.
    "en": Manner("en_GB", "medium", "MMMd", " ", "\N{NO-BREAK SPACE}"),
    "ja": Manner("ja", "long", "Md", "", ""),
}


# What stands in a place of a reason and has a word of its own: the place's last word, and whose words they are.
PLACES: Final = {
    "field": "field.{}",
    "method": "method.{}",
    "purpose": "fleet.purpose.{}",
    "purposes": "fleet.purpose.{}",
    "role": "custody_role.{}",
    "roles": "custody_role.{}",
    "status": "fact_text.{}",
}
KNOWN_ALONE: Final = "field"  # any word "is not known": only of a field that is one of our reasons
MANY: Final = re.compile(r", | or ")


@dataclass(frozen=True, slots=True)
class Words:
    """One language. `reasons`: the sentences of programs that it can say."""

    language: str
    messages: Mapping[str, str]
    reasons: Reasons = NO_REASONS
    manner: Manner = field(init=False)
    locale: Locale = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "manner", MANNERS[self.language])
        object.__setattr__(self, "locale", _locale(self.language))

    def __call__(self, key: str, /, **values: object) -> str:
        """Values are plain text: what a template's macro gives is escaped already, and would be so twice."""
        assert not any(hasattr(value, "__html__") for value in values.values())
        message = self.messages[key]
        return message.format(**values) if values else message

    def or_raw(self, prefix: str, name: str) -> str:
        """The word for a name that came over the wire, or the name itself: newer boxes know names we do not."""
        return self.messages.get(f"{prefix}.{name}", name)

    def count(self, key: str, n: int) -> str:
        """A number of things: the message of the plural form that the language uses for it."""
        return self(f"{key}.{self.locale.plural_form(n)}", n=self.number(n))

    def told(self, text: str) -> Told:
        """Reasons that a program gave: those we know in this language, the others as they came."""
        parts, pieces = text.strip().split(BETWEEN), list[Piece]()
        while parts:
            longest = range(len(parts), 0, -1)  # a reason may itself hold what stands between two
            found = ((self.reason(BETWEEN.join(parts[:taken])), taken) for taken in longest)
            said, taken = next(((said, taken) for said, taken in found if said is not None), (None, 1))
            last = len(parts) == taken
            if said is None:
                pieces.append(Piece(parts[0] + ("" if last else BETWEEN), WRITTEN_IN))
            else:
                pieces.append(Piece(said if last else self("list.reasons", left=said, right=""), None))
            del parts[:taken]
        return Told(tuple(pieces))

    def reason(self, text: str) -> str | None:
        """One reason. None: no sentence that we know, or one about something that we do not know."""
        found = self.reasons.find(text)
        if found is None:
            return None
        places = {name: self._place(name.rpartition("_")[2], said) for name, said in found.places.items()}
        return None if None in places.values() else self(f"reason.{found.name}", **places)

    def _place(self, kind: str, said: str) -> str | None:
        if kind == INNER:
            return self.reason(said)
        if kind not in PLACES:
            return said
        names = MANY.split(said)
        words = [self.messages.get(PLACES[kind].format(name.partition("/")[0])) for name in names]
        if kind == KNOWN_ALONE and None in words:
            return None
        named = (self("list.named", name=word or name) for word, name in zip(words, names, strict=True))
        return self.joined(named)

    def joined(self, parts: Iterable[str], kind: str = "items") -> str:
        """Items of a list, or sentences of a paragraph: Japanese puts no space between these."""
        return functools.reduce(lambda left, right: self(f"list.{kind}", left=left, right=right), parts)

    def number(self, value: float | None, digits: int = 0, unit: str = "") -> str:
        if value is None:
            return ABSENT
        text = _number(round(value, digits) + 0.0, digits, self.language)  # no minus zero
        return f"{text} {unit}" if unit else text

    def span(self, seconds: float | None) -> str:
        """A span of time in its two largest units: days and hours, hours and minutes, or minutes."""
        if seconds is None:
            return ABSENT
        minutes = round(seconds / 60)
        hours, days = minutes // 60, minutes // 1440
        if days >= 3:
            return self._spans(("day", days), ("hour", hours - days * 24))
        if hours:
            return self._spans(("hour", hours), ("minute", minutes - hours * 60))
        return self._spans(("minute", minutes) if minutes else ("second", round(seconds)))

    def _spans(self, *parts: tuple[str, int]) -> str:
        """No second unit where there is none of it."""
        shown = [parts[0], *(part for part in parts[1:] if part[1])]
        told = (format_unit(n, f"duration-{unit}", "short", locale=self.locale) for unit, n in shown)
        return self.manner.between.join(one.replace(" ", self.manner.within) for one in told)

    def date(self, at_ms: int | None) -> str:
        """The UTC date, for readers without JavaScript; with it the browser's own zone replaces this."""
        if at_ms is None:
            return self("time.unknown")
        return _date(utc(at_ms).date(), self.language)

    def month(self, at_ms: int) -> str:
        """Of the UTC date."""
        return _skeleton("yMMM", utc(at_ms).date(), self.language)

    def day(self, day: datetime.date) -> str:
        """A day whose year stands elsewhere."""
        return _skeleton(self.manner.day, day, self.language)

    def moment(self, at_ms: int | None) -> str:
        """UTC, and says so: a server does not know its readers' zones."""
        if at_ms is None:
            return self("time.unknown")
        return self("time.moment", date=self.date(at_ms), clock=format_time(utc(at_ms), "short", locale=self.locale))


@functools.cache
def _pattern(digits: int) -> NumberPattern:
    return parse_pattern("#,##0." + "0" * digits)


# Pages say the same figures and days over and over: rounded ones are few, and writing one takes longer than the page's
# own part in it.


@functools.lru_cache(TEXTS_KEPT)
def _number(rounded: float, digits: int, language: str) -> str:
    text: str = _pattern(digits).apply(rounded, _locale(language))
    return text.replace("-", "−")


@functools.lru_cache(TEXTS_KEPT)
def _date(day: datetime.date, language: str) -> str:
    return format_date(day, MANNERS[language].date, _locale(language))


@functools.lru_cache(TEXTS_KEPT)
def _skeleton(skeleton: str, day: datetime.date, language: str) -> str:
    return format_skeleton(skeleton, day, locale=_locale(language))


@functools.cache
def _locale(language: str) -> Locale:
    return Locale.parse(MANNERS[language].locale)


def utc(at_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_ms / 1000, tz=datetime.UTC)


def iso(at_ms: int) -> str:
    return utc(at_ms).strftime("%Y-%m-%dT%H:%M:%SZ")
