"""Of several sources of one quantity let only the best one that is still there speak.

In:  `Series` of a batch, each of one source, and when each source was heard before.
Out: a `Signal` for each quantity, and the sources heard so far.
Sources stand in an order: `prefer`, then name, then bus number. One speaks only while no better one has spoken within
that one's `hold_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

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


class Series(NamedTuple):
    """One source's valid values within one batch, at least one. A tuple: dozens are made for each batch."""

    use: QuantityUse
    bus: int
    place: IntArray  # (n,), the frames' places in the batch, rising
    mono_ns: IntArray
    value: FloatArray

    @property
    def order(self) -> Order:
        return self.use.prefer, self.use.source, self.bus

    def keep(self, which: BoolArray) -> Series:
        return Series(self.use, self.bus, self.place[which], self.mono_ns[which], self.value[which])

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
        one = said[0]
        if len(said) == 1 and (not known or (len(known) == 1 and _is_of(one, known[0]))):  # there never was another
            newest[quantity] = (one.voice(),)
            signals[quantity] = Signal(one.mono_ns, one.value)
            continue
        before = {voice.order: voice for voice in known}
        sources = _by_source(said)
        voices = before | {order: of_source.voice() for order, of_source in sources.items()}
        newest[quantity] = tuple(voices[order] for order in sorted(voices))
        speaking = [_unsilenced(of_source, sources, before) for of_source in sources.values()]
        spoken = [of_source for of_source in speaking if len(of_source.place)]
        if spoken:
            signals[quantity] = _as_signal(spoken)
    return signals, newest


def _is_of(one: Series, voice: Voice) -> bool:
    return one.use.source == voice.source and one.bus == voice.bus and one.use.prefer == voice.prefer


def _by_source(said: Sequence[Series]) -> dict[Order, Series]:
    parts: dict[Order, list[Series]] = {}
    for one in said:
        parts.setdefault(one.order, []).append(one)
    return {order: _joined(same) for order, same in parts.items()}


def _as_signal(spoken: Sequence[Series]) -> Signal:
    if len(spoken) == 1:
        return Signal(spoken[0].mono_ns, spoken[0].value)
    together = _joined(spoken)
    in_order = np.argsort(together.place, kind="stable")
    return Signal(together.mono_ns[in_order], together.value[in_order])


def _joined(parts: Sequence[Series]) -> Series:
    if len(parts) == 1:
        return parts[0]
    return Series(
        parts[0].use,
        parts[0].bus,
        np.concatenate([part.place for part in parts]),
        np.concatenate([part.mono_ns for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def _unsilenced(one: Series, sources: Mapping[Order, Series], before: Mapping[Order, Voice]) -> Series:
    """The values of one source for which every better source has been silent long enough."""
    better = [order for order in sources.keys() | before.keys() if order < one.order]
    if not better:
        return one
    keep = np.ones(len(one.place), np.bool_)
    for order in better:
        voice, now = before.get(order), sources.get(order)
        last_ns: IntArray | int = NEVER_NS if voice is None else voice.mono_ns
        hold_ms = 0 if voice is None else voice.hold_ms
        if now is not None:
            hold_ms = now.use.hold_ms
            before_it = np.searchsorted(now.place, one.place, side="right") - 1
            last_ns = np.where(before_it >= 0, now.mono_ns[before_it], last_ns)
        keep &= one.mono_ns - last_ns > hold_ms * NS_PER_MS
    return one.keep(keep)
