"""Whole histories of several batteries, each table asked once for all of them.

In:  a connection and the batteries' names, not too many: their readings come into memory.
Out: readings, events and totals by battery. A battery without any is not named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.adapters.store.histories import event_from, oldest_first, soh_from, usage_from
from packbook.core.history import EventRow, SohPoint, UsageTotals

ValueT = TypeVar("ValueT", SohPoint, EventRow, UsageTotals)


async def readings(connection: AsyncConnection, batteries: Sequence[str]) -> dict[str, list[SohPoint]]:
    """Oldest first."""
    return await _by_battery(connection, tables.soh_point, soh_from, batteries)


async def events(connection: AsyncConnection, batteries: Sequence[str]) -> dict[str, list[EventRow]]:
    """Oldest first."""
    return await _by_battery(connection, tables.event, event_from, batteries)


async def usages(connection: AsyncConnection, batteries: Sequence[str]) -> dict[str, list[UsageTotals]]:
    """One for each installation, oldest first."""
    return await _by_battery(connection, tables.usage, usage_from, batteries)


async def _by_battery(
    connection: AsyncConnection, table: sa.Table, read: Callable[[sa.RowMapping], ValueT], batteries: Sequence[str]
) -> dict[str, list[ValueT]]:
    query = sa.select(table).where(table.c.battery.in_(batteries)).order_by(*oldest_first(table))
    found: dict[str, list[ValueT]] = defaultdict(list)
    for row in (await connection.execute(query)).mappings():
        found[row["battery"]].append(read(row))
    return found
