"""Benchmarks: what is measured goes into one table, printed at the end; what was promised is asserted."""

from __future__ import annotations

import pytest

from bench.measure import REPEATS, TABLE

HEAD = f"bench: medians of the ratios of {REPEATS} rounds, peers taken in turn, CPU time of one core"
METHOD = (
    "Decode: the same frames to both, in memory. cantools turns bits into numbers; ours also checks lengths, checksums",
    "and counters, drops void and impossible values and lets one source speak per quantity. Method: docs/bench.md",
)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE.rows:
        terminalreporter.section(HEAD)
        for line in (*TABLE.lines(), *METHOD):
            terminalreporter.write_line(line)
