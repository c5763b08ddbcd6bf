"""Which question is next."""

from __future__ import annotations

from packbox.core import poll as plan
from packbox.core.exchange import Ending, Reply
from packbox.core.profile import CarState, Poll
from packbox.core.stamp import NS_PER_S

GOOD = Reply(Ending.ANSWERED, b"\x61\x01")
DRIVING = CarState.DRIVING


def make(name: str, once: bool = False, **every_s: float) -> Poll:
    return Poll(
        name,
        0x79B,
        0x7BB,
        extended=False,
        request=b"\x21\x01",
        layouts=(),
        every_s={CarState(state): seconds for state, seconds in every_s.items()},
        once=once,
    )


def asked(
    polls: list[Poll], seconds: int, state: CarState = DRIVING, replies: dict[str, Reply] | None = None
) -> list[tuple[int, str]]:
    """What is asked in the first seconds, one question a second at the most."""
    now, said = plan.start(polls, 0), []
    for second in range(seconds):
        place = plan.next_due(polls, now, state, second * NS_PER_S)
        if place is None:
            continue
        said.append((second, polls[place].id))
        now = plan.after(polls, now, place, (replies or {}).get(polls[place].id, GOOD), second * NS_PER_S)
    return said


def times(said: list[tuple[int, str]], name: str) -> list[int]:
    return [second for second, one in said if one == name]


def test_each_poll_comes_at_its_interval_in_the_state_it_is_for() -> None:
    """Cells once a minute while driving, balancing only at the plug."""
    polls = [make("cells", driving=60, charging=30), make("balancing", charging=60)]
    assert asked(polls, 130) == [(0, "cells"), (60, "cells"), (120, "cells")]
    assert times(asked(polls, 130, CarState.CHARGING), "cells") == [0, 30, 60, 90, 120]
    assert times(asked(polls, 130, CarState.CHARGING), "balancing") == [1, 61, 121]
    assert asked(polls, 130, CarState.READY) == []


def test_once_means_once_per_awakening() -> None:
    """A serial number does not change while the car is awake."""
    assert asked([make("serial", once=True)], 100) == [(0, "serial")]


def test_what_is_needed_often_is_not_late_for_what_is_needed_rarely() -> None:
    """A current every two seconds is what the charge is integrated from."""
    rare = [make(f"rare{k}", driving=900) for k in range(20)]
    said = asked([*rare, make("current", driving=2)], 60)
    gaps = [b - a for a, b in zip(times(said, "current"), times(said, "current")[1:], strict=False)]
    assert set(gaps) == {2}
    assert {name for _, name in said} == {"current", *(one.id for one in rare)}


def test_what_a_unit_does_not_know_is_not_asked_again() -> None:
    """31, request out of range: asking on would be noise on the bus for years."""
    polls = [make("unknown", driving=5), make("busy", driving=5)]
    replies = {"unknown": Reply(Ending.REFUSED, code=0x31), "busy": Reply(Ending.REFUSED, code=0x22)}
    said = asked(polls, 100, replies=replies)
    assert times(said, "unknown") == [0]
    assert times(said, "busy") == [1, 4, 14, 34, 74]


def test_silence_is_asked_again_soon_and_then_rarely() -> None:
    """One lost frame costs three seconds; a unit that is not fitted costs almost nothing."""
    said = asked([make("gone", driving=10)], 14_000, replies={"gone": Reply(Ending.SILENT)})
    gaps = [b - a for a, b in zip(times(said, "gone"), times(said, "gone")[1:], strict=False)]
    assert gaps == [3, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    assert times(asked([make("gone", once=True)], 20_000, replies={"gone": Reply(Ending.SILENT)}), "gone") == [0, 3, 63]


def test_an_answer_after_silence_brings_the_interval_back() -> None:
    """The unit was busy."""
    polls = [make("cells", driving=60)]
    now = plan.start(polls, 0)
    now = plan.after(polls, now, 0, Reply(Ending.BROKEN), 0)
    assert plan.next_due(polls, now, DRIVING, 3 * NS_PER_S) == 0
    now = plan.after(polls, now, 0, GOOD, 3 * NS_PER_S)
    assert plan.next_due(polls, now, DRIVING, 62 * NS_PER_S) is None
    assert plan.next_due(polls, now, DRIVING, 63 * NS_PER_S) == 0
