"""A car's frames as a candump log, for `canplayer`: paced by its C program, exact to the frame.

In:  frames, each with its time. Out: the text of a log, played on a bus.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from .machine import Shell

BATTERY: Final = 0x1DB  # of a Leaf: current and voltage, counted and with a checksum
UNKNOWN: Final = 0x6FF  # on that bus, and in no profile
LOG: Final = "/run/hil/frames.log"


def log_of(frames: Iterable[tuple[float, int, bytes]]) -> bytes:
    """(seconds, id, data) each."""
    return "".join(f"({at_s:.6f}) car {can_id:03X}#{data.hex().upper()}\n" for at_s, can_id, data in frames).encode()


def play(car: Shell, log: bytes, bus: str, *, within_s: float) -> None:
    """Comes back when all were sent."""
    car.put(LOG, log)
    # More than the ten frames that a controller queues by itself: the player waits no better than that.
    car.run(f"ip link set {bus} txqueuelen 1000\ncanplayer -I {LOG} {bus}=car", within_s=within_s)
