"""What formats write alike: days, numbers, JSON, and the account of what found no place.

In:  facts of a record. Out: text, numbers, and a `LeftOut` for each fact nobody took.
A moment leaves as its day in UTC: the time of day would tell when somebody drives or sleeps.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from packbook.core.formats import LeftOut
from packbook.core.passport import Fact, Passport

Json = dict[str, object]

NO_PLACE: Final = "the model has no place for it"
ONE_PLACE: Final = "the model has one place for it, which another fact fills"
ABOUT_VALUES: Final = LeftOut(
    "source, method, uncertainty, conditions, evidence", "the model has no place for them beside a value"
)
ABOUT_LIFE: Final = LeftOut("coverage", "the model has no place for how much of the battery's life was watched")
DAYS: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
URI: Final = re.compile(r"(?:https?://|urn:|did:)(?:[\w.~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII | re.IGNORECASE)
SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,63}")
# Characters that XML has (AAS constraint AASd-130); more of them than any model's text field takes.
WRITABLE: Final = re.compile(r"[\x09\x0a\x0d\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]{1,1000}")
UNWRITABLE: Final = "it is empty, too long, or holds characters that XML does not know"


def day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")


def day_utc(at_ms: int) -> str:
    """The day as a date and time with its zone, for models that know only those."""
    return f"{day(at_ms)}T00:00:00Z"


def newest_ms(passport: Passport) -> int:
    """When anything in the record was last found to be so; when it was put together if nothing says."""
    times = (fact.at_ms for facts in passport.facts.values() for fact in facts if fact.value is not None)
    return max((at_ms for at_ms in times if at_ms is not None), default=passport.made_ms)


def as_json(document: object) -> bytes:
    """The same document always gives the same bytes."""
    return (json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def number(fact: Fact) -> float | None:
    """None: the fact's value is no number that could be written."""
    if isinstance(fact.value, bool) or not isinstance(fact.value, int | float) or not math.isfinite(fact.value):
        return None
    return float(fact.value)


def writable(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and WRITABLE.fullmatch(value) is not None


def text(passport: Passport, name: str) -> str | None:
    fact = passport.first(name)
    return fact.value if fact and isinstance(fact.value, str) and writable(fact.value) else None


def identifiers(passport: Passport) -> list[tuple[int, str, str]]:
    """The battery's declared identifiers: number of the fact, scheme, value.

    They read `scheme:value`; a URI may stand for itself. Others are passed over.
    """
    found = []
    for at, fact in enumerate(passport.facts.get("identifiers", ())):
        if isinstance(fact.value, str) and writable(fact.value):
            scheme, _, value = fact.value.partition(":")
            whole = URI.fullmatch(fact.value) is not None and URI.fullmatch(value) is None
            if SCHEME.fullmatch(scheme) and value.strip():
                found.append((at, scheme, fact.value if whole else value))
    return found


def uri(passport: Passport) -> str | None:
    """The first of them that is a URI, one that leads into the web before others."""
    found = [value for _, _, value in identifiers(passport) if URI.fullmatch(value)]
    return min(found, key=lambda value: not value.lower().startswith("http"), default=None)


@dataclass(slots=True)
class Account:
    """Which facts were written, and why the others were not.

    `taken` and `refused` know a fact by its field and its number there.
    `outdone`: fields whose place another fact fills.
    """

    passport: Passport
    no_place: Mapping[str, str] = field(default_factory=dict)
    taken: set[tuple[str, int]] = field(default_factory=set)
    outdone: set[str] = field(default_factory=set)
    refused: dict[tuple[str, int], str] = field(default_factory=dict)
    unfilled: list[LeftOut] = field(default_factory=list)

    def take(self, name: str) -> None:
        """The first fact of the field that has a value is written."""
        facts = self.passport.facts.get(name, ())
        self.taken.update((name, at) for at, fact in enumerate(facts) if fact is self.passport.first(name))
        self.outdone.add(name)

    def take_uri(self) -> None:
        """The identifier that `uri` gives."""
        chosen = uri(self.passport)
        self.taken.update([("identifiers", at) for at, _, value in identifiers(self.passport) if value == chosen][:1])
        self.outdone.add("identifiers")

    def lacks(self, name: str, reason: str) -> None:
        self.unfilled.append(LeftOut(name, reason))

    def left_out(self) -> tuple[LeftOut, ...]:
        rest = []
        for name, facts in self.passport.facts.items():
            default = ONE_PLACE if name in self.outdone else self.no_place.get(name, NO_PLACE)
            for at, fact in enumerate(facts):
                if (name, at) not in self.taken:
                    whose = f" ({fact.source.value}, {fact.by})" if len(facts) > 1 else ""
                    why = self.refused.get((name, at)) or (default if fact.value is not None else fact.why or default)
                    rest.append(LeftOut(name + whose, why))
        about = (ABOUT_VALUES, ABOUT_LIFE) if self.passport.coverage else (ABOUT_VALUES,)
        return tuple(dict.fromkeys((*self.unfilled, *rest, *about)))
