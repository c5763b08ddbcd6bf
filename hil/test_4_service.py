"""The box as systemd runs it: starts, hangs and returns, is locked in, leaves in order, is upgraded and taken back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from can_frames import battery_state
from packbox.adapters.journal import JOURNAL_FILE, open_copy
from packbox.app.mind import Bookmark, Saved
from rig.boxes import DATA, Packbox
from rig.driving import BATTERY, log_of, play
from rig.figures import FIGURES
from rig.machine import Ability, Fault, Rig
from rig.planted import HANGS, NO_WATCHDOG, caught, plant

START_MAX_S = 60.0  # TimeoutStartSec is 120: half of it is kept for a full journal
WATCHDOG_S = 30.0
BACK_MAX_S = WATCHDOG_S + 10.0 + 1.0 + START_MAX_S  # and TimeoutStopSec, RestartSec
LEAVE_MAX_S = 10.0
EXPOSURE_MAX = 1.7  # docs/box.md


@pytest.fixture
def box(rig: Rig) -> Packbox:
    made = Packbox(rig.box)
    made.listen_to(rig.box_can)
    return made


def drive(count: int, first: int = 0) -> bytes:
    return log_of((k / 100, BATTERY, battery_state(-40, 380, first + k)) for k in range(count))


def bookmark(rig: Rig, scratch: Path) -> Bookmark:
    """How far the saved state goes, read from the journal of a box that has left."""
    (scratch / JOURNAL_FILE).write_bytes(rig.box.get(f"{DATA}/{JOURNAL_FILE}"))
    with open_copy(scratch / JOURNAL_FILE) as journal:
        state = journal.snapshot()
    assert state is not None
    return msgspec.msgpack.decode(state, type=Saved).bookmark


def test_the_installed_box_starts_and_says_when_it_is_ready(rig: Rig, box: Packbox) -> None:
    """The package brings every library that it needs, for this machine and its Python."""
    took_s = box.start()
    FIGURES.tell("start of the service until READY", took_s, "s", limit=START_MAX_S)
    shown = box.show("ActiveState", "SubState", "Type", "NRestarts", "StatusText", "MemoryCurrent")
    assert (shown["ActiveState"], shown["SubState"], shown["Type"], shown["NRestarts"]) == (
        *("active", "running", "notify", "0"),
    )
    box.wait_for("s['journal']['trouble'] is None")
    FIGURES.tell("memory of the service after its start", int(shown["MemoryCurrent"]) / 2**20, "MiB")
    said = rig.box.run("packbox doctor --json", within_s=60, check=False).out
    checks = {line["check"]: line["verdict"] for line in map(json.loads, said.splitlines())}
    assert "FAIL" not in checks.values(), said
    assert took_s <= START_MAX_S


def test_a_process_that_was_stopped_is_replaced(rig: Rig, box: Packbox) -> None:
    """Something outside halts it, a debugger or a dying disk: nobody will come to the car and look."""
    rig.expects(Fault.RESTART, Fault.JOURNAL_FAULT)
    box.start()
    took_s = restarted_after_s(rig, box, "kill -STOP $(systemctl show -p MainPID --value packbox)")
    FIGURES.tell("restart after SIGSTOP, watchdog at 30 s", took_s, "s", limit=BACK_MAX_S)
    box.wait_for("s['journal']['trouble'] is None")


def test_a_blocked_event_loop_is_replaced_and_the_new_one_listens(rig: Rig, box: Packbox) -> None:
    """The process is alive and its loop is not: only a watchdog that is fed by progress finds that out."""
    rig.expects(Fault.RESTART, Fault.JOURNAL_FAULT)
    plant(rig.box, HANGS)
    box.start()
    FIGURES.tell("restart after a blocked loop, watchdog at 30 s", check_watchdog(rig, box), "s", limit=BACK_MAX_S)
    play(rig.car, drive(100), rig.car_can, within_s=30)
    assert box.wait_for("s['health']['frames'] >= 100")["health"]["frames"] == 100


@pytest.mark.x86_only
@pytest.mark.needs(Ability.UPGRADE)
def test_a_watchdog_that_is_fed_by_a_timer_is_found_out(rig: Rig, box: Packbox) -> None:
    """A planted fault: the check above must be able to fail."""
    rig.expects(Fault.RESTART, Fault.JOURNAL_FAULT)
    plant(rig.box, HANGS)
    plant(rig.box, NO_WATCHDOG)
    box.start()
    with caught():
        check_watchdog(rig, box)
    rig.box.run("systemctl kill --signal=KILL packbox; systemctl stop packbox")


def check_watchdog(rig: Rig, box: Packbox) -> float:
    box.wait_for("s['journal']['trouble'] is None")
    return restarted_after_s(rig, box, "touch /run/packbox/hang; chown packbox: /run/packbox/hang")


def restarted_after_s(rig: Rig, box: Packbox, cause: str) -> float:
    """By the box's clock, from the cause until systemd counts a restart and the new one is ready."""
    ran = rig.box.run(f"{cause}\n" + RESTARTED.format(limit_s=BACK_MAX_S), within_s=2 * BACK_MAX_S)
    assert ran.out.strip() != "never", "no restart in time"
    return float(ran.out)


RESTARTED = """\
begin=$(cut -d. -f1 /proc/uptime)
while [ "$(systemctl show -p NRestarts --value packbox)" = 0 ] || ! systemctl is-active --quiet packbox; do
    now=$(cut -d. -f1 /proc/uptime)
    [ $((now - begin)) -gt {limit_s:.0f} ] && echo never && exit
    sleep 2
done
echo $(($(cut -d. -f1 /proc/uptime) - begin))
"""


def test_the_service_is_locked_in(rig: Rig, box: Packbox) -> None:
    """What systemd's own judge says of the unit, on the systemd that runs it."""
    said = rig.box.run("systemd-analyze security --no-pager packbox.service", within_s=60).out
    found = re.search(r"exposure level for packbox\.service: ([\d.]+)", said)
    assert found, said
    exposure = float(found[1])
    FIGURES.tell("exposure by systemd-analyze security", exposure, "", limit=EXPOSURE_MAX)
    assert exposure <= EXPOSURE_MAX


def test_what_the_service_may_not_do_fails_from_inside(rig: Rig, box: Packbox) -> None:
    """A broken library in the box must not reach the rest of the machine: tried by a program in its place."""
    rig.box.put("/usr/lib/hil/attempts.py", (Path(__file__).parent / "attempts.py").read_bytes())
    rig.box.run(IN_ITS_PLACE, within_s=60)
    done = json.loads(rig.box.get(f"{DATA}/attempts.json"))
    assert {name for name, outcome in done.items() if outcome == "done"} == ALLOWED, done


ALLOWED = {"listen to CAN", "write to the data folder", "reach the network", "ask whether the clock is set"}
IN_ITS_PLACE = """\
mkdir -p /etc/systemd/system/packbox.service.d
cat >/etc/systemd/system/packbox.service.d/attempts.conf <<'UNIT'
[Service]
Type=oneshot
Restart=no
ExecStart=
ExecStart=/usr/bin/python3 -I /usr/lib/hil/attempts.py
UNIT
systemctl daemon-reload
systemctl start packbox
"""


def test_lines_of_the_log_carry_their_fields(rig: Rig, box: Packbox) -> None:
    """`journalctl STORE=...` finds one history's lines among years of others."""
    box.start()
    play(rig.car, drive(100), rig.car_can, within_s=30)
    store = box.wait_for("s['health']['frames'] >= 100")["store"]
    box.stop()
    lines = [line for line in box.journal() if line.get("SYSLOG_IDENTIFIER") == "packbox" and "LOGGER" in line]
    (listens,) = (line for line in lines if line.get("STORE") == store)
    (leaves,) = (line for line in lines if "FRAMES" in line)
    assert (listens["PRIORITY"], listens["LOGGER"]) == ("6", "packbox.app.run")
    assert (leaves["FRAMES"], leaves["_SYSTEMD_UNIT"]) == ("100", "packbox.service")
    assert int(leaves["RECORDS"]) > 0


def test_told_to_leave_it_writes_down_everything_first(rig: Rig, box: Packbox, tmp_path: Path) -> None:
    """Ignition off, an upgrade, a shutdown: the session that is open goes on afterwards, to the frame."""
    box.listen_to(rig.box_can)
    rig.box.run("sed -i s/commit_every_s.*/commit_every_s=600/ /etc/packbox/packbox.toml")
    box.start()
    play(rig.car, drive(500), rig.car_can, within_s=30)
    took_s = box.stop()
    FIGURES.tell("SIGTERM until the service has left", took_s, "s", limit=LEAVE_MAX_S)
    assert bookmark(rig, tmp_path).frames == 500
    assert box.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    box.start()
    play(rig.car, drive(500, first=500), rig.car_can, within_s=30)
    box.stop()
    assert bookmark(rig, tmp_path).frames == 1000
    assert took_s <= LEAVE_MAX_S


@pytest.mark.needs(Ability.UPGRADE)
def test_an_upgrade_and_its_rollback_keep_the_history(rig: Rig, box: Packbox, tmp_path: Path) -> None:
    """Boxes are upgraded in cars that nobody can reach; a bad version is taken back the same way."""
    box.start()
    play(rig.car, drive(300), rig.car_can, within_s=30)
    box.wait_for("s['health']['frames'] >= 300")
    before = records(box)
    assert before
    rig.box.run("mount -o ro /dev/vdb /mnt")
    old = rig.box.run("dpkg-query -W -f='${Version}' packbox").out
    for version, frames in (("9999", 600), (old, 900)):
        seconds = rig.box.run(UPGRADE.format(version=version), within_s=300).out.split()
        FIGURES.tell(f"package replaced, {'upgrade' if version == '9999' else 'rollback'}", float(seconds[-1]), "s")
        assert rig.box.run("dpkg-query -W -f='${Version}' packbox").out == version
        assert box.show("ActiveState") == {"ActiveState": "active"}
        play(rig.car, drive(300, first=frames - 300), rig.car_can, within_s=30)
        box.settled()
    after = records(box)
    assert after[: len(before)] == before
    box.stop()
    assert bookmark(rig, tmp_path).frames == 900
    assert box.diagnosis("chain")[0] == "OK"


UPGRADE = """\
begin=$(cut -d. -f1 /proc/uptime)
dpkg --install /mnt/packbox_{version}_all.deb
echo
echo $(($(cut -d. -f1 /proc/uptime) - begin))
"""


def records(box: Packbox) -> list[tuple[Any, ...]]:
    """Oldest first: what no later version may change."""
    return [(row["store"], row["seq"], row["kind"], row["mono_ms"]) for row in reversed(box.history())]
