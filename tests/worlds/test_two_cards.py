"""Two boxes with copies of one card, and a book restored from yesterday: real boxes, real book, one broker.

What must hold: both boxes go on, every record that a box's living journal has is in the book, the book's chains are
sound, and a person is told.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from packbook.adapters.store import open_reader, quarantine
from packbox.sim.car import IMIEV_16
from packbox.testing.sim_bus import Pieces, SimLife
from packbox.testing.virtual_loop import run_virtual
from packwire.seal import NO_PREVIOUS, digest, peek
from worlds.book import make_template
from worlds.box import Box
from worlds.plan import Plan
from worlds.world import _World

HOUR_S = 3600.0
Row = tuple[object, ...]


def asked(file: Path, query: str) -> list[Row]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


class _TwoCards(_World):
    """After half a day a thief copies the card; from then on two boxes have the same key and the same store."""

    clone: Box

    async def _happen(self) -> None:
        await asyncio.sleep(14 * HOUR_S)
        files = self.box.card.files()
        self.clone = self._new_box(SimLife(self.car, self.begin_ms))
        self.clone.key, self.clone.id = self.box.key, self.box.id
        self.clone.card.put(files)
        self.clone.online = False
        self.clone.switch_on()
        await asyncio.sleep(12 * HOUR_S)
        for online in (self.clone, self.box, self.clone, self.box):  # at once, they would throw each other out
            for box in (self.box, self.clone):
                box.online = box is online
                box.cut_links()
            await asyncio.sleep(5 * HOUR_S)
        await self.clone.leave()


class _OldBook(_World):
    """The book's disk dies; what it had acknowledged since the backup is gone, and the box counts it as held."""

    async def _happen(self) -> None:
        await asyncio.sleep(14 * HOUR_S)
        copy = self.book.backup()
        self._start_book()
        await asyncio.sleep(20 * HOUR_S)
        self.box.set_life(None)  # parked for good: no record will ever tell
        await self._kill_book()
        self.book.restore(copy)
        self._start_book()
        await asyncio.sleep(24 * HOUR_S)


@pytest.fixture
def plan() -> Plan:
    return Plan(4, 2, IMIEV_16, Pieces(), 10.0, clock_trusted=True, events=())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("template") / "book.db")


def journal_of(box: Box) -> Path:
    (journal,) = [file for file in box.card.folder.glob("*.db") if "damaged" not in file.name]
    return journal


def held_in(book: Path) -> dict[tuple[object, object], object]:
    return {(store, seq): sealed for store, seq, sealed in asked(book, "SELECT store, seq, sealed FROM ledger")}


def missing_in_book(box: Box, book: Path) -> list[object]:
    ((store,),) = asked(journal_of(box), "SELECT id FROM store")
    held = held_in(book)
    return [
        seq
        for seq, sealed in asked(journal_of(box), "SELECT seq, sealed FROM record")
        if held.get((store, seq)) != sealed
    ]


async def two_lives_in(book: Path) -> list[str]:
    async with open_reader(f"sqlite:///{book}") as database, database.transaction() as connection:
        return [life.box for life in await quarantine.two_lives(connection)]


def assert_chains_are_sound(book: Path) -> None:
    previous: dict[object, bytes] = {}
    for store, sealed in asked(book, "SELECT store, sealed FROM ledger ORDER BY store, seq"):
        assert isinstance(sealed, bytes)
        assert peek(sealed).envelope.previous == previous.get(store, NO_PREVIOUS)
        previous[store] = digest(sealed)


def test_two_boxes_with_one_card_both_go_on_and_a_person_is_told(plan: Plan, template: Path, tmp_path: Path) -> None:
    """A cloned card stood still for ever once. Now one box keeps the store, the other begins one that says why."""
    world = _TwoCards(plan, tmp_path, template)
    ended = run_virtual(world.live())
    assert_chains_are_sound(ended.book_file)
    assert missing_in_book(world.box, ended.book_file) == []
    assert missing_in_book(world.clone, ended.book_file) == []
    stores = asked(ended.book_file, "SELECT store, disputed_from IS NOT NULL FROM chain ORDER BY 2")
    assert [disputed for _, disputed in stores] == [0, 1]
    begun = asked(ended.book_file, "SELECT text FROM event WHERE event = 'store_begun'")
    assert any("two boxes with one" in str(text) for (text,) in begun)
    reasons = {str(reason) for (reason,) in asked(ended.book_file, "SELECT reason FROM quarantine")}
    assert reasons
    assert reasons <= {"fork", "broken_chain", "disputed"}
    assert asyncio.run(two_lives_in(ended.book_file)) == [world.box.id]


def test_a_restored_book_gets_everything_back_by_itself(plan: Plan, template: Path, tmp_path: Path) -> None:
    """The boxes keep what the book held. It asks, and nobody has to go to the cars."""
    world = _OldBook(replace(plan, days=3), tmp_path, template)
    ended = run_virtual(world.live())
    assert_chains_are_sound(ended.book_file)
    assert missing_in_book(world.box, ended.book_file) == []
    assert asked(ended.book_file, "SELECT reason FROM quarantine") == []
    assert asked(ended.book_file, "SELECT disputed_from FROM chain") == [(None,)]
