"""Codes, enrolled boxes, certificates and the log of acts, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables, tenants
from packbook.adapters.store.rows import upsert
from packbook.core.enrolment import BoxState, Code, EnrolledBox, Issued


async def add_codes(connection: AsyncConnection, codes: Sequence[Code]) -> None:
    await connection.execute(sa.insert(tables.enrol_code), [asdict(code) for code in codes])


async def code_of(connection: AsyncConnection, digest: bytes) -> Code | None:
    """Held until the transaction ends: two boxes with one code come one after the other."""
    table = tables.enrol_code
    row = (await connection.execute(sa.select(table).where(table.c.digest == digest).with_for_update())).mappings()
    found = row.first()
    return None if found is None else Code(**found)


async def codes(connection: AsyncConnection) -> list[Code]:
    """Newest first."""
    rows = await connection.execute(sa.select(tables.enrol_code).order_by(tables.enrol_code.c.made_ms.desc()))
    return [Code(**row) for row in rows.mappings()]


async def use_code(connection: AsyncConnection, digest: bytes, box: str, now_ms: int) -> None:
    table = tables.enrol_code
    await connection.execute(sa.update(table).where(table.c.digest == digest).values(used_ms=now_ms, used_by=box))


async def drop_codes(connection: AsyncConnection, now_ms: int, fleet: str | None = None) -> int:
    """Unused codes, of one fleet or of all: nobody enrols with them any more. Gives how many still counted."""
    table = tables.enrol_code
    change = sa.update(table).where(table.c.used_by.is_(None), table.c.expires_ms > now_ms).values(expires_ms=now_ms)
    done = await connection.execute(change if fleet is None else change.where(table.c.fleet == fleet))
    return done.rowcount


async def box_of(connection: AsyncConnection, box: str) -> EnrolledBox | None:
    table = tables.enrolled_box
    rows = await connection.execute(sa.select(table).where(table.c.box == box).with_for_update())
    found = rows.mappings().first()
    return None if found is None else _box(found)


async def boxes(connection: AsyncConnection) -> list[EnrolledBox]:
    rows = await connection.execute(sa.select(tables.enrolled_box).order_by(tables.enrolled_box.c.enrolled_ms))
    return [_box(row) for row in rows.mappings()]


async def keep_box(connection: AsyncConnection, box: EnrolledBox) -> None:
    await upsert(connection, tables.enrolled_box, [asdict(box)])
    await tenants.settle(connection, [box.box])


async def known_key(connection: AsyncConnection, box: str) -> bytes | None:
    """The key that this box signed its records with."""
    table = tables.box_key
    query = sa.select(table.c.public_key).where(table.c.box == box).order_by(table.c.received_ms.desc()).limit(1)
    found: bytes | None = await connection.scalar(query)
    return found


async def keep_certificate(connection: AsyncConnection, issued: Issued) -> None:
    await connection.execute(sa.insert(tables.certificate), [asdict(issued)])


async def certificate_of(connection: AsyncConnection, serial: str) -> Issued | None:
    table = tables.certificate
    found = (await connection.execute(sa.select(table).where(table.c.serial == serial))).mappings().first()
    return None if found is None else Issued(**found)


async def newest_certificate(connection: AsyncConnection, box: str) -> Issued | None:
    table = tables.certificate
    query = sa.select(table).where(table.c.box == box).order_by(table.c.issued_ms.desc()).limit(1)
    found = (await connection.execute(query)).mappings().first()
    return None if found is None else Issued(**found)


async def revoke_certificates(connection: AsyncConnection, box: str, now_ms: int) -> int:
    """Every certificate of this box that still counts. Returns how many."""
    table = tables.certificate
    done = await connection.execute(
        sa.update(table)
        .where(table.c.box == box, table.c.revoked_ms.is_(None), table.c.until_ms > now_ms)
        .values(revoked_ms=now_ms)
    )
    return done.rowcount


async def revoked(connection: AsyncConnection, now_ms: int) -> list[Issued]:
    """Those that a broker would otherwise still take: what has run out needs no revocation."""
    table = tables.certificate
    query = sa.select(table).where(table.c.revoked_ms.is_not(None), table.c.until_ms > now_ms).order_by(table.c.serial)
    return [Issued(**row) for row in (await connection.execute(query)).mappings()]


async def note(
    connection: AsyncConnection,
    act: str,
    box: str | None,
    detail: str,
    now_ms: int,
    *,
    who: str | None = None,
    fleet: str | None = None,
) -> None:
    """`who` None: the box itself."""
    row = {"at_ms": now_ms, "act": act, "box": box, "detail": detail, "who": who, "fleet": fleet}
    await connection.execute(sa.insert(tables.enrol_act), [row])


async def acts(connection: AsyncConnection, box: str) -> list[dict[str, Any]]:
    """What was done to this box, oldest first."""
    table = tables.enrol_act
    rows = await connection.execute(sa.select(table).where(table.c.box == box).order_by(table.c.id))
    return [dict(row) for row in rows.mappings()]


def _box(row: sa.RowMapping) -> EnrolledBox:
    return EnrolledBox(**{**row, "state": BoxState(row["state"])})
