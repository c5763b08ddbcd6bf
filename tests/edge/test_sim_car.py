"""The simulated car: its battery's truth, its books, its resumability. Estimators are judged by it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbox.core.frames import FloatArray
from packbox.sim import pack as sim_pack
from packbox.sim.car import AC, DC, IMIEV_16, LEAF_24, LEAF_62, MODELS, Awake, CarModel, SimCar
from packbox.sim.driver import DAY_MS

FIRST_DAY = 20_400  # November 2025
EVERY_CAR = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@cache
def _lived(model: CarModel) -> tuple[SimCar, list[Awake]]:
    """A car after 240 days, lived once for all tests."""
    car = SimCar(model, seed=1, first_day=FIRST_DAY)
    return car, _awake(car, 240)


def _awake(car: SimCar, days: int) -> list[Awake]:
    stretches = []
    for stretch in car.stretches(0):
        if stretch.start_ms >= car.day_begins_ms(days):
            return stretches
        if isinstance(stretch, Awake):
            stretches.append(stretch)
    raise AssertionError("life ended")


def _moved_ah(current_a: FloatArray, step_s: float) -> float:
    return float(np.trapezoid(current_a, dx=step_s)) / 3600.0


@EVERY_CAR
def test_a_battery_only_ever_loses_capacity(model: CarModel) -> None:
    """The truth is what estimates are compared with; it must fall, and by an amount a battery could."""
    car, _ = _lived(model)
    capacity_ah = np.array([car.truth(day).capacity_ah for day in range(241)])
    assert np.all(np.diff(capacity_ah) < 0)
    assert 0.3 < 100 * (capacity_ah[0] - capacity_ah[-1]) / model.pack.capacity_new_ah < 5.0


def test_the_three_cars_of_the_demo_lead_different_lives() -> None:
    """Pages that look alike would show nothing."""
    lost = {}
    for model in (LEAF_24, LEAF_62, IMIEV_16):
        car, _ = _lived(model)
        lost[model.id] = car.truth(0).soh_pct - car.truth(240).soh_pct
    assert lost["leaf-24"] > 2 * lost["imiev-16"] > 2 * lost["leaf-62"] / 1.5
    kinds = [s.charge_kind.max() for s in _lived(LEAF_24)[1]]
    assert min(kinds.count(AC), kinds.count(DC)) > 10


@EVERY_CAR
def test_state_of_charge_moves_by_the_charge_that_flowed(model: CarModel) -> None:
    """Charge balance is the one law every capacity estimate rests on."""
    for stretch in _lived(model)[1]:
        held_ah = (stretch.soc[-1] - stretch.soc[0]) * stretch.truth.capacity_ah
        assert _moved_ah(stretch.current_a, stretch.step_s) == pytest.approx(held_ah, abs=1e-9)


@EVERY_CAR
def test_every_quantity_stays_where_a_real_car_keeps_it(model: CarModel) -> None:
    """The box throws implausible values away; an examiner that sends them would examine nothing."""
    _, stretches = _lived(model)
    soc = np.concatenate([s.soc for s in stretches])
    cell_v = np.concatenate([s.voltage_v for s in stretches]) / model.pack.cells
    temp_degc = np.concatenate([s.temp_degc for s in stretches])
    current_a = np.concatenate([s.current_a for s in stretches])
    assert (soc.min() > 0.05, soc.max() < 0.99) == (True, True)
    assert (cell_v.min() > 2.6, cell_v.max() < model.pack.cell_full_v + 0.05) == (True, True)
    assert (temp_degc.min() > -20, temp_degc.max() < 60) == (True, True)
    assert np.abs(current_a).max() < 5 * model.pack.capacity_new_ah


@EVERY_CAR
def test_life_has_no_holes_and_no_overlaps(model: CarModel) -> None:
    """Time that is told twice or not at all would be a fault of the box's input, not of the box."""
    car = SimCar(model, seed=5, first_day=FIRST_DAY)
    end_ms = car.day_begins_ms(0)
    for stretch in car.stretches(0):
        assert stretch.start_ms == end_ms
        end_ms = stretch.end_ms
        if end_ms > car.day_begins_ms(30):
            return


def test_drivers_pass_days_at_home_and_weeks_have_weekends() -> None:
    """Usage that is the same every day would hide mistakes in rests and histograms."""
    car, stretches = _lived(LEAF_24)
    drives = np.zeros(240, int)
    for stretch in stretches:
        drives[car.day_at(stretch.start_ms)] += stretch.car_on
    assert set(drives) >= {0, 2, 3}


def test_a_car_with_another_seed_leads_another_life() -> None:
    """Many seeds are many examinations."""
    assert SimCar(LEAF_24, 1, FIRST_DAY).truth(30) != SimCar(LEAF_24, 2, FIRST_DAY).truth(30)


@settings(max_examples=15, deadline=None)
@given(minutes=st.integers(0, 12 * 24 * 60), model=st.sampled_from(sorted(MODELS)))
def test_a_car_resumed_at_any_time_lives_the_same_future(minutes: int, model: str) -> None:
    """A restarted box must meet the same car; otherwise every restart would look like a swapped pack."""
    whole = SimCar(MODELS[model], 4, FIRST_DAY)
    from_ms = whole.day_begins_ms(0) + minutes * 60_000
    until_ms = whole.day_begins_ms(13)

    def future(car: SimCar, ask_ms: int) -> list[tuple[object, ...]]:
        told: list[tuple[object, ...]] = []
        for stretch in car.stretches(ask_ms):
            if stretch.start_ms >= until_ms:
                return told
            if stretch.end_ms > from_ms:
                columns = (
                    (stretch.current_a.tobytes(), stretch.soc_bms_pct.tobytes()) if isinstance(stretch, Awake) else ()
                )
                told.append((stretch.start_ms, stretch.end_ms, *columns))
        raise AssertionError("life ended")

    assert future(SimCar(MODELS[model], 4, FIRST_DAY), from_ms) == future(whole, 0)


def test_the_bms_errs_but_follows() -> None:
    """A BMS without errors would let an estimator that copies it pass."""
    _, stretches = _lived(LEAF_24)
    off_pct = np.array([s.soc_bms_pct[-1] - 100 * s.soc[-1] for s in stretches])
    off_ah = np.array([s.bms_capacity_ah - s.truth.capacity_ah for s in stretches])
    assert 0.2 < np.abs(off_pct).mean() < 5.0
    assert 0.1 < np.abs(off_ah).mean() < 2.0
    steps = {s.bms_capacity_ah for s in stretches}
    assert 240 / 4 - 5 <= len(steps) <= 240 / 4 + 5


def test_a_day_begins_where_the_calendar_says() -> None:
    """`truth(day)` and frames must speak of the same day."""
    car = SimCar(LEAF_24, 1, FIRST_DAY)
    assert car.day_begins_ms(1) - car.day_begins_ms(0) == DAY_MS
    assert [car.day_at(car.day_begins_ms(3) + d) for d in (-1, 0, DAY_MS - 1)] == [2, 3, 3]
    assert car.day_at(0) == 0


def test_recurrences_in_blocks_are_the_recurrence() -> None:
    """The one numerical trick of the pack, against the plain loop."""
    die = np.random.default_rng(1)
    for n in (1, 31, 32, 33, 1000):
        keep, add = die.uniform(0.4, 1.0, n), die.normal(size=n)
        expected = [0.7]
        for k in range(n):
            expected.append(keep[k] * expected[-1] + add[k])
        assert sim_pack.recur(keep, add, 0.7) == pytest.approx(np.array(expected), rel=1e-9, abs=1e-9)


def test_resistance_shows_as_voltage_and_heat() -> None:
    """Half an hour of 1 C discharge: the voltage sags by current times resistance, the pack warms by the loss."""
    start = sim_pack.PackState(0.9, 25.0, 0.0, 0.0, 1000.0, 100.0)
    now = sim_pack.health(LEAF_24.pack, start)
    current_a = np.full(1801, -60.0)
    response, end = sim_pack.run(LEAF_24.pack, now, start, 1.0, current_a, 25.0)
    open_v = LEAF_24.pack.cells * sim_pack.open_circuit_v(LEAF_24.pack, response.soc)
    assert (open_v - response.voltage_v)[0] == pytest.approx(60 * now.resistance_ohm)
    assert (open_v - response.voltage_v)[-1] == pytest.approx(1.8 * 60 * now.resistance_ohm, rel=0.05)
    lost_j = 60**2 * 1.8 * now.resistance_ohm * 1800
    assert end.temp_degc - 25.0 == pytest.approx(lost_j / LEAF_24.pack.heat_capacity_j_per_k, rel=0.05)


@pytest.mark.parametrize("curve", [sim_pack.LMO, sim_pack.NMC])
def test_open_circuit_voltage_rises_with_charge(curve: sim_pack.OcvCurve) -> None:
    """A curve with a dip would make two charges of one voltage."""
    assert np.all(np.diff(curve.volts(np.linspace(0, 1, 1001))) > 0)


def test_a_full_pack_takes_less_and_less() -> None:
    """Charging ends in a taper, so that full charges look like full charges."""
    start = sim_pack.PackState(0.3, 25.0, 0.0, 0.0, 1000.0, 100.0)
    now = sim_pack.health(LEAF_24.pack, start)
    current_a = sim_pack.charge_current_a(LEAF_24.pack, now, start, 5.0, 1.0, 40_000.0, 7200.0)
    response, _end = sim_pack.run(LEAF_24.pack, now, start, 5.0, current_a, 25.0)
    assert current_a[0] > 100 > 10 > current_a[-1]
    assert response.voltage_v.max() / LEAF_24.pack.cells < LEAF_24.pack.cell_full_v + 0.02
