"""Play a candump log onto a bus by the clock that nobody can set: `canplayer` goes by the one that tests set.

In:  a log and an interface. Standard library only: it runs where the car is.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
from pathlib import Path

LINE = re.compile(r"\((\d+\.\d+)\) \S+ ([0-9A-F]+)#([0-9A-F]*)")

frames = [
    (float(at_s), struct.pack("=IB3x8s", int(can_id, 16), len(data) // 2, bytes.fromhex(data)))
    for at_s, can_id, data in LINE.findall(Path(sys.argv[1]).read_text())
]
with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as bus:
    bus.bind((sys.argv[2],))
    begin_s = time.monotonic()
    for at_s, frame in frames:
        if (wait_s := begin_s + at_s - time.monotonic()) > 0:
            time.sleep(wait_s)
        bus.send(frame)
