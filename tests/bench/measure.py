"""How the benchmarks measure: CPU time of peers taken in turn, instructions under callgrind, peak memory of a child.

In:  things to do, as functions or as command lines.
Out: medians and counts; rows of the one table.
Ratios are taken within one run on one machine: an absolute time says nothing about another machine.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

REPEATS: Final = 7
LEAST_S: Final = 0.05  # of one measurement: shorter ones measure the clock
COUNTED: Final = re.compile(r"Collected\s*:\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    result: str  # the ratio, share or size that the promise is about
    promise: str
    ours: str
    peer: str
    instructions: str = ""


@dataclass
class Table:
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Ratios first, one line per row."""
        head = Row("what", "result", "promise", "ours", "peer", "instructions, ours / peer")
        cells = [[r.result, r.promise, r.what, r.ours, r.peer, r.instructions] for r in (head, *self.rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        return [lines[0], "-" * len(lines[0]), *lines[1:], *self.notes]


TABLE: Final = Table()


def medians_s(runs: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """CPU seconds of one call of each, measured in turn so that a slow minute of the machine hits all alike."""
    rounds = {name: _rounds(run) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(_once_s(run, rounds[name]) / rounds[name])
    return {name: statistics.median(times) for name, times in taken.items()}


def _rounds(run: Callable[[], object]) -> int:
    """How often to call it so that the time can be measured; the first call warms up."""
    run()
    return max(1, round(LEAST_S / max(_once_s(run, 1), 1e-6)))


def _once_s(run: Callable[[], object], rounds: int) -> float:
    begin = time.process_time()
    for _ in range(rounds):
        run()
    return time.process_time() - begin


def instructions(script: Path, frames: Path, names: Sequence[str]) -> dict[str, int] | str:
    """Instructions of one call of each workload of the script, or why there are none.

    Each is the difference of two processes, one of which does the work once more: start-up and set-up cancel out.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return "valgrind is not installed"

    def count(extra: str) -> int:
        out = frames.parent / f"callgrind.{extra or 'base'}"
        command = [
            valgrind,
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            sys.executable,
            str(script),
            str(frames),
            extra,
        ]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **_import_path(), "PYTHONHASHSEED": "0"},
        )
        found = COUNTED.search(ended.stderr)
        assert found, ended.stderr
        return int(found[1])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        base, *counts = pool.map(count, ("", *names))
    return {name: n - base for name, n in zip(names, counts, strict=True)}


# The kernel's own mark of this process: what `wait4` tells includes the parent's size at the fork.
_BOX_AND_PEAK: Final = """
import sys
from packbox.__main__ import main
code = main(sys.argv[1:])
print(code, next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def peak_rss_mb(arguments: Sequence[str]) -> float:
    """The most memory that `packbox` with these arguments ever held, in MB (10^6 bytes)."""
    command = [sys.executable, "-c", _BOX_AND_PEAK, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **_import_path()})
    code, peak_kb = ended.stderr.split()[-2:]
    assert code in ("0", "None"), ended.stderr
    return int(peak_kb) * 1024 / 1e6


def _import_path() -> dict[str, str]:
    """A child imports what this process imports."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
