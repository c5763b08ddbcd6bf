"""Benchmarks: what is measured goes into one table, printed at the end; what was promised is asserted."""

from __future__ import annotations

import pytest

from bench.measure import TABLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE.rows:
        terminalreporter.section("bench: ratios are medians of interleaved repeats in this run, CPU time of one core")
        for line in TABLE.lines():
            terminalreporter.write_line(line)
