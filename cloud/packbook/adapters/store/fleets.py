"""Fleets in the store: which batteries make a family, what was learned from them version by version, whose a box is."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from packbook.adapters.store import tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.rows import upsert
from packbook.core.fleet import FleetModel, model_of, numbers_of
from packbook.core.forecast import READINGS_MIN
from packbook.core.prospect import UPDATE_EVERY_MS

HISTORY_MIN_MS: Final = (READINGS_MIN - 1) * UPDATE_EVERY_MS  # a shorter one cannot teach and is not fetched


async def families(database: Database) -> dict[str, list[str]]:
    """Batteries with a history long enough to teach, by the name of their pack. Names and batteries in order."""
    point, installation = tables.soh_point, tables.installation
    long_enough = (
        sa.select(point.c.battery)
        .where(point.c.at_ms.is_not(None), point.c.soh_pct.is_not(None))
        .group_by(point.c.battery)
        .having(sa.func.max(point.c.at_ms) - sa.func.min(point.c.at_ms) >= HISTORY_MIN_MS)
        .subquery()
    )
    query = (
        sa.select(installation.c.pack, installation.c.battery)
        .distinct()
        .join(long_enough, long_enough.c.battery == installation.c.battery)
        .where(installation.c.pack.is_not(None))
        .order_by(installation.c.pack, installation.c.battery)
    )
    found: dict[str, list[str]] = {}
    async with database.transaction() as connection:
        for pack, battery in await connection.execute(query):
            found.setdefault(pack, []).append(battery)
    return found


async def keep(database: Database, learned: FleetModel, now_ms: int) -> None:
    """A version that came out before is only dated anew."""
    row = {
        "family": learned.family,
        "version": learned.model.version,
        "learned_ms": now_ms,
        "newest_ms": learned.newest_ms,
        "model": numbers_of(learned.model),
    }
    async with database.transaction() as connection:
        await upsert(connection, tables.fleet_model, [row], keep=("model",))


async def newest(database: Database, family: str) -> FleetModel | None:
    table = tables.fleet_model
    query = (
        sa.select(table)
        .where(table.c.family == family)
        .order_by(table.c.learned_ms.desc(), table.c.version.desc())
        .limit(1)
    )
    async with database.transaction() as connection:
        row = (await connection.execute(query)).mappings().first()
    return None if row is None else FleetModel(row["family"], row["newest_ms"], model_of(row["model"]))


async def of_boxes(database: Database) -> dict[str, str]:
    """The fleet of each enrolled box."""
    table = tables.enrolled_box
    async with database.transaction() as connection:
        rows = await connection.execute(sa.select(table.c.box, table.c.fleet))
    return {row.box: row.fleet for row in rows}
