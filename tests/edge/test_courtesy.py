"""Do no harm: every rule of the table, alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packbox.core.courtesy import (
    NEVER_NS,
    RULES,
    Consent,
    Sight,
    Signs,
    answered,
    forget,
    is_asleep,
    restraint,
    troubled,
)
from packbox.core.profile import Care, CarState
from packbox.core.stamp import NS_PER_S

NOW = 10_000 * NS_PER_S
WELCOME = Sight(Consent.AGREED, Care(), CarState.DRIVING, heard_ns=NOW, aux_voltage_v=14.1)
BUS_ERRORS = next(rule for rule in RULES if rule.name == "bus errors")


def ago(seconds: float) -> int:
    return NOW - round(seconds * NS_PER_S)


def held_by(sight: Sight) -> str | None:
    rule = restraint(sight, NOW)
    return None if rule is None else rule.name


def test_a_car_that_is_awake_and_whose_owner_agreed_may_be_asked() -> None:
    """Else none of the rules below would show anything."""
    assert held_by(WELCOME) is None


CASES = {
    "no consent": [replace(WELCOME, consent=Consent.NEVER)],
    "car not known": [replace(WELCOME, known=False)],
    "being driven": [
        replace(WELCOME, consent=Consent.STANDING),
        replace(WELCOME, consent=Consent.STANDING, car_state=None),
    ],
    "bus silent": [
        replace(WELCOME, heard_ns=ago(2.01)),
        replace(WELCOME, heard_ns=NEVER_NS),
        replace(WELCOME, heard_ns=ago(1.5), care=Care(bus_alive_s=1.0)),
        replace(WELCOME, heard_ns=NEVER_NS, attended_until_ns=NOW),
        replace(WELCOME, heard_ns=NEVER_NS, signs=Signs(ignition_on=False, rail_v=12.9)),
        replace(WELCOME, heard_ns=NEVER_NS, signs=Signs(ignition_on=True), unanswered_ns=ago(10)),
        replace(WELCOME, heard_ns=NEVER_NS, signs=Signs(rail_v=13.8), unanswered_ns=ago(10)),
    ],
    "12 V low": [
        replace(WELCOME, aux_voltage_v=12.19),
        replace(WELCOME, aux_voltage_v=12.5, care=Care(aux_voltage_min_v=12.6)),
        replace(WELCOME, aux_voltage_v=None, signs=Signs(ignition_on=True, rail_v=12.1)),
    ],
    "another tester": [
        replace(WELCOME, other_tester_ns=ago(59.9)),
        replace(WELCOME, other_tester_ns=ago(100), care=Care(other_tester_pause_s=120)),
    ],
    "bus errors": [
        replace(WELCOME, trouble_ns=ago(4.9), trouble_steps=1),
        replace(WELCOME, trouble_ns=ago(9.9), trouble_steps=2),
        replace(WELCOME, trouble_ns=ago(299), trouble_steps=16),
    ],
    "pace": [replace(WELCOME, asked_ns=ago(0.09))],
}
FREE = {
    "being driven": replace(WELCOME, consent=Consent.STANDING, car_state=CarState.CHARGING),
    "bus silent": replace(WELCOME, heard_ns=ago(1.99)),
    "attended": replace(WELCOME, heard_ns=NEVER_NS, attended_until_ns=NOW + 1),
    "ignition on": replace(WELCOME, heard_ns=NEVER_NS, signs=Signs(ignition_on=True)),
    "12 V side fed": replace(WELCOME, heard_ns=NEVER_NS, signs=Signs(ignition_on=False, rail_v=13.2)),
    "a question on its way": replace(
        WELCOME, heard_ns=NEVER_NS, signs=Signs(ignition_on=True), unanswered_ns=ago(9.99)
    ),
    "12 V low": replace(WELCOME, aux_voltage_v=12.2),
    "12 V unknown": replace(WELCOME, aux_voltage_v=None),
    "another tester": replace(WELCOME, other_tester_ns=ago(60)),
    "bus errors": replace(WELCOME, trouble_ns=ago(300), trouble_steps=16),
    "pace": replace(WELCOME, asked_ns=ago(0.1)),
}


def test_every_rule_has_its_case() -> None:
    """A rule without a test is a wish."""
    assert [rule.name for rule in RULES] == list(CASES)
    assert all(rule.limit and rule.why for rule in RULES)


def test_the_owner_can_read_every_rule(root: Path) -> None:
    """The table in the manual is the table in the code, word for word."""
    manual = (root / "docs/box.md").read_text()
    assert [r.name for r in RULES if f"| {r.name} | {r.limit} | {r.why} |" not in manual] == []


@pytest.mark.parametrize(("name", "sight"), [(name, sight) for name, sights in CASES.items() for sight in sights])
def test_the_rule_holds_alone(name: str, sight: Sight) -> None:
    """Everything else would allow to ask."""
    assert held_by(sight) == name


@pytest.mark.parametrize("sight", FREE.values(), ids=FREE)
def test_on_the_other_side_of_the_limit_it_lets_go(sight: Sight) -> None:
    """A rule that never lets go is a box that learns nothing."""
    assert held_by(sight) is None


@given(
    times=st.lists(st.integers(-100, 0), min_size=4, max_size=4),
    volts=st.none() | st.floats(8, 16),
    state=st.none() | st.sampled_from(CarState),
    steps=st.integers(0, 16),
)
def test_without_consent_nothing_is_ever_asked(
    times: list[int], volts: float | None, state: CarState | None, steps: int
) -> None:
    """The owner's word stands above everything that car, profile or bus may say."""
    heard, other, trouble, asked = (NOW + t * NS_PER_S for t in times)
    sight = Sight(Consent.NEVER, Care(), state, heard, volts, other, trouble, steps, asked)
    assert held_by(sight) == "no consent"


def test_bus_errors_are_answered_with_ever_longer_pauses() -> None:
    """Errors that we cause ourselves must die out; one burst is one error."""
    sight, pauses, now_ns = WELCOME, [], NOW
    for _ in range(9):
        sight = troubled(troubled(sight, now_ns), now_ns + 1)
        began_ns = now_ns
        while BUS_ERRORS.forbids(sight, now_ns):
            now_ns += NS_PER_S
        pauses.append(round((now_ns - began_ns) / NS_PER_S))
    assert pauses == [6, 11, 21, 41, 81, 161, 301, 301, 301]  # the second of the burst's last error on top
    assert held_by(answered(troubled(WELCOME, ago(5)))) is None
    assert held_by(answered(troubled(WELCOME, ago(4)))) == "bus errors"


def test_sleep_makes_what_was_known_of_this_awakening_void() -> None:
    """A low 12 V of last night says nothing about the car that was charged meanwhile."""
    assert not is_asleep(replace(WELCOME, heard_ns=ago(9.9)), NOW)
    assert is_asleep(replace(WELCOME, heard_ns=ago(10)), NOW)
    after = forget(replace(WELCOME, aux_voltage_v=11.9))
    assert (after.aux_voltage_v, after.car_state) == (None, None)
