"""Books of every earlier schema come to this version's with all that was in them, on both databases."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from alembic import command

from packbook.adapters.store import database as database_module
from packbook.adapters.store import open_writer
from packbook.adapters.store.audit import audit
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.rebuilding import rebuild
from packbook.testing.scripted_box import ScriptedBox

VERSIONS: Final = sorted(script.revision for script in database_module._scripts().walk_revisions())
OURS: Final = ("alembic_version", "ledger_")  # tables that migrations fill themselves
RECORDS: Final = 7  # of a box's life

Row = dict[str, Any]
Rows = dict[str, list[Row]]


def box_of(version: str) -> ScriptedBox:
    box = ScriptedBox(name=f"box-{version}")
    box.hello(f"BAT-{version}")
    for say in (box.drive, box.charge, box.rest, box.usage, box.soh, box.event):
        say()
    return box


def made_at(book: Rows, version: str) -> Rows:
    """What one box said: the evidence, what follows from it, and who it is."""
    mine = (str(box_of(version).box), f"BAT-{version}")
    return {
        name: [row for row in rows if {row.get("box"), row.get("battery")} & {*mine}] for name, rows in book.items()
    }


@pytest.fixture(scope="module")
def today(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """As this version keeps the lives of a box for each version. Older ones kept the same in fewer columns."""
    file = shutil.copy(migrated_file, tmp_path_factory.mktemp("today") / "book.db")

    async def fill() -> Rows:
        async with open_writer(f"sqlite:///{file}", "test") as database:
            await Ledger(database).take([message for version in VERSIONS for message in box_of(version).arrivals])
            async with database.transaction() as connection:
                return await connection.run_sync(everything, with_views=True)

    return asyncio.run(fill())


def shapes(connection: sa.Connection, *, with_views: bool = False) -> dict[str, sa.TableClause]:
    """Tables as they are now."""
    inspector = sa.inspect(connection)
    kind = sa.engine.reflection.ObjectKind.ANY if with_views else sa.engine.reflection.ObjectKind.TABLE
    found = {name: columns for (_, name), columns in inspector.get_multi_columns(kind=kind).items()}
    return {
        name: sa.table(name, *(sa.column(column["name"], column["type"]) for column in columns))
        for name, columns in found.items()
        if name is not None and not name.startswith(OURS)
    }


def everything(connection: sa.Connection, *, with_views: bool = False) -> Rows:
    return {
        name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
        for name, table in shapes(connection, with_views=with_views).items()
    }


def something(column: sa.ColumnClause[Any], version: int) -> object:
    """A value that fits the column; another one for each version, for it may be a key."""
    values = {str: f"{version:08}", bytes: version.to_bytes(16), bool: True, dict: {"n": version}, float: version / 2}
    return values.get(column.type.python_type, version)


def fill(connection: sa.Connection, version: str, real: Mapping[str, Sequence[Row]]) -> Rows:
    """A row in each table, every column set; in those that hold a box's records, that box's. Gives what it put in."""
    made: Rows = {}
    for name, table in shapes(connection).items():
        columns = [column.name for column in table.columns]
        rows = [{column: row[column] for column in columns} for row in real.get(name, ())]
        invented = {column.name: something(column, int(version)) for column in table.columns}
        made[name] = rows or [invented]
        connection.execute(sa.insert(table), made[name])
    return made


def migrate(connection: sa.Connection, version: str) -> None:
    config = database_module._config()
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def lost(before: Rows, after: Rows) -> list[str]:
    """Rows of before that are not among those of now, where columns may have been added."""
    return [
        f"{name}: {row}"
        for name, rows in before.items()
        for row in rows
        if not any(row.items() <= now.items() for now in after.get(name, ()))
    ]


@pytest.fixture
async def empty_url(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> str:
    """A database without any schema, of each kind."""
    if database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'old.db'}"
    async with aclosing(Database(database_url)) as database, database.transaction() as connection:
        await connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        await connection.execute(sa.text("CREATE SCHEMA public"))
    return database_url


async def grown(url: str, version: str, today: Rows) -> Rows:
    """The book, brought to this schema and filled with what it can keep. Gives what was put into it."""
    async with aclosing(Database(url)) as book, book.transaction() as connection:
        await connection.run_sync(migrate, version)
        return await connection.run_sync(fill, version, made_at(today, version))


async def assert_all_came_along(url: str, before: Sequence[Rows]) -> None:
    async with aclosing(Database(url)) as book:
        await book.migrate()
        await book.require_schema()
        found = await audit(book, lambda _done, _total: None)
        assert (found.records, found.broken) == (RECORDS * len(before), 0)
        async with book.transaction() as connection:
            now = await connection.run_sync(everything)
        assert [lost(rows, now) for rows in before] == [[]] * len(before)
        assert await rebuild(book, lambda _done, _total: None) == RECORDS * len(before)
        async with book.transaction() as connection:
            now = await connection.run_sync(everything)
        assert [lost(rows, now) for rows in before] == [[]] * len(before)


async def test_a_book_of_the_oldest_version_comes_along_at_once(empty_url: str, today: Rows) -> None:
    """All revisions in one transaction, over a database that somebody lived on."""
    await assert_all_came_along(empty_url, [await grown(empty_url, VERSIONS[0], today)])


async def test_what_was_kept_under_each_earlier_version_comes_along(empty_url: str, today: Rows) -> None:
    """An old installation was updated many times: each revision meets rows of every version before it."""
    before = [await grown(empty_url, version, today) for version in VERSIONS[:-1]]
    assert {len(rows["ledger"]) for rows in before} == {RECORDS}
    await assert_all_came_along(empty_url, before)
