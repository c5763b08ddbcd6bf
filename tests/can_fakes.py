"""A clock for the live sources, and frames as the kernel lays them out."""

from __future__ import annotations

import struct
import time

from packbox.core.stamp import BootId, Stamp

BOOT = BootId("00000000000000b0")


class FakeClock:
    """`ports.FrameClock` whose kernel side is the real one, as frames stamped by the real kernel need it."""

    def __init__(self, mono_ahead_ns: int = 0, wall_ms: int | None = None) -> None:
        self.mono_ahead_ns = mono_ahead_ns
        self.wall_ms = wall_ms
        self.ticks = 0

    def now(self) -> Stamp:
        self.ticks += 1
        return Stamp(BOOT, time.monotonic_ns() + self.mono_ahead_ns, self.wall_ms)

    def system_ns(self) -> int:
        return time.time_ns()


def can_frame(can_id: int, data: bytes) -> bytes:
    """struct can_frame."""
    return struct.pack("=IBxxx8s", can_id, len(data), data)


def canfd_frame(can_id: int, data: bytes, flags: int = 0) -> bytes:
    """struct canfd_frame."""
    return struct.pack("=IBBxx64s", can_id, len(data), flags, data)
