"""The box on the kernel's CAN sockets with a real controller's driver: what it hears, never does, and survives."""

from __future__ import annotations

import json

import pytest

from can_frames import battery_state
from rig.adapter import adapter
from rig.boxes import Packbox, go_active
from rig.driving import BATTERY, UNKNOWN, log_of, play
from rig.emulated import EmulatedRig
from rig.figures import FIGURES
from rig.machine import Ability, Fault, Rig
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


@pytest.mark.x86_only
@pytest.mark.needs(Ability.UPGRADE)
def test_a_box_without_its_filter_is_found_out(rig: Rig, box: Packbox) -> None:
    """A planted fault: the check above must be able to fail."""
    plant(rig.box, NO_FILTER)
    box.start()
    with caught():
        check_filter(rig, box)


def test_the_shipped_network_unit_lets_nothing_onto_the_bus(rig: Rig) -> None:
    """Listen-only is the controller's own promise: whatever runs on the box, the car's bus stays untouched."""
    (link,) = json.loads(rig.box.run(f"ip -j -d link show {rig.box_can}").out)
    assert "LISTEN-ONLY" in link["linkinfo"]["info_data"]["ctrlmode"]
    rig.box.run(f"cansend {rig.box_can} 123#00; sleep 1", check=False)
    assert counters(rig, rig.car_can)[0] == 0


def test_a_box_that_only_listens_sends_no_frame_on_a_controller_that_could(rig: Rig, box: Packbox) -> None:
    """The software's promise, where the controller makes none; counted by the car over a start, a fault and an end."""
    go_active(rig.box, rig.box_can)
    box.start()
    play(rig.car, drive(200), rig.car_can, within_s=30)
    rig.box.run(f"ip link set {rig.box_can} down; sleep 2; ip link set {rig.box_can} up")
    play(rig.car, drive(200, first=200), rig.car_can, within_s=30)
    status = box.wait_for("s['health']['frames'] >= 400")
    box.stop()
    assert status["health"]["frames_sent"] == 0
    assert counters(rig, rig.car_can) == (0, 400)


def test_a_link_that_goes_down_and_up_costs_nothing_but_its_time(rig: Rig, box: Packbox) -> None:
    """Somebody restarts the network: the box waits and goes on, with the frames of before."""
    box.start()
    play(rig.car, drive(200), rig.car_can, within_s=30)
    rig.box.run(f"ip link set {rig.box_can} down")
    down = box.wait_for("s['bus']['down']", within_s=30)
    assert "down" in down["bus"]["down"]
    rig.box.run(f"ip link set {rig.box_can} up")
    play(rig.car, drive(200, first=200), rig.car_can, within_s=30)
    health = box.wait_for("s['health']['frames'] >= 400 and s['bus']['down'] is None")["health"]
    assert (health["frames"], health["frames_dropped"], health["frames_bad"]) == (400, 0, 0)


@pytest.mark.needs(Ability.UNPLUG)
def test_a_controller_that_vanishes_and_returns_is_heard_again(rig: Rig, box: Packbox) -> None:
    """A HAT with a loose contact, a USB adapter that was pulled: the interface is gone, and comes back as new."""
    box.start()
    play(rig.car, drive(200), rig.car_can, within_s=30)
    address = rig.box.run(f"basename $(readlink /sys/class/net/{rig.box_can}/device)").out.strip()
    driver = "/sys/bus/pci/drivers/kvaser_pci"
    rig.box.run(f"echo {address} >{driver}/unbind; sleep 3; ! ip link show {rig.box_can}")
    box.wait_for("s['bus']['down']", within_s=30)
    rig.box.run(
        f"echo {address} >{driver}/bind\nuntil ip link show {rig.box_can} | grep -q LOWER_UP; do sleep 0.2; done"
    )
    says = [battery_state(-40, 380, count).hex() for count in range(8)]
    took_s = float(rig.box.run(HEARD_AGAIN.format(box=rig.box_can, car=rig.car_can, says=says), within_s=60).out)
    health = box.wait_for("s['health']['frames'] > 200")["health"]
    FIGURES.tell("controller back until its frames are heard", took_s, "s", limit=30)
    assert took_s <= 30
    assert (health["frames_dropped"], health["frames_bad"]) == (0, 0)


# Frames of the car until the box's socket has taken one of them, by the box's clock.
HEARD_AGAIN = """\
python3 - <<'PYTHON'
import itertools, subprocess, time
begin = time.monotonic()
def taken():
    rows = (row.split() for row in open("/proc/net/can/rcvlist_sff"))
    return sum(int(row[5]) for row in rows if row[:2] == ["{box}", "1db"])
for data in itertools.cycle({says}):
    subprocess.run(["cansend", "{car}", "1DB#" + data], check=True)
    time.sleep(0.1)
    if taken():
        break
    assert time.monotonic() < begin + 60, "nobody listens"
print(time.monotonic() - begin)
PYTHON
"""


@pytest.mark.needs(Ability.BUS_OFF)
def test_bus_off_is_told_and_the_next_frame_after_it_is_heard(rig: Rig, box: Packbox) -> None:
    """A short on the wires takes the controller off the bus: the operator must learn it, and the box must go on."""
    assert isinstance(rig, EmulatedRig)
    with adapter(rig.guest) as chip:
        box.listen_to(chip.name)
        box.start()
        for k in range(20):
            chip.frame(BATTERY, battery_state(-10, 380, k))
        chip.bus_errors("cs")
        chip.state("w", rx=96)
        chip.state("p", rx=128)
        chip.state("b", tx=255)
        errors = box.wait_for("s['bus']['errors']['bus_off']")["bus"]["errors"]
        assert errors == {
            **dict.fromkeys(errors, 0),
            "bus_off": 1,
            "warning": 1,
            "passive": 1,
            "protocol": errors["protocol"],
        }
        assert errors["protocol"] > 0
        chip.restart()
        for k in range(20, 40):
            chip.frame(BATTERY, battery_state(-10, 380, k))
        health = box.wait_for("s['health']['frames'] >= 40")["health"]
        assert health["frames_bad"] == 0
        box.stop()


def test_what_a_full_bus_makes_the_kernel_drop_is_counted_to_the_frame(rig: Rig, box: Packbox) -> None:
    """A box that stood still for a while must say what it missed: holes that nobody sees make a history worthless."""
    sent = 40_000
    box.listen_to("vcan0")
    box.start()
    pid = box.show("MainPID")["MainPID"]
    rig.box.run(f"kill -STOP {pid}\ncangen vcan0 -I 1DB -L 8 -D r -g 0 -n {sent}\nkill -CONT {pid}", within_s=60)
    rig.box.run("cansend vcan0 1DB#0011223344556677")  # the count of the dropped rides on the next frame
    health = box.wait_for(f"s['health']['frames'] + s['health']['frames_dropped'] > {sent}")["health"]
    assert health["frames_dropped"] > 0
    assert health["frames"] + health["frames_dropped"] == sent + 1
    FIGURES.tell("frames that the kernel holds for a box that stands still", float(health["frames"]), "frames")
    assert box.diagnosis("frames")[0] == "WARN"


@pytest.mark.needs(Ability.OVERLOAD)
def test_how_many_frames_a_second_are_taken_without_a_drop(rig: Rig, box: Packbox) -> None:
    """Ten times what the box needs of any car we know; where it ends is a figure."""
    box.start()
    rig.expects(Fault.CAN_ERROR, Fault.FRAME_DROP)
    told, best = 0, 0
    for per_s in RATES_PER_S:
        count = per_s * RATE_TRIED_S
        play(rig.car, drive(count, per_s, first=told), rig.car_can, within_s=10 * RATE_TRIED_S)
        told += count
        health = box.settled()["health"]
        if health["frames"] != told or health["frames_dropped"]:
            break
        best = per_s
    FIGURES.tell("frames a second through the controller without a drop", best, "1/s", limit=RATES_PER_S[0])
    assert best >= RATES_PER_S[0]


RATES_PER_S = (500, 1000, 1500, 2000, 3000)
RATE_TRIED_S = 3
