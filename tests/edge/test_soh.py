"""Capacity from charges, the car's own opinion, and how they are weighed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fold_day import PACK, Day, plan, run
from packbox.adapters.profile_dir import load_profile
from packbox.core import sample as sampling
from packbox.core.decode import Decoder
from packbox.core.outcome import Outcome, SohComputed
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.soh import panel
from packbox.core.soh.charge_ratio import RESTART_AFTER, ChargeRatio, ChargeRatioState, Edge, Leg
from packbox.core.soh.method import YEAR_S, Basis, Estimate, MethodId, SessionEnd
from packbox.core.soh.weigh import GAIN_FLOOR_BMS, SCALE_BMS, SohStatus, weigh
from packbox.sim.source import open_sim

DAY_S = 86_400.0
RATIO = MethodId("charge_ratio/1")


def said(day: Day, pack: PackFacts | None = PACK) -> SohComputed:
    """The last word on a day."""
    outcomes: list[Outcome] = run([day.frames()], plan(pack))[1]
    return [o for o in outcomes if isinstance(o, SohComputed)][-1]


def leg(charge_ah: float, soc_pct: float) -> Leg:
    """An unbroken leg with all current known."""
    first = Edge(20.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0)
    return Leg(first, Edge(20.0 + soc_pct, 0.1, charge_ah, 7200.0, 7200.0, 0.0, 0.0))


def after_legs(legs: list[Leg], state: ChargeRatioState | None = None, *, every_days: float = 1.0) -> ChargeRatioState:
    method = ChargeRatio()
    state = state or method.start()
    for k, one in enumerate(legs):
        state, readings = method.take(replace(state, legs=(one,)), PACK)
        for reading in readings:
            state = method.use(state, reading, SessionEnd(k + 1, round((k + 1) * every_days * DAY_S)), PACK)
    return state


def estimate(capacity_ah: float, sigma_ah: float, n: int = 20, basis: Basis = Basis.BMS_SOC) -> Estimate:
    return Estimate(MethodId(f"{basis}/1"), basis, capacity_ah, sigma_ah, n, newest_s=0.0)


# -- charge over change of SoC -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity_ah", [60.0, 51.3, 33.4])
@pytest.mark.parametrize("step", [0.1, 0.5, 1.0])
def test_one_good_charge_tells_the_capacity(capacity_ah: float, step: float) -> None:
    """From step to step, so that the resolution of the SoC hardly matters (facts/soh.md §7)."""
    outcome = said(Day(soc=22.3, capacity_ah=capacity_ah, step=step).charge(150, amps=capacity_ah / 5).idle(2))
    ratio = outcome.estimates[0]
    assert ratio.method == RATIO
    assert ratio.capacity_ah == pytest.approx(capacity_ah, rel=0.005)
    assert ratio.n == 1
    assert ratio.evidence == (1,)


def test_a_long_drive_tells_the_capacity_too() -> None:
    ratio = said(Day(soc=95, capacity_ah=55).drive(60, amps=-25).idle(2)).estimates[0]
    assert ratio.capacity_ah == pytest.approx(55, rel=0.01)


def test_a_top_up_says_nothing_and_why() -> None:
    """Too little charge moved: a number would be noise."""
    outcome = said(Day(soc=70).charge(30, amps=10).idle(2))
    assert outcome.soh.soh_pct is None
    assert outcome.soh.state is SohStatus.NONE
    assert outcome.estimates[0].why == "no charge or drive has moved 12.0 Ah in one go yet; the most was 4.9 Ah"


def test_a_short_sleep_of_the_box_in_a_charge_only_adds_doubt() -> None:
    whole = said(Day(soc=20).charge(180, amps=12).idle(2)).estimates[0]
    holed = said(Day(soc=20).charge(90, amps=12).power_cut(300, 0.0).charge(90, amps=12).idle(2)).estimates[0]
    assert holed.capacity_ah == pytest.approx(60, rel=0.01)
    assert (holed.sigma_ah or 0) > (whole.sigma_ah or 9)


def test_a_long_hole_in_a_charge_makes_two_legs() -> None:
    """Charge that nobody counted must not look like capacity."""
    day = Day(soc=10).charge(100, amps=12).power_cut(3600, 12.0).charge(100, amps=12).idle(2)
    ratio = said(day).estimates[0]
    assert ratio.n == 2
    assert ratio.capacity_ah == pytest.approx(60, rel=0.01)


def test_a_jump_of_the_soc_ends_a_leg() -> None:
    """A BMS that corrects itself in the middle would make a wrong capacity."""
    day = Day(soc=10).charge(100, amps=12)
    day.soc += 8
    ratio = said(day.charge(100, amps=12).idle(2)).estimates[0]
    assert ratio.capacity_ah == pytest.approx(60, rel=0.01)


def test_readings_make_the_interval_narrower() -> None:
    """And no narrower than the scatter of honest readings allows."""
    dice = np.random.default_rng(3)
    sigmas = []
    for n in (1, 4, 16, 64):
        legs = [leg(0.4 * 55.0 * (1 + 0.012 * dice.standard_normal()), 40.0) for _ in range(n)]
        state = after_legs(legs)
        told = ChargeRatio().estimate(state, n * DAY_S, PACK)
        sigmas.append(told.sigma_ah or 0.0)
        assert abs((told.capacity_ah or 0) - 55.0) < 3.5 * (told.sigma_ah or 0)
    assert sigmas == sorted(sigmas, reverse=True)


def test_the_filter_follows_a_fading_pack() -> None:
    legs = [leg(0.5 * (60 - 0.004 * k), 50.0) for k in range(700)]
    assert ChargeRatio().estimate(after_legs(legs), 700 * DAY_S, PACK).capacity_ah == pytest.approx(57.2, abs=0.25)


def test_doubt_grows_while_nothing_is_measured() -> None:
    """§6: packs lose 2.2 % a year, give or take 2 % times root of years."""
    state = after_legs([leg(30.0, 50.0)] * 20)
    at_s = 20 * DAY_S
    now, later = (ChargeRatio().estimate(state, t, PACK) for t in (at_s, at_s + YEAR_S))
    assert (later.capacity_ah or 0) == pytest.approx((now.capacity_ah or 0) * math.exp(-0.022))
    assert (later.sigma_ah or 0) > (now.sigma_ah or 9)


def test_a_wild_reading_is_left_out() -> None:
    state = after_legs([leg(30.0, 50.0)] * 12)
    wild = after_legs([leg(50.0, 50.0)], state)
    assert (wild.capacity_ah, wild.n, wild.rejected_in_a_row) == (state.capacity_ah, 12, 1)


def test_another_pack_makes_the_filter_begin_anew() -> None:
    """After a swap the old capacity contradicts every charge."""
    state = after_legs([leg(30.0, 50.0)] * 12)
    state = after_legs([leg(45.0, 50.0)] * RESTART_AFTER, state)
    told = ChargeRatio().estimate(state, 20 * DAY_S, PACK)
    assert told.restarted
    assert told.capacity_ah == pytest.approx(90, rel=0.01)


def test_how_samples_are_handed_over_does_not_matter_to_methods() -> None:
    """Every method must keep this, or restarts would change the health of a pack."""
    frames = Day(soc=30).charge(100, amps=15).power_cut(40, 0.0).charge(30, amps=15).idle(3).frames()
    decoded = plan().decoder.decode(plan().decoder.start(), frames)[1]
    seconds = np.unique(frames.mono_ns // 10**9)
    samples = sampling.sample(sampling.start(), seconds, decoded)[1]
    end = SessionEnd(1, int(seconds[-1]))

    def told(cuts: list[int]) -> object:
        state = panel.start()
        for low, high in zip([0, *cuts], [*cuts, len(samples)], strict=True):
            state = panel.watch(state, samples.cut(low, high), PACK)
        return panel.estimates(panel.closed(state, end, PACK)[0], end.at_s, PACK)

    whole = told([])
    for cuts in ([1], [6000], [5999, 6000, 6001], list(range(1, len(samples), 97))):
        assert told(cuts) == whole


# -- the car's own value -----------------------------------------------------------------------------------------------


def test_the_cars_own_capacity_is_an_estimate_of_its_own_kind() -> None:
    outcome = said(Day().idle(3, capacity_reported_ah=48.0, soh_reported_pct=80))
    own = outcome.estimates[1]
    assert (own.basis, own.capacity_ah, own.sigma_ah, own.n) == (Basis.BMS_VALUE, 48.0, pytest.approx(1.2), 1)
    assert (outcome.soh.basis, outcome.soh.state) == (Basis.BMS_VALUE, SohStatus.LEARNING)
    assert (outcome.soh_reported_pct, outcome.capacity_reported_ah) == (80, 48.0)


def test_a_reported_percentage_counts_against_the_reference() -> None:
    assert said(Day().idle(3, soh_reported_pct=85)).estimates[1].capacity_ah == pytest.approx(51)


def test_a_percentage_of_an_unknown_pack_is_no_capacity() -> None:
    own = said(Day().idle(3, soh_reported_pct=85), None).estimates[1]
    assert (own.capacity_ah, own.why) == (None, "the car reports 85 % health, but of what is not known for this pack")


# -- weighing ----------------------------------------------------------------------------------------------------------


def test_what_was_measured_well_stands_alone() -> None:
    soh = weigh([estimate(54.0, 0.3), estimate(57.0, 1.4, basis=Basis.BMS_VALUE)], PACK, None, 0.0)
    assert (soh.capacity_ah, soh.basis, soh.soh_pct) == (54.0, Basis.BMS_SOC, 90.0)
    assert soh.sigma_ah == pytest.approx(math.hypot(0.3, math.hypot(GAIN_FLOOR_BMS, SCALE_BMS) * 54))
    assert soh.lo90_pct == pytest.approx(90 - 1.645 * (soh.sigma_pct or 0))
    assert soh.hi90_pct == pytest.approx(90 + 1.645 * (soh.sigma_pct or 0))


@pytest.mark.parametrize("ours_ah", [0.2, 0.8, 1.1, 1.4, 2.0, 5.0])
@pytest.mark.parametrize("apart_ah", [0.0, 3.0])
def test_the_cars_own_opinion_never_narrows_the_interval(ours_ah: float, apart_ah: float) -> None:
    """It is biased and slow; agreeing with it makes nothing surer (facts/soh.md §6)."""
    own = estimate(55.0, 0.025 * 55.0, basis=Basis.BMS_VALUE)
    ours = estimate(55.0 + apart_ah, ours_ah)
    both = weigh([ours, own], PACK, None, 0.0).sigma_ah or 0
    alone = [weigh([one], PACK, None, 0.0).sigma_ah or 0 for one in (ours, own)]
    assert both >= min(alone) * (1 - 1e-2 * apart_ah)


def test_no_reference_gives_a_capacity_and_no_percentage() -> None:
    nameless = PackFacts("x", Chemistry.NMC, 96, None, None)
    soh = weigh([estimate(54.0, 0.3)], nameless, None, 0.0)
    assert (soh.soh_pct, soh.capacity_ah, soh.state) == (None, 54.0, SohStatus.NONE)
    assert "no reference capacity" in (soh.why or "")


@pytest.mark.parametrize(
    ("ours", "reported_pct", "at_s", "state"),
    [
        (estimate(54.0, 0.3), 90.0, 0.0, SohStatus.OK),
        (estimate(54.0, 0.3), None, 0.0, SohStatus.OK),
        (estimate(54.0, 0.3, n=9), 90.0, 0.0, SohStatus.LEARNING),
        (estimate(54.0, 2.5), 90.0, 0.0, SohStatus.LEARNING),
        (estimate(54.0, 0.3), 90.0, 91 * DAY_S, SohStatus.STALE),
        (estimate(54.0, 0.3), 100.0, 0.0, SohStatus.INCONSISTENT),
        (replace(estimate(54.0, 0.3, n=3), restarted=True), 90.0, 0.0, SohStatus.REPLACED),
    ],
)
def test_the_state_says_how_far_to_trust_the_number(
    ours: Estimate, reported_pct: float | None, at_s: float, state: SohStatus
) -> None:
    """facts/soh.md §13."""
    soh = weigh([ours], PACK, reported_pct, at_s)
    assert soh.state is state
    assert (soh.why is None) == (state is SohStatus.OK)


@pytest.mark.parametrize(
    ("car", "profile"), [("leaf-24", "nissan-leaf"), ("leaf-62", "nissan-leaf"), ("imiev-16", "mitsubishi-imiev")]
)
async def test_a_simulated_cars_capacity_is_told_within_its_interval(car: str, profile: str) -> None:
    """Real frames of real profiles, sensors with gain and offset, a BMS with an opinion, and a truth behind them."""
    source = open_sim(f"{car},seed=11,days=60,until=2026-06-01", None, lambda: 0)
    the_plan = replace(plan(), decoder=Decoder(load_profile(profile)))
    outcomes = run([item async for item in source.inputs()], the_plan)[1]

    soh = [o for o in outcomes if isinstance(o, SohComputed)][-1].soh
    truth_ah = source.car.truth(60).capacity_ah
    assert soh.state is SohStatus.OK
    assert abs((soh.capacity_ah or 0) - truth_ah) < 1.645 * (soh.sigma_ah or 0)


def test_two_weeks_of_a_fading_pack_are_told_within_its_interval() -> None:
    """End to end against a pack whose truth is known: drive, charge, sleep; the interval holds the truth."""
    day = Day(soc=80, capacity_ah=54.0)
    for k in range(14):
        day.capacity_ah = 54.0 - 0.02 * k
        day.drive(55, amps=-28).idle(1).sleep(9).idle(1).charge(110, amps=14).idle(1).sleep(11)

    outcome = said(day)

    assert outcome.soh.state is SohStatus.OK
    assert outcome.estimates[0].n == 28
    truth_pct = 100 * day.capacity_ah / 60
    assert (outcome.soh.lo90_pct or 0) < truth_pct < (outcome.soh.hi90_pct or 0)
    assert outcome.soh.soh_pct == pytest.approx(truth_pct, abs=0.6)
