"""Share links, the record of reads, and the names batteries are found by, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables, tenants
from packbook.core.access import ALL_BATTERIES, Read, Reader
from packbook.core.share import Link


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


async def reads_of(connection: AsyncConnection, battery: str, limit: int, offset: int = 0) -> list[Read]:
    """Newest first, reads of whole lists among them."""
    table = tables.read_note
    lists = (ALL_BATTERIES, ALL_BATTERIES + await tenants.of_battery(connection, battery))
    query = sa.select(table).where(table.c.battery.in_((battery, *lists)))
    rows = await connection.execute(query.order_by(table.c.at_ms.desc(), table.c.id.desc()).limit(limit).offset(offset))
    return [
        Read(
            row.at_ms,
            ALL_BATTERIES if row.battery in lists else row.battery,
            Reader(row.role, row.purpose, link=row.link, account=row.account),
            row.door,
            row.what,
            tuple(row.fields),
        )
        for row in rows
    ]


async def keep_names(connection: AsyncConnection, battery: str, keys: Collection[str], now_ms: int) -> None:
    """From now on the battery is found by these and no others."""
    table = tables.battery_name
    had = set(await connection.scalars(sa.select(table.c.key).where(table.c.battery == battery)))
    await connection.execute(sa.delete(table).where(table.c.battery == battery, table.c.key.in_(had - set(keys))))
    rows = [{"key": key, "battery": battery, "since_ms": now_ms} for key in keys if key not in had]
    if rows:
        await connection.execute(sa.insert(table), rows)


async def named(connection: AsyncConnection, key: str) -> str | None:
    """The one that got the name last: a label may have moved on with a pack's new passport."""
    table = tables.battery_name
    newest = sa.select(table.c.battery).where(table.c.key == key).order_by(table.c.since_ms.desc()).limit(1)
    found: str | None = await connection.scalar(newest)
    return found


def _link(row: sa.RowMapping) -> Link:
    found = {name: tuple(row[name]) if row[name] is not None else None for name in ("fields", "formats")}
    return Link(**{**row, **found})
