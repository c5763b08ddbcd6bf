"""When something happened, by both clocks.

A Pi has no battery-backed clock: the wall clock jumps when the network comes. Durations come from the monotonic
part, calendar from the wall part, and monotonic times of two boots are never compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NewType

BootId = NewType("BootId", str)  # 16 hex digits

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Stamp:
    boot: BootId
    mono_ns: int
    wall_ms: int | None  # UTC since 1970; None until the clock was set since boot


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; no frame need have come. Lets sessions close and days end on a silent bus."""

    stamp: Stamp
