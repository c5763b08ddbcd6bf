"""A week of a car in short: each day one drive and one charge, of which a rig sees some seconds.

In:  which day, counted from 0. Out: candump logs of that day's drive, and of its charge until the plug is out.
Distance and charge go on between what is seen, as they do for a box that was switched off: nothing is made shorter.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from packbox.sim.car import AC, DRIVE, MODELS, PARK, Awake
from packbox.sim.pack import PackHealth
from packbox.sim.source import voices
from rig.driving import log_of
from rig.errands import MODEL, frames_of

DAYS: Final = 7
DRIVE_S: Final = 20  # a drive is certain after ten seconds
CHARGE_S: Final = 20
PLUG_OUT_S: Final = 20  # a charge is over ten seconds after the plug is out
KM_A_DAY: Final = 37.0
DRIVE_A: Final = -20.0
CHARGE_A: Final = 15.0
PACK: Final = PackHealth(capacity_ah=58.0, resistance_ohm=0.1)


def drive(day: int) -> bytes:
    return _log(_awake(day, DRIVE_S, DRIVE_A, soc=0.8, speed_kmh=40.0))


def charge(day: int) -> bytes:
    return _log(_awake(day, CHARGE_S, CHARGE_A, soc=0.6, plugged=True))


def plug_out(day: int) -> bytes:
    """The car stands unplugged, is still awake, and then sleeps."""
    return _log(_awake(day, PLUG_OUT_S, 0.0, soc=0.8))


def _log(awake: Awake) -> bytes:
    senders, _ = voices(MODELS[MODEL], seed=1)
    return log_of(frames_of(awake, senders))


def _awake(
    day: int, seconds: int, current_a: float, *, soc: float, speed_kmh: float = 0.0, plugged: bool = False
) -> Awake:
    knots = np.ones(seconds + 1)
    return Awake(
        start_ms=0,
        step_s=1.0,
        current_a=knots * current_a,
        sensed_a=knots * current_a,
        voltage_v=knots * 370.0,
        soc=knots * soc,
        soc_bms_pct=knots * soc * 100,
        temp_degc=knots * 20.0,
        speed_kmh=knots * speed_kmh,
        odometer_km=knots * (30_000.0 + KM_A_DAY * (day + (not speed_kmh))),
        gear=np.full(seconds + 1, DRIVE if speed_kmh else PARK),
        charge_kind=np.full(seconds + 1, AC if plugged else 0),
        plugged=plugged,
        car_on=not plugged,
        ambient_degc=15.0,
        truth=PACK,
        bms_capacity_ah=PACK.capacity_ah,
        charges_ac=100 + day,
        charges_dc=10,
    )
