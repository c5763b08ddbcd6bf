"""Cell spread is told of quiet moments only: when, how often, and the same however the frames were batched."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fold_day import OTHER_BOOT, WALL_MS, Day, ScriptDecoder, plan, run, split
from packbox.adapters.snapshot import dump, load
from packbox.core import box
from packbox.core.box import BoxState
from packbox.core.cells import EVERY_S, QUIET_MIN_S
from packbox.core.decode import Decoder, DecodeState
from packbox.core.frames import FrameBatch
from packbox.core.outcome import CellsSeen, Outcome
from packbox.core.signals import CellsTold, Decoded
from packbox.core.summary import message_of
from packwire.messages import Cells


def seen(outcomes: list[Outcome]) -> list[CellsSeen]:
    return [o for o in outcomes if isinstance(o, CellsSeen)]


def looks(day: Day) -> list[CellsSeen]:
    return seen(run([day.frames()])[1])


def wake(day: Day, spread_mv: float = 12.0, seconds: float = 20, **more: float) -> Day:
    """The car is awake for a moment and tells its cells."""
    cells = {"cell_voltage_min_v": 3.700, "cell_voltage_max_v": 3.700 + spread_mv / 1000.0}
    return day.idle(seconds / 60.0, **(cells | more))


def parked(hours: float = 8.0) -> Day:
    return Day(temp=18.0).drive(2, cell_voltage_min_v=3.6, cell_voltage_max_v=3.7).idle(0.2).sleep(hours)


def spreads_mv(found: list[CellsSeen]) -> list[float]:
    return [round(1000 * ((one.cell_voltage_max_v or 0.0) - (one.cell_voltage_min_v or 0.0)), 3) for one in found]


def test_the_morning_after_a_drive_tells_the_cells_with_the_conditions() -> None:
    """A spread means something only with the current, SoC, temperature and quiet that it was seen at."""
    (one,) = looks(wake(parked()))
    assert spreads_mv([one]) == [12.0]
    assert one.pack_current_a == -0.5
    assert one.soc_pct is not None
    assert 48.0 < one.soc_pct < 50.0
    assert one.temps_degc == (18.0,)
    assert one.quiet_s is not None
    assert 8 * 3600 < one.quiet_s < 8 * 3600 + 60
    assert one.voltages_v == ()  # lowest and highest are all that was told
    message = message_of(one, bytes(32))
    assert isinstance(message, Cells)
    assert (message.cell_voltage_min_v, message.voltages_mv) == (3.7, ())


def test_a_spread_under_load_or_soon_after_it_is_not_told() -> None:
    """Cells of different resistance are apart under load: that is another figure."""
    driving = Day().drive(60, cell_voltage_min_v=3.5, cell_voltage_max_v=3.7)
    assert looks(driving) == []
    assert looks(wake(parked(hours=(QUIET_MIN_S - 60) / 3600))) == []


def test_cells_of_a_car_that_wakes_up_are_not_believed_at_once() -> None:
    """For a second or two they are told volts apart (and a car that is awake for no longer says none)."""
    day = wake(wake(parked(), spread_mv=2900.0, seconds=3))
    assert spreads_mv(looks(day)) == [12.0]
    assert looks(wake(parked(), seconds=4)) == []


def test_nobody_may_have_driven_while_the_box_was_not_looking() -> None:
    """After a drive that was not seen the pack is warm and has not rested."""
    day = parked()
    day.soc -= 15.0
    assert looks(wake(day)) == []


@pytest.mark.parametrize(("wall_ms", "looked"), [(WALL_MS, 1), (None, 0)])
def test_a_restart_of_unknown_length_ends_the_quiet(wall_ms: int | None, looked: int) -> None:
    """The line goes on as if no time had passed; the car may have been driven. A clock that was set tells."""
    evening = parked(hours=0).frames(wall_ms=wall_ms)
    morning = wake(parked()).frames(OTHER_BOOT, wall_ms)
    found = run([evening, morning.pick(slice(len(evening), None))])[1]
    assert len(seen(found)) == looked


def test_what_a_car_takes_while_it_wakes_up_disturbs_nothing() -> None:
    """Many cars are driven off seconds after they woke; a slow charge is no quiet."""
    assert len(looks(wake(parked(), pack_current_a=-3.5))) == 1
    assert looks(wake(parked(hours=0.1).charge(600, amps=3.0, kind=None))) == []


def test_cells_that_are_not_told_stay_untold() -> None:
    assert looks(parked().idle(1)) == []


def test_one_a_day_and_one_more_when_it_grew() -> None:
    """The book wants a line over months, not a record for each time a door opens."""
    day = wake(wake(wake(parked()).sleep(2)).sleep(2), spread_mv=30.0).sleep(2)
    assert spreads_mv(looks(day)) == [12.0]
    day = wake(wake(day, spread_mv=60.0).sleep(2), spread_mv=95.0)
    assert spreads_mv(looks(day)) == [12.0, 60.0]
    day = wake(day.sleep(EVERY_S / 3600), spread_mv=95.0)
    assert spreads_mv(looks(day)) == [12.0, 60.0, 95.0]


# Answers with single cells, by id: cell 2 tells nothing, cell 4 what cannot be.
ANSWERS: dict[int, dict[int, float | None]] = {0x702: {1: 3.712, 2: None, 3: 3.7, 4: 65.5}, 0x703: {5: 3.705}}


class AskingDecoder(ScriptDecoder):
    """Somebody asks for single cells."""

    def decode(self, state: DecodeState, batch: FrameBatch) -> tuple[DecodeState, Decoded]:
        state, decoded = super().decode(state, batch)
        answers = zip(batch.mono_ns.tolist(), batch.can_id.tolist(), strict=True)
        told = tuple(CellsTold(at_ns, ANSWERS[can_id]) for at_ns, can_id in answers if can_id in ANSWERS)
        return state, replace(decoded, cells=told)


ASKING = plan(decoder=cast("Decoder", AskingDecoder()))


def asked(day: Day) -> Day:
    return wake(day.frame(0x702), seconds=2).frame(0x703)


def test_single_cells_are_told_where_somebody_asked_for_them_just_now() -> None:
    """By them a workshop finds the weak one. What was not told is no cell of zero volts."""
    (one,) = seen(run([wake(asked(parked())).frames()], ASKING)[1])
    assert one.voltages_v == (3.712, None, 3.7, None, 3.705)
    stale = asked(parked(hours=0)).sleep(8)
    assert [o.voltages_v for o in seen(run([wake(stale).frames()], ASKING)[1])] == [()]


def busy_week() -> Day:
    day = wake(wake(parked(), spread_mv=2900.0, seconds=3), spread_mv=14.0).drive(1)
    for night in range(4):
        day = wake(day.idle(0.1).sleep(0.6 + 7 * (night % 2)), spread_mv=14.0 + 40.0 * night, seconds=25).charge(0.3)
    return wake(day.sleep(20), seconds=4).sleep(5).idle(0.5, cell_voltage_min_v=3.7, cell_voltage_max_v=3.71)


WEEK = wake(asked(busy_week().sleep(30))).frames()
WHOLE = run([WEEK], ASKING)


def as_told(state: BoxState, outcomes: list[Outcome]) -> tuple[bytes, list[CellsSeen], int]:
    return dump(state), seen(outcomes), len(outcomes)


def test_the_week_of_the_next_tests_has_something_to_tell() -> None:
    assert len(seen(WHOLE[1])) >= 3
    assert [len(o.voltages_v) for o in seen(WHOLE[1])][-1] == 5


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, len(WEEK)), max_size=30))
def test_however_the_frames_are_batched_the_same_moments_are_told(cuts: list[int]) -> None:
    assert as_told(*run(list(split(WEEK, cuts)), ASKING)) == as_told(*WHOLE)


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, len(WEEK) - 1))
def test_a_restart_from_a_snapshot_tells_the_same_moments(cut: int) -> None:
    state, before = run([WEEK.pick(slice(0, cut))], ASKING, finish=False)
    state = load(dump(state), BoxState)
    state, after = box.advance(ASKING, state, WEEK.pick(slice(cut, None)))
    state, last = box.finish(ASKING, state)
    assert as_told(state, [*before, *after, *last]) == as_told(*WHOLE)
