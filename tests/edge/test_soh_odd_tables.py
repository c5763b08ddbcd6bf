"""Tables that are unusual but legal are read for what they are: coarse steps, empty cells, shunted charge."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from packbox.core.frames import FloatArray
from packbox.core.ocv import curve_of
from packbox.core.packs import PackFacts
from packbox.core.sample import Col, Samples, Sum
from packbox.core.soh.bms_value import BmsValue
from packbox.core.soh.method import Basis, Estimate, MethodId, SessionEnd
from packbox.core.soh.reading import BmsSaid
from packbox.core.soh.rest_anchors import watch
from packbox.core.soh.rest_state import Anchor, RestBandsState, swing_between
from packbox.core.soh.screen import STUCK_JUMP_V, jump_of
from packbox.core.soh.weigh import SohStatus, weigh
from soh_car import PACK, changed, driven, told

FLAT = ((0.0, 2.8), (6.0, 3.18), (22.0, 3.25), (55.0, 3.295), (89.0, 3.325), (95.0, 3.33), (100.0, 3.42))


def row_by_row(volts: FloatArray, current_a: float, pack: PackFacts) -> Samples:
    """One row a second with this mean cell voltage and current, shape (n,)."""
    assert pack.cells_in_series is not None
    n = len(volts)
    value = np.full((n, len(Col)), np.nan)
    value[:, Col.CURRENT_A], value[:, Col.VOLTAGE_V] = current_a, volts * pack.cells_in_series
    moved = np.zeros((n + 1, len(Sum)))
    moved[1:, Sum.CHARGE_IN_AH], moved[1:, Sum.OBSERVED_S], moved[1:, Sum.AWAKE_S] = current_a / 3600.0, 1.0, 1.0
    total = np.cumsum(moved, axis=0)
    return Samples(np.arange(n), np.ones(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.bool_), value, total)


def test_charge_that_trickles_into_full_cells_is_not_counted_between_rests() -> None:
    """facts/soh.md §7: below C/50 it goes through the balancing resistors. 1 A into 65.4 Ah for an hour: 1 Ah."""
    curve = curve_of(PACK.ocv)
    assert curve is not None
    full, half = curve.volts_at(97.0), curve.volts_at(50.0)
    shunted = watch(RestBandsState(), row_by_row(np.full(3600, full), 1.0, PACK), PACK, curve)
    assert (shunted.shunted_ah, shunted.shunted_s) == pytest.approx((1.0, 3600.0))
    slow = watch(RestBandsState(), row_by_row(np.full(3600, half), 1.0, PACK), PACK, curve)
    quick = watch(RestBandsState(), row_by_row(np.full(3600, full), 2.0, PACK), PACK, curve)
    assert (slow.shunted_ah, quick.shunted_ah) == (0.0, 0.0)


def test_charge_past_full_cells_makes_the_swing_doubtful_by_half_of_it() -> None:
    first = Anchor(0.0, 0.0, 30.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, math.nan)
    last = first._replace(soc_pct=90.0, charge_in_ah=36.0, moved_ah=36.0, counted_s=36_000.0)
    plain, past = swing_between(first, last), swing_between(first, last._replace(shunted_ah=2.0))
    assert plain.charge_sigma_ah == pytest.approx(0.02 * 6.0 + 0.02)
    assert past.charge_sigma_ah == pytest.approx(math.hypot(0.14, 1.0), abs=1e-3)


def test_one_step_of_a_coarse_voltage_is_no_jump() -> None:
    """A charger holds its current for hours while a voltage told in steps of 20 mV moves on by one."""
    changes = np.array([0.0, 0.060, 0.0, 0.020, 0.040])
    jump_v, step_v = jump_of(changes, math.inf)
    assert step_v.tolist() == [math.inf, 0.060, 0.060, 0.020, 0.020]
    assert (changes > jump_v).tolist() == [False, False, False, False, True]
    again = jump_of(changes[4:], float(jump_of(changes[:4], math.inf)[1][-1]))
    assert (again[0][0], again[1][0]) == (jump_v[4], step_v[4])  # cutting changes nothing


def test_a_voltage_told_finely_keeps_the_common_limit() -> None:
    jump_v, step_v = jump_of(np.array([0.001, 0.012]), math.inf)
    assert (jump_v.tolist(), step_v.tolist()) == ([STUCK_JUMP_V] * 2, [0.0, 0.0])


def test_a_voltage_at_the_edge_of_a_plateau_tells_no_soc() -> None:
    """Five millivolts less are many percent there; the steep side alone would say half a percent."""
    curve = curve_of(FLAT)
    assert curve is not None
    edge, top = curve.at(3.3305), curve.at(3.39)
    assert edge is not None
    assert top is not None
    assert edge[1] > 2.5
    assert top[1] < 1.0


def test_a_curve_that_was_rounded_until_it_is_level_says_nothing_there() -> None:
    curve = curve_of(((0.0, 2.8), (30.0, 3.29), (70.0, 3.29), (100.0, 3.42)))
    assert curve is not None
    level = curve.at(3.29)
    assert level is not None
    assert level[1] > 3.0


def test_a_soc_in_steps_of_two_and_a_half_percent_still_tells_the_capacity() -> None:
    """Each step looked like a correction of the BMS, and nothing was ever counted."""
    one = driven(40)
    block = changed(one.block, "soc_shown_pct", lambda soc: np.floor(soc / 2.5) * 2.5)
    ratio = told(block, replace(PACK, ocv=()))[-1].estimates[0]
    assert ratio.n > 10
    assert ratio.capacity_ah == pytest.approx(one.capacity_ah[-1], rel=0.05)


def test_an_own_value_that_jumped_is_believed_no_better_than_the_jump() -> None:
    """A workshop's reset: nobody knows which of the two was right, so the interval holds both."""
    method, state = BmsValue(), BmsValue().start()
    for number, capacity_ah in enumerate((58.0, 57.9, 65.4), 1):
        state = method.use(state, BmsSaid(number, capacity_ah, None), SessionEnd(number, number), PACK)
    after = method.estimate(state, 9.0, PACK)
    assert after.sigma_ah is not None
    assert 65.4 - 1.645 * after.sigma_ah < 58.0


def weighed(capacity_ah: float, *others: Estimate, first_ah: float | None = None) -> tuple[SohStatus, float, str]:
    measured = Estimate(MethodId("rest_bands/1"), Basis.OCV, capacity_ah, 0.9, 50, newest_s=0.0, first_ah=first_ah)
    soh = weigh([measured, *others], PACK, None, 0.0)
    assert soh.hi90_pct is not None
    return soh.state, soh.hi90_pct, soh.why or ""


def test_a_third_of_the_current_missing_does_not_pass_for_a_worn_pack() -> None:
    """Without a word from the car, 61 % may be a scale of the current: the interval reaches what packs usually hold."""
    silent = Estimate(MethodId("bms_value/1"), Basis.BMS_VALUE, why="says nothing")
    state, high_pct, why = weighed(40.0, silent)
    assert (state, high_pct > 93.0) == (SohStatus.LEARNING, True)
    assert "is the scale of the current right?" in why
    assert weighed(58.0, silent)[0] is SohStatus.OK


def test_what_the_car_told_once_is_compared_with_what_was_measured_first() -> None:
    """Years later the pack may have lost as much; in the first months it cannot."""
    once = Estimate(MethodId("bms_value/1"), Basis.BMS_VALUE, 61.0, 1.5)
    assert weighed(45.0, once, first_ah=45.0)[0] is SohStatus.LEARNING
    assert weighed(45.0, once, first_ah=60.0)[0] is SohStatus.OK
