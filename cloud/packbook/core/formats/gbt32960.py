"""What the record knows of GB/T 32960.3 telemetry: its data blocks, to be held against a car's own frames.

In:  a record, and an `Edition` (2016 or 2025) as data: blocks, items, their bytes, scale and offset.
Out: JSON with each block as hexadecimal bytes and, beside it, what each item says.
Blocks only, no frame: a frame carries the vehicle's number and the time of day, which a record never holds. What is
not known is written as the standard's "invalid". Alarm bits say what is wrong now, so what happened once stands beside
the blocks under the bit's name, never in one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from packbook.core.formats import LeftOut, Made
from packbook.core.formats.writing import Account, as_json, day, number
from packbook.core.passport import Passport

SUFFIX: Final = ".gbt32960.json"
FORM: Final = "packbook/gbt32960/1"
RESERVED: Final = 2  # the two highest values say abnormal and invalid

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """`fixed`: always this. `unknown`: raw value for what is not known; absent: all ones, the standard's "invalid"."""

    name: str
    bytes: int
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    field: str = ""  # of the record
    fixed: int | None = None
    unknown: int | None = None
    reason: str = "a record holds no momentary values"  # why it is not known, where no field could tell


@dataclass(frozen=True, slots=True)
class Block:
    """`type`: its number. `needs`: a field without which the block says nothing and is not written."""

    type: int
    name: str
    items: tuple[Item, ...]
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    bit: int
    name: str
    events: tuple[str, ...]  # kinds of `negative_event`, or fields that count


@dataclass(frozen=True, slots=True)
class Edition:
    family: str
    version: str
    source: str
    blocks: tuple[Block, ...]
    alarms: tuple[Alarm, ...] = ()
    no_place: Mapping[str, str] = field(default_factory=dict)


MAPPING: Final = Edition


def make(passport: Passport, mapping: Edition) -> Made:
    account = Account(passport, mapping.no_place)
    written = [_block(account, block) for block in mapping.blocks]
    document = {
        "form": FORM,
        "edition": mapping.version,
        "source": mapping.source,
        "battery": passport.battery,
        "blocks": [block for block in written if block is not None],
        "alarms_in_life": _alarms(account, mapping),
    }
    return Made(as_json(document), account.left_out())


def _block(account: Account, block: Block) -> Json | None:
    if block.needs and account.passport.first(block.needs) is None:
        account.unfilled.append(LeftOut(block.name, f"{block.needs} is not known"))
        return None
    raw = bytearray([block.type])
    items = []
    for item in block.items:
        value, said = _item(account, block, item)
        raw += value.to_bytes(item.bytes, "big")
        items.append(said)
    return {"type": f"{block.type:02X}", "name": block.name, "hex": raw.hex().upper(), "items": items}


def _item(account: Account, block: Block, item: Item) -> tuple[int, Json]:
    if item.fixed is not None:
        return item.fixed, {"name": item.name, "value": item.fixed}
    raw, why = _raw(account, item)
    if raw is None:
        account.unfilled.append(LeftOut(f"{block.name}.{item.name}", why))
        unknown = (1 << 8 * item.bytes) - 1 if item.unknown is None else item.unknown
        return unknown, {"name": item.name, "value": None}
    fact = account.passport.first(item.field)
    assert fact is not None
    assert fact.at_ms is not None
    account.take(item.field)
    value = round(raw * item.scale + item.offset, 6)
    return raw, {"name": item.name, "value": value, "unit": item.unit, "day": day(fact.at_ms)}


def _raw(account: Account, item: Item) -> tuple[int | None, str]:
    """The number on the wire, or None and why not."""
    fact = account.passport.first(item.field) if item.field else None
    value = None if fact is None else number(fact)
    if fact is None or value is None:
        return None, f"{item.field} is not known" if item.field else item.reason
    if fact.unit != item.unit:
        return None, f"its unit is {fact.unit}, the item wants {item.unit}"
    if fact.at_ms is None:
        return None, "its day is not known"
    raw = round((value - item.offset) / item.scale)
    if not 0 <= raw < (1 << 8 * item.bytes) - RESERVED:
        return None, f"{value:g} {item.unit} does not fit the item"
    return raw, ""


def _alarms(account: Account, edition: Edition) -> list[Json]:
    """Classes of harmful events seen in life, under the names of the standard's alarm bits."""
    seen = []
    for alarm in edition.alarms:
        count = sum(_count(account, event) for event in alarm.events)
        if count:
            seen.append({"bit": alarm.bit, "name": alarm.name, "count": count})
    return seen


def _count(account: Account, event: str) -> int:
    total = 0
    for at, fact in enumerate(account.passport.facts.get("negative_event", ())):
        if fact.value == event:
            times = fact.conditions.get("count", 1)
            total += int(times) if isinstance(times, int | float) else 1
            account.taken.add(("negative_event", at))
    for at, fact in enumerate(account.passport.facts.get(event, ())):
        value = number(fact)
        if value:
            total += int(value)
            account.taken.add((event, at))
    return total
