"""What a box costs its computer, against the budgets of docs/budgets.md. `make bench-box` fails when one is broken.

In:  this checkout's `packbox run`, on two buses of 4,000 frames a second each, for a quarter of a minute; byte code as
     the Debian package's installation makes it, and the environment of the shipped unit.
Out: one table: memory, CPU share, time to start, time to the first stored record, time to leave, bytes of state.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
sys.path[:0] = [str(HERE.parent)]

from bench import workloads  # noqa: E402  after the path
from packbox.adapters.journal import JOURNAL_FILE  # noqa: E402

WARM_S: Final = 6.0
MEASURED_S: Final = 15.0
BURST_S: Final = 0.01
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
RSS_MAX_MB: Final = 60.0
CPU_MAX_PCT: Final = 3.0
IMPORT_MAX_S: Final = 1.0
STORED_MAX_S: Final = 3.0
LEAVE_MAX_S: Final = 2.0
STATE_MAX_KB: Final = 256.0


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: float
    limit: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.value <= self.limit

    def line(self) -> str:
        verdict = "" if self.holds else "  BROKEN"
        return f"{self.what:<58} {self.value:>8.2f} of {self.limit:g} {self.unit}{verdict}"


# Byte code without column tables, like debian/postinst; Python's own keeps them, as the system's has them.
COMPILE: Final = """
import py_compile, sys, sysconfig
import packbox.__main__, packbox.app.run, packbox.adapters.can_bus, packbox.adapters.profile_build
own = sysconfig.get_path("stdlib")
for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None) or ""
    if file.endswith(".py") and (not file.startswith(own) or "site-packages" in file):
        py_compile.compile(file, doraise=True)
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= unit_environment() | {"PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for options in ([], ["-X", "no_debug_ranges"]):
            subprocess.run([sys.executable, *options, "-c", COMPILE], check=True)
        figures = [import_time(), *live(Path(folder))]
    for figure in figures:
        print(figure.line())
    return 0 if all(figure.holds for figure in figures) else 1


def unit_environment() -> dict[str, str]:
    """What the shipped unit sets of memory and threads."""
    unit = (ROOT / "systemd/packbox.service").read_text(encoding="utf-8")
    words = [word for line in re.findall(r"^Environment=(.+)$", unit, re.MULTILINE) for word in line.split()]
    return {name: value for name, _, value in (word.partition("=") for word in words) if "PACKBOX" not in name}


def import_time() -> Figure:
    """CPU time, the best of five: how long it takes, not how busy this machine is."""
    taken = []
    for _ in range(5):
        before = children_cpu_s()
        subprocess.run([sys.executable, "-c", "import packbox.app.run, packbox.adapters.can_bus"], check=True)
        taken.append(children_cpu_s() - before)
    return Figure("CPU time to start Python and import all that `run` needs", min(taken), IMPORT_MAX_S, "s")


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def live(folder: Path) -> Iterator[Figure]:
    with two_buses() as (senders, numbers), (folder / "said").open("w") as said:
        began = time.perf_counter()
        box = subprocess.Popen(
            [sys.executable, HERE / "live_box.py", *map(str, numbers), "run", "--data-dir", folder / "data"],
            pass_fds=numbers,
            stderr=said,
            env={
                **os.environ,
                "PACKBOX_SOURCE": "socketcan:can0,can1",
                "PACKBOX_PROFILE": "nissan-leaf",
                "PACKBOX_PROFILES_DIR": str(ROOT / "can_profiles"),
            },
        )
        traffic = Traffic(senders)
        traffic.send_until(lambda: box.poll() is not None or stored(folder / "data"))
        assert box.poll() is None, (folder / "said").read_text()
        first_s = time.perf_counter() - began
        before_it_listened = traffic.sent
        traffic.send_for(WARM_S)
        before = cpu_s(box.pid)
        sent_s = traffic.send_for(MEASURED_S)
        share_pct = 100 * (cpu_s(box.pid) - before) / sent_s
        now_mb, peak_mb = memory_mb(box.pid, "VmRSS"), memory_mb(box.pid, "VmHWM")
        asked = time.perf_counter()
        box.send_signal(signal.SIGTERM)
        code = box.wait(30)
        left_s = time.perf_counter() - asked
    text = (folder / "said").read_text()
    assert code == 0, text
    assert "Traceback" not in text, text
    folded = int(re.findall(r"frames=(\d+)", text)[-1])
    due = traffic.sent - before_it_listened
    assert folded >= due, f"{folded} of {due} frames were folded"
    yield Figure("from start to the first stored state", first_s, STORED_MAX_S, "s")
    yield Figure(
        f"CPU at {traffic.sent / traffic.seconds:,.0f} frames/s on two buses", share_pct, CPU_MAX_PCT, "% of a core"
    )
    yield Figure("memory (RSS) after that", now_mb, RSS_MAX_MB, "MB")
    print(f"({folded:,} frames folded; memory at its highest {peak_mb:.1f} MB)")
    yield Figure("from SIGTERM to gone, all saved", left_s, LEAVE_MAX_S, "s")
    with closing(sqlite3.connect(folder / "data" / JOURNAL_FILE)) as db:
        (size,) = db.execute("SELECT length(snapshot) FROM state").fetchone()
    yield Figure("state, saved every 10 s", size / 1000, STATE_MAX_KB, "kB")


@contextmanager
def two_buses() -> Iterator[tuple[list[socket.socket], list[int]]]:
    senders, listeners = [], []
    try:
        for _ in range(2):
            listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            listening.bind(("127.0.0.1", 0))
            sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sending.connect(listening.getsockname())
            senders.append(sending)
            listeners.append(listening)
        yield senders, [listening.fileno() for listening in listeners]
    finally:
        for end in (*senders, *listeners):
            end.close()


class Traffic:
    """Every id that a Leaf sends, 4,000 a second on each bus, in bursts of 10 ms as a driver hands them over."""

    def __init__(self, senders: list[socket.socket]) -> None:
        frames = workloads.simulated(40_000)
        self._frames = [
            struct.pack("=IBxxx8s", can_id, length, bytes(data[:8]))
            for can_id, length, data in zip(
                frames.can_id.tolist(), frames.length.tolist(), frames.data.tolist(), strict=True
            )
        ]
        self._senders = senders
        self._place = 0
        self.sent = 0
        self.seconds = 0.0

    def send_for(self, seconds: float) -> float:
        end = time.perf_counter() + seconds
        return self.send_until(lambda: time.perf_counter() >= end)

    def send_until(self, is_over: object) -> float:
        assert callable(is_over)
        began = due = time.perf_counter()
        while not is_over():
            for _ in range(round(workloads.BUS_FRAMES_S * BURST_S)):
                for sender in self._senders:
                    sender.send(self._frames[self._place])
                    self._place = (self._place + 1) % len(self._frames)
                    self.sent += 1
            due += BURST_S
            time.sleep(max(0.0, due - time.perf_counter()))
        taken = time.perf_counter() - began
        self.seconds += taken
        return taken


def stored(data_dir: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{data_dir / JOURNAL_FILE}?mode=ro", uri=True)) as db:
            return bool(db.execute("SELECT count(*) FROM state").fetchone()[0])
    except sqlite3.Error:
        return False


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_mb(pid: int, name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
