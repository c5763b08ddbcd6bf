"""Which vehicle a battery is in, and everything the book holds of one battery for its owner.

In:  a database, the vault of vehicle numbers.
Out: associations made, read, found, ended; all records of a battery.
Ending a relation takes away the vehicle: its number's key, its number, the operator's name for the car. The battery's
own history stays, because whoever owns the battery next has a right to it (docs/privacy.md).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.rows import upsert
from packbook.adapters.vin_vault import VinVault
from packbook.core.consent import Watcher, who_decides
from packbook.core.enrolment import BoxState
from packbook.ports.trouble import StoreError

ASSOCIATION_BYTES = 16


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One association. `number` is None when the relation was ended."""

    battery: str
    number: str | None
    since_ms: int
    ended_ms: int | None


@dataclass(frozen=True, slots=True)
class HeldRecord:
    box: str
    store: str
    seq: int
    received_ms: int
    sealed: bytes


async def associate(database: Database, vault: VinVault, battery: str, number: str, now_ms: int) -> None:
    """The battery is in this vehicle from now on; an earlier association ends. Raises StoreError, VaultError."""
    table = tables.vehicle
    association = secrets.token_hex(ASSOCIATION_BYTES)
    async with database.transaction() as connection:
        await must_be_known(connection, battery)
        await connection.execute(_open_ones(battery).values(ended_ms=now_ms))
        row = {
            "association": association,
            "battery": battery,
            "since_ms": now_ms,
            "number": vault.seal(association, battery, number),
            "number_index": vault.index(number),
        }
        await connection.execute(sa.insert(table), [row])


async def vehicles(database: Database, vault: VinVault, battery: str) -> list[Vehicle]:
    """Oldest first."""
    table = tables.vehicle
    async with database.transaction() as connection:
        await must_be_known(connection, battery)
        rows = (
            await connection.execute(
                sa.select(table).where(table.c.battery == battery).order_by(table.c.since_ms, table.c.association)
            )
        ).all()
    return [
        Vehicle(
            row.battery,
            None if row.number is None else vault.open(row.association, row.battery, row.number),
            row.since_ms,
            row.ended_ms,
        )
        for row in rows
    ]


async def batteries_in(database: Database, vault: VinVault, number: str) -> list[str]:
    """Batteries that are in the vehicle with this number now."""
    table = tables.vehicle
    async with database.transaction() as connection:
        found = await connection.scalars(
            sa.select(table.c.battery)
            .where(table.c.number_index == vault.index(number), table.c.ended_ms.is_(None))
            .order_by(table.c.battery)
        )
        return list(found)


async def end_relation(database: Database, vault: VinVault, battery: str, now_ms: int) -> int:
    """Throw away what ties the battery to a vehicle. Gives how many associations there were. Can be done again.

    Keys go first: what is cut off half way leaves a number that nobody can read.
    """
    table = tables.vehicle
    async with database.transaction() as connection:
        await must_be_known(connection, battery)
        associations = list(
            await connection.scalars(
                sa.select(table.c.association).where(table.c.battery == battery, table.c.number.is_not(None))
            )
        )
        for association in associations:
            vault.shred(association)
        await connection.execute(
            sa.update(table).where(table.c.battery == battery).values(number=None, number_index=None)
        )
        await connection.execute(_open_ones(battery).values(ended_ms=now_ms))
        await upsert(connection, tables.ended_relation, [{"battery": battery, "at_ms": now_ms}])
        await forget_names(connection, [battery])
    return len(associations)


async def forget_names(connection: AsyncConnection, batteries: Collection[str]) -> None:
    """The operator's names for cars whose relation was ended leave the histories; newer hellos may bring new ones."""
    ended, installed, ledger = tables.ended_relation, tables.installation, tables.seen
    told_before = (
        sa.select(ledger.c.seq)
        .where(
            ledger.c.box == installed.c.box,
            ledger.c.store == installed.c.store,
            ledger.c.seq == installed.c.hello_seq,
            ended.c.battery == installed.c.battery,
            ledger.c.received_ms <= ended.c.at_ms,
        )
        .exists()
    )
    change = sa.update(installed).where(told_before).values(vehicle=None)
    await connection.execute(change.where(installed.c.battery.in_(sorted(batteries))))


async def records_of(database: Database, battery: str) -> AsyncIterator[HeldRecord]:
    """Every record of the stores that ever watched this battery while they did, oldest first by chain."""
    installed, ledger = tables.installation, tables.ledger
    async with database.transaction() as connection:
        await must_be_known(connection, battery)
        rows = (
            await connection.execute(
                sa.select(installed.c.box, installed.c.store, installed.c.seq, installed.c.battery).order_by(
                    installed.c.box, installed.c.store, installed.c.seq
                )
            )
        ).all()
        for place, row in enumerate(rows):
            if row.battery != battery:
                continue
            after = rows[place + 1] if place + 1 < len(rows) else None
            query = sa.select(ledger).where(
                ledger.c.box == row.box, ledger.c.store == row.store, ledger.c.seq >= row.seq
            )
            if after is not None and (after.box, after.store) == (row.box, row.store):
                query = query.where(ledger.c.seq < after.seq)
            for held in await connection.execute(query.order_by(ledger.c.seq)):
                yield HeldRecord(held.box, held.store, held.seq, held.received_ms, held.sealed)


async def purposes_of(database: Database, battery: str) -> dict[str, tuple[str, ...] | None]:
    async with database.transaction() as connection:
        return await purposes_in(connection, battery)


async def purposes_in(connection: AsyncConnection, battery: str) -> dict[str, tuple[str, ...] | None]:
    """What was agreed to, by the stores whose word counts now; None where nobody decided.

    A store with two histories agrees to nothing: the owner's newest word may be among the records held out.
    """
    chain, ledger, box = tables.chain, tables.seen, tables.enrolled_box
    query = (
        sa.select(chain, ledger.c.received_ms, box.c.state)
        .join(ledger, (ledger.c.box == chain.c.box) & (ledger.c.store == chain.c.store) & (ledger.c.seq == chain.c.top))
        .outerjoin(box, box.c.box == chain.c.box)
        .where(chain.c.battery == battery)
    )
    rows = (await connection.execute(query)).all()
    return who_decides(
        [
            Watcher(row.box, row.store, row.received_ms, row.state in (None, BoxState.ACTIVE), _agreed(row))
            for row in rows
        ]
    )


def _agreed(store: sa.Row[Any]) -> tuple[str, ...] | None:
    if store.disputed_from is not None:
        return ()
    return None if store.purposes is None else tuple(store.purposes.split())


async def must_be_known(connection: AsyncConnection, battery: str) -> None:
    table = tables.battery
    if await connection.scalar(sa.select(table.c.battery).where(table.c.battery == battery)) is None:
        raise StoreError(f"battery {battery}: not known to this book")


def _open_ones(battery: str) -> sa.Update:
    table = tables.vehicle
    return sa.update(table).where(table.c.battery == battery, table.c.ended_ms.is_(None))
