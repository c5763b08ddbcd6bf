"""Look the whole ledger over: every signature, every link of every chain, every hole, everything in quarantine.

In:  a database with this version's schema; it is only read.
Out: `Audit`, plain values for people and programs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.quarantine import Dispute, TwoLives, disputes, two_lives
from packbook.core.history import Provenance
from packbook.core.intake import ChainLink, Fate, trouble_in

PROGRESS_RECORDS: Final = 1000
NAMED_TROUBLES_MAX: Final = 20  # the count tells the rest
NAMED_HOLES_MAX: Final = 20


@dataclass(slots=True)
class StoreAudit:
    """One (box, store): what is held of it and what is wrong with it."""

    box: str
    store: str
    battery: str | None
    records: int = 0
    upto: int = 0  # without a hole
    holes: list[tuple[int, int]] = field(default_factory=list)  # missing, both ends included
    broken: int = 0


@dataclass(slots=True)
class Audit:
    stores: list[StoreAudit] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)  # the first ones, named
    quarantine: dict[str, int] = field(default_factory=dict)  # reason -> distinct messages
    unready: dict[str, int] = field(default_factory=dict)  # box -> records offered without a key on file
    disputes: list[Dispute] = field(default_factory=list)
    two_lives: list[TwoLives] = field(default_factory=list)
    file_damage: str | None = None  # what SQLite says of its file

    @property
    def records(self) -> int:
        return sum(store.records for store in self.stores)

    @property
    def broken(self) -> int:
        return sum(store.broken for store in self.stores)


async def audit(database: Database, progress: Callable[[int, int], None]) -> Audit:
    """Read everything once. Raises StoreError when the database cannot be read."""
    found = Audit()
    async with database.transaction() as connection:
        if database.is_sqlite:
            said = await connection.scalar(sa.text("PRAGMA quick_check(1)"))
            found.file_damage = None if said == "ok" else str(said)
        await _read_chains(connection, found, progress)
        table = tables.quarantine
        counted = await connection.execute(
            sa.select(table.c.reason, sa.func.count().label("messages"))
            .where(table.c.state == Fate.OPEN.value)
            .group_by(table.c.reason)
            .order_by(table.c.reason)
        )
        found.quarantine = {row.reason: row.messages for row in counted}
        found.disputes = await disputes(connection)
        found.two_lives = await two_lives(connection)
        box = tables.box
        waiting = await connection.execute(
            sa.select(box.c.box, box.c.unready).where(box.c.unready > 0).order_by(box.c.box)
        )
        found.unready = {row.box: row.unready for row in waiting}
    return found


async def _read_chains(connection: AsyncConnection, found: Audit, progress: Callable[[int, int], None]) -> None:
    chain, ledger, key = tables.chain, tables.ledger, tables.box_key
    batteries = {(r.box, r.store): r.battery for r in await connection.execute(sa.select(chain))}
    keys = {(r.box, r.key_id): r.public_key for r in await connection.execute(sa.select(key))}
    total = await connection.scalar(sa.select(sa.func.count()).select_from(ledger)) or 0
    query = sa.select(ledger.c.box, ledger.c.store, ledger.c.seq, ledger.c.digest, ledger.c.sealed)
    rows = await connection.stream(query.order_by(ledger.c.box, ledger.c.store, ledger.c.seq))
    store: StoreAudit | None = None
    last_seq, last_digest = 0, b""
    done = 0
    async for row in rows:
        if store is None or (store.box, store.store) != (row.box, row.store):
            store = StoreAudit(row.box, row.store, batteries.get((row.box, row.store)))
            found.stores.append(store)
            last_seq = 0
        joins = row.seq == last_seq + 1
        if joins and not store.holes:
            store.upto = row.seq
        if not joins and len(store.holes) < NAMED_HOLES_MAX:
            store.holes.append((last_seq + 1, row.seq - 1))
        place = Provenance(row.box, row.store, row.seq)
        proven = last_digest if joins and not store.holes else None  # beyond a hole the chain is not followed yet
        trouble = trouble_in(ChainLink(place, row.digest, row.sealed, proven), keys)
        if trouble is not None:
            store.broken += 1
            found.troubles.extend([trouble] if len(found.troubles) < NAMED_TROUBLES_MAX else [])
        store.records += 1
        last_seq, last_digest = row.seq, row.digest
        done += 1
        if done % PROGRESS_RECORDS == 0:
            progress(done, total)
    progress(total, total)
