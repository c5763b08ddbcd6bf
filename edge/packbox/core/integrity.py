"""Checks a frame carries about itself: checksums and rolling counters.

In:  columns of frames of one id.
Out: masks: True where the frame may be believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from packbox.core.frames import BoolArray, IntArray
from packbox.core.layout import Words, every
from packbox.core.profile import Checksum, Message

Ids: TypeAlias = int | npt.NDArray[np.uint64]  # one for all frames, or one for each

LEAF_POLYNOMIAL: Final = 0x85  # facts/vehicles.md 3.2
CHECKED_BYTES: Final = 7

# A counter that repeats after this many lost cycles proves nothing: a two-bit counter is round again after four.
STUCK_WITHIN_CYCLES: Final = 3
DEFAULT_CYCLE_MS: Final = 100
FORGOTTEN_AFTER_MS: Final = 1000  # of slow ids too: a car that slept begins where its counter likes


def _crc_of_byte_at(distance: int) -> npt.NDArray[np.uint8]:
    """CRC-8 of each byte value followed by `distance` zero bytes. The CRC is linear: a frame's is the XOR of these."""
    crc = np.arange(256, dtype=np.int64)
    for _ in range(8 * (distance + 1)):
        crc = np.where(crc & 0x80, crc << 1 ^ LEAF_POLYNOMIAL, crc << 1) & 0xFF
    return crc.astype(np.uint8)


def _crc_of_pair_at(distance: int) -> npt.NDArray[np.uint8]:
    """The same for two bytes as one little-endian 16-bit value, first byte `distance` + 1 bytes before the end."""
    return (_crc_of_byte_at(distance)[:, None] ^ _crc_of_byte_at(distance + 1)[None, :]).reshape(-1)


# Bytes in pairs, four look-ups a frame instead of seven. Byte 7 is the sum itself: in a good frame all come to 0.
_PAIRS: Final = tuple(_crc_of_pair_at(distance) for distance in (5, 3, 1))
_LAST: Final = (_crc_of_byte_at(0)[None, :] ^ np.arange(256, dtype=np.uint8)[:, None]).reshape(-1)

_NIBBLES: Final = np.uint64(0x0F0F0F0F0F0F0F0F)
_BYTES_ADDED: Final = np.uint64(0x0101010101010101)


def leaf_crc8(frames: Words, can_id: Ids) -> BoolArray:
    """CRC-8, polynomial 0x85, start 0, over bytes 0-6, in byte 7."""
    del can_id  # not part of this sum
    word = frames.intel.view(np.int64)
    crc = _PAIRS[0][word & 0xFFFF]
    crc ^= _PAIRS[1][word >> 16 & 0xFFFF]
    crc ^= _PAIRS[2][word >> 32 & 0xFFFF]
    crc ^= _LAST[word >> 48 & 0xFFFF]
    good: BoolArray = crc == 0
    return good


def nibble_sum(frames: Words, can_id: Ids) -> BoolArray:
    """Low nibble of byte 7 = all other nibbles and the three of the id, added, modulo 16."""
    word = frames.motorola
    pair_sums = (word & _NIBBLES) + ((word >> np.uint64(4)) & _NIBBLES)
    total = (pair_sums * _BYTES_ADDED) >> np.uint64(56)  # at most 240: no carry is lost
    claimed = word & np.uint64(0x0F)
    of_id = np.uint64((can_id >> 8 & 0xF) + (can_id >> 4 & 0xF) + (can_id & 0xF))
    good: BoolArray = ((total - claimed + of_id) & np.uint64(0x0F)) == claimed
    return good


def inverted_sum(frames: Words, can_id: Ids) -> BoolArray:
    """Byte 7 = all bits turned of the sum of bytes 0-6: then all eight add up to 0xFF, modulo 256."""
    del can_id  # not part of this sum
    total = frames.intel.view(np.uint8).reshape(-1, CHECKED_BYTES + 1).sum(axis=1, dtype=np.uint8)
    good: BoolArray = total == 0xFF
    return good


CHECKS: Final[Mapping[Checksum, Callable[[Words, Ids], BoolArray]]] = {
    Checksum.LEAF_CRC8: leaf_crc8,
    Checksum.NIBBLE_SUM: nibble_sum,
    Checksum.INVERTED_SUM: inverted_sum,
}


def moving(counter: IntArray, mono_ns: IntArray, before: tuple[int, int] | None, message: Message) -> BoolArray:
    """False where the counter stands still although the frame before it came only just now.

    `before` is (counter, mono_ns) of the frame before these, if there was one.
    """
    window_ns = min(STUCK_WITHIN_CYCLES * (message.cycle_ms or DEFAULT_CYCLE_MS), FORGOTTEN_AFTER_MS) * 1_000_000
    alive = np.ones(counter.shape, np.bool_)
    np.not_equal(counter[1:], counter[:-1], out=alive[1:])
    if not every(alive):
        alive[1:] |= mono_ns[1:] - mono_ns[:-1] >= window_ns
    if before is not None and len(counter):
        alive[0] = int(counter[0]) != before[0] or int(mono_ns[0]) - before[1] >= window_ns
    return alive
