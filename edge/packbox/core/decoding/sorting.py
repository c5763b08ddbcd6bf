"""Sort a batch's frames by id and bus: from here on the frames of one id lie side by side.

In:  a `FrameBatch`, the keys of all messages that mean anything, and which bus is which.
Out: `Sorted`: columns in the new order and where in them each `Group` lies; strangers and error frames only counted.
No loop over frames: one look-up and one sort by a small number for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from packbox.core.decoding.tally import Tally
from packbox.core.frames import ERROR, EXTENDED, REMOTE, BoolArray, FrameBatch, IntArray
from packbox.core.layout import Words, count, words
from packbox.core.profile import EXTENDED_BIT, GROUP_BIT, GROUP_MASK, group_key
from packbox.core.wiring import Wiring

ELEVEN_BIT_IDS: Final = 1 << 11
UNKNOWN_SLOT: Final = 0
RADIX_KEYS: Final = 1 << 16  # numpy sorts 16-bit integers by radix
SENDER_SHIFT: Final = 8  # above the bus, which is a byte
BUS_MASK: Final = 0xFF
SENDER_MASK: Final = 0xFF  # the source address in a J1939 id


class Group(NamedTuple):
    """The frames of one id on one bus: places [begin, end) of the sorted columns."""

    bus: int  # of a J1939 group: the sender's address above it
    slot: int
    begin: int
    end: int

    @property
    def span(self) -> slice:
        return slice(self.begin, self.end)


@dataclass(frozen=True, slots=True, eq=False)
class Sorted:
    """n frames by bus and id; within a group in the order received. All columns (n,); groups lie end to end."""

    index: IntArray  # place in the batch
    mono_ns: IntArray
    frames: Words
    length: npt.NDArray[np.uint8]
    groups: tuple[Group, ...]

    def keep(self, which: BoolArray) -> Sorted:
        """Only these frames; a group of which none is left is gone."""
        left = np.flatnonzero(which)
        bounds = np.searchsorted(left, [g.begin for g in self.groups] + [len(which)]).tolist()
        moved = (Group(g.bus, g.slot, a, b) for g, (a, b) in zip(self.groups, pairwise(bounds), strict=True))
        return Sorted(
            self.index[left],
            self.mono_ns[left],
            self.frames.pick(left),
            self.length[left],
            tuple(g for g in moved if g.begin < g.end),
        )

    def only(self, group: Group) -> Sorted:
        span = group.span
        alone = (Group(group.bus, group.slot, 0, group.end - group.begin),)
        return Sorted(self.index[span], self.mono_ns[span], self.frames.pick(span), self.length[span], alone)

    def between(self, begin: int, end: int) -> Sorted:
        """Only the frames with places [begin, end) in the batch."""
        return self.keep((self.index >= begin) & (self.index < end))


class Slots:
    """Every message that means anything here has a small number, its slot. Slot 0 is everything else."""

    def __init__(self, keys: Iterable[int]) -> None:
        self.keys: Final = (-1, *sorted(keys))  # slot -> message key
        self.of: Final[Mapping[int, int]] = {key: slot for slot, key in enumerate(self.keys) if slot}
        self._eleven_bit: Final = np.zeros(ELEVEN_BIT_IDS, np.uint16)
        for key, slot in self.of.items():
            if key < ELEVEN_BIT_IDS:
                self._eleven_bit[key] = slot
        self._long_keys: Final = np.array([k for k in self.keys if k >= ELEVEN_BIT_IDS], np.int64)
        self._groups_known: Final = any(k & GROUP_BIT for k in self.of)

    def __len__(self) -> int:
        return len(self.keys)

    def knows(self, key: int) -> bool:
        return key in self.of or (bool(key & EXTENDED_BIT) and group_key(key) in self.of)

    def of_frames(self, batch: FrameBatch) -> npt.NDArray[np.uint16]:
        extended = (batch.flags & EXTENDED) != 0
        short = ~extended & (batch.can_id < ELEVEN_BIT_IDS)
        if count(short) == len(batch):
            return self._eleven_bit[batch.can_id]
        slots = self._eleven_bit[np.where(short, batch.can_id, 0)]
        slots[~short] = UNKNOWN_SLOT
        if len(self._long_keys) and extended.any():
            ids = batch.can_id.astype(np.int64)
            self._place_long(slots, extended, ids | EXTENDED_BIT)
            if self._groups_known:
                rest = extended & (slots == UNKNOWN_SLOT)
                self._place_long(slots, rest, ids & GROUP_MASK | EXTENDED_BIT | GROUP_BIT)
        return slots

    def _place_long(self, slots: npt.NDArray[np.uint16], which: BoolArray, keys: IntArray) -> None:
        """Write the slots of the frames in `which` whose key is known."""
        place = np.minimum(np.searchsorted(self._long_keys, keys), len(self._long_keys) - 1)
        hit = which & (self._long_keys[place] == keys)
        first = len(self.keys) - len(self._long_keys)
        slots[hit] = (first + place[hit]).astype(np.uint16)


class Sorter:
    """Sorts batches of one family on one box."""

    def __init__(self, slots: Slots, bus_names: Mapping[int, str], wiring: Wiring) -> None:
        """`bus_names`: message key -> the profile's bus."""
        self._slots: Final = slots
        self._bus_names: Final = bus_names
        self._wiring: Final = wiring

    def sort(self, batch: FrameBatch, tally: Tally) -> Sorted:
        slots = self._slots.of_frames(batch)
        spoilt = (batch.flags & (ERROR | REMOTE)) != 0
        errors = count(spoilt)
        if errors:
            slots[spoilt] = UNKNOWN_SLOT
            tally.add("error_frames", errors)
        keys, known = slots, None
        if np.count_nonzero(slots) < len(slots):
            known = np.flatnonzero(slots)
            keys = slots[known]
        bus = batch.bus if known is None else batch.bus[known]
        if bus.any():
            wide = keys + bus.astype(np.uint32) * np.uint32(len(self._slots))
            keys = wide.astype(np.uint16) if int(wide.max()) < RADIX_KEYS else wide
        order = np.argsort(keys, kind="stable")
        index = order if known is None else known[order]
        groups = self._groups(keys[order], index, batch.can_id)
        whole = Sorted(index, batch.mono_ns[index], words(batch.data, index), batch.length[index], groups)
        if self._wiring.homes:
            ours = np.array([self._ours(g) for g in groups], np.bool_)
            whole = whole.keep(np.repeat(ours, [g.end - g.begin for g in groups]))
        tally.add("unknown_frames", len(batch) - errors - len(whole.index))
        return whole

    def _groups(
        self, ordered: npt.NDArray[np.unsignedinteger], index: IntArray, can_id: npt.NDArray[np.uint32]
    ) -> tuple[Group, ...]:
        if not len(ordered):
            return ()
        starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        bounds = [0, *starts.tolist(), len(ordered)]
        groups: list[Group] = []
        for key, (begin, end) in zip(ordered[bounds[:-1]].tolist(), pairwise(bounds), strict=True):
            bus, slot = divmod(key, len(self._slots))
            group = Group(bus, slot, begin, end)
            groups += _by_sender(group, index, can_id) if self._slots.keys[group.slot] & GROUP_BIT else [group]
        return tuple(groups)

    def _ours(self, group: Group) -> bool:
        key = self._slots.keys[group.slot]
        name = self._bus_names.get(key)
        return name is None or self._wiring.carries(group.bus & BUS_MASK, key, name)


def _by_sender(group: Group, index: IntArray, can_id: npt.NDArray[np.uint32]) -> list[Group]:
    """Several control units may send one J1939 group: each is a source of its own, told by its address.

    Sorts the group's part of `index` in place.
    """
    sender = can_id[index[group.span]] & SENDER_MASK
    order = np.argsort(sender, kind="stable")
    index[group.span] = index[group.span][order]
    sender = sender[order]
    bounds = [0, *(np.flatnonzero(np.diff(sender)) + 1).tolist(), len(sender)]
    return [
        Group(group.bus | int(sender[a]) << SENDER_SHIFT, group.slot, group.begin + a, group.begin + b)
        for a, b in pairwise(bounds)
    ]
