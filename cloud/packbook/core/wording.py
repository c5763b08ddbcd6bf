"""Say a fact of the record in words: a number with its unit in the digits it deserves, a code as its word, by whom.

In:  a fact, `Words`. Out: text. Whether the fact may be told is decided before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from packbook.core.passport import Fact, Histogram, Source
from packbook.core.words import ABSENT, Words

DIGITS: Final[Mapping[str, int]] = {
    "%": 1,
    "%/month": 1,
    "Ah": 1,
    "kWh": 1,
    "Ohm": 4,
    "year": 1,
    "degC": 1,
    "kg": 1,
    "V": 1,
}
SIGNS: Final[Mapping[str, str]] = {"1": "", "degC": "°C", "Ohm": "Ω"}


def value_text(t: Words, fact: Fact) -> str:
    value = fact.value
    if value is None or isinstance(value, Histogram):
        return ABSENT
    if isinstance(value, str):
        return t.or_raw("fact_text", value)
    if fact.unit == "s":
        return t.span(float(value))
    digits = 0 if isinstance(value, int) else DIGITS.get(fact.unit, 0)
    if fact.unit == "1" and isinstance(value, float):
        digits = 1
    unit = {"year": t("unit.years"), "month": t("unit.months"), "%/month": t("unit.pct_per_month")}.get(
        fact.unit, SIGNS.get(fact.unit, fact.unit)
    )
    return t.number(float(value), digits, unit)


def by_whom(t: Words, fact: Fact) -> str:
    return t("fact.declared", by=t.told(fact.by)) if fact.source is Source.DECLARED else t(f"fact.{fact.source}")
