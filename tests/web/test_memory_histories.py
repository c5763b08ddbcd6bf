"""The fake keeps the promises of `Histories`, and its story is one a real car could tell."""

from __future__ import annotations

import itertools

import pytest

from packbook.ports.histories import Histories
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_histories import MemoryHistories

LEAF = "leaf-24-0001"


async def test_unknown_batteries_give_nothing(book: Histories) -> None:
    """As the protocol says: None or an empty list."""
    assert await book.battery("never-seen") is None
    assert await book.usage("never-seen") is None
    assert [
        *await book.soh_series("never-seen"),
        *await book.sessions("never-seen"),
        *await book.events("never-seen"),
    ] == []


async def test_order_and_limits_hold(book: Histories) -> None:
    """Series oldest first, lists newest first, never more than asked for."""
    points = await book.soh_series(LEAF)
    assert [p.provenance.seq for p in points] == sorted(p.provenance.seq for p in points)
    rows = await book.sessions(LEAF, "charge", 5, 2)
    assert len(rows) == 5
    assert [r.session for r in rows] == [r.session for r in await book.sessions(LEAF, "charge", 7)][2:]
    assert [r.session for r in rows] == sorted((r.session for r in rows), reverse=True)
    assert len(await book.events(LEAF, 1)) == 1


async def test_the_story_is_believable(book: MemoryHistories) -> None:
    """Nine months, falling health, an interval that narrows, and a truth inside it."""
    points = book.points[LEAF]
    widths = [p.hi90_pct - p.lo90_pct for p in points if p.hi90_pct is not None and p.lo90_pct is not None]
    first, last = points[0].soh_pct, points[-1].soh_pct
    assert first is not None
    assert last is not None
    assert 1.5 < first - last < 4.0
    assert widths[-1] < widths[0] / 2
    assert {p.state for p in points} == {"learning", "ok"}
    rows = book.session_rows[LEAF]
    starts = [row.start_ms for row in rows if row.start_ms is not None]
    assert starts == sorted(starts)
    assert all(0.0 <= row.soc_end_pct <= 100.0 for row in rows if row.soc_end_pct is not None)
    seqs = [row.provenance.seq for row in rows]
    assert all(low < high for low, high in itertools.pairwise(seqs))


async def test_totals_agree_with_the_sessions(book: MemoryHistories) -> None:
    """A fake whose parts contradict each other would hide mistakes of the pages."""
    usage, rows = book.totals[LEAF], book.session_rows[LEAF]
    assert usage.charges_ac + usage.charges_dc == book.heads[LEAF].sessions["charge"]
    assert usage.energy_in_wh == pytest.approx(sum(row.energy_in_wh for row in rows))
    assert sum(usage.soc_temp_s) == pytest.approx(sum(row.duration_s for row in rows), rel=0.001)


def test_the_story_is_the_same_every_time() -> None:
    """Screenshots can be compared."""
    assert lived_in() == lived_in()
