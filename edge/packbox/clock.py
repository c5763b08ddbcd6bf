"""The only module that reads a clock. Everybody else is handed stamps.

Out: `Stamp` with the boot's id, CLOCK_BOOTTIME (goes on while the machine sleeps) and the wall clock, or None for it
until somebody who knows has set it: after a power cut a Pi shows the time of its last shutdown, which looks valid.
Known, with `auto`: the kernel says the clock is disciplined (adjtimex, any NTP program, GNSS or PTP), or
systemd-timesyncd left its mark in this boot. Once known it stays known: hours without NTP do not unset a clock.
Refuses: a wall clock that stepped without anybody who knows having said so (`date -s`, a wrong RTC read late): then
the calendar goes on from what was known, by the monotonic clock. A mark that the wall clock puts before this boot or
into the future: somebody moved the clock after it. And any time before this software was written.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from packbox.core.stamp import NS_PER_MS, BootId, Stamp

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
TIMESYNC_MARK: Final = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd.service(8)
ASK_EVERY_NS: Final = 1_000_000_000  # the wall clock becomes known within this; now() is called per batch of frames
TIME_ERROR: Final = 5  # adjtimex(2): clock not synchronized
STA_UNSYNC: Final = 0x0040
STA_CLOCKERR: Final = 0x1000
STEP_NS: Final = 1_000_000_000  # less than this since somebody vouched is followed unasked: a slew, `adjtimex` by hand
EARLIEST_NS: Final = 1_767_225_600 * 1_000_000_000  # 2026-01-01: no box ran this software before


class ClockTrust(StrEnum):
    """When the wall clock is believed."""

    AUTO = "auto"  # when the system says it is synchronized
    ALWAYS = "always"  # there is a battery-backed clock that somebody looks after


class Machine(Protocol):
    """The clocks of one boot and what the system knows about them."""

    @property
    def boot(self) -> BootId: ...

    def boottime_ns(self) -> int: ...

    def realtime_ns(self) -> int: ...

    def synchronized(self) -> bool:
        """Whether somebody who knows has set the wall clock in this boot."""

    def vouched(self) -> bool:
        """Whether somebody who knows stands by the wall clock as it is now; asked at every look."""


class SystemClock:
    """`ports.FrameClock` of a Linux machine."""

    def __init__(
        self,
        trust: ClockTrust = ClockTrust.AUTO,
        synchronized: Callable[[], bool] | None = None,
        machine: Machine | None = None,
    ) -> None:
        """`synchronized`: asked instead of the machine."""
        self._machine = machine if machine is not None else LinuxMachine()
        self.boot = self._machine.boot
        self._always = trust is ClockTrust.ALWAYS
        self._synchronized = synchronized or self._machine.synchronized
        self._vouched = synchronized or self._machine.vouched
        self._offset_ns: int | None = None  # wall - monotonic, as far as it is believed
        self._vouched_ns: int | None = None  # the same, as somebody who knows stood by it last
        self._look_ns = 0

    def now(self) -> Stamp:
        mono_ns = self._machine.boottime_ns()
        if mono_ns >= self._look_ns:
            self._look_ns = mono_ns + ASK_EVERY_NS
            self._look(mono_ns)
        if self._offset_ns is None:
            return Stamp(self.boot, mono_ns, None)
        # Rounded apart, so that their distance stays the same while the clock does: sources hand it on with each batch.
        return Stamp(self.boot, mono_ns, mono_ns // NS_PER_MS + self._offset_ns // NS_PER_MS)

    def system_ns(self) -> int:
        return self._machine.realtime_ns()

    def _look(self, mono_ns: int) -> None:
        """Follow the system's wall clock, where it may be believed."""
        wall_ns = self._machine.realtime_ns()
        offset_ns = wall_ns - mono_ns
        if wall_ns >= EARLIEST_NS and (self._always or self._believed(offset_ns)):
            self._offset_ns = offset_ns

    def _believed(self, offset_ns: int) -> bool:
        if self._vouched() if self._vouched_ns is not None else self._synchronized():
            self._vouched_ns = offset_ns
        return self._vouched_ns is not None and abs(offset_ns - self._vouched_ns) < STEP_NS


class LinuxMachine:
    """`Machine` that we run on."""

    def __init__(self, mark: Path = TIMESYNC_MARK) -> None:
        self.boot = read_boot_id()
        self._mark = mark
        self._mark_ns: int | None = None  # when the mark was touched, as we saw it last

    def boottime_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def realtime_ns(self) -> int:
        return time.time_ns()

    def synchronized(self) -> bool:
        self._mark_ns = self._touched_ns()
        return is_of_this_boot(self._mark_ns, self.realtime_ns(), self.boottime_ns()) or _kernel_synchronized()

    def vouched(self) -> bool:
        """The mark says so once for each touch: systemd-timesyncd touches it with every synchronization."""
        before_ns, self._mark_ns = self._mark_ns, self._touched_ns()
        return _kernel_synchronized() or (self._mark_ns is not None and self._mark_ns != before_ns)

    def _touched_ns(self) -> int | None:
        try:
            return self._mark.stat().st_mtime_ns
        except OSError:
            return None


def is_of_this_boot(touched_ns: int | None, wall_ns: int, uptime_ns: int) -> bool:
    """Whether the wall clock can still be the one by which the mark was touched: it lies in /run, empty at boot."""
    return touched_ns is not None and -STEP_NS < wall_ns - touched_ns < uptime_ns + STEP_NS


def read_boot_id(path: Path = BOOT_ID_FILE) -> BootId:
    """The kernel's random id of this boot, its first 16 digits: `journalctl --list-boots` shows the same ones.

    Every process gets the same id until the machine starts again, as CLOCK_BOOTTIME goes on as long.
    """
    return BootId(path.read_text(encoding="ascii").strip().replace("-", "")[:16])


_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Timex(ctypes.Structure):
    """The head of struct timex (adjtimex(2)); the rest is room for what the kernel writes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_long * 64),
    )


def _kernel_synchronized() -> bool:
    """Asked with modes 0, which needs no right and sets nothing. A sandbox may refuse: then we do not know."""
    answer = _Timex()
    state = int(_LIBC.adjtimex(ctypes.byref(answer)))
    return 0 <= state < TIME_ERROR and not answer.status & (STA_UNSYNC | STA_CLOCKERR)
