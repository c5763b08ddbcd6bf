"""What a Nissan Leaf says on its EV-CAN: facts/vehicles.md §3.2 to §3.5.

In:  the car's model. Out: its senders and the polls another tester makes.
A 24 kWh pack speaks as an AZE0, a 62 kWh pack as a ZE1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray
from packbox.sim.car import AC, DC, DRIVE, Awake, CarModel
from packbox.sim.frames import ByteArray, Physical, Poll, Seen, Sender, answer, counting, field, noise, pack
from packbox.sim.pack import open_circuit_v

_CURRENT: Final = field("7|11@0-", 0.5, void=0x3FF)
_WIDE_CURRENT: Final = field("47|12@0-", 0.5)
_VOLTAGE: Final = field("23|10@0+", 0.5, void=0x3FF)
_SHOWN_AZE0: Final = field("32|7@1+", void=0x7F)
_RELAY_ON: Final = field("29|1@1+")
_INTERLOCK: Final = field("27|1@1+")
_COUNTER: Final = field("48|2@1+")
_DISCHARGE_LIMIT: Final = field("7|10@0+", 0.25, void=0x3FF)
_CHARGE_LIMIT: Final = field("13|10@0+", 0.25, void=0x3FF)
_CHARGER_LIMIT: Final = field("19|10@0+", 0.1, -10, void=0x3FF)
_SOC: Final = field("7|10@0+", 0.1, void=0x3FF)
_INSULATION: Final = field("39|10@0+", 5000 / 1024, void=0x3FF)
_GIDS: Final = field("7|10@0+", void=0x3FF)
_GIDS_ARE_FULL: Final = field("44|1@1+")
_SOH: Final = field("33|7@1+", void=0x7F)
_AZE0_BARS: Final = field("16|8@1+", 1 / 20)
_AZE0_BARS_ARE_CAPACITY: Final = field("32|1@1+")
_AZE0_TEMP_KIND: Final = field("6|2@1+", void=0)
_AZE0_TEMP: Final = field("17|7@1+", 1, -40, void=127)
_ZE1_KIND: Final = field("0|3@1+", void=0)
_ZE1_TEMP_MEAN: Final = field("9|7@1+", 1, -40, void=127)
_ZE1_TEMP_MIN: Final = field("41|7@1+", 1, -40, void=127)
_ZE1_CELL: Final = field("16|8@1+", 0.005, 2.985, void=255)
_FULL_KWH: Final = field("20|9@0+", 0.1, void=0)
_FULL_KWH_62: Final = field("21|10@0+", 0.1, void=0)
_LEFT_KWH: Final = field("27|9@0+", 0.1, void=0)
_SHOWN_ZE1: Final = field("56|8@1+", 0.5, void=0)
_CHARGER_KW: Final = field("0|9@0+", 0.1, void=0x1FF)
_CHARGER_MAX_KW: Final = field("40|9@0+", 0.1, void=0x1FF)
_AC_RELAY: Final = field("29|1@1+")
_QC_RELAY: Final = field("38|1@1+")
_AC_CLASS: Final = field("27|2@1+")
_CHARGER_STATE: Final = field("41|6@1+")
_CHARGE_REQUEST: Final = field("21|2@1+")
_INVERTER_V: Final = field("0|8@1+", 2)
_WHEEL_RIGHT: Final = field("7|16@0+", 0.005)
_WHEEL_LEFT: Final = field("23|16@0+", 0.005)
_SPEED: Final = field("39|16@0+", 0.01)
_CLUSTER_SPEED: Final = field("7|16@0+", 0.01)
_IN_MILES: Final = field("53|1@1+")
_AMBIENT: Final = field("48|8@1+", 0.5, -40, void=0xFF)
_ODOMETER: Final = field("15|24@0+")
_GEAR: Final = field("4|4@1+")
_CAR_STATE: Final = field("14|2@1+")

_CRC_POLYNOMIAL: Final = 0x85
_ONLY_ZE1: Final = ((0x108, 3), (0x120, 4), (0x1C2, 1), (0x1ED, 3))  # ids and lengths that tell a ZE1
_STRANGERS: Final = (0x1CB, 0x3A7, 0x6F6)  # ids that no profile knows: real buses are full of them


def senders(model: CarModel) -> Sequence[Sender]:
    large = model.pack.capacity_new_ah > 100
    leaf = _Leaf(model, large)
    return [
        Sender(0x1DB, 10, leaf.current_and_voltage, often=True),
        Sender(0x1DC, 10, leaf.limits),
        Sender(0x1DA, 10, leaf.inverter, when=_on),
        Sender(0x11A, 10, leaf.gear),
        Sender(0x1F2, 10, leaf.charge_request),
        Sender(0x284, 20, leaf.speed, often=True, when=_on),
        Sender(0x355, 40, leaf.cluster, when=_on),
        Sender(0x55B, 100, leaf.soc),
        Sender(0x5BC, 100, leaf.gids_and_soh),
        Sender(0x5C0, 500, leaf.temperatures_ze1 if large else leaf.temperatures_aze0, burst=3),
        Sender(0x59E, 500, leaf.energy),
        Sender(0x390, 100, leaf.charger),
        Sender(0x54C, 100, leaf.ambient),
        Sender(0x5C5, 100, leaf.odometer),
        *(Sender(can_id, 100, counting, length=length) for can_id, length in _ONLY_ZE1 if large),
        *(Sender(can_id, 100, counting) for can_id in _STRANGERS),
    ]


def polls(model: CarModel, seed: int) -> Sequence[Poll]:
    """What an app on a phone asks."""
    leaf = _Leaf(model, model.pack.capacity_new_ah > 100)
    serial = f"SIM{model.id[-2:]}{seed:010d}".encode("ascii")[:15]
    return [
        Poll(0x79B, 0x7BB, b"\x21\x01", leaf.answer_01),
        Poll(0x79B, 0x7BB, b"\x21\x02", leaf.answer_02),
        Poll(0x79B, 0x7BB, b"\x21\x04", leaf.answer_04),
        Poll(0x79B, 0x7BB, b"\x21\x61", leaf.answer_61),
        Poll(0x79B, 0x7BB, b"\x21\x84", lambda seen: answer(seen, b"\x61\x84\0\0\0" + serial), every=8),
        Poll(
            0x797,
            0x79A,
            b"\x22\x12\x03",
            lambda seen: _count(seen, b"\x62\x12\x03\0\0", seen.awake.charges_dc),
            every=2,
        ),
        Poll(
            0x797,
            0x79A,
            b"\x22\x12\x05",
            lambda seen: _count(seen, b"\x62\x12\x05\0\0", seen.awake.charges_ac),
            every=2,
        ),
    ]


class _Leaf:
    def __init__(self, model: CarModel, large: bool) -> None:
        self.model = model
        self.large = large
        self.cells = model.pack.cells
        deviation = np.random.default_rng([len(model.id), self.cells]).normal(size=self.cells)
        self.cell_soc = 0.003 * deviation  # how much fuller each cell is than the mean

    def current_and_voltage(self, seen: Seen) -> ByteArray:
        sensed_a = seen.smooth(seen.awake.sensed_a) + noise(seen.k, 1, 0.3)
        only = ((_WIDE_CURRENT, sensed_a),) if self.large else ((_SHOWN_AZE0, _shown_pct(seen)),)
        voltage_v = seen.smooth(seen.awake.voltage_v)
        still = ((_RELAY_ON, 1), (_INTERLOCK, 1), (_COUNTER, seen.k % 4))
        return _with_crc(pack(seen, (_CURRENT, sensed_a), (_VOLTAGE, voltage_v), *still, *only))

    def limits(self, seen: Seen) -> ByteArray:
        out_kw = self.model.vehicle.power_limit_w / 1000.0
        charger = np.where(seen.awake.plugged, 6.0, 92.2)
        fields = (
            (_DISCHARGE_LIMIT, out_kw),
            (_CHARGE_LIMIT, out_kw / 2),
            (_CHARGER_LIMIT, charger),
            (_COUNTER, seen.k % 4),
        )
        return _with_crc(pack(seen, *fields))

    def inverter(self, seen: Seen) -> ByteArray:
        return _with_crc(pack(seen, (_INVERTER_V, seen.smooth(seen.awake.voltage_v))))

    def soc(self, seen: Seen) -> ByteArray:
        fields = ((_SOC, seen.smooth(seen.awake.soc_bms_pct)), (_INSULATION, 4400.0), (_COUNTER, seen.k % 4))
        return _with_crc(pack(seen, *fields))

    def gids_and_soh(self, seen: Seen) -> ByteArray:
        soh_pct = np.floor(100 * seen.awake.bms_capacity_ah / self.model.pack.capacity_new_ah)
        gids = np.rint(self._left_kwh(seen) * 1000.0 / 80.0)
        other = seen.k % 2
        if self.large:
            full = round(self._nominal_kwh() * 12.1)
            return pack(seen, (_GIDS, np.where(other == 1, full, gids)), (_GIDS_ARE_FULL, other), (_SOH, soh_pct))
        charge_bars, health_bars = _shown_pct(seen) * 0.12, (soh_pct - 15) / 6.25 + 1
        bars = np.clip(np.floor(np.where(other == 1, health_bars, charge_bars)), 0, 12)
        return pack(seen, (_GIDS, gids), (_SOH, soh_pct), (_AZE0_BARS, bars), (_AZE0_BARS_ARE_CAPACITY, other))

    def temperatures_aze0(self, seen: Seen) -> ByteArray:
        kind = 1 + seen.k % 3  # 1 highest, 2 mean, 3 lowest
        temp_degc = seen.smooth(seen.awake.temp_degc) + np.choose(seen.k % 3, [1.2, 0.0, -1.2])
        return pack(seen, (_AZE0_TEMP_KIND, kind), (_AZE0_TEMP, temp_degc))

    def temperatures_ze1(self, seen: Seen) -> ByteArray:
        kind = 4 + seen.k % 3  # the cell voltage beside it: 4 highest, 5 mean, 6 lowest
        temp_degc = seen.smooth(seen.awake.temp_degc)
        cells_v = self.cells_v(seen)
        cell_v = np.choose(seen.k % 3, [cells_v.max(axis=1), cells_v.mean(axis=1), cells_v.min(axis=1)])
        only_6 = np.where(kind == 6, temp_degc, -40.0)
        lowest = np.where(kind == 6, temp_degc - 1.2, -40.0)
        return pack(seen, (_ZE1_KIND, kind), (_ZE1_CELL, cell_v), (_ZE1_TEMP_MEAN, only_6), (_ZE1_TEMP_MIN, lowest))

    def energy(self, seen: Seen) -> ByteArray:
        full_kwh = self._full_kwh(seen.awake)
        if not self.large:
            return pack(seen, (_FULL_KWH, full_kwh), (_LEFT_KWH, self._left_kwh(seen)))
        fields = ((_FULL_KWH_62, full_kwh), (_LEFT_KWH, self._left_kwh(seen)), (_SHOWN_ZE1, _shown_pct(seen)))
        return pack(seen, *fields)

    def charger(self, seen: Seen) -> ByteArray:
        kind = seen.held(seen.awake.charge_kind)
        power_kw = seen.smooth(seen.awake.sensed_a) * seen.smooth(seen.awake.voltage_v) / 1000.0
        ac = kind == AC
        plugged_ac = seen.awake.plugged and bool((seen.awake.charge_kind != DC).all())
        done = seen.t_s > seen.awake.seconds - 30
        state = np.where(ac, 4, np.where(plugged_ac, np.where(done, 2, 12), np.where(kind == DC, 1, 9)))
        fields = (
            (_CHARGER_KW, np.where(ac, np.maximum(power_kw, 0), 0.0)),
            (_CHARGER_MAX_KW, 6.0),
            (_AC_RELAY, ac.astype(np.int64)),
            (_QC_RELAY, (kind == DC).astype(np.int64)),
            (_AC_CLASS, 2 if plugged_ac else 0),
            (_CHARGER_STATE, state),
        )
        return _with_nibble_sum(pack(seen, *fields), 0x390)

    def charge_request(self, seen: Seen) -> ByteArray:
        return _with_nibble_sum(pack(seen, (_CHARGE_REQUEST, seen.held(seen.awake.charge_kind))), 0x1F2)

    def speed(self, seen: Seen) -> ByteArray:
        speed = seen.smooth(seen.awake.speed_kmh)
        return pack(seen, (_WHEEL_RIGHT, speed), (_WHEEL_LEFT, speed), (_SPEED, speed))

    def cluster(self, seen: Seen) -> ByteArray:
        return pack(seen, (_CLUSTER_SPEED, seen.smooth(seen.awake.speed_kmh)), (_IN_MILES, 0))

    def gear(self, seen: Seen) -> ByteArray:
        on = seen.awake.car_on
        gear = np.where(seen.held(seen.awake.gear) == DRIVE, 4, 0) if on else np.ones(len(seen), np.int64)
        return pack(seen, (_GEAR, gear), (_CAR_STATE, int(on)))

    def ambient(self, seen: Seen) -> ByteArray:
        return pack(seen, (_AMBIENT, seen.awake.ambient_degc))

    def odometer(self, seen: Seen) -> ByteArray:
        return pack(seen, (_ODOMETER, np.floor(seen.smooth(seen.awake.odometer_km))))

    def answer_01(self, seen: Seen) -> ByteArray:
        """Layouts of facts/vehicles.md §3.4; bytes whose meaning is unknown are as in its worked examples."""
        awake = seen.awake
        current = seen.smooth(awake.sensed_a) * 1024
        soh_pct = 100 * awake.bms_capacity_ah / self.model.pack.capacity_new_ah
        soc, capacity = seen.smooth(awake.soc_bms_pct) * 1e4, awake.bms_capacity_ah * 1e4
        volts = seen.smooth(awake.voltage_v) * 100
        shared = ((0, 4, current), (6, 4, current), (18, 2, volts), (20, 2, 14_300.0), (22, 2, 905.0))
        own: tuple[tuple[int, int, Physical], ...]
        if self.large:
            head = b"\x61\x01" + bytes([0, 0, 0, 0, 2, 0x89]).ljust(51, b"\0")
            own = ((10, 4, current), (28, 2, soh_pct * 102.4), (31, 3, soc), (35, 3, capacity))
        else:
            head = b"\x61\x01" + bytes([0, 0, 0, 0, 2, 0x88]).ljust(39, b"\0")
            own = ((10, 4, -1.0), (26, 2, soh_pct * 102.4), (29, 3, soc), (33, 3, capacity))
        return answer(seen, head, *shared, *own)

    def answer_02(self, seen: Seen) -> ByteArray:
        cells_mv = self.cells_v(seen) * 1000
        volts = seen.smooth(seen.awake.voltage_v) * 100
        cells = ((2 * cell, 2, cells_mv[:, cell]) for cell in range(self.cells))
        return answer(seen, b"\x61\x02" + bytes(196), *cells, (192, 2, volts), (194, 2, volts))

    def answer_04(self, seen: Seen) -> ByteArray:
        temp_degc = np.rint(seen.smooth(seen.awake.temp_degc))
        head = b"\x61\x04" + bytes(31 if self.large else 14)
        sensors = ((0, 1.0), (1, 0.0), (2, 0.0), (3, -1.0)) if self.large else ((0, 1.0), (1, 0.0), (3, -1.0))
        thermistors = ((3 * at, 2, 700.0 - 8 * (temp_degc + above)) for at, above in sensors)
        degrees = ((3 * at + 2, 1, temp_degc + above) for at, above in sensors)
        missing = () if self.large else ((6, 2, 0xFFFF), (8, 1, 0xFF))  # 2013 to 2017 packs have three
        return answer(seen, head, *thermistors, *degrees, *missing)

    def answer_61(self, seen: Seen) -> ByteArray:
        soh_pct = 100 * seen.awake.bms_capacity_ah / self.model.pack.capacity_new_ah
        return answer(seen, b"\x61\x61" + bytes(10), (0, 2, soh_pct * 102.4), (2, 2, np.floor(soh_pct * 100)))

    def cells_v(self, seen: Seen) -> FloatArray:
        """(n, cells): the mean cell moved along the curve by how much fuller each one is."""
        soc = seen.smooth(seen.awake.soc)
        slope = (open_circuit_v(self.model.pack, soc + 0.005) - open_circuit_v(self.model.pack, soc - 0.005)) / 0.01
        mean = seen.smooth(seen.awake.voltage_v) / self.cells
        volts: FloatArray = mean[:, None] + slope[:, None] * (self.cell_soc - self.cell_soc.mean())
        return volts

    def _nominal_kwh(self) -> float:
        return self.model.pack.capacity_new_ah * self.cells * 3.75 / 1000.0

    def _full_kwh(self, awake: Awake) -> float:
        return self._nominal_kwh() * awake.bms_capacity_ah / self.model.pack.capacity_new_ah * 0.93

    def _left_kwh(self, seen: Seen) -> FloatArray:
        return self._full_kwh(seen.awake) * seen.smooth(seen.awake.soc_bms_pct) / 100.0


def _on(awake: Awake) -> bool:
    return awake.car_on


def _shown_pct(seen: Seen) -> FloatArray:
    """20.8 % of the BMS is 12 % shown, 58.5 % is 53 % (facts/vehicles.md §2)."""
    return np.clip(12.0 + (seen.smooth(seen.awake.soc_bms_pct) - 20.8) * 41.0 / 37.7, 0.0, 100.0)


def _count(seen: Seen, template: bytes, count: int) -> ByteArray:
    rows = np.tile(np.frombuffer(template, np.uint8), (len(seen), 1))
    rows[:, 3:5] = (count >> 8, count & 0xFF)
    return rows


def _with_crc(data: ByteArray) -> ByteArray:
    """CRC-8, polynomial 0x85, start 0, over bytes 0 to 6, into byte 7."""
    crc = np.zeros(len(data), np.uint8)
    for byte in range(7):
        crc = _CRC_TABLE[crc ^ data[:, byte]]
    data[:, 7] = crc
    return data


def _with_nibble_sum(data: ByteArray, can_id: int) -> ByteArray:
    """Low nibble of byte 7: the sum of all nibbles before it and of the id."""
    of_id = (can_id & 0xF) + (can_id >> 4 & 0xF) + (can_id >> 8)
    before = (data[:, :7] >> 4).sum(axis=1) + (data[:, :7] & 0xF).sum(axis=1) + (data[:, 7] >> 4)
    data[:, 7] = (data[:, 7] & 0xF0) | ((before + of_id) & 0xF).astype(np.uint8)
    return data


def _crc_table() -> ByteArray:
    table = np.arange(256, dtype=np.int64)
    for _bit in range(8):
        table = np.where(table & 0x80, (table << 1) ^ _CRC_POLYNOMIAL, table << 1) & 0xFF
    return table.astype(np.uint8)


_CRC_TABLE: Final = _crc_table()
