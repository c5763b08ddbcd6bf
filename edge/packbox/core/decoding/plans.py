"""Messages of a profile made ready for columns of frames.

In:  a `Message`.
Out: `MessagePlan`: its signals as `Column`s by name; where a value of it lies in a range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.layout import Column, Words, column, selector_names
from packbox.core.profile import Message, ValueRange


@dataclass(frozen=True, slots=True, eq=False)
class MessagePlan:
    """A `Message` made ready: its columns by name, and which of them a stream needs."""

    message: Message
    columns: Mapping[str, Column]
    used: tuple[Column, ...]  # those that feed a quantity
    selectors: tuple[str, ...]

    def selector_values(self, frames: Words) -> dict[str, IntArray]:
        return {name: self.columns[name].raw(frames) for name in self.selectors}

    def silent(self, frames: Words) -> BoolArray | None:
        """Frames that as a whole say nothing; None = this message has no such frames."""
        if self.message.void_when is None:
            return None
        name, void = self.message.void_when
        says_nothing: BoolArray = self.columns[name].raw(frames) == void
        return says_nothing


Plans: TypeAlias = Mapping[int, MessagePlan]  # message key -> plan


def plan(message: Message) -> MessagePlan:
    columns = {s.name: column(s) for s in message.signals}
    used = tuple(columns[s.name] for s in message.signals if s.uses)
    return MessagePlan(message, columns, used, selector_names(message.signals))


def in_range(ready: MessagePlan, frames: Words, wanted: ValueRange) -> BoolArray:
    """Frames in which the value is there and lies in the range."""
    return within(*told_value(ready, frames, wanted), wanted)


def told_value(ready: MessagePlan, frames: Words, wanted: ValueRange) -> tuple[FloatArray, BoolArray]:
    """The value that the range is about, and the frames that tell it."""
    selectors = ready.selector_values(frames)
    value, valid = _values(ready.columns[wanted.signal], frames, selectors)
    if wanted.over is not None:
        divisor, also = _values(ready.columns[wanted.over], frames, selectors)
        valid = valid & also & (divisor != 0)
        value = np.divide(value, divisor, out=np.zeros_like(value), where=valid)
    return value, valid


def within(value: FloatArray, valid: BoolArray, wanted: ValueRange) -> BoolArray:
    hit: BoolArray = valid & (value >= wanted.low) & (value <= wanted.high)
    return hit


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
