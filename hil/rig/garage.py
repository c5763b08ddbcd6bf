"""A box whose data lies on a card of ours, with a car before it and a broker behind it: what a power cut is tried on.

In:  an emulated rig, a card's image, the broker's witness.
Out: power on and off, seconds by the guest's own clock, and what lay on the card when the power went.
Each power-on is a new boot to the box: the guest comes back from its warm snapshot in moments, with a new boot id.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rig.boxes import DATA, SETTINGS, UNIT
from rig.disks import Card, card_node, files_on, plug
from rig.driving import LOG
from rig.emulated import EmulatedRig
from rig.errands import errands
from rig.kept import Kept, kept_in
from rig.pulse import SCRIPT, Pulse

PORT: Final = 1883
BOOT_ID_DIGITS: Final = 16  # packbox.clock.read_boot_id
PATIENCE_S: Final = 120.0
DRAIN_S: Final = 0.3
ERRANDS: Final = 4  # then the car begins again
ON_THE_BUS: Final = "socketcan:can0"
SETTINGS_TEXT: Final = """\
source = "{source}"
profile = "nissan-leaf:aze0-24"

[broker]
host = "10.0.2.100"
port = 1883
tls = false
"""
# The kernel draws the boot id once, before the snapshot. A box that found its own again would believe in no cut.
# Told to the service by its unit: its /proc is a mount of its own.
BEGIN: Final = """\
set -e
echo {boot} >/run/boot-id
drop_in=/run/systemd/system/{unit}.d
mkdir -p $drop_in
printf '[Service]\\nBindReadOnlyPaths=/run/boot-id:/proc/sys/kernel/random/boot_id\\n' >$drop_in/boot-id.conf
systemctl daemon-reload
until [ -b /dev/vdc ]; do sleep 0.05; done
mount -o noatime /dev/vdc {data}
{pulse}
{car}
systemctl start --no-block {unit}
cut -d' ' -f1 /proc/uptime
"""
CAR: Final = "systemd-run --quiet --unit=car canplayer -l i -I {log} {bus}=car"


@dataclass(frozen=True, slots=True)
class Power:
    """One time with power. `boot` as the box writes it, `began_s`: uptime when its service was told to start."""

    boot: str
    began_s: float


class Garage:
    def __init__(self, rig: EmulatedRig, folder: Path, source: str = ON_THE_BUS) -> None:
        self.image = folder / "card.raw"
        self.log = folder / "writes.raw"
        self._rig = rig
        self._folder = folder
        self._copy = folder / "copy.raw"
        self._settings = SETTINGS_TEXT.format(source=source)
        self._errands = errands(ERRANDS)
        self._pulse: Pulse | None = None

    @property
    def uptime_s(self) -> float:
        """Of the guest; after a cut, when the power went."""
        return 0.0 if self._pulse is None else self._pulse.newest_s

    def power_on(
        self, node: Mapping[str, object], *, drives: bool = True, before: Callable[[], None] = lambda: None
    ) -> Power:
        """`drives`: the car begins at once, and goes on. `before`: what to do before the service starts."""
        rig, boot = self._rig, str(uuid.uuid4())
        self.close()
        rig.renew()
        self._pulse = Pulse(rig.folder)
        plug(rig, node)
        before()
        rig.box.put(SETTINGS, self._settings.encode())
        car = ""
        if drives:
            rig.car.put(LOG, self._errands)
            car = CAR.format(log=LOG, bus=rig.car_can)
        script = BEGIN.format(boot=boot, data=DATA, unit=UNIT, car=car, pulse=SCRIPT)
        began_s = float(rig.box.run(script, within_s=60).out.split()[-1])
        return Power(boot.replace("-", "")[:BOOT_ID_DIGITS], began_s)

    def wait_until(self, uptime_s: float) -> None:
        assert self._pulse is not None
        self._pulse.wait_until(uptime_s, within_s=PATIENCE_S * self._rig.slow_factor)

    def cut(self, card: Card | None = None) -> None:
        """The guest and its card lose power; what left the guest before gets the time to arrive."""
        self._rig.cut_power()
        if card is not None:
            card.cut()
        assert self._pulse is not None
        self._pulse.last()
        self._pulse.close()
        time.sleep(DRAIN_S)

    def take_out(self) -> None:
        """In good order: the service stopped, nothing left to write."""
        self._rig.box.run(f"systemctl stop {UNIT}; umount {DATA}", within_s=60)

    def close(self) -> None:
        """With or without power: a guest that runs goes on."""
        if self._pulse is not None:
            self._pulse.close()

    def card(self, *, lies: bool = False) -> Card:
        return Card(self.image, self._folder / "card.sock", lies=lies)

    def node(self, card: Card) -> dict[str, object]:
        return card_node("card", card.socket)

    def kept(self, image: Path | None = None) -> Kept | None:
        """What is on the card now. Looks at a copy. Raises BrokenDiskError and BrokenPromiseError."""
        return kept_in(self.files(image))

    def mended(self) -> bytes:
        """The whole card as the next start finds it, its file system's log replayed."""
        self.files()
        return self._copy.read_bytes()

    def files(self, image: Path | None = None) -> Path:
        """The data folder as it lies on the card, until the next call."""
        folder = self._folder / "files"
        shutil.copyfile(self.image if image is None else image, self._copy)
        shutil.rmtree(folder, ignore_errors=True)
        files_on(self._copy, folder)
        return folder
