"""What a Mitsubishi i-MiEV (Peugeot iOn, Citroën C-Zero) says on its CAN: facts/vehicles.md §4.1.

In:  the car's model. Out: its senders. Nobody polls it: everything needed is broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray, IntArray
from packbox.sim.car import AC, DC, DRIVE, CarModel
from packbox.sim.frames import ByteArray, Seen, Sender, counting, field, noise, pack
from packbox.sim.pack import open_circuit_v

_CELL_MAX: Final = field("0|8@1+", 0.01, 2.10, void=0)
_CELL_MIN: Final = field("8|8@1+", 0.01, 2.10, void=0)
_CURRENT: Final = field("23|16@0+", 0.01, -327.0, void=0)
_VOLTAGE: Final = field("39|16@0+", 0.1, void=0)
_SOC_BMS: Final = field("0|8@1+", 0.5, -5, void=0)
_SOC_SHOWN: Final = field("8|8@1+", 0.5, -5, void=0)
_TEMP_MAX: Final = field("32|8@1+", 1, -50, void=0)
_TEMP_MIN: Final = field("40|8@1+", 1, -50, void=0)
_CAPACITY: Final = field("48|8@1+", 0.5, void=0)
_MODULE: Final = field("0|8@1+", void=0)
_MODULE_TEMP_A: Final = field("16|8@1+", 1, -50, void=0)
_MODULE_TEMP_B: Final = field("24|8@1+", 1, -50, void=0)
_MODULE_TEMP_EARLY: Final = field("8|8@1+", 1, -50, void=0)
_MODULE_CELL_A: Final = field("39|16@0+", 0.005, 2.1, void=0)
_MODULE_CELL_B: Final = field("55|16@0+", 0.005, 2.1, void=0)
_KEY: Final = field("0|8@1+")
_KEY_STATE: Final = field("0|8@1+")
_SPEED_SHOWN: Final = field("8|8@1+", void=255)
_ODOMETER: Final = field("23|24@0+")
_SPEED: Final = field("7|16@0+", 1 / 128)
_GEAR: Final = field("0|8@1+")
_CHARGER_V: Final = field("0|8@1+", 2, void=0)
_MAINS_V: Final = field("8|8@1+")
_CHARGER_A: Final = field("16|8@1+", 0.1)
_MAINS_A: Final = field("48|8@1+", 0.1)
_QUICK: Final = field("0|8@1+")
_QUICK_LIMIT_A: Final = field("16|8@1+")
_CHARGER_TEMP: Final = field("24|8@1+", 1, -40)
_PLUG: Final = field("13|1@1+")
_RANGE: Final = field("56|8@1+", void=255)
_STRANGERS: Final = (0x1A7, 0x3C3, 0x6D0)  # ids that no profile knows
_MAINS_VOLTS: Final = 200.0
_CHARGER_EFFICIENCY: Final = 0.9
_MODULES: Final = 12
_SHORT_MODULES: Final = (6, 12)  # four cells instead of eight


def senders(model: CarModel) -> Sequence[Sender]:
    car = _Imiev(model)
    return [
        Sender(0x373, 10, car.voltage_and_current, often=True),
        Sender(0x374, 100, car.soc_and_capacity),
        *(Sender(0x6E1 + place, 40, partial(car.module, place), burst=len(_modules(place))) for place in range(4)),
        Sender(0x412, 100, car.speed_and_odometer),
        Sender(0x215, 20, car.speed, often=True),
        Sender(0x418, 20, car.gear, length=7),
        Sender(0x101, 100, car.key, length=1),
        Sender(0x389, 100, car.charger),
        Sender(0x697, 100, car.quick_charge),
        Sender(0x286, 100, car.charger_temperature),
        Sender(0x346, 20, car.range_shown),
        *(Sender(can_id, 100, counting) for can_id in _STRANGERS),
    ]


class _Imiev:
    def __init__(self, model: CarModel) -> None:
        self.model = model
        self.cells = model.pack.cells
        self.cell_soc = 0.004 * np.random.default_rng([7, self.cells]).normal(size=self.cells)

    def voltage_and_current(self, seen: Seen) -> ByteArray:
        cells_v = self._cells_v(seen, np.array([self.cell_soc.argmax(), self.cell_soc.argmin()]))
        fields = (
            (_CELL_MAX, cells_v[:, 0]),
            (_CELL_MIN, cells_v[:, 1]),
            (_CURRENT, seen.smooth(seen.awake.sensed_a) + noise(seen.k, 1, 0.05)),
            (_VOLTAGE, seen.smooth(seen.awake.voltage_v)),
        )
        return pack(seen, *fields)

    def soc_and_capacity(self, seen: Seen) -> ByteArray:
        soc_pct = seen.smooth(seen.awake.soc_bms_pct)
        temp_degc = seen.smooth(seen.awake.temp_degc)
        fields = (
            (_SOC_BMS, soc_pct),
            (_SOC_SHOWN, np.clip(soc_pct * 1.01, 0, 100)),
            (_TEMP_MAX, temp_degc + 1.0),
            (_TEMP_MIN, temp_degc - 1.0),
            (_CAPACITY, seen.awake.bms_capacity_ah),
        )
        return pack(seen, *fields)

    def module(self, place: int, seen: Seen) -> ByteArray:
        """Frame 6E1 + place: two cells and two temperatures of one module after the other."""
        modules = _modules(place)
        number = modules[seen.k % len(modules)]
        first = (number - 1) * 8 + 2 * place - 4 * (number > min(_SHORT_MODULES))
        row = np.arange(len(seen))
        cells_v = self._cells_v(seen, np.arange(self.cells))
        temp_degc = seen.smooth(seen.awake.temp_degc) + np.linspace(-1.0, 1.0, _MODULES)[number - 1]
        early, late = (_MODULE_TEMP_A, _MODULE_TEMP_B) if place in (0, 3) else (_MODULE_TEMP_EARLY, _MODULE_TEMP_A)
        fields = (
            (_MODULE, number),
            (early, temp_degc),
            (late, temp_degc + 0.5),
            (_MODULE_CELL_A, cells_v[row, first]),
            (_MODULE_CELL_B, cells_v[row, first + 1]),
        )
        return pack(seen, *fields)

    def speed_and_odometer(self, seen: Seen) -> ByteArray:
        awake = seen.awake
        key = 0xFE if awake.car_on else 0
        odometer = np.floor(seen.smooth(awake.odometer_km))
        return pack(seen, (_KEY, key), (_SPEED_SHOWN, seen.smooth(awake.speed_kmh)), (_ODOMETER, odometer))

    def speed(self, seen: Seen) -> ByteArray:
        return pack(seen, (_SPEED, seen.smooth(seen.awake.speed_kmh)))

    def gear(self, seen: Seen) -> ByteArray:
        return pack(seen, (_GEAR, np.where(seen.held(seen.awake.gear) == DRIVE, 0x44, 0x50)))

    def key(self, seen: Seen) -> ByteArray:
        return pack(seen, (_KEY_STATE, 4 if seen.awake.car_on else 0))

    def charger(self, seen: Seen) -> ByteArray:
        ac = seen.held(seen.awake.charge_kind) == AC
        current_a, voltage_v = seen.smooth(seen.awake.sensed_a), seen.smooth(seen.awake.voltage_v)
        mains_a = current_a * voltage_v / _MAINS_VOLTS / _CHARGER_EFFICIENCY
        fields = (
            (_CHARGER_V, voltage_v),
            (_MAINS_V, np.where(ac, _MAINS_VOLTS, 0.0)),
            (_CHARGER_A, np.where(ac, current_a, 0.0)),
            (_MAINS_A, np.where(ac, mains_a, 0.0)),
        )
        return pack(seen, *fields)

    def quick_charge(self, seen: Seen) -> ByteArray:
        running = (seen.held(seen.awake.charge_kind) == DC).astype(np.int64)
        return pack(seen, (_QUICK, running), (_QUICK_LIMIT_A, 100 * running))

    def charger_temperature(self, seen: Seen) -> ByteArray:
        warmer_k = np.where(seen.held(seen.awake.charge_kind) == AC, 15.0, 2.0)
        plug = int(seen.awake.plugged and bool((seen.awake.charge_kind != DC).all()))
        return pack(seen, (_CHARGER_TEMP, seen.awake.ambient_degc + warmer_k), (_PLUG, plug))

    def range_shown(self, seen: Seen) -> ByteArray:
        return pack(seen, (_RANGE, seen.smooth(seen.awake.soc_bms_pct)))

    def _cells_v(self, seen: Seen, which: IntArray) -> FloatArray:
        """(n, len(which)) voltages of these cells."""
        soc = seen.smooth(seen.awake.soc)
        slope = (open_circuit_v(self.model.pack, soc + 0.005) - open_circuit_v(self.model.pack, soc - 0.005)) / 0.01
        mean = seen.smooth(seen.awake.voltage_v) / self.cells
        volts: FloatArray = mean[:, None] + slope[:, None] * (self.cell_soc - self.cell_soc.mean())[which]
        return volts


def _modules(place: int) -> IntArray:
    """The modules that send frame 6E1 + place."""
    return np.array([m for m in range(1, _MODULES + 1) if place < 2 or m not in _SHORT_MODULES])
