"""What people and firms say of a battery, a pack model or a diagnosis: kept beside what was measured, never over it.

In:  declarations in the order they were entered; the fields' rules.
Out: those in force, as facts. A newer one supersedes an older one of the same thing; both stay in the store.
Refuses fields nobody may declare, values out of range, and texts that hold a vehicle's number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final

from packbook.core.forecast import SIGMAS_90
from packbook.core.history import SohPoint
from packbook.core.passport import Fact, Source
from packbook.core.rules import TEXT_MAX, FieldRule

IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9-]{0,31}:\S+")
# ISO 3779: 17 characters without I, O, Q, the last four digits; a maker's code has letters among its first three.
VIN: Final = re.compile(r"(?<![A-Z0-9])(?=[A-Z0-9]{0,2}[A-Z])[A-HJ-NPR-Z0-9]{13}[0-9]{4}(?![A-Z0-9])")


class Scope(StrEnum):
    MODEL = "model"  # holds for every battery with this pack
    BATTERY = "battery"


@dataclass(frozen=True, slots=True)
class Declared:
    """One field said by somebody. `value` None: what was said before is taken back."""

    name: str  # of the field
    value: float | int | str | None
    by: str
    entered_ms: int  # when the book was told
    on: str | None = None  # the day it holds for, YYYY-MM-DD
    method: str | None = None
    document: str | None = None
    sigma: float | None = None
    scope: Scope = Scope.BATTERY
    conditions: Mapping[str, float | str] = field(default_factory=dict)


def objection(rule: FieldRule | None, said: Declared) -> str | None:
    """Why this cannot be declared; None: it can. A vehicle's number is never repeated."""
    if rule is None:
        return "there is no such field"
    if not rule.declare:
        return "only records tell this; it cannot be declared"
    texts = {"by": said.by, "on": said.on, "method": said.method, "document": said.document}
    texts |= {name: value for name, value in said.conditions.items() if isinstance(value, str)}
    texts |= {"value": said.value} if isinstance(said.value, str) else {}
    for name, text in texts.items():
        if text is not None and VIN.search(text.upper()):
            return f"{name}: looks like a vehicle's number, which has no place in a battery's record"
        if text is not None and (not text.strip() or len(text) > TEXT_MAX or not text.isprintable()):
            return f"{name}: expected 1 to {TEXT_MAX} printable characters"
    if said.on is not None and day_ms(said.on) is None:
        return f"on: {said.on!r} is not a day like 2026-05-03"
    if said.on is not None and (day_ms(said.on) or 0) > said.entered_ms:
        return f"on: {said.on} is still to come"
    if said.sigma is not None and not 0.0 < said.sigma < float("inf"):
        return f"sigma: {said.sigma!r} is not a positive number"
    if said.name == "identifiers" and said.value is not None and not IDENTIFIER.fullmatch(str(said.value)):
        return f"{said.value!r} is not scheme:value, like gs1:https://id.example.com/01/..."
    return None if said.value is None else rule.objection(said.value)


def in_force(said: Iterable[Declared], rules: Mapping[str, FieldRule]) -> dict[str, list[Declared]]:
    """By field, newest first. What is said of one battery goes before what is said of its model."""
    kept: dict[tuple[object, ...], Declared] = {}
    for declared in said:
        rule = rules.get(declared.name)
        if rule is None:
            continue
        key = (declared.scope, declared.name, *_thing(rule, declared))
        kept.pop(key, None)
        if declared.value is not None:
            kept[key] = declared
        elif rule.many:  # taken back: all that this declarer said of it
            kept = {k: d for k, d in kept.items() if (k[:2], d.by) != (key[:2], declared.by)}
    newest_first = [*kept.values()][::-1]
    found: dict[str, list[Declared]] = {}
    for declared in sorted(newest_first, key=lambda d: d.scope is Scope.MODEL):
        if rules[declared.name].many or declared.name not in found:
            found.setdefault(declared.name, []).append(declared)
    return found


def _thing(rule: FieldRule, declared: Declared) -> tuple[object, ...]:
    """What a newer declaration must share with an older one to supersede it."""
    if not rule.many:
        return ()
    said = declared.value if isinstance(declared.value, str) else None
    return (declared.by, declared.method, declared.on, said, tuple(sorted(declared.conditions.items())))


def fact_of(declared: Declared) -> Fact:
    conditions = dict(declared.conditions)
    if declared.document is not None:
        conditions["document"] = declared.document
    if declared.scope is Scope.MODEL:
        conditions["scope"] = "battery model"
    half = None if declared.sigma is None else SIGMAS_90 * declared.sigma
    known = isinstance(declared.value, int | float) and half is not None
    value = float(declared.value) if isinstance(declared.value, int | float) else 0.0
    return Fact(
        value=declared.value,
        unit="",
        at_ms=declared.entered_ms if declared.on is None else day_ms(declared.on),
        source=Source.DECLARED,
        by=declared.by,
        method=declared.method,
        sigma=declared.sigma,
        lo90=value - half if known and half is not None else None,
        hi90=value + half if known and half is not None else None,
        conditions=conditions,
    )


def compared(fact: Fact, points: Sequence[SohPoint]) -> Mapping[str, float | str]:
    """A foreign SoH against our own of the nearest day: how far apart, and whether their 90 % intervals meet."""
    if fact.at_ms is None or not isinstance(fact.value, int | float):
        return {}
    dated = [(abs(p.at_ms - fact.at_ms), p) for p in points if p.at_ms is not None and p.soh_pct is not None]
    if not dated:
        return {"compared": "we have no figure of our own yet"}
    apart_ms, ours = min(dated, key=lambda pair: pair[0])
    assert ours.soh_pct is not None
    found: dict[str, float | str] = {
        "ours_pct": round(ours.soh_pct, 2),
        "difference_pct": round(fact.value - ours.soh_pct, 2),
        "days_apart": round(apart_ms / 86_400_000),
    }
    if ours.lo90_pct is None or ours.hi90_pct is None:
        return found | {"agrees": "not known: ours has no interval"}
    low = fact.value if fact.lo90 is None else fact.lo90
    high = fact.value if fact.hi90 is None else fact.hi90
    meets = low <= ours.hi90_pct and high >= ours.lo90_pct
    judged = "ours alone: theirs names no uncertainty" if fact.lo90 is None else "both"
    return found | {"agrees": "yes" if meets else "no", "judged_by_interval_of": judged}


def day_ms(text: str) -> int | None:
    """Midnight UTC of YYYY-MM-DD, or of the first of YYYY-MM; None: neither."""
    try:
        day = date.fromisoformat(text if len(text) > 7 else f"{text}-01")
    except ValueError:
        return None
    if day.isoformat() != text and day.isoformat() != f"{text}-01":
        return None
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
