"""The one fold: batching, ticks, restarts, clocks that run back, wrong profiles."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fold_day import (
    BOOT,
    EVIDENCE_ID,
    OTHER_BOOT,
    PACK,
    UNKNOWN_ID,
    WALL_MS,
    Day,
    plan,
    run,
    sessions,
    split,
    tick,
)
from packbox.adapters.logs import read_log
from packbox.adapters.profile_dir import load_profile
from packbox.adapters.snapshot import dump, load
from packbox.core import box
from packbox.core.box import BoxPlan, BoxState, Cadence
from packbox.core.decode import Decoder
from packbox.core.frames import FrameBatch, join
from packbox.core.outcome import (
    EventName,
    EventSeen,
    Introduced,
    Outcome,
    SessionClosed,
    SohComputed,
    UsageDue,
)
from packbox.core.record import BatteryId, BoxId, ChainHead, StoreId
from packbox.core.stamp import Stamp, Tick
from packbox.core.summary import seal_outcomes

HEAD = ChainHead(BoxId("ab" * 8), StoreId("cd" * 8), 1, bytes(16))


def as_bytes(state: BoxState, outcomes: list[Outcome]) -> tuple[bytes, list[bytes]]:
    """All that leaves the fold: what is saved and what is sent."""
    rows = seal_outcomes(outcomes, HEAD, lambda _: bytes(64), bytes(32))[1]
    return dump(state), [row.sealed for row in rows]


def events(outcomes: list[Outcome]) -> list[tuple[EventName, float | None]]:
    return [(o.event, o.duration_s) for o in outcomes if isinstance(o, EventSeen)]


def busy_day() -> Day:
    """Something of everything, with the variant known only after a while."""
    day = Day(soc=70, temp=54, ohm=0.1).idle(0.3).frame(EVIDENCE_ID).drive(3).stop(0.5).drive(2, amps=35).idle(1.2)
    day.sleep(1).idle(0.2).charge(4, amps=90, kind=2).power_cut(45, 90).charge(3, amps=90, kind=2)
    day.temp = 56
    day.plugged(1.5).charge(2).idle(0.2, cell_voltage_min_v=2.7).sleep(0.004).drive(1, cell_voltage_min_v=2.7)
    return day.idle(2)


BUSY = busy_day().frames()
BUSY_PLAN = plan(needs_evidence=True, cadence=Cadence(600, 600))
BUSY_WHOLE = as_bytes(*run([BUSY], BUSY_PLAN))


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, len(BUSY)), max_size=40))
def test_the_same_frames_however_batched_give_the_same_history(cuts: list[int]) -> None:
    """Live reads, replays and restarts cut frames anywhere; the signed history may not show it."""
    assert as_bytes(*run(list(split(BUSY, cuts)), BUSY_PLAN)) == BUSY_WHOLE


def test_one_frame_at_a_time_gives_the_same_history() -> None:
    part = BUSY.pick(slice(0, 4000))
    assert as_bytes(*run(list(split(part, range(len(part)))), BUSY_PLAN)) == as_bytes(*run([part], BUSY_PLAN))


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, len(BUSY) - 1))
def test_a_restart_from_a_snapshot_changes_nothing(cut: int) -> None:
    """A power cut between two commits must not be seen in the history."""
    state, before = run([BUSY.pick(slice(0, cut))], BUSY_PLAN, finish=False)
    state = load(dump(state), BoxState)
    state, after = box.advance(BUSY_PLAN, state, BUSY.pick(slice(cut, None)))
    state, last = box.finish(BUSY_PLAN, state)

    assert as_bytes(state, [*before, *after, *last]) == BUSY_WHOLE


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, len(BUSY) - 1), min_size=1, max_size=12), st.floats(0, 1))
def test_ticks_between_frames_change_no_session(places: list[int], share: float) -> None:
    """A tick only says that time passed; the frames said that too."""
    parts = list(split(BUSY, places))
    items: list[FrameBatch | Tick] = parts[:1]
    for before, after in pairwise(parts):
        from_ns, to_ns = int(before.mono_ns[-1]), int(after.mono_ns[0])
        items += [tick((from_ns + share * (to_ns - from_ns)) / 1e9), after]
    assert sessions(run(items, BUSY_PLAN)[1]) == sessions(run([BUSY], BUSY_PLAN)[1])


def test_sessions_of_a_busy_day_have_the_boxs_whole_story() -> None:
    """The invariance tests above compare something worth comparing."""
    outcomes = run([BUSY], BUSY_PLAN)[1]

    assert [s.kind for s in sessions(outcomes)] == ["drive", "rest", "charge", "drive", "rest"]
    assert {type(o) for o in outcomes} == {Introduced, SessionClosed, UsageDue, SohComputed, EventSeen}
    assert {event for event, _ in events(outcomes)} == {EventName.PACK_HOT, EventName.CELL_LOW}


@pytest.mark.parametrize(
    ("log", "profile"),
    [
        ("nissan-leaf-ze1-62kwh/EV-CANeplus2.log", "nissan-leaf"),
        ("imiev-peugeot-ion/Triplet_2017-04-14_191849.log", "mitsubishi-imiev"),
        ("nissan-env200-40kwh/ME0_40kWh Startup.log", "nissan-leaf"),
        ("hyundai-kona/bms-idle-30sec.asc", "nissan-leaf"),
    ],
)
def test_real_recordings_give_the_same_history_however_batched(shared: Path, log: str, profile: str) -> None:
    """Real buses: polls, voids at wake-up, variants found on the way, times that run back by jitter."""
    the_plan = BoxPlan(Decoder(load_profile(profile)), BoxId("ab" * 8), BatteryId("b"), "configured", "t")
    frames = join(list(read_log(shared / "logs" / log)))
    whole = as_bytes(*run([frames], the_plan))
    dice = np.random.default_rng(7)
    for parts in (3, 40, 900):
        cuts = dice.integers(0, len(frames), parts).tolist()
        assert as_bytes(*run(list(split(frames, cuts)), the_plan)) == whole
    begin = frames.pick(slice(0, 3000))
    assert as_bytes(*run(list(split(begin, range(len(begin)))), the_plan)) == as_bytes(*run([begin], the_plan))


# -- introductions -----------------------------------------------------------------------------------------------------


def test_a_box_introduces_itself_once_when_it_knows_the_car() -> None:
    day = Day().idle(0.1).frame(EVIDENCE_ID).drive(10)

    outcomes = run([day.frames()], plan(needs_evidence=True))[1]

    said = [o for o in outcomes if isinstance(o, Introduced)]
    assert [(o.identity.variant, o.identity.pack) for o in said] == [("only", PACK)]
    assert isinstance(outcomes[0], Introduced)


def test_a_car_that_stays_unknown_is_introduced_without_a_variant() -> None:
    outcomes = run([Day().drive(10).frames()], plan(needs_evidence=True))[1]
    assert [o.identity.pack for o in outcomes if isinstance(o, Introduced)] == [None]


def test_new_software_introduces_itself_again() -> None:
    """The book must know which program made which record."""
    day = Day().drive(3)
    state, first = run([day.frames()], finish=False)
    more = Day(soc=day.soc).drive(3)
    more.rows = [(ns + 180_000_000_000, can_id, value) for ns, can_id, value in more.rows]

    after = box.advance(plan(software="0.0.next"), state, more.frames())[1]

    assert [o.identity.software for o in [*first, *after] if isinstance(o, Introduced)] == ["0.0.test", "0.0.next"]


# -- time --------------------------------------------------------------------------------------------------------------


def test_frames_late_by_jitter_are_taken_as_they_come() -> None:
    """Two buses are read in turns: their times overlap by milliseconds."""
    frames = Day().drive(3).frames()
    shaken = replace(frames, mono_ns=frames.mono_ns + np.where(np.arange(len(frames)) % 2, 0, 500_000_000))

    state, outcomes = run([shaken])

    assert [(s.kind, s.interrupted) for s in sessions(outcomes)] == [("drive", False)]
    assert events(outcomes) == []
    assert state.line is not None
    assert state.line.clamped_frames > 0


def test_time_that_runs_back_is_said_and_the_session_goes_on_interrupted() -> None:
    """Somebody glued two logs together, or a logger lost its clock."""
    first, second = Day().drive(5).frames(), Day().drive(5).frames()

    outcomes = run([first, second])[1]

    (drive,) = sessions(outcomes)
    assert (drive.kind, drive.duration_s, drive.interrupted, drive.unseen_s) == ("drive", 600, True, 0)
    (event,) = [o for o in outcomes if isinstance(o, EventSeen)]
    assert (event.event, event.extreme) == (EventName.TIME_BACK, pytest.approx(299_008, abs=10))


def test_one_broken_time_stamp_does_not_make_years_of_rest() -> None:
    """A flipped bit in a log must not end in a decade of inferred parking."""
    frames = Day().drive(10).frames()
    mono_ns = frames.mono_ns.copy()
    mono_ns[1500] += 10 * 366 * 86_400 * 10**9

    state, outcomes = run([replace(frames, mono_ns=mono_ns)])

    (drive,) = sessions(outcomes)
    assert (drive.kind, drive.interrupted) == ("drive", True)
    assert drive.duration_s == pytest.approx(600, abs=3)
    assert state.usage.inferred_s == 0


def test_a_source_whose_time_never_settles_is_told_once_an_hour() -> None:
    """Two loggers' files mixed line by line: a nuisance, not a flood."""
    frames = Day().drive(3).frames().pick(slice(0, 400))
    mixed = replace(frames, mono_ns=frames.mono_ns + np.where(np.arange(400) % 2, 0, 5_000_000_000))

    state, outcomes = run([mixed])

    assert [event for event, _ in events(outcomes)] == [EventName.TIME_BACK]
    assert state.line is not None
    assert len(state.line.eras) <= 33


def test_no_charge_moves_while_the_clock_is_broken() -> None:
    """Current before and after a break are not joined by a trapezoid."""
    first, second = Day().charge(5, amps=30).frames(), Day().charge(5, amps=30).frames()
    (charge,) = sessions(run([first, second])[1])
    assert charge.charge_in_ah == pytest.approx(2 * 299 * 30 / 3600)


def test_negative_times_of_a_logger_become_times_from_zero() -> None:
    """A CHAdeMO logger counts up from a negative number; the wire has none."""
    frames = Day().drive(2).frames()
    early = replace(frames, mono_ns=frames.mono_ns - 10**12)

    outcomes = run([early])[1]

    assert all(o.stamp.mono_ns >= 0 for o in outcomes)
    assert sessions(outcomes)[0].duration_s == 120


def test_a_wall_clock_set_on_the_way_dates_what_began_before() -> None:
    """A Pi has no clock battery: the network comes minutes after the start."""
    frames = Day().drive(10).frames(wall_ms=None)
    dated = replace(frames.pick(slice(3000, None)), wall_offset_ms=WALL_MS)

    outcomes = run([frames.pick(slice(0, 3000)), dated])[1]

    assert [event for event, _ in events(outcomes)] == [EventName.CLOCK_SET]
    assert sessions(outcomes)[0].start == Stamp(BOOT, 0, WALL_MS)


@pytest.mark.parametrize(("by_ms", "error_ms"), [(-86_400_000, 86_400_000.0), (1500, 1500.0)])
def test_a_wall_clock_that_contradicts_itself_states_by_how_much(by_ms: int, error_ms: float) -> None:
    """A time server lied, before or now: nobody can say which, so no date of this boot is better than that."""
    frames = Day().drive(10).frames(wall_ms=WALL_MS)
    moved = replace(frames.pick(slice(3000, None)), wall_offset_ms=WALL_MS + by_ms)

    outcomes = run([frames.pick(slice(0, 3000)), moved])[1]

    (anchor,) = [o for o in outcomes if isinstance(o, EventSeen)]
    assert (anchor.event, anchor.extreme) == (EventName.CLOCK_SET, error_ms)


def test_a_gap_between_two_boots_is_as_long_as_the_clocks_say() -> None:
    first = Day().idle(5).frames()
    second = Day().idle(5).frames(boot=OTHER_BOOT, wall_ms=WALL_MS + 3_600_000)
    (rest,) = sessions(run([first, second])[1])
    assert (rest.duration_s, rest.unseen_s, rest.interrupted) == (3900, 3300, True)


def test_a_gap_nobody_can_measure_takes_no_time() -> None:
    """Unseen time is never invented."""
    first, second = Day().idle(5).frames(wall_ms=None), Day().idle(5).frames(boot=OTHER_BOOT, wall_ms=None)
    (rest,) = sessions(run([first, second])[1])
    assert (rest.duration_s, rest.unseen_s, rest.interrupted) == (600, 0, True)


def test_a_tick_of_a_new_boot_begins_it() -> None:
    """The box restarts on a parked car: time goes on though no frame comes."""
    frames = Day(soc=30).charge(30).frames()
    outcomes = run([frames, tick(5, OTHER_BOOT, WALL_MS + 6 * 3_600_000)], finish=False)[1]
    assert [s.kind for s in sessions(outcomes)] == ["charge"]


def test_ticks_before_the_first_frame_say_nothing() -> None:
    assert run([tick(1), tick(100), tick(100_000)])[1] == []


def test_an_empty_batch_is_nothing() -> None:
    frames = Day().drive(2).frames()
    assert as_bytes(*run([frames.pick(slice(0, 0)), frames])) == as_bytes(*run([frames]))


# -- cadence, profile --------------------------------------------------------------------------------------------------


def test_usage_and_health_are_said_about_once_a_day() -> None:
    day = Day(soc=90)
    for _ in range(3):
        day.drive(20).idle(2).sleep(5).idle(1).drive(20).idle(2).sleep(18)

    outcomes = run([day.frames()])[1]

    at_h = [o.stamp.mono_ns / 3.6e12 for o in outcomes if isinstance(o, UsageDue)]
    assert len(at_h) == 4  # three days, and the end
    assert all(later - sooner >= 24 for sooner, later in pairwise(at_h[:-1]))
    assert len([o for o in outcomes if isinstance(o, SohComputed)]) == 4


def test_health_is_said_after_a_charge_that_gave_a_reading() -> None:
    outcomes = run([Day(soc=20).drive(5).idle(2).charge(180, amps=12).idle(2).frames()])[1]
    said = [o for o in outcomes if isinstance(o, SohComputed)]
    assert [o.soh.soh_pct is None for o in said] == [True, False, False][: len(said)]
    assert said[1].soh.soh_pct == pytest.approx(100, abs=0.5)


def test_another_cars_log_is_noticed() -> None:
    """People pick the wrong profile; numbers that look plausible would be worse than none."""
    day = Day()
    for k in range(4000):
        day.now_s = k / 50
        day.frame(UNKNOWN_ID)

    outcomes = run([day.frames()])[1]

    (event,) = [o for o in outcomes if isinstance(o, EventSeen)]
    assert (event.event, event.text) == (
        EventName.WRONG_PROFILE,
        "100 % of frames unknown, 0 bad: is this the right profile?",
    )


def test_a_chatty_bus_of_the_right_car_is_not_taken_for_another() -> None:
    """Most ids of a real bus have nothing to do with the battery."""
    day = Day().drive(2)
    day.rows = sorted(day.rows + [(ns, UNKNOWN_ID, 0.0) for ns, *_ in day.rows for _ in range(9)])
    assert events(run([day.frames()])[1]) == []


def test_the_state_stays_small() -> None:
    """It is written to an SD card every ten seconds."""
    assert len(dump(run([BUSY], BUSY_PLAN, finish=False)[0])) < 20_000
