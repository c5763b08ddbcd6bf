"""CAN frames as they travel through the box: many at a time, in columns.

In:  whatever a bus or a log reader received.
Out: `FrameBatch`, times as received (a source may hand over times that run back: `core.box` deals with that).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from packbox.core.stamp import BootId

IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

EXTENDED: Final = 1  # 29-bit id
FD: Final = 2
ERROR: Final = 4  # error frame: counted, never decoded
SENT: Final = 8  # we (or the logger) sent it
REMOTE: Final = 16

CLASSIC_BYTES: Final = 8
FD_BYTES: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """n frames of one boot, in the order received.

    `mono_ns` int64 (n,), `bus` uint8 (n,), `can_id` uint32 (n,), `flags` uint8 (n,), `length` uint8 (n,),
    `data` uint8 (n, w) with w 8 or 64, zero beyond `length`. Wall time of frame k, when known, is
    `mono_ns[k] // 1_000_000 + wall_offset_ms`.
    """

    boot: BootId
    wall_offset_ms: int | None
    mono_ns: npt.NDArray[np.int64]
    bus: npt.NDArray[np.uint8]
    can_id: npt.NDArray[np.uint32]
    flags: npt.NDArray[np.uint8]
    length: npt.NDArray[np.uint8]
    data: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        n = self.mono_ns.shape[0]
        assert self.data.ndim == 2
        assert self.data.shape[1] in (CLASSIC_BYTES, FD_BYTES)
        assert all(len(column) == n for column in (self.bus, self.can_id, self.flags, self.length, self.data))

    def __len__(self) -> int:
        return int(self.mono_ns.shape[0])

    def pick(self, which: slice | BoolArray | IntArray) -> FrameBatch:
        """The frames of a slice, mask or index array."""
        return FrameBatch(
            self.boot,
            self.wall_offset_ms,
            self.mono_ns[which],
            self.bus[which],
            self.can_id[which],
            self.flags[which],
            self.length[which],
            self.data[which],
        )


def empty_batch(boot: BootId, wall_offset_ms: int | None = None) -> FrameBatch:
    return FrameBatch(
        boot,
        wall_offset_ms,
        np.empty(0, np.int64),
        np.empty(0, np.uint8),
        np.empty(0, np.uint32),
        np.empty(0, np.uint8),
        np.empty(0, np.uint8),
        np.empty((0, CLASSIC_BYTES), np.uint8),
    )


def join(batches: Sequence[FrameBatch]) -> FrameBatch:
    """Batches of one boot end to end; the newest wall offset that is known holds for all."""
    assert batches
    assert len({b.boot for b in batches}) == 1
    if len(batches) == 1:
        return batches[0]
    width = max(b.data.shape[1] for b in batches)
    offset = next((b.wall_offset_ms for b in reversed(batches) if b.wall_offset_ms is not None), None)
    return FrameBatch(
        batches[0].boot,
        offset,
        np.concatenate([b.mono_ns for b in batches]),
        np.concatenate([b.bus for b in batches]),
        np.concatenate([b.can_id for b in batches]),
        np.concatenate([b.flags for b in batches]),
        np.concatenate([b.length for b in batches]),
        np.concatenate([np.pad(b.data, ((0, 0), (0, width - b.data.shape[1]))) for b in batches]),
    )
