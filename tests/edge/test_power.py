"""The power may go when nothing needs it, and never takes a charge along or leaves a car that does not start."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packbox.core import power
from packbox.core.power import ENDS, KEEPS, Limits, PowerPhase, PowerState, Sight
from packbox.core.profile import CarState
from packbox.core.stamp import NS_PER_S

LIMITS = Limits()
HOUR_S = 3600
END_NAMES = {reason.name for reason in ENDS}

cars = st.sampled_from([None, *CarState])
volts = st.one_of(st.none(), st.floats(9.0, 15.0))
maybe = st.sampled_from([None, True, False])
# What the world shows for so many seconds: (seconds, a frame at its begin, car, plugged, ignition, rail, sending).
stretches = st.tuples(st.integers(1, 4000), st.booleans(), cars, maybe, maybe, volts, st.booleans())


class Day:
    """A box that is shown one thing after the other, a look every `every_s`."""

    def __init__(self, limits: Limits = LIMITS, every_s: int = 10) -> None:
        self.now_s = 0
        self.heard_s: int | None = None
        self.state = power.start(0)
        self.seen: list[tuple[Sight, PowerState]] = []
        self._limits = limits
        self._every_s = every_s

    def show(self, for_s: int, *, frames: bool = False, **known: object) -> Day:
        until_s = self.now_s + for_s
        while self.now_s < until_s and self.state.phase is not PowerPhase.SHUTDOWN:
            self.now_s += self._every_s
            if frames:
                self.heard_s = self.now_s
            heard_ns = None if self.heard_s is None else self.heard_s * NS_PER_S
            sight = dataclasses.replace(Sight(self.now_s * NS_PER_S, heard_ns), **known)
            self.state = power.advance(self.state, sight, self._limits)
            self.seen.append((sight, self.state))
        return self

    @property
    def phases(self) -> list[PowerPhase]:
        """Each change once."""
        phases = [state.phase for _, state in self.seen]
        return [phase for k, phase in enumerate(phases) if k == 0 or phase is not phases[k - 1]]


def test_a_parked_car_is_left_step_by_step() -> None:
    """Quiet bus, settle, ready, off: within ten minutes, and a power controller hears each word."""
    day = Day().show(600, frames=True).show(HOUR_S)
    assert day.phases == list(PowerPhase)
    assert day.state.why == power.SILENCE
    assert day.now_s == pytest.approx(600 + 300 + 60 + 30, abs=30)


def test_who_comes_back_in_time_finds_the_box_awake() -> None:
    """Doors open and close while somebody loads the car."""
    day = Day().show(100, frames=True).show(380).show(10, frames=True)
    assert day.phases == [PowerPhase.AWAKE, PowerPhase.SETTLING, PowerPhase.READY, PowerPhase.AWAKE] or day.phases == [
        PowerPhase.AWAKE,
        PowerPhase.SETTLING,
        PowerPhase.AWAKE,
    ]
    assert day.state.phase is PowerPhase.AWAKE


def test_a_charge_is_kept_to_its_end_though_the_bus_is_silent_and_the_ignition_off() -> None:
    """Many cars silence the bus while they charge; five hours without a frame are within the hard limit."""
    day = Day().show(600, frames=True, car=CarState.CHARGING).show(5 * HOUR_S, car=CarState.CHARGING, ignition_on=False)
    assert (day.state.phase, day.state.why) == (PowerPhase.AWAKE, "charging")


def test_a_slow_charge_of_three_days_that_is_seen_is_never_cut() -> None:
    """The converter feeds the box all the while: no reason to leave, whatever the hard limit is."""
    day = Day(every_s=60).show(72 * HOUR_S, frames=True, car=CarState.CHARGING)
    assert day.state.phase is PowerPhase.AWAKE


def test_a_stuck_ignition_line_flattens_no_battery() -> None:
    """A relay that sticks looks like an owner who sits in the car for days."""
    day = Day().show(24 * HOUR_S, ignition_on=True)
    assert (day.state.phase, day.state.why) == (PowerPhase.SHUTDOWN, "hard limit")


def test_a_12_volt_battery_that_runs_down_ends_even_a_charge() -> None:
    """A charging car whose converter is broken would not start again."""
    day = Day().show(600, frames=True, car=CarState.CHARGING, rail_v=11.5)
    assert (day.state.phase, day.state.why) == (PowerPhase.SHUTDOWN, "12 V low")
    assert day.now_s <= 80


def test_a_dip_of_the_rail_is_no_reason_to_go() -> None:
    """Cranking, heaters, a bad contact: seconds."""
    day = Day()
    for _ in range(20):
        day.show(50, frames=True, rail_v=10.5).show(20, frames=True, rail_v=12.6)
    assert day.state.phase is PowerPhase.AWAKE


def test_records_that_still_go_out_are_waited_for_but_not_for_ever() -> None:
    """A book that is slow must not keep a box up all night."""
    sending, idle = (Day().show(10, frames=True).show(HOUR_S, sending=sending) for sending in (True, False))
    assert sending.now_s - idle.now_s == pytest.approx(power.SETTLE_MAX_S - power.SETTLE_MIN_S, abs=20)


def test_a_plugged_car_is_waited_for_longer() -> None:
    """Solar surplus comes and goes; a cut between two clouds would cost a start each time."""
    day = Day().show(10, frames=True, plugged=True).show(3000, plugged=True)
    assert (day.state.phase, day.state.why) == (PowerPhase.AWAKE, "plugged in")
    assert day.show(HOUR_S, plugged=True).state.phase is PowerPhase.SHUTDOWN


@given(st.lists(stretches, max_size=12))
def test_nothing_but_the_two_ends_cuts_a_charge(world: list[tuple[object, ...]]) -> None:
    """Whatever went on before: charging is left only for a low 12 V side or the hard limit."""
    day = Day(every_s=40)
    for for_s, frames, *known in world:
        names = ("car", "plugged", "ignition_on", "rail_v", "sending")
        day.show(int(str(for_s)), frames=bool(frames), **dict(zip(names, known, strict=True)))
    for sight, state in day.seen:
        if sight.car in (CarState.CHARGING, CarState.DRIVING) or sight.ignition_on:
            assert state.phase is PowerPhase.AWAKE or state.why in END_NAMES


@given(st.lists(stretches, max_size=8), volts.filter(lambda v: v is None or v < power.RAIL_FED_V), maybe, maybe)
def test_silence_always_ends_in_shutdown(
    world: list[tuple[object, ...]], rail_v: float | None, ignition_on: bool | None, plugged: bool | None
) -> None:
    """Whatever went on before, and whichever line is stuck: a box that nobody feeds is off within the hard limit."""
    day = Day(every_s=40)
    names = ("car", "plugged", "ignition_on", "rail_v", "sending")
    for for_s, frames, *known in world:
        day.show(int(str(for_s)), frames=bool(frames), **dict(zip(names, known, strict=True)))
    longest_s = LIMITS.unfed_s + LIMITS.quiet_s + power.SETTLE_MAX_S + power.READY_S + 4 * 40
    day.show(int(longest_s), rail_v=rail_v, ignition_on=ignition_on, plugged=plugged)
    assert day.state.phase is PowerPhase.SHUTDOWN


@given(st.lists(stretches, max_size=12))
def test_no_step_is_skipped_but_by_an_end(world: list[tuple[object, ...]]) -> None:
    """A power controller that counts on `ready` before `shutdown` gets it."""
    day = Day(every_s=40)
    names = ("car", "plugged", "ignition_on", "rail_v", "sending")
    for for_s, frames, *known in world:
        day.show(int(str(for_s)), frames=bool(frames), **dict(zip(names, known, strict=True)))
    order = list(PowerPhase)
    for (_, before), (_, after) in zip(day.seen, day.seen[1:], strict=False):
        step = order.index(after.phase) - order.index(before.phase)
        assert step <= 1 or after.why in END_NAMES
        assert after.phase is PowerPhase.AWAKE or step >= 0


def test_shutdown_is_final() -> None:
    """Half a shutdown is the worst of both."""
    off = Day().show(2 * HOUR_S).state
    sight = Sight(3 * HOUR_S * NS_PER_S, 3 * HOUR_S * NS_PER_S, CarState.DRIVING, ignition_on=True)
    assert power.advance(off, sight, LIMITS) == off


def test_the_document_lists_every_reason(root: Path) -> None:
    """An operator reads there why the box is up, and trusts it."""
    text = (root / "docs/box.md").read_text()
    rows = [f"| {reason.name} | {reason.when} | {reason.why} |" for reason in (*ENDS, *KEEPS)]
    assert [row for row in rows if row not in text] == []
