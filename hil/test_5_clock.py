"""A computer without a battery-backed clock: it wakes up in 2001, learns the time in mid-charge, is set forth and back.

The truth is a time server of ours on the box itself; systemd-timesyncd asks it as it would ask any.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from packbox.sim.car import LEAF_24
from rig.boxes import Packbox
from rig.driving import LOG, log_of
from rig.emulated import EmulatedRig
from rig.figures import FIGURES
from rig.logs import driven_and_charged, replayed
from rig.machine import Ability, Rig

TRUTH_MS = 1_800_000_000_000  # at the boot's first moment: January 2027
WRONG_MAX_S = 2.0  # of a session's start: samples are a second apart, NTP over loopback is exact
IN_MID_CHARGE_S = 38  # into the log: it charges from 35 s to 50 s, and a time server takes seconds to answer
YEAR_2001 = "2001-01-01T00:00:00"

KNOWN = f"""\
mkdir -p /etc/systemd/timesyncd.conf.d
printf '[Time]\\nNTP=127.0.0.1\\nPollIntervalMinSec=16\\n' >/etc/systemd/timesyncd.conf.d/hil.conf
systemd-run --quiet --unit=hil-time python3 -I /usr/lib/hil/time_server.py {TRUTH_MS}
systemctl restart systemd-timesyncd
until [ "$(timedatectl show -p NTPSynchronized --value)" = yes ]; do sleep 0.2; done
"""
PLAY = """\
ip link set {car} txqueuelen 1000
python3 -I /usr/lib/hil/player.py {log} {car} &
player=$!
{meanwhile}
wait $player
"""


@dataclass(frozen=True)
class Life:
    """A drive and a charge, closed by another drive; what they are when no clock does anything."""

    rig: Rig
    box: Packbox
    length_s: float
    expected: Sequence[Mapping[str, Any]]

    def lived(self, meanwhile: str) -> list[dict[str, Any]]:
        """The sessions in order, with something happening while they are lived."""
        script = PLAY.format(car=self.rig.car_can, log=LOG, meanwhile=meanwhile)
        self.rig.box.run(script, within_s=2 * self.length_s)
        self.box.settled()
        sessions = list(reversed(self.box.history("charge", "drive")))
        assert [row["kind"] for row in sessions] == ["drive", "charge"]
        for got, expected in zip(sessions, self.expected, strict=True):
            assert got["duration_s"] == pytest.approx(expected["duration_s"], abs=2)
            assert got["interrupted"] is False
        return sessions


@pytest.fixture
def life(rig: Rig, tmp_path: Path) -> Life:
    box = Packbox(rig.box)
    box.listen_to(rig.box_can)
    for program in ("time_server.py", "player.py"):
        rig.box.put(f"/usr/lib/hil/{program}", (Path(__file__).parent / program).read_bytes())
    frames = driven_and_charged(LEAF_24)
    rig.car.put(LOG, log_of(frames))
    return Life(rig, box, frames[-1][0], replayed(frames, LEAF_24.profile, tmp_path)["sessions"][:2])


def worst_start_s(sessions: Sequence[Mapping[str, Any]]) -> float:
    """How wrong the dates are, by the truth. As the book dates: what has no date gets it from a later record's."""
    offset_ms = next(row["wall_ms"] - row["mono_ms"] for row in sessions if row["wall_ms"] is not None)
    dated_ms = (row.get("start_wall_ms") or row["start_mono_ms"] + offset_ms for row in sessions)
    wrong_ms = (at_ms - TRUTH_MS - row["start_mono_ms"] for at_ms, row in zip(dated_ms, sessions, strict=True))
    wrong_s = max(map(abs, wrong_ms)) / 1000
    assert wrong_s <= WRONG_MAX_S, sessions
    return wrong_s


@pytest.mark.needs(Ability.CLOCK)
def test_the_first_time_in_mid_charge_dates_the_charge_from_its_start(life: Life) -> None:
    """The garage has no network, the road has: the charge began before anybody knew when."""
    life.rig.box.run(f"date --utc --set {YEAR_2001} >/dev/null")
    life.box.start()
    wrong_s = worst_start_s(life.lived(f"sleep {IN_MID_CHARGE_S}\n{KNOWN}"))
    FIGURES.tell("time learned in mid-charge: error of a session's start", wrong_s, "s", limit=WRONG_MAX_S)


@pytest.mark.needs(Ability.CLOCK)
def test_without_any_time_nothing_is_dated_and_nothing_is_wrong(life: Life) -> None:
    """The clock shows a year that looks like one; nobody vouches for it, so no record carries it."""
    life.rig.box.run(f"date --utc --set {YEAR_2001} >/dev/null")
    life.box.start()
    sessions = life.lived("sleep 10; date --utc --set '+1 hour' >/dev/null")
    assert {(row.get("start_wall_ms"), row["wall_ms"]) for row in sessions} == {(None, None)}
    assert life.box.settled()["health"]["clock"] == "unset"


@pytest.mark.needs(Ability.CLOCK)
@pytest.mark.parametrize("step", ["+3 hours", "-1 day"])
def test_a_clock_that_somebody_sets_moves_no_session(life: Life, step: str) -> None:
    """A wrong summer time, a helpful passenger, a broken time server: the true time was known before."""
    life.rig.box.run(KNOWN)
    life.box.start()
    worst_start_s(life.lived(f"sleep {IN_MID_CHARGE_S}; date --utc --set '{step}' >/dev/null"))


@pytest.mark.needs(Ability.CLOCK)
def test_a_boot_in_2001_costs_no_session_its_date(life: Life) -> None:
    """A clock chip with an empty cell: systemd itself, the file system and the journal start in the wrong century."""
    rig = life.rig
    assert isinstance(rig, EmulatedRig)
    rig.box.run("mkdir -p /var/lib/hil; cp /run/hil/frames.log /var/lib/hil/; sync")
    rig.cut_power()
    began_s = time.monotonic()
    rig.power_on(rtc=YEAR_2001)
    FIGURES.tell("boot after a power cut, by the clock on the wall", time.monotonic() - began_s, "s")
    booted = rig.box.run("systemctl is-system-running --wait", within_s=60, check=False).out.strip()
    assert booted == "running", rig.box.run("systemctl --failed").out
    rig.box.run("mkdir -p /run/hil; cp /var/lib/hil/frames.log /run/hil/")
    life.box.wait_for("s['journal']['trouble'] is None")
    worst_start_s(life.lived(f"sleep 1\n{KNOWN}"))
