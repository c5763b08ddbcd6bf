"""The credentials that the book signed, inside the caller's transaction.

A row is made before its credential is signed, because its number is part of what is signed. One that was never
finished keeps its number: a bit of a status list is not used twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables

ABOUT_BOX = "box"  # the part of a credential that is no part of a battery's record


@dataclass(frozen=True, slots=True)
class Issued:
    """`number`: from 1. `document`: as it was signed."""

    number: int
    id: str
    about: str
    part: str
    content: bytes
    issued_ms: int
    until_ms: int | None
    document: str | None
    revoked_ms: int | None = None
    reason: str | None = None


async def newest(connection: AsyncConnection, about: str, part: str, content: bytes | None = None) -> Issued | None:
    """The one that was finished last, also if it was taken back. `content`: of those that say this."""
    table = tables.credential
    query = sa.select(table).where(table.c.about == about, table.c.part == part, table.c.document.is_not(None))
    if content is not None:
        query = query.where(table.c.content == content)
    row = (await connection.execute(query.order_by(table.c.number.desc()).limit(1))).mappings().first()
    return None if row is None else Issued(**row)


async def reserve(connection: AsyncConnection, issued: Issued) -> int:
    """A row without its document. Gives its number; the one in `issued` is not looked at."""
    table = tables.credential
    values = {
        "id": issued.id,
        "about": issued.about,
        "part": issued.part,
        "content": issued.content,
        "issued_ms": issued.issued_ms,
        "until_ms": issued.until_ms,
    }
    number = await connection.scalar(sa.insert(table).values(values).returning(table.c.number))
    assert number is not None
    return int(number)


async def finish(connection: AsyncConnection, number: int, document: str) -> None:
    table = tables.credential
    await connection.execute(sa.update(table).where(table.c.number == number).values(document=document))


async def of(connection: AsyncConnection, about: str) -> Sequence[Issued]:
    """Newest first."""
    table = tables.credential
    query = sa.select(table).where(table.c.about == about, table.c.document.is_not(None))
    return [Issued(**row) for row in (await connection.execute(query.order_by(table.c.number.desc()))).mappings()]


async def revoke(connection: AsyncConnection, chosen: Sequence[int], at_ms: int, reason: str) -> None:
    """By number; what was taken back stays so, with its first reason."""
    table = tables.credential
    where = table.c.number.in_(chosen), table.c.revoked_ms.is_(None)
    await connection.execute(sa.update(table).where(*where).values(revoked_ms=at_ms, reason=reason))


async def take_back(connection: AsyncConnection, about: str, part: str, at_ms: int, reason: str) -> None:
    """All of this part that stand."""
    table = tables.credential
    where = table.c.about == about, table.c.part == part, table.c.revoked_ms.is_(None)
    await connection.execute(sa.update(table).where(*where).values(revoked_ms=at_ms, reason=reason))


async def by_id(connection: AsyncConnection, identifier: str) -> Issued | None:
    table = tables.credential
    row = (await connection.execute(sa.select(table).where(table.c.id == identifier))).mappings().first()
    return None if row is None else Issued(**row)


async def numbered(connection: AsyncConnection) -> int:
    """The highest number that was given away."""
    return int(await connection.scalar(sa.select(sa.func.max(tables.credential.c.number))) or 0)


async def revoked(connection: AsyncConnection, first: int, last: int) -> Sequence[int]:
    """Numbers from `first` to `last` that were taken back."""
    table = tables.credential
    where = table.c.revoked_ms.is_not(None), table.c.number.between(first, last)
    return list(await connection.scalars(sa.select(table.c.number).where(*where)))
