"""Frames in columns to quantities in columns: the hot part of the box.

In:  `DecodeState` and a `FrameBatch` of one boot.
Out: the next state and `Decoded`: valid values only, in the order of the frames, and counts of everything refused.
Refuses: frames of wrong length, with a bad checksum or a counter that stands still; values that the car calls void, or
that lie outside the quantity's range or are impossible for the pack.

Nothing is added up over frames, so the result is the same however frames are cut into batches.

Several sources of one quantity stand in an order: `prefer`, then name, then bus number. A source speaks only while no
better one has spoken within that one's `hold_ms`. So a poll never disturbs a broadcast, and takes over when it is gone.

Evidence of the variant is counted until it suffices; from the frame that completes it on, the variant holds. Before
that only what all variants agree on is decoded. Evidence that excludes what was seen before means another pack
(`core.swap`): then it is counted in `swaps`, and what the old pack showed is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from packbox.core.answers import (
    CELLS_TOLERANCE,
    Reading,
    Window,
    cells_contradict,
    is_foreign,
    layout_for,
    matching,
    read,
)
from packbox.core.frames import ERROR, EXTENDED, REMOTE, BoolArray, FloatArray, FrameBatch, IntArray
from packbox.core.integrity import CHECKS, moving
from packbox.core.isotp import IDLE, Answer, Line, hear_answer, hear_request
from packbox.core.layout import Column, Words, among, column, count, every, raws, selector_names, values, words
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.profile import (
    EXTENDED_BIT,
    GROUP_BIT,
    GROUP_MASK,
    AnswerLayout,
    AnswerShape,
    Evidence,
    Message,
    Poll,
    Profile,
    QuantityUse,
    ValueRange,
    Variant,
    agreed_messages,
    group_key,
    sent_by_all,
)
from packbox.core.quantities import QUANTITIES
from packbox.core.signals import Decoded, Refused, Signal
from packbox.core.stamp import NS_PER_MS
from packbox.core.swap import SERIAL, rivals_of, weigh
from packbox.core.wiring import Wiring

# A lithium cell outside this is a wrong value, not a cell (facts/vehicles.md 2, rule 4). LTO has other voltages.
CELL_LOW_V: Final = 2.0
CELL_HIGH_V: Final = 4.35
CELL_QUANTITIES: Final = ("cell_voltage_min_v", "cell_voltage_max_v")

ELEVEN_BIT_IDS: Final = 1 << 11
UNKNOWN_SLOT: Final = 0
BUS_SHIFT: Final = 32
SENDER_SHIFT: Final = 8  # above the bus, which is a byte
SENDER_MASK: Final = 0xFF  # the source address in a J1939 id
EVERYTHING: Final = (-math.inf, math.inf)
NEVER_NS: Final = -(1 << 61)  # far enough back, and differences to it still fit int64


Order: TypeAlias = tuple[int, str, int]  # prefer, source, bus: the lowest speaks


@dataclass(frozen=True, slots=True)
class Voice:
    """A source of a quantity on one bus, and when it last had a valid value."""

    prefer: int
    source: str
    bus: int
    hold_ms: int
    mono_ns: int

    @property
    def order(self) -> Order:
        return self.prefer, self.source, self.bus


@dataclass(frozen=True, slots=True)
class DecodeState:
    """All that the decoder remembers. Plain values: it is saved with the sessions and survives a restart."""

    profile_digest: str
    boot: str = ""
    evidence: tuple[int, ...] = ()  # how often each piece was seen, not counted past what it needs
    counters: dict[int, tuple[int, int]] = field(default_factory=dict)  # bus, key -> (counter, mono_ns)
    lines: dict[int, Line] = field(default_factory=dict)  # bus, answer key -> reassembly
    heard: dict[str, tuple[Voice, ...]] = field(default_factory=dict)  # quantity -> its sources so far
    against: tuple[int, ...] = ()  # evidence that contradicts what holds, seen so often in a row
    serial: str | None = None  # of the pack, as it told last
    serials: int = 0  # how often it told another one
    swaps: int = 0  # how often evidence excluded what held before
    swap_text: str | None = None  # why, the last time


@dataclass(frozen=True, slots=True)
class _Answered:
    """A whole answer at the frame that completed it."""

    index: int
    bus: int
    poll: Poll
    readings: tuple[Reading, ...]
    length: int


@dataclass(frozen=True, slots=True, eq=False)
class _Series:
    """One source's valid values within one batch; `index` is the frame's place in the batch."""

    use: QuantityUse
    bus: int
    index: IntArray
    value: FloatArray

    @property
    def order(self) -> Order:
        return self.use.prefer, self.use.source, self.bus


@dataclass(frozen=True, slots=True, eq=False)
class _Claim:
    """A signal of a group's frames that wants to be a quantity."""

    group: _Group
    signal: Column
    use: QuantityUse | None  # None: it lacks evidence, so that only its void values are counted
    present: BoolArray | None  # frames that hold the signal; None = all
    silent: BoolArray | None  # frames that say nothing at all; None = none
    again: bool = False  # another use of the signal before: its void values are counted


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """The frames of one id on one bus: `index` rising, with their words."""

    bus: int  # of a J1939 group: the sender's address above it
    slot: int
    index: IntArray
    frames: Words
    length: npt.NDArray[np.uint8]

    def pick(self, which: slice | BoolArray) -> _Group:
        return _Group(self.bus, self.slot, self.index[which], self.frames.pick(which), self.length[which])


class _Tally:
    """Counts refusals while a batch is worked on; becomes a `Refused` at the end."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, reason: str, count: int) -> None:
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count

    def refused(self) -> Refused:
        return Refused(**self.counts)


@dataclass(frozen=True, slots=True, eq=False)
class MessagePlan:
    """A `Message` made ready: its columns by name, and which of them a stream needs."""

    message: Message
    columns: Mapping[str, Column]
    used: tuple[Column, ...]  # those that feed a quantity
    selectors: tuple[str, ...]

    def selector_values(self, frames: Words) -> dict[str, IntArray]:
        return {name: self.columns[name].raw(frames) for name in self.selectors}


def plan(message: Message) -> MessagePlan:
    columns = {s.name: column(s) for s in message.signals}
    used = tuple(columns[s.name] for s in message.signals if s.uses)
    return MessagePlan(message, columns, used, selector_names(message.signals))


Plans: TypeAlias = Mapping[int, MessagePlan]  # message key -> plan


class Decoder:
    """Reads one family of cars. Immutable: what it learns is in the state that it returns."""

    def __init__(self, profile: Profile, variant: str | None = None, wiring: Wiring | None = None) -> None:
        """`wiring`: which bus is which; without it every bus may be any."""
        self.profile: Final = profile
        self._wiring: Final = wiring or Wiring()
        only = profile.variants[0] if len(profile.variants) == 1 else None  # nothing to choose
        self._fixed: Final = only if variant is None else profile.variant(variant)
        agreed = agreed_messages(profile.variants)
        # An id that only some variants send may mean something else in the others: it waits for the variant.
        everywhere = sent_by_all(profile.variants)
        self._agreed: Final[Plans] = {m.key: plan(m) for m in agreed}
        self._common: Final[Plans] = {key: p for key, p in self._agreed.items() if key in everywhere}
        self._plans: Final[Mapping[str, Plans]] = {v.id: {m.key: plan(m) for m in v.messages} for v in profile.variants}
        uses = [u for plans in self._plans.values() for p in plans.values() for s in p.message.signals for u in s.uses]
        polled = [u for p in profile.polls for layout in p.layouts for u in _uses_of(layout)]
        self._needed: Final = frozenset(use.needs for use in (*uses, *polled) if use.needs is not None)
        self._requests: Final = _answering(profile.polls)
        self._answers: Final = {p.rx_key for p in profile.polls}
        self._keys: Final = (-1, *sorted({m.key for m in agreed} | self._requests.keys() | self._answers))
        self._slots: Final = {key: slot for slot, key in enumerate(self._keys) if slot}
        self._eleven_bit: Final = np.zeros(ELEVEN_BIT_IDS, np.uint16)
        for key, slot in self._slots.items():
            if key < ELEVEN_BIT_IDS:
                self._eleven_bit[key] = slot
        self._long_keys: Final = np.array([k for k in self._keys if k >= ELEVEN_BIT_IDS], np.int64)
        self._rivals: Final = rivals_of(profile)
        self._bus_names: Final = {m.key: m.bus for m in agreed}
        self._groups_known: Final = any(k & GROUP_BIT for k in self._slots)

    # -- what others ask ---------------------------------------------------------------------------------------------

    def start(self) -> DecodeState:
        return DecodeState(self.profile.digest, evidence=(0,) * len(self.profile.evidence))

    def knows(self, key: int) -> bool:
        """Whether frames with this key (id, and whether it is a 29-bit one) mean anything here."""
        return key in self._slots or (bool(key & EXTENDED_BIT) and group_key(key) in self._slots)

    def variant(self, state: DecodeState) -> str | None:
        chosen = self._chosen(self._current(state, state.boot).evidence)
        return None if chosen is None else chosen.id

    def pack(self, state: DecodeState) -> PackFacts | None:
        chosen = self._chosen(self._current(state, state.boot).evidence)
        return None if chosen is None else self.profile.pack(chosen.pack)

    def decode(self, state: DecodeState, batch: FrameBatch) -> tuple[DecodeState, Decoded]:
        """Decode the next frames. A state of another profile version or boot is brought up to date first."""
        state = self._current(state, batch.boot)
        tally = _Tally()
        groups = self._groups(batch, tally)
        lines, answered = self._listen(state, batch, groups, tally)
        weighed, cuts = self._weigh(state, groups, answered)
        cuts = self._telling(state.evidence, cuts)
        series: list[_Series] = []
        counters = dict(state.counters)
        bounds = [0, *sorted(cuts), len(batch)]
        seen = state.evidence
        for begin, end in pairwise(bounds):
            seen = cuts.get(begin, seen)
            if begin < end:
                part = [_between(group, begin, end) for group in groups] if cuts else groups
                series += self._broadcast(part, seen, batch.mono_ns, counters, tally)
                series += self._polled([a for a in answered if begin <= a.index < end], seen, tally)
        signals, heard = _speak(series, batch.mono_ns, state.heard)
        done = replace(weighed, counters=counters, lines=lines, heard=heard)
        return done, Decoded(signals, tally.refused())

    # -- sorting frames ----------------------------------------------------------------------------------------------

    def _current(self, state: DecodeState, boot: str) -> DecodeState:
        """The state as this profile and this boot can use it."""
        if state.profile_digest != self.profile.digest:
            return replace(self.start(), boot=boot)
        if state.boot != boot:  # monotonic times of two boots are never compared
            return replace(state, boot=boot, counters={}, lines={}, heard={})
        return state

    def _groups(self, batch: FrameBatch, tally: _Tally) -> list[_Group]:
        """Frames of known ids, one group per id and bus. One sort by a small number, no look at single frames."""
        n = len(batch)
        if n == 0:
            return []
        slots = self._slots_of(batch)
        spoilt = (batch.flags & (ERROR | REMOTE)) != 0
        if spoilt.any():
            slots[spoilt] = UNKNOWN_SLOT
            tally.add("error_frames", int(spoilt.sum()))
        keys = slots.astype(np.uint32) + batch.bus.astype(np.uint32) * np.uint32(len(self._keys))
        if int(keys.max()) < 1 << 16:
            keys = keys.astype(np.uint16)  # numpy sorts 16-bit integers by radix
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        frames = words(batch.data).pick(order)
        lengths = batch.length[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        groups = []
        unknown = 0
        for begin, end in pairwise([*starts.tolist(), n]):
            bus, slot = divmod(int(ordered[begin]), len(self._keys))
            if slot == UNKNOWN_SLOT or not self._ours(bus, self._keys[slot]):
                unknown += end - begin
                continue
            part = slice(begin, end)
            group = _Group(bus, slot, order[part], frames.pick(part), lengths[part])
            groups += _by_sender(group, batch.can_id) if self._keys[slot] & GROUP_BIT else [group]
        tally.add("unknown_frames", unknown - int(spoilt.sum()))
        return groups

    def _ours(self, bus: int, key: int) -> bool:
        name = self._bus_names.get(key)
        return name is None or self._wiring.carries(bus, key, name)

    def _slots_of(self, batch: FrameBatch) -> npt.NDArray[np.uint16]:
        extended = (batch.flags & EXTENDED) != 0
        short = ~extended & (batch.can_id < ELEVEN_BIT_IDS)
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
        first = len(self._keys) - len(self._long_keys)
        slots[hit] = (first + place[hit]).astype(np.uint16)

    # -- diagnostic answers ------------------------------------------------------------------------------------------

    def _listen(
        self, state: DecodeState, batch: FrameBatch, groups: Sequence[_Group], tally: _Tally
    ) -> tuple[dict[int, Line], list[_Answered]]:
        """Follow other people's polls, frame by frame: there are few, and their order matters."""
        indices = [
            g.index for g in groups if self._keys[g.slot] in self._requests or self._keys[g.slot] in self._answers
        ]
        if not indices:
            return state.lines, []
        lines = dict(state.lines)
        answered: list[_Answered] = []
        for index, bus, key, mono_ns, frame in _one_by_one(batch, np.sort(np.concatenate(indices))):
            if key in self._requests:
                for answering in self._requests[key]:
                    place = bus << BUS_SHIFT | answering
                    lines[place] = hear_request(lines.get(place, IDLE), frame)
            if key in self._answers:
                place = bus << BUS_SHIFT | key
                heard = hear_answer(lines.get(place, IDLE), frame, mono_ns)
                lines[place] = heard.line
                tally.add("broken_answers", heard.broken)
                tally.add("negative_answers", heard.negative)
                if heard.answer is not None:
                    answered += self._understand(index, bus, key, heard.answer, tally)
        return lines, answered

    def _understand(self, index: int, bus: int, key: int, answer: Answer, tally: _Tally) -> list[_Answered]:
        """The answer names its question itself by what it echoes, so a request we did not see is no loss."""
        data = answer.data
        poll = matching(self.profile.polls, key, data, answer.request)
        if poll is None:
            tally.add("foreign_answers", is_foreign(self.profile.polls, key, data, answer.request))
            return []
        if len(data) in poll.ignored_lengths:
            return []
        layout = layout_for(poll, len(data))
        if layout is None:
            tally.add("wrong_length", 1)
            return []
        readings = read(layout, Window(0, data[len(poll.head) :]), each_row=False)
        if cells_contradict(readings):
            tally.add("cells_not_sum", 1)
            readings = [r for r in readings if not any(use.quantity in CELL_QUANTITIES for use in r.uses)]
        return [_Answered(index, bus, poll, tuple(readings), len(data))]

    # -- variants ----------------------------------------------------------------------------------------------------

    def _chosen(self, counts: Sequence[int]) -> Variant | None:
        if self._fixed is not None:
            return self._fixed
        shown = self._shown(counts)
        choice = next((c for c in self.profile.choices if shown.issuperset(c.when)), None)
        return None if choice is None else self.profile.variant(choice.variant)

    def _shown(self, counts: Sequence[int]) -> frozenset[str]:
        return frozenset(e.name for e, n in zip(self.profile.evidence, counts, strict=True) if n >= e.at_least)

    def _view(self, counts: Sequence[int]) -> tuple[str | None, frozenset[str]]:
        """All that decoding depends on: the variant, and the evidence that some use needs."""
        chosen = self._chosen(counts)
        return None if chosen is None else chosen.id, self._shown(counts) & self._needed

    def _telling(self, before: tuple[int, ...], cuts: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
        """Only the cuts from which on something else is decoded: a batch in pieces takes as often as long."""
        telling: dict[int, tuple[int, ...]] = {}
        view = self._view(before) if cuts else None
        for index in sorted(cuts):
            now = self._view(cuts[index])
            if now != view:
                telling[index], view = cuts[index], now
        return telling

    def _weigh(
        self, state: DecodeState, groups: Sequence[_Group], answered: Sequence[_Answered]
    ) -> tuple[DecodeState, dict[int, tuple[int, ...]]]:
        """New evidence, and from which frame on which counts hold where that changes what is decoded."""
        hits: dict[int, IntArray] = {}
        for place, evidence in enumerate(self.profile.evidence):
            missing = evidence.at_least - state.evidence[place]
            if missing > 0 or self._rivals[place]:
                found = self._hits(evidence, groups, answered)
                hits[place] = found if self._rivals[place] else found[:missing]
        weighed = weigh(self.profile.evidence, self._rivals, state.evidence, state.against, hits)
        state = replace(state, evidence=weighed.counts, against=weighed.against)
        if weighed.swapped:
            state = replace(state, swaps=state.swaps + len(weighed.swapped), swap_text=weighed.swapped[-1])
        return _named_pack(state, answered), dict(weighed.holds)

    def _hits(self, evidence: Evidence, groups: Sequence[_Group], answered: Sequence[_Answered]) -> IntArray:
        """Places of the frames that show this, rising."""
        found: list[IntArray] = []
        if evidence.seen:
            found += [g.index for g in groups if self._keys[g.slot] in evidence.seen]
        if evidence.value is not None:
            found += [self._in_range(g, evidence.value) for g in groups if self._keys[g.slot] == evidence.value.key]
        if evidence.answer is not None:
            indices = [a.index for a in answered if _has_shape(a, evidence.answer)]
            found.append(np.array(indices, np.int64))
        if len(found) == 1:
            return found[0]
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def _in_range(self, group: _Group, wanted: ValueRange) -> IntArray:
        plans = self._agreed if wanted.variant is None else self._plans[wanted.variant]
        ready = plans[wanted.key]
        good = _intact(group, ready)
        return good.index[in_range(ready, good.frames, wanted)]

    # -- broadcast frames --------------------------------------------------------------------------------------------

    def _broadcast(
        self,
        groups: Sequence[_Group],
        counts: Sequence[int],
        mono_ns: IntArray,
        counters: dict[int, tuple[int, int]],
        tally: _Tally,
    ) -> list[_Series]:
        chosen = self._chosen(counts)
        plans = self._common if chosen is None else self._plans[chosen.id]
        pack = None if chosen is None else self.profile.pack(chosen.pack)
        shown = self._shown(counts)
        claims: list[_Claim] = []
        for group in groups:
            ready = plans.get(self._keys[group.slot])
            if ready is None or not len(group.index):
                continue
            good = _believed(group, ready, mono_ns, counters, tally)
            if ready.used and len(good.index):
                claims += _claims_of(good, ready, shown, tally)
        series: list[_Series] = []
        for of_one_frame in _granted(claims, pack, tally) if claims else []:
            series += _fitting_cells(of_one_frame, pack, tally)
        return series

    def _polled(self, answered: Sequence[_Answered], counts: Sequence[int], tally: _Tally) -> list[_Series]:
        if not answered:
            return []
        chosen = self._chosen(counts)
        pack = None if chosen is None else self.profile.pack(chosen.pack)
        shown = self._shown(counts)
        series: list[_Series] = []
        for answer in answered:
            for reading in answer.readings:
                if not reading.uses:
                    continue
                if not isinstance(reading.value, float | int):
                    tally.add("void_values", len(reading.uses))
                    continue
                index = np.array([answer.index], np.int64)
                value = np.array([reading.value], np.float64)
                for use in reading.uses:
                    if use.needs is None or use.needs in shown:
                        series += _use(use, answer.bus, index, value, pack, tally)
        return series


def _named_pack(state: DecodeState, answered: Sequence[_Answered]) -> DecodeState:
    """A pack that tells another serial number than before is another pack."""
    for serial in (r.value for a in answered for r in a.readings if r.name == SERIAL and isinstance(r.value, str)):
        if state.serial is not None and serial != state.serial:
            text = f"serial number was {state.serial}, now {serial}"
            state = replace(state, serials=state.serials + 1, swap_text=text)
        if serial != state.serial:
            state = replace(state, serial=serial)
    return state


def _has_shape(answered: _Answered, shape: AnswerShape) -> bool:
    if answered.poll.id != shape.poll or (shape.lengths and answered.length not in shape.lengths):
        return False
    if shape.field is None:
        return True
    numbers = {r.name: float(r.value) for r in answered.readings if isinstance(r.value, float | int)}
    if shape.field not in numbers:
        return False
    divisor = 1.0 if shape.over is None else numbers.get(shape.over, 0.0)
    return divisor != 0.0 and shape.low <= numbers[shape.field] / divisor <= shape.high


def _by_sender(group: _Group, can_id: npt.NDArray[np.uint32]) -> list[_Group]:
    """Several control units may send one J1939 group: each is a source of its own, told by its address."""
    sender = can_id[group.index] & SENDER_MASK
    return [
        replace(group.pick(sender == one), bus=group.bus | one << SENDER_SHIFT) for one in np.unique(sender).tolist()
    ]


def _one_by_one(batch: FrameBatch, which: IntArray) -> Iterator[tuple[int, int, int, int, bytes]]:
    """(index, bus, key, time, bytes) of a few frames. Columns become Python values at once: one at a time is slow."""
    keys = batch.can_id[which].astype(np.int64) | np.where(batch.flags[which] & EXTENDED, EXTENDED_BIT, 0)
    width = batch.data.shape[1]
    content = batch.data[which].tobytes()
    begins = range(0, len(content), width)
    lengths = batch.length[which].tolist()
    frames = (content[begin : begin + length] for begin, length in zip(begins, lengths, strict=True))
    return zip(
        which.tolist(), batch.bus[which].tolist(), keys.tolist(), batch.mono_ns[which].tolist(), frames, strict=True
    )


def _between(group: _Group, begin: int, end: int) -> _Group:
    """The group's frames with places in [begin, end)."""
    first, last = np.searchsorted(group.index, (begin, end))
    return group if last - first == len(group.index) else group.pick(slice(int(first), int(last)))


def _intact(group: _Group, ready: MessagePlan) -> _Group:
    """Frames of the right length with a good checksum that say something; the others are counted elsewhere."""
    good = _good_checksum(_right_length(group, ready), ready)
    if ready.message.void_when is None:
        return good
    name, void = ready.message.void_when
    return good.pick(ready.columns[name].raw(good.frames) != void)


def _right_length(group: _Group, ready: MessagePlan) -> _Group:
    right = among(group.length, ready.message.lengths)
    return group if every(right) else group.pick(right)


def _good_checksum(group: _Group, ready: MessagePlan) -> _Group:
    if ready.message.checksum is None:
        return group
    good = CHECKS[ready.message.checksum](group.frames, ready.message.can_id)
    return group if every(good) else group.pick(good)


def _believed(
    group: _Group, ready: MessagePlan, mono_ns: IntArray, counters: dict[int, tuple[int, int]], tally: _Tally
) -> _Group:
    """Frames that may be read: right length, good checksum, a counter that moves."""
    long_enough = _right_length(group, ready)
    tally.add("wrong_length", len(group.index) - len(long_enough.index))
    good = _good_checksum(long_enough, ready)
    tally.add("bad_checksum", len(long_enough.index) - len(good.index))
    if ready.message.counter is None or not len(good.index):
        return good
    place = group.bus << BUS_SHIFT | ready.message.key
    counter = ready.columns[ready.message.counter].raw(good.frames)
    times = mono_ns[good.index]
    alive = moving(counter, times, counters.get(place), ready.message)
    counters[place] = (int(counter[-1]), int(times[-1]))
    if every(alive):
        return good
    moved = good.pick(alive)
    tally.add("stuck_counter", len(good.index) - len(moved.index))
    return moved


def _values(ready: Column, frames: Words, selectors: dict[str, IntArray]) -> tuple[FloatArray, BoolArray]:
    """Values, and where they are present and not void."""
    raw = ready.raw(frames)
    valid = np.ones(len(frames), np.bool_)
    present = ready.present(selectors)
    if present is not None:
        valid &= present
    void = ready.says_nothing(raw)
    if void is not None:
        valid &= ~void
    return ready.values(raw), valid


def in_range(ready: MessagePlan, frames: Words, wanted: ValueRange) -> BoolArray:
    """Frames in which the value is there and lies in the range."""
    selectors = ready.selector_values(frames)
    value, valid = _values(ready.columns[wanted.signal], frames, selectors)
    if wanted.over is not None:
        divisor, also = _values(ready.columns[wanted.over], frames, selectors)
        valid = valid & also & (divisor != 0)
        value = np.divide(value, divisor, out=np.zeros_like(value), where=valid)
    return valid & (value >= wanted.low) & (value <= wanted.high)


def _claims_of(group: _Group, ready: MessagePlan, shown: frozenset[str], tally: _Tally) -> list[_Claim]:
    """What the frames of one id say."""
    frames = group.frames
    silent: BoolArray | None = None
    if ready.message.void_when is not None:
        name, void = ready.message.void_when
        silent = ready.columns[name].raw(frames) == void
    selectors = ready.selector_values(frames)
    for name, known in ready.message.mux_known:
        if name in selectors:
            tally.add("unknown_mux", len(group.index) - count(among(selectors[name], known)))
    claims: list[_Claim] = []
    for signal in ready.used:
        uses = [use for use in signal.layout.uses if use.needs is None or use.needs in shown]
        present = signal.present(selectors)
        claims.append(_Claim(group, signal, uses[0] if uses else None, present, silent))
        claims += [_Claim(group, signal, use, present, silent, again=True) for use in uses[1:]]
    return claims


def _granted(claims: Sequence[_Claim], pack: PackFacts | None, tally: _Tally) -> list[list[_Series]]:
    """Believable values of many signals, in one list per id.

    Their columns lie end to end, so that a batch of few frames per id takes a few steps and not a few for each signal.
    Only what a profile rarely asks for is done signal by signal.
    """
    spans = [slice(a, b) for a, b in pairwise(accumulate((len(c.group.index) for c in claims), initial=0))]
    columns = [claim.signal for claim in claims]
    raw = raws(columns, [claim.group.frames for claim in claims])
    keep = np.ones(raw.shape, np.bool_)
    for claim, span in zip(claims, spans, strict=True):
        _leave_out_void(claim, raw[span], keep[span], tally)
    value = values(columns, raw, [len(claim.group.index) for claim in claims])
    for claim, span in zip(claims, spans, strict=True):
        if claim.use is not None and not claim.use.is_plain:
            value[span], known = as_quantity(claim.use, value[span])
            tally.add("void_values", count(keep[span] & ~known))
            keep[span] &= known
    ranges = np.array([EVERYTHING if c.use is None else plausible_range(c.use.quantity, pack) for c in claims])
    low, high = np.repeat(ranges.T, [len(claim.group.index) for claim in claims], axis=1)
    believable = (value >= low) & (value <= high)
    tally.add("implausible_values", count(keep & ~believable))
    keep &= believable
    series: dict[int, list[_Series]] = {}
    for claim, span in zip(claims, spans, strict=True):
        if claim.use is None:
            continue
        index, spoken, kept = claim.group.index, value[span], keep[span]
        if not every(kept):
            index, spoken = index[kept], spoken[kept]
        if len(index):
            of_one_frame = series.setdefault(id(claim.group), [])
            of_one_frame.append(_Series(claim.use, claim.group.bus, index, spoken))
    return list(series.values())


def _leave_out_void(claim: _Claim, raw: IntArray, keep: BoolArray, tally: _Tally) -> None:
    """Clear `keep` where the signal is absent or says nothing."""
    if claim.present is not None:
        keep &= claim.present
    nothing = claim.signal.says_nothing(raw)
    if claim.silent is not None:
        nothing = claim.silent if nothing is None else nothing | claim.silent
    if nothing is not None:
        if not claim.again:
            tally.add("void_values", count(nothing & keep))
        keep &= ~nothing


def _fitting_cells(series: list[_Series], pack: PackFacts | None, tally: _Tally) -> list[_Series]:
    """Highest and lowest cell of a frame are dropped where the pack voltage beside them does not lie between."""
    by_quantity = {one.use.quantity: one for one in series}
    three = [by_quantity.get(name) for name in ("pack_voltage_v", *CELL_QUANTITIES)]
    if pack is None or pack.cells_in_series is None or None in three:
        return series
    voltage, lowest, highest = (one for one in three if one is not None)
    index = np.intersect1d(np.intersect1d(voltage.index, lowest.index), highest.index)
    mean, low, high = (one.value[np.searchsorted(one.index, index)] for one in (voltage, lowest, highest))
    mean = mean / pack.cells_in_series
    wrong = index[(mean < low * (1 - CELLS_TOLERANCE)) | (mean > high * (1 + CELLS_TOLERANCE))]
    if not len(wrong):
        return series
    tally.add("cells_not_sum", len(wrong))
    return [_without(one, wrong) if one.use.quantity in CELL_QUANTITIES else one for one in series]


def _without(one: _Series, index: IntArray) -> _Series:
    keep = ~np.isin(one.index, index)
    return _Series(one.use, one.bus, one.index[keep], one.value[keep])


def _use(
    use: QuantityUse, bus: int, index: IntArray, value: FloatArray, pack: PackFacts | None, tally: _Tally
) -> list[_Series]:
    """One source's values as the quantity, only believable ones."""
    quantity, known = as_quantity(use, value)
    low, high = plausible_range(use.quantity, pack)
    believable = (quantity >= low) & (quantity <= high)
    if every(known) and every(believable):
        return [_Series(use, bus, index, quantity)]
    tally.add("void_values", len(index) - count(known))
    tally.add("implausible_values", count(known & ~believable))
    believable &= known
    return [_Series(use, bus, index[believable], quantity[believable])] if believable.any() else []


def _uses_of(layout: AnswerLayout) -> list[QuantityUse]:
    of_rows = [use for rows in layout.rows for digest in rows.digests for use in digest.uses]
    return [use for one in layout.fields for use in one.uses] + of_rows


def _answering(polls: Sequence[Poll]) -> dict[int, tuple[int, ...]]:
    """Key of a request -> keys of those who may answer it: several where it goes to every ECU."""
    found: dict[int, list[int]] = {}
    for poll in polls:
        found.setdefault(poll.tx_key, []).append(poll.rx_key)
    return {tx: tuple(dict.fromkeys(rx)) for tx, rx in found.items()}


def as_quantity(use: QuantityUse, value: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Signal values in the quantity's terms, and where the signal means anything for it."""
    if not use.steps:
        means = ~among(value, use.void) if use.void else np.ones(value.shape, np.bool_)
        if use.factor == 1.0 and use.offset == 0.0:
            return value, means
        return value * use.factor + use.offset, means
    result = np.zeros(value.shape, np.float64)
    known = np.zeros(value.shape, np.bool_)
    for low, high, meaning in use.steps:
        hit = (value >= low) & (value <= high) & ~known
        np.copyto(result, meaning, where=hit)
        known |= hit
    return result, known


def plausible_range(quantity: str, pack: PackFacts | None) -> tuple[float, float]:
    """What the quantity may be at all, narrowed by what is known of the pack."""
    limits = QUANTITIES[quantity]
    if pack is None or pack.chemistry is Chemistry.LTO:
        return limits.low, limits.high
    if quantity == "pack_voltage_v" and pack.cells_in_series is not None:
        return CELL_LOW_V * pack.cells_in_series, CELL_HIGH_V * pack.cells_in_series
    if quantity in CELL_QUANTITIES:
        return CELL_LOW_V, CELL_HIGH_V
    return limits.low, limits.high


def _speak(
    series: Sequence[_Series], mono_ns: IntArray, heard: Mapping[str, tuple[Voice, ...]]
) -> tuple[dict[str, Signal], dict[str, tuple[Voice, ...]]]:
    """Of several sources of a quantity let only the best one that is still there speak."""
    by_quantity: dict[str, list[_Series]] = {}
    for one in series:
        by_quantity.setdefault(one.use.quantity, []).append(one)
    newest = dict(heard)
    signals: dict[str, Signal] = {}
    for quantity, said in by_quantity.items():
        known = heard.get(quantity, ())
        if len(said) == 1 and all(voice.order == said[0].order for voice in known):  # there never was another
            newest[quantity] = (_voice(said[0], mono_ns),)
            signals[quantity] = _as_signal(said, mono_ns)
            continue
        before = {voice.order: voice for voice in known}
        sources = _by_source(said)
        voices = before | {order: _voice(one, mono_ns) for order, one in sources.items()}
        newest[quantity] = tuple(voices[order] for order in sorted(voices))
        speaking = [_unsilenced(one, sources, before, mono_ns) for one in sources.values()]
        spoken = [one for one in speaking if len(one.index)]
        if spoken:
            signals[quantity] = _as_signal(spoken, mono_ns)
    return signals, newest


def _voice(one: _Series, mono_ns: IntArray) -> Voice:
    return Voice(one.use.prefer, one.use.source, one.bus, one.use.hold_ms, int(mono_ns[one.index[-1]]))


def _by_source(said: Sequence[_Series]) -> dict[Order, _Series]:
    parts: dict[Order, list[_Series]] = {}
    for one in said:
        parts.setdefault(one.order, []).append(one)
    return {order: _joined(same) for order, same in parts.items()}


def _as_signal(spoken: Sequence[_Series], mono_ns: IntArray) -> Signal:
    if len(spoken) == 1:
        return Signal(mono_ns[spoken[0].index], spoken[0].value)
    index = np.concatenate([one.index for one in spoken])
    value = np.concatenate([one.value for one in spoken])
    in_order = np.argsort(index, kind="stable")
    return Signal(mono_ns[index[in_order]], value[in_order])


def _joined(parts: Sequence[_Series]) -> _Series:
    if len(parts) == 1:
        return parts[0]
    index = np.concatenate([part.index for part in parts])
    return _Series(parts[0].use, parts[0].bus, index, np.concatenate([part.value for part in parts]))


def _unsilenced(
    one: _Series, sources: Mapping[Order, _Series], before: Mapping[Order, Voice], mono_ns: IntArray
) -> _Series:
    """The values of one source for which every better source has been silent long enough."""
    better = [order for order in sources.keys() | before.keys() if order < one.order]
    if not better:
        return one
    at_ns = mono_ns[one.index]
    keep = np.ones(len(one.index), np.bool_)
    for order in better:
        voice, now = before.get(order), sources.get(order)
        last_ns: IntArray | int = NEVER_NS if voice is None else voice.mono_ns
        hold_ms = 0 if voice is None else voice.hold_ms
        if now is not None:
            hold_ms = now.use.hold_ms
            place = np.searchsorted(now.index, one.index, side="right") - 1
            last_ns = np.where(place >= 0, mono_ns[now.index[place]], last_ns)
        keep &= at_ns - last_ns > hold_ms * NS_PER_MS
    return _Series(one.use, one.bus, one.index[keep], one.value[keep])
