"""Which question is next: the poll plan of one awakening of a car.

In:  the profile's polls, what the car does, and how each question ended.
Out: the next poll that is due, or None. `core.courtesy` decides whether it may be asked at all.

Of several that are due, the one goes first whose next round comes first, so that a current asked every second is not
late for cells asked every minute; before all others comes once what tells the 12 V side, because a low one ends the
asking. What a unit does not know is not asked again until the car has slept; one that is
silent or breaks off is asked again soon, then ever more rarely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from packbox.core.exchange import Ending, Reply
from packbox.core.profile import CarState, Poll
from packbox.core.stamp import NS_PER_S

RETRY_S: Final = 3.0  # once, soon: a lost frame
REST_MAX_S: Final = 3600.0  # a silent question is asked once an hour at the least, its own interval if longer
ONCE_TRIES: Final = 3
ONCE_WITHIN_S: Final = 30.0  # how urgent a question is that is asked once
DOUBLINGS_MAX: Final = 12
AUX_VOLTAGE: Final = "aux_voltage_v"
# 7F codes that mean "not here": service, sub-function or identifier unknown, or locked (ISO 14229-1 annex A).
NOT_HERE: Final = frozenset((0x11, 0x12, 0x13, 0x14, 0x31, 0x33, 0x7E, 0x7F))


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of one poll since the car woke up."""

    asked_ns: int | None = None
    misses: int = 0
    over: bool = False  # not again this time


@dataclass(frozen=True, slots=True)
class PollState:
    woke_ns: int
    asked: tuple[Asked, ...]  # in the order of the polls


def start(polls: Sequence[Poll], now_ns: int) -> PollState:
    """The car woke up: everything may be asked again."""
    return PollState(now_ns, (Asked(),) * len(polls))


def next_due(polls: Sequence[Poll], state: PollState, car_state: CarState, now_ns: int) -> int | None:
    """Place of the poll to ask now."""
    best: tuple[bool, int, int] | None = None
    for place, (poll, asked) in enumerate(zip(polls, state.asked, strict=True)):
        every_s = ONCE_WITHIN_S if poll.once else poll.every_s.get(car_state)
        if every_s is None or asked.over:
            continue
        due_ns = state.woke_ns if asked.asked_ns is None else asked.asked_ns + _wait_ns(every_s, asked.misses)
        late_ns = due_ns + round(every_s * NS_PER_S)
        rank = (asked.asked_ns is not None or not tells(poll, AUX_VOLTAGE), late_ns, place)
        if due_ns <= now_ns and (best is None or rank < best):
            best = rank
    return None if best is None else best[-1]


def tells(poll: Poll, quantity: str) -> bool:
    """Whether an answer to it holds the quantity."""
    return any(use.quantity == quantity for layout in poll.layouts for field in layout.fields for use in field.uses)


def after(polls: Sequence[Poll], state: PollState, place: int, reply: Reply, asked_ns: int) -> PollState:
    """The poll was asked at `asked_ns` and ended so."""
    before, once = state.asked[place], polls[place].once
    if reply.ending is Ending.ANSWERED:
        now = Asked(asked_ns, over=once)
    else:
        misses = before.misses + 1
        unknown = reply.ending is Ending.REFUSED and reply.code in NOT_HERE
        now = Asked(asked_ns, misses, over=unknown or (once and misses >= ONCE_TRIES))
    return PollState(state.woke_ns, (*state.asked[:place], now, *state.asked[place + 1 :]))


def given_up(state: PollState, place: int) -> PollState:
    """Not again this time."""
    over = replace(state.asked[place], over=True)
    return PollState(state.woke_ns, (*state.asked[:place], over, *state.asked[place + 1 :]))


def _wait_ns(every_s: float, misses: int) -> int:
    if misses == 0:
        wait_s = every_s
    elif misses == 1:
        wait_s = min(every_s, RETRY_S)
    else:
        wait_s = min(every_s * 2.0 ** min(misses - 1, DOUBLINGS_MAX), max(every_s, REST_MAX_S))
    return round(wait_s * NS_PER_S)
