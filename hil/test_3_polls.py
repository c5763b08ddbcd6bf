"""Questions to control units over the kernel's ISO-TP: answered, refused, broken off; and never without consent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from rig.boxes import Packbox, go_active
from rig.cars import Seen, car, watched
from rig.machine import Rig, Shell

BATTERY_ASKED, BATTERY_ANSWERS = 0x79B, 0x7BB
CELLS = 96
ASK_LIMIT_S = 60.0
STATUS_EVERY_S = 10
# By the installed libraries, as the service asks: `plan` is a list of clients, each a list of poll ids.
ASK = """\
python3 -I - '{plan}' {bus} <<'PYTHON'
import asyncio, json, os, sys, time
home, machine = "/usr/lib/packbox", os.uname().machine
target = f"{{machine}}-cp{{sys.version_info.major}}{{sys.version_info.minor}}"
sys.path[:0] = [os.path.join(home, part) for part in (target, machine, "any")]
from packbox.adapters.isotp_socketcan import socketcan_tester
from packbox.adapters.profile_dir import Catalogue

polls = {{poll.id: poll for poll in Catalogue().find("nissan-leaf")[0].polls}}

async def client(ids):
    tester, said = socketcan_tester(sys.argv[2]), []
    for poll in ids:
        begin = time.monotonic()
        reply = await tester.ask(polls[poll])
        said.append({{"poll": poll, "ending": reply.ending, "data": reply.data.hex(), "code": reply.code,
                     "took_s": time.monotonic() - begin, "by": type(tester).__name__}})
    return {{"said": said, "sent": tester.frames_sent}}

async def main():
    return await asyncio.gather(*map(client, json.loads(sys.argv[1])))

print(json.dumps(asyncio.run(main())))
PYTHON
"""
# For ten seconds, twenty times a second, on the very id that we ask.
INTRUDER = """\
(for _ in $(seq 200); do cansend {bus} 79B#0221040000000000; sleep 0.05; done) </dev/null >/dev/null 2>&1 &
"""


@pytest.fixture(autouse=True)
def active(rig: Rig) -> None:
    """Who asks must be able to send; the software alone keeps a box that may not ask from it."""
    go_active(rig.box, rig.box_can)


def ask(rig: Rig, *clients: Sequence[str]) -> list[dict[str, Any]]:
    said = json.loads(rig.box.run(ASK.format(plan=json.dumps(clients), bus=rig.box_can), within_s=ASK_LIMIT_S).out)
    assert isinstance(said, list)
    return said


def sent_by(shell: Shell, interface: str) -> int:
    return int(shell.run(f"cat /sys/class/net/{interface}/statistics/tx_packets").out)


def test_answers_of_one_and_of_many_frames_come_whole(rig: Rig) -> None:
    """The question, one flow control, the rest in order: read off the wire, and put together by the kernel."""
    before = sent_by(rig.box, rig.box_can)
    with car(rig), watched(rig, BATTERY_ASKED, BATTERY_ANSWERS) as seen:
        (client,) = ask(rig, ["lbc-cells", "vcm-quick-charges", "lbc-state"])
        sent = sent_by(rig.box, rig.box_can) - before
    cells, count, state = client["said"]
    assert [reply["by"] for reply in client["said"]] == ["KernelTester"] * 3
    assert [reply["ending"] for reply in client["said"]] == ["answered"] * 3
    volts = [int(cells["data"][4 + 4 * k : 8 + 4 * k], 16) / 1000 for k in range(CELLS)]
    assert all(3.0 < cell < 4.3 for cell in volts)
    assert (len(count["data"]) // 2, len(state["data"]) // 2) == (5, 41)
    assert talk(seen) == [*exchange(198), *exchange(41)]
    assert client["sent"] == sent == 5


def told(client: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """How each question ended, how the answer begins, how long it is."""
    return [(reply["ending"], reply["data"][:4], len(reply["data"]) // 2) for reply in client["said"]]


def talk(seen: Sequence[Seen]) -> list[tuple[str, int]]:
    return [("box" if frame.can_id == BATTERY_ASKED else "car", frame.data[0]) for frame in seen]


def exchange(length: int) -> list[tuple[str, int]]:
    """Who says what, by the first byte of each frame, until so many bytes are told."""
    frames = -(-(length - 6) // 7)
    rest = [("car", 0x20 | (k & 0x0F)) for k in range(1, frames + 1)]
    return [("box", 0x02), ("car", 0x10 | length >> 8), ("box", 0x30), *rest]


def test_refusal_waiting_silence_and_broken_answers_end_as_they_should(rig: Rig) -> None:
    """Each a unit that exists somewhere; none of them stops the next question."""
    moods = {
        "lbc-temperatures": "refuses:31",
        "lbc-state": "waits:3",
        "lbc-balancing": "waits:8",
        "lbc-part-number": "silent",
        "lbc-cells": "skips",
        "lbc-serial": "stops",
    }
    options = [word for poll, how in moods.items() for word in ("--mood", f"{poll}={how}")]
    with car(rig, *options):
        (client,) = ask(rig, [*moods, "lbc-health"])
    by_poll = {reply["poll"]: reply for reply in client["said"]}
    assert {poll: reply["ending"] for poll, reply in by_poll.items()} == {
        "lbc-temperatures": "refused",
        "lbc-state": "answered",
        "lbc-balancing": "silent",
        "lbc-part-number": "silent",
        "lbc-cells": "broken",
        "lbc-serial": "broken",
        "lbc-health": "answered",
    }
    assert by_poll["lbc-temperatures"]["code"] == 0x31
    assert by_poll["lbc-state"]["took_s"] > 3
    assert by_poll["lbc-balancing"]["took_s"] < 8  # nothing is sent later than ten seconds after the last traffic


def test_two_clients_do_not_mix_their_answers(rig: Rig) -> None:
    """Asked of two units at once, each client gets what belongs to it, whole."""
    with car(rig):
        battery, vehicle = ask(rig, ["lbc-cells", "lbc-state"] * 3, ["vcm-quick-charges", "vcm-ac-charges"] * 3)
    assert told(battery) == [("answered", "6102", 198), ("answered", "6101", 41)] * 3
    assert told(vehicle) == [("answered", "6212", 5)] * 6
    assert [reply["data"][4:6] for reply in vehicle["said"]] == ["03", "05"] * 3


def test_what_another_tester_asked_is_never_taken_for_ours(rig: Rig) -> None:
    """A workshop's tool on the same id breaks our answer or is answered itself; its bytes must not become our value."""
    with car(rig):
        rig.car.run(INTRUDER.format(bus=rig.car_can))
        (client,) = ask(rig, ["lbc-cells", "lbc-state"] * 3)
    for reply, whole in zip(told(client), [("6102", 198), ("6101", 41)] * 3, strict=True):
        assert reply in [("answered", *whole), ("broken", "", 0), ("silent", "", 0)]


def test_nobody_there_is_silence_and_soon_over(rig: Rig) -> None:
    """The car fell asleep between two questions: a box that waits for it keeps nobody else waiting."""
    (client,) = ask(rig, ["lbc-cells"])
    assert client["said"][0]["ending"] == "silent"
    assert client["said"][0]["took_s"] < 8


def test_a_box_with_consent_asks_and_counts_every_frame(rig: Rig) -> None:
    """The owner reads the figure; the controller counts too."""
    before = sent_by(rig.box, rig.box_can)
    box = Packbox(rig.box)
    box.listen_to(rig.box_can, 'polling = "agreed"\n')
    with car(rig):
        box.start()
        box.wait_for("s['health']['frames_sent'] >= 20", within_s=120)
        rig.car.run(f"cansend {rig.car_can} 7DF#02010D0000000000")  # another tester: we pause
        rig.box.run(f"sleep {2 + STATUS_EVERY_S}", within_s=30)
        paused = box.wait_for("True")["health"]
        rig.box.run(f"sleep {2 + STATUS_EVERY_S}", within_s=30)
        status = box.wait_for("True")
        box.stop()
    assert status["health"]["frames_sent"] - paused["frames_sent"] <= 2  # one question was under way
    assert sent_by(rig.box, rig.box_can) - before == status["health"]["frames_sent"]
    assert status["health"]["frames_bad"] == status["health"]["frames_dropped"] == 0


def test_a_box_without_consent_sends_nothing_to_a_car_that_would_answer(rig: Rig) -> None:
    """Counted by both controllers, over a start, half a minute of driving, and an end."""
    before = sent_by(rig.box, rig.box_can)
    box = Packbox(rig.box)
    box.listen_to(rig.box_can, 'polling = "never"\n')
    with car(rig), watched(rig, BATTERY_ASKED, 0x797, 0x7DF) as seen:
        box.start()
        status = box.wait_for("s['health']['frames'] >= 1500", within_s=120)
        box.stop()
    assert (status["health"]["frames_sent"], sent_by(rig.box, rig.box_can) - before, seen) == (0, 0, [])
