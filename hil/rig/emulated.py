"""A rig that is one emulated computer: box and car are the same guest, on two controllers of one emulated bus.

In:  which machine. Out: a `Rig` that does all that a bench does not: wrong clocks, lost controllers, failing disks.
Its bus has no bit timing and acknowledges nothing: a controller there never goes bus-off by itself. A CAN adapter on
a serial line (`/dev/hvc0` in the guest, adapter.sock here) stands in for that.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from . import image
from .guest import Disks, Guest, Machine
from .machine import Ability, Fault, Shell

SET_CLOCK: Final = "date --utc --set=@{wall_s} >/dev/null"


class EmulatedRig:
    """Made with the service stopped, no settings, an empty state folder: so it comes back from every `renew`."""

    box_can = "can0"
    car_can = "can1"

    def __init__(self, machine: Machine, *, slow_factor: float | None = None) -> None:
        made = image.disks(machine, slow_factor=slow_factor)
        self.folder = Path(tempfile.mkdtemp(prefix="packbox-rig-"))
        root = self.folder / "root.qcow2"
        image.copy(made.root, root)
        self.guest = Guest(
            machine, Disks(made.kernel, made.initrd, root, made.packages), self.folder, slow_factor=slow_factor
        )
        self.name = machine.name
        self.slow_factor = self.guest.slow_factor
        self.abilities = frozenset(Ability)
        self.expected: set[Fault] = set()
        self.altered = False  # other devices than the snapshot's are plugged in: it cannot be loaded into this process

    @property
    def box(self) -> Shell:
        return self.guest

    @property
    def car(self) -> Shell:
        return self.guest

    def renew(self) -> None:
        if self.guest.running and not self.altered:
            self.guest.back_to_warm()
        else:
            self.guest.kill()
            self.guest.start(warm=True)
            self.altered = False
        self.guest.run(SET_CLOCK.format(wall_s=round(time.time())))

    def expects(self, *faults: Fault) -> None:
        self.expected.update(faults)

    def cut_power(self) -> None:
        self.guest.kill()

    def power_on(self, *, rtc: str = "utc", extra: Sequence[str] = ()) -> None:
        """Cold, from what the disks hold. `rtc`: what its clock says, as QEMU writes it."""
        self.altered = bool(extra)
        self.guest.start(warm=False, rtc=rtc, extra=extra)

    def close(self) -> None:
        self.guest.kill()
        shutil.rmtree(self.folder)
