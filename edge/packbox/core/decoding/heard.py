"""Follow the diagnostic polls of whoever asks: request and answer frames to whole answers, read.

In:  sorted frames of a batch, and what was open on each line before.
Out: `Answered` at the frame that completes it, and `Series` of what answers say; broken and negative ones counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from packbox.core.answers import (
    Reading,
    Window,
    cells_contradict,
    is_foreign,
    layout_for,
    matching,
    read,
    single_cells,
    tells_cells,
)
from packbox.core.decoding.meaning import CELL_QUANTITIES, as_quantity, plausible_range
from packbox.core.decoding.sorting import Slots, Sorted
from packbox.core.decoding.sources import Series
from packbox.core.decoding.tally import Tally
from packbox.core.decoding.view import View
from packbox.core.frames import EXTENDED, FrameBatch, IntArray
from packbox.core.isotp import IDLE, Answer, Line, hear_answer, hear_request
from packbox.core.packs import PackFacts
from packbox.core.profile import EXTENDED_BIT, AnswerLayout, Poll, QuantityUse
from packbox.core.signals import CellsTold

BUS_SHIFT: Final = 32

Lines: TypeAlias = dict[int, Line]  # bus, answer key -> reassembly


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer at the frame that completed it."""

    index: int
    mono_ns: int
    bus: int
    poll: Poll
    readings: tuple[Reading, ...]
    length: int


class Listener:
    """Knows the polls of one family."""

    def __init__(self, polls: Sequence[Poll]) -> None:
        self._polls: Final = polls
        self._requests: Final = _answering(polls)
        self._answers: Final = frozenset(p.rx_key for p in polls)
        self.keys: Final = self._answers | self._requests.keys()

    def listen(
        self, lines: Lines, batch: FrameBatch, frames: Sorted, slots: Slots, tally: Tally
    ) -> tuple[Lines, list[Answered]]:
        """Frame by frame: there are few, and their order matters."""
        indices = [frames.index[g.span] for g in frames.groups if slots.keys[g.slot] in self.keys]
        if not indices:
            return lines, []
        lines = dict(lines)
        answered: list[Answered] = []
        for index, bus, key, mono_ns, frame in _one_by_one(batch, np.sort(np.concatenate(indices))):
            for answering in self._requests.get(key, ()):
                place = bus << BUS_SHIFT | answering
                lines[place] = hear_request(lines.get(place, IDLE), frame)
            if key in self._answers:
                place = bus << BUS_SHIFT | key
                heard = hear_answer(lines.get(place, IDLE), frame, mono_ns)
                lines[place] = heard.line
                tally.add("broken_answers", heard.broken)
                tally.add("negative_answers", heard.negative)
                understood = None if heard.answer is None else self._understand(key, heard.answer, tally)
                if understood is not None:
                    poll, readings, length = understood
                    answered.append(Answered(index, mono_ns, bus, poll, readings, length))
        return lines, answered

    def _understand(self, key: int, answer: Answer, tally: Tally) -> tuple[Poll, tuple[Reading, ...], int] | None:
        """The answer names its question itself by what it echoes, so a request we did not see is no loss."""
        data = answer.data
        poll = matching(self._polls, key, data, answer.request)
        if poll is None:
            tally.add("foreign_answers", is_foreign(self._polls, key, data, answer.request))
            return None
        if len(data) in poll.ignored_lengths:
            return None
        layout = layout_for(poll, len(data))
        if layout is None:
            tally.add("wrong_length", 1)
            return None
        readings = read(layout, Window(0, data[len(poll.head) :]), each_row=tells_cells(layout))
        if cells_contradict(readings):
            tally.add("cells_not_sum", 1)
            readings = [r for r in readings if not _is_of_cells(r)]
        return poll, tuple(readings), len(data)


def _is_of_cells(reading: Reading) -> bool:
    return bool(single_cells([reading])) or any(use.quantity in CELL_QUANTITIES for use in reading.uses)


def cells_of(answered: Sequence[Answered]) -> tuple[CellsTold, ...]:
    """Single cells, answer by answer."""
    found = ((answer.mono_ns, single_cells(answer.readings)) for answer in answered)
    return tuple(CellsTold(mono_ns, cells) for mono_ns, cells in found if cells)


def series_of_answers(answered: Sequence[Answered], view: View, tally: Tally) -> list[Series]:
    """What answers say, as far as it is believable and the evidence that its use needs was shown."""
    series: list[Series] = []
    for answer in answered:
        for reading in answer.readings:
            if not reading.uses:
                continue
            if not isinstance(reading.value, float | int):
                tally.add("void_values", len(reading.uses))
                continue
            for use in reading.uses:
                if use.needs is None or use.needs in view.shown:
                    series += _one_value(use, answer, reading.value, view.pack, tally)
    return series


def _one_value(use: QuantityUse, answer: Answered, told: float, pack: PackFacts | None, tally: Tally) -> list[Series]:
    value, known = as_quantity(use, np.array([told], np.float64))
    low, high = plausible_range(use.quantity, pack)
    if not known[0]:
        tally.add("void_values", 1)
        return []
    if not low <= value[0] <= high:
        tally.add("implausible_values", 1)
        return []
    return [Series(use, answer.bus, np.array([answer.index]), np.array([answer.mono_ns]), value)]


def uses_of(layout: AnswerLayout) -> list[QuantityUse]:
    of_rows = [use for rows in layout.rows for digest in rows.digests for use in digest.uses]
    return [use for one in layout.fields for use in one.uses] + of_rows


def _answering(polls: Sequence[Poll]) -> dict[int, tuple[int, ...]]:
    """Key of a request -> keys of those who may answer it: several where it goes to every ECU."""
    found: dict[int, list[int]] = {}
    for poll in polls:
        found.setdefault(poll.tx_key, []).append(poll.rx_key)
    return {tx: tuple(dict.fromkeys(rx)) for tx, rx in found.items()}


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
