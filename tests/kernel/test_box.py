"""The whole box on the real kernel: alone with a car, asking it, pulled out and killed, and looked at by the doctor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from can_fakes import can_frame
from can_frames import battery_state
from can_wires import Cable, adapter, cable, frames_through, ip, wait_until
from packbox.__main__ import main
from packbox.adapters.herald import Herald
from packbox.adapters.identity import read_key
from packbox.adapters.journal import JOURNAL_FILE, open_copy
from packbox.adapters.profile_dir import Catalogue
from packbox.app import doctor
from packbox.app import parts as parts_module
from packbox.app import run as run_module
from packbox.app.health import Gauge
from packbox.app.mind import Bookmark, Saved
from packbox.core.exchange import harm_reason
from packbox.core.profile import EXTENDED_BIT
from packbox.settings import load_settings
from packbox.sim.mouth import Heard
from packbox.sim.units import SimUnits

TRUTH: Mapping[str, float] = {
    "aux_voltage_v": 14.2,
    "capacity_reported_ah": 55.5,
    "cell_voltage_min_v": 3.71,
    "cell_voltage_max_v": 3.74,
}
BATTERY = 0x1DB
UNKNOWN = 0x6FF
LEAVE_MAX_S = 10.0
FRAME_EVERY_S = 0.02


@pytest.fixture
def wire() -> Iterator[Cable]:
    with cable() as made:
        yield made


class Car:
    """What a Leaf says about its battery, and something that no profile knows."""

    def __init__(self, wire: Cable) -> None:
        self.told = 0
        self._wire = wire

    def tell(self) -> None:
        self.told += 1
        self._wire.send(can_frame(BATTERY, battery_state(-10, 380, self.told)), can_frame(UNKNOWN, b"\x01"))

    def tell_for(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.tell()
            time.sleep(FRAME_EVERY_S)


class Process:
    """`packbox run` as the service starts it."""

    def __init__(self, data_dir: Path, source: str = "socketcan:can0", **environ: str) -> None:
        self.data_dir = data_dir
        self._command = [sys.executable, "-m", "packbox", "run", "--data-dir", str(data_dir), "--source", source]
        given = {"PACKBOX_PROFILE": "nissan-leaf:aze0-24", "PACKBOX_COMMIT_EVERY_S": "0.5"}
        self._environ = {**os.environ, **given, **environ}
        self._log = data_dir.with_suffix(".log")

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environ, stdout=log, stderr=log)

    def said(self, text: str) -> int:
        return self._log.read_text().count(text)

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.said(text) >= times, f"{text!r} in\n{self._log.read_text()}")

    def end(self, how: signal.Signals) -> int:
        self._process.send_signal(how)
        return self._process.wait(LEAVE_MAX_S)

    @property
    def bookmark(self) -> Bookmark:
        with open_copy(self.data_dir / JOURNAL_FILE) as journal:
            state = journal.snapshot()
        assert state is not None
        return msgspec.msgpack.decode(state, type=Saved).bookmark


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Process]:
    made = Process(tmp_path / "box")
    yield made
    with contextlib.suppress(AttributeError):  # never started
        made.end(signal.SIGKILL)


def test_a_box_that_only_listens_sends_no_frame(wire: Cable, box: Process) -> None:
    """Counted by the car's own interface, over a start, a drive, a fault and an end."""
    car = Car(wire)
    box.start()
    wait_until(wire.has_listener, "the box opened its socket")
    car.tell_for(1.0)
    wire.down()
    box.wait_for("the interface is down")
    wire.up()
    car.tell_for(0.5)
    box.wait_for("gives frames again")
    # Every one it asked for, and none that it did not.
    wait_until(lambda: box.bookmark.frames == car.told, "the box saved what it heard")
    assert box.end(signal.SIGTERM) == 0
    heard, said = frames_through(wire.car)
    assert (heard, said) == (0, 2 * car.told)


def test_a_box_finds_its_bus_whenever_it_comes_and_goes_on_after_a_kill(wire: Cable, box: Process) -> None:
    """Power goes at any instant, a USB adapter is found late, pulled out, found again: no frame twice."""
    car = Car(wire)
    wire.unplug()
    box.start()
    box.wait_for("no bus, trying again: can0: there is no such interface")
    wire.plug()
    wait_until(wire.has_listener, "the box found the interface")
    car.tell_for(1.0)
    wire.unplug()
    box.wait_for("no bus, trying again", times=2)
    wait_until(lambda: box.bookmark.frames == car.told, "the box saved what it heard")
    box.end(signal.SIGKILL)
    box.start()
    wire.plug()
    wait_until(wire.has_listener, "the box found the interface again")
    car.tell_for(0.5)
    wait_until(lambda: box.bookmark.frames == car.told, "the box saved what it heard")
    assert box.end(signal.SIGTERM) == 0
    with open_copy(box.data_dir / JOURNAL_FILE) as journal:
        assert doctor._chain(journal.chain(), read_key(box.data_dir / "key" / "box.pem").public_key).verdict == "OK"


# -- asking ------------------------------------------------------------------------------------------------------------


class Units:
    """The far end of the cable for `SimUnits`: control units that answer. Keeps every frame of the box."""

    def __init__(self, wire: Cable) -> None:
        self.from_box: list[bytes] = []
        self._far = wire.far
        self._far.settimeout(0)
        self._heard: list[Heard] = []
        asyncio.get_running_loop().add_reader(self._far, self._read)

    def join(self, name: str, heard: Heard) -> None:
        self._heard.append(heard)

    def send(self, name: str, key: int, data: bytes) -> None:
        self._far.send(can_frame(key, data))  # a key is an id with its flag, as the kernel has it

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._far)

    def _read(self) -> None:
        frame = self._far.recv(72)
        self.from_box.append(frame)
        word, length = struct.unpack_from("=IB", frame)
        for heard in self._heard:
            heard(word & (EXTENDED_BIT | 0x1FFFFFFF), frame[8 : 8 + length])


@pytest.mark.parametrize("polling", ["never", "agreed"])
async def test_a_car_is_asked_only_by_consent_and_every_frame_is_counted(
    wire: Cable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, polling: str
) -> None:
    """Answers of several frames with flow control, over the kernel's queues; this kernel has no ISO-TP of its own."""
    gauges: list[Gauge] = []

    def make(*parts: Any) -> Gauge:
        gauges.append(Gauge(*parts))
        return gauges[-1]

    monkeypatch.setattr(parts_module, "Gauge", make)
    units = Units(wire)
    simulated = SimUnits(units, Catalogue().profile("nissan-leaf"), lambda: TRUTH, lengths={"lbc-state": 41})
    car = Car(wire)
    settings = load_settings(
        None,
        {
            "data_dir": tmp_path / "box",
            "source": "socketcan:can0",
            "profile": "nissan-leaf:aze0-24",
            "polling": polling,
        },
    )
    running = asyncio.create_task(run_module._run(settings, Herald(), speed=None, until_sent=False))
    until_s = time.monotonic() + (3.0 if polling == "never" else 30.0)
    while time.monotonic() < until_s and len(set(simulated.asked)) < 7 and not running.done():
        car.tell()
        await asyncio.sleep(FRAME_EVERY_S)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await asyncio.sleep(0.1)  # what is on its way arrives
    units.close()
    health = gauges[0].heartbeat()
    assert health.frames_sent == len(units.from_box) == frames_through(wire.car)[0]
    assert [f for f in units.from_box if harm_reason(f[8:16])] == []
    if polling == "never":
        assert units.from_box == []
    else:
        assert {"lbc-state", "lbc-cells", "lbc-serial"} <= set(simulated.asked)
        assert health.frames_sent > len(simulated.asked)  # flow control
    assert health.frames_dropped == 0
    assert health.text is None


# -- doctor ------------------------------------------------------------------------------------------------------------


Diagnose = Callable[[str], tuple[str, str]]


@pytest.fixture
def diagnosis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Diagnose:
    """Of an interface: verdict and text."""
    monkeypatch.setenv("PACKBOX_PROFILE", "nissan-leaf")

    def look(name: str) -> tuple[str, str]:
        monkeypatch.setenv("PACKBOX_SOURCE", f"socketcan:{name}")
        main(["doctor", "--json", "--data-dir", str(tmp_path / "none")])
        said = capsys.readouterr().out.splitlines()
        (found,) = (line for line in map(json.loads, said) if line["check"] == "bus")
        return found["verdict"], found["text"]

    return look


def test_the_doctor_tells_a_bus_that_is_well_from_one_that_is_not(wire: Cable, diagnosis: Diagnose) -> None:
    """The first thing to look at when nothing comes."""
    wire.send(can_frame(1, b""), can_frame(2, b""))
    assert diagnosis(wire.box) == ("OK", "can0: up, 2 frames and 0 errors since boot")
    wire.down()
    assert diagnosis(wire.box) == ("FAIL", "can0: is down")
    assert diagnosis("lo") == ("FAIL", "lo: is no CAN interface")


def test_the_doctor_knows_a_wrong_bit_rate(diagnosis: Diagnose) -> None:
    """Errors and not one frame."""
    with adapter() as made:
        made.bus_errors("cs")
        wait_until(lambda: "errors" in ip("-s", "link", "show", made.name), "the kernel counted")
        verdict, text = diagnosis(made.name)
    assert (verdict, text.partition(" and ")[2]) == ("WARN", "1 errors since boot")
