"""A car's frames as a candump log, for `canplayer`: paced by its C program, exact to the frame.

In:  how many frames, how often. Out: the text of a log; what was sent is known before anybody hears it.
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
    car.run(f"canplayer -I {LOG} {bus}=car", within_s=within_s)
