"""A week of a car in short: each day one drive and one charge, of which a rig sees some seconds.

In:  which day, counted from 0, and what the car does then. Out: a candump log of it.
Distance and charge go on between what is seen, as they do for a box that was switched off: nothing is made shorter.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

import numpy as np

from packbox.sim.car import AC, DRIVE, MODELS, PARK, Awake
from packbox.sim.pack import PackHealth
from packbox.sim.source import voices
from rig.driving import log_of
from rig.errands import MODEL, frames_of
from rig.logs import Frame

DAYS: Final = 7
SCENE_S: Final = 20  # a drive or a charge is certain after ten seconds, and ends what was before
KM_A_DAY: Final = 37.0
PACK: Final = PackHealth(capacity_ah=58.0, resistance_ohm=0.1)


class Does(enum.Enum):
    DRIVE = enum.auto()
    CHARGE = enum.auto()  # this car does not broadcast its plug: a charge is over when it drives again


def log_of_day(day: int, *does: Does) -> bytes:
    return log_of(frame for place, what in enumerate(does) for frame in _frames(day, what, place * SCENE_S))


def _frames(day: int, does: Does, from_s: int) -> Iterator[Frame]:
    senders, _ = voices(MODELS[MODEL], seed=1)
    return frames_of(_awake(day, does, from_s), senders)


def _awake(day: int, does: Does, from_s: int) -> Awake:
    knots = np.ones(SCENE_S + 1)
    drives, charges = does is Does.DRIVE, does is Does.CHARGE
    current_a = knots * (-20.0 if drives else 15.0 if charges else 0.0)
    soc = 0.8 if drives else 0.6
    return Awake(
        start_ms=from_s * 1000,
        step_s=1.0,
        current_a=current_a,
        sensed_a=current_a,
        voltage_v=knots * 370.0,
        soc=knots * soc,
        soc_bms_pct=knots * soc * 100,
        temp_degc=knots * 20.0,
        speed_kmh=knots * (40.0 if drives else 0.0),
        odometer_km=knots * (30_000.0 + KM_A_DAY * (day if drives else day + 1)),
        gear=np.full(SCENE_S + 1, DRIVE if drives else PARK),
        charge_kind=np.full(SCENE_S + 1, AC if charges else 0),
        plugged=charges,
        car_on=True,  # else its speed falls silent, and the last one counts for a while
        ambient_degc=15.0,
        truth=PACK,
        bms_capacity_ah=PACK.capacity_ah,
        charges_ac=100 + day,
        charges_dc=10,
    )
