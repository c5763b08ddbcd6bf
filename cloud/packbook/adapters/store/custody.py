"""Chains of custody, link by link, inside the caller's transaction: links are added, never changed or taken away."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables


async def links_of(connection: AsyncConnection, battery: str) -> list[bytes]:
    """As they were signed, the first one first."""
    table = tables.custody
    query = sa.select(table.c.link).where(table.c.battery == battery).order_by(table.c.number)
    return list(await connection.scalars(query))


async def add(connection: AsyncConnection, battery: str, first: int, links: Sequence[bytes], now_ms: int) -> None:
    """`first`: the number of the first of them. A number that is taken is refused by the database."""
    rows = [
        {"battery": battery, "number": number, "kept_ms": now_ms, "link": link}
        for number, link in enumerate(links, start=first)
    ]
    await connection.execute(sa.insert(tables.custody), rows)
