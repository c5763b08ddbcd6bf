"""How the benchmarks measure: CPU time of peers taken in turn, instructions under callgrind, peak memory of a child.

In:  things to do, as functions or as command lines.
Out: times, ratios and counts; rows of the one table.
Ratios are taken within one run on one machine: an absolute time says nothing about another machine. What else the
machine does slows neighbours in time alike, so a ratio is taken of each round and the median of those is told.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

REPEATS: Final = 15
LEAST_S: Final = 0.05  # of one measurement: shorter ones measure the clock
TOTAL: Final = re.compile(r"^totals: (\d+)", re.MULTILINE)


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


@dataclass(frozen=True, slots=True)
class Times:
    """CPU seconds of one call of each, by round."""

    taken_s: Mapping[str, Sequence[float]]

    def typical_s(self, name: str) -> float:
        return statistics.median(self.taken_s[name])

    def ratio(self, peer: str, ours: str) -> float:
        """How many times as long the peer takes."""
        return statistics.median(p / o for p, o in zip(self.taken_s[peer], self.taken_s[ours], strict=True))


def in_turn(runs: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> Times:
    rounds = {name: _rounds(run) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(_once_s(run, rounds[name]) / rounds[name])
    return Times(taken)


def _rounds(run: Callable[[], object]) -> int:
    """How often to call it so that the time can be measured; the first call warms up."""
    run()
    return max(1, round(LEAST_S / max(_once_s(run, 1), 1e-6)))


def _once_s(run: Callable[[], object], rounds: int) -> float:
    begin = time.process_time()
    for _ in range(rounds):
        run()
    return time.process_time() - begin


def mark() -> None:
    """Where callgrind closes one count and begins the next: a function of the C library that nobody else calls."""
    os.ctermid()


def instructions(script: Path, arguments: Sequence[str], works: int, workdir: Path) -> list[int] | str:
    """Instructions of each of so many pieces of work of the script, or why there are none.

    The script calls `mark` before and after each piece.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return "valgrind is not installed"
    out = workdir / "callgrind"
    command = [
        valgrind,
        "--tool=callgrind",
        "--dump-before=ctermid",
        f"--callgrind-out-file={out}",
        sys.executable,
        str(script),
        *arguments,
    ]
    subprocess.run(
        command, capture_output=True, check=True, env={**os.environ, **_import_path(), "PYTHONHASHSEED": "0"}
    )
    return [_total(workdir / f"callgrind.{2 * k}") for k in range(1, works + 1)]  # the odd ones lie between


def _total(dump: Path) -> int:
    found = TOTAL.search(dump.read_text(encoding="utf-8"))
    assert found, dump
    return int(found[1])


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
