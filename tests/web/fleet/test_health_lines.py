"""The small lines of a box's page: what was heard is drawn, what was not heard is not."""

from __future__ import annotations

from packbook.web.fleet.health_lines import HEIGHT, WIDTH, drawn

HOUR_MS = 3_600_000


def test_a_line_goes_from_the_first_to_the_last_heartbeat_and_from_the_highest_to_the_lowest_value() -> None:
    """Whoever reads it takes the edges of the picture for the ends of the time and of the values beside it."""
    assert drawn([(0, 40.0), (HOUR_MS, 50.0), (2 * HOUR_MS, 45.0)]) == (
        f"M0.0 {HEIGHT}L{WIDTH / 2} 0.0L{WIDTH} {HEIGHT / 2}"
    )


def test_silence_breaks_the_line() -> None:
    """A line across three silent days would tell of a calm that nobody saw."""
    beats = [(hour * HOUR_MS, 1.0) for hour in (0, 1, 2, 74, 75)]
    assert drawn(beats).count("M") == 2


def test_what_never_changes_lies_in_the_middle() -> None:
    """No value is the highest or the lowest then."""
    assert drawn([(0, 20.0), (HOUR_MS, 20.0)]) == f"M0.0 {HEIGHT / 2}L{WIDTH} {HEIGHT / 2}"
