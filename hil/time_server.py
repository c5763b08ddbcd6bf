"""A time server for a guest: tells systemd-timesyncd what time it truly is, by a clock that nobody can set.

In:  the wall time of the boot's first moment, in milliseconds. Answers SNTP (RFC 4330) on 127.0.0.1. Standard library.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

SINCE_1900_S = 2_208_988_800
truth_at_boot_s = int(sys.argv[1]) / 1000
HEAD = struct.pack(">BBbb II4s", 0x24, 1, 4, -20, 0, 0, b"TRUE")  # version 4, server, stratum 1


def now() -> bytes:
    at_s = truth_at_boot_s + time.clock_gettime(time.CLOCK_BOOTTIME) + SINCE_1900_S
    return struct.pack(">II", int(at_s) & 0xFFFFFFFF, int(at_s % 1 * 2**32))


with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 123))
    while True:
        asked, client = server.recvfrom(512)
        heard = now()
        server.sendto(HEAD + heard + asked[40:48] + heard + now(), client)
