"""Which batteries' histories are in doubt: a store with two histories, or one box's key alive in two places at once.

In:  a connection, and one battery or all.
Out: `Doubt`s by battery, for whoever shows a figure of it. What operators work on is in `quarantine`.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.adapters.store.quarantine import LATE_MAX_MS
from packbook.core.history import Doubt

TWO_HISTORIES: Final = "two_histories"
TWO_BOXES: Final = "two_boxes"


async def of_batteries(connection: AsyncConnection, only: str | None) -> dict[str, tuple[Doubt, ...]]:
    """Batteries without a doubt are not named."""
    found: dict[str, list[Doubt]] = defaultdict(list)
    for battery, doubt in [*await _two_histories(connection, only), *await _two_boxes(connection, only)]:
        if only in (None, battery):
            found[battery].append(doubt)
    return {battery: tuple(doubts) for battery, doubts in found.items()}


async def _two_histories(connection: AsyncConnection, only: str | None) -> list[tuple[str, Doubt]]:
    """Of the battery that the store watched where its histories part."""
    chain = tables.chain
    query = sa.select(chain).where(chain.c.disputed_from.is_not(None), chain.c.battery.is_not(None))
    if only is not None:
        query = query.where(chain.c.battery == only)
    rows = await connection.execute(query.order_by(chain.c.box, chain.c.store))
    return [
        (
            row.battery,
            Doubt(
                TWO_HISTORIES,
                row.box,
                row.store,
                row.disputed_ms,
                max(0, row.upto - row.disputed_from + 1),
                row.settled_ms is not None,
            ),
        )
        for row in rows
    ]


async def _two_boxes(connection: AsyncConnection, only: str | None) -> list[tuple[str, Doubt]]:
    """Of whatever batteries the older and the newer store watch."""
    if only is None:
        rows = await connection.execute(_two_boxes_query(of_one=False))
    else:
        rows = await connection.execute(_two_boxes_query(of_one=True), {"battery": only})
    return [
        (battery, Doubt(TWO_BOXES, row.box, row.store, row.received_ms, 0, settled=False))
        for row in rows
        for battery in sorted({row.battery, row.other} - {None})
    ]


@cache  # asked with nearly every page: five tables take longer to put together than to ask
def _two_boxes_query(*, of_one: bool) -> sa.Select[Any]:
    """First and newest record tell when a store lived."""
    older, newer = tables.chain.alias(), tables.chain.alias()
    begun_before, begun, last = (tables.seen.alias() for _ in range(3))

    def record(of: sa.FromClause, store: sa.FromClause, seq: object) -> sa.ColumnElement[bool]:
        return (of.c.box == store.c.box) & (of.c.store == store.c.store) & (of.c.seq == seq)

    query = (
        sa.select(older.c.battery, newer.c.battery.label("other"), newer.c.box, newer.c.store, begun.c.received_ms)
        .join(newer, (newer.c.box == older.c.box) & (newer.c.store != older.c.store))
        .join(begun_before, record(begun_before, older, 1))
        .join(begun, record(begun, newer, 1))
        .join(last, record(last, older, older.c.top))
        .where(begun_before.c.received_ms < begun.c.received_ms)
        .where(last.c.received_ms > begun.c.received_ms + LATE_MAX_MS)
        .order_by(newer.c.box, newer.c.store)
    )
    named = sa.bindparam("battery", type_=sa.String)
    return query.where((older.c.battery == named) | (newer.c.battery == named)) if of_one else query
