"""Room in the ledger, month by month: PostgreSQL keeps the records of each month in a table of its own.

In:  when records were received.
Out: the month's part of the ledger exists when this returns, and the next month's too: at the turn of the month
nobody waits. SQLite has one table, and there is nothing to do.
Parts are made beside the ledger and then attached, which holds up neither readers nor writers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store.database import Database

MAKING: Final = 0x6D6F6E74  # "mont": our advisory lock, so that two collectors do not make the same part
_BOUND: Final = re.compile(r"FROM \((MINVALUE|'?-?\d+'?)\) TO \('?(-?\d+)'?\)")
_PARTS: Final = sa.text(
    "SELECT pg_get_expr(part.relpartbound, part.oid) FROM pg_class part"
    " JOIN pg_inherits tie ON tie.inhrelid = part.oid WHERE tie.inhparent = 'ledger'::regclass"
)


class Months:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._ready: set[int] = set()  # begins of months that have their part

    async def make_room(self, received_ms: Iterable[int]) -> None:
        """Raises StoreError."""
        if self._database.is_sqlite:
            return
        wanted = {month for at_ms in set(received_ms) for month in _this_and_next(at_ms)} - self._ready
        if wanted:
            async with self._database.transaction() as connection:
                await _make(connection, wanted)
            self._ready |= wanted


async def _make(connection: AsyncConnection, months: set[int]) -> None:
    await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MAKING)))
    there = [_span(bound) for bound in await connection.scalars(_PARTS)]
    for begin_ms in sorted(months):
        if any(low <= begin_ms < high for low, high in there):
            continue
        end_ms = _next(begin_ms)
        name = f"ledger_{_day(begin_ms):%Y_%m}"
        await connection.execute(sa.text(f"CREATE TABLE {name} (LIKE ledger INCLUDING ALL)"))
        await connection.execute(
            sa.text(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        )  # asked for by itself: nothing
        bounds = f"FROM ({begin_ms}) TO ({end_ms})"
        await connection.execute(sa.text(f"ALTER TABLE ledger ATTACH PARTITION {name} FOR VALUES {bounds}"))


def _span(bound: str) -> tuple[float, float]:
    found = _BOUND.search(bound)
    assert found is not None, bound
    low, high = found[1].strip("'"), found[2]
    return float("-inf") if low == "MINVALUE" else int(low), int(high)


def _this_and_next(at_ms: int) -> tuple[int, int]:
    begin_ms = _begin(_day(at_ms))
    return begin_ms, _next(begin_ms)


def _next(begin_ms: int) -> int:
    day = _day(begin_ms)
    return _begin(day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1))


def _day(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC)


def _begin(day: datetime) -> int:
    """Of its month, UTC."""
    return int(day.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()) * 1000
