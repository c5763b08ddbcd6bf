"""A CAN adapter on a serial line, whose controller chip is the test: error frames, bus-off, frames.

In:  a guest (its virtual console is the line). Out: a CAN interface in the guest, and what its chip shall say.
The other end is read all the time: the kernel's slcan driver stalls before a line that nobody reads.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from packbox.testing.sim_slcan import SlcanChip

from .guest import Guest

ATTACH: Final = """\
ls /sys/class/net >/run/before
systemd-run --quiet --unit=hil-adapter python3 -c '
import fcntl, os, signal, struct, termios, tty
line = os.open("/dev/hvc0", os.O_RDWR | os.O_NOCTTY)
tty.setraw(line)
fcntl.ioctl(line, termios.TIOCSETD, struct.pack("i", 17))  # N_SLCAN, linux/tty.h
signal.pause()
'
until name=$(ls /sys/class/net | grep -vxFf /run/before); do sleep 0.2; done
udevadm settle
until networkctl list $name | grep -q -e configured -e failed -e unmanaged; do sleep 0.2; done
ip link set $name down
ip link set $name type can bitrate 500000
ip link set $name up
echo $name
"""
DETACH: Final = "systemctl stop hil-adapter"


class Adapter(SlcanChip):
    def __init__(self, guest: Guest, name: str, chip: socket.socket) -> None:
        self.name = name
        self._guest = guest
        self._chip = chip

    def restart(self) -> None:
        """What an operator does with an adapter whose driver cannot restart by itself."""
        self._guest.run(f"ip link set {self.name} down; ip link set {self.name} up")

    def _say(self, line: str) -> None:
        self._chip.sendall(line.encode() + b"\r")


@contextmanager
def adapter(guest: Guest) -> Iterator[Adapter]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as chip:
        chip.connect(str(guest.folder / "adapter.sock"))
        reader = threading.Thread(target=_drain, args=(chip,), name="slcan adapter")
        reader.start()
        try:
            yield Adapter(guest, guest.run(ATTACH, within_s=20).out.strip(), chip)
            guest.run(DETACH)
        finally:
            chip.shutdown(socket.SHUT_RDWR)
            reader.join()


def _drain(chip: socket.socket) -> None:
    while chip.recv(4096):
        pass
