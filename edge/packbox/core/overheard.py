"""Diagnostic answers as anyone hears them who listens: whole, each with its question if that was heard too.

In:  pairs of ids, and frames in order. Out: `Overheard`, at the frame that completes the answer.
Never sends; an answer that is cut or out of order never comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from packbox.core.frames import ERROR, EXTENDED, REMOTE, FrameBatch
from packbox.core.isotp import Line, hear_answer, hear_request
from packbox.core.profile import EXTENDED_BIT


@dataclass(frozen=True, slots=True)
class Overheard:
    bus: int
    key: int  # of the answering id
    request: bytes | None
    data: bytes


class Overhearing:
    """Follows question and answer ids of any number of profiles."""

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        self._asked: dict[int, set[int]] = {}
        for asking, answering in pairs:
            self._asked.setdefault(asking, set()).add(answering)
        self._answering = frozenset().union(*self._asked.values())
        self._keys = np.array(sorted(self._asked.keys() | self._answering), np.int64)
        self._lines: dict[tuple[int, int], Line] = {}

    def hear(self, frames: FrameBatch) -> Iterator[Overheard]:
        keys = frames.can_id.astype(np.int64) | np.where(frames.flags & EXTENDED, EXTENDED_BIT, 0)
        ours = np.isin(keys, self._keys) & ((frames.flags & (ERROR | REMOTE)) == 0)
        for index in np.flatnonzero(ours).tolist():
            bus, key = int(frames.bus[index]), int(keys[index])
            frame = frames.data[index, : frames.length[index]].tobytes()
            for answering in self._asked.get(key, ()):
                place = bus, answering
                self._lines[place] = hear_request(self._lines.get(place, Line()), frame)
            if key in self._answering:
                said = hear_answer(self._lines.get((bus, key), Line()), frame, int(frames.mono_ns[index]))
                self._lines[bus, key] = said.line
                if said.answer is not None:
                    yield Overheard(bus, key, said.answer.request, said.answer.data)
