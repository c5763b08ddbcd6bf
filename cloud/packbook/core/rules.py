"""What versioned rule files say, as plain values: which fields there are, which are owed, which limits hold.

A rule file is data with a family, a version and a source; code knows shapes, never contents. `adapters.rules` reads
them. Field names, units and ranges come from here alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from packbook.core.passport import Histogram, Part, Value

MONTH: Final = re.compile(r"(19|20)[0-9]{2}-(0[1-9]|1[0-2])")
COUNTRY: Final = re.compile(r"[A-Z]{2}")
TEXT_MAX: Final = 300


class Kind(StrEnum):
    NUMBER = "number"
    WHOLE = "whole"
    TEXT = "text"
    CHOICE = "choice"
    MONTH = "month"  # YYYY-MM
    DAY = "day"  # YYYY-MM-DD
    COUNTRY = "country"  # ISO 3166-1 alpha-2
    HISTOGRAM = "histogram"


class Tier(StrEnum):
    """Annex XIII points 1 to 4 (facts/passport.md §1)."""

    PUBLIC = "public"
    INTEREST = "interest"
    AUTHORITY = "authority"
    INDIVIDUAL = "individual"


class Rhythm(StrEnum):
    ONCE = "once"
    MODEL = "model"
    STATIC = "static"  # changes at placing on the market and with the status alone
    DYNAMIC = "dynamic"


@dataclass(frozen=True, slots=True)
class FieldRule:
    part: Part
    unit: str
    kind: Kind
    tier: Tier
    rhythm: Rhythm
    title: str
    source: str  # where it is asked for; `own`: nowhere
    decimals: int = 0
    low: float | None = None
    high: float | None = None
    one_of: tuple[str, ...] = ()
    declare: bool = False  # a person may say it
    many: bool = False  # several facts of one source stand side by side

    def objection(self, value: Value) -> str | None:
        """Why the field cannot hold this value; None: it can."""
        match self.kind:
            case Kind.HISTOGRAM:
                return None if isinstance(value, Histogram) else "expected a histogram"
            case Kind.NUMBER | Kind.WHOLE:
                return self._number_objection(value)
            case _:
                return self._text_objection(value)

    def _number_objection(self, value: Value) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{value!r} is not a number"
        if not math.isfinite(value):
            return f"{value!r} is not a finite number"
        if self.kind is Kind.WHOLE and value != int(value):
            return f"{value!r} is not a whole number"
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            return f"{value:g} is not between {self.low:g} and {self.high:g} {self.unit}"
        return None

    def _text_objection(self, value: Value) -> str | None:
        if not isinstance(value, str):
            return f"{value!r} is not a text"
        if not value.strip() or len(value) > TEXT_MAX or not value.isprintable():
            return f"expected 1 to {TEXT_MAX} printable characters"
        if self.kind is Kind.CHOICE and value not in self.one_of:
            return f"{value!r} is none of: {', '.join(self.one_of)}"
        if self.kind is Kind.MONTH and not MONTH.fullmatch(value):
            return f"{value!r} is not a month like 2021-05"
        if self.kind is Kind.COUNTRY and not COUNTRY.fullmatch(value):
            return f"{value!r} is not a country like JP"
        if self.kind is Kind.DAY and not _is_day(value):
            return f"{value!r} is not a day like 2021-05-03"
        return None

    def rounded(self, value: Value) -> Value:
        """To the resolution of the field."""
        if isinstance(value, str | Histogram):
            return value
        if self.kind is Kind.WHOLE:
            return int(value)
        return round(float(value), self.decimals) + 0.0  # no negative zero


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Fields:
    """All fields of one version."""

    family: str
    version: str
    fields: Mapping[str, FieldRule]


class Verdict(StrEnum):
    MUST = "must"
    IF_APPLICABLE = "if_applicable"
    MUST_NOT = "must_not"
    NOT_COVERED = "not_covered"


@dataclass(frozen=True, slots=True)
class OwedRow:
    name: str
    fields: tuple[str, ...]  # met when one of them has a value; none: the record has no place for it
    asked_in: str
    verdicts: Mapping[str, Verdict]  # by category
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Owed:
    """What a passport owes, by category of battery."""

    family: str
    version: str
    source: str
    rows: tuple[OwedRow, ...]
