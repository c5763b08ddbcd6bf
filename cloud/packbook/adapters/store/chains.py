"""How far the chain of every store is held: rows of `chain`, and what of it lies in the ledger.

In:  a connection, and (box, store) pairs.
Out: `Chain`s, digests and entries, as the tables hold them. Who means to change a chain locks it first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import rows, tables
from packbook.core import intake
from packbook.core.history import Provenance
from packbook.core.intake import Entry, Tip

CHUNK_RECORDS: Final = 500  # ledger rows in memory at a time
LOOKUP_MAX: Final = 2000  # values asked for in one statement: SQLite takes 32,766 parameters

StoreKey: TypeAlias = tuple[str, str]  # (box, store)


@dataclass(frozen=True, slots=True)
class Chain:
    """How far one store's chain is known, and whose records these are."""

    box: str
    store: str
    upto: int = 0
    top: int = 0
    records: int = 0
    battery: str | None = None
    installed: int | None = None
    purposes: str | None = None
    head: bytes | None = None
    disputed_from: int | None = None
    disputed_ms: int | None = None
    settled_ms: int | None = None

    @property
    def tip(self) -> Tip:
        return Tip(self.upto, self.head, self.disputed_from is not None)

    @property
    def key(self) -> StoreKey:
        return self.box, self.store

    def grown(self, head: bytes) -> Chain:
        """With the next record in it. Written out: `replace` takes five times as long, and this is asked for each."""
        return Chain(
            self.box,
            self.store,
            self.upto + 1,
            self.top,
            self.records,
            self.battery,
            self.installed,
            self.purposes,
            head,
            self.disputed_from,
            self.disputed_ms,
            self.settled_ms,
        )


_COLUMNS: Final = tuple(field.name for field in fields(Chain))
_values: Final = attrgetter(*_COLUMNS)


async def locked(connection: AsyncConnection, keys: Iterable[StoreKey]) -> dict[StoreKey, Chain]:
    """These chains, begun where they were not, ours until the transaction ends. In one order, so that none waits
    for another in a ring."""
    touched = sorted(set(keys))
    if not touched:
        return {}
    found = await of_stores(connection, touched, lock=True)
    missing = [key for key in touched if key not in found]
    if missing:
        begun = [_values(Chain(*key)) for key in missing]
        await rows.insert(connection, tables.chain, _COLUMNS, begun, "ON CONFLICT DO NOTHING")
        found |= await of_stores(connection, missing, lock=True)
    return found


async def of_stores(
    connection: AsyncConnection, keys: Collection[StoreKey], *, lock: bool = False
) -> dict[StoreKey, Chain]:
    if not keys:
        return {}
    table = tables.chain
    named = rows.among_pairs(connection, (table.c.box, table.c.store), keys)
    return {chain.key: chain for chain in await _read(connection, named, lock=lock)}


async def of_boxes(connection: AsyncConnection, boxes: Collection[str], *, lock: bool = False) -> list[Chain]:
    return await _read(connection, rows.among(connection, tables.chain.c.box, boxes), lock=lock)


async def _read(connection: AsyncConnection, which: sa.ColumnElement[bool], *, lock: bool) -> list[Chain]:
    table = tables.chain
    query = sa.select(*(table.c[name] for name in _COLUMNS)).where(which).order_by(table.c.box, table.c.store)
    return [Chain(*row) for row in await connection.execute(query.with_for_update() if lock else query)]


async def keep(connection: AsyncConnection, chains: Iterable[Chain]) -> None:
    then = rows.replacing(tables.chain, _COLUMNS)
    await rows.insert(connection, tables.chain, _COLUMNS, sorted(map(_values, chains), key=_place), then)


def _place(values: rows.Values) -> tuple[str, str]:
    return str(values[0]), str(values[1])


async def digests(connection: AsyncConnection, places: Iterable[Provenance]) -> dict[Provenance, bytes]:
    """Of the records that stand in these places."""
    table, found = tables.seen, {}
    asked = sorted((at.box, at.store, at.seq) for at in places)
    for begin in range(0, len(asked), LOOKUP_MAX):
        query = sa.select(table.c.box, table.c.store, table.c.seq, table.c.digest).where(
            sa.tuple_(table.c.box, table.c.store, table.c.seq).in_(asked[begin : begin + LOOKUP_MAX])
        )
        for box, store, seq, digest in await connection.execute(query):
            found[Provenance(box, store, seq)] = digest
    return found


async def contiguous(connection: AsyncConnection, chain: Chain) -> AsyncIterator[Entry]:
    """The ledger's records right after `chain.upto`, up to the first hole."""
    table = tables.ledger
    upto = chain.upto
    while True:
        query = (
            sa.select(table.c.seq, table.c.sealed, table.c.received_ms)
            .where(table.c.box == chain.box, table.c.store == chain.store, table.c.seq > upto)
            .order_by(table.c.seq)
            .limit(CHUNK_RECORDS)
        )
        found = (await connection.execute(query)).all()
        for row in found:
            if row.seq != upto + 1:
                return
            upto = row.seq
            yield intake.reread(row.sealed, row.received_ms)
        if len(found) < CHUNK_RECORDS:
            return
