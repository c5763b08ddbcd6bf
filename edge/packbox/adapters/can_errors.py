"""What a controller reports by error frames, counted by class: it tells a sleeping car from a wrong bit rate.

In:  error frames as the kernel lays them out (linux/can/error.h).
Out: `BusErrors`, which add up. A frame may report several things at once.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from packbox.core.frames import BoolArray

# Classes are bits of the id; CRTL has its own bits in data byte 1.
ALL_CLASSES: Final = 0x1FFFFFFF
CRTL: Final = 0x004
PROT: Final = 0x008
ACK: Final = 0x020
BUS_OFF: Final = 0x040
BUS_ERROR: Final = 0x080
RESTARTED: Final = 0x100
CRTL_OVERRUN: Final = 0x01
CRTL_WARNING: Final = 0x04 | 0x08
CRTL_PASSIVE: Final = 0x10 | 0x20


@dataclass(frozen=True, slots=True)
class BusErrors:
    """Error frames by what they report."""

    protocol: int = 0  # bit, stuff, form, CRC: noise, or a wrong bit rate
    no_ack: int = 0  # nobody else is awake on the bus
    overrun: int = 0  # the controller had no room: frames are missing
    warning: int = 0  # 96 errors counted
    passive: int = 0  # 128 errors counted
    bus_off: int = 0  # the controller has left the bus
    restarted: int = 0

    def __add__(self, other: BusErrors) -> BusErrors:
        return BusErrors(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


NO_ERRORS: Final = BusErrors()


def count_errors(can_id: npt.NDArray[np.uint32], data: npt.NDArray[np.uint8]) -> BusErrors:
    """Of n error frames: ids (n,), data (n, 8 or more)."""
    controller = np.where(can_id & CRTL, data[:, 1], 0)
    no_ack, overrun = can_id & ACK > 0, controller & CRTL_OVERRUN > 0
    protocol = can_id & (PROT | BUS_ERROR) > 0  # drivers set these beside the other two as well
    return BusErrors(
        protocol=_count(protocol & ~no_ack & ~overrun),
        no_ack=_count(no_ack),
        overrun=_count(overrun),
        warning=_count(controller & CRTL_WARNING > 0),
        passive=_count(controller & CRTL_PASSIVE > 0),
        bus_off=_count(can_id & BUS_OFF > 0),
        restarted=_count(can_id & RESTARTED > 0),
    )


def _count(which: BoolArray) -> int:
    return int(np.count_nonzero(which))
