"""Read one frame or one answer on its own: every signal by name, with its unit. For people, tests and `packbox decode`.

In:  a profile, perhaps the variants it can be, and bytes.
Out: readings by name; None where the car says "not available" or the value cannot be.
Refuses with `UnreadableError`: ids, lengths and answers that the profile does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from packbox.core.answers import Reading, Window, layout_for, matching, read
from packbox.core.decoding.meaning import as_quantity, plausible_range
from packbox.core.decoding.plans import MessagePlan, in_range, plan
from packbox.core.frames import CLASSIC_BYTES, IntArray
from packbox.core.integrity import CHECKS
from packbox.core.isotp import window_of
from packbox.core.layout import Column, Words, words
from packbox.core.packs import PackFacts
from packbox.core.profile import (
    FUNCTIONAL_IDS,
    NEGATIVE_ANSWER,
    Poll,
    Profile,
    QuantityUse,
    ValueRange,
    Variant,
    agreed_messages,
    answer_head,
    group_key,
    id_text,
    message_key,
    write_reason,
)

Readings = Mapping[str, Reading]

CHECKSUM_OK = "checksum_ok"


class UnreadableError(ValueError):
    """The profile says nothing about these bytes. The text says why; nothing is wrong with the next ones."""


class Reader:
    """Single frames and answers of one profile: what all of the variants named agree on, of all if none is named."""

    def __init__(self, profile: Profile, variants: Sequence[str] = ()) -> None:
        self._profile = profile
        possible = tuple(v for v in profile.variants if v.id in variants) or profile.variants
        packs = {v.pack for v in possible}
        self._pack: PackFacts | None = profile.pack(packs.pop()) if len(packs) == 1 else None
        self._plans = {m.key: plan(m) for m in agreed_messages(possible)}
        self._by_layout = _told_by_layout(profile, possible)
        self._elsewhere = {m.key: v.id for v in profile.variants for m in v.messages}
        self._title = ":".join((profile.id, *variants[:1])) if len(variants) == 1 else profile.id

    def frame(self, can_id: int, data: bytes, extended: bool = False) -> Readings:
        key = message_key(can_id, extended)
        if extended and key not in self._plans and group_key(can_id) in self._elsewhere:
            key = group_key(can_id)
        if key in self._plans:
            return self._broadcast(self._plans[key], data)
        if any(poll.rx_key == key for poll in self._profile.polls):
            return self._part_of_answer(key, data)
        label = id_text(can_id, extended)
        if key in self._elsewhere:
            raise UnreadableError(f"frame {label}: not sent by {self._title} (only by {self._elsewhere[key]})")
        raise UnreadableError(f"frame {label}: not in profile {self._profile.id}")

    def answer(self, tx: int, rx: int, request: bytes, data: bytes, extended: bool = False) -> Readings:
        """A whole answer, service byte first, to a request seen or known."""
        label = f"{id_text(tx, extended)}/{id_text(rx, extended)} {request.hex().upper()}"
        if (reason := write_reason(request)) is not None:
            raise UnreadableError(f"request {label}: {reason}")
        if not data:
            raise UnreadableError(f"answer to {label}: empty")
        if data[0] == NEGATIVE_ANSWER:
            code = f"{data[2]:02X}" if len(data) > 2 else "without a code"
            raise UnreadableError(f"answer to {label}: refused by the car ({code})")
        if not data.startswith(answer_head(request)):
            raise UnreadableError(f"answer to {label}: begins with {data[:3].hex().upper()}, that is another answer")
        polls = [p for p in self._profile.polls if _asked_through(p, tx)]
        poll = matching(polls, message_key(rx, extended), data, request)
        if poll is None:
            raise UnreadableError(f"request {label}: not in profile {self._profile.id}")
        if len(data) in poll.ignored_lengths:
            raise UnreadableError(f"answer to {label}: {len(data)} bytes, known to mean nothing")
        return self._fields(poll, Window(0, data[len(poll.head) :]), len(data), label)

    def _part_of_answer(self, key: int, frame: bytes) -> Readings:
        """A frame on an answer id, seen alone: the fields that lie in it."""
        window = window_of(frame)
        if window is None:
            raise UnreadableError("not a part of a diagnostic answer")
        offset, data, length = window
        polls = [p for p in self._profile.polls if p.rx_key == key]
        poll = matching(polls, key, data) if offset == 0 else next((p for p in polls if p.alone), None)
        if poll is None:
            raise UnreadableError("part of a diagnostic answer whose beginning is missing")
        known = Window(max(offset - len(poll.head), 0), data[max(len(poll.head) - offset, 0) :])
        return self._fields(poll, known, length, poll.id)

    def _fields(self, poll: Poll, window: Window, length: int | None, label: str) -> Readings:
        layout = layout_for(poll, length)
        if layout is None:
            raise UnreadableError(f"answer to {label}: {length} bytes is no length that the profile knows")
        return {r.name: self._believable(r) for r in read(layout, window)}

    def _broadcast(self, ready: MessagePlan, data: bytes) -> Readings:
        message = ready.message
        if len(data) not in message.lengths:
            wanted = " or ".join(str(n) for n in message.lengths)
            raise UnreadableError(f"frame {message.label}: {len(data)} bytes, the profile says {wanted}")
        frames = words(np.frombuffer(data.ljust(CLASSIC_BYTES, b"\0"), np.uint8).reshape(1, -1))
        checked: list[Reading] = []
        if message.checksum is not None:
            good = bool(CHECKS[message.checksum](frames, message.can_id)[0])
            checked = [Reading(CHECKSUM_OK, "bool", good)]
            if not good:
                return {CHECKSUM_OK: checked[0]}
        told = (p for p, tests in self._by_layout.get(message.key, ()) if all(in_range(p, frames, t)[0] for t in tests))
        ready = next(told, ready)
        message = ready.message
        selectors = ready.selector_values(frames)
        silent = False
        if message.void_when is not None:
            name, void = message.void_when
            silent = int(ready.columns[name].raw(frames)[0]) == void
        readings = [self._signal(c, frames, silent) for c in ready.columns.values() if _there(c, selectors)]
        return {r.name: self._believable(r) for r in (*readings, *checked)}

    @staticmethod
    def _signal(ready: Column, frames: Words, silent: bool) -> Reading:
        column = ready.raw(frames)
        raw = int(column[0])
        void = ready.says_nothing(column)
        nothing = void is not None and bool(void[0])
        layout = ready.layout
        value = None if silent or nothing else raw * layout.scale + layout.offset
        return Reading(layout.name, layout.unit, value, layout.uses)

    def _believable(self, reading: Reading) -> Reading:
        if isinstance(reading.value, float | int) and not _plausible(reading.value, reading.uses, self._pack):
            return replace(reading, value=None)
        return reading


def _told_by_layout(
    profile: Profile, possible: Sequence[Variant]
) -> dict[int, list[tuple[MessagePlan, tuple[ValueRange, ...]]]]:
    """Messages whose own content says which variant's layout it has: by key, the layouts and their tests in order."""
    values = {e.name: e.value for e in profile.evidence}
    found: dict[int, list[tuple[MessagePlan, tuple[ValueRange, ...]]]] = {}
    for choice in profile.choices:
        variant = next((v for v in possible if v.id == choice.variant), None)
        tests = tuple(t for name in choice.when if (t := values[name]) is not None and t.variant == choice.variant)
        keys = {t.key for t in tests}
        if variant is None or len(tests) < len(choice.when) or len(keys) > 1:
            continue
        message = next(m for m in variant.messages if m.key in keys)
        found.setdefault(message.key, []).append((plan(message), tests))
    return found


def _asked_through(poll: Poll, tx: int) -> bool:
    """Asked by its own id or together with all others, an ECU gives the same answer."""
    return poll.tx == tx or poll.tx in FUNCTIONAL_IDS or tx in FUNCTIONAL_IDS


def _there(ready: Column, selectors: dict[str, IntArray]) -> bool:
    present = ready.present(selectors)
    return present is None or bool(present[0])


def _plausible(value: float, uses: Iterable[QuantityUse], pack: PackFacts | None) -> bool:
    """False when a quantity made of this value would be outside its range.

    Uses that need evidence are not asked: one frame alone does not show any.
    """
    for use in (use for use in uses if use.needs is None):
        quantity, known = as_quantity(use, np.array([value], np.float64))
        low, high = plausible_range(use.quantity, pack)
        if known[0] and not low <= quantity[0] <= high:
            return False
    return True
