"""A short chaos run on every change; `make chaos` is the long one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos.run import WEIGHTS, Plan, run

SECONDS = 14.0
KILLS = 9
SEED = 20_261_122  # the same plan each time; the moment that a process is hit stays luck


@pytest.mark.slow
async def test_nothing_is_lost_or_doubled_whatever_is_killed_or_cut(
    pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    """A broker's PUBACK is no proof of storage, power goes at any instant: only the chain from box to ledger counts."""
    seed = int(pytestconfig.getoption("--world-seed") or SEED)
    print(f"\nchaos seed {seed}")
    plan = Plan(seed, minutes=SECONDS / 60, kills=KILLS, real_boxes=1, scripted=(1, 8), record_every_s=1.0, resizes=2)
    report = await run(plan, tell=print)
    told = report.told()
    print(told)
    assert not report.wrong, f"{told}\n{report.logs}"
    assert report.killed.total() == KILLS
    assert report.killed.keys() == WEIGHTS.keys()
    assert (report.acts["rebuild under load"], report.acts["backup put back"]) == (1, 1)
    record_property("records", report.verdict.records)
