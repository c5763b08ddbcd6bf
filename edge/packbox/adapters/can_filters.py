"""Which ids the kernel lets through: its filters, and how more ids than it has room for are folded into them.

In:  ids, or groups of ids under a mask.
Out: filters for CAN_RAW_FILTER. Every id asked for passes; where ids had to share a filter, some others pass too.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

FILTER_MAX: Final = 512  # CAN_RAW_FILTER_MAX, linux/can/raw.h
ID_BITS: Final = 0x1FFFFFFF
STANDARD_ID_BITS: Final = 0x7FF
EFF_FLAG: Final = 0x80000000
RTR_FLAG: Final = 0x40000000
_FILTER: Final = struct.Struct("=II")  # struct can_filter, linux/can.h


@dataclass(frozen=True, slots=True)
class IdFilter:
    """Frames whose id has `can_id`'s bits under `mask`."""

    can_id: int
    mask: int
    extended: bool = False


def exactly(can_id: int, *, extended: bool = False) -> IdFilter:
    return IdFilter(can_id, ID_BITS if extended else STANDARD_ID_BITS, extended)


def fold(filters: Collection[IdFilter], limit: int = FILTER_MAX) -> tuple[IdFilter, ...]:
    """At most `limit` filters: bit by bit is looked away from, always the one that lets the most filters become one."""
    folded = set(filters)
    while len(folded) > limit:
        folded = min((_without(folded, 1 << bit) for bit in range(ID_BITS.bit_length())), key=len)
    return tuple(sorted(folded, key=lambda f: (f.extended, f.can_id, f.mask)))


def _without(filters: Iterable[IdFilter], bit: int) -> set[IdFilter]:
    return {replace(f, can_id=f.can_id & ~bit, mask=f.mask & ~bit) for f in filters}


def pack_filters(filters: Iterable[IdFilter]) -> bytes:
    """struct can_filter each. With both flags in the mask the kernel finds an exact id by table (net/can/af_can.c)."""
    return b"".join(
        _FILTER.pack(f.can_id | (EFF_FLAG if f.extended else 0), f.mask | EFF_FLAG | RTR_FLAG) for f in filters
    )
