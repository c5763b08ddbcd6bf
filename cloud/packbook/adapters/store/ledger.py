"""The write side of the book: messages in, one transaction, what is held out.

In:  `Arrival`s, any number, in any order, again and again.
Out: `Taken`: what the book now holds of every store they touched, committed on disk when this returns.
Refuses nothing silently: what cannot be believed is in quarantine when this returns. On `StoreError` nothing of the
batch was kept and nothing may be acknowledged; offer it again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.adapters.store.database import Database, RowRefused
from packbook.adapters.store.projections import Chain, Projector, Row, insert_new, upsert
from packbook.adapters.store.relations import forget_names
from packbook.core import intake
from packbook.core.history import Provenance
from packbook.core.intake import (
    Accept,
    Arrival,
    Entry,
    Heartbeat,
    Link,
    Quarantine,
    Reading,
    Reason,
    Status,
    Unready,
)
from packbook.ports import Holding, Taken

BEYOND_MAX: Final = 4096  # records past a hole that one ack names; the rest is named when the hole is filled
CHUNK_RECORDS: Final = 500  # ledger rows in memory at a time
LOOKUP_MAX: Final = 2000  # places asked for in one statement: SQLite takes 32,766 parameters, three each

StoreKey: TypeAlias = tuple[str, str]  # (box, store)


NOTHING_KEPT: Final = Taken((), 0, 0, 0, {Reason.REFUSED_BY_STORE.value: 1})


class Ledger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, arrivals: Sequence[Arrival]) -> Taken:
        """Commit what can be believed, quarantine the rest. Raises StoreError: then nothing of it was kept."""
        async with self._database.transaction() as connection:
            keys = await _keys(connection, intake.boxes_named(arrivals))
        readings = await asyncio.to_thread(intake.read_all, arrivals, keys)  # signatures: 100 µs each, not on the loop
        return await self._commit(readings)

    async def _commit(self, readings: Sequence[Reading]) -> Taken:
        """One transaction. A row that the database refuses is found by halving and quarantined: it blocks nobody."""
        try:
            async with self._database.transaction() as connection:
                return await _Batch(connection, readings).write()
        except RowRefused as problem:
            if len(readings) > 1:
                half = len(readings) // 2
                return _both(await self._commit(readings[:half]), await self._commit(readings[half:]))
            if isinstance(readings[0], Entry):
                return await self._commit([_refused(readings[0], problem)])
            return NOTHING_KEPT

    async def rebuild(self, progress: Callable[[int, int], None]) -> int:
        """Make all projections anew from the ledger, in one transaction. Gives the number of records read."""
        async with self._database.transaction() as connection:
            if not self._database.is_sqlite:
                await connection.execute(sa.text("LOCK TABLE chain IN EXCLUSIVE MODE"))  # collectors wait for us
            for table in tables.PROJECTIONS:
                await connection.execute(sa.delete(table))
            total = await connection.scalar(sa.select(sa.func.count()).select_from(tables.ledger)) or 0
            done = 0
            for chain in await _all_chains(connection):
                fresh = replace(chain, upto=0, battery=None, installed=None, purposes=None)
                projector = Projector(connection)
                async for entry in _contiguous(connection, fresh):
                    fresh = projector.add(fresh, entry)
                    done += 1
                    if done % CHUNK_RECORDS == 0:
                        await projector.flush()
                        progress(done, total)
                await projector.flush()
                await upsert(connection, tables.chain, [asdict(fresh)])
            await forget_names(connection)
            progress(done, total)
            return done


@dataclass(slots=True)
class _Batch:
    """The work of one transaction, step by step in `write`."""

    connection: AsyncConnection
    readings: Sequence[Reading]
    chains: dict[StoreKey, Chain] = field(default_factory=dict)
    accepted: dict[Provenance, Entry] = field(default_factory=dict)
    duplicates: int = 0
    quarantined: list[Quarantine] = field(default_factory=list)

    async def write(self) -> Taken:
        entries = [reading for reading in self.readings if isinstance(reading, Entry)]
        self.quarantined = [reading for reading in self.readings if isinstance(reading, Quarantine)]
        await self._keep_keys(entries)
        await self._lock_chains(entries)
        await self._place(entries)
        await self._insert()
        await self._project()
        await _put_in_quarantine(self.connection, self.quarantined)
        await self._note_boxes(entries)
        return Taken(
            holdings=tuple([await _holding(self.connection, chain) for chain in self.chains.values()]),
            accepted=len(self.accepted),
            duplicates=self.duplicates,
            unready=sum(isinstance(reading, Unready) for reading in self.readings),
            quarantined=dict(Counter(refused.reason.value for refused in self.quarantined)),
        )

    async def _lock_chains(self, entries: Sequence[Entry]) -> None:
        """Collectors that share a database take one store's records one after another."""
        touched = sorted({(entry.place.box, entry.place.store) for entry in entries})
        await insert_new(self.connection, tables.chain, [asdict(Chain(box, store)) for box, store in touched])
        table = tables.chain
        for part in _parts(touched):
            query = sa.select(table).where(sa.tuple_(table.c.box, table.c.store).in_(part))
            found = await self.connection.execute(query.order_by(table.c.box, table.c.store).with_for_update())
            for row in found.mappings():
                self.chains[row["box"], row["store"]] = Chain(**row)

    async def _place(self, entries: Sequence[Entry]) -> None:
        wanted = {place for entry in entries for place in (entry.place, *intake.neighbours(entry.place))}
        ledgered = await _links(self.connection, wanted)
        for entry in entries:
            verdict = intake.place(entry, ledgered)
            match verdict:
                case Accept():
                    self.accepted[entry.place] = entry
                    ledgered[entry.place] = Link(entry.digest, entry.previous)
                    if entry.unreadable is not None:
                        arrival = Arrival(entry.topic, entry.sealed, entry.received_ms)
                        self.quarantined.append(Quarantine(arrival, Reason.UNREADABLE, entry.unreadable))
                case Quarantine():
                    self.quarantined.append(verdict)
                case _:
                    self.duplicates += 1

    async def _insert(self) -> None:
        rows = [
            {
                "box": entry.place.box,
                "store": entry.place.store,
                "seq": entry.place.seq,
                "boot": entry.moment.boot,
                "mono_ms": entry.moment.mono_ms,
                "wall_ms": entry.moment.wall_ms,
                "previous": entry.previous,
                "digest": entry.digest,
                "kind": entry.kind,
                "received_ms": entry.received_ms,
                "sealed": entry.sealed,
            }
            for entry in self.accepted.values()
        ]
        if rows:
            await self.connection.execute(sa.insert(tables.ledger), rows)

    async def _keep_keys(self, entries: Sequence[Entry]) -> None:
        """A key that makes the box's name is good, also when the hello that brought it does not fit the chain."""
        brought = [
            {**asdict(entry.new_key), "received_ms": entry.received_ms}
            for entry in entries
            if entry.new_key is not None
        ]
        await insert_new(self.connection, tables.box_key, brought)

    async def _project(self) -> None:
        """Records become history in chain order; what lies beyond a hole waits in the ledger until it is filled."""
        if not self.accepted:
            return
        fresh: dict[StoreKey, list[int]] = defaultdict(list)
        for at in self.accepted:
            fresh[at.box, at.store].append(at.seq)
        projector = Projector(self.connection)
        for key, seqs in fresh.items():
            self.chains[key] = await self._advance(self.chains[key], seqs, projector)
        await projector.flush()
        self.quarantined += [
            Quarantine(Arrival(entry.topic, entry.sealed, entry.received_ms), Reason.NO_CONSENT, why)
            for entry, why in projector.beyond
        ]
        await upsert(self.connection, tables.chain, [asdict(self.chains[key]) for key in sorted(fresh)])

    async def _advance(self, chain: Chain, seqs: Sequence[int], projector: Projector) -> Chain:
        """One chain with new records in it, projected as far as it has no hole."""
        chain = replace(chain, top=max(chain.top, *seqs), records=chain.records + len(seqs))
        while (entry := self.accepted.get(Provenance(chain.box, chain.store, chain.upto + 1))) is not None:
            chain = projector.add(chain, entry)
        if chain.upto < chain.top:
            async for entry in _contiguous(self.connection, chain):
                chain = projector.add(chain, entry)
                if chain.upto % CHUNK_RECORDS == 0:
                    await projector.flush()
        return chain

    async def _note_boxes(self, entries: Sequence[Entry]) -> None:
        """Presence, latest only. What went to quarantine does not make a box seen."""
        seen: dict[str, int] = {}
        for reading in self.readings:
            if isinstance(reading, (Entry, Heartbeat, Status, Unready)):
                box = reading.place.box if isinstance(reading, Entry) else reading.box
                seen[box] = max(seen.get(box, 0), reading.received_ms)
        unready = Counter(reading.box for reading in self.readings if isinstance(reading, Unready))
        rows = [{"box": b, "last_seen_ms": seen[b], "unready": unready[b]} for b in sorted(seen)]
        await upsert(self.connection, tables.box, rows, add=("unready",))
        settled = sorted({entry.place.box for entry in entries})
        if settled:
            await self.connection.execute(sa.update(tables.box).where(tables.box.c.box.in_(settled)).values(unready=0))
        statuses: dict[str, Row] = {}
        healths: dict[str, Row] = {}
        for reading in self.readings:
            if isinstance(reading, Status):
                statuses[reading.box] = {"online": reading.online, "status": _printable(reading.reason)}
            elif isinstance(reading, Heartbeat):
                healths[reading.box] = {"health": dict(reading.health)}
        for changes in (statuses, healths):
            for box, values in sorted(changes.items()):
                await self.connection.execute(sa.update(tables.box).where(tables.box.c.box == box).values(values))


def _both(one: Taken, other: Taken) -> Taken:
    return Taken(
        holdings=one.holdings + other.holdings,
        accepted=one.accepted + other.accepted,
        duplicates=one.duplicates + other.duplicates,
        unready=one.unready + other.unready,
        quarantined=dict(Counter(one.quarantined) + Counter(other.quarantined)),
    )


def _refused(entry: Entry, problem: RowRefused) -> Quarantine:
    arrival = Arrival(entry.topic, entry.sealed, entry.received_ms)
    return Quarantine(arrival, Reason.REFUSED_BY_STORE, str(problem))


async def _keys(connection: AsyncConnection, boxes: Iterable[str]) -> dict[tuple[str, bytes], bytes]:
    table = tables.box_key
    keys = {}
    for part in _parts(sorted(boxes)):
        for row in await connection.execute(sa.select(table).where(table.c.box.in_(part))):
            keys[row.box, row.key_id] = row.public_key
    return keys


async def _links(connection: AsyncConnection, places: Iterable[Provenance]) -> dict[Provenance, Link]:
    table = tables.ledger
    links = {}
    for part in _parts(sorted((at.box, at.store, at.seq) for at in places)):
        query = sa.select(table.c.box, table.c.store, table.c.seq, table.c.digest, table.c.previous)
        for row in await connection.execute(query.where(sa.tuple_(table.c.box, table.c.store, table.c.seq).in_(part))):
            links[Provenance(row.box, row.store, row.seq)] = Link(row.digest, row.previous)
    return links


ItemT = TypeVar("ItemT")


def _parts(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    return (items[begin : begin + LOOKUP_MAX] for begin in range(0, len(items), LOOKUP_MAX))


async def _contiguous(connection: AsyncConnection, chain: Chain) -> AsyncIterator[Entry]:
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
        rows = (await connection.execute(query)).all()
        for row in rows:
            if row.seq != upto + 1:
                return
            upto = row.seq
            yield intake.reread(row.sealed, row.received_ms)
        if len(rows) < CHUNK_RECORDS:
            return


async def _all_chains(connection: AsyncConnection) -> list[Chain]:
    table = tables.chain
    rows = await connection.execute(sa.select(table).order_by(table.c.box, table.c.store))
    return [Chain(**row) for row in rows.mappings()]


async def _holding(connection: AsyncConnection, chain: Chain) -> Holding:
    beyond: tuple[int, ...] = ()
    if chain.top > chain.upto:
        table = tables.ledger
        query = (
            sa.select(table.c.seq)
            .where(table.c.box == chain.box, table.c.store == chain.store, table.c.seq > chain.upto)
            .order_by(table.c.seq)
            .limit(BEYOND_MAX)
        )
        beyond = tuple((await connection.scalars(query)).all())
    return Holding(chain.box, chain.store, chain.upto, beyond)


async def _put_in_quarantine(connection: AsyncConnection, refused: Sequence[Quarantine]) -> None:
    """Each message once, with how often it came: a box that repeats itself or a flood of one message fills no disk."""
    rows: dict[bytes, Row] = {}
    times: Counter[bytes] = Counter()
    for item in refused:
        arrival = item.arrival
        topic = _printable(arrival.topic)
        digest = hashlib.sha256(topic.encode() + b"\0" + arrival.payload).digest()
        times[digest] += 1
        rows[digest] = {
            "received_ms": arrival.received_ms,
            "topic": topic,
            "reason": item.reason.value,
            "detail": _printable(item.detail),
            "digest": digest,
            "payload": intake.kept(arrival.payload),
            "times": times[digest],
            "last_ms": arrival.received_ms,
        }
    await upsert(
        connection,
        tables.quarantine,
        [rows[digest] for digest in sorted(rows)],
        keys=("digest",),
        keep=("received_ms", "topic", "reason", "detail", "payload"),
        add=("times",),
    )


def _printable(text: str) -> str:
    """Text that every database takes: what a stranger wrote may hold anything."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
