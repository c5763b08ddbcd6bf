"""What a rig offers to the tests of `hil/`, whether it is emulated or stands on a bench.

In:  scripts for the box and for the car's end of the bus; power off and on.
Out: what the scripts said; which abilities the rig has.
A script that fails or takes too long is an exception with its last lines, never a value that a test could overlook.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, Protocol

LAST_LINES: Final = 30  # of a script that failed: enough for a Python traceback and what led to it


class Ability(enum.Enum):
    """What not every rig can do. The value is what to tell people who miss it."""

    POWER_CUT = "power that can be cut"
    LOSSY_DISK = "a disk that loses what was not flushed"
    STALL = "a disk that can be made to stall"
    CLOCK = "a clock that may be set wrong"
    BUS_OFF = "a controller that can be told to go bus-off"
    UNPLUG = "a CAN controller that can be taken away and given back"
    NETWORK = "a network to the machine where the tests run"
    UPGRADE = "packages that may be installed and taken back"
    OVERLOAD = "a bus that can be filled beyond what the box can read"


class Fault(enum.Enum):
    """What must not be found after a test, unless the test said that it would cause it."""

    CAN_ERROR = "error frames, or a controller that is not error-active"
    FRAME_DROP = "frames that the kernel had no room for"
    JOURNAL_FAULT = "a line of packbox in the journal with priority error or worse"
    RESTART = "the service ended otherwise than asked"
    KERNEL_FAULT = "an oops, a hung task or an out-of-memory kill in the kernel's log"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a script did."""

    status: int
    out: str
    err: str


class RigError(Exception):
    """The rig or a script on it did not do what was asked."""


class ScriptFailed(RigError):
    """A script ended with another status than 0; what it changed before stays."""

    def __init__(self, script: str, ran: Ran) -> None:
        super().__init__(f"status {ran.status} of: {_short(script)}\n{last_lines(ran.out)}\n{last_lines(ran.err)}")
        self.ran = ran


class Late(RigError):
    """Something did not happen in its time. It may still be under way."""


class Shell(Protocol):
    """A root shell on one machine."""

    def run(self, script: str, *, within_s: float = 30.0, check: bool = True) -> Ran:
        """Bash. `within_s` is multiplied by the rig's slow factor. Raises ScriptFailed (with `check`) or Late."""
        ...

    def put(self, path: str, data: bytes) -> None:
        """Folders on the way are made."""
        ...

    def get(self, path: str) -> bytes: ...


class Rig(Protocol):
    """`box` is where packbox runs, `car` where the other end of its bus is: on an emulated rig the same machine."""

    name: str  # for people: "QEMU x86-64"
    slow_factor: float  # all limits of time are multiplied by it, once, by the rig
    abilities: frozenset[Ability]

    @property
    def box(self) -> Shell: ...

    @property
    def car(self) -> Shell: ...

    @property
    def box_can(self) -> str: ...

    @property
    def car_can(self) -> str: ...

    def renew(self) -> None:
        """Before each test: the service stopped, an empty state folder, no settings, both ends of the bus up."""
        ...

    def cut_power(self) -> None: ...

    def power_on(self) -> None:
        """Comes back only when the shell of the box answers."""
        ...

    @property
    def expected(self) -> set[Fault]:
        """Emptied before each test."""
        ...

    def expects(self, *faults: Fault) -> None:
        """The test under way causes these on purpose: adds to `expected`."""
        ...

    def close(self) -> None: ...


def last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-LAST_LINES:])


def _short(script: str) -> str:
    first, *rest = script.strip().splitlines() or [""]
    return f"{first} ... ({len(rest)} more lines)" if rest else first
