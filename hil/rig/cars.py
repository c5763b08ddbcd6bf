"""`packbox sim` at the car's end of a rig's bus, and a log of what passes there.

In:  its options. Out: what it said; candump's lines.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from .machine import Rig, Shell

FOLDER: Final = "/run/hil"
STARTED_WITHIN_S: Final = 60.0  # Python, cantools and the profile; then three seconds of listening
# In a session of its own, so that it outlives the shell that began it; `name`.pid holds who to end.
BACKGROUND: Final = """\
mkdir -p {folder}
setsid --fork bash -c 'echo $$ >{folder}/{name}.pid; exec {command}' </dev/null >{folder}/{name}.log 2>&1
"""
AWAKE: Final = """\
until grep -qE '^(driving|charging)' {folder}/sim.log; do
    sleep 0.2
    kill -0 $(cat {folder}/sim.pid) || {{ cat {folder}/sim.log >&2; exit 1; }}
done
"""
END: Final = """\
pid=$(cat {folder}/{name}.pid)
kill -TERM $pid 2>/dev/null
for _ in $(seq 100); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
cat {folder}/{name}.log
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame as candump shows it."""

    can_id: int
    data: bytes

    @property
    def kind(self) -> int:
        """ISO-TP: 0 single, 1 first, 2 consecutive, 3 flow control."""
        return self.data[0] >> 4


@contextmanager
def car(rig: Rig, *options: str, profile: str = "nissan-leaf") -> Iterator[None]:
    """A car that is awake when this is entered, and gone when it is left."""
    command = shlex.join(["packbox", "sim", "--bus", rig.car_can, "--profile", profile, "--light", *options])
    begin(rig.car, "sim", command)
    try:
        rig.car.run(AWAKE.format(folder=FOLDER), within_s=STARTED_WITHIN_S)
        yield
    finally:
        end(rig.car, "sim")


@contextmanager
def watched(rig: Rig, *ids: int) -> Iterator[list[Seen]]:
    """Every frame of these ids on the bus, whoever sends it; the list is filled when this is left."""
    seen: list[Seen] = []
    only = ",".join(f"{can_id:03X}:7FF" for can_id in ids)
    begin(rig.car, "candump", f"stdbuf -oL candump -L {rig.car_can},{only}")
    try:
        yield seen
    finally:
        for line in end(rig.car, "candump").splitlines():
            can_id, _, data = line.split()[2].partition("#")
            seen.append(Seen(int(can_id, 16), bytes.fromhex(data)))


def begin(shell: Shell, name: str, command: str) -> None:
    shell.run(BACKGROUND.format(folder=FOLDER, name=name, command=command))


def end(shell: Shell, name: str) -> str:
    """What it said."""
    return shell.run(END.format(folder=FOLDER, name=name), within_s=30).out
