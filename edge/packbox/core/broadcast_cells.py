"""Single cells as some cars broadcast them: a few a frame, chosen by a number in the frame.

In:  frames. Out: the newest voltage of each cell, by the profile's numbering.
Signals named `cell_voltage_N` are cell N; where every module's frames look alike, the message's `cells` say which
cell each frame begins with. Void values and frames of a wrong length never become a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from packbox.core.frames import ERROR, EXTENDED, REMOTE, FrameBatch
from packbox.core.layout import Column, column, words
from packbox.core.profile import EXTENDED_BIT, Message, Profile

CELL: Final = "cell_voltage_"
ALL: Final = -1  # instead of a module's number


@dataclass(frozen=True, slots=True)
class _Cell:
    number: int  # counted from 1 within its frame or, without `cells`, in the pack
    column: Column


class BroadcastCells:
    def __init__(self, profile: Profile) -> None:
        messages = {m.key: m for v in reversed(profile.variants) for m in v.messages}
        self._ready = {key: ready for key, m in messages.items() if (ready := _cells_of(m))}
        self._messages: dict[int, Message] = {key: messages[key] for key in self._ready}
        self._keys = np.array(sorted(self._ready), np.int64)
        self._newest: dict[tuple[int, int, int], float] = {}  # key, module, number -> volts

    def hear(self, frames: FrameBatch) -> None:
        keys = frames.can_id.astype(np.int64) | np.where(frames.flags & EXTENDED, EXTENDED_BIT, 0)
        sound = np.isin(keys, self._keys) & ((frames.flags & (ERROR | REMOTE)) == 0)
        for key in np.unique(keys[sound]).tolist():
            message = self._messages[key]
            right = np.flatnonzero(sound & (keys == key) & np.isin(frames.length, message.lengths))
            self._take(key, message, frames.pick(right))

    def cells_v(self, in_series: int | None) -> tuple[float | None, ...]:
        """By cell number; None where a cell in between was not heard."""
        found = {
            number: volts
            for (key, module, number_in_frame), volts in self._newest.items()
            if (number := self._number(key, module, number_in_frame, in_series)) is not None
        }
        return tuple(found.get(number) for number in range(1, max(found, default=0) + 1))

    def _take(self, key: int, message: Message, frames: FrameBatch) -> None:
        if not len(frames):
            return
        content = words(frames.data)
        by_name = {s.name: column(s) for s in message.signals}
        selectors = {name: by_name[name].raw(content) for name in by_name}
        module = selectors[message.cells[0].selector] if message.cells else np.full(len(frames), ALL, np.int64)
        for cell in self._ready[key]:
            raw = cell.column.raw(content)
            void, present = cell.column.says_nothing(raw), cell.column.present(selectors)
            good = np.ones(len(frames), np.bool_) if present is None else present
            good = good if void is None else good & ~void
            volts = cell.column.values(raw)
            for place in np.flatnonzero(good).tolist():  # the last one stays
                self._newest[key, int(module[place]), cell.number] = float(volts[place])

    def _number(self, key: int, module: int, number: int, in_series: int | None) -> int | None:
        """A pack that is not known yet tells no cells where their numbers depend on it."""
        message = self._messages[key]
        if not message.cells:
            return number
        places = next((c for c in message.cells if c.in_series == in_series), None)
        if places is None or not 1 <= module <= len(places.first) or not places.first[module - 1]:
            return None
        return places.first[module - 1] + number - 1


def _cells_of(message: Message) -> tuple[_Cell, ...]:
    numbers = ((s, s.name.removeprefix(CELL)) for s in message.signals if s.name.startswith(CELL))
    return tuple(_Cell(int(number), column(signal)) for signal, number in numbers if number.isdigit())
