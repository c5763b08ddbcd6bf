"""What people and firms said of batteries and of pack models: rows are added, never changed or taken away."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from packbook.adapters.store import access, tables
from packbook.adapters.store.database import Database
from packbook.core.declared import Declared, Scope


async def add(
    database: Database, scope: Scope, subject: str, said: Sequence[Declared], names: Collection[str] | None = None
) -> None:
    """All or none. `names`: the battery is found by these keys from now on; None: as before. Raises StoreError."""
    rows = [
        {
            "entered_ms": declared.entered_ms,
            "scope": scope.value,
            "subject": subject,
            "field": declared.name,
            "value": declared.value,
            "by": declared.by,
            "on": declared.on,
            "method": declared.method,
            "document": declared.document,
            "sigma": declared.sigma,
            "conditions": dict(declared.conditions),
        }
        for declared in said
    ]
    async with database.transaction() as connection:
        await connection.execute(sa.insert(tables.declared), rows)
        if names is not None:
            await access.keep_names(connection, subject, names, said[0].entered_ms)


async def said_of(database: Database, battery: str, pack: str | None) -> list[Declared]:
    """Everything ever said of a battery and of its pack model, in the order it was entered."""
    table = tables.declared
    asked = sa.and_(table.c.scope == Scope.BATTERY.value, table.c.subject == battery)
    if pack is not None:
        asked = sa.or_(asked, sa.and_(table.c.scope == Scope.MODEL.value, table.c.subject == pack))
    async with database.transaction() as connection:
        rows = (await connection.execute(sa.select(table).where(asked).order_by(table.c.id))).all()
    return [
        Declared(
            name=row.field,
            value=row.value,
            by=row.by,
            entered_ms=row.entered_ms,
            on=row.on,
            method=row.method,
            document=row.document,
            sigma=row.sigma,
            scope=Scope(row.scope),
            conditions=row.conditions,
        )
        for row in rows
    ]
