"""A car with a known battery: it is driven, charged and left to sleep, day after day, from one seed.

In:  a `CarModel`, a seed and the first day.
Out: `stretches(from_ms)`, what happens from any moment on (awake periods with all physical quantities, and sleep), and
     `truth(day)`, what the pack really holds.

A day depends only on the seed, its date and the state the day before left behind, so a car resumed at any time lives
the same future as one that was never stopped; days without anyone looking are lived through in some milliseconds.
The battery's own computer (BMS) is part of the car and errs as real ones do: offset and gain of its current sensor, a
state of charge that drifts and is pulled straight at rest, a capacity it learns slowly and in steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray, IntArray
from packbox.sim import driver
from packbox.sim import pack as packs
from packbox.sim.driver import DAY_BEGINS_H, DAY_MS, HOUR_MS, Climate, Habits, Vehicle
from packbox.sim.pack import PackHealth, PackModel, PackState

CHARGE_STEP_S: Final = 5.0
DRIVE_STEP_S: Final = 1.0
_SLEEP_STEP_MS: Final = 2 * HOUR_MS  # air temperature is held this long while parked
_DRAIN_PER_DAY: Final = 0.0006  # share of charge a parked car loses
_PLUGGED_BEFORE_S: Final = 30  # awake at the plug before the charger starts, and after it ends
_IDLE_A: Final = -0.4  # what the car draws while it is awake at the plug
_LEAST_SOC: Final = 0.12  # the driver does not go below
_TOP_SOC: Final = 0.97  # what the car calls full

AC: Final = 1
DC: Final = 2
PARK: Final = 0
DRIVE: Final = 3


@dataclass(frozen=True, slots=True)
class BmsModel:
    offset_a: float  # of its current sensor
    gain: float
    capacity_bias: float  # what it believes is this share off in the long run
    relearns_every_days: int
    relearns_share: float  # of the difference, each time


@dataclass(frozen=True, slots=True)
class CarModel:
    """Everything about one kind of car and the life it leads."""

    id: str
    family: str  # whose frames it sends: leaf or imiev
    profile: str  # folder under can_profiles
    pack: PackModel
    bms: BmsModel
    vehicle: Vehicle
    habits: Habits
    climate: Climate
    age_years: float  # at the first simulated day
    past_cycles: float
    past_km: float
    past_charges: tuple[int, int]  # AC, DC
    utc_offset_h: int = 9


@dataclass(frozen=True, slots=True)
class BmsState:
    soc_pct: float
    capacity_ah: float


@dataclass(frozen=True, slots=True)
class CarState:
    pack: PackState
    bms: BmsState
    odometer_km: float
    charges_ac: int
    charges_dc: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What no estimator may look at."""

    capacity_ah: float
    soh_pct: float
    resistance_ohm: float
    soc_pct: float  # as the day begins


@dataclass(frozen=True, slots=True, eq=False)
class Awake:
    """One stretch with the bus alive. Columns (n,), knots `step_s` apart from `start_ms` on, straight between them."""

    start_ms: int
    step_s: float
    current_a: FloatArray  # true, positive into the pack
    sensed_a: FloatArray  # as the car's sensor reads it, before quantisation
    voltage_v: FloatArray
    soc: FloatArray
    soc_bms_pct: FloatArray
    temp_degc: FloatArray
    speed_kmh: FloatArray
    odometer_km: FloatArray
    gear: IntArray  # PARK or DRIVE; holds until the next knot
    charge_kind: IntArray  # 0, AC or DC; holds until the next knot
    plugged: bool
    car_on: bool
    ambient_degc: float
    truth: PackHealth
    bms_capacity_ah: float
    charges_ac: int
    charges_dc: int

    @property
    def seconds(self) -> float:
        return self.step_s * (len(self.current_a) - 1)

    @property
    def end_ms(self) -> int:
        return self.start_ms + int(self.seconds * 1000)


@dataclass(frozen=True, slots=True)
class Asleep:
    """Nothing on the bus."""

    start_ms: int
    end_ms: int


class SimCar:
    """`first_day`: days since 1970, by the car's own calendar."""

    def __init__(self, model: CarModel, seed: int, first_day: int) -> None:
        self.model = model
        self.seed = seed
        self.first_day = first_day
        self._mornings = [_newborn(model, seed)]  # the state each day begins with, as far as lived

    def truth(self, day: int) -> Truth:
        """As day `day` begins; day 0 is the first."""
        pack = self._morning(day).pack
        now = packs.health(self.model.pack, pack)
        return Truth(
            now.capacity_ah, 100 * now.capacity_ah / self.model.pack.capacity_new_ah, now.resistance_ohm, 100 * pack.soc
        )

    def day_begins_ms(self, day: int) -> int:
        """UTC."""
        return (self.first_day + day) * DAY_MS + (DAY_BEGINS_H - self.model.utc_offset_h) * HOUR_MS

    def day_at(self, wall_ms: int) -> int:
        """The simulated day that holds this moment; the first day for anything earlier."""
        return max(0, (wall_ms - self.day_begins_ms(0)) // DAY_MS)

    def stretches(self, from_ms: int) -> Iterator[Awake | Asleep]:
        """Life from the stretch that holds `from_ms` on, without end. Stretches follow each other without holes."""
        day = self.day_at(from_ms)
        while True:
            for stretch in self._live(day):
                if stretch.end_ms > from_ms:
                    yield stretch
            day += 1

    def _morning(self, day: int) -> CarState:
        while len(self._mornings) <= day:
            self._live(len(self._mornings) - 1)
        return self._mornings[day]

    def _live(self, day: int) -> list[Awake | Asleep]:
        life = _Day(self, self._morning(day), day)
        life.go()
        if len(self._mornings) == day + 1:
            self._mornings.append(life.state)
        return life.stretches


class _Day:
    """One day being lived: `state` and `now_ms` move on with each thing that happens."""

    def __init__(self, car: SimCar, morning: CarState, day: int) -> None:
        self.model = car.model
        self.seed = car.seed
        self.date = car.first_day + day
        self.now_ms = car.day_begins_ms(day)
        self.ends_ms = car.day_begins_ms(day + 1)
        self.die = np.random.default_rng([car.seed, self.date])
        self.truth = packs.health(car.model.pack, morning.pack)
        self.state = replace(morning, bms=self._relearn(morning.bms))
        self.stretches: list[Awake | Asleep] = []

    def go(self) -> None:
        habits = self.model.habits
        begins_ms = self.now_ms
        weekday = (self.date + 3) % 7  # 1 January 1970 was a Thursday
        plan = driver.trips(habits, self.die, weekday)
        for trip in plan:
            self._park_until(max(self.now_ms + 120_000, begins_ms + trip.leaves_ms))
            if self._reach_km() < trip.km:
                self._charge(DC, 0.8, habits.quick_power_w, HOUR_MS)
                self._park_until(self.now_ms + 60_000)
            self._drive(min(trip.km, self._reach_km()))
        if plan and self.die.random() < habits.quick_charge_share:
            self._park_until(self.now_ms + 120_000)
            self._charge(DC, 0.8, habits.quick_power_w, HOUR_MS)
        elif self.state.pack.soc < habits.plug_in_below and self.die.random() < habits.home_socket_share:
            arrived_h = (self.now_ms - begins_ms) / HOUR_MS
            wait_ms = int(self.die.integers(60, 300)) * 1000 if arrived_h > 2 else 14 * HOUR_MS
            self._park_until(self.now_ms + wait_ms)
            pause = self.die.random() < 0.15
            target = self.state.pack.soc + 0.5 * (habits.charge_to - self.state.pack.soc)
            self._charge(AC, target if pause else habits.charge_to, habits.home_power_w, 10 * HOUR_MS)
            if pause:
                self._park_until(self.now_ms + int(self.die.integers(300, 2400)) * 1000)
                self._charge(AC, habits.charge_to, habits.home_power_w, 10 * HOUR_MS, again=True)
        self._park_until(self.ends_ms)

    def _ambient(self, at_ms: int) -> float:
        local_ms = at_ms + self.model.utc_offset_h * HOUR_MS
        return driver.ambient_degc(self.model.climate, self.seed, local_ms)

    def _reach_km(self) -> float:
        """How far the driver dares to go: what is left above the reserve, at a winter's consumption."""
        left_kwh = (self.state.pack.soc - _LEAST_SOC) * self.truth.capacity_ah * 3.7 * self.model.pack.cells / 1000.0
        return max(1.0, left_kwh / 0.19)

    def _park_until(self, until_ms: int) -> None:
        until_ms = min(until_ms, self.ends_ms)
        if until_ms <= self.now_ms:
            return
        began_ms = self.now_ms
        pack = self.state.pack
        while self.now_ms < until_ms:
            step_ms = min(_SLEEP_STEP_MS, until_ms - self.now_ms)
            air = self._ambient(self.now_ms + step_ms // 2)
            pack = packs.rest(self.model.pack, pack, step_ms / 1000.0, air, _DRAIN_PER_DAY)
            self.now_ms += step_ms
        bms = self.state.bms
        if until_ms - began_ms > 2 * HOUR_MS:  # the BMS trusts a rested voltage, but not wholly
            bms = replace(bms, soc_pct=bms.soc_pct + 0.25 * (100 * pack.soc - bms.soc_pct))
        self.state = replace(self.state, pack=pack, bms=bms)
        self.stretches.append(Asleep(began_ms, until_ms))

    def _drive(self, km: float) -> None:
        speed = driver.speed_kmh(self.die, km)
        seconds = len(speed) - 1
        if self.now_ms + seconds * 1000 >= self.ends_ms:
            return
        air = self._ambient(self.now_ms + seconds * 500)
        room = float(np.clip((0.98 - self.state.pack.soc) / 0.05, 0.1, 1.0))
        power_w = driver.drive_power_w(self.model.vehicle, speed, air, room)
        current_a, response, pack = packs.run_power(
            self.model.pack, self.truth, self.state.pack, DRIVE_STEP_S, power_w, air
        )
        gear = np.full(len(speed), DRIVE, np.int64)
        gear[: driver.STANDING_BEFORE_S] = PARK
        gear[-driver.STANDING_AFTER_S :] = PARK
        moved_km = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1])) / 3600.0])
        self._awake(
            DRIVE_STEP_S, current_a, response, pack, air, speed, moved_km, gear, np.zeros_like(gear), plugged=False
        )

    def _charge(self, kind: int, soc_to: float, power_w: float, most_ms: int, again: bool = False) -> None:
        left_s = (min(most_ms, self.ends_ms - self.now_ms) - 3 * _PLUGGED_BEFORE_S * 1000) / 1000.0
        if left_s < 600 or soc_to - self.state.pack.soc < 0.02:
            return
        model, start = self.model.pack, self.state.pack
        pushed_a = packs.charge_current_a(model, self.truth, start, CHARGE_STEP_S, soc_to, power_w, left_s)
        pushed_a = pushed_a * self.die.normal(1.0, 0.004, len(pushed_a))
        idle_a = np.full(int(_PLUGGED_BEFORE_S / CHARGE_STEP_S), _IDLE_A)
        current_a = np.concatenate([idle_a, pushed_a, idle_a, idle_a[:1]])
        air = self._ambient(self.now_ms + int(len(current_a) * CHARGE_STEP_S * 500))
        response, pack = packs.run(model, self.truth, start, CHARGE_STEP_S, current_a, air)
        charging = np.zeros(len(current_a), np.int64)
        charging[len(idle_a) : len(idle_a) + len(pushed_a)] = kind
        still = np.zeros(len(current_a))
        if not again:
            ac, dc = self.state.charges_ac + (kind == AC), self.state.charges_dc + (kind == DC)
            self.state = replace(self.state, charges_ac=ac, charges_dc=dc)
        parked = np.full(len(current_a), PARK, np.int64)
        self._awake(CHARGE_STEP_S, current_a, response, pack, air, still, still, parked, charging, plugged=True)
        if pack.soc > _TOP_SOC - 0.02:  # a full cell shows its charge plainly
            off_pct = 100 * pack.soc - self.state.bms.soc_pct
            self.state = replace(
                self.state, bms=replace(self.state.bms, soc_pct=self.state.bms.soc_pct + 0.6 * off_pct)
            )

    def _awake(
        self,
        step_s: float,
        current_a: FloatArray,
        response: packs.Response,
        pack: PackState,
        air_degc: float,
        speed_kmh: FloatArray,
        moved_km: FloatArray,
        gear: IntArray,
        charge_kind: IntArray,
        *,
        plugged: bool,
    ) -> None:
        bms, model = self.state.bms, self.model.bms
        sensed_a = current_a * model.gain + model.offset_a
        counted_ah = np.concatenate([[0.0], np.cumsum(0.5 * (sensed_a[1:] + sensed_a[:-1]))]) * step_s / 3600.0
        soc_bms_pct = np.clip(bms.soc_pct + 100 * counted_ah / bms.capacity_ah, 0.0, 100.0)
        awake = Awake(
            self.now_ms,
            step_s,
            current_a,
            sensed_a,
            response.voltage_v,
            response.soc,
            soc_bms_pct,
            response.temp_degc,
            speed_kmh,
            self.state.odometer_km + moved_km,
            gear,
            charge_kind,
            plugged,
            not plugged,
            air_degc,
            self.truth,
            bms.capacity_ah,
            self.state.charges_ac,
            self.state.charges_dc,
        )
        self.stretches.append(awake)
        self.now_ms = awake.end_ms
        self.state = replace(
            self.state,
            pack=pack,
            bms=replace(bms, soc_pct=float(soc_bms_pct[-1])),
            odometer_km=self.state.odometer_km + float(moved_km[-1]),
        )

    def _relearn(self, bms: BmsState) -> BmsState:
        model = self.model.bms
        if self.date % model.relearns_every_days:
            return bms
        meant_ah = self.truth.capacity_ah * (1 + model.capacity_bias)
        return replace(bms, capacity_ah=bms.capacity_ah + model.relearns_share * (meant_ah - bms.capacity_ah))


def _newborn(model: CarModel, seed: int) -> CarState:
    """The car as the first simulated day begins: its past is told, not lived."""
    soc = float(np.random.default_rng([seed, 0]).uniform(0.5, 0.8))
    days = 365.25 * model.age_years * float(np.exp(0.06 * (model.climate.mean_degc - 25.0)))
    pack = PackState(soc, model.climate.mean_degc, 0.0, 0.0, days, model.past_cycles)
    capacity_ah = packs.health(model.pack, pack).capacity_ah * (1 + model.bms.capacity_bias) + 0.4  # it lags behind
    return CarState(pack, BmsState(100 * soc + 1.0, capacity_ah), model.past_km, *model.past_charges)


_LEAF_BODY: Final = Vehicle(1600.0, 0.70, 0.013, 450.0, 80_000.0, 30_000.0)

# A 2013 car on its second owner, in a warm place, often at quick chargers: it fades fast, past its knee.
LEAF_24: Final = CarModel(
    "leaf-24",
    "leaf",
    "nissan-leaf",
    PackModel(packs.LMO, 96, 65.4, 0.105, 2500.0, 2.0e5, 6.0, 4.18, 0.053, 0.004, 1120.0, 0.12),
    BmsModel(-0.6, 1.003, 0.012, 4, 0.25),
    _LEAF_BODY,
    Habits(21.0, 14.0, 0.15, 55.0, 0.30, 0.62, _TOP_SOC, 3300.0, 38_000.0),
    Climate(22.0, 7.0, 4.0),
    12.0,
    1100.0,
    98_400.0,
    (1480, 610),
)
# A large pack used mildly: charged to 80 % once or twice a week.
LEAF_62: Final = CarModel(
    "leaf-62",
    "leaf",
    "nissan-leaf",
    PackModel(packs.NMC, 96, 176.4, 0.062, 2700.0, 4.2e5, 8.0, 4.17, 0.040, 0.006),
    BmsModel(0.3, 0.998, -0.006, 2, 0.2),
    replace(_LEAF_BODY, mass_kg=1750.0, power_limit_w=160_000.0, regeneration_limit_w=60_000.0),
    Habits(24.0, 20.0, 0.25, 120.0, 0.02, 0.45, 0.80, 5900.0, 70_000.0),
    Climate(14.0, 11.0, 5.0),
    4.0,
    150.0,
    41_200.0,
    (262, 31),
)
# A small pack for short ways in town, filled up nearly every evening.
IMIEV_16: Final = CarModel(
    "imiev-16",
    "imiev",
    "mitsubishi-imiev",
    PackModel(packs.LMO, 88, 50.0, 0.11, 2400.0, 1.5e5, 5.0, 4.15, 0.040, 0.030),
    BmsModel(-0.25, 0.996, 0.0, 7, 0.35),
    Vehicle(1180.0, 0.74, 0.012, 400.0, 49_000.0, 18_000.0),
    Habits(12.0, 9.0, 0.10, 32.0, 0.05, 0.75, _TOP_SOC, 2900.0, 30_000.0),
    Climate(16.0, 10.0, 5.0),
    11.0,
    520.0,
    62_700.0,
    (1905, 44),
)

MODELS: Final = {model.id: model for model in (LEAF_24, LEAF_62, IMIEV_16)}
