"""A car that drives and charges by turns, as a candump log: several sessions a minute, and a power cut hits one.

In:  how many turns. Out: the text of a log, a Leaf's frames as the simulator makes them, at a pace that an emulated
computer follows. Nothing in it counts upwards, so it may be played again and again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from packbox.core.stamp import NS_PER_S
from packbox.sim.car import AC, MODELS, PARK, Awake, CarModel
from packbox.sim.car import DRIVE as IN_DRIVE
from packbox.sim.frames import Columns, Rates, Sender, encode
from packbox.sim.pack import PackHealth
from packbox.sim.source import voices
from rig.driving import log_of

MODEL: Final = "leaf-24"
TURN_S: Final = 12  # a session is certain after ten seconds, and ends where the next one is certain
PACE: Final = Rates(drive_s=0.2, charge_s=0.2, slow_s=1.0, polls_s=1e9, chunk_s=60.0)
DRIVE_A: Final = -20.0
CHARGE_A: Final = 15.0
PACK: Final = PackHealth(capacity_ah=58.0, resistance_ohm=0.1)


def errands(turns: int) -> bytes:
    """Drive, charge, drive and so on, `TURN_S` each."""
    model = MODELS[MODEL]
    senders, _ = voices(model, seed=1)
    return log_of(frame for turn in range(turns) for frame in frames_of(_turn(model, turn), senders))


def frames_of(awake: Awake, senders: list[Sender]) -> Iterator[tuple[float, int, bytes]]:
    columns: Columns = encode(awake, senders, [], PACE, awake.start_ms, awake.end_ms)
    for k in range(len(columns)):
        data = columns.data[k, : int(columns.length[k])].tobytes()
        yield int(columns.wall_ns[k]) / NS_PER_S, int(columns.can_id[k]), data


def _turn(model: CarModel, turn: int) -> Awake:
    drives = turn % 2 == 0
    knots = np.ones(TURN_S + 1)
    current_a = knots * (DRIVE_A if drives else CHARGE_A)
    return Awake(
        start_ms=turn * TURN_S * 1000,
        step_s=1.0,
        current_a=current_a,
        sensed_a=current_a,
        voltage_v=knots * 370.0,
        soc=knots * 0.6,
        soc_bms_pct=knots * 60.0,
        temp_degc=knots * 20.0,
        speed_kmh=knots * (40.0 if drives else 0.0),
        odometer_km=knots * 30_000.0,
        gear=np.full(TURN_S + 1, IN_DRIVE if drives else PARK),
        charge_kind=np.full(TURN_S + 1, 0 if drives else AC),
        plugged=not drives,
        car_on=True,  # else its speed falls silent, and the last one counts for a while
        ambient_degc=15.0,
        truth=PACK,
        bms_capacity_ah=PACK.capacity_ah,
        charges_ac=100,
        charges_dc=10,
    )
