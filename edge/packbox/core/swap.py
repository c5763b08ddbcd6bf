"""Notice that the pack is another one: evidence that excludes what was seen before.

In:  how often each piece of evidence was seen, and where in a batch it is seen now.
Out: the same brought forward, the places where it is complete, and what changed the car's story.
Two pieces of evidence are rivals when no car can show both: other lengths of one answer, other ranges of one value.
While one of them holds its rival must be seen CONFIRMED times without it in between; then what it excludes is
forgotten. A single odd answer changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from packbox.core.frames import IntArray
from packbox.core.profile import Evidence, Profile

CONFIRMED: Final = 3  # times as often as evidence needs anyway
SERIAL: Final = "battery_serial"  # the field of an answer by which a pack names itself

Rivals: TypeAlias = tuple[frozenset[int], ...]  # per piece of evidence, the places of those it excludes


@dataclass(frozen=True, slots=True)
class Weighed:
    counts: tuple[int, ...]
    against: tuple[int, ...]  # how often in a row each was seen while a rival held
    holds: Mapping[int, tuple[int, ...]]  # from this frame on these counts hold
    swapped: tuple[str, ...] = ()  # each time that this became another pack, and why


def rivals_of(profile: Profile) -> Rivals:
    pieces = profile.evidence
    return tuple(
        frozenset(k for k, other in enumerate(pieces) if other is not piece and _exclude(piece, other))
        for piece in pieces
    )


def _exclude(one: Evidence, other: Evidence) -> bool:
    lasts = not (one.wanders or other.wanders)
    a, b = one.value, other.value
    if a is not None and b is not None:
        same = (a.key, a.signal, a.over, a.variant) == (b.key, b.signal, b.over, b.variant)
        return lasts and same and (a.high < b.low or b.high < a.low)
    c, d = one.answer, other.answer
    if c is None or d is None or c.poll != d.poll:
        return False
    if c.lengths and d.lengths and not set(c.lengths) & set(d.lengths):  # () is any length
        return True
    same = c.field is not None and (c.field, c.over) == (d.field, d.over)
    return lasts and same and (c.high < d.low or d.high < c.low)


def weigh(
    evidence: Sequence[Evidence],
    rivals: Rivals,
    counts: Sequence[int],
    against: Sequence[int],
    hits: Mapping[int, IntArray],
) -> Weighed:
    """`hits`: per place of evidence the frames that show it, rising. Complete evidence without rivals needs none."""
    now, held_against = list(counts), list(against) or [0] * len(evidence)
    holds: dict[int, tuple[int, ...]] = {}
    swapped: list[str] = []
    in_order = heapq.merge(*([(int(index), place) for index in hits[place]] for place in sorted(hits)))
    for index, place in in_order:
        piece = evidence[place]
        held = [r for r in sorted(rivals[place]) if now[r] >= evidence[r].at_least]
        for rival in rivals[place]:
            held_against[rival] = 0
        if held:
            held_against[place] += 1
            if held_against[place] < CONFIRMED * piece.at_least:
                continue
            for rival in rivals[place]:
                now[rival] = 0
            held_against[place] = 0
            now[place] = piece.at_least
            swapped.append(f"{piece.name} seen, no more {', '.join(evidence[r].name for r in held)}")
            holds[index] = tuple(now)
        elif now[place] < piece.at_least:
            now[place] += 1
            if now[place] == piece.at_least:
                holds[index] = tuple(now)
    return Weighed(tuple(now), tuple(held_against), holds, tuple(swapped))
