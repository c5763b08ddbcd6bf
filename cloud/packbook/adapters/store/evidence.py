"""What the store holds for strangers: whole chains of sealed records, certificates, and the checkpoints signed so far.

In:  a battery's name, or checkpoints to keep.
Out: plain values; nothing is signed or opened here.
Chains are read a part at a time, each in a transaction of its own: the ledger only grows, and an export of years
does not hold the collector up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import sqlalchemy as sa

from packbook.adapters.store import tables, tenants
from packbook.adapters.store.database import Database
from packbook.adapters.store.rows import insert_new
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.ports.trust import SignedCheckpoint

CHUNK_RECORDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Head:
    """How far a store's chain is held without a hole and without a dispute."""

    box: str
    store: str
    upto: int
    digest: bytes  # of record `upto`
    battery: str
    public_key: bytes


class SqlEvidence:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def heads(self, battery: str | None = None) -> list[Head]:
        """Of every store, or of those that ever watched this battery."""
        chain, ledger, key = tables.chain, tables.seen, tables.box_key
        end = sa.func.coalesce(chain.c.disputed_from - 1, chain.c.upto)
        upto = sa.case((end < chain.c.upto, end), else_=chain.c.upto)
        query = (
            sa.select(
                chain.c.box, chain.c.store, upto.label("upto"), ledger.c.digest, chain.c.battery, key.c.public_key
            )
            .join(ledger, (ledger.c.box == chain.c.box) & (ledger.c.store == chain.c.store) & (ledger.c.seq == upto))
            .join(key, key.c.box == chain.c.box)
            .where(chain.c.battery.is_not(None))
            .order_by(chain.c.box, chain.c.store)
        )
        if battery is not None:
            there = tables.installation
            watched = sa.select(there.c.box, there.c.store).where(there.c.battery == battery)
            query = query.where(sa.tuple_(chain.c.box, chain.c.store).in_(watched))
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).all()
        return [Head(row.box, row.store, row.upto, row.digest, row.battery, row.public_key) for row in rows]

    async def records(self, head: Head) -> list[bytes]:
        """Sealed records 1..upto of a store."""
        table = tables.ledger
        found: list[bytes] = []
        while len(found) < head.upto:
            query = (
                sa.select(table.c.sealed)
                .where(
                    table.c.box == head.box,
                    table.c.store == head.store,
                    table.c.seq > len(found),
                    table.c.seq <= head.upto,
                )
                .order_by(table.c.seq)
                .limit(CHUNK_RECORDS)
            )
            async with self._database.transaction() as connection:
                part = (await connection.scalars(query)).all()
            if not part:  # a hole: the ledger was tampered with, and the stranger will see it
                break
            found += part
        return found

    async def certificates(self, boxes: Iterable[str]) -> list[bytes]:
        """The newest of each box, DER."""
        table = tables.certificate
        query = (
            sa.select(table.c.box, table.c.der).where(table.c.box.in_(sorted(set(boxes)))).order_by(table.c.issued_ms)
        )
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).all()
        return list({row.box: row.der for row in rows}.values())

    async def checkpoints(
        self, battery: str | None = None, reach: Reach = EVERYWHERE, limit: int | None = None, offset: int = 0
    ) -> list[SignedCheckpoint]:
        """The newest of every store, of one battery or all within the reach, by box and store."""
        table = tables.checkpoint
        newest = sa.select(table.c.box, table.c.store, sa.func.max(table.c.upto)).group_by(table.c.box, table.c.store)
        if battery is not None:
            newest = newest.where(table.c.battery == battery)
        query = sa.select(table).where(sa.tuple_(table.c.box, table.c.store, table.c.upto).in_(newest))
        query = query.where(tenants.battery_within(table.c.battery, reach)).order_by(table.c.box, table.c.store)
        if limit is not None:
            query = query.limit(limit).offset(offset)
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [SignedCheckpoint(**row) for row in rows]

    async def keep(self, points: Sequence[SignedCheckpoint]) -> None:
        """One that is there stays: what was signed once is not signed over."""
        async with self._database.transaction() as connection:
            await insert_new(connection, tables.checkpoint, [asdict(point) for point in points])
