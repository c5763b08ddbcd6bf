"""What a test left behind that it did not ask for.

In:  a shell on the box, before and after a test. Out: the faults in between, each with its evidence.
Counters of the kernel only grow, and on a bench they live longer than a test: so two looks, and the difference.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .machine import Fault, Shell

# Five parts, one after the other: programs that start fast, as an emulated processor needs seconds for Python.
PARTS: Final = """\
since=${{1:+--after-cursor=$1}}
ip -j -s -d link
echo {cut}
journalctl --quiet --lines=0 --show-cursor
echo {cut}
systemctl show --property=NRestarts --value packbox.service
echo {cut}
journalctl --quiet --output=cat --priority=err --unit=packbox.service $since
echo {cut}
journalctl --quiet --output=cat --dmesg --priority=warning $since
"""
CUT: Final = "-- next part --"
SIGNS: Final = ("error_warning", "error_passive", "bus_off", "bus_error")
BAD: Final = ("Oops", "BUG:", "Out of memory", "oom-kill", "blocked for more than", "Kernel panic")


@dataclass(frozen=True, slots=True)
class Look:
    counts: Mapping[str, Mapping[str, int]]
    states: Mapping[str, str]
    cursor: str
    restarts: int
    journal: Sequence[str]
    kernel: Sequence[str]


def look(shell: Shell, interfaces: Sequence[str], before: Look | None = None) -> Look:
    words = shlex.join(["" if before is None else before.cursor])
    said = shell.run(f"set -- {words}\n{PARTS.format(cut=shlex.quote(CUT))}").out
    links, cursor, restarts, journal, kernel = said.split(f"{CUT}\n")
    wanted = [link for link in json.loads(links) if link.get("ifname") in interfaces]
    return Look(
        counts={link["ifname"]: _counts(link) for link in wanted},
        states={link["ifname"]: link.get("linkinfo", {}).get("info_data", {}).get("state", "") for link in wanted},
        cursor=cursor.strip().removeprefix("-- cursor: "),
        restarts=int(restarts or 0),
        journal=journal.splitlines(),
        kernel=[line for line in kernel.splitlines() if any(word in line for word in BAD)],
    )


def _counts(link: Mapping[str, Any]) -> dict[str, int]:
    told = link.get("linkinfo", {}).get("info_xstats", {})
    received = link["stats64"]["rx"]
    return {
        "error frames": sum(told.get(sign, 0) for sign in SIGNS),
        "dropped": received["dropped"] + received["over_errors"],
    }


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
