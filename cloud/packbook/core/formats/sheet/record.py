"""What a sheet reads of a passport, and the words it says it in.

In:  a passport, cut down to what its reader may see. Out: facts, worded; and which of them the sheet took.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from packbook.core.derived import BY_PLUG
from packbook.core.formats.writing import Account, number
from packbook.core.passport import Fact, Passport, Source
from packbook.core.passport_ahead import WHY
from packbook.core.passport_of import REFERENCE_UNKNOWN
from packbook.core.prospect import Lacking
from packbook.core.words import ABSENT, Words

# Reasons of the record itself for which there is little room.
REASONS: Final[Mapping[str, str]] = {
    WHY[Lacking.NO_VALUE]: "no_value",
    WHY[Lacking.TOO_FEW]: "too_few",
    WHY[Lacking.DISPUTED]: "disputed",
    BY_PLUG: "by_plug",
    REFERENCE_UNKNOWN: "reference",
}
OF_FIELD: Final = re.compile(r"(\w+) is not (declared|known)")


@dataclass(frozen=True, slots=True)
class Record:
    passport: Passport
    t: Words
    account: Account

    def all(self, name: str) -> tuple[Fact, ...]:
        """Every fact of the field; the sheet shows them all."""
        found = self.passport.facts.get(name, ())
        self.account.taken.update((name, at) for at in range(len(found)))
        return found

    def some(self, name: str, most: int) -> tuple[Fact, ...]:
        """The newest of them."""
        found = enumerate(self.passport.facts.get(name, ()))
        newest = sorted(found, key=lambda one: -(one[1].at_ms or 0))[:most]
        self.account.taken.update((name, at) for at, _ in newest)
        return tuple(fact for _, fact in newest)

    def first(self, name: str, *sources: Source) -> Fact | None:
        """With a value."""
        chosen = self.passport.first(name, *sources)
        found = self.passport.facts.get(name, ())
        self.account.taken.update((name, at) for at, fact in enumerate(found) if fact is chosen)
        return chosen

    def number(self, name: str, *sources: Source) -> float | None:
        fact = self.first(name, *sources)
        return None if fact is None else number(fact)


def reason(t: Words, why: str) -> str:
    """In the reader's language where it is known, else as the box wrote it; shorter than on the pages."""
    known = REASONS.get(why)
    if known is not None:
        return t(f"sheet_reason.{known}")
    of_field = OF_FIELD.fullmatch(why)
    if of_field is not None and f"field.{of_field[1]}" in t.messages:
        return t(f"sheet_reason.not_{of_field[2]}", field=t.or_raw("field", of_field[1]))
    return str(t.told(why))


def share(t: Words, part: float) -> str:
    """0..1 as whole percent; a small one is not called nothing, nor nearly all called all."""
    if 0.0 < part < 0.01:
        return t("share.under_one")
    return t.number(99.0 if 0.99 < part < 1.0 else part * 100.0, 0, "%")


def condition(fact: Fact, name: str) -> float | None:
    found = fact.conditions.get(name)
    return None if found is None or isinstance(found, str) else float(found)


def said(fact: Fact, name: str) -> str | None:
    found = fact.conditions.get(name)
    return found if isinstance(found, str) else None


def since(t: Words, at_ms: int | None) -> str:
    return ABSENT if at_ms is None else t.date(at_ms)
