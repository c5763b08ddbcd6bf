"""What time it is in the guest, without asking it: its clock goes slower than ours while this machine is busy.

In:  the guest's uptime, which a loop in it writes to a serial port several times a second. Out: the newest of them.
After a power cut that is when the power went, to within a beat.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from rig.machine import Late

BEAT_S: Final = 0.2
PORT: Final = "report"
# Only `sleep` is a process of its own.
SCRIPT: Final = f"""\
systemd-run --quiet --unit=pulse bash -c \
'while read -r up _ </proc/uptime; do echo "$up"; sleep {BEAT_S}; done >/dev/virtio-ports/{PORT}'
"""
LOOK_EVERY_S: Final = 0.05


class Pulse:
    """Of one time with power. Ends by itself when the guest ends."""

    def __init__(self, folder: Path) -> None:
        self.newest_s = 0.0
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._line.connect(str(folder / f"{PORT}.sock"))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def wait_until(self, uptime_s: float, *, within_s: float) -> None:
        """`within_s`: of our time. Raises Late."""
        deadline = time.monotonic() + within_s
        while self.newest_s < uptime_s:
            if time.monotonic() > deadline:
                raise Late(f"the guest's clock stands at {self.newest_s} s, {uptime_s} s was waited for")
            time.sleep(LOOK_EVERY_S)

    def last(self) -> None:
        """After the guest ended: until all that it had written was read."""
        self._thread.join()

    def close(self) -> None:
        with suppress(OSError):  # the guest ended before
            self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._line.close()

    def _listen(self) -> None:
        with self._line.makefile("rb") as lines, suppress(ConnectionError):
            for line in lines:
                if line.endswith(b"\n"):
                    self.newest_s = float(line)
