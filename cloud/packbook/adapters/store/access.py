"""Share links and the record of reads, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.core.access import Read, Reader
from packbook.core.share import Link

ALL_BATTERIES: Final = "*"  # a list with the health of all of them was read


async def keep_link(connection: AsyncConnection, link: Link) -> None:
    await connection.execute(sa.insert(tables.share_link), [asdict(link)])


async def link_of(connection: AsyncConnection, digest: bytes) -> Link | None:
    """Held until the transaction ends: the last read of a link is taken by one reader."""
    table = tables.share_link
    found = await connection.execute(sa.select(table).where(table.c.digest == digest).with_for_update())
    row = found.mappings().first()
    return None if row is None else _link(row)


async def links_of(connection: AsyncConnection, battery: str) -> list[Link]:
    """Newest first."""
    table = tables.share_link
    query = sa.select(table).where(table.c.battery == battery).order_by(table.c.made_ms.desc(), table.c.digest)
    return [_link(row) for row in (await connection.execute(query)).mappings()]


async def count_read(connection: AsyncConnection, digest: bytes) -> None:
    table = tables.share_link
    await connection.execute(sa.update(table).where(table.c.digest == digest).values(reads=table.c.reads + 1))


async def revoke_link(connection: AsyncConnection, digest: bytes, now_ms: int) -> None:
    table = tables.share_link
    await connection.execute(
        sa.update(table).where(table.c.digest == digest, table.c.revoked_ms.is_(None)).values(revoked_ms=now_ms)
    )


async def note_reads(connection: AsyncConnection, reads: Sequence[Read]) -> None:
    rows = [
        {
            "at_ms": read.at_ms,
            "battery": read.battery,
            "role": read.reader.role,
            "purpose": read.reader.purpose,
            "link": read.reader.link,
            "account": read.reader.account,
            "door": read.door,
            "what": read.what,
            "fields": list(read.fields),
        }
        for read in reads
    ]
    await connection.execute(sa.insert(tables.read_note), rows)


async def reads_of(connection: AsyncConnection, battery: str, limit: int) -> list[Read]:
    """Newest first, reads of whole lists among them."""
    table = tables.read_note
    query = sa.select(table).where(table.c.battery.in_((battery, ALL_BATTERIES)))
    rows = await connection.execute(query.order_by(table.c.at_ms.desc(), table.c.id.desc()).limit(limit))
    return [
        Read(
            row.at_ms,
            row.battery,
            Reader(row.role, row.purpose, link=row.link, account=row.account),
            row.door,
            row.what,
            tuple(row.fields),
        )
        for row in rows
    ]


def _link(row: sa.RowMapping) -> Link:
    found = {name: tuple(row[name]) if row[name] is not None else None for name in ("fields", "formats")}
    return Link(**{**row, **found})
