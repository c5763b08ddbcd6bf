"""Clocks for tests: one that stands still until told to go, one that is the event loop's, and a Pi's bad ones.

`SimMachine` stands under the real `SystemClock`: a crystal that drifts, and a wall clock that is late or wrong until
somebody sets it, rightly or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import numpy as np

from packbox.clock import is_of_this_boot
from packbox.core.frames import IntArray
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


class SimMachine:
    """`clock.Machine` of one boot. `true_ms`: what a perfect clock shows; `wrong_ms`: how far the wall clock is off."""

    def __init__(self, boot: BootId, true_ms: Callable[[], float], wrong_ms: float, drift_ppm: float = 0.0) -> None:
        self.boot = boot
        self.booted_ms = true_ms()
        self._true_ms = true_ms
        self._rate = 1 + drift_ppm * 1e-6
        self._offset_ms = self.booted_ms + wrong_ms
        self._mark_ns: int | None = None  # by the wall clock of its moment
        self._vouched = False

    def boottime_ns(self) -> int:
        return round((self._true_ms() - self.booted_ms) * self._rate * NS_PER_MS)

    def realtime_ns(self) -> int:
        return self.boottime_ns() + round(self._offset_ms * NS_PER_MS)

    def synchronized(self) -> bool:
        return is_of_this_boot(self._mark_ns, self.realtime_ns(), self.boottime_ns())

    def vouched(self) -> bool:
        return self._vouched

    def synchronize(self, error_ms: float = 0.0) -> None:
        """NTP sets the wall clock, up to its error; a server that lies has a large one."""
        self._offset_ms = self._true_ms() + error_ms - self.boottime_ns() / NS_PER_MS
        self._mark_ns, self._vouched = self.realtime_ns(), True

    def step(self, by_ms: float) -> None:
        """Somebody sets the wall clock who knows nothing; the kernel calls it unsynchronized from then on."""
        self._offset_ms += by_ms
        self._vouched = False

    def leap(self, by_s: float) -> None:
        """The kernel's own leap second: it stays synchronized."""
        self._offset_ms += by_s * 1000

    def mono_ns_at(self, true_ns: IntArray) -> IntArray:
        """When this boot's clocks receive what truly happens then."""
        mono_ns: IntArray = np.rint((true_ns - round(self.booted_ms * NS_PER_MS)) * self._rate).astype(np.int64)
        return mono_ns

    def true_ms_at(self, mono_ms: float) -> float:
        return self.booted_ms + mono_ms / self._rate
