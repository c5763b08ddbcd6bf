"""Looks at the whole book for what changed: three narrow queries. Implements `ports.Watch`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import sqlalchemy as sa

from packbook.adapters.store import tables
from packbook.adapters.store.database import Database
from packbook.core.accounts import FIRST_TENANT
from packbook.core.live import Look, Sight, Topic


class SqlWatch:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> Look:
        battery, chain, box = tables.battery, tables.chain, tables.box
        held = sa.select(
            chain.c.box, chain.c.store, chain.c.battery, chain.c.disputed_from, chain.c.settled_ms, chain.c.purposes
        ).where(chain.c.battery.is_not(None))
        async with self._database.transaction() as connection:
            heads = (await connection.execute(sa.select(battery.c.battery, battery.c.records))).all()
            chains = (await connection.execute(held.order_by(chain.c.box, chain.c.store))).all()
            boxes = (await connection.execute(sa.select(box.c.box, box.c.last_seen_ms, box.c.online))).all()
        watched = _sets((row.box, row.battery) for row in chains)
        standing: defaultdict[str, list[object]] = defaultdict(list)
        for row in chains:
            standing[row.battery].append((row.store, row.disputed_from, row.settled_ms, row.purposes))
        return {
            Topic.BATTERIES: {
                row.battery: Sight((row.records, *standing[row.battery]), FIRST_TENANT, frozenset((row.battery,)))
                for row in heads
            },
            Topic.BOXES: {
                row.box: Sight((row.last_seen_ms, row.online), FIRST_TENANT, watched.get(row.box, frozenset()))
                for row in boxes
            },
        }


def _sets(pairs: Iterable[tuple[str, str]]) -> dict[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for key, value in pairs:
        found[key].add(value)
    return {key: frozenset(values) for key, values in found.items()}
