"""What boxes said of their own health over the last months: the last heartbeat of each hour.

In:  heartbeats as they come; how long they are kept.
Out: a box's health over time, for its operator. Evidence of nothing: nobody signed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import rows, tables
from packbook.adapters.store.database import Database
from packbook.core.history import HeartbeatRow
from packbook.core.intake import Heartbeat

HOUR_MS: Final = 3_600_000
FORGOTTEN_AT_ONCE: Final = 10_000  # rows in one transaction: the collector waits no longer than that

_table: Final = tables.heartbeat


async def keep(connection: AsyncConnection, heartbeats: Iterable[Heartbeat]) -> None:
    newest: dict[tuple[str, int], rows.Row] = {}
    for beat in heartbeats:
        hour_ms = beat.received_ms - beat.received_ms % HOUR_MS
        row = {"box": beat.box, "hour_ms": hour_ms, "at_ms": beat.received_ms, "health": dict(beat.health)}
        newest[beat.box, hour_ms] = row
    await rows.upsert(connection, _table, [newest[key] for key in sorted(newest)])


async def of_box(connection: AsyncConnection, box: str, since_ms: int) -> Sequence[HeartbeatRow]:
    """Oldest first."""
    query = sa.select(_table.c.at_ms, _table.c.health).where(_table.c.box == box, _table.c.at_ms >= since_ms)
    return [HeartbeatRow(*row) for row in await connection.execute(query.order_by(_table.c.at_ms))]


async def forget(database: Database, before_ms: int) -> int:
    """Gives how many. Raises StoreError."""
    old = sa.select(_table.c.box, _table.c.hour_ms).where(_table.c.hour_ms < before_ms).limit(FORGOTTEN_AT_ONCE)
    gone = 0
    while True:
        async with database.transaction() as connection:
            here = (await connection.execute(sa.delete(_table).where(_key().in_(old)))).rowcount
        gone += here
        if here < FORGOTTEN_AT_ONCE:
            return gone


def _key() -> sa.Tuple:
    return sa.tuple_(_table.c.box, _table.c.hour_ms)
