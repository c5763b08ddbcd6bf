"""Schema, writers and trouble: what an operator meets when something is not as it should be."""

from __future__ import annotations

import re
import sqlite3
from contextlib import aclosing
from dataclasses import fields
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from packbook.adapters.store import database as database_module
from packbook.adapters.store import open_reader, open_writer, tables
from packbook.adapters.store.audit import audit
from packbook.adapters.store.database import Database, head
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.rebuilding import rebuild
from packbook.core.history import EventRow, Installation, SessionRow, SohPoint, UsageTotals
from packbook.ports.trouble import StoreError
from packbook.testing.scripted_box import ScriptedBox
from postgres_server import Postgres


async def test_the_revisions_make_exactly_the_tables_of_the_code(database: Database) -> None:
    """A column that is only in the code fails in production, not here, unless this holds."""

    def differences(connection: sa.Connection) -> list[object]:
        here = connection.dialect.name
        tables_here = MigrationContext.configure(
            connection, opts={"include_object": lambda item, *_: item.info.get("view") != here}
        )
        return list(compare_metadata(tables_here, tables.metadata))

    async with database.transaction() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize(
    ("table", "value"),
    [
        (tables.session, SessionRow),
        (tables.soh_point, SohPoint),
        (tables.usage, UsageTotals),
        (tables.event, EventRow),
        (tables.installation, Installation),
    ],
)
def test_every_field_of_a_history_value_has_its_column(table: sa.Table, value: type) -> None:
    """They are translated by name: a field without a column would be lost."""
    names = {field.name for field in fields(value)} - {"provenance"}
    assert names <= set(table.columns.keys())


async def test_a_book_of_the_first_schema_is_brought_to_this_one(tmp_path: Path) -> None:
    """An update must take what is there along."""
    config = database_module._config()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'book.db'}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.text("INSERT INTO battery VALUES ('b1', 1, 0, 0, 0)"))
    engine.dispose()
    async with aclosing(Database(f"sqlite:///{tmp_path / 'book.db'}")) as database:
        assert await database.revision() == "0001"
        await database.migrate()
        await database.require_schema()
        async with database.transaction() as connection_now:
            assert await connection_now.scalar(sa.select(tables.battery.c.battery)) == "b1"


async def test_an_empty_database_gets_the_schema_only_from_a_writer(tmp_path: Path) -> None:
    """Starting the book for the first time needs no ritual; a page server must not make databases by accident."""
    url = f"sqlite:///{tmp_path / 'book.db'}"
    with pytest.raises(StoreError, match="No such file or directory"):
        async with open_reader(url):
            pass
    async with open_writer(url, "one") as database:
        assert await database.revision() == head()
    async with open_reader(url) as reader:
        assert await SqlHistories(reader).batteries() == []


@pytest.mark.parametrize(("found", "advice"), [("9999", "newer packbook"), (None, "packbook migrate")])
async def test_another_schema_is_refused_with_advice(database_url: str, found: str | None, advice: str) -> None:
    """Writing into tables of another shape would lose records one by one."""
    async with open_writer(database_url, "test") as database, database.transaction() as connection:
        await connection.execute(sa.text("DELETE FROM alembic_version"))
        if found:
            await connection.execute(sa.text("INSERT INTO alembic_version VALUES (:found)"), {"found": found})
    with pytest.raises(StoreError, match=advice):
        async with open_reader(database_url):
            pass


async def test_a_second_writer_on_one_sqlite_file_is_told_who_is_there(sqlite_url: str) -> None:
    """Two collectors would each acknowledge what the other does not see."""
    async with open_writer(sqlite_url, "collector-0"):
        with pytest.raises(StoreError, match=r"another packbook \(pid \d+\) writes to it"):
            async with open_writer(sqlite_url, "collector-1"):
                pass
    async with open_writer(sqlite_url, "collector-1"):
        pass


async def test_postgres_takes_collectors_of_different_names(postgres_url: str) -> None:
    """Workers share the work there, but two of one name would throw each other out of the broker."""
    async with open_writer(postgres_url, "collector-0"), open_writer(postgres_url, "collector-1"):
        with pytest.raises(StoreError, match="collects under the name 'collector-0'"):
            async with open_writer(postgres_url, "collector-0"):
                pass
    async with open_writer(postgres_url, "collector-0"):
        pass


async def test_a_reader_beside_a_writer_cannot_write(sqlite_url: str) -> None:
    """Before SQLite 3.51.3 two writing connections of one file can destroy it."""
    async with open_writer(sqlite_url, "test") as writer, open_reader(sqlite_url) as reader:
        box = ScriptedBox()
        box.hello()
        await Ledger(writer).take(box.arrivals)
        with pytest.raises(StoreError, match="readonly"):
            await rebuild(reader, lambda _done, _total: None)


async def test_a_full_disk_keeps_nothing_of_the_batch(sqlite_url: str) -> None:
    """Half a batch on disk and an acknowledgement for all of it would lose records."""
    box = ScriptedBox()
    box.hello()
    for _ in range(300):
        box.charge()
    async with open_writer(sqlite_url, "test") as database:
        async with database.transaction() as connection:
            pages = await connection.scalar(sa.text("PRAGMA page_count"))
            await connection.execute(sa.text(f"PRAGMA max_page_count = {pages + 5}"))
        ledger = Ledger(database)
        with pytest.raises(StoreError, match="full"):
            await ledger.take(box.arrivals)
        assert await SqlHistories(database).batteries() == []
        async with database.transaction() as connection:
            await connection.execute(sa.text("PRAGMA max_page_count = 100000"))
        assert (await ledger.take(box.arrivals)).accepted == 301


async def test_a_locked_file_is_trouble_not_a_hang(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's sqlite3 shell holds it: say so, try again later."""
    monkeypatch.setattr(database_module, "BUSY_WAIT_MAX_MS", 50)
    box = ScriptedBox()
    box.hello()
    async with open_writer(sqlite_url, "test") as database:
        shell = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            await Ledger(database).take(box.arrivals)
        shell.close()
        assert (await Ledger(database).take(box.arrivals)).accepted == 1


async def test_a_database_server_that_dies_is_trouble_and_comes_back(postgres: Postgres, postgres_url: str) -> None:
    """PostgreSQL restarts under us: one StoreError, no process restart."""
    box = ScriptedBox()
    box.life()
    async with open_writer(postgres_url, "test") as database:
        ledger = Ledger(database)
        await ledger.take(box.arrivals[:3])
        postgres.crash()
        with pytest.raises(StoreError):
            await ledger.take(box.arrivals)
        postgres.resume()
        taken = await ledger.take(box.arrivals)
    assert (taken.accepted, taken.duplicates) == (4, 3)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:secret@h/db", "'mysql' is not one of sqlite, postgresql"),
        ("nonsense", "not a database URL"),
        ("postgresql://book:secret@127.0.0.1:1/x", "book:***@127.0.0.1:1/x"),
        ("sqlite:////nowhere/at/all.db", "/nowhere/at/all.db"),
    ],
)
async def test_a_database_that_cannot_be_used_is_named_without_its_password(url: str, said: str) -> None:
    """The message goes to logs."""
    with pytest.raises(StoreError, match=re.escape(said)) as caught:
        async with open_writer(url, "test"):
            pass
    assert "secret" not in str(caught.value)


async def test_the_audit_finds_holes_changed_bytes_and_missing_records(database: Database) -> None:
    """`packbook doctor` looks at every signature and every link, not at counters."""
    box, other = ScriptedBox(), ScriptedBox(name="bravo")
    box.life()
    other.life()
    await Ledger(database).take(box.arrivals[:3] + box.arrivals[5:] + other.arrivals)
    clean = await audit(database, lambda _done, _total: None)
    store = next(s for s in clean.stores if s.box == box.box)
    assert (clean.records, clean.broken, clean.troubles) == (12, 0, [])
    assert (store.records, store.upto, store.holes, store.battery) == (5, 3, [(4, 5)], "BAT-1")

    ledger = tables.ledger
    async with database.transaction() as connection:
        sealed = bytearray(other.sealed[3])
        sealed[-1] ^= 1
        changed = sa.update(ledger).where(ledger.c.box == other.box, ledger.c.seq == 4)
        await connection.execute(changed.values(sealed=bytes(sealed)))
        await connection.execute(sa.delete(ledger).where(ledger.c.box == other.box, ledger.c.seq == 7))
    dirty = await audit(database, lambda _done, _total: None)
    assert dirty.broken == 1
    assert f"{other.box}/{other.store}/4" in dirty.troubles[0]


async def test_nobody_meets_the_connections_that_a_restarted_server_left_dead(postgres_url: str) -> None:
    """Each reader of the pages would be told that the book cannot be read, one for every connection of the pool."""
    async with aclosing(Database(postgres_url, read_only=True)) as pages, aclosing(Database(postgres_url)) as operator:
        async with pages.transaction() as connection:
            serving = await connection.scalar(sa.func.pg_backend_pid().select())
        async with operator.transaction() as connection:
            await connection.execute(sa.select(sa.func.pg_terminate_backend(serving, 5000)))
        async with pages.transaction() as connection:
            assert await connection.scalar(sa.func.pg_backend_pid().select()) != serving
