"""Whose a battery and a box are, and what lies within a `Reach`, as conditions that SQL filters by.

A box belongs to its fleet's tenant, a battery to that of the box which watches it now: kept in `battery_tenant` with
every installation and every change of fleet, so that no list needs to work it out. A battery names itself, so another
tenant's box that claims its name does not take it over: that needs an operator's word. What nobody put anywhere is the
first tenant's.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.adapters.store.account_tables import fleet
from packbook.core.accounts import FIRST_TENANT, Reach


def battery_within(battery: sa.ColumnElement[str], reach: Reach) -> sa.ColumnElement[bool]:
    table = tables.battery_tenant
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if reach.tenant is not None:
        conditions.append(sa.exists().where(table.c.battery == battery, table.c.tenant == reach.tenant))
    if reach.batteries is not None:
        conditions.append(battery.in_(sorted(reach.batteries)))
    return sa.and_(*conditions)


def box_within(box: sa.ColumnElement[str], reach: Reach) -> sa.ColumnElement[bool]:
    """Of the tenant; where the reach names batteries, only boxes that watch one of these now."""
    table = tables.battery_tenant
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if reach.tenant is not None:
        conditions.append(tenant_of(box) == reach.tenant)
    if reach.batteries is not None:
        conditions.append(box.in_(sa.select(table.c.box).where(table.c.battery.in_(sorted(reach.batteries)))))
    return sa.and_(*conditions)


def fleet_within(name: sa.ColumnElement[str], reach: Reach) -> sa.ColumnElement[bool]:
    if reach.tenant is None:
        return sa.true()
    found = sa.select(fleet.c.tenant).where(fleet.c.fleet == name).scalar_subquery()
    return sa.func.coalesce(found, FIRST_TENANT) == reach.tenant


async def settle(connection: AsyncConnection, boxes: Collection[str]) -> None:
    """Say anew whose the batteries are that these boxes ever watched: their tenant's as long as he has a box at it."""
    table, home = tables.installation, tables.battery_tenant
    his = sa.case((home.c.tenant.is_(None), 1), (tenant_of(table.c.box) == home.c.tenant, 1), else_=0)
    newest = (table.c.from_ms.desc().nulls_last(), table.c.box.desc(), table.c.store.desc(), table.c.seq.desc())
    watched = sa.select(table.c.battery).where(table.c.box.in_(sorted(boxes)))
    place = sa.func.row_number().over(partition_by=table.c.battery, order_by=(his.desc(), *newest)).label("place")
    known = table.outerjoin(home, home.c.battery == table.c.battery)
    query = sa.select(table.c.battery, table.c.box, place).select_from(known).where(table.c.battery.in_(watched))
    placed = query.subquery()
    whose = sa.select(placed.c.battery, tenant_of(placed.c.box).label("tenant"), placed.c.box)
    rows = await connection.execute(whose.where(placed.c.place == 1).order_by(placed.c.battery))
    found = [dict(row) for row in rows.mappings()]
    if found:
        insert = (sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert)(home)
        changes = {"tenant": insert.excluded.tenant, "box": insert.excluded.box}
        await connection.execute(insert.on_conflict_do_update(index_elements=["battery"], set_=changes), found)


async def settle_fleet(connection: AsyncConnection, name: str) -> None:
    """After a fleet changed hands."""
    table = tables.enrolled_box
    await settle(connection, list(await connection.scalars(sa.select(table.c.box).where(table.c.fleet == name))))


async def give(connection: AsyncConnection, battery: str, tenant: str) -> bool:
    """On an operator's word. False where the tenant has no box at it: then the next record would take it away again."""
    table, home = tables.installation, tables.battery_tenant
    query = sa.select(table.c.box).where(table.c.battery == battery, tenant_of(table.c.box) == tenant)
    boxes = list(await connection.scalars(query))
    if not boxes:
        return False
    await connection.execute(sa.update(home).where(home.c.battery == battery).values(tenant=tenant))
    await settle(connection, boxes)
    return True


async def of_battery(connection: AsyncConnection, battery: str) -> str:
    table = tables.battery_tenant
    found: str | None = await connection.scalar(sa.select(table.c.tenant).where(table.c.battery == battery))
    return found or FIRST_TENANT


def tenant_of(box: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    known = tables.enrolled_box
    found = (
        sa.select(fleet.c.tenant)
        .join(known, known.c.fleet == fleet.c.fleet)
        .where(known.c.box == box)
        .scalar_subquery()
    )
    return sa.func.coalesce(found, FIRST_TENANT)
