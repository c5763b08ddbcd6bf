"""The second wall between tenants: what PostgreSQL itself refuses to show to the pages' role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import sqlalchemy as sa

from packbook.adapters.store import account_tables, open_writer, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.tenants import settle_fleet
from packbook.testing.scripted_box import ScriptedBox
from packbook.wall import walled
from postgres_server import Postgres

GRANT = (
    "CREATE ROLE pages LOGIN",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO pages",
)


@pytest.fixture
async def pages(postgres: Postgres, postgres_url: str) -> AsyncIterator[Database]:
    """A book of two tenants, opened as a role that does not own its tables."""
    mine, theirs = ScriptedBox(), ScriptedBox(name="bravo")
    for box, battery in ((mine, "BAT-MINE"), (theirs, "BAT-THEIRS")):
        box.hello(battery)
        box.drive()
        box.soh()
        box.usage()
    async with open_writer(postgres_url, "test") as database:
        await Ledger(database).take(mine.arrivals + theirs.arrivals)
        async with database.transaction() as connection:
            owned = {"fleet": "taxis", "tenant": "firm"}
            await connection.execute(sa.insert(account_tables.fleet), [owned])
            enrolled = {"box": theirs.box, "public_key": theirs.public_key, "fleet": "taxis", "state": "active"}
            await connection.execute(sa.insert(tables.enrolled_box), [enrolled | {"since_ms": 1, "enrolled_ms": 1}])
            await settle_fleet(connection, "taxis")
            for statement in GRANT:
                await connection.execute(sa.text(statement))
    url = postgres_url.replace("book@", "pages@")
    try:
        async with aclosing(Database(url)) as database:
            yield database
    finally:
        async with aclosing(Database(postgres_url)) as owner, owner.transaction() as connection:
            await connection.execute(sa.text("DROP OWNED BY pages"))
            await connection.execute(sa.text("DROP ROLE pages"))


async def rows_of(database: Database) -> dict[str, int]:
    """How many rows a query sees that asks for all of them, as one would that forgot whose they are."""
    found = {}
    async with database.transaction() as connection:
        for table in (*tables.DATED, tables.battery, tables.ledger, tables.seen, tables.chain, tables.battery_tenant):
            found[table.name] = await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
    return found


async def test_a_query_that_forgets_whose_rows_it_wants_gets_one_tenants(pages: Database) -> None:
    """One missing condition in one of a hundred queries must not show a firm another one's cars."""
    everything = await rows_of(pages)
    with walled("firm"):
        firm = await rows_of(pages)
        assert [head.battery for head in await SqlHistories(pages).batteries()] == ["BAT-THEIRS"]
        assert await SqlHistories(pages).soh_series("BAT-MINE") == []
    with walled("main"):
        assert [head.battery for head in await SqlHistories(pages).batteries()] == ["BAT-MINE"]
    assert firm["ledger"] == firm["seen"] == 4
    assert {name: 2 * count for name, count in firm.items()} == everything
    with walled("nobody"):
        assert set((await rows_of(pages)).values()) == {0}


async def test_a_wall_stands_for_one_transaction_alone(pages: Database) -> None:
    """Connections are shared: what one request asked for must not be left to the next."""
    with walled("firm"):
        await rows_of(pages)
    assert (await rows_of(pages))["battery"] == 2


async def test_a_part_of_the_ledger_asked_for_by_itself_shows_nothing(pages: Database) -> None:
    """The wall stands before the ledger, not before its months."""
    async with pages.transaction() as connection:
        name = await connection.scalar(
            sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ledger'::regclass LIMIT 1")
        )
        assert await connection.scalar(sa.select(sa.func.count()).select_from(sa.table(str(name)))) == 0
