"""What a box at work costs its computer: frames of a car come in, records go out to a broker on another machine.

Seconds are by the box's clock. An emulated computer takes the same time for each instruction: there they count
instructions, on any machine and beside any other work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from brokers import Mosquitto
from packbox.sim.car import LEAF_24
from packwire.messages import Kind
from packwire.seal import peek
from rig.boxes import UPTIME, Packbox
from rig.driving import log_of, play
from rig.emulated import EmulatedRig
from rig.figures import FIGURES
from rig.garage import ON_THE_BUS, PORT, SETTINGS_TEXT
from rig.logs import driven_and_charged
from rig.machine import Ability, Rig
from rig.witness import Witness

ALL_ARRIVED: Final = "s['link']['acked'] == s['journal']['newest_seq'] > 0 and s['mono_ms'] > began_ms + 2000"
MEMORY_MAX_MB: Final = 64.0  # docs/budgets.md: 60 without a link, and what a link takes
SHARE: Final = """\
cgroup=/sys/fs/cgroup$(systemctl show -p ControlGroup --value packbox)
awk '$1 == "usage_usec" {print $2 / 1e6}' $cgroup/cpu.stat
"""
MEMORY: Final = """\
pid=$(systemctl show -p MainPID --value packbox)
awk '/^(Rss|Pss):/ {print $1, $2 * 1024 / 1e6}' /proc/$pid/smaps_rollup
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """Since the service began."""

    uptime_s: float
    processor_s: float


def spent(rig: Rig) -> Spent:
    return Spent(*map(float, rig.box.run(UPTIME + "\n" + SHARE).out.split()))


@pytest.fixture
def witness(rig: Rig, tmp_path: Path) -> Iterator[Witness]:
    assert isinstance(rig, EmulatedRig), "only an emulated network ends where the tests run"
    with (
        Mosquitto(tmp_path, options=f"listener 0 {rig.folder}/{PORT}.sock") as broker,
        Witness(broker.host, broker.port) as listening,
    ):
        yield listening


@pytest.mark.needs(Ability.NETWORK)
def test_a_drive_and_a_charge_on_the_bus_are_records_at_the_broker(rig: Rig, witness: Witness) -> None:
    """All that a box is for, on the processor it is for; and whether a small computer can afford it."""
    box = Packbox(rig.box)
    box.configure(SETTINGS_TEXT.format(source=ON_THE_BUS))
    started_s = box.start()
    box.wait_for("s['link']['connected']")
    at_start = spent(rig)
    frames = driven_and_charged(LEAF_24)
    length_s = frames[-1][0]
    play(rig.car, log_of(frames), rig.car_can, within_s=2 * length_s)
    at_end = spent(rig)
    health = box.wait_for(ALL_ARRIVED, within_s=120)["health"]
    memory_mb = dict(line.split() for line in rig.box.run(MEMORY).out.splitlines())

    told = Counter(Kind(peek(sealed).kind_number) for sealed in witness.records.values())
    assert (told[Kind.DRIVE], told[Kind.CHARGE]) == (1, 1)
    assert not witness.doubled
    assert health["frames_dropped"] == 0
    assert float(memory_mb["Rss:"]) <= MEMORY_MAX_MB
    busy_s, over_s = at_end.processor_s - at_start.processor_s, at_end.uptime_s - at_start.uptime_s
    FIGURES.tell("start with a broker until READY", started_s, "s")
    FIGURES.tell("processor time of a start, until records can leave", at_start.processor_s, "s")
    FIGURES.tell("frames a second of a Leaf on the bus", len(frames) / length_s, "1/s")
    FIGURES.tell("processor time for them", 100 * busy_s / over_s, "% of a core")
    FIGURES.tell("memory at work (RSS)", float(memory_mb["Rss:"]), "MB", limit=MEMORY_MAX_MB)
    FIGURES.tell("memory at work (PSS: what it alone has)", float(memory_mb["Pss:"]), "MB")
