"""What a second of the pack's life looks like: charging, moving, plugged, off.

In:  samples. Out: one `Sight` per row. Says what is seen, not what it means: `segment` decides that.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from packbox.core.frames import IntArray
from packbox.core.sample import Col, Samples

STANDSTILL_KMH: Final = 0.5
FILL_MIN_A: Final = 0.5  # facts/vehicles.md §2
DRIVE_MIN_A: Final = 20.0  # where neither speed, gear nor ignition is known: above 6 kW to a house or a heater


class Sight(IntEnum):
    """What one second shows."""

    STILL = 0  # awake, nothing known against going on
    PLUGGED = 1  # plug reported in, no charge
    OUT = 2  # plug reported out
    OFF = 3  # car reported off, plug not reported
    OFF_OUT = 4  # car off and plug out
    CHARGE = 5  # the car says that it charges
    FILL = 6  # no word from the car, but current flows in while it stands in P
    MOVE = 7
    UNSEEN = 8  # no frames (never the sight of a sample)


def sights(samples: Samples) -> IntArray:
    """The sight of each row, shape (n,). A comparison with NaN is false: unknown proves nothing."""
    speed, gear = np.abs(samples.column(Col.SPEED_KMH)), samples.column(Col.GEAR)
    on, plug = samples.column(Col.CAR_ON), samples.column(Col.PLUGGED)
    kind, current = samples.column(Col.CHARGE_KIND), samples.column(Col.CURRENT_A)
    off = on == 0
    rolls = speed > STANDSTILL_KMH
    in_drive = (gear == 1) | (gear >= 3)
    guessed = np.isnan(gear) & ~off & (current <= -DRIVE_MIN_A)
    move = rolls | (np.isnan(speed) & ((in_drive & ~off) | guessed))
    fill = np.isnan(kind) & (current >= FILL_MIN_A) & (np.isnan(gear) | (gear == 0))
    quiet = np.where(
        plug == 1,
        int(Sight.PLUGGED),
        np.where(
            plug == 0,
            np.where(off, int(Sight.OFF_OUT), int(Sight.OUT)),
            np.where(off, int(Sight.OFF), int(Sight.STILL)),
        ),
    )
    busy = np.where(kind >= 1, int(Sight.CHARGE), np.where(fill, int(Sight.FILL), quiet))
    sight: IntArray = np.where(move, int(Sight.MOVE), busy)
    return sight
