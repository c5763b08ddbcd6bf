"""Hold a record against what a passport owes: for each data point, whether it is asked for, there, and if not, why.

In:  a passport, the table of its version. Out: one `Due` for each row of the table, in the table's order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.passport import Fact, Passport
from packbook.core.rules import FieldRule, Fields, Owed, OwedRow, Verdict


class Standing(StrEnum):
    FILLED = "filled"
    MISSING = "missing"  # and must be there
    OPEN = "open"  # not there; to be filled if it applies
    EMPTY = "empty"  # not there, and rightly so
    TOO_MUCH = "too_much"  # there, and must not be: no passport of this category may show it


@dataclass(frozen=True, slots=True)
class Due:
    name: str
    asked_in: str
    verdict: Verdict
    standing: Standing
    why: str | None
    facts: tuple[tuple[str, Fact], ...]  # what fills it: field and its best-founded fact
    note: str | None


NOWHERE: Final = "this record has no field for it"


def due(passport: Passport, owed: Owed, fields: Fields) -> tuple[Due, ...]:
    return tuple(_due(row, passport, fields) for row in owed.rows)


def _due(row: OwedRow, passport: Passport, fields: Fields) -> Due:
    verdict = row.verdicts[passport.category]
    found = [(name, fact) for name in row.fields if (fact := passport.first(name)) is not None]
    standing = _standing(verdict, bool(found))
    asked = standing in (Standing.MISSING, Standing.OPEN)
    why = "; ".join(_why(name, passport, fields.fields[name]) for name in row.fields) or NOWHERE
    if standing is Standing.TOO_MUCH:
        why = f"a passport of category {passport.category} must not show it"
    return Due(
        row.name,
        row.asked_in,
        verdict,
        standing,
        why if asked or standing is Standing.TOO_MUCH else None,
        tuple(found),
        row.note,
    )


def _standing(verdict: Verdict, found: bool) -> Standing:
    if verdict is Verdict.MUST_NOT:
        return Standing.TOO_MUCH if found else Standing.EMPTY
    if found:
        return Standing.FILLED
    return {
        Verdict.MUST: Standing.MISSING,
        Verdict.IF_APPLICABLE: Standing.OPEN,
        Verdict.NOT_COVERED: Standing.EMPTY,
    }[verdict]


def _why(name: str, passport: Passport, rule: FieldRule) -> str:
    """The record's own reason where it has one."""
    reasons: Iterable[str] = (fact.why for fact in passport.facts.get(name, ()) if fact.why)
    told = next(iter(reasons), "nobody declared it" if rule.declare else "no box has told it yet")
    return f"{name}: {told}"
