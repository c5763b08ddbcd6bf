"""A computer without a battery-backed clock: it wakes up in 2001, learns the time in mid-charge, is set forth and back.

The truth is a time server of ours on the box itself; systemd-timesyncd asks it as it would ask any.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rig.boxes import Packbox
from rig.driving import LOG, Doing, day
from rig.emulated import EmulatedRig
from rig.figures import FIGURES
from rig.machine import Ability, Rig

TRUTH_MS = 1_800_000_000_000  # at the boot's first moment: January 2027
STEP_MAX_MS = 2_000  # what a session's start may be wrong: samples are a second apart, NTP over loopback is exact
LONG_S, SHORT_S = 40, 25
IN_MID_CHARGE_S = 20
YEAR_2001 = "2001-01-01T00:00:00"


@pytest.fixture
def box(rig: Rig) -> Packbox:
    made = Packbox(rig.box)
    made.listen_to(rig.box_can)
    rig.box.put("/usr/lib/hil/time_server.py", (Path(__file__).parent / "time_server.py").read_bytes())
    rig.car.put(LOG, day((Doing.CHARGE, LONG_S), (Doing.DRIVE, SHORT_S), (Doing.CHARGE, SHORT_S)))
    return made


KNOWN = f"""\
mkdir -p /etc/systemd/timesyncd.conf.d
printf '[Time]\\nNTP=127.0.0.1\\nPollIntervalMinSec=16\\n' >/etc/systemd/timesyncd.conf.d/hil.conf
systemd-run --quiet --unit=hil-time python3 -I /usr/lib/hil/time_server.py {TRUTH_MS}
systemctl restart systemd-timesyncd
until [ "$(timedatectl show -p NTPSynchronized --value)" = yes ]; do sleep 0.2; done
"""
PLAY = """\
ip link set {car} txqueuelen 1000
canplayer -I {log} {car}=car &
player=$!
{meanwhile}
wait $player
"""


def lived(rig: Rig, box: Packbox, meanwhile: str) -> list[Mapping[str, Any]]:
    """A charge and a drive, ended by another charge, with something happening in between. The sessions in order."""
    rig.box.run(PLAY.format(car=rig.car_can, log=LOG, meanwhile=meanwhile), within_s=2 * (LONG_S + 2 * SHORT_S))
    box.settled()
    return list(reversed(box.history("charge", "drive")))


def check(sessions: list[Mapping[str, Any]]) -> float:
    """Durations as driven, start times by the truth; returns the worst error of a start."""
    assert [row["kind"] for row in sessions] == ["charge", "drive"]
    charge, drive = sessions
    assert charge["duration_s"] == pytest.approx(LONG_S, abs=2)
    assert drive["duration_s"] == pytest.approx(SHORT_S, abs=2)
    assert charge["interrupted"] is False
    assert drive["interrupted"] is False
    errors_ms = [abs(row["start_wall_ms"] - TRUTH_MS - row["start_mono_ms"]) for row in sessions]
    assert max(errors_ms) <= STEP_MAX_MS, errors_ms
    return max(errors_ms) / 1000


@pytest.mark.needs(Ability.CLOCK)
def test_the_first_time_in_mid_charge_dates_the_charge_from_its_start(rig: Rig, box: Packbox) -> None:
    """The garage has no network, the road has: the charge began before anybody knew when."""
    rig.box.run(f"date --utc --set {YEAR_2001} >/dev/null")
    box.start()
    sessions = lived(rig, box, f"sleep {IN_MID_CHARGE_S}\n{KNOWN}")
    FIGURES.tell("start of a charge, time learned in its middle: error", check(sessions), "s", limit=STEP_MAX_MS / 1000)


@pytest.mark.needs(Ability.CLOCK)
def test_without_any_time_nothing_is_dated_and_nothing_is_wrong(rig: Rig, box: Packbox) -> None:
    """The clock shows a year that looks like one; nobody vouches for it, so no record carries it."""
    rig.box.run(f"date --utc --set {YEAR_2001} >/dev/null")
    box.start()
    charge, drive = lived(rig, box, "sleep 10; date --utc --set '+1 hour' >/dev/null")
    assert (charge.get("start_wall_ms"), charge["wall_ms"], drive["wall_ms"]) == (None, None, None)
    assert charge["duration_s"] == pytest.approx(LONG_S, abs=2)
    assert box.settled()["health"]["clock"] == "unset"


@pytest.mark.needs(Ability.CLOCK)
@pytest.mark.parametrize("step", ["+3 hours", "-1 day"])
def test_a_clock_that_somebody_sets_moves_no_session(rig: Rig, box: Packbox, step: str) -> None:
    """A wrong summer time, a helpful passenger, a broken time server: the true time was known before."""
    rig.box.run(KNOWN)
    box.start()
    check(lived(rig, box, f"sleep {IN_MID_CHARGE_S}; date --utc --set '{step}' >/dev/null"))


@pytest.mark.needs(Ability.CLOCK)
def test_a_boot_in_2001_costs_no_session_its_date(rig: Rig, box: Packbox) -> None:
    """A clock chip with an empty cell: systemd itself, the file system and the journal start in the wrong century."""
    assert isinstance(rig, EmulatedRig)
    rig.box.run("sync")
    rig.cut_power()
    began_s = time.monotonic()
    rig.power_on(rtc=YEAR_2001)
    FIGURES.tell(
        "boot after a power cut until the shell answers, by the clock on the wall", time.monotonic() - began_s, "s"
    )
    booted = rig.box.run("systemctl is-system-running --wait", within_s=60, check=False).out.strip()
    assert booted == "running", rig.box.run("systemctl --failed").out
    box.wait_for("s['journal']['trouble'] is None")
    check(lived(rig, box, f"sleep {IN_MID_CHARGE_S}\n{KNOWN}"))
