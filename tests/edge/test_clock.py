"""The clock says what it knows and no more."""

from __future__ import annotations

from pathlib import Path

from packbox.clock import ClockTrust, LinuxMachine, SystemClock, read_boot_id


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
