"""CAN on this kernel, for tests that run where they may make devices: a car's end and the box's end of a cable.

In:  names of interfaces. Out: `Cable` (two interfaces, what one sends the other hears), `Adapter` (an slcan device
whose controller chip is the test: error frames, bus-off). Everything is gone at the end of its `with` block.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from can_fakes import can_frame
from packbox.testing.sim_slcan import SlcanChip

SLCAN_DISCIPLINE: Final = 17  # N_SLCAN, linux/tty.h
PATIENCE_S: Final = 30.0  # a busy machine: a program of ours alone takes 1 to 5 s to start
LOOK_EVERY_S: Final = 0.01


def ip(*words: str) -> str:
    return subprocess.run(["/sbin/ip", *words], check=True, capture_output=True, text=True).stdout


def frames_through(name: str) -> tuple[int, int]:
    """Received and sent by this interface since it was made."""
    counts = Path("/sys/class/net", name, "statistics")
    return int((counts / "rx_packets").read_text()), int((counts / "tx_packets").read_text())


class Cable:
    """`box` and `car` are the two ends; CAN FD fits through. `far` sends and hears as the car."""

    def __init__(self, box: str, car: str) -> None:
        self.box, self.car = box, car

    def plug(self) -> None:
        ip("link", "add", self.box, "type", "vxcan", "peer", "name", self.car)
        for name in (self.box, self.car):
            ip("link", "set", name, "mtu", "72", "txqueuelen", "1000", "up")
        self.far = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        self.far.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
        self.far.bind((self.car,))

    def unplug(self) -> None:
        self.far.close()
        ip("link", "del", self.box)

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.far.send(frame)

    def has_listener(self) -> bool:
        """Some program has opened the box's end."""
        listeners = Path("/proc/net/can/rcvlist_err").read_text()
        return re.search(rf"^ *{self.box} ", listeners, re.MULTILINE) is not None

    def down(self) -> None:
        ip("link", "set", self.box, "down")

    def up(self) -> None:
        ip("link", "set", self.box, "up")


@contextlib.contextmanager
def cable(box: str = "can0", car: str = "car0") -> Iterator[Cable]:
    made = Cable(box, car)
    made.plug()
    try:
        yield made
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):  # the test unplugged it
            made.unplug()


class Adapter(SlcanChip):
    """The far side of an slcan device: answers nothing by itself, but reads all the time, else the kernel stalls."""

    def __init__(self, chip: int, name: str) -> None:
        self.name = name
        self.written: list[bytes] = []
        self._chip = chip

    def restart(self) -> None:
        """What systemd-networkd does with RestartSec."""
        ip("link", "set", self.name, "down")
        ip("link", "set", self.name, "up")

    def shown(self) -> str:
        """The state that the kernel believes in."""
        found = re.search(r"state ([A-Z-]+) ", ip("-d", "link", "show", self.name).partition("can ")[2])
        assert found is not None
        return found[1]

    def _say(self, line: str) -> None:
        os.write(self._chip, line.encode() + b"\r")


@contextlib.contextmanager
def adapter() -> Iterator[Adapter]:
    chip, line = pty.openpty()
    tty.setraw(line)
    before = {path.name for path in Path("/sys/class/net").iterdir()}
    fcntl.ioctl(line, termios.TIOCSETD, struct.pack("i", SLCAN_DISCIPLINE))
    (name,) = {path.name for path in Path("/sys/class/net").iterdir()} - before
    made = Adapter(chip, name)
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            if select.select([chip], [], [], 0.05)[0]:
                made.written.append(os.read(chip, 4096))

    reader = threading.Thread(target=read, name="slcan adapter")
    reader.start()
    try:
        ip("link", "set", name, "type", "can", "bitrate", "500000")
        ip("link", "set", name, "up")
        yield made
    finally:
        ip("link", "set", name, "down")
        ended.set()
        reader.join()
        os.close(line)
        os.close(chip)


class Sender:
    """Sends numbered frames steadily in a thread of its own, as a car does: frame k holds k in its first four bytes."""

    def __init__(self, wire: Cable, can_id: int, every_s: float) -> None:
        self.sent_ns: list[int] = []  # CLOCK_BOOTTIME
        self._wire, self._can_id, self._every_s = wire, can_id, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="car")

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self.sent_ns.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            self._wire.send(can_frame(self._can_id, struct.pack("<I", len(self.sent_ns) - 1)))

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def wait_until(true: object, what: str) -> None:
    """`true` is called again and again."""
    assert callable(true)
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain: {what}"
        time.sleep(LOOK_EVERY_S)
