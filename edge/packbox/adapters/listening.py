"""What every live source of frames does alike: put kernel times on the box's clock, and count what was seen and lost.

The kernel stamps a frame with the wall clock, which jumps when the network comes. A frame lies between the last moment
its queue was seen empty and now; the stamp is turned by the clocks read now, else by those read then, and where neither
puts it there the frame gets the time of reading and is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from packbox.adapters.can_errors import NO_ERRORS, BusErrors
from packbox.core.frames import BoolArray, FrameBatch, IntArray
from packbox.core.stamp import NS_PER_MS, NS_PER_S, Stamp
from packbox.ports import FrameClock

BATCH_FRAMES: Final = 4096
GATHER_S: Final = 0.25  # four wake-ups a second: a sample is made once a second, and a Pi idles in between
TICK_S: Final = 1.0  # sessions close and days end on a silent bus too
_EARLY_NS: Final = NS_PER_S // 10  # stamped before we looked, queued after
_LATE_NS: Final = NS_PER_MS  # the two clocks are read one after the other


@dataclass(frozen=True, slots=True)
class BusCounts:
    """A live source since it was made."""

    frames: int = 0  # handed out, error frames among them
    error_frames: int = 0
    errors: BusErrors = NO_ERRORS  # what they report
    dropped: int = 0  # lost in a full queue, the kernel's or ours
    restamped: int = 0  # the kernel's time made no sense: time of reading instead


class Reading(NamedTuple):
    """Both clocks, read together."""

    stamp: Stamp
    system_ns: int

    @property
    def ahead_ns(self) -> int:
        """What turns a kernel time into a box time."""
        return self.stamp.mono_ns - self.system_ns


def read_clocks(clock: FrameClock) -> Reading:
    return Reading(clock.now(), clock.system_ns())


def on_box_clock(kernel_ns: IntArray, empty: Reading, now: Reading) -> tuple[IntArray, int]:
    """Box times of frames that came after `empty` and were read by `now`, and how many had to take the time of now."""
    mono_ns = kernel_ns + now.ahead_ns
    sound = _between(mono_ns, empty, now)
    if not sound.all():  # the wall clock was set in between: these came before it was
        before = kernel_ns + empty.ahead_ns
        mono_ns = np.where(sound, mono_ns, before)
        sound |= _between(before, empty, now)
    return np.where(sound, mono_ns, now.stamp.mono_ns), int(np.count_nonzero(~sound))


def _between(mono_ns: IntArray, empty: Reading, now: Reading) -> BoolArray:
    return (mono_ns >= empty.stamp.mono_ns - _EARLY_NS) & (mono_ns <= now.stamp.mono_ns + _LATE_NS)


def wall_offset_ms(stamp: Stamp) -> int | None:
    """`FrameBatch.wall_offset_ms` as the clock stands."""
    return None if stamp.wall_ms is None else stamp.wall_ms - stamp.mono_ns // NS_PER_MS


def in_time_order(batch: FrameBatch) -> FrameBatch:
    """Frames of several queues, read one queue after the other, as they came."""
    return batch.pick(np.argsort(batch.mono_ns, kind="stable"))
