"""The clock says what it knows and no more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from packbox import clock
from packbox.clock import EARLIEST_NS, ClockTrust, LinuxMachine, SystemClock, read_boot_id
from packbox.core.stamp import NS_PER_MS, BootId
from packbox.testing.sim_clock import SimMachine

BEGIN_MS = 1_778_000_000_000.0
HOUR_S = 3600.0


class Pi:
    """A machine in a car, its clock, and the true time."""

    def __init__(self, trust: ClockTrust = ClockTrust.AUTO, wrong_s: float = -HOUR_S, drift_ppm: float = 0.0) -> None:
        self.true_ms = BEGIN_MS
        self.machine = SimMachine(BootId("b0" * 8), lambda: self.true_ms, wrong_s * 1000, drift_ppm)
        self.clock = SystemClock(trust, machine=self.machine)

    def after(self, seconds: float = 2.0) -> float | None:
        """How many seconds the calendar is off then; None when there is none."""
        self.true_ms += seconds * 1000
        wall_ms = self.clock.now().wall_ms
        return None if wall_ms is None else round((wall_ms - self.true_ms) / 1000, 3)


def test_a_boot_has_one_id_for_every_process(tmp_path: Path) -> None:
    """A restarted program goes on with the same monotonic time, so it must not look like a new boot."""
    file = tmp_path / "boot_id"
    file.write_text("0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9\n")
    assert read_boot_id(file) == "0f1e2d3c4b5a4978"
    assert SystemClock().boot == SystemClock().boot == read_boot_id()


def test_the_wall_clock_is_unknown_until_somebody_set_it() -> None:
    """After a power cut a Pi shows the time of its last shutdown, which looks valid."""
    assert SystemClock(synchronized=lambda: False).now().wall_ms is None


def test_the_wall_clock_stays_known_once_it_was() -> None:
    """Nine hours without network make the kernel call a good clock unsynchronized."""
    answers = iter([True])
    asked = SystemClock(synchronized=lambda: next(answers))
    first, second = asked.now().wall_ms, asked.now().wall_ms
    assert first is not None
    assert second is not None
    assert second - first < 1000


def test_the_system_is_asked_at_most_once_a_second() -> None:
    """now() is called for every batch of frames."""
    asked: list[bool] = []

    def synchronized() -> bool:
        asked.append(True)
        return False

    unknown = SystemClock(synchronized=synchronized)
    for _ in range(100):
        unknown.now()
    assert len(asked) <= 2


def test_a_trusted_clock_is_known_from_the_start() -> None:
    """A Pi 5 with its battery fitted, or a test bench."""
    assert SystemClock(ClockTrust.ALWAYS, synchronized=lambda: False).now().wall_ms is not None


def test_monotonic_time_does_not_run_back() -> None:
    """Durations come from it."""
    running = SystemClock()
    stamps = [running.now().mono_ns for _ in range(1000)]
    assert stamps == sorted(stamps)


def test_the_kernel_is_asked_without_harm(tmp_path: Path) -> None:
    """Whatever this machine answers, it answers: no right is needed and no clock is set."""
    machine = LinuxMachine(tmp_path / "synchronized")
    assert machine.synchronized() in (True, False)
    (tmp_path / "synchronized").touch()
    assert machine.synchronized() is True


@pytest.mark.parametrize("step_s", [3 * HOUR_S, -24 * HOUR_S, 40 * 24 * HOUR_S])
def test_a_clock_that_was_set_by_hand_after_its_mark_is_not_believed_at_first_sight(step_s: float) -> None:
    """The box starts anew within the boot, and finds the mark of a synchronization that somebody has undone since."""
    pi = Pi()
    pi.machine.synchronize()
    pi.true_ms += 60_000
    pi.machine.step(step_s * 1000)
    assert pi.after() is None
    pi.machine.synchronize()
    assert pi.after() == 0


def test_a_mark_from_before_this_boot_or_from_the_future_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is empty at boot, so the wall clock was moved since the mark was made."""
    monkeypatch.setattr(clock, "_kernel_synchronized", lambda: False)
    mark = tmp_path / "synchronized"
    mark.touch()
    machine = LinuxMachine(mark)
    now_ns, uptime_ns = machine.realtime_ns(), machine.boottime_ns()
    for touched_ns in (now_ns + 3_600_000_000_000, now_ns - uptime_ns - 3_600_000_000_000):
        os.utime(mark, ns=(touched_ns, touched_ns))
        assert machine.synchronized() is False


# -- who is believed ---------------------------------------------------------------------------------------------------


def test_the_calendar_comes_with_the_first_synchronization() -> None:
    """Until then the wall clock shows when the power went, or 1970."""
    pi = Pi()
    assert pi.after() is None
    pi.machine.synchronize()
    assert pi.after() == 0


@pytest.mark.parametrize("step_s", [3 * HOUR_S, -24 * HOUR_S, 40 * 24 * HOUR_S, 1.5, -1.5])
def test_a_clock_set_by_hand_changes_nothing(step_s: float) -> None:
    """Somebody at a keyboard knows less than the time server did; the calendar goes on from what was known."""
    pi = Pi()
    pi.machine.synchronize()
    assert pi.after() == 0
    pi.machine.step(step_s * 1000)
    assert (pi.after(), pi.after(HOUR_S)) == (0, 0)
    pi.machine.synchronize()
    assert pi.after() == 0


def test_a_step_is_followed_once_somebody_vouches_for_it() -> None:
    """The first server was wrong; or the car stood for months and the crystal drifted."""
    pi = Pi()
    pi.machine.synchronize(40 * 60_000)
    assert pi.after() == 40 * 60
    pi.machine.synchronize()
    assert pi.after() == 0


def test_small_steps_by_hand_do_not_add_up() -> None:
    """Each alone looks like a clock being disciplined."""
    pi = Pi()
    pi.machine.synchronize()
    assert pi.after() == 0
    off_s = []
    for _ in range(5):
        pi.machine.step(-900)
        off_s.append(pi.after())
    assert off_s == [-0.9] * 5


@pytest.mark.parametrize("trust", list(ClockTrust))
def test_no_box_lives_in_1970(trust: ClockTrust) -> None:
    """A battery-backed clock whose battery is flat starts there, also one that somebody looks after."""
    pi = Pi(trust, wrong_s=-BEGIN_MS / 1000)
    pi.machine.synchronize(-BEGIN_MS)
    assert pi.after() is None
    pi.machine.synchronize()
    assert pi.after() == 0
    pi.machine.synchronize(-BEGIN_MS)
    assert pi.after() == 0


def test_the_earliest_time_is_the_first_that_is_believed() -> None:
    """The limit itself, on both sides of it."""
    for early_ms, known in ((1, False), (0, True)):
        pi = Pi(ClockTrust.ALWAYS, wrong_s=(EARLIEST_NS / NS_PER_MS - early_ms - BEGIN_MS) / 1000)
        assert (pi.after(0) is not None) is known


@pytest.mark.parametrize("leap_s", [1.0, -1.0])
def test_a_leap_second_is_followed_and_durations_do_not_see_it(leap_s: float) -> None:
    """The kernel inserts or drops it by itself while it says that the clock is synchronized."""
    pi = Pi()
    pi.machine.synchronize()
    assert pi.after() == 0
    before = pi.clock.now()
    pi.machine.leap(leap_s)
    assert pi.after(10) == leap_s
    after = pi.clock.now()
    assert after.mono_ns - before.mono_ns == 10_000_000_000
    assert before.wall_ms is not None
    assert after.wall_ms == before.wall_ms + 10_000 + leap_s * 1000


def test_monotonic_time_and_calendar_keep_their_distance() -> None:
    """Sources hand the distance on with every batch; batches that differ in it cannot be folded together."""
    pi = Pi(drift_ppm=17.0)
    pi.machine.synchronize(0.4)
    distances = set()
    for _ in range(500):
        pi.true_ms += 1234.567
        stamp = pi.clock.now()
        assert stamp.wall_ms is not None
        distances.add(stamp.wall_ms - stamp.mono_ns // NS_PER_MS)
    assert len(distances) <= 2  # the same but for what the simulated machine's own arithmetic rounds


def test_a_touched_mark_vouches_once_and_only_for_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd-timesyncd touches its mark with every synchronization: an old touch says nothing of a later step."""
    monkeypatch.setattr(clock, "_kernel_synchronized", lambda: False)
    mark = tmp_path / "synchronized"
    machine = LinuxMachine(mark)
    assert (machine.synchronized(), machine.vouched()) == (False, False)
    mark.touch()
    assert (machine.synchronized(), machine.vouched()) == (True, False)
    os.utime(mark, ns=(1, 1))
    assert (machine.vouched(), machine.vouched()) == (True, False)
    mark.unlink()
    assert machine.vouched() is False


def test_a_mark_that_was_touched_long_ago_does_not_vouch_for_a_clock_set_by_hand() -> None:
    """The touch of an hour ago was for the clock as it was then."""
    pi = Pi()
    pi.machine.synchronize()
    touches = iter([True])
    pi.machine.vouched = lambda: next(touches, False)  # type: ignore[method-assign]
    assert (pi.after(), pi.after(HOUR_S), pi.after(HOUR_S)) == (0, 0, 0)
    pi.machine.step(3 * HOUR_S * 1000)
    assert pi.after() == 0
