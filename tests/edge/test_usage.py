"""Life so far: throughput, time at SoC and temperature, load, events."""

from __future__ import annotations

import numpy as np
import pytest

from fold_day import PACK, Day, plan, run
from packbox.core.outcome import EventName, EventSeen, Outcome, UsageDue
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.usage import Usage, ageing


def usage(day: Day, pack: PackFacts | None = PACK) -> Usage:
    outcomes = run([day.frames()], plan(pack))[1]
    return [o for o in outcomes if isinstance(o, UsageDue)][-1].usage


def harm(day: Day, pack: PackFacts | None = PACK) -> list[tuple[EventName, float | None, float | None]]:
    outcomes: list[Outcome] = run([day.frames()], plan(pack))[1]
    return [(o.event, o.duration_s, o.extreme) for o in outcomes if isinstance(o, EventSeen)]


def test_throughput_and_cycles_add_up() -> None:
    used = usage(Day(soc=80).drive(60, amps=-30).idle(2, amps=0).charge(60, amps=20).charge(60, amps=10))
    assert used.charge_out_ah == pytest.approx(30, rel=1e-3)
    assert used.charge_in_ah == pytest.approx(30, rel=1e-3)
    assert used.equivalent_full_cycles(60) == pytest.approx(0.5, rel=1e-3)
    assert used.equivalent_full_cycles(None) is None
    assert (used.drives, used.charges_ac, used.charges_dc) == (1, 1, 0)
    assert used.energy_ac_in_wh == pytest.approx(30 * 350, rel=1e-3)


def test_ac_and_dc_are_kept_apart() -> None:
    used = usage(Day(soc=10).charge(30, amps=60, kind=2).idle(2).charge(30, amps=6))
    assert (used.charges_ac, used.charges_dc) == (1, 1)
    assert used.energy_dc_in_wh == pytest.approx(30 * 350, rel=0.01)
    assert used.energy_ac_in_wh == pytest.approx(3 * 350, rel=0.01)


def test_every_second_lies_at_some_soc_and_temperature() -> None:
    """The owner's stress map: what was seen, and the sleep between as inferred."""
    used = usage(Day(soc=75, temp=25).drive(10).idle(1).sleep(10).idle(5))
    assert used.soc_temp_s[6:8].sum() == used.soc_temp_s.sum() == 16 * 60 + 36_000
    assert used.soc_temp_s[:, 4].sum() == used.soc_temp_s.sum()  # 20 to 30 degC
    assert (used.inferred_s, used.unobserved_s) == (36_000, pytest.approx(1, abs=1.5))


def test_a_silence_after_which_the_car_is_elsewhere_was_no_rest() -> None:
    """The box had no power while somebody drove: nothing is said about that time."""
    day = Day(soc=75).idle(5).sleep(5)
    day.odometer += 40
    used = usage(day.idle(5))
    assert (used.inferred_s, round(used.unobserved_s, -1)) == (0, 18_000)


def test_a_battery_management_that_corrects_itself_in_its_sleep_has_slept() -> None:
    """Leafs jump several percent after a long rest; the odometer tells it from a drive."""
    day = Day(soc=75).idle(5).sleep(5)
    day.soc -= 7
    assert usage(day.idle(5)).inferred_s == 18_000


def test_load_is_counted_in_multiples_of_the_capacity() -> None:
    used = usage(Day(soc=90, temp=15).drive(10, amps=-42).charge(10, amps=12))
    discharge, charge = used.c_rate_temp_s[10:], used.c_rate_temp_s[:10]
    assert (discharge[4, 3], charge[2, 3]) == (600, 600)  # 0.7C in 0.5..0.8, 0.2C in 0.2..0.3
    assert used.c_rate_temp_s.sum() == 1200


def test_without_a_reference_capacity_load_is_not_counted() -> None:
    """A C-rate of an unknown capacity would be made up."""
    assert usage(Day().drive(10), None).c_rate_temp_s.sum() == 0


def test_weighted_age_is_time_at_25_degrees_and_60_percent() -> None:
    assert ageing(np.array([60.0]), np.array([25.0]))[0] == 1.0
    hot, cold = ageing(np.array([60.0, 60.0]), np.array([35.0, 15.0]))
    assert (round(hot, 2), round(cold, 2)) == (1.72, 0.56)
    # 3600 s at 25 degC and 59.9 %
    assert usage(Day(soc=59.95, temp=25).tell(3600, 0.0)).arrhenius_s == pytest.approx(3600, rel=1e-3)


def test_usages_of_two_boxes_add_up() -> None:
    """A battery that changed cars has one life."""
    a, b = usage(Day(soc=80).drive(30).idle(2)), usage(Day(soc=20, temp=31).charge(60).idle(2))
    both = a + b
    assert both.charge_in_ah == a.charge_in_ah + b.charge_in_ah
    assert both.soc_temp_s.tolist() == (a.soc_temp_s + b.soc_temp_s).tolist()
    assert (both.drives, both.charges_ac) == (1, 1)
    assert both.odometer_km == max(a.odometer_km or 0, b.odometer_km or 0)
    assert (a + b).first_wall_ms == a.first_wall_ms


def test_events_are_counted_in_a_life() -> None:
    assert usage(Day(temp=57).drive(10).idle(5)).events == {"pack_hot": 1}


def test_a_hot_pack_is_one_event_with_start_length_and_extreme() -> None:
    day = Day(temp=54).drive(5)
    day.temp = 58
    day.drive(2)
    day.temp = 56
    day.drive(1)
    day.temp = 50
    assert harm(day.drive(5)) == [(EventName.PACK_HOT, 180, 58)]


def test_a_cell_that_dips_at_every_push_of_the_pedal_is_one_event() -> None:
    day = Day(soc=5)
    for volts in (2.75, 3.0, 2.6, 3.0, 2.7):
        day.drive(20 / 60, cell_voltage_min_v=volts)
    assert harm(day.drive(5, cell_voltage_min_v=3.1)) == [(EventName.CELL_LOW, 100, 2.6)]


def test_a_cell_too_high_depends_on_its_chemistry() -> None:
    day = Day(soc=90).charge(10, cell_voltage_max_v=3.9).idle(5, cell_voltage_max_v=3.3)
    lfp = PackFacts("lfp", Chemistry.LFP, 96, 60.0, "made up")
    unknown = PackFacts("?", Chemistry.UNKNOWN, 96, 60.0, "made up")
    assert harm(day, lfp) == [(EventName.CELL_HIGH, 600, 3.9)]
    assert harm(day) == []
    assert harm(day, unknown) == []


def test_charging_below_zero_is_an_event_and_regeneration_is_not() -> None:
    assert harm(Day(temp=-6).charge(20).idle(3)) == [(EventName.COLD_CHARGE, 1200, -6)]
    assert harm(Day(temp=-6).drive(20, amps=30).idle(3)) == []


def test_a_blip_at_wake_up_is_no_event() -> None:
    """Cells are told volts apart for a second while a car wakes up."""
    assert harm(Day().idle(1 / 60, cell_voltage_min_v=2.5).idle(5, cell_voltage_min_v=3.9)) == []


def test_an_event_that_the_end_of_the_source_cuts_is_told_as_far_as_it_went() -> None:
    assert harm(Day(temp=57).drive(10)) == [(EventName.PACK_HOT, 600, 57)]


def test_sleep_ends_an_event() -> None:
    assert harm(Day(temp=57).drive(10).sleep(3).drive(1))[0] == (EventName.PACK_HOT, 600, 57)


def test_a_step_of_the_soc_without_current_is_told() -> None:
    """The BMS corrected itself; whoever counts charge must know."""
    day = Day(soc=60).idle(5)
    day.soc -= 4
    ((event, duration_s, extreme),) = harm(day.idle(5))
    assert (event, duration_s, extreme) == (EventName.SOC_JUMP, None, pytest.approx(-4))


def test_a_battery_that_healed_or_counts_from_new_is_another_one() -> None:
    """Swapped packs and reset BMS must not continue an old history unseen."""
    healed = Day().idle(5, soh_reported_pct=71).idle(5, soh_reported_pct=98)
    reset = Day().idle(5, lifetime_energy_in_kwh=5000).idle(5, lifetime_energy_in_kwh=12)
    assert [event for event, *_ in harm(healed)] == [EventName.BATTERY_CHANGED]
    assert [event for event, *_ in harm(reset)] == [EventName.BATTERY_CHANGED]


def test_the_cars_own_counters_stand_beside_ours() -> None:
    used = usage(Day().idle(3, charge_count_ac=1644, charge_count_dc=92))
    assert (used.charge_count_ac_reported, used.charge_count_dc_reported) == (1644, 92)
