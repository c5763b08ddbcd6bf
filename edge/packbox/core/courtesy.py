"""May the box ask the car something now? If not, why?

In:  `Sight`: what is known of car, bus and owner at this moment.
Out: the first `Rule` of `RULES` that forbids to ask, or None.
Refuses by default: without consent nothing is asked, whatever a profile says.

The numbers come from facts/vehicles.md §2 ("passive or polled"); a profile's `[care]` may only be stricter. That
requests only read is not a matter of the moment: `core.exchange.OutFrame` cannot be made with anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from packbox.core.power import RAIL_FED_V
from packbox.core.profile import Care, CarState
from packbox.core.stamp import NS_PER_S

NEVER_NS: Final = -(1 << 61)
GAP_NS: Final = NS_PER_S // 10  # between the end of one question and the next: under 1 % of a 500 kbit/s bus
ATTENDED_MAX_NS: Final = 600 * NS_PER_S  # an inspection takes minutes; nobody stays attended for ever
TROUBLE_PAUSE_NS: Final = 5 * NS_PER_S  # after the first bus error; doubled by each that follows
TROUBLE_PAUSE_MAX_NS: Final = 300 * NS_PER_S
TROUBLE_STEPS_MAX: Final = 16


class Consent(StrEnum):
    """What the owner agreed to."""

    NEVER = "never"
    STANDING = "standing"  # not while the car is driven
    AGREED = "agreed"


@dataclass(frozen=True, slots=True)
class Signs:
    """Of a car that is awake, told by the installation and not by its bus. Unknown is None."""

    ignition_on: bool | None = None
    rail_v: float | None = None  # the 12 V side as the box measures it

    @property
    def awake(self) -> bool:
        return self.ignition_on is True or (self.rail_v is not None and self.rail_v >= RAIL_FED_V)


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known now. Times are monotonic; the car's own traffic is that which we did not cause."""

    consent: Consent
    care: Care
    car_state: CarState | None = None
    heard_ns: int = NEVER_NS  # newest frame of the car's own traffic
    aux_voltage_v: float | None = None  # since the car woke up
    other_tester_ns: int = NEVER_NS  # newest sign of one
    trouble_ns: int = NEVER_NS  # newest bus error or frame that could not be sent
    trouble_steps: int = 0  # how many of them without an answer in between
    asked_ns: int = NEVER_NS  # end of the newest question
    attended_until_ns: int = NEVER_NS  # until then a person at the car says that it is on
    signs: Signs = Signs()
    unanswered_ns: int | None = None  # oldest question since the last answer, or since the signs say "awake"
    known: bool = True  # the car on the bus is the one whose questions these are


def _awake_by_signs(sight: Sight, now_ns: int) -> bool:
    """A sign says so, and the car does not contradict it by silence."""
    since_ns = sight.unanswered_ns
    silent = since_ns is not None and now_ns - since_ns >= sight.care.stop_after_silence_s * NS_PER_S
    return sight.signs.awake and not silent


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    limit: str
    why: str
    forbids: Callable[[Sight, int], bool]


def _trouble_pause_ns(sight: Sight) -> int:
    return min(TROUBLE_PAUSE_NS << max(0, sight.trouble_steps - 1), TROUBLE_PAUSE_MAX_NS)


RULES: Final = (
    Rule(
        "no consent",
        "setting polling is not `never`, and the owner did not withdraw his consent",
        "the car belongs to its owner; listening disturbs nothing, asking may",
        lambda sight, _now_ns: sight.consent is Consent.NEVER,
    ),
    Rule(
        "car not known",
        "a car that was recognised before shows after each start that it is still the same family",
        "the same question may mean something else to another car",
        lambda sight, _now_ns: not sight.known,
    ),
    Rule(
        "being driven",
        "setting polling is `agreed`, or the car is known not to be driven, or a person at the car says so",
        "who agreed only for the standing car is taken at his word, also while we do not know",
        lambda sight, now_ns: (
            sight.consent is Consent.STANDING
            and (sight.car_state is CarState.DRIVING or (sight.car_state is None and now_ns >= sight.attended_until_ns))
        ),
    ),
    Rule(
        "bus silent",
        "the car's own traffic within the last 2 s; or ignition on or the 12 V side fed (13.2 V), until a question was "
        "10 s without an answer; or for 10 min a person at the car who says that it is on",
        "questions keep control units awake and drain the 12 V battery; answers to us count only while another sign "
        "says that the car is awake anyway",
        lambda sight, now_ns: (
            not (
                now_ns - sight.heard_ns <= sight.care.bus_alive_s * NS_PER_S
                or _awake_by_signs(sight, now_ns)
                or now_ns < sight.attended_until_ns
            )
        ),
    ),
    Rule(
        "12 V low",
        "12.2 V, if the car tells it or the box measures it",
        "below that the 12 V battery may not start the car again; held until a better reading or the next awakening",
        lambda sight, _now_ns: any(
            volts is not None and volts < sight.care.aux_voltage_min_v
            for volts in (sight.aux_voltage_v, sight.signs.rail_v)
        ),
    ),
    Rule(
        "another tester",
        "60 s after its last frame",
        "two testers on one id break each other's answers; a workshop goes first",
        lambda sight, now_ns: now_ns - sight.other_tester_ns < sight.care.other_tester_pause_s * NS_PER_S,
    ),
    Rule(
        "bus errors",
        "5 s, doubled up to 300 s until something is answered",
        "errors or a full send queue mean that nobody acknowledges, or that we are the one who disturbs",
        lambda sight, now_ns: now_ns - sight.trouble_ns < _trouble_pause_ns(sight),
    ),
    Rule(
        "pace",
        "0.1 s between two questions",
        "diagnostics must stay a drop in the bus",
        lambda sight, now_ns: now_ns - sight.asked_ns < GAP_NS,
    ),
)
PACE: Final = RULES[-1]


def restraint(sight: Sight, now_ns: int) -> Rule | None:
    """The first rule that forbids to ask now."""
    return next((rule for rule in RULES if rule.forbids(sight, now_ns)), None)


def is_asleep(sight: Sight, now_ns: int) -> bool:
    """Silent for so long that the car went to sleep: every wait is over, and what was learned this time is void."""
    silent = now_ns - sight.heard_ns >= sight.care.stop_after_silence_s * NS_PER_S
    return silent and not _awake_by_signs(sight, now_ns) and now_ns >= sight.attended_until_ns


def forget(sight: Sight) -> Sight:
    """The car fell asleep."""
    return replace(sight, aux_voltage_v=None, car_state=None)


def troubled(sight: Sight, now_ns: int) -> Sight:
    """A bus error, or a frame could not be sent. Errors within a pause are one trouble."""
    within = now_ns - sight.trouble_ns < _trouble_pause_ns(sight)
    steps = sight.trouble_steps if within and sight.trouble_steps else sight.trouble_steps + 1
    return replace(sight, trouble_ns=now_ns, trouble_steps=min(steps, TROUBLE_STEPS_MAX))


def answered(sight: Sight) -> Sight:
    """The bus works. The shortest pause after an error holds all the same: the answer may be older than the error."""
    return replace(sight, trouble_steps=0, unanswered_ns=None)


def asked(sight: Sight, now_ns: int) -> Sight:
    """A question goes out now."""
    return sight if sight.unanswered_ns is not None else replace(sight, unanswered_ns=now_ns)


def told(sight: Sight, signs: Signs) -> Sight:
    """What the installation tells now. A sign that appears begins a new awakening, whatever was silent before."""
    appeared = signs.awake and not sight.signs.awake
    return replace(sight, signs=signs, unanswered_ns=None if appeared else sight.unanswered_ns)
