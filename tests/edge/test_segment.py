"""How a day is cut into drives, charges and rests."""

from __future__ import annotations

import pytest

from fold_day import BOOT, OTHER_BOOT, WALL_MS, Day, run, sessions, shape, tick, told
from packbox.core.outcome import ChargeKind
from packbox.core.segment import CONFIRM_S, NEXT, PAUSE_S, Phase
from packbox.core.sight import Sight


def test_a_day_is_told_as_what_happened_in_order() -> None:
    """The owner recognises the day: drive to work, sleep there, drive home, charge."""
    day = (
        Day(soc=80).idle(2).drive(20).idle(1).sleep(8).idle(0.5).drive(20).idle(2).charge(120).idle(2).sleep(9).idle(2)
    )

    assert shape(day) == [
        ("rest", 120),
        ("drive", 1200),
        ("rest", 60 + 8 * 3600 + 30),
        ("drive", 1200),
        ("rest", 120),
        ("charge", 7200),
        ("rest", 120 + 9 * 3600 + 120),
    ]


def test_a_charge_interrupted_by_a_power_cut_is_one_charge() -> None:
    """Owners see one plug-in as one charge, also when the box lost power half way."""
    day = Day(soc=20).charge(60, amps=15).power_cut(90, amps=15).charge(60, amps=15).idle(2)

    charge, rest = told(day)

    assert (charge.kind, charge.interrupted, charge.segments, rest.kind) == ("charge", True, 2, "rest")
    # The last current before the cut and the first after it lie too far apart: nothing is made up between them.
    assert charge.charge_in_ah == pytest.approx(2 * 15 * 3599 / 3600)
    assert charge.unseen_s == 90
    assert (charge.soc_start_pct, charge.soc_end_pct) == pytest.approx((20.0, 70.6), abs=0.11)


def test_a_restart_of_the_box_in_a_charge_leaves_one_charge() -> None:
    """A new boot counts from zero; wall clocks tell how long nobody looked."""
    day = Day(soc=20).charge(30)
    first = day.frames()
    later = Day(soc=day.soc + 1).charge(30)
    second = later.frames(boot=OTHER_BOOT, wall_ms=WALL_MS + 1_860_000)

    charge, *rest = sessions(run([first, second])[1])

    assert (charge.kind, charge.interrupted, charge.start.boot, rest) == ("charge", True, BOOT, [])
    assert charge.duration_s == 1800 + 60 + 1800


def test_a_drive_is_over_when_the_box_restarts_after_nobody_knows_how_long() -> None:
    """A box that is fed by the ignition must not join Monday's drive to Tuesday's."""
    first = Day().drive(10).frames(wall_ms=None)
    second = Day().drive(10).frames(boot=OTHER_BOOT, wall_ms=None)

    assert [(s.kind, s.duration_s) for s in sessions(run([first, second])[1])] == [("drive", 600), ("drive", 600)]


def test_red_lights_do_not_end_a_drive() -> None:
    assert shape(Day().drive(5).stop(4.5).drive(5).idle(5)) == [("drive", 870), ("rest", 300)]


def test_a_stop_longer_than_five_minutes_ends_a_drive_where_it_last_moved() -> None:
    assert shape(Day().drive(5).stop(6).drive(5)) == [("drive", 300), ("rest", 360), ("drive", 300)]


def test_switching_the_car_off_ends_a_drive_soon() -> None:
    """Two errands are two drives."""
    assert shape(Day().drive(5).idle(2).drive(5)) == [("drive", 300), ("rest", 120), ("drive", 300)]


def test_solar_surplus_charging_is_one_session_of_many_segments() -> None:
    """Clouds make dozens of pieces; the owner plugged in once."""
    day = Day(soc=30)
    for _ in range(5):
        day.charge(20, amps=6).plugged(30)

    charge, rest = told(day)

    assert (charge.kind, charge.segments, charge.interrupted) == ("charge", 5, False)
    assert charge.duration_s == (5 * 20 + 4 * 30) * 60
    assert (rest.kind, rest.duration_s) == ("rest", 1800)


def test_pulling_the_plug_ends_a_charge_at_once() -> None:
    """Two plug-ins within minutes are two charges."""
    kinds = [s.kind for s in told(Day().charge(20).idle(2).charge(20))]
    assert kinds == ["charge", "rest", "charge"]


def test_current_alone_is_a_charge_after_half_a_minute() -> None:
    """Cars that do not say that they charge: current flows in at standstill in P."""
    day = (
        Day().tell(120, 0.0, speed_kmh=0, gear=0).tell(600, 8.0, speed_kmh=0, gear=0).tell(60, 0.0, speed_kmh=0, gear=0)
    )

    assert [(s.kind, s.duration_s, s.charge_kind) for s in told(day)] == [
        ("rest", 120, None),
        ("charge", 600, ChargeKind.AC),
        ("rest", 60, None),
    ]


def test_regeneration_is_no_charge() -> None:
    """A long way downhill puts charge into the pack."""
    day = Day().drive(5).drive(10, amps=40).drive(5)

    (drive,) = told(day)

    assert drive.kind == "drive"
    assert drive.energy_regenerated_wh == pytest.approx(40 * 350 * 10 / 60, rel=0.01)


def test_a_hybrid_that_charges_from_its_engine_is_not_plugged_in() -> None:
    """The car's own word goes before what the current looks like."""
    assert [s.kind for s in told(Day().idle(10, amps=20))] == ["rest"]


def test_feeding_a_house_is_no_drive() -> None:
    """V2H: discharge with speed 0 and a plug."""
    kinds = [s.kind for s in told(Day().tell(1800, -15.0, speed_kmh=0, gear=0, plugged=1, charge_kind=0))]
    assert kinds == ["rest"]


def test_a_drive_is_seen_without_speed_by_its_gear() -> None:
    assert [s.kind for s in told(Day().tell(600, -20.0, gear=3))] == ["drive"]


def test_a_drive_is_seen_without_speed_and_gear_by_its_current() -> None:
    assert [s.kind for s in told(Day().tell(600, -40.0))] == ["drive"]


def test_blips_are_no_sessions() -> None:
    """Shunting in the yard and a charger's self-test must not fill the book."""
    day = Day().idle(5).drive(5 / 60).idle(5).charge(5 / 60).idle(5)
    assert shape(day) == [("rest", 15 * 60 + 10)]


def test_a_rest_shorter_than_a_minute_is_no_session() -> None:
    assert [kind for kind, _ in shape(Day().charge(10).idle(0.5).drive(10))] == ["charge", "drive"]


@pytest.mark.parametrize(
    ("kind", "amps", "expected"),
    [(1, 10.0, ChargeKind.AC), (2, 10.0, ChargeKind.DC), (None, 10.0, ChargeKind.AC), (None, 60.0, ChargeKind.DC)],
)
def test_dc_is_what_the_car_says_or_more_than_eleven_kilowatts(
    kind: float | None, amps: float, expected: ChargeKind
) -> None:
    assert told(Day(soc=10).charge(10, amps=amps, kind=kind))[0].charge_kind is expected


def test_a_charge_carries_everything_that_was_seen() -> None:
    day = Day(soc=40, temp=12).charge(30, amps=20, cell_voltage_min_v=3.61, cell_voltage_max_v=3.64, soc_shown_pct=36)
    day.tell(30, 20.0, charge_kind=1, plugged=1, soh_reported_pct=91, capacity_reported_ah=55.2, ambient_temp_degc=7)

    (charge,) = told(day)

    assert charge.power_max_kw == pytest.approx(7.0)
    assert (charge.cell_voltage_min_v, charge.cell_voltage_max_v) == (3.61, 3.64)
    assert (charge.temp_min_degc, charge.temp_mean_degc, charge.temp_max_degc) == (12, 12, 12)
    assert (charge.soc_shown_start_pct, charge.soc_shown_end_pct) == (36, 36)
    assert (charge.soh_reported_pct, charge.capacity_reported_ah, charge.ambient_temp_degc) == (91, 55.2, 7)
    assert (charge.pack_voltage_start_v, charge.pack_voltage_end_v) == (350, 350)
    assert (charge.current_max_a, charge.current_min_a) == (20, 20)
    assert charge.energy_in_wh == pytest.approx(20 * 350 * 1828 / 3600)  # the voltage is first told after the current


def test_a_drives_distance_comes_from_speed_and_its_odometer_stands_beside_it() -> None:
    (drive,) = told(Day().drive(30, kmh=60))
    assert drive.distance_km == pytest.approx(30)
    assert (drive.odometer_start_km, drive.odometer_end_km, drive.speed_max_kmh) == (1000, 1029, 60)


def test_without_speed_the_distance_comes_from_the_odometer() -> None:
    day = Day().tell(300, -20.0, gear=3)
    day.odometer += 7
    assert told(day.tell(300, -20.0, gear=3))[0].distance_km == 7


def test_what_nobody_told_is_none() -> None:
    (rest,) = told(Day().tell(120, -0.5))
    assert (rest.soc_shown_start_pct, rest.cell_voltage_min_v, rest.ambient_temp_degc, rest.distance_km) == (None,) * 4


def test_ticks_on_a_silent_bus_close_what_is_over() -> None:
    """The owner sees the charge in the evening, not when the car wakes up next week."""
    day = Day(soc=30).charge(60)

    _, outcomes = run([day.frames(), tick(3600 + 3 * 3600)], finish=False)

    assert [s.kind for s in sessions(outcomes)] == ["charge"]


def test_a_tick_does_not_close_what_may_go_on() -> None:
    day = Day(soc=30).charge(60)
    _, outcomes = run([day.frames(), tick(3600 + 600)], finish=False)
    assert sessions(outcomes) == []


def test_the_tables_cover_every_sight() -> None:
    """A sight without a rule would be a crash on the road."""
    assert set(CONFIRM_S) == set(NEXT)
    for phase in (Phase.CHARGING, Phase.DRIVING):
        assert set(PAUSE_S[phase]) == set(Sight) - set(NEXT)
