"""The installed box on a rig: its settings, its service, what it says about itself.

In:  a shell on its machine. Out: parsed status, history and journal; seconds by that machine's own clock.
What is waited for is waited for on the box itself, in one script: each call into a guest costs half a second.
"""

from __future__ import annotations

import json
from typing import Any, Final

from .machine import Shell

SETTINGS: Final = "/etc/packbox/packbox.toml"
STATUS: Final = "/run/packbox/status.json"
DATA: Final = "/var/lib/packbox"
UNIT: Final = "packbox.service"
DEFAULT: Final = """\
source = "socketcan:{bus}"
profile = "nissan-leaf:aze0-24"
commit_every_s = 1
"""
GO_ACTIVE: Final = """\
mkdir -p /etc/systemd/network/80-can.network.d
cp /usr/share/packbox/80-can-active.conf /etc/systemd/network/80-can.network.d/active.conf
systemctl restart systemd-networkd
while ip -d link show {bus} | grep -q LISTEN-ONLY || ! ip link show {bus} | grep -q LOWER_UP; do sleep 0.2; done
"""
LISTENS: Final = "until grep -q '^ *{bus} ' /proc/net/can/rcvlist_err; do sleep 0.2; done"
UPTIME: Final = "cut -d' ' -f1 /proc/uptime"
# Prints the status once a Python expression over it (`s`) is true; patience is measured by the box's clock.
WAIT: Final = """\
python3 - <<'PYTHON'
import json, time
end = time.monotonic() + {within_s}
began_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
s = {{}}
while time.monotonic() < end:
    try:
        s = json.load(open("{status}"))
        if {true}:
            print(json.dumps(s))
            break
    except (OSError, ValueError):
        pass
    time.sleep(0.5)
else:
    raise SystemExit("waited in vain: " + {true!r} + "\\n" + json.dumps(s))
PYTHON
"""


class Packbox:
    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self._bus: str | None = None

    def configure(self, text: str) -> None:
        self.shell.put(SETTINGS, text.encode())

    def listen_to(self, bus: str, further: str = "") -> None:
        self.configure(DEFAULT.format(bus=bus) + further)
        self._bus = bus

    def start(self) -> float:
        """Returns after how many seconds of its own clock the service was ready; comes back once it hears its bus."""
        listens = "" if self._bus is None else LISTENS.format(bus=self._bus)
        ran = self.shell.run(f"{UPTIME}; systemctl start {UNIT}; {UPTIME}; {listens}", within_s=60)
        before, after = map(float, ran.out.split())
        return after - before

    def stop(self) -> float:
        ran = self.shell.run(f"{UPTIME}; systemctl stop {UNIT}; {UPTIME}", within_s=30)
        before, after = map(float, ran.out.split())
        return after - before

    def wait_for(self, true: str, *, within_s: float = 60.0) -> dict[str, Any]:
        """`true`: Python over the status `s` and the start of waiting `began_ms`. `within_s` is by the box's clock."""
        script = WAIT.format(true=true, status=STATUS, within_s=within_s)
        status = json.loads(self.shell.run(script, within_s=2 * within_s).out)
        assert isinstance(status, dict)
        return status

    def settled(self) -> dict[str, Any]:
        """How it is once it has taken in all that was sent before: the file is written every 10 s."""
        return self.wait_for("s['mono_ms'] > began_ms + 2000")

    def show(self, *names: str) -> dict[str, str]:
        """Properties of the unit, as systemd says them."""
        wanted = " ".join(f"-p {name}" for name in names)
        lines = self.shell.run(f"systemctl show {wanted} {UNIT}").out.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def history(self, *kinds: str) -> list[dict[str, Any]]:
        """Newest first."""
        wanted = " ".join(f"--kind {kind}" for kind in kinds)
        said = self.shell.run(f"packbox history --json --limit 0 {wanted}", within_s=60).out
        return [json.loads(line) for line in said.splitlines()]

    def diagnosis(self, check: str) -> tuple[str, str]:
        """Verdict and text of one check of `packbox doctor`."""
        said = self.shell.run("packbox doctor --json", within_s=60, check=False).out
        (found,) = (line for line in map(json.loads, said.splitlines()) if line["check"] == check)
        return found["verdict"], found["text"]

    def journal(self) -> list[dict[str, Any]]:
        """systemd's, of this unit: every field of every line."""
        said = self.shell.run(f"journalctl --output=json --unit={UNIT}").out
        return [json.loads(line) for line in said.splitlines()]


def go_active(shell: Shell, bus: str) -> None:
    """The controller may send from now on, as the handbook says how."""
    shell.run(GO_ACTIVE.format(bus=bus), within_s=30)
