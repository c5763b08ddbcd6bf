"""The banded filter against the check values of its equations, and capacity from rests on a made-up pack."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from packbox.adapters.sample_csv import Block
from packbox.adapters.snapshot import dump
from packbox.app.estimate_feed import DayEnd, Feeder
from packbox.core.ocv import curve_of
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.soh import banded, panel, resistance
from packbox.core.soh.banded import Bands, swing_of_charge_in
from packbox.core.soh.energy import soce_pct
from packbox.core.soh.method import Basis, Estimate, MethodId
from packbox.core.soh.panel import Verdict
from packbox.core.soh.rest_bands import use_swing
from packbox.core.soh.rest_state import RestBandsState
from packbox.core.soh.weigh import GAIN_FLOOR, SohStatus, weigh

YEAR_DAYS = 365.25
OCV = (
    (0.0, 3.20), (3.0, 3.43), (6.0, 3.53), (11.0, 3.66), (22.0, 3.78), (33.0, 3.86), (44.0, 3.905),
    (55.0, 3.945), (67.0, 3.985), (78.0, 4.045), (89.0, 4.085), (95.0, 4.125), (100.0, 4.18),
)  # fmt: skip
NMC = ((0.0, 3.2), (11.0, 3.5), (22.0, 3.58), (44.0, 3.67), (67.0, 3.83), (89.0, 4.03), (100.0, 4.17))
PACK = PackFacts(
    "made-up", Chemistry.LMO, 96, 60.0, "made up", 60.0,
    ocv=OCV, ocv_source="made up", current_gain_sigma_pct=0.8, current_gain_source="made up",
)  # fmt: skip
OHM = 0.096


def sigma_ah(bands: Bands) -> float:
    return math.hypot(math.sqrt(bands.variance_ah2), GAIN_FLOOR * bands.capacity_ah)


def test_the_filter_gives_the_check_values_to_all_printed_digits() -> None:
    """facts/soh.md §6, with our sign: the charge of its first segment, -29 in discharge, is +29 into the pack."""
    bands = banded.begin(60.0, 0.05, 0.03)
    assert f"{bands.capacity_ah:.4f} {sigma_ah(bands):.4f}" == "60.0000 3.0382"
    assert f"{bands.cov[0, 0]:.6f} {bands.cov[0, 1]:.6f}" == "0.119160 0.086760"

    bands = banded.predict(bands, 5 / YEAR_DAYS)
    bands, _ = banded.take_swing(bands, swing_of_charge_in(30, 80, 29.0, 10, 1.5, 0.12), settled=False)
    assert f"{bands.mean[0]:.4f} {bands.mean[4]:.4f} {bands.offset_a:.4f}" == "5.9635 5.9609 0.0743"
    assert f"{bands.capacity_ah:.4f} {sigma_ah(bands):.4f}" == "59.6222 2.7677"

    bands = banded.predict(bands, 4 / YEAR_DAYS)
    bands, _ = banded.take_swing(bands, swing_of_charge_in(75, 42, -18.0, 1.2, 1.2, 0.10), settled=False)
    assert f"{bands.mean[5]:.4f} {bands.offset_a:.4f}" == "5.6329 -0.0755"
    assert f"{bands.capacity_ah:.4f} {sigma_ah(bands):.4f}" == "56.5680 1.7680"

    bands = banded.take_direct(banded.predict(bands, 21 / YEAR_DAYS), 58.0, 1.45)
    assert f"{bands.capacity_ah:.4f} {sigma_ah(bands):.4f}" == "57.3789 1.2019"


def test_a_rested_voltage_tells_the_soc_and_how_well() -> None:
    curve = curve_of(OCV)
    assert curve is not None
    assert curve.at(3.945) == (pytest.approx(55.0), pytest.approx(1.45, abs=0.1))
    assert curve.at(3.0) is None
    assert curve.at(4.3) is None


@pytest.mark.parametrize(("known_pct", "floor"), [(None, 0.015), (0.3, 0.008), (2.0, 0.02)])
def test_a_sensor_nobody_knows_keeps_the_interval_wide(known_pct: float | None, floor: float) -> None:
    """facts/soh.md §6. However many readings: its gain is in all of them."""
    sure = Estimate(MethodId("rest_bands/1"), Basis.OCV, 60.0, 1e-6, 99, newest_s=0.0)
    soh = weigh([sure], replace(PACK, current_gain_sigma_pct=known_pct), None, 0.0)
    assert soh.sigma_pct == pytest.approx(100.0 * floor)


def test_the_slope_of_a_pack_that_is_known_is_taken_before_that_of_its_chemistry() -> None:
    assert resistance.slope_k(resistance.start().slow, replace(PACK, resistance_slope_k=2700.0)) == 2700.0


def test_charge_against_the_voltage_is_counted_and_not_taken() -> None:
    swing = swing_of_charge_in(30, 80, -30.0, 3.0, 1.4, 0.1)
    state = use_swing(RestBandsState(), swing, 0.0, 1, PACK)
    assert (state.contrary, state.n, state.bands) == (1, 0, None)


# -- a made-up car -----------------------------------------------------------------------------------------------------


def car(
    days: int,
    *,
    capacity_ah: float = 54.0,
    offset_a: float = 0.0,
    gain: float = 1.0,
    seed: int = 3,
    every_s: int = 10,
) -> Block:
    """Drives, charges and sleeps; what the sensors would say, every ten seconds while awake."""
    dice = np.random.default_rng(seed)
    t_s: list[float] = []
    current: list[float] = []
    soc: list[float] = []
    now, level = 0.0, 80.0

    def live(amps: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
        nonlocal now, level
        for a in amps.tolist():
            level += a * every_s / 36.0 / capacity_ah
            now += every_s
            t_s.append(now)
            current.append(a)
            soc.append(level)

    idle = np.zeros(2)
    for _ in range(days):
        depth = dice.uniform(0.3, 0.6)
        n = int(depth * capacity_ah * 3600.0 / (20.0 * every_s))
        live(np.concatenate((idle, dice.normal(-20.0, 12.0, n), idle)))
        now += 8 * 3600
        n = int((dice.uniform(75, 92) - level) / 100 * capacity_ah * 3600.0 / (14.0 * every_s))
        live(np.concatenate((idle, np.full(n, 14.0), idle)))
        now = (now // 86_400 + 1) * 86_400 + 3600.0
    amps, level_pct = np.array(current), np.array(soc)
    volts = 96 * np.interp(level_pct, *np.array(OCV).T) + OHM * amps
    values = {
        "pack_current_a": np.round(gain * amps + offset_a, 1),
        "pack_voltage_v": volts,
        "soc_shown_pct": np.floor(level_pct),
        "pack_temp_mean_degc": np.full(len(amps), 20.0),
    }
    return Block(np.array(t_s), values, 2)


def cut(block: Block, low: int, high: int) -> Block:
    return replace(block, t_s=block.t_s[low:high], values={q: v[low:high] for q, v in block.values.items()})


def days_of(blocks: list[Block], pack: PackFacts = PACK) -> list[DayEnd]:
    feeder = Feeder(pack)
    ends = [end for block in blocks for end in feeder.feed(block)]
    return [*ends, *feeder.finish()]


def last(blocks: list[Block], pack: PackFacts = PACK) -> Verdict:
    end = days_of(blocks, pack)[-1]
    return panel.verdict(end.state, end.at_s, pack)


def test_rests_tell_the_capacity_of_a_pack_nobody_has_a_value_for() -> None:
    said = last([car(30)])
    assert said.soh.state is SohStatus.OK
    assert said.soh.capacity_ah == pytest.approx(54.0, rel=0.01)
    assert (said.soh.lo90_pct or 0) < 90.0 < (said.soh.hi90_pct or 0)


@pytest.mark.parametrize("offset_a", [-0.8, 0.6])
def test_an_offset_of_the_sensor_is_found_and_taken_out(offset_a: float) -> None:
    """facts/soh.md §9: real sensors show -0.8 A at rest, 10 % of a pack over a night's charge."""
    end = days_of([car(60, offset_a=offset_a)])[-1]
    said = panel.verdict(end.state, end.at_s, PACK)
    assert said.soh.capacity_ah == pytest.approx(54.0, rel=0.015)
    assert end.state.rest_bands.bands is not None
    assert -end.state.rest_bands.bands.offset_a == pytest.approx(offset_a, abs=0.3)


def test_five_percent_more_current_is_five_percent_more_capacity() -> None:
    """A filter that trusts its start too much would hide it."""
    plain, more = (last([car(40, gain=gain)]).soh.capacity_ah or 0 for gain in (1.0, 1.05))
    assert more / plain == pytest.approx(1.05, abs=0.006)


def test_shifting_time_changes_nothing() -> None:
    block = car(20)
    later = replace(block, t_s=block.t_s + 1234 * 86_400)
    for a, b in zip(days_of([block]), days_of([later]), strict=True):
        assert b.day == a.day + 1234
        assert panel.verdict(b.state, b.at_s, PACK).soh == replace(
            panel.verdict(a.state, a.at_s, PACK).soh,
        )


def test_splitting_the_table_anywhere_changes_nothing() -> None:
    """Also what a restart of the box at any row means: the state is all there is."""
    block = car(12)
    whole = dump(days_of([block])[-1].state)
    dice = np.random.default_rng(7)
    for n in (1, 3, 40):
        bounds = [0, *sorted(dice.choice(np.arange(1, len(block.t_s)), n, replace=False).tolist()), len(block.t_s)]
        parts = [cut(block, a, b) for a, b in pairwise(bounds)]
        assert dump(days_of(parts)[-1].state) == whole


def test_several_rows_a_second_are_no_step_of_the_clock() -> None:
    block = car(2)
    fast = replace(block, t_s=block.t_s / 40.0)
    feeder = Feeder(PACK)
    for k in range(0, len(fast.t_s), 7):
        list(feeder.feed(cut(fast, k, k + 7)))
    assert (feeder.rows, feeder.breaks) == (len(fast.t_s), 0)


def test_the_state_stays_small() -> None:
    """It is written with every commit, for years."""
    assert len(dump(days_of([car(40)])[-1].state)) < 4096


def test_another_chemistry_is_found_out() -> None:
    """A confident number from the wrong curve is the worst we could say."""
    wrong = replace(PACK, id="nmc", chemistry=Chemistry.NMC, ocv=NMC)
    soh = last([car(40)], wrong).soh
    assert (soh.state, soh.soh_pct) == (SohStatus.NONE, None)
    assert "is it another pack?" in (soh.why or "")


def test_a_current_of_the_wrong_sign_gives_no_value() -> None:
    block = car(20)
    turned = replace(block, values=block.values | {"pack_current_a": -block.values["pack_current_a"]})
    soh = last([turned], replace(PACK, capacity_start_ah=58.0)).soh
    assert soh.soh_pct is None
    assert "wrong sign of the current" in (soh.why or "")


def test_a_swapped_pack_is_noticed_and_learned() -> None:
    first, second = car(40), car(60, capacity_ah=38.0, seed=5)
    second = replace(second, t_s=second.t_s + 41 * 86_400)
    ends = days_of([first, second])
    states = {panel.verdict(end.state, end.at_s, PACK).soh.state for end in ends}
    soh = panel.verdict(ends[-1].state, ends[-1].at_s, PACK).soh
    assert SohStatus.REPLACED in states
    assert soh.capacity_ah == pytest.approx(38.0, rel=0.02)


def test_a_reference_that_cannot_be_gives_no_percentage() -> None:
    soh = last([car(30)], replace(PACK, reference_ah=20.0, rated_ah=60.0)).soh
    assert soh.soh_pct is None
    assert "no health a pack can have" in (soh.why or "")


def test_a_sleep_in_which_somebody_drove_makes_no_swing() -> None:
    """The car's SoC fell by more than a sleep explains: the charge between is lost."""
    block = car(30)
    hole = np.zeros(len(block.t_s), np.bool_)
    drive = block.values["pack_current_a"] < -1.5
    hole[: len(drive) // 2] = drive[: len(drive) // 2]
    lost = replace(block, t_s=block.t_s[~hole], values={q: v[~hole] for q, v in block.values.items()})
    assert last([lost]).soh.capacity_ah == pytest.approx(54.0, rel=0.015)


# -- resistance and energy ---------------------------------------------------------------------------------------------


def test_steps_of_the_current_tell_the_resistance() -> None:
    end = days_of([car(8, every_s=2)])[-1]
    ohm, why = resistance.ohm25(end.state.resistance, PACK)
    at_20 = math.exp(2000.0 * (1 / 293.15 - 1 / 298.15))
    assert why is None
    assert ohm == pytest.approx(OHM / at_20, rel=0.01)


def test_too_few_steps_tell_nothing_and_say_how_many_there_were() -> None:
    said = last([car(8)])  # ten seconds apart: the voltage relaxes meanwhile
    assert (said.r25_ohm, said.r25_why) == (None, "0 of 200 steps of the current seen within 6 s each")


def test_the_slope_over_temperature_is_learned_once_there_is_a_spread() -> None:
    """Else summer and winter would look like healing and ageing."""
    dice, state, ohm, slope = np.random.default_rng(2), resistance.start(), 0.09, 3200.0
    for temp in (4.0, 12.0, 22.0, 28.0):
        steps = dice.normal(0.0, 40.0, 500)
        volts = ohm * math.exp(slope * (1 / (temp + 273.15) - 1 / 298.15)) * steps + dice.normal(0, 0.05, 500)
        state = resistance._steps(state, steps.tolist(), volts.tolist(), [temp] * 500, PACK)
    assert resistance.slope_k(state.slow, PACK) == pytest.approx(slope, rel=0.05)
    assert resistance.ohm25(state, PACK)[0] == pytest.approx(ohm, rel=0.02)


def test_grown_resistance_costs_energy_beyond_capacity() -> None:
    """facts/soh.md §8: about 0.3 points for half as much again at a quarter of C."""
    assert soce_pct(90.0, PACK, None) == pytest.approx(90.0)
    assert 90.0 - (soce_pct(90.0, PACK, 1.5) or 0) == pytest.approx(0.3, abs=0.05)
    assert soce_pct(90.0, replace(PACK, chemistry=Chemistry.UNKNOWN, ocv=()), None) is None


# -- the car's own scale -----------------------------------------------------------------------------------------------


def full_charges(times: int, *, temp: float = 20.0, pause_h: float = 0.0) -> Block:
    """From 5 to 98 %, as shown in whole percent, a 54 Ah pack without a known curve."""
    t_s: list[float] = []
    amps: list[float] = []
    soc: list[float] = []
    now = 0.0
    for _ in range(times):
        level = 5.0
        while level < 98.5:
            step_a = 14.0 if 6.0 < level < 97.8 else 0.0
            t_s.append(now)
            amps.append(step_a)
            soc.append(math.floor(level))
            now += 10.0 + (3600.0 * pause_h if level < 50.0 <= level + 0.08 else 0.0)
            level += 14.0 * 10 / 36 / 54.0 if step_a else 0.01
        now += 86_400.0
    n = len(t_s)
    values = {"pack_current_a": np.array(amps), "pack_voltage_v": np.full(n, 370.0)}
    return Block(np.array(t_s), values | {"soc_shown_pct": np.array(soc), "pack_temp_mean_degc": np.full(n, temp)}, 2)


NO_CURVE = replace(PACK, ocv=(), ocv_source=None)


def test_a_charge_over_the_whole_scale_tells_the_capacity_without_a_curve() -> None:
    said = last([full_charges(2)], NO_CURVE)
    full = said.estimates[3]
    assert (full.method, full.n) == ("full_span/1", 2)
    assert full.capacity_ah == pytest.approx(54.0, rel=0.02)


def test_a_full_charge_in_the_cold_tells_nothing() -> None:
    """A cold pack gives less than it holds."""
    assert last([full_charges(2, temp=2.0)], NO_CURVE).estimates[3].capacity_ah is None


def test_displayed_soc_is_counted_from_step_to_step_where_the_bms_tells_none() -> None:
    ratio = last([full_charges(3)], NO_CURVE).estimates[0]
    assert ratio.capacity_ah == pytest.approx(54.0, rel=0.01)
    assert (ratio.sigma_ah or 0.0) > 0.04 * 54.0  # hidden reserves
