"""The code by which a printed sheet is held against the record it was made from.

In:  a passport, or the same record as the format `neutral` writes it. Out: 16 hex digits in groups of four.
It is the beginning of the SHA-256 of the record's JCS form (RFC 8785): battery, category, rules, facts of both parts,
coverage, doubts. The day the record was put together does not count, nor does the age, which follows from it: a sheet
printed a month later from the same history bears the same code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import rfc8785

from packbook.core.formats.neutral import coverage_told, fact_told
from packbook.core.passport import Passport

DIGITS: Final = 16
GROUP: Final = 4
AGEING: Final = "age_years"  # changes by the calendar alone
MADE: Final = ("form", "part", "as_of")  # about the writing down, not about the battery


class NotARecord(ValueError):
    """This is no record in the shape of the format `neutral`."""


def code_of(passport: Passport) -> str:
    told: dict[str, Any] = {
        "battery": passport.battery,
        "category": passport.category,
        "rules": dict(passport.rules),
        "facts": {name: [fact_told(f) for f in facts] for name, facts in passport.facts.items() if name != AGEING},
    }
    if passport.coverage is not None:
        told["coverage"] = coverage_told(passport.coverage)
    if passport.doubts:
        told["doubts"] = list(passport.doubts)
    return _code(told)


def code_of_parts(parts: Mapping[str, Any]) -> str:
    """`parts`: the two records of a `neutral` file. Raises NotARecord."""
    told: dict[str, Any] = {"facts": {}}
    try:
        for record in parts.values():
            told["facts"] |= {name: facts for name, facts in record["facts"].items() if name != AGEING}
            told |= {name: said for name, said in record.items() if name not in (*MADE, "facts")}
        return _code(told)
    except (AttributeError, KeyError, TypeError, rfc8785.CanonicalizationError) as problem:
        raise NotARecord(f"no record of a battery: {problem!r}") from problem


def _code(told: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(rfc8785.dumps(dict(told))).hexdigest()[:DIGITS].upper()
    return " ".join(digest[at : at + GROUP] for at in range(0, DIGITS, GROUP))
