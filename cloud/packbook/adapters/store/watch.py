"""Looks at the whole book for what changed: four narrow queries. Implements `ports.Watch`."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import sqlalchemy as sa

from packbook.adapters.store import tables, tenants
from packbook.adapters.store.database import Database
from packbook.core.accounts import FIRST_TENANT
from packbook.core.alerts import State
from packbook.core.live import Look, Sight, Topic


class SqlWatch:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> Look:
        async with self._database.transaction() as connection:
            heads = (await connection.execute(_HEADS)).all()
            chains = (await connection.execute(_STANDING)).all()
            boxes = (await connection.execute(_BOXES)).all()
            alerts = (await connection.execute(_ALERTS)).all()
        watched: defaultdict[str | None, set[str]] = defaultdict(set)
        for row in heads:
            watched[row.box].add(row.battery)
        standing: defaultdict[str, list[object]] = defaultdict(list)
        for row in chains:
            standing[row.battery].append(tuple(row))
        return {
            Topic.BATTERIES: {
                row.battery: Sight(
                    (row.records, *standing.get(row.battery, ())), row.tenant or FIRST_TENANT, frozenset((row.battery,))
                )
                for row in heads
            },
            Topic.BOXES: {
                row.box: Sight((row.last_seen_ms, row.online), row.tenant, frozenset(watched.get(row.box, ())))
                for row in boxes
            },
            Topic.ALERTS: {
                str(row.id): Sight(
                    (row.state, row.severity),
                    row.tenant,
                    frozenset(() if row.battery is None else (row.battery,)),
                )
                for row in alerts
            },
        }


_home = tables.battery_tenant
_HEADS: Final = sa.select(tables.battery.c.battery, tables.battery.c.records, _home.c.tenant, _home.c.box).outerjoin(
    _home, _home.c.battery == tables.battery.c.battery
)
_STANDING: Final = (  # what changes of a history beside its records
    sa.select(*(tables.chain.c[name] for name in ("battery", "store", "disputed_from", "settled_ms", "purposes")))
    .where(tables.chain.c.battery.is_not(None))
    .order_by(tables.chain.c.box, tables.chain.c.store)
)
_BOXES: Final = sa.select(
    tables.box.c.box,
    tables.box.c.last_seen_ms,
    tables.box.c.online,
    tenants.tenant_of(tables.box.c.box).label("tenant"),
)
_ALERTS: Final = sa.select(  # that stand: one that is cleared is gone, which is a change
    tables.alert.c.id,
    tables.alert.c.state,
    tables.alert.c.severity,
    tables.alert.c.battery,
    tenants.tenant_of(tables.alert.c.box).label("tenant"),
).where(tables.alert.c.state != State.CLEARED.value)
