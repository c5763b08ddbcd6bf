"""Take signals out of many frames at once: bits to raw integers to values.

In:  the first eight bytes of n frames of one id, and a `SignalLayout`.
Out: raw integers (n,), masks of the frames where the signal is present and says something, values (n,).
No loop over frames anywhere: a signal is two or three operations on a column of 64-bit words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from packbox.core.frames import CLASSIC_BYTES, BoolArray, FloatArray, IntArray
from packbox.core.profile import SignalLayout

WORD_BITS: Final = 64
FEW_VALUES: Final = 16  # above it `np.isin` is the faster one
LONG_COLUMN: Final = 300  # frames a signal, from which on one signal at a time is faster than all in a few steps
MAX_SIGNAL_BITS: Final = 63  # raw values travel as int64


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """n frames of eight bytes as 64-bit integers, read from either end. Both shape (n,)."""

    intel: npt.NDArray[np.uint64]
    motorola: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return int(self.intel.shape[0])

    def pick(self, which: slice | BoolArray | IntArray) -> Words:
        return Words(self.intel[which], self.motorola[which])


def words(data: npt.NDArray[np.uint8], order: IntArray | None = None) -> Words:
    """`data` uint8 (n, w), w >= 8, its rows in `order`; bytes past the eighth are not looked at."""
    assert data.ndim == 2
    assert data.shape[1] >= CLASSIC_BYTES
    eight = np.ascontiguousarray(data[:, :CLASSIC_BYTES])
    intel = eight.view("<u8").reshape(-1)
    if order is not None:
        intel = intel[order]
    return from_intel(intel)


def from_intel(intel: npt.NDArray[np.uint64]) -> Words:
    return Words(intel, intel.byteswap())


def place(start: int, bits: int, motorola: bool) -> int:
    """How far to shift the word right so that the signal's lowest bit is bit 0; negative if it does not fit."""
    if not motorola:
        return start if start + bits <= WORD_BITS else -1
    from_top = start // 8 * 8 + 7 - start % 8
    return WORD_BITS - from_top - bits


def last_byte(layout: SignalLayout) -> int:
    """Index of the last byte that the signal touches."""
    if not layout.motorola:
        return (layout.start + layout.bits - 1) // 8
    return (layout.start // 8 * 8 + 7 - layout.start % 8 + layout.bits - 1) // 8


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A `SignalLayout` made ready: where its raw value lies and which selectors decide that it is there."""

    layout: SignalLayout
    shift: np.uint64
    mask: np.uint64
    sign_bit: np.int64  # 0 for unsigned
    clear: tuple[int, int]  # raw values between these, both included, say something for sure
    arms: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def bits(self) -> tuple[np.uint64, np.uint64, np.int64]:
        return self.shift, self.mask, self.sign_bit

    def word(self, frames: Words) -> npt.NDArray[np.uint64]:
        """The frames read from the end that this signal counts from."""
        return frames.motorola if self.layout.motorola else frames.intel

    def raw(self, frames: Words) -> IntArray:
        return self.cut(self.word(frames))

    def cut(self, word: npt.NDArray[np.uint64]) -> IntArray:
        raw = ((word >> self.shift) & self.mask).view(np.int64)
        return (raw ^ self.sign_bit) - self.sign_bit if self.sign_bit else raw

    def values(self, raw: IntArray) -> FloatArray:
        return raw.astype(np.float64) * self.layout.scale + self.layout.offset

    def present(self, selectors: dict[str, IntArray]) -> BoolArray | None:
        """Frames whose selectors choose this signal; None = all."""
        mask: BoolArray | None = None
        for selector, allowed in self.arms:
            hit = among(selectors[selector], allowed)
            mask = hit if mask is None else mask & hit
        return mask

    def says_nothing(self, raw: IntArray) -> BoolArray | None:
        """Where the raw value means "not available"; None = the signal has no such value."""
        mask: BoolArray | None = None
        for void in self.layout.void:
            hit = raw == void
            mask = hit if mask is None else mask | hit
        if self.layout.void_from is not None:
            hit = raw >= self.layout.void_from
            mask = hit if mask is None else mask | hit
        return mask


def column(layout: SignalLayout) -> Column:
    shift = place(layout.start, layout.bits, layout.motorola)
    assert shift >= 0
    assert layout.bits <= MAX_SIGNAL_BITS
    return Column(
        layout,
        np.uint64(shift),
        np.uint64((1 << layout.bits) - 1),
        np.int64(1 << (layout.bits - 1) if layout.signed else 0),
        _surely_clear(layout),
        tuple((arm.selector, arm.values) for arm in layout.arms),
    )


def _surely_clear(layout: SignalLayout) -> tuple[int, int]:
    """The widest stretch of raw values without a void one: a column's extremes tell that all of it lies there."""
    lowest = -(1 << (layout.bits - 1)) if layout.signed else 0
    above = lowest + (1 << layout.bits)
    if layout.void_from is not None:
        above = min(above, layout.void_from)
    edges = [lowest - 1, *sorted(void for void in layout.void if lowest <= void < above), above]
    below, after = max(pairwise(edges), key=lambda edge: edge[1] - edge[0])
    return below + 1, after - 1


def raws(columns: Sequence[Column], cut_from: Sequence[npt.NDArray[np.uint64]]) -> IntArray:
    """`Column.cut` of many signals, each of its own words, end to end."""
    lengths = [len(one) for one in cut_from]
    if sum(lengths) > LONG_COLUMN * len(columns):
        return np.concatenate([c.cut(word) for c, word in zip(columns, cut_from, strict=True)])
    shift, mask, sign = np.array([c.bits for c in columns], np.uint64).T
    raw: IntArray = ((np.concatenate(cut_from) >> np.repeat(shift, lengths)) & np.repeat(mask, lengths)).view(np.int64)
    if sign.any():
        sign_bit = np.repeat(sign.view(np.int64), lengths)
        raw = (raw ^ sign_bit) - sign_bit
    return raw


def values(columns: Sequence[Column], raw: IntArray, lengths: Sequence[int]) -> FloatArray:
    """`Column.values` of many signals end to end, `lengths[k]` of them of the k-th."""
    if len(raw) > LONG_COLUMN * len(columns):
        ends = accumulate(lengths)
        return np.concatenate([c.values(raw[e - n : e]) for c, n, e in zip(columns, lengths, ends, strict=True)])
    scale, offset = np.array([(c.layout.scale, c.layout.offset) for c in columns], np.float64).T
    value: FloatArray = raw * np.repeat(scale, lengths) + np.repeat(offset, lengths)
    return value


def count(mask: BoolArray) -> int:
    """How many are true. `mask.sum()` and `mask.all()` take several times as long on a live batch's short columns."""
    return int(np.count_nonzero(mask))


def every(mask: BoolArray) -> bool:
    return count(mask) == len(mask)


def among(values: npt.NDArray[np.integer | np.floating], allowed: Sequence[float]) -> BoolArray:
    """Where the value is one of a few. `np.isin` sorts, which costs more than to compare with each."""
    if not 0 < len(allowed) <= FEW_VALUES:
        return np.isin(values, allowed)
    mask: BoolArray = values == allowed[0]
    for other in allowed[1:]:
        mask |= values == other
    return mask


def selector_names(layouts: Sequence[SignalLayout]) -> tuple[str, ...]:
    """Signals that choose others, each once, in order of first use."""
    return tuple(dict.fromkeys(arm.selector for layout in layouts for arm in layout.arms))
