"""Fill a model that is a list of groups, each with values and the day of its last update.

In:  a record, and the groups of the model's version as data (`packbook/rules/*.toml`).
Out: the groups as JSON, and what was left out.
IDTA ProductCondition and Battery Pass batteryCondition have this shape under other names. A value of another unit than
the model's, outside its bounds, or of no known day is not written; the account says why.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from packbook.core.formats import CannotMake, LeftOut
from packbook.core.formats.writing import UNWRITABLE, Account, Json, day_utc, number, writable
from packbook.core.passport import Fact, Passport

NOT_KNOWN: Final = "not in the record given"


@dataclass(frozen=True, slots=True)
class Place:
    """One value: `fields` of the record, the preferred first, all in `unit`; what is written is divided by `divide`."""

    name: str
    fields: tuple[str, ...]
    unit: str
    least: float  # in the record's unit; beyond it a value is not believed
    most: float
    decimals: int = 1  # the resolution: no digit is written that says nothing
    divide: float = 1.0
    whole: bool = False  # an integer in the model: only what is complete counts
    required: bool = False  # without it the group has no meaning
    reason: str = NOT_KNOWN
    aas_type: str = "xs:float"


@dataclass(frozen=True, slots=True)
class Group:
    """`shape`: values; list (of one such object, with `fixed` members); point (values one level down, at a state of
    charge); texts (one object a kind of event); documents (plain texts)."""

    name: str
    shape: Literal["values", "list", "point", "texts", "documents"] = "values"
    places: tuple[Place, ...] = ()
    required: bool = False
    empty: bool = False  # it is valid with no value in it
    inner: str = ""  # point: the level between
    at: str = ""  # point: the name of the state of charge
    inner_updated: str = ""
    text: str = ""  # texts: the name of the text
    fields: tuple[str, ...] = ()  # texts, documents: of the record
    words: Mapping[str, str] = field(default_factory=dict)  # texts: what a kind, or a field that counts one, is called
    counts: Mapping[str, str] = field(default_factory=dict)  # texts: the kind that a counting field counts
    fixed: Mapping[str, str] = field(default_factory=dict)
    aas_inner: str = ""  # point: what the AAS submodel calls `inner`
    aas_item: str = ""  # texts, documents: the semantic id of one of them


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model. `aas_*`: how its AAS submodel names things, where it has one."""

    family: str  # of rule files
    name: str
    version: str
    source: str
    updated: str  # what the model calls the day of last update
    groups: tuple[Group, ...]
    no_place: Mapping[str, str] = field(default_factory=dict)
    aas_id_short: str = ""
    aas_template: str = ""
    aas_submodel: str = ""  # its semantic id
    aas_elements: str = ""  # what the semantic ids of its elements begin with


def fill(account: Account, model: Model) -> Json:
    """The groups that have evidence; the account has the others. Raises CannotMake when a required one is missing."""
    filled: Json = {}
    missing = []
    for group in model.groups:
        content = SHAPES[group.shape](account, group, model.updated)
        if content is not None:
            filled[group.name] = content
        elif group.required:
            missing.append(LeftOut(group.name, _why_group(account, group)))
        else:
            account.lacks(group.name, _why_group(account, group))
    if missing:
        raise CannotMake(f"{model.name} {model.version}", tuple(missing))
    return filled


def _values(account: Account, group: Group, updated: str) -> Json | None:
    written: Json = {}
    days = []
    lacking = []
    for place in group.places:
        found = _best(account, place)
        if found:
            name, at, value, at_ms = found
            written[place.name] = value
            days.append((at_ms, name, at))
        else:
            lacking.append(place)
    if any(place.required for place in lacking) or not (written or group.empty):
        return None
    account.taken.update((name, at) for _, name, at in days)
    account.outdone.update(name for place in group.places if place.name in written for name in place.fields)
    for place in lacking:
        account.lacks(f"{group.name}.{place.name}", _why(account, place.fields, place.reason))
    # The oldest of the group's days: none of its values is claimed to be newer than it is.
    return written | {updated: day_utc(min((at_ms for at_ms, _, _ in days), default=account.passport.made_ms))}


def _list(account: Account, group: Group, updated: str) -> list[Json] | None:
    written = _values(account, group, updated)
    return None if written is None else [written | dict(group.fixed)]


def _point(account: Account, group: Group, updated: str) -> Json | None:
    """The first fact that says at which state of charge it holds."""
    (place,) = group.places
    for name, at, fact in _facts(account.passport, place):
        soc_pct, value = fact.conditions.get("soc_pct"), _written(fact, place)
        if isinstance(value, str):
            account.refused[name, at] = value
        elif not isinstance(soc_pct, int | float) or not 0 <= soc_pct <= 100:
            account.refused[name, at] = "it does not say at which state of charge it holds"
        else:
            assert fact.at_ms is not None
            account.taken.add((name, at))
            account.outdone.add(name)
            day = day_utc(fact.at_ms)
            return {group.inner: {group.inner_updated: day, group.at: float(soc_pct), place.name: value}, updated: day}
    return None


def _texts(account: Account, group: Group, updated: str) -> list[Json] | None:
    """One entry a kind of event, with how often: the models have no number for it."""
    written: dict[str, Json] = {}
    for name in group.fields:
        for at, fact in enumerate(account.passport.facts.get(name, ())):
            kind, why = _kind(fact, group.counts.get(name, name), written)
            if why:
                account.refused[name, at] = why
            elif fact.value is not None:
                assert fact.at_ms is not None
                account.taken.add((name, at))
                written[kind] = {group.text: _said(fact, kind, group.words), updated: day_utc(fact.at_ms)}
    return list(written.values()) or None


def _kind(fact: Fact, counted: str, written: Collection[str]) -> tuple[str, str | None]:
    """Which kind of event, and why it is not written. A text is the kind itself; a number counts its field's kind."""
    kind = fact.value if isinstance(fact.value, str) else counted
    count = number(fact)
    if fact.value is None:
        return kind, None
    if not writable(kind):
        return kind, UNWRITABLE
    if kind in written:
        return kind, f"told already, as {kind}"
    if not isinstance(fact.value, str) and (count is None or count < 1):
        return kind, "none was counted" if count == 0 else "it is no count"
    return kind, "its day is not known" if fact.at_ms is None else None


def _said(fact: Fact, kind: str, words: Mapping[str, str]) -> str:
    count = fact.conditions.get("count") if isinstance(fact.value, str) else number(fact)
    said = words.get(kind, kind)
    often = isinstance(count, int | float) and math.isfinite(count) and count > 1
    return f"{said} ({count:.0f} times)" if often else said


def _documents(account: Account, group: Group, _updated: str) -> list[str] | None:
    ids: dict[str, None] = {}
    for field_name in group.fields:
        for at, fact in enumerate(account.passport.facts.get(field_name, ())):
            if isinstance(fact.value, str) and writable(fact.value):
                ids[fact.value] = None
                account.taken.add((field_name, at))
            elif fact.value is not None:
                account.refused[field_name, at] = UNWRITABLE
    if not ids and not group.empty:
        return None
    if not ids:
        account.lacks(group.name, "empty: none is known of, which does not say that none happened")
    return list(ids)


SHAPES: Final = {"values": _values, "list": _list, "point": _point, "texts": _texts, "documents": _documents}


def _facts(passport: Passport, place: Place) -> list[tuple[str, int, Fact]]:
    return [
        (name, at, fact)
        for name in place.fields
        for at, fact in enumerate(passport.facts.get(name, ()))
        if fact.value is not None
    ]


def _best(account: Account, place: Place) -> tuple[str, int, float | int, int] | None:
    for name, at, fact in _facts(account.passport, place):
        value = _written(fact, place)
        if not isinstance(value, str):
            assert fact.at_ms is not None
            return name, at, value, fact.at_ms
        account.refused[name, at] = value
    return None


def _written(fact: Fact, place: Place) -> float | int | str:
    """The value as the model wants it, or why it is not written."""
    value = number(fact)
    if value is None:
        return "it is no number"
    if fact.unit != place.unit:
        return f"its unit is {fact.unit}, the place wants {place.unit}"
    if not place.least <= value <= place.most:
        return f"{value:g} {fact.unit} is outside {place.least:g} to {place.most:g}"
    if fact.at_ms is None:
        return "its day is not known"
    value /= place.divide
    if place.whole:
        return math.floor(value)
    return round(value, place.decimals) + 0.0  # + 0.0: minus zero is zero


def _why_group(account: Account, group: Group) -> str:
    if not group.places:
        return _why(account, group.fields, NOT_KNOWN)
    return "; ".join(dict.fromkeys(_why(account, place.fields, place.reason) for place in group.places))


def _why(account: Account, names: Collection[str], reason: str) -> str:
    """What was wrong with the values there are; else what the record says of a missing one; else the model's reason."""
    facts = [(name, at, fact) for name in names for at, fact in enumerate(account.passport.facts.get(name, ()))]
    told = [account.refused.get((name, at)) or (fact.why if fact.value is None else None) for name, at, fact in facts]
    return "; ".join(dict.fromkeys(why for why in told if why)) or reason
