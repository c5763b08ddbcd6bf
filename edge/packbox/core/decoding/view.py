"""What is to be read from which id while certain evidence holds, in the shape that columns of frames need.

In:  the messages of a variant (or of all), the pack, the evidence shown, and the slots of all ids.
Out: `View`: per slot its plan, the lengths it may have, its checksum, and the `Claim`s of its signals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from packbox.core.decoding.meaning import CELL_QUANTITIES, as_quantity, plausible_range
from packbox.core.decoding.plans import MessagePlan, Plans
from packbox.core.decoding.sorting import Slots
from packbox.core.frames import BoolArray, FloatArray
from packbox.core.layout import Column
from packbox.core.packs import PackFacts
from packbox.core.profile import Checksum, Message, QuantityUse

LENGTHS: Final = 256  # a length is a byte
LOOKED_UP_BITS: Final = 8  # signals up to this width are looked up where their meaning takes several steps
EVERYTHING: Final = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """What each raw value of a narrow signal means, computed once. Both shape (2^bits,), from raw value `first` on."""

    first: int
    fine: BoolArray  # the car says something, it means something, and it is plausible
    value: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A signal that wants to be a quantity."""

    column: Column
    use: QuantityUse | None  # None: it lacks evidence, so that only its void values are counted
    low: float  # plausible range of the quantity
    high: float
    good: tuple[int, int] | None  # raw values between these, both included, are good; None = look at each value
    again: bool = False  # another use of the signal before: its void values are counted
    lookup: Lookup | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """How frames of one slot are read."""

    plan: MessagePlan
    claims: tuple[Claim, ...]
    whole: bool  # every frame tells every signal: no multiplexer, no frame that says nothing
    cells_beside_pack: bool  # the highest and the lowest cell stand beside the pack voltage


class View:
    """Made once for each set of evidence that decoding depends on."""

    def __init__(self, plans: Plans, pack: PackFacts | None, shown: frozenset[str], slots: Slots) -> None:
        self.pack: Final = pack
        self.shown: Final = shown
        found = [plans.get(key) for key in slots.keys]
        self.wanted: Final = tuple(None if plan is None else _wanted(plan, pack, shown) for plan in found)
        lengths = np.ones((len(slots), LENGTHS), np.bool_)
        checked: dict[Checksum, dict[int, int]] = {}
        counting: dict[int, tuple[Message, Column]] = {}
        for slot, plan in enumerate(found):
            if plan is None:
                continue
            lengths[slot] = False
            lengths[slot, list(plan.message.lengths)] = True
            if plan.message.checksum is not None:
                checked.setdefault(plan.message.checksum, {})[slot] = plan.message.can_id
            if plan.message.counter is not None:
                counting[slot] = plan.message, plan.columns[plan.message.counter]
        self.lengths: Final[BoolArray] = lengths.reshape(-1)  # at slot * LENGTHS + length
        self.checked: Final[Mapping[Checksum, Mapping[int, int]]] = checked  # slot -> id of those that carry it
        self.counting: Final[Mapping[int, tuple[Message, Column]]] = counting  # slot -> where its counter is


def _wanted(plan: MessagePlan, pack: PackFacts | None, shown: frozenset[str]) -> Wanted:
    claims = tuple(claim for column in plan.used for claim in _claims(column, pack, shown))
    told = {claim.use.quantity for claim in claims if claim.use is not None}
    whole = plan.message.void_when is None and not plan.message.mux_known and not any(c.arms for c in plan.used)
    return Wanted(plan, claims, whole, told.issuperset(("pack_voltage_v", *CELL_QUANTITIES)))


def _claims(column: Column, pack: PackFacts | None, shown: frozenset[str]) -> list[Claim]:
    uses: Sequence[QuantityUse | None] = [u for u in column.layout.uses if u.needs is None or u.needs in shown]
    return [_claim(column, use, pack, again=k > 0) for k, use in enumerate(uses or [None])]


def _claim(column: Column, use: QuantityUse | None, pack: PackFacts | None, again: bool) -> Claim:
    if use is None:
        return Claim(column, None, *EVERYTHING, column.clear)
    low, high = plausible_range(use.quantity, pack)
    if use.is_plain:
        return Claim(column, use, low, high, good_raws(column, low, high), again)
    lookup = _lookup(column, use, low, high) if column.layout.bits <= LOOKED_UP_BITS else None
    return Claim(column, use, low, high, None, again, lookup)


def good_raws(column: Column, low: float, high: float) -> tuple[int, int]:
    """A value rises or falls with its raw value: so the good ones lie together."""
    begin, end = column.clear[0], column.clear[1] + 1
    scale, offset = column.layout.scale, column.layout.offset
    if scale < 0:
        first = _first(lambda raw: raw * scale + offset <= high, begin, end)
        return first, _first(lambda raw: raw * scale + offset < low, first, end) - 1
    first = _first(lambda raw: raw * scale + offset >= low, begin, end)
    return first, _first(lambda raw: raw * scale + offset > high, first, end) - 1


def _first(holds: Callable[[int], bool], begin: int, end: int) -> int:
    """The first number in [begin, end) from which on it holds; `end` if there is none."""
    while begin < end:
        middle = (begin + end) // 2
        if holds(middle):
            end = middle
        else:
            begin = middle + 1
    return begin


def _lookup(column: Column, use: QuantityUse, low: float, high: float) -> Lookup:
    first = -int(column.sign_bit)
    raw = np.arange(first, first + (1 << column.layout.bits), dtype=np.int64)
    value, fine = as_quantity(use, column.values(raw))
    nothing = column.says_nothing(raw)
    if nothing is not None:
        fine &= ~nothing
    return Lookup(first, fine & (value >= low) & (value <= high), value)
