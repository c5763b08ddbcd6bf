"""When a history is another one than before, by one short question: on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

from packbook.adapters.store import fleets, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.core.accounts import Reach
from packbook.core.fleet import FleetModel
from packbook.core.forecast import PRIOR
from packbook.testing.scripted_box import ScriptedBox, arrival


async def test_each_record_makes_a_new_version_of_its_battery_alone(database: Database) -> None:
    """A page kept under the old one would hide it; the neighbour's page is as good as before."""
    book, ledger = SqlHistories(database), Ledger(database)
    box, other = ScriptedBox("alfa"), ScriptedBox("bravo")
    box.hello("A")
    other.hello("B")
    await ledger.take([*box.arrivals, *other.arrivals])
    neighbour, found = await book.version("B"), [await book.version("A")]
    for say in (box.charge, box.drive, box.rest, box.soh, box.usage):
        await ledger.take([arrival(box.box, say())])
        found.append(await book.version("A"))
        assert await book.version("A") == found[-1]
    assert len(set(found)) == len(found)
    assert None not in found
    assert await book.version("B") == neighbour


async def test_what_a_record_did_not_say_makes_a_version_too(database: Database) -> None:
    """The fleet taught something, an operator settled a dispute, the same box speaks from a second store."""
    book, ledger = SqlHistories(database), Ledger(database)
    box = ScriptedBox("alfa")
    box.hello("A")
    await ledger.take(box.arrivals)
    found = [await book.version("A")]
    await fleets.keep(database, FleetModel("leaf-24", 1, PRIOR), 2)
    found.append(await book.version("A"))
    async with database.transaction() as connection:
        await connection.execute(sa.update(tables.chain).values(disputed_from=1, settled_ms=5))
    found.append(await book.version("A"))
    second = ScriptedBox("alfa", "second")
    second.hello("B")
    await ledger.take(second.arrivals)
    found.append(await book.version("A"))
    assert len(set(found)) == 4


async def test_there_is_no_version_of_what_one_may_not_see(database: Database) -> None:
    """Not even whether it changed."""
    box = ScriptedBox("alfa")
    box.hello("A")
    await Ledger(database).take(box.arrivals)
    book = SqlHistories(database)
    assert await book.version("A") == await book.within(Reach("main")).version("A")
    for reach in (Reach("rival"), Reach(None, frozenset({"B"}))):
        assert await book.within(reach).version("A") is None
    assert await book.version("B") is None
