"""The box on a real controller's driver: what it hears, what it never does, what it survives."""

from __future__ import annotations

import pytest

from can_frames import battery_state
from rig.boxes import Packbox
from rig.driving import BATTERY, UNKNOWN, log_of, play
from rig.machine import Ability, Rig
from rig.planted import NO_FILTER, caught, plant

STEADY_PER_S = 100


@pytest.fixture
def box(rig: Rig) -> Packbox:
    made = Packbox(rig.box)
    made.listen_to(rig.box_can)
    return made


def drive(count: int, per_s: float = STEADY_PER_S, *, stranger: bool = False, first: int = 0) -> bytes:
    """`count` frames of the battery; with `stranger` one of another id behind each."""
    return log_of(
        frame
        for k in range(count)
        for frame in (
            (k / per_s, BATTERY, battery_state(-10, 380, first + k)),
            *(((k + 0.5) / per_s, UNKNOWN, b"\x01") for _ in range(stranger)),
        )
    )


def counters(rig: Rig, name: str) -> tuple[int, int]:
    """Received and sent by an interface."""
    said = rig.box.run(f"cd /sys/class/net/{name}/statistics && cat rx_packets tx_packets").out.split()
    return int(said[0]), int(said[1])


def test_frames_of_the_car_arrive_and_the_kernel_keeps_the_others_away(rig: Rig, box: Packbox) -> None:
    """A busy bus has 2,000 frames a second, and the box needs a tenth: the others must never wake it."""
    box.start()
    check_filter(rig, box)


def check_filter(rig: Rig, box: Packbox) -> None:
    heard_before, _ = counters(rig, rig.box_can)
    play(rig.car, drive(300, stranger=True), rig.car_can, within_s=30)
    health = box.wait_for("s['health']['frames'] >= 300")["health"]
    heard, sent = counters(rig, rig.box_can)
    assert (heard - heard_before, sent) == (600, 0), "the controller heard all of them"
    assert {name: health[name] for name in ("frames", "frames_unknown", "frames_bad", "frames_dropped")} == {
        "frames": 300,
        "frames_unknown": 0,
        "frames_bad": 0,
        "frames_dropped": 0,
    }


@pytest.mark.needs(Ability.UPGRADE)
def test_a_box_without_its_filter_is_found_out(rig: Rig, box: Packbox) -> None:
    """A planted fault: the check above must be able to fail."""
    plant(rig.box, NO_FILTER)
    box.start()
    with caught():
        check_filter(rig, box)
