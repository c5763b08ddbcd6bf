"""Cars nobody tuned for: an examiner of the estimator with our own simulator, along the axes on which cars differ.

In:  how many days each car is watched. Out: blocks as the `sim` layout gives them, and the truth beside them.
The estimator gets the published mean curve of the chemistry (facts/soh.md §4) and what the BMS held at the start; the
car's own curve, sensor, habits and climate differ from it as `EXAMS` says. Seeds are fixed: a figure can be checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from packbox.adapters.sample_csv import Block
from packbox.core.frames import FloatArray
from packbox.core.packs import Chemistry, PackFacts
from packbox.sim import pack as sim_pack
from packbox.sim.car import IMIEV_16, LEAF_24, LEAF_62, Awake, BmsModel, CarModel, SimCar
from packbox.sim.driver import Climate

FIRST_DAY: Final = 20_000  # since 1970
ROW_S: Final = 10
KEY_A: Final = -0.5  # what a car draws in the seconds around key-on and key-off
BLOCK_DAYS: Final = 30
AWAY_EVERY_DAYS: Final = 28
_SOC: Final = (0.0, 3.0, 6.0, 11.0, 22.0, 33.0, 44.0, 55.0, 67.0, 78.0, 89.0, 95.0, 100.0)
_VOLTS: Final = {
    Chemistry.LMO: (3.20, 3.43, 3.53, 3.66, 3.78, 3.86, 3.905, 3.945, 3.985, 4.045, 4.085, 4.125, 4.18),
    Chemistry.NMC: (3.20, 3.37, 3.44, 3.50, 3.58, 3.63, 3.67, 3.73, 3.83, 3.93, 4.03, 4.09, 4.17),
    Chemistry.LFP: (2.80, 3.10, 3.18, 3.22, 3.25, 3.27, 3.29, 3.295, 3.31, 3.32, 3.325, 3.33, 3.42),
}


@dataclass(frozen=True, slots=True)
class Exam:
    """One car and how it is watched."""

    name: str
    what: str
    chemistry: Chemistry
    model: CarModel
    seed: int
    drift_a_per_year: float = 0.0  # of the offset of the sensor
    current_step_a: float = 0.5
    soc_step_pct: float = 1.0
    told_error: float = 0.01  # of the capacity that the BMS held at the start
    voltage_step_v: float = 0.001  # of a cell
    unseen_days: int = 0  # of every `AWAY_EVERY_DAYS`: the box was elsewhere
    truth: dict[int, float] = field(default_factory=dict, compare=False)  # filled by `blocks`: percent by day

    @property
    def pack(self) -> PackFacts:
        new_ah = self.model.pack.capacity_new_ah
        start_ah = SimCar(self.model, self.seed, FIRST_DAY).truth(0).capacity_ah
        return PackFacts(
            self.name,
            self.chemistry,
            self.model.pack.cells,
            new_ah,
            "as built",
            new_ah,
            ocv=tuple(zip(_SOC, _VOLTS[self.chemistry], strict=True)),
            ocv_source="typical of the chemistry",
            capacity_start_ah=start_ah * (1.0 + self.told_error),
        )

    def blocks(self, days: int) -> Iterator[Block]:
        car = SimCar(self.model, self.seed, FIRST_DAY)
        begins_ms = car.day_begins_ms(0)
        rows: list[FloatArray] = []
        month = 0
        for stretch in car.stretches(begins_ms):
            day = (stretch.start_ms - begins_ms) // 86_400_000
            if day >= days:
                break
            self.truth[day] = car.truth(day).soh_pct
            if day // BLOCK_DAYS > month and rows:
                yield self._block(rows)
                rows, month = [], day // BLOCK_DAYS
            if isinstance(stretch, Awake) and day % AWAY_EVERY_DAYS >= self.unseen_days:
                newest_s = float(rows[-1][0, -1]) if rows else -1e9
                rows.append(self._rows(stretch, (stretch.start_ms - begins_ms) / 1000.0, newest_s))
        yield self._block(rows)

    def _rows(self, awake: Awake, start_s: float, newest_s: float) -> FloatArray:
        """Shape (5, n): time, current into the pack, volts of the pack, SoC, temperature; means over `ROW_S`."""
        model, each = self.model, max(1, round(ROW_S / awake.step_s))
        n = len(awake.current_a) // each

        def mean(value: FloatArray) -> FloatArray:
            return value[: n * each].reshape(n, each).mean(axis=1)

        def last(value: FloatArray) -> FloatArray:
            return value[each - 1 : n * each : each]

        at_s = start_s + ROW_S * np.arange(n)
        table = np.array(
            [at_s, mean(awake.sensed_a), mean(awake.voltage_v), last(awake.soc_bms_pct), last(awake.temp_degc)]
        )
        key = np.empty((5, 2))
        for k, end in enumerate((0, -1)):
            ohm = sim_pack.resistance_ohm(model.pack, awake.truth, float(awake.temp_degc[end]))
            key[:, k] = (
                (start_s - ROW_S, at_s[-1] + ROW_S)[k],
                KEY_A * model.bms.gain + model.bms.offset_a,
                awake.voltage_v[end] + (KEY_A - awake.current_a[end]) * ohm,
                awake.soc_bms_pct[end],
                awake.temp_degc[end],
            )
        parts = [key[:, :1], table, key[:, 1:]]
        whole = np.concatenate(parts if start_s - ROW_S > newest_s else parts[1:], axis=1)
        whole[1] += self.drift_a_per_year * start_s / (365.25 * 86_400.0)
        return whole

    def _block(self, rows: list[FloatArray]) -> Block:
        at_s, current, volts, soc, temp = np.concatenate(rows, axis=1)
        step_v = self.voltage_step_v * self.model.pack.cells
        values = {
            "pack_current_a": np.round(current / self.current_step_a) * self.current_step_a,
            "pack_voltage_v": np.round(volts / step_v) * step_v,
            "soc_shown_pct": np.floor(soc / self.soc_step_pct) * self.soc_step_pct,
            "pack_temp_mean_degc": np.round(temp),
        }
        return Block(at_s, values, 2)


def _car(
    base: CarModel, *, sensor: tuple[float, float] = (0.0, 1.0), pack: dict[str, float] | None = None, **changes: object
) -> CarModel:
    """`sensor`: offset in A, gain."""
    bms = replace(base.bms, offset_a=sensor[0], gain=sensor[1])
    return replace(base, bms=bms, pack=replace(base.pack, **(pack or {})), **changes)  # type: ignore[arg-type]


_MILD: Final = Climate(15.0, 8.0, 4.0)
_LMO: Final = replace(
    LEAF_24,
    pack=replace(LEAF_24.pack, knee_cycles=1e9, knee_per_100_cycles=0.0),
    climate=_MILD,
    age_years=2.0,
    past_cycles=250.0,
)
_NMC: Final = replace(LEAF_62, climate=_MILD)
_LFP: Final = replace(
    LEAF_62,
    pack=replace(
        LEAF_62.pack, curve=sim_pack.LFP, capacity_new_ah=100.0, cell_full_v=3.60, calendar_per_sqrt_year=0.03
    ),
    bms=BmsModel(0.1, 1.002, 0.01, 7, 0.2),
    climate=_MILD,
    age_years=1.0,
    past_cycles=80.0,
)
_TOWN: Final = replace(LEAF_24.habits, commute_km=6.0, weekend_km=5.0, long_trip_share=0.0, quick_charge_share=0.0)
_TAXI: Final = replace(LEAF_24.habits, commute_km=150.0, weekend_km=150.0, quick_charge_share=0.6)
_WEEKEND: Final = replace(LEAF_62.habits, commute_km=2.0, weekend_km=90.0, plug_in_below=0.7, charge_to=0.9)
_SHALLOW: Final = replace(LEAF_62.habits, plug_in_below=0.60, charge_to=0.80, long_trip_share=0.1)
_FULL: Final = replace(LEAF_62.habits, commute_km=45.0, plug_in_below=0.35, charge_to=0.97)

EXAMS: Final = (
    Exam("x1", "sensor reads 1.5 % high", Chemistry.LMO, _car(_LMO, sensor=(0.2, 1.015)), 11),
    Exam("x2", "NMC, sensor 1.5 % low and +0.5 A", Chemistry.NMC, _car(_NMC, sensor=(0.5, 0.985)), 12),
    Exam(
        "x3",
        "knee, warm, own curve bent",
        Chemistry.LMO,
        _car(LEAF_24, pack={"curve_bend": -0.008}, past_cycles=950.0),
        13,
    ),
    Exam(
        "x4",
        "offset drifts from -0.8 A, 0.4 A a year",
        Chemistry.LMO,
        _car(_LMO, sensor=(-0.8, 1.003)),
        14,
        drift_a_per_year=0.4,
    ),
    Exam(
        "x5",
        "short trips, charged between 45 and 75 %",
        Chemistry.LMO,
        _car(_LMO, habits=replace(_TOWN, plug_in_below=0.45, charge_to=0.75)),
        15,
        told_error=-0.02,
    ),
    Exam("x6", "cold, and a higher resistance", Chemistry.NMC, _car(_NMC, climate=Climate(2.0, 12.0, 4.0)), 16),
    Exam("x7", "LFP, charged to 80 % only", Chemistry.LFP, _car(_LFP, habits=_SHALLOW), 17),
    Exam(
        "x8", "LFP, charged full", Chemistry.LFP, _car(_LFP, habits=_FULL, sensor=(-0.4, 0.997)), 18, told_error=-0.02
    ),
    Exam("x9", "hysteresis of 12 mV either way", Chemistry.LMO, _car(_LMO, pack={"hysteresis_v": 0.012}), 19),
    Exam("x10", "watched one week in four", Chemistry.NMC, _car(_NMC), 20, unseen_days=21),
    Exam(
        "x11",
        "SoC in steps of 2.5 %, current of 1 A",
        Chemistry.LMO,
        _car(_LMO),
        21,
        current_step_a=1.0,
        soc_step_pct=2.5,
    ),
    Exam("x12", "BMS 6 % too high at the start", Chemistry.NMC, _car(_NMC, habits=_FULL), 22, told_error=0.06),
    Exam("x13", "small pack, -0.5 A", Chemistry.LMO, _car(IMIEV_16, sensor=(-0.5, 0.995)), 23, told_error=0.03),
    Exam(
        "x14",
        "NMC ageing fast, own curve bent",
        Chemistry.NMC,
        _car(_NMC, habits=_FULL, pack={"curve_bend": 0.010, "cycling_per_100_cycles": 0.03}),
        24,
    ),
    Exam(
        "x15",
        "taxi past its knee, sensor 0.7 % low",
        Chemistry.LMO,
        _car(LEAF_24, habits=_TAXI, sensor=(0.3, 0.993), age_years=4.0, past_cycles=900.0),
        25,
    ),
    Exam("x16", "driven at weekends", Chemistry.NMC, _car(_NMC, habits=_WEEKEND, sensor=(-0.3, 1.004)), 26),
    Exam(
        "x17",
        "cell voltage in steps of 20 mV, SoC of 5 %",
        Chemistry.NMC,
        _car(_NMC, sensor=(0.2, 0.998)),
        27,
        voltage_step_v=0.020,
        soc_step_pct=5.0,
    ),
    Exam(
        "x18",
        "small cold pack, +0.6 A",
        Chemistry.LMO,
        _car(IMIEV_16, climate=Climate(5.0, 10.0, 4.0), sensor=(0.6, 1.006)),
        28,
        told_error=-0.03,
    ),
    Exam(
        "x19",
        "hot taxi, sensor 1 % high",
        Chemistry.NMC,
        _car(_NMC, habits=_TAXI, climate=Climate(30.0, 5.0, 3.0), sensor=(-0.2, 1.010)),
        29,
    ),
    Exam(
        "x20",
        "LFP, offset -0.8 A, BMS 4 % too high",
        Chemistry.LFP,
        _car(_LFP, habits=_FULL, sensor=(-0.8, 1.0)),
        30,
        told_error=0.04,
    ),
    Exam(
        "x21",
        "cell voltage in steps of 60 mV",
        Chemistry.LMO,
        _car(_LMO, sensor=(0.1, 1.0)),
        31,
        voltage_step_v=0.060,
    ),
    Exam(
        "x22",
        "own curve bent, hysteresis of 6 mV, BMS 5 % too low",
        Chemistry.LMO,
        _car(_LMO, pack={"curve_bend": 0.010, "hysteresis_v": 0.006}, sensor=(-0.4, 1.002)),
        32,
        told_error=-0.05,
    ),
    Exam(
        "x23",
        "LFP, cool, charged to 90 %: a plateau's edge",
        Chemistry.LFP,
        _car(_LFP, habits=replace(_FULL, charge_to=0.90), climate=Climate(9.0, 8.0, 4.0)),
        33,
    ),
    Exam(
        "x24",
        "NMC between 40 and 70 %, +0.4 A",
        Chemistry.NMC,
        _car(_NMC, habits=replace(_TOWN, commute_km=30.0, plug_in_below=0.45, charge_to=0.70), sensor=(0.4, 1.0)),
        34,
        told_error=0.02,
    ),
)
