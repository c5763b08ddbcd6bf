"""What changed in a real book, as whoever listens is told."""

from __future__ import annotations

from packbook.adapters.store import open_reader, open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.watch import SqlWatch
from packbook.core.accounts import Reach
from packbook.core.live import Topic, change, news
from packbook.testing.scripted_box import ScriptedBox


async def test_a_record_that_arrives_is_a_change_on_both_databases(database_url: str) -> None:
    """The look sees batteries, boxes, and whose they are."""
    box = ScriptedBox()
    async with open_writer(database_url, "test") as database:
        watch, ledger = SqlWatch(database), Ledger(database)
        empty = await watch.look()
        box.life()
        await ledger.take(box.arrivals)
        first = await watch.look()
        assert await watch.look() == first
        told = news(change(empty, first), Reach("main", frozenset({"BAT-1"}))).told(tuple(Topic))
        assert told == {"batteries": ["BAT-1"], "boxes": [box.box], "alerts": []}
        box.drive()
        await ledger.take(box.arrivals[-1:])
        async with open_reader(database_url) as beside:
            second = await SqlWatch(beside).look()
    assert set(change(first, second)[Topic.BATTERIES]) == {"BAT-1"}
