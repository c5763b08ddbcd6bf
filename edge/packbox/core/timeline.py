"""One line of time through jitter, restarts and clocks that run back or leap.

In:  frames and ticks with the monotonic time of their boot, and the wall clock beside it when that is set.
Out: the same frames on the line, whose nanoseconds never fall, and a stamp for any instant of it.
Unseen time is never invented: a restart whose length nobody knows takes no time on the line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from packbox.core.frames import FrameBatch
from packbox.core.stamp import NS_PER_MS, NS_PER_S, BootId, Stamp

JITTER_NS: Final = 2 * NS_PER_S  # several buses and the kernel's queues deliver out of order by less than this
LEAP_NS: Final = 366 * 86_400 * NS_PER_S  # a longer silence is a broken time stamp, not a parked car
CLOCK_STEP_MS: Final = 1000  # a wall clock that moved by less was only disciplined, not set
ERAS_KEPT: Final = 32  # a source that runs back again and again must not grow the state


@dataclass(frozen=True, slots=True)
class Era:
    """A stretch of the line on which one boot's clock ran on without a step."""

    begin_ns: int
    boot: BootId
    shift_ns: int  # line = source time + shift; whole seconds, so that the seconds of both agree
    base_ns: int  # monotonic time in stamps = line - base: never falls within a boot and is never negative
    wall_offset_ms: int | None

    def stamp(self, at_ns: int) -> Stamp:
        source_ms = (at_ns - self.shift_ns) // NS_PER_MS
        wall_ms = None if self.wall_offset_ms is None else source_ms + self.wall_offset_ms
        return Stamp(self.boot, max(at_ns - self.base_ns, 0), wall_ms)


@dataclass(frozen=True, slots=True)
class Timeline:
    eras: tuple[Era, ...]  # oldest first, never empty; past ones are kept while something open began in them
    high_ns: int  # no frame comes onto the line before this any more
    clamped_frames: int = 0  # came late by no more than the jitter and were moved to `high_ns`

    @property
    def now(self) -> Era:
        return self.eras[-1]

    def covers(self, at_ns: int) -> bool:
        """Whether the era of this instant is still known."""
        return self.eras[0].begin_ns // NS_PER_S <= at_ns // NS_PER_S

    def stamp(self, at_ns: int) -> Stamp:
        return next((e for e in reversed(self.eras) if e.begin_ns <= at_ns), self.eras[0]).stamp(at_ns)


def begin(boot: BootId, mono_ns: int, wall_offset_ms: int | None) -> Timeline:
    """The line starts at the source's own time."""
    base_ns = min(0, mono_ns // NS_PER_S * NS_PER_S)  # some loggers count up from a negative number
    return Timeline((Era(mono_ns, boot, 0, base_ns, wall_offset_ms),), mono_ns)


def take(line: Timeline, batch: FrameBatch) -> tuple[Timeline, FrameBatch, FrameBatch | None]:
    """Put frames of the present boot onto the line, up to the first that runs back by more than the jitter, or leaps.

    Returns what was put on the line, and what is left from that step on (None: nothing).
    """
    at_ns = batch.mono_ns + line.now.shift_ns
    before_ns = np.maximum.accumulate(np.concatenate(([line.high_ns], at_ns)))[:-1]
    steps = np.flatnonzero((at_ns < before_ns - JITTER_NS) | (at_ns > before_ns + LEAP_NS))
    n = int(steps[0]) if steps.size else len(batch)
    if n == 0:
        return line, batch.pick(slice(0, 0)), batch
    late = int(np.count_nonzero(at_ns[:n] < before_ns[:n]))
    straight = replace(batch.pick(slice(0, n)), mono_ns=np.maximum(at_ns, before_ns)[:n])
    line = replace(line, high_ns=int(straight.mono_ns[-1]), clamped_frames=line.clamped_frames + late)
    return line, straight, batch.pick(slice(n, None)) if steps.size else None


def step(line: Timeline, mono_ns: int) -> Timeline:
    """The source's time stepped to `mono_ns`: go on at the next whole second, no time added."""
    shift_ns = _next_second(line.high_ns) - mono_ns // NS_PER_S * NS_PER_S
    return _enter(line, replace(line.now, begin_ns=mono_ns + shift_ns, shift_ns=shift_ns))


def reboot(line: Timeline, boot: BootId, mono_ns: int, wall_offset_ms: int | None) -> tuple[Timeline, bool]:
    """A new boot begins. The second value tells whether the length of the gap is known (from both wall clocks)."""
    second_ns = mono_ns // NS_PER_S * NS_PER_S
    least_ns = _next_second(line.high_ns) - second_ns
    last_ms = line.now.stamp(line.high_ns).wall_ms
    known = False
    shift_ns = least_ns
    if last_ms is not None and wall_offset_ms is not None:
        gap_ms = mono_ns // NS_PER_MS + wall_offset_ms - last_ms
        known = -JITTER_NS <= gap_ms * NS_PER_MS <= LEAP_NS  # a clock that was set wrong knows nothing about the gap
        if known:
            shift_ns = max(least_ns, (line.high_ns + gap_ms * NS_PER_MS - mono_ns) // NS_PER_S * NS_PER_S)
    base_ns = shift_ns + min(0, second_ns)
    return _enter(line, Era(mono_ns + shift_ns, boot, shift_ns, base_ns, wall_offset_ms)), known


def set_wall(line: Timeline, wall_offset_ms: int | None) -> tuple[Timeline, int | None]:
    """Take over a newer wall clock. The second value: by how much it contradicts what was known, 0 when nothing was.

    None: it was only disciplined, or says nothing new.
    """
    old_ms = line.now.wall_offset_ms
    if wall_offset_ms is None or wall_offset_ms == old_ms:
        return line, None
    after = replace(line, eras=(*line.eras[:-1], replace(line.now, wall_offset_ms=wall_offset_ms)))
    moved_ms = 0 if old_ms is None else wall_offset_ms - old_ms
    return after, moved_ms if old_ms is None or abs(moved_ms) >= CLOCK_STEP_MS else None


def forget(line: Timeline, before_ns: int) -> Timeline:
    """Drop eras that ended before anything still open began."""
    needed = [i for i, era in enumerate(line.eras) if era.begin_ns <= before_ns]
    keep_from = max(needed[-1] if needed else 0, len(line.eras) - ERAS_KEPT)
    return replace(line, eras=line.eras[keep_from:]) if keep_from else line


def _enter(line: Timeline, era: Era) -> Timeline:
    return replace(line, eras=(*line.eras, era), high_ns=era.begin_ns)


def _next_second(at_ns: int) -> int:
    return (at_ns // NS_PER_S + 1) * NS_PER_S
