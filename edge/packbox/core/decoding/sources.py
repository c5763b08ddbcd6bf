"""Of several sources of one quantity let only the best one that is still there speak.

In:  `Series` of a batch, each of one source, and when each source was heard before.
Out: a `Signal` for each quantity, and the sources heard so far.
Sources stand in an order: `prefer`, then name, then bus number. One speaks only while no better one has spoken within
that one's `hold_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.profile import QuantityUse
from packbox.core.signals import Signal
from packbox.core.stamp import NS_PER_MS

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


Heard: TypeAlias = dict[str, tuple[Voice, ...]]  # quantity -> its sources so far


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One source's valid values within one batch, at least one; `index` is the frame's place in the batch."""

    use: QuantityUse
    bus: int
    index: IntArray
    mono_ns: IntArray
    value: FloatArray

    @property
    def order(self) -> Order:
        return self.use.prefer, self.use.source, self.bus

    def keep(self, which: BoolArray) -> Series:
        return Series(self.use, self.bus, self.index[which], self.mono_ns[which], self.value[which])

    def voice(self) -> Voice:
        use = self.use
        return Voice(use.prefer, use.source, self.bus, use.hold_ms, int(self.mono_ns[-1]))


def speak(series: Sequence[Series], heard: Mapping[str, tuple[Voice, ...]]) -> tuple[dict[str, Signal], Heard]:
    by_quantity: dict[str, list[Series]] = {}
    for one in series:
        by_quantity.setdefault(one.use.quantity, []).append(one)
    newest = dict(heard)
    signals: dict[str, Signal] = {}
    for quantity, said in by_quantity.items():
        known = heard.get(quantity, ())
        if len(said) == 1 and (not known or (len(known) == 1 and known[0].order == said[0].order)):
            newest[quantity] = (said[0].voice(),)  # there never was another source
            signals[quantity] = Signal(said[0].mono_ns, said[0].value)
            continue
        before = {voice.order: voice for voice in known}
        sources = _by_source(said)
        voices = before | {order: one.voice() for order, one in sources.items()}
        newest[quantity] = tuple(voices[order] for order in sorted(voices))
        speaking = [_unsilenced(one, sources, before) for one in sources.values()]
        spoken = [one for one in speaking if len(one.index)]
        if spoken:
            signals[quantity] = _as_signal(spoken)
    return signals, newest


def _by_source(said: Sequence[Series]) -> dict[Order, Series]:
    parts: dict[Order, list[Series]] = {}
    for one in said:
        parts.setdefault(one.order, []).append(one)
    return {order: _joined(same) for order, same in parts.items()}


def _as_signal(spoken: Sequence[Series]) -> Signal:
    if len(spoken) == 1:
        return Signal(spoken[0].mono_ns, spoken[0].value)
    together = _joined(spoken)
    in_order = np.argsort(together.index, kind="stable")
    return Signal(together.mono_ns[in_order], together.value[in_order])


def _joined(parts: Sequence[Series]) -> Series:
    if len(parts) == 1:
        return parts[0]
    return Series(
        parts[0].use,
        parts[0].bus,
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.mono_ns for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def _unsilenced(one: Series, sources: Mapping[Order, Series], before: Mapping[Order, Voice]) -> Series:
    """The values of one source for which every better source has been silent long enough."""
    better = [order for order in sources.keys() | before.keys() if order < one.order]
    if not better:
        return one
    keep = np.ones(len(one.index), np.bool_)
    for order in better:
        voice, now = before.get(order), sources.get(order)
        last_ns: IntArray | int = NEVER_NS if voice is None else voice.mono_ns
        hold_ms = 0 if voice is None else voice.hold_ms
        if now is not None:
            hold_ms = now.use.hold_ms
            place = np.searchsorted(now.index, one.index, side="right") - 1
            last_ns = np.where(place >= 0, now.mono_ns[place], last_ns)
        keep &= one.mono_ns - last_ns > hold_ms * NS_PER_MS
    return one.keep(keep)
