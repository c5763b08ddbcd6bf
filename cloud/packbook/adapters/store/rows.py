"""Many rows in one statement, the way each database takes them fastest: the seam between SQLite and PostgreSQL.

In:  a table, the names of columns, and rows as tuples in that order; JSON columns hold text already (`as_json`).
Out: the rows are in the table, in the caller's transaction.
PostgreSQL gets COPY for what is new, and one array for each column (`unnest`) where something may be there already;
SQLite gets `executemany`. SQLAlchemy's own way builds every parameter of every row in Python, and that took longer
than the databases did (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Final, TypeAlias

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncConnection

Row: TypeAlias = Mapping[str, object]
Values: TypeAlias = tuple[object, ...]

_ARRAYS: Final = (
    (sa.JSON, "text"),
    (sa.String, "text"),
    (sa.Boolean, "boolean"),
    (sa.BigInteger, "bigint"),
    (sa.Integer, "integer"),
    (sa.Double, "float8"),
    (sa.LargeBinary, "bytea"),
)  # the more special type before the one it descends from
_quoted: Final = sa.sql.compiler.IdentifierPreparer(DefaultDialect()).quote  # both databases take these


def as_json(value: object) -> str:
    """Tuples become lists, dataclasses objects."""
    return msgspec.json.encode(value).decode()


def among(connection: AsyncConnection, column: sa.Column[str], values: Iterable[str]) -> sa.ColumnElement[bool]:
    """Is it one of these? One parameter for all: SQLAlchemy's `in_` writes and binds each of them by itself."""
    asked = sorted(values)
    if connection.dialect.name == "sqlite":
        listed = sa.func.json_each(as_json(asked)).table_valued("value")
        return column.in_(sa.select(listed.c.value))
    return column == sa.any_(sa.literal(asked, ARRAY(sa.String)))


def among_pairs(
    connection: AsyncConnection, columns: tuple[sa.Column[str], sa.Column[str]], pairs: Iterable[tuple[str, str]]
) -> sa.ColumnElement[bool]:
    """The same for two columns together. Asked one by one, both databases would try every pair of the two lists."""
    asked = sorted(pairs)
    query: sa.Select[str, str]
    if connection.dialect.name == "sqlite":
        value = sa.func.json_each(as_json(asked)).table_valued("value").c.value
        query = sa.select(sa.func.json_extract(value, "$[0]"), sa.func.json_extract(value, "$[1]"))
    else:
        lists = [sa.literal([pair[place] for pair in asked], ARRAY(sa.String)) for place in (0, 1)]
        given = sa.func.unnest(*lists).table_valued("one", "other").render_derived()
        query = sa.select(given.c.one, given.c.other)
    return sa.tuple_(*columns).in_(query)


async def insert(
    connection: AsyncConnection, table: sa.Table, columns: Sequence[str], rows: Sequence[Values], then: str = ""
) -> None:
    """`then`: what the statement says after the rows: what to do where the key is there already."""
    if not rows:
        return
    names = tuple(columns)
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql(_for_sqlite(table, names, then), list(rows))
    elif not then:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        assert driver.is_in_transaction()  # SQLAlchemy begins it with the first statement of its own
        await driver.copy_records_to_table(table.name, records=rows, columns=names)
    else:
        by_column = tuple(list(column) for column in zip(*rows, strict=True))
        await connection.exec_driver_sql(_for_postgres(table, names, then), by_column)


async def upsert(
    connection: AsyncConnection,
    table: sa.Table,
    rows: Sequence[Row],
    *,
    keys: Sequence[str] = (),
    keep: Collection[str] = (),
    add: Collection[str] = (),
) -> None:
    """Insert; where the key is there already: leave `keep`, sum `add`, replace the others. No key twice."""
    if rows:
        columns = tuple(rows[0])
        then = replacing(table, columns, keys=tuple(keys), keep=frozenset(keep), add=frozenset(add))
        await insert(connection, table, columns, values_of(table, columns, rows), then)


async def insert_new(connection: AsyncConnection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert; where the key is there already, leave it."""
    if rows:
        columns = tuple(rows[0])
        await insert(connection, table, columns, values_of(table, columns, rows), "ON CONFLICT DO NOTHING")


@cache
def replacing(
    table: sa.Table,
    columns: Sequence[str],
    *,
    keys: Sequence[str] = (),
    keep: Collection[str] = frozenset(),
    add: Collection[str] = frozenset(),
) -> str:
    """What `insert` says after the rows so that what is there gets the new values. Arguments as those of `upsert`."""
    keys = keys or tuple(column.name for column in table.primary_key)
    changes = []
    for name in map(_quoted, [name for name in columns if name not in keys and name not in keep]):
        before = f"{_quoted(table.name)}.{name} + " if name in add else ""
        changes.append(f"{name} = {before}excluded.{name}")
    done = f"UPDATE SET {', '.join(changes)}" if changes else "NOTHING"
    return f"ON CONFLICT ({_names(keys)}) DO {done}"


def values_of(table: sa.Table, columns: Sequence[str], rows: Sequence[Row]) -> list[Values]:
    """Rows by name as tuples."""
    written = frozenset(name for name in columns if isinstance(table.c[name].type, sa.JSON))
    return [tuple(as_json(row[name]) if name in written else row[name] for name in columns) for row in rows]


@cache
def _for_sqlite(table: sa.Table, columns: tuple[str, ...], then: str) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {_quoted(table.name)} ({_names(columns)}) VALUES ({marks}) {then}"  # noqa: S608 - our names


@cache
def _for_postgres(table: sa.Table, columns: tuple[str, ...], then: str) -> str:
    arrays = ", ".join(f"${place}::{_array(table.c[name])}[]" for place, name in enumerate(columns, start=1))
    taken = ", ".join(
        f"{_quoted(name)}::json" if isinstance(table.c[name].type, sa.JSON) else _quoted(name) for name in columns
    )
    names = _names(columns)
    return (
        f"INSERT INTO {_quoted(table.name)} ({names}) "  # noqa: S608 - our names
        f"SELECT {taken} FROM unnest({arrays}) AS given ({names}) {then}"
    )


def _array(column: sa.Column[object]) -> str:
    return next(name for kind, name in _ARRAYS if isinstance(column.type, kind))


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(_quoted, columns))
