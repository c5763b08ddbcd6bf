"""Clocks for tests: one that stands still until told to go, and one that is the event loop's."""

from __future__ import annotations

import asyncio
from typing import Final

from packbox.core.stamp import NS_PER_MS, NS_PER_S, BootId, Stamp

SIM_BOOT: Final = BootId("b007" * 4)


class SimClock:
    """`ports.Clock`. `wall_ms` None: the wall clock was not set since boot."""

    def __init__(self, boot: BootId = SIM_BOOT, mono_ns: int = 0, wall_ms: int | None = None) -> None:
        self.boot = boot
        self.mono_ns = mono_ns
        self.wall_ms = wall_ms

    def now(self) -> Stamp:
        return Stamp(self.boot, self.mono_ns, self.wall_ms)

    def go(self, seconds: float) -> None:
        step_ns = round(seconds * NS_PER_S)
        self.mono_ns += step_ns
        if self.wall_ms is not None:
            self.wall_ms += step_ns // NS_PER_MS


class LoopClock:
    """`ports.Clock` that is the event loop's: under virtual time a drive takes no time."""

    def now(self) -> Stamp:
        return Stamp(SIM_BOOT, round(asyncio.get_running_loop().time() * NS_PER_S), None)
