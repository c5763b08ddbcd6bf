"""What is wrong with a table shows as "no value because ..." or as doubt, never as a confident wrong number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbox.adapters.sample_csv import Block
from packbox.adapters.snapshot import dump, load
from packbox.app.estimate_feed import DayEnd, Feeder
from packbox.core.frames import FloatArray
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.soh import panel
from packbox.core.soh.method import Basis
from packbox.core.soh.panel import PanelState, Verdict
from packbox.core.soh.weigh import SohStatus
from packbox.testing import sim_pack
from packbox.testing.sim_car import LEAF_24, Awake, SimCar

SOC: Final = np.linspace(0.0, 100.0, 41)
FIRST_DAY: Final = 20_000


def curve(of: sim_pack.OcvCurve) -> tuple[tuple[float, float], ...]:
    return tuple(zip(SOC.tolist(), of.volts(SOC / 100.0).tolist(), strict=True))


PACK: Final = PackFacts(
    "simulated", Chemistry.LMO, 96, 65.4, "as built", 65.4, ocv=curve(sim_pack.LMO), ocv_source="as built"
)


@lru_cache(maxsize=2)
def car(days: int = 60) -> tuple[Block, float]:
    """Ten-second rows of the simulated Leaf, and the capacity it really holds at the end."""
    model = replace(LEAF_24, bms=replace(LEAF_24.bms, offset_a=-0.3))
    one = SimCar(model, 4, FIRST_DAY)
    begins_ms = one.day_begins_ms(0)
    parts: list[FloatArray] = []
    for stretch in one.stretches(begins_ms):
        if stretch.start_ms >= one.day_begins_ms(days):
            break
        if isinstance(stretch, Awake):
            each = round(10.0 / stretch.step_s)
            rows = np.array([stretch.sensed_a, stretch.voltage_v, np.floor(stretch.soc_bms_pct), stretch.temp_degc])[
                :, ::each
            ]
            key = rows[:, :1].copy()
            drop_v = sim_pack.resistance_ohm(model.pack, stretch.truth, float(key[3, 0])) * stretch.current_a[0]
            key[:2, 0] = -0.3, key[1, 0] - drop_v
            rows = np.concatenate((key, rows), axis=1)
            at_s = (stretch.start_ms - begins_ms) / 1000.0 + 10.0 * np.arange(rows.shape[1])
            parts.append(np.vstack((at_s, rows)))
    at_s, amps, volts, soc, temp = np.concatenate(parts, axis=1)
    at_s, kept = np.unique(np.round(at_s), return_index=True)
    values = {
        "pack_current_a": np.round(amps * 2.0)[kept] / 2.0,
        "pack_voltage_v": volts[kept],
        "soc_shown_pct": soc[kept],
        "pack_temp_mean_degc": temp[kept],
    }
    return Block(at_s, values, 2), one.truth(days).capacity_ah


def changed(block: Block, quantity: str, change: Callable[[FloatArray], FloatArray]) -> Block:
    return replace(block, values=block.values | {quantity: change(block.values[quantity].copy())})


def ends(block: Block, pack: PackFacts = PACK) -> list[DayEnd]:
    feeder = Feeder(pack)
    return [*feeder.feed(block), *feeder.finish()]


def said(block: Block, pack: PackFacts = PACK) -> Verdict:
    end = ends(block, pack)[-1]
    return panel.verdict(end.state, end.at_s, pack)


def holds(verdict: Verdict, capacity_ah: float) -> bool:
    low, high = verdict.soh.lo90_pct, verdict.soh.hi90_pct
    return low is not None and high is not None and low <= 100.0 * capacity_ah / 65.4 <= high


def sessions(block: Block) -> list[FloatArray]:
    return np.split(np.arange(len(block.t_s)), np.flatnonzero(np.diff(block.t_s) > 300.0) + 1)


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
    swapped = changed(block, "pack_current_a", lambda amps: np.where(np.arange(len(amps)) < half, amps, 0.8 * amps))
    told = [panel.verdict(end.state, end.at_s, PACK) for end in ends(swapped)]
    assert SohStatus.REPLACED in {one.soh.state for one in told}
    assert told[-1].soh.capacity_ah == pytest.approx(0.8 * capacity_ah, rel=0.05)


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
