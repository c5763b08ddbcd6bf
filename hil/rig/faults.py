"""What a test left behind that it did not ask for.

In:  a shell on the box, before and after a test. Out: the faults in between, each with its evidence.
Counters of the kernel only grow, and on a bench they live longer than a test: so two looks, and the difference.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .machine import Fault, Shell

# A JSON object: counters by interface, state of each controller, what the journal said, how often the unit came back.
LOOK: Final = r"""
python3 - "$@" <<'PYTHON'
import json, subprocess, sys
def said(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout
since, names = sys.argv[1], sys.argv[2:]
signs = ("error_warning", "error_passive", "bus_off", "bus_error")
counts, states = {}, {}
for link in json.loads(said("ip", "-j", "-s", "-d", "link") or "[]"):
    if link.get("ifname") in names:
        info = link.get("linkinfo", {})
        states[link["ifname"]] = info.get("info_data", {}).get("state", "")
        rx = link["stats64"]["rx"]
        counts[link["ifname"]] = {
            "error frames": sum(info.get("info_xstats", {}).get(key, 0) for key in signs),
            "dropped": rx["dropped"] + rx["over_errors"],
        }
journal = ["journalctl", "--quiet", "--output=cat", "--priority=err"] + (["--after-cursor=" + since] if since else [])
cursor = said("journalctl", "--quiet", "--lines=0", "--show-cursor").strip().removeprefix("-- cursor: ")
kernel = said("journalctl", "--quiet", "--dmesg", "--output=cat", *(["--after-cursor=" + since] if since else []))
bad = ("Oops", "BUG:", "Out of memory", "oom-kill", "blocked for more than", "Kernel panic")
print(json.dumps({
    "counts": counts, "states": states, "cursor": cursor,
    "restarts": int(said("systemctl", "show", "--property=NRestarts", "--value", "packbox.service") or 0),
    "journal": said(*journal, "--unit=packbox.service").splitlines(),
    "kernel": [line for line in kernel.splitlines() if any(word in line for word in bad)],
}))
PYTHON
"""


@dataclass(frozen=True, slots=True)
class Look:
    counts: Mapping[str, Mapping[str, int]]
    states: Mapping[str, str]
    cursor: str
    restarts: int
    journal: Sequence[str]
    kernel: Sequence[str]


def look(shell: Shell, interfaces: Sequence[str], before: Look | None = None) -> Look:
    words = shlex.join(["", *interfaces] if before is None else [before.cursor, *interfaces])
    return Look(**json.loads(shell.run(f"set -- {words}\n{LOOK}").out))


def found(before: Look, after: Look) -> dict[Fault, str]:
    """By fault, what shows it."""
    faults: dict[Fault, str] = {}
    for fault, name in ((Fault.CAN_ERROR, "error frames"), (Fault.FRAME_DROP, "dropped")):
        grown = {
            interface: counts[name] - before.counts.get(interface, {}).get(name, 0)
            for interface, counts in after.counts.items()
        }
        if any(count > 0 for count in grown.values()):
            faults[fault] = f"{name}: {grown}"
    worse = {name: state for name, state in after.states.items() if state not in ("ERROR-ACTIVE", "STOPPED", "")}
    if worse:
        faults[Fault.CAN_ERROR] = f"controllers: {worse}"
    if after.restarts > before.restarts:
        faults[Fault.RESTART] = f"{after.restarts - before.restarts} restarts"
    if after.journal:
        faults[Fault.JOURNAL_FAULT] = "\n".join(after.journal)
    if after.kernel:
        faults[Fault.KERNEL_FAULT] = "\n".join(after.kernel)
    return faults
