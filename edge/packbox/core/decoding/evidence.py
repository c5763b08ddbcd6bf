"""Which variant of the family is this, and is it still the same pack?

In:  sorted frames and answers of a batch, and how often each piece of evidence was seen before them.
Out: `Weighed` counts, and from which frame on they mean that something else is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from packbox.core.decoding.heard import Answered
from packbox.core.decoding.plans import Plans, told_value, within
from packbox.core.decoding.sifting import intact
from packbox.core.decoding.sorting import Slots, Sorted
from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.profile import AnswerShape, Evidence, Profile, ValueRange, Variant
from packbox.core.swap import Weighed, rivals_of, weigh

Counts = tuple[int, ...]  # how often each piece was seen, in the order of the profile


class Judge:
    """Knows the evidence of one family."""

    def __init__(
        self,
        profile: Profile,
        fixed: Variant | None,
        needed: frozenset[str],
        plans: Mapping[str | None, Plans],
        slots: Slots,
    ) -> None:
        """`fixed`: the variant where there is nothing to choose. `needed`: evidence that the use of some signal needs.

        `plans`: how messages are read by variant, and under None as all variants agree.
        """
        self._profile: Final = profile
        self._fixed: Final = fixed
        self._needed: Final = needed
        self._plans: Final = plans
        self._slots: Final = slots
        self._rivals: Final = rivals_of(profile)

    def chosen(self, counts: Counts) -> Variant | None:
        if self._fixed is not None:
            return self._fixed
        shown = self._shown(counts)
        choice = next((c for c in self._profile.choices if shown.issuperset(c.when)), None)
        return None if choice is None else self._profile.variant(choice.variant)

    def outlook(self, counts: Counts) -> tuple[str | None, frozenset[str]]:
        """All that decoding depends on: the variant, and the evidence that some use needs."""
        chosen = self.chosen(counts)
        return None if chosen is None else chosen.id, self._shown(counts) & self._needed

    def _shown(self, counts: Counts) -> frozenset[str]:
        return frozenset(e.name for e, n in zip(self._profile.evidence, counts, strict=True) if n >= e.at_least)

    def weigh(self, counts: Counts, against: Counts, frames: Sorted, answered: Sequence[Answered]) -> Weighed:
        """New evidence: counts after these frames, and those that hold from some of them on."""
        sight = _Sight(frames, answered, self._slots, self._plans)
        evidence = self._profile.evidence
        settled = [n >= e.at_least for e, n in zip(evidence, counts, strict=True)]
        hits: dict[int, IntArray] = {}
        for place, piece in enumerate(evidence):
            if not settled[place]:
                found = sight.hits(piece)
                hits[place] = found if self._rivals[place] else found[: piece.at_least - counts[place]]
        for place, piece in enumerate(evidence):
            if settled[place] and not self._undisputed(place, settled, against, hits):
                hits[place] = sight.hits(piece)
        return weigh(evidence, self._rivals, counts, against, hits)

    def _undisputed(self, place: int, settled: Sequence[bool], against: Counts, hits: Mapping[int, IntArray]) -> bool:
        """Complete evidence tells nothing more, unless something speaks or has spoken for a rival of it."""
        return not any(
            settled[rival] or (against and against[rival]) or len(hits[rival]) for rival in self._rivals[place]
        )

    def telling(self, before: Counts, holds: Mapping[int, Counts]) -> dict[int, Counts]:
        """Only those from which on something else is decoded: a batch in pieces takes as often as long."""
        found: dict[int, Counts] = {}
        outlook = self.outlook(before) if holds else None
        for index in sorted(holds):
            now = self.outlook(holds[index])
            if now != outlook:
                found[index], outlook = holds[index], now
        return found


class _Sight:
    """Looks for evidence in one batch; a value that several pieces ask for is taken out once."""

    def __init__(
        self, frames: Sorted, answered: Sequence[Answered], slots: Slots, plans: Mapping[str | None, Plans]
    ) -> None:
        self._frames: Final = frames
        self._answered: Final = answered
        self._slots: Final = slots
        self._plans: Final = plans
        self._values: dict[tuple[object, ...], list[tuple[IntArray, FloatArray, BoolArray]]] = {}

    def hits(self, evidence: Evidence) -> IntArray:
        """Places of the frames that show this, rising."""
        found: list[IntArray] = []
        if evidence.seen:
            groups = self._frames.groups
            found += [self._frames.index[g.span] for g in groups if self._slots.keys[g.slot] in evidence.seen]
        if evidence.value is not None:
            wanted = evidence.value
            found += [index[within(value, valid, wanted)] for index, value, valid in self._told(wanted)]
        if evidence.answer is not None:
            indices = [a.index for a in self._answered if _has_shape(a, evidence.answer)]
            found.append(np.array(indices, np.int64))
        if len(found) == 1:
            return found[0]
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def _told(self, wanted: ValueRange) -> list[tuple[IntArray, FloatArray, BoolArray]]:
        """By group: places of the intact frames, the value that the range is about, and where it is told."""
        name = (wanted.key, wanted.signal, wanted.over, wanted.variant)
        if name not in self._values:
            ready = self._plans[wanted.variant][wanted.key]
            slot = self._slots.of[wanted.key]
            good = [intact(self._frames, g, ready) for g in self._frames.groups if g.slot == slot]
            self._values[name] = [(one.index, *told_value(ready, one.frames, wanted)) for one in good]
        return self._values[name]


def _has_shape(answered: Answered, shape: AnswerShape) -> bool:
    if answered.poll.id != shape.poll or (shape.lengths and answered.length not in shape.lengths):
        return False
    if shape.field is None:
        return True
    numbers = {r.name: float(r.value) for r in answered.readings if isinstance(r.value, float | int)}
    if shape.field not in numbers:
        return False
    divisor = 1.0 if shape.over is None else numbers.get(shape.over, 0.0)
    return divisor != 0.0 and shape.low <= numbers[shape.field] / divisor <= shape.high
