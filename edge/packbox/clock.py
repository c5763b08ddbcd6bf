"""The only module that reads a clock. Everybody else is handed stamps.

Out: `Stamp` with the boot's id, CLOCK_BOOTTIME (goes on while the machine sleeps) and the wall clock, or None for it
until somebody who knows has set it: after a power cut a Pi shows the time of its last shutdown, which looks valid.
Known, with `auto`: the kernel says the clock is disciplined (adjtimex, any NTP program, GNSS or PTP), or
systemd-timesyncd left its mark in this boot. Once known it stays known: hours without NTP do not unset a clock.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

from packbox.core.stamp import NS_PER_MS, BootId, Stamp

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
TIMESYNC_MARK: Final = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd.service(8)
ASK_EVERY_NS: Final = 1_000_000_000  # the wall clock becomes known within this; now() is called per batch of frames
TIME_ERROR: Final = 5  # adjtimex(2): clock not synchronized
STA_UNSYNC: Final = 0x0040
STA_CLOCKERR: Final = 0x1000


class ClockTrust(StrEnum):
    """When the wall clock is believed."""

    AUTO = "auto"  # when the system says it is synchronized
    ALWAYS = "always"  # there is a battery-backed clock that somebody looks after


class SystemClock:
    """`ports.FrameClock` of a Linux machine."""

    def __init__(self, trust: ClockTrust = ClockTrust.AUTO, synchronized: Callable[[], bool] | None = None) -> None:
        self.boot = read_boot_id()
        self._known = trust is ClockTrust.ALWAYS
        self._synchronized = synchronized if synchronized is not None else system_synchronized
        self._ask_ns = 0

    def now(self) -> Stamp:
        mono_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if not self._known and mono_ns >= self._ask_ns:
            self._ask_ns = mono_ns + ASK_EVERY_NS
            self._known = self._synchronized()
        return Stamp(self.boot, mono_ns, time.time_ns() // NS_PER_MS if self._known else None)

    def system_ns(self) -> int:
        return time.time_ns()


def read_boot_id(path: Path = BOOT_ID_FILE) -> BootId:
    """The kernel's random id of this boot, its first 16 digits: `journalctl --list-boots` shows the same ones.

    Every process gets the same id until the machine starts again, as CLOCK_BOOTTIME goes on as long.
    """
    return BootId(path.read_text(encoding="ascii").strip().replace("-", "")[:16])


def system_synchronized() -> bool:
    """Whether somebody disciplines the wall clock. False also when nobody can tell."""
    return TIMESYNC_MARK.exists() or _kernel_synchronized()


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
    state = int(ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(answer)))
    return 0 <= state < TIME_ERROR and not answer.status & (STA_UNSYNC | STA_CLOCKERR)
