"""Faults put into the installed package, to see that the rig catches them: a check that never fails proves nothing.

In:  a place of our source, and what shall stand there instead. Out: the package on the box, broken in this way.
`caught` runs the very check of a test and passes only if it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from .image import ROOT
from .machine import Shell

INSTALLED: Final = "/usr/lib/packbox/any"


@dataclass(frozen=True, slots=True)
class Plant:
    file: str  # below edge/
    good: str
    bad: str


# The kernel passes every frame of the bus to the box.
NO_FILTER: Final = Plant("packbox/adapters/can_socket.py", "if interface.ids:", "if False:")

# Not a fault of ours but the means to one: the event loop blocks once somebody makes /run/packbox/hang.
HANGS: Final = Plant(
    "packbox/app/status.py",
    '        beside = self._path.with_name(self._path.name + ".new")\n',
    """\
        import time
        if (hang := self._path.with_name("hang")).exists():
            hang.unlink()
            time.sleep(1e6)
        beside = self._path.with_name(self._path.name + ".new")
""",
)
# The watchdog is fed by a timer, whether the box gets on or not.
NO_WATCHDOG: Final = Plant(
    "packbox/adapters/herald.py",
    '        self._say("READY=1")\n',
    """\
        import threading, time
        def feed():
            while True:
                self._say("WATCHDOG=1")
                time.sleep(1)
        threading.Thread(target=feed, daemon=True).start()
        self._say("READY=1")
""",
)

# A record leaves the outbox once the broker has it, whether the book ever hears of it or not.
NO_ACK: Final = Plant(
    "packbox/app/carry.py",
    "            await uplink.publish(row.sealed)\n",
    """\
            await uplink.publish(row.sealed)
            await self.offload(partial(self.journal.release, 0, [(row.seq, row.seq)]))
""",
)


def plant(shell: Shell, fault: Plant) -> None:
    """Before the service starts; gone with the next `renew`."""
    text = (ROOT / "edge" / fault.file).read_text()
    assert text.count(fault.good) == 1, f"{fault.file} has no such line any more, or several: {fault.good}"
    shell.put(f"{INSTALLED}/{fault.file}", text.replace(fault.good, fault.bad).encode())


@contextmanager
def caught() -> Iterator[None]:
    """What runs in here must fail by its own asserts; any other error, and no error, is a failure."""
    try:
        yield
    except AssertionError:
        return
    raise AssertionError("the planted fault was not caught")
