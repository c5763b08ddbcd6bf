"""A whole box on two busy buses, as a process of its own: `python live_box.py FD0 FD1 PACKBOX-ARGUMENTS`.

The kernel may have no CAN: each bus is a UDP socket that the parent sends CAN frames to. Everything else is the box
itself: kernel times, drop counts, decoding, fold, journal on disk. Prints its memory to stderr when it leaves.
"""

from __future__ import annotations

import socket
import sys

from packbox.__main__ import main
from packbox.adapters import can_bus, can_socket
from packbox.adapters.can_bus import Interface

NUMBERS = dict(zip(("can0", "can1"), map(int, sys.argv[1:3]), strict=True))


def open_udp(interface: Interface) -> socket.socket:
    source = socket.socket(fileno=NUMBERS[interface.name])
    can_socket.ask_for_times(source)
    return source


if __name__ == "__main__":
    can_bus.open_can_socket = open_udp
    sys.exit(main(sys.argv[3:]))
