"""What "state of health" means in law for a category of battery, and what the record has of it.

In:  a passport, the table of what is owed. Out: one `Asked` for each value the law counts as state of health.
For an EV that is the state of certified energy alone; for light transport and stationary batteries five values; for
other industrial ones none is defined. A capacity ratio is none of these: it stands beside them under its own name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from packbook.core.passport import Fact, Passport
from packbook.core.rules import Owed, Verdict

POINT: Final = "XIII 4(b)"  # of Regulation (EU) 2023/1542; the table's rows name it
NOT_TOLD: Final = "not in this record: nobody declared it and no box told it, or its reader may not see it"


@dataclass(frozen=True, slots=True)
class Asked:
    """`fact` None: there is none, and `why` tells."""

    name: str
    field: str | None
    fact: Fact | None
    why: str | None


def state_of_health(passport: Passport, owed: Owed) -> tuple[Asked, ...]:
    """Empty: the law defines none for this category."""
    asked = (Verdict.MUST, Verdict.IF_APPLICABLE)
    rows = [row for row in owed.rows if row.asked_in.startswith(POINT) and row.verdicts[passport.category] in asked]
    return tuple(_asked(row.name, row.fields, passport) for row in rows)


def _asked(name: str, fields: tuple[str, ...], passport: Passport) -> Asked:
    for field in fields:
        fact = passport.first(field)
        if fact is not None:
            return Asked(name, field, fact, None)
    reasons = [fact.why for field in fields for fact in passport.facts.get(field, ()) if fact.why]
    return Asked(name, None, None, reasons[0] if reasons else NOT_TOLD)
