"""What a simulated car does on a bench: its day, one drive, one charge, or nothing.

In:  a car, a scenario, how many times faster than life.
Out: stretches of its life, with frames at the car's own periods; what a control unit would answer at any moment.

Faster than life the values run faster, never the frames: who counts charge on the bus then sees too little of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray
from packbox.core.profile import Poll
from packbox.sim.car import AC, IMIEV_16, LEAF_24, LEAF_62, Asleep, Awake, CarModel, SimCar
from packbox.sim.driver import HOUR_MS
from packbox.sim.frames import REAL, Columns, Rates, Seen, encode
from packbox.sim.frames import Poll as Question
from packbox.sim.obd import ObdUnit
from packbox.sim.source import voices

FIRST_DAY: Final = (date(2026, 1, 5) - date(1970, 1, 1)).days  # a Monday: a workday first, the same on every day
LIGHT: Final = Rates(0.1, 0.1, 0.1, REAL.polls_s, REAL.chunk_s)  # each id ten times a second at most
AUX_VOLTAGE_V: Final = 14.2  # the DC/DC converter runs
_STANDARD_SERVICES: Final = (0x01, 0x09)

# Whose frames we can make. Every other family answers what its profile asks, with the values of STAND_IN.
BROADCASTING: Final[Mapping[str, tuple[CarModel, ...]]] = {
    "nissan-leaf": (LEAF_24, LEAF_62),
    "mitsubishi-imiev": (IMIEV_16,),
}
STAND_IN: Final = LEAF_62


class Scenario(StrEnum):
    DAY = "day"  # from the first drive on, day after day
    DRIVE = "drive"
    CHARGE = "charge"
    PARKED = "parked"


def scenes(car: SimCar, scenario: Scenario) -> Iterator[Awake | Asleep]:
    """A day begins with something to see; a parked car stays parked for good."""
    begin_ms = car.day_begins_ms(0)
    life = car.stretches(begin_ms)
    if scenario is Scenario.PARKED:
        while True:
            yield Asleep(begin_ms, begin_ms + HOUR_MS)
    plugged = {Scenario.DRIVE: (False,), Scenario.CHARGE: (True,), Scenario.DAY: (False, True)}[scenario]
    yield next(scene for scene in life if isinstance(scene, Awake) and scene.plugged in plugged)
    if scenario is Scenario.DAY:
        yield from life


@dataclass(frozen=True, slots=True)
class Told:
    """A scene in words."""

    what: str
    minutes: float


def told(scene: Awake | Asleep) -> Told:
    minutes = (scene.end_ms - scene.start_ms) / 60_000
    if isinstance(scene, Asleep):
        return Told("parked, the bus is silent", minutes)
    span = f"{scene.soc_bms_pct[0]:.1f} to {scene.soc_bms_pct[-1]:.1f} %"
    if scene.plugged:
        return Told(f"charging ({'AC' if (scene.charge_kind == AC).any() else 'DC'}), {span}", minutes)
    return Told(f"driving {scene.odometer_km[-1] - scene.odometer_km[0]:.1f} km, {span}", minutes)


class Playing:
    """One awake stretch as it is heard on a bus. Times are seconds of the bus since it began."""

    def __init__(self, scene: Awake, model: CarModel, seed: int, speed: float, rates: Rates, *, silent: bool) -> None:
        """`silent`: a gateway stands before the plug, nothing is broadcast there."""
        self._scene = replace(scene, start_ms=0, step_s=scene.step_s / speed)
        self._model = model
        senders, self._questions = voices(model, seed)
        self._senders = [] if silent else senders
        self._rates = rates

    @property
    def seconds(self) -> float:
        return self._scene.seconds

    def frames(self, from_s: float, to_s: float) -> Columns:
        return encode(self._scene, self._senders, [], self._rates, round(from_s * 1000), round(to_s * 1000))

    def own_answer(self, poll: Poll, at_s: float) -> bytes | None:
        """The family's answer to the byte, where its simulator knows it."""
        for question in self._questions:
            if question.tx == poll.tx_key and question.request == poll.request:
                return _answer(question, self._seen(at_s))
        return None

    def truth(self, at_s: float) -> dict[str, float]:
        """By quantity, as the car's own units believe it."""
        seen, scene = self._seen(at_s), self._scene
        current_a, voltage_v = _one(seen, scene.sensed_a), _one(seen, scene.voltage_v)
        soc_pct, temp_degc = _one(seen, scene.soc_bms_pct), _one(seen, scene.temp_degc)
        cell_v = voltage_v / self._model.pack.cells
        full_kwh = scene.bms_capacity_ah * cell_v * self._model.pack.cells / 1000
        kind = int(seen.held(scene.charge_kind)[0])
        return {
            "pack_current_a": current_a,
            "pack_voltage_v": voltage_v,
            "soc_bms_pct": soc_pct,
            "soc_shown_pct": soc_pct,
            "cell_voltage_min_v": cell_v - 0.006,
            "cell_voltage_max_v": cell_v + 0.006,
            "pack_temp_min_degc": temp_degc - 1,
            "pack_temp_mean_degc": temp_degc,
            "pack_temp_max_degc": temp_degc + 1,
            "soh_reported_pct": 100 * scene.bms_capacity_ah / self._model.pack.capacity_new_ah,
            "capacity_reported_ah": scene.bms_capacity_ah,
            "energy_full_kwh": full_kwh,
            "energy_left_kwh": full_kwh * soc_pct / 100,
            "charge_left_ah": scene.bms_capacity_ah * soc_pct / 100,
            "charger_power_kw": max(0.0, current_a * voltage_v / 1000) if kind else 0.0,
            "charge_kind": kind,
            "plugged": float(scene.plugged),
            "gear": float(seen.held(scene.gear)[0]),
            "contactor_closed": 1.0,
            "car_on": float(scene.car_on),
            "speed_kmh": _one(seen, scene.speed_kmh),
            "odometer_km": _one(seen, scene.odometer_km),
            "ambient_temp_degc": scene.ambient_degc,
            "aux_voltage_v": AUX_VOLTAGE_V,
            "isolation_kohm": 4400.0,
            "charge_count_ac": float(scene.charges_ac),
            "charge_count_dc": float(scene.charges_dc),
        }

    def _seen(self, at_s: float) -> Seen:
        return Seen(self._scene, np.zeros(1, np.int64), np.array([min(max(at_s, 0.0), self.seconds)]))


def answers_of(own: Callable[[Poll], bytes | None], standard: ObdUnit, family: str) -> Callable[[Poll], bytes | None]:
    """One car has one VIN and one speed: what any app may ask is answered by the same unit, whoever asks."""

    def answer(poll: Poll) -> bytes | None:
        if poll.request[0] in _STANDARD_SERVICES or family == "generic-obd":
            return standard.answer(poll.request, to_all=False)
        return own(poll)

    return answer


def _answer(question: Question, seen: Seen) -> bytes:
    return bytes(question.answer(seen)[0])


def _one(seen: Seen, column: FloatArray) -> float:
    return float(seen.smooth(column)[0])
