"""A charge over its state of charge: what the curve shows, and that no cut of the frames shows in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fold_day import PLACE, Day, plan, run, sessions, split, told
from packbox.adapters.snapshot import dump, load
from packbox.core import box
from packbox.core.box import BoxState
from packbox.core.charging import ChargeCurve
from packbox.core.outcome import Outcome, SessionClosed, UsageDue
from packbox.core.summary import message_of
from packwire.codec import to_wire
from packwire.messages import Charge


def curve(day: Day) -> ChargeCurve | None:
    """Of its only charge."""
    (one,) = (s for s in told(day) if s.kind == "charge")
    return one.curve


def fast(soc: float = 12.0) -> Day:
    """A fast charge that slows down, the pack getting warmer."""
    day = Day(soc=soc, temp=20.0)
    for amps in (150.0, 150.0, 120.0, 90.0, 60.0, 40.0):
        day.charge(4, amps=amps, kind=2)
        day.temp += 3.0
    return day.plugged(1).idle(1)


def test_a_fast_charge_tells_its_power_and_warmth_from_band_to_band() -> None:
    """The curve is what fast charging is compared by, and how a cold or tired pack shows."""
    found = curve(fast())
    assert found is not None
    assert (found.soc_from_pct, found.shown) == (10.0, False)
    assert found.power_kw[0] == pytest.approx(52.5)
    assert found.power_kw[-1] == pytest.approx(14.0, abs=0.5)
    assert list(found.power_kw) == sorted(found.power_kw, key=lambda kw: -(kw or 0.0))
    assert found.temp_degc[0] == 20.0
    assert found.temp_degc[-1] == pytest.approx(35.0, abs=0.5)
    assert len(found.power_kw) == len(found.temp_degc) == 14  # 10 % to 80 %


def test_a_curve_costs_less_than_90_bytes() -> None:
    """Mobile data of thousands of charges."""
    charge = next(o for o in run([fast().frames()])[1] if isinstance(o, SessionClosed) and o.session.kind == "charge")
    message = message_of(charge, bytes(32))
    assert isinstance(message, Charge)
    assert message.curve is not None
    assert 3 * len(message.curve.power_kw) + 2 * len(message.curve.temp_degc) + 10 < 90
    assert 43 in to_wire(message)


def test_a_charge_that_hardly_moves_the_soc_has_no_curve() -> None:
    """One point is no curve, and solar surplus makes hundreds of such."""
    assert curve(Day(soc=51.0).charge(5).idle(1)) is None


def test_waiting_at_the_plug_takes_nothing_from_the_power() -> None:
    """A cloud over the roof makes a charge longer, not weaker."""
    straight = curve(Day(soc=41).charge(60, amps=15).idle(1))
    broken = curve(Day(soc=41).charge(30, amps=15).plugged(30).charge(30, amps=15).idle(1))
    assert straight == broken
    assert straight is not None
    assert straight.power_kw[0] == pytest.approx(5.25)


def test_a_band_that_was_leapt_over_stays_empty() -> None:
    """Nobody knows how it went while the box had no power."""
    day = Day(soc=41).charge(20, amps=15)
    day.soc += 12.0
    found = curve(day.charge(40, amps=15).idle(1))
    assert found is not None
    assert None in found.power_kw
    assert None not in (found.power_kw[0], found.power_kw[-1])


def test_where_only_the_displayed_soc_is_told_the_curve_says_so() -> None:
    """The two scales differ at both ends: they are two quantities."""
    day = Day()
    for k in range(3600):
        day.tell(1, 15.0, soc_shown_pct=40.0 + k / 180.0, charge_kind=1, speed_kmh=0, plugged=1)
    day.rows = [row for row in day.idle(1).rows if row[1] != PLACE["soc_bms_pct"]]
    found = curve(day)
    assert found is not None
    assert found.shown


def test_drives_have_no_curve() -> None:
    """It would tell how somebody drives."""
    assert all(s.curve is None for s in told(Day(soc=80).drive(60).idle(1)))


def test_usage_counts_charges_by_temperature() -> None:
    """Charging hot or cold is what wears; the regulation asks for it by the plug, not by the current."""
    day = Day(soc=30, temp=-4.0).drive(5).charge(30)
    day.temp = 12.0
    usage = [o.usage for o in run([day.charge(20).idle(1).frames()])[1] if isinstance(o, UsageDue)][-1]
    assert usage.charging_temp_s.tolist() == [0, 1800, 0, 1200, 0, 0, 0, 0, 0]
    assert np.array_equal((usage + usage).charging_temp_s, 2 * usage.charging_temp_s)


BUSY = (
    fast(soc=20).drive(4).charge(9, amps=90).plugged(3).charge(6, amps=60).power_cut(40, 60).charge(4).idle(1).frames()
)
WHOLE = run([BUSY])


def as_told(state: BoxState, outcomes: list[Outcome]) -> tuple[bytes, list[object]]:
    return dump(state), [repr(s) for s in sessions(outcomes)]


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, len(BUSY)), max_size=30))
def test_however_the_frames_are_batched_the_curves_are_the_same(cuts: list[int]) -> None:
    assert as_told(*run(list(split(BUSY, cuts)))) == as_told(*WHOLE)


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, len(BUSY) - 1))
def test_a_restart_in_the_middle_changes_no_curve(cut: int) -> None:
    state, before = run([BUSY.pick(slice(0, cut))], finish=False)
    state = load(dump(state), BoxState)
    state, after = box.advance(plan(), state, BUSY.pick(slice(cut, None)))
    state, last = box.finish(plan(), state)
    assert as_told(state, [*before, *after, *last]) == as_told(*WHOLE)
