"""What is wrong with a table shows as "no value because ..." or as doubt, never as a confident wrong number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbox.adapters.sample_csv import Block
from packbox.adapters.snapshot import dump, load
from packbox.app.estimate_feed import Feeder
from packbox.core.frames import FloatArray
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.soh import panel
from packbox.core.soh.charge_ratio import LEGS_KEPT, Edge, Leg
from packbox.core.soh.energy_series import EVIDENCE_KEPT as ENERGY_EVIDENCE_KEPT
from packbox.core.soh.energy_series import EnergySeriesState, Pair
from packbox.core.soh.method import EVIDENCE_KEPT, Basis
from packbox.core.soh.panel import PanelState, Verdict
from packbox.core.soh.reading import RestsSeen
from packbox.core.soh.rest_anchors import MOVES_KEPT
from packbox.core.soh.rest_bands import RESTART_AFTER
from packbox.core.soh.rest_state import Anchor, swing_between
from packbox.core.soh.weigh import SohStatus
from packbox.sim import pack as sim_pack
from packbox.sim.car import LEAF_62
from soh_car import PACK, changed, curve, driven, ends, sessions, told


def car(days: int = 60) -> tuple[Block, float]:
    """And the capacity it really holds at the end."""
    one = driven(days)
    return one.block, one.capacity_ah[-1]


def said(block: Block, pack: PackFacts = PACK) -> Verdict:
    return told(block, pack)[-1]


def holds(verdict: Verdict, capacity_ah: float) -> bool:
    low, high = verdict.soh.lo90_pct, verdict.soh.hi90_pct
    return low is not None and high is not None and low <= 100.0 * capacity_ah / 65.4 <= high


def test_the_car_itself_is_told_within_its_interval() -> None:
    """Else the tests below would show nothing."""
    block, capacity_ah = car()
    assert said(block).soh.state is SohStatus.OK
    assert holds(said(block), capacity_ah)


def test_a_current_that_never_changes_gives_no_value_though_no_speed_is_known() -> None:
    """The voltage jumps and the current stays: its sensor is frozen."""
    verdict = said(changed(car()[0], "pack_current_a", lambda amps: np.full_like(amps, -20.0)))
    assert verdict.soh.soh_pct is None
    assert "is its sensor frozen?" in (verdict.soh.why or "")


def test_a_car_that_draws_the_same_before_and_after_its_sleep_is_no_frozen_sensor() -> None:
    """A waking Leaf draws what it drew when it fell asleep; its voltage has relaxed meanwhile, night after night."""
    block, capacity_ah = car()
    amps, volts = block.values["pack_current_a"].copy(), block.values["pack_voltage_v"].copy()
    for rows in sessions(block):
        amps[rows[:3]] = amps[rows[-3:]] = -1.0
        volts[rows[1:3]] += 1.5
    same = changed(changed(block, "pack_current_a", lambda _: amps), "pack_voltage_v", lambda _: volts)
    verdict = said(same)
    assert "frozen" not in (verdict.soh.why or "")
    assert holds(verdict, capacity_ah)


def test_a_current_that_sticks_now_and_then_costs_swings_and_no_truth() -> None:
    block, capacity_ah = car()
    amps = block.values["pack_current_a"].copy()
    for rows in sessions(block)[::8]:
        amps[rows[len(rows) // 3 :]] = amps[rows[len(rows) // 3]]
    assert holds(said(changed(block, "pack_current_a", lambda _: amps)), capacity_ah)


def test_a_current_of_the_other_sign_gives_no_value() -> None:
    verdict = said(changed(car()[0], "pack_current_a", np.negative))
    assert verdict.soh.soh_pct is None
    assert "wrong sign of the current" in (verdict.soh.why or "")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (replace(PACK, chemistry=Chemistry.LFP, ocv=curve(sim_pack.LFP)), "lie off the curve"),
        (replace(PACK, cells_in_series=88), "is it another"),
        (replace(PACK, rated_ah=176.4, reference_ah=176.4), "is it another pack"),
    ],
    ids=["lfp", "fewer-cells", "of-a-larger-car"],
)
def test_the_facts_of_another_pack_give_no_value(wrong: PackFacts, why: str) -> None:
    verdict = said(car()[0], wrong)
    assert verdict.soh.soh_pct is None
    assert why in (verdict.soh.why or "")


def test_the_curve_of_another_chemistry_gives_no_value_from_rests() -> None:
    """What the car's own SoC says needs no curve and may stand, with its wider interval."""
    block, capacity_ah = car()
    verdict = said(block, replace(PACK, chemistry=Chemistry.NMC, ocv=curve(sim_pack.NMC)))
    assert verdict.soh.basis is not Basis.OCV
    assert verdict.soh.soh_pct is None or holds(verdict, capacity_ah)


def test_a_pack_swapped_half_way_is_said_and_then_told() -> None:
    block, capacity_ah = car()
    half = len(block.t_s) // 2
    swapped = changed(block, "pack_current_a", lambda amps: np.where(np.arange(len(amps)) < half, amps, 0.6 * amps))
    verdicts = told(swapped, replace(PACK, reference_ah=capacity_ah))
    assert SohStatus.REPLACED in {one.soh.state for one in verdicts}
    assert verdicts[-1].soh.capacity_ah == pytest.approx(0.6 * capacity_ah, rel=0.05)


@pytest.mark.parametrize("quantity", ["pack_current_a", "pack_voltage_v", "soc_shown_pct", "pack_temp_mean_degc"])
def test_unknown_values_cost_swings_and_no_truth(quantity: str) -> None:
    block, capacity_ah = car()
    dice = np.random.default_rng(1)
    torn = changed(block, quantity, lambda value: np.where(dice.random(len(value)) < 0.05, np.nan, value))
    assert holds(said(torn, replace(PACK, capacity_start_ah=capacity_ah)), capacity_ah)


@pytest.mark.parametrize("leap_s", [-5 * 86_400.0, 4000.0, 50 * 86_400.0])
def test_a_step_of_the_clock_changes_no_capacity(leap_s: float) -> None:
    block, capacity_ah = car()
    at_s = block.t_s.copy()
    at_s[sessions(block)[20][0] :] += leap_s
    assert holds(said(replace(block, t_s=at_s)), capacity_ah)


@pytest.mark.parametrize("sentinel_pct", [0.0, 100.0])
def test_sentinels_of_the_soc_change_no_capacity(sentinel_pct: float) -> None:
    """Cars say 0 or 102.3 % while they wake up; what is within the range cannot be refused at the door."""
    block, capacity_ah = car()
    soc = block.values["soc_shown_pct"].copy()
    for rows in sessions(block):
        soc[rows[:2]] = sentinel_pct
    assert holds(
        said(changed(block, "soc_shown_pct", lambda _: soc), replace(PACK, capacity_start_ah=capacity_ah)), capacity_ah
    )


def test_a_soc_that_is_always_the_same_sentinel_gives_no_value() -> None:
    verdict = said(changed(car()[0], "soc_shown_pct", np.zeros_like))
    assert verdict.soh.soh_pct is None
    assert "the car's own SoC" in (verdict.soh.why or "")


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_current_scaled_by_a_twentieth_moves_the_estimate_as_much(factor: float) -> None:
    block = car()[0]
    plain_ah = said(block).soh.capacity_ah or 0.0
    scaled_ah = said(changed(block, "pack_current_a", lambda amps: factor * amps)).soh.capacity_ah or 0.0
    assert scaled_ah / plain_ah == pytest.approx(factor, abs=0.012)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_a_box_restarted_at_any_row_says_the_same(data: st.DataObject) -> None:
    """Through the real snapshot: what it does not save, a power cut takes."""
    block, _ = car(12)
    whole = ends(block)[-1]
    cut = data.draw(st.integers(1, len(block.t_s) - 1))
    first, second = (
        replace(block, t_s=block.t_s[rows], values={q: v[rows] for q, v in block.values.items()})
        for rows in (slice(0, cut), slice(cut, None))
    )
    feeder = Feeder(PACK)
    list(feeder.feed(first))
    feeder.state = load(dump(feeder.state), PanelState)
    end = [*feeder.feed(second), *feeder.finish()][-1]
    assert dump(end.state) == dump(whole.state)
    assert panel.verdict(end.state, end.at_s, PACK) == panel.verdict(whole.state, whole.at_s, PACK)


def test_the_state_stays_below_four_kilobytes_at_every_session_of_a_long_life() -> None:
    """It is written with every commit, for years."""
    block, _ = car(60)
    rows = sessions(block)
    feeder, most = Feeder(PACK), 0
    for life in range(3):
        for part in rows:
            for low in range(0, len(part), 40):
                some = part[low : low + 40]
                values = {q: v[some] for q, v in block.values.items()}
                list(feeder.feed(Block(block.t_s[some] + life * 61 * 86_400.0, values, 2)))
                most = max(most, len(dump(feeder.state)))
    assert most < 4096


def test_the_state_stays_below_four_kilobytes_with_all_that_one_session_may_hold() -> None:
    """Two broken legs and two moves beside a full filter, evidence and steps: nothing in a session makes it grow."""
    block, _ = car(12)
    state = ends(block)[-1].state
    odd = math.pi  # no number packs smaller
    number = 65_535  # sessions, 8 a day in 22 years
    anchor = Anchor(*(odd * 1e7,) * 2, *(odd,) * 9, 0.5, odd)
    leg = Leg(Edge(*(odd,) * 7), Edge(*(odd,) * 7))
    rests, ratio = state.rest_bands, state.charge_ratio
    move, some = (
        replace(swing_between(anchor, anchor), lean_pct_per_v=odd),
        tuple(range(number, number + EVIDENCE_KEPT)),
    )
    full = replace(
        state,
        rest_bands=replace(
            rests,
            candidate=anchor,
            lowest=anchor,
            highest=anchor,
            moves=(move,) * MOVES_KEPT,
            evidence=some,
            ratios_ah=(odd,) * RESTART_AFTER,
            visits=(9_999,) * len(rests.visits),
            seen=RestsSeen((9_999,) * len(rests.visits), number, number, number, odd),
        ),
        charge_ratio=replace(ratio, rise=leg, fall=leg, legs=(leg,) * LEGS_KEPT, evidence=some),
        energy=EnergySeriesState(
            kwh_seen=True,
            bms_seen=True,
            low=Pair(number, 9_999),
            high=Pair(number, 9_999),
            full_kwh=odd,
            empty_kwh=odd,
            full_kwh2=odd,
            both_kwh2=odd,
            empty_kwh2=odd,
            at_s=odd,
            n=number,
            evidence=some[:ENERGY_EVIDENCE_KEPT],
        ),
        refused="offset",
    )
    assert len(dump(full)) < 4096


AMPS, VOLTS, SHOWN, TEMP = "pack_current_a", "pack_voltage_v", "soc_shown_pct", "pack_temp_mean_degc"
X90: Final = 1.5  # of the 90 % interval: what a number may be off before it is a wrong one
DAYS: Final = 60


class Wrong(NamedTuple):
    quantity: str
    change: Callable[[FloatArray, FloatArray], FloatArray]  # of time and value
    pack: PackFacts = PACK


def _stuck_for_an_hour(at_s: FloatArray, amps: FloatArray) -> FloatArray:
    """Each third day, in the first session."""
    since_s = at_s % (3 * 86_400.0)
    return np.where((since_s > 300.0) & (since_s < 3900.0), -30.0, amps)


WRONG: Final = {
    **{f"current x {by:g}": Wrong(AMPS, lambda _, amps, by=by: by * amps) for by in (0.1, 0.5, 1.05, 2.0, 10.0, -1.0)},
    **{f"offset {by:+g} A": Wrong(AMPS, lambda _, amps, by=by: amps + by) for by in (1, 3, 8, -1, -3, -8)},
    "offset drifting to 8 A": Wrong(AMPS, lambda at_s, amps: amps + 8.0 * at_s / at_s[-1]),
    "offset drifting to -8 A": Wrong(AMPS, lambda at_s, amps: amps - 8.0 * at_s / at_s[-1]),
    "30 A stuck for an hour": Wrong(AMPS, _stuck_for_an_hour),
    "SoC stuck at 50 %": Wrong(SHOWN, lambda _, soc: np.full_like(soc, 50.0)),
    "SoC always 0 %": Wrong(SHOWN, lambda _, soc: np.zeros_like(soc)),
    "a cell too few": Wrong(VOLTS, lambda _, volts: volts * 95.0 / 96.0),
    "a cell too many": Wrong(VOLTS, lambda _, volts: volts * 97.0 / 96.0),
    "temperature sentinel": Wrong(TEMP, lambda _, temp: np.full_like(temp, -40.0)),
    "curve of NMC": Wrong(SHOWN, lambda _, soc: soc, replace(PACK, ocv=curve(sim_pack.NMC))),
    "curve of LFP": Wrong(SHOWN, lambda _, soc: soc, replace(PACK, chemistry=Chemistry.LFP, ocv=curve(sim_pack.LFP))),
}


def spliced(block: Block, other: Block, low_s: float, high_s: float) -> Block:
    """Between two times the rows of another pack."""
    own, theirs = ((one.t_s >= low_s) & (one.t_s < high_s) for one in (block, other))
    at_s = np.concatenate((block.t_s[~own], other.t_s[theirs]))
    order = np.unique(at_s, return_index=True)[1]
    values = {q: np.concatenate((block.values[q][~own], other.values[q][theirs]))[order] for q in block.values}
    return Block(at_s[order], values, 2)


def wrong_days(block: Block, pack: PackFacts, capacity_ah: tuple[float, ...]) -> list[str]:
    """Days with a number whose interval is nowhere near the truth, or without one and without a reason."""
    found = []
    for day, one in enumerate(told(block, pack)):
        soh = one.soh
        if soh.soh_pct is None or soh.lo90_pct is None or soh.hi90_pct is None:
            found += [] if soh.why else [f"day {day}: no value, no reason"]
            continue
        true_pct = 100.0 * capacity_ah[min(day, len(capacity_ah) - 1)] / (pack.reference_ah or 0.0)
        half_pct = 0.5 * (soh.hi90_pct - soh.lo90_pct)
        if abs(soh.soh_pct - true_pct) > X90 * half_pct:
            found.append(f"day {day}: {soh.soh_pct:.1f} +- {half_pct:.1f} %, true {true_pct:.1f}, {soh.state}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("told_at_start", [False, True], ids=["car-says-nothing", "car-says-its-capacity"])
@pytest.mark.parametrize("what", WRONG)
def test_never_a_confident_wrong_number(what: str, told_at_start: bool) -> None:
    """It is the worst a meter can do: each day has no value, and why, or an interval that all but holds the truth."""
    one, wrong = driven(DAYS), WRONG[what]
    pack = replace(wrong.pack, capacity_start_ah=one.capacity_ah[0]) if told_at_start else wrong.pack
    block = changed(one.block, wrong.quantity, lambda value: wrong.change(one.block.t_s, value))
    assert wrong_days(block, pack, one.capacity_ah) == []


def test_data_of_another_pack_in_the_middle_make_no_confident_wrong_number() -> None:
    """A file glued together from two cars."""
    one = driven(DAYS)
    block = spliced(one.block, driven(DAYS, LEAF_62, 9).block, 20 * 86_400.0, 40 * 86_400.0)
    assert wrong_days(block, PACK, one.capacity_ah) == []
