"""Frames of one block of a log, in columns, before their times were put on the box's clock.

Out: `Columns` from a reader, one row per line or record, and what every text format has in common (`TextFormat`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from packbox.adapters.logs.stream import Block
from packbox.core.frames import EXTENDED, BoolArray, IntArray

WALL_FROM_NS: Final = 946_684_800_000_000_000  # 2000: a seconds count past it is a date, below it a time since power-on
STANDARD_ID_MAX: Final = 0x7FF
EXTENDED_ID_MAX: Final = 0x1FFFFFFF
FD_LENGTHS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)  # ISO 11898-1 table of DLC


@dataclass(frozen=True, slots=True)
class LogTime:
    """What the times of a log mean."""

    known: bool = True  # False: nominal spacing
    epoch_ns: int | None = None  # wall time of the log's time 0, when a header tells it
    may_be_wall: bool = False  # times may themselves count from 1970: decided by the first frame
    zone_assumed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """`time_ns` int64 (n,) as the log counts it; the rest as in `core.frames.FrameBatch`."""

    time_ns: IntArray
    bus: npt.NDArray[np.uint8]
    can_id: npt.NDArray[np.uint32]
    flags: npt.NDArray[np.uint8]
    length: npt.NDArray[np.uint8]
    data: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_ns)

    def pick(self, which: BoolArray) -> Columns:
        return Columns(
            self.time_ns[which],
            self.bus[which],
            self.can_id[which],
            self.flags[which],
            self.length[which],
            self.data[which],
        )


@dataclass(frozen=True, slots=True)
class Remark:
    """Why a line gave no frame."""

    reason: str
    harmless: bool = False  # it never was one


class TextFormat(Protocol):
    """How one kind of text log is read. An instance belongs to one file: it may remember what it saw."""

    @property
    def name(self) -> str: ...

    @property
    def says_length(self) -> bool:
        """Each line states its data length, so that a cut one is noticed."""

    @property
    def time(self) -> LogTime: ...

    @property
    def channel_names(self) -> Mapping[int, str]:
        """Bus numbers that have a name in the log; the others are called by their number."""

    def parse(self, block: Block) -> tuple[Columns, BoolArray]:
        """One row per line, and which rows are frames. The others hold anything."""

    def explain(self, line: bytes) -> Remark:
        """Why this line, not blank, is no frame. Called for the few, so it may take its time."""


def columns(
    time_ns: IntArray, bus: IntArray, can_id: IntArray, flags: IntArray, length: IntArray, data: npt.NDArray[np.uint8]
) -> Columns:
    """Columns narrowed to the widths of a FrameBatch; rows that are no frames may wrap."""
    return Columns(
        time_ns,
        bus.astype(np.uint8),
        can_id.astype(np.uint32),
        flags.astype(np.uint8),
        length.astype(np.uint8),
        data,
    )


def id_in_range(can_id: IntArray, flags: IntArray) -> BoolArray:
    return can_id <= np.where(flags & EXTENDED, EXTENDED_ID_MAX, STANDARD_ID_MAX)
