"""The write side of the book: messages in, one transaction, what is held out.

In:  `Arrival`s, any number, in any order, again and again.
Out: `Taken`: what the book now holds of every store they touched, committed on disk when this returns.
Refuses nothing silently: what cannot be believed is in quarantine when this returns. On `StoreError` nothing of the
batch was kept and nothing may be acknowledged; offer it again.
Reading (signatures, decoding) and keeping (the transaction) are two steps, so that one batch is read while the one
before it is being committed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import batch, chains, quarantine, rows, tables
from packbook.adapters.store.chains import CHUNK_RECORDS, Chain
from packbook.adapters.store.database import Database, RowRefused
from packbook.adapters.store.months import Months
from packbook.adapters.store.projections import Projector
from packbook.adapters.store.quarantine import Act
from packbook.core import intake
from packbook.core.history import Provenance
from packbook.core.intake import Arrival, Entry, Keys, Reading, Reason, Unready
from packbook.ports.taking import Taken

ReadAll: TypeAlias = Callable[[Sequence[Arrival], Keys], Awaitable[list[Reading]]]

NOTHING_KEPT: Final = Taken((), 0, 0, 0, {Reason.REFUSED_BY_STORE.value: 1})


async def read_beside(arrivals: Sequence[Arrival], keys: Keys) -> list[Reading]:
    """In a thread: checking signatures leaves the interpreter to the event loop."""
    return await asyncio.to_thread(intake.read_all, arrivals, keys)


class Ledger:
    """`enrolled_only`: take records of enrolled boxes alone. A revoked box is refused in any case."""

    def __init__(self, database: Database, *, enrolled_only: bool = False, read_all: ReadAll = read_beside) -> None:
        self._database = database
        self._enrolled_only = enrolled_only
        self._read_all = read_all
        self._months = Months(database)

    async def take(self, arrivals: Sequence[Arrival], *, vouched: bool = False) -> Taken:
        """Read and keep. Raises StoreError: then nothing of it was kept.

        `vouched`: an operator says that these boxes may speak, this once.
        """
        return await self.keep(await self.read(arrivals), vouched=vouched)

    async def read(self, arrivals: Sequence[Arrival]) -> Sequence[Reading]:
        """What these are, as far as the keys on file now tell. Nothing is kept. Raises StoreError."""
        async with self._database.transaction() as connection:
            keys = await _keys(connection, intake.boxes_named(arrivals))
        return await self._read_all(arrivals, keys)

    async def keep(self, readings: Sequence[Reading], *, vouched: bool = False) -> Taken:
        """Commit what can be believed, quarantine the rest. Raises StoreError: then nothing of it was kept."""
        readings = await self._read_again(readings)
        await self._months.make_room(reading.received_ms for reading in readings if isinstance(reading, Entry))
        return await self._commit(readings, vouched=vouched)

    async def _read_again(self, readings: Sequence[Reading]) -> Sequence[Reading]:
        """Whose key was not on file when they were read: by now the batch before may have brought it."""
        unready = [reading.arrival for reading in readings if isinstance(reading, Unready)]
        if not unready:
            return readings
        again = iter(await self.read(unready))
        return [next(again) if isinstance(reading, Unready) else reading for reading in readings]

    async def _commit(self, readings: Sequence[Reading], *, vouched: bool) -> Taken:
        """One transaction. A row that the database refuses is found by halving and quarantined: it blocks nobody."""
        try:
            async with self._database.transaction() as connection:
                barred = {} if vouched else await batch.shut_out(connection, readings, self._enrolled_only)
                return await batch.write(connection, readings, barred)
        except RowRefused as problem:
            if len(readings) > 1:
                half = len(readings) // 2
                return _both(
                    await self._commit(readings[:half], vouched=vouched),
                    await self._commit(readings[half:], vouched=vouched),
                )
            if isinstance(readings[0], Entry):
                refused = intake.refused(readings[0], Reason.REFUSED_BY_STORE, str(problem))
                return await self._commit([refused], vouched=vouched)
            return NOTHING_KEPT

    async def settle(self, act: Act, *, trust: bool) -> int | None:
        """End the dispute of a store. `trust`: what was held out enters the history; else it stays out for good.

        Gives the number of records that it was about; None when this store is not disputed.
        """
        assert act.box is not None
        assert act.store is not None
        key = act.box, act.store
        async with self._database.transaction() as connection:
            chain = (await chains.of_stores(connection, [key], lock=True)).get(key)
            if chain is None or chain.disputed_from is None:
                return None
            held_out = max(0, chain.upto - chain.disputed_from + 1)
            if trust:
                chain = await _let_in(connection, chain)
            await chains.keep(connection, [replace(chain, settled_ms=None if trust else act.at_ms)])
            await quarantine.note(connection, act)
            return held_out


def _both(one: Taken, other: Taken) -> Taken:
    return Taken(
        holdings=one.holdings + other.holdings,
        accepted=one.accepted + other.accepted,
        duplicates=one.duplicates + other.duplicates,
        unready=one.unready + other.unready,
        quarantined=dict(Counter(one.quarantined) + Counter(other.quarantined)),
    )


async def _keys(connection: AsyncConnection, boxes: Iterable[str]) -> dict[tuple[str, bytes], bytes]:
    table = tables.box_key
    query = sa.select(table.c.box, table.c.key_id, table.c.public_key).where(rows.among(connection, table.c.box, boxes))
    return {(box, key_id): public_key for box, key_id, public_key in await connection.execute(query)}


async def _let_in(connection: AsyncConnection, chain: Chain) -> Chain:
    """The chain without its dispute, and with all that was held out in its history."""
    assert chain.disputed_from is not None
    table = tables.seen
    before = Provenance(chain.box, chain.store, chain.disputed_from - 1)
    fresh = replace(chain, disputed_from=None, disputed_ms=None)
    if before.seq >= chain.upto:
        return fresh
    query = sa.select(table.c.digest).where(
        table.c.box == before.box, table.c.store == before.store, table.c.seq == before.seq
    )
    fresh = replace(fresh, upto=before.seq, head=await connection.scalar(query))
    projector = Projector(connection)
    async for entry in chains.contiguous(connection, fresh):
        if entry.place.seq > chain.upto:
            break
        fresh = projector.add(fresh, entry)
        if fresh.upto % CHUNK_RECORDS == 0:
            await projector.flush()
    await projector.flush()
    return fresh
