"""The write side of the book: messages in, one transaction, what is held out.

In:  `Arrival`s, any number, in any order, again and again.
Out: `Taken`: what the book now holds of every store they touched, committed on disk when this returns.
Refuses nothing silently: what cannot be believed is in quarantine when this returns. On `StoreError` nothing of the
batch was kept and nothing may be acknowledged; offer it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import credentials, quarantine, tables
from packbook.adapters.store.database import Database, RowRefused
from packbook.adapters.store.projections import Chain, Projector, Row, insert_new, upsert
from packbook.adapters.store.quarantine import Act, parts, printable
from packbook.adapters.store.relations import forget_names, purposes_in
from packbook.core import intake
from packbook.core.consent import PASSPORT, may_leave
from packbook.core.enrolment import BoxState
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
    Tip,
    Unready,
)
from packbook.core.passport import Part
from packbook.ports import Holding, Taken

BEYOND_MAX: Final = 4096  # records past a hole that one ack names; the rest is named when the hole is filled
WITHDRAWN: Final = "the owner withdrew his consent"  # why a credential was taken back
CHUNK_RECORDS: Final = 500  # ledger rows in memory at a time

StoreKey: TypeAlias = tuple[str, str]  # (box, store)


NOTHING_KEPT: Final = Taken((), 0, 0, 0, {Reason.REFUSED_BY_STORE.value: 1})


class Ledger:
    """`enrolled_only`: take records of enrolled boxes alone. A revoked box is refused in any case."""

    def __init__(self, database: Database, *, enrolled_only: bool = False) -> None:
        self._database = database
        self._enrolled_only = enrolled_only

    async def take(self, arrivals: Sequence[Arrival], *, vouched: bool = False) -> Taken:
        """Commit what can be believed, quarantine the rest. Raises StoreError: then nothing of it was kept.

        `vouched`: an operator says that these boxes may speak, this once.
        """
        async with self._database.transaction() as connection:
            keys = await _keys(connection, intake.boxes_named(arrivals))
        readings = await asyncio.to_thread(intake.read_all, arrivals, keys)  # signatures: 100 µs each, not on the loop
        return await self._commit(readings, vouched=vouched)

    async def _commit(self, readings: Sequence[Reading], *, vouched: bool) -> Taken:
        """One transaction. A row that the database refuses is found by halving and quarantined: it blocks nobody."""
        try:
            async with self._database.transaction() as connection:
                shut_out = {} if vouched else await _shut_out(connection, readings, self._enrolled_only)
                return await _Batch(connection, readings, shut_out).write()
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
        table = tables.chain
        async with self._database.transaction() as connection:
            query = sa.select(table).where(table.c.box == act.box, table.c.store == act.store).with_for_update()
            row = (await connection.execute(query)).mappings().one_or_none()
            if row is None or row["disputed_from"] is None:
                return None
            chain = Chain(**row)
            held_out = max(0, chain.upto - int(row["disputed_from"]) + 1)
            if trust:
                chain = await _let_in(connection, chain)
            await upsert(connection, table, [asdict(replace(chain, settled_ms=None if trust else act.at_ms))])
            await quarantine.note(connection, act)
            return held_out

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
                fresh = replace(chain, upto=0, battery=None, installed=None, head=None, purposes=None)
                projector = Projector(connection)
                async for entry in _contiguous(connection, fresh):
                    if not fresh.tip.follows(entry.link):  # somebody changed the ledger: `packbook doctor` names it
                        break
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
    shut_out: Mapping[str, tuple[Reason, str]]  # box -> why nothing of it is taken
    chains: dict[StoreKey, Chain] = field(default_factory=dict)
    accepted: dict[Provenance, Entry] = field(default_factory=dict)
    duplicates: int = 0
    quarantined: list[Quarantine] = field(default_factory=list)
    swept: list[Quarantine] = field(default_factory=list)  # out of the ledger: the bytes are nowhere else
    disputes: dict[StoreKey, int] = field(default_factory=dict)  # new ones: from which record on
    unplaced: set[StoreKey] = field(default_factory=set)  # whose records could not follow: they must come again

    async def write(self) -> Taken:
        entries = self._admitted()
        await self._keep_keys(entries)
        await self._lock_chains(entries)
        await self._place(entries)
        await self._insert()
        await self._project()
        await quarantine.settle_believed(self.connection, self.accepted.values())
        await quarantine.put(self.connection, self.quarantined)
        await quarantine.put(self.connection, self.swept, bounded=False)
        await self._note_boxes(entries)
        refused = (*self.quarantined, *self.swept)
        holdings = [await self._holding(chain) for chain in self.chains.values()]
        return Taken(
            holdings=(*holdings, *self._asked_for(), *await self._set_right()),
            accepted=len(self.accepted),
            duplicates=self.duplicates,
            unready=sum(isinstance(reading, Unready) for reading in self.readings),
            quarantined=dict(Counter(item.reason.value for item in refused)),
        )

    def _admitted(self) -> list[Entry]:
        """Entries of boxes that may speak; the others' go to quarantine like everything that was refused before."""
        entries = []
        for reading in self.readings:
            if isinstance(reading, Quarantine):
                self.quarantined.append(reading)
            elif isinstance(reading, Entry) and reading.place.box in self.shut_out:
                self.quarantined.append(intake.refused(reading, *self.shut_out[reading.place.box]))
            elif isinstance(reading, Entry):
                entries.append(reading)
        return entries

    def _asked_for(self) -> list[Holding]:
        """Nothing is held of these stores, not even the key: after a restored backup the box must begin again."""
        stores = {reading.box: reading.store for reading in self.readings if isinstance(reading, Unready)}
        return [
            Holding(box, store, 0, (), resend_from=1)
            for box, store in stores.items()
            if box not in self.shut_out and (box, store) not in self.chains
        ]

    async def _set_right(self) -> list[Holding]:
        """Boxes that take us to hold more or less of a store than we do: we lost it with a backup, or they an ack.

        Who is right is told nothing: when a whole fleet comes back there is one query, and hardly an ack.
        """
        said = {
            (reading.box, str(reading.standing.store)): reading.standing.held
            for reading in self.readings
            if isinstance(reading, Status) and reading.standing is not None and reading.box not in self.shut_out
        }
        chains = {key: Chain(*key) for key in said} | await _chains(self.connection, said)
        return [
            replace(await self._holding(chains[key]), resend_from=chains[key].upto + 1)
            for key, held in said.items()
            if chains[key].upto != held
        ]

    async def _lock_chains(self, entries: Sequence[Entry]) -> None:
        """Collectors that share a database take one store's records one after another."""
        touched = sorted({(entry.place.box, entry.place.store) for entry in entries})
        await insert_new(self.connection, tables.chain, [asdict(Chain(box, store)) for box, store in touched])
        self.chains = await _chains(self.connection, touched, lock=True)

    async def _place(self, entries: Sequence[Entry]) -> None:
        """In chain order, so that of one batch each may follow the one before; first come, first held."""
        ledgered = await _links(self.connection, {entry.place for entry in entries})
        tips = {key: chain.tip for key, chain in self.chains.items()}
        for entry in sorted(entries, key=lambda entry: (entry.place.box, entry.place.store, entry.place.seq)):
            key = (entry.place.box, entry.place.store)
            verdict = intake.place(entry, tips[key], ledgered.get(entry.place))
            match verdict:
                case Accept():
                    self.accepted[entry.place] = entry
                    ledgered[entry.place] = entry.link
                    if entry.place.seq == tips[key].upto + 1:
                        tips[key] = replace(tips[key], upto=entry.place.seq, head=entry.digest)
                    self._remark(entry)
                case Quarantine():
                    self.quarantined.append(verdict)
                    if verdict.reason in intake.PARTS and await self._parts_ways(entry, tips[key]):
                        tips[key] = replace(tips[key], disputed=True)
                    if verdict.reason in (Reason.BROKEN_CHAIN, Reason.DISPUTED):
                        self.unplaced.add(key)
                case _:
                    self.duplicates += 1

    async def _parts_ways(self, entry: Entry, tip: Tip) -> bool:
        """A second history: the store is disputed from here, unless an operator knows of this very record."""
        key = (entry.place.box, entry.place.store)
        arrival = Arrival(entry.topic, entry.sealed, entry.received_ms)
        if entry.place.seq == 1 and tip.upto == 0:  # a store that begins wrongly: there is no other history yet
            return False
        if not tip.disputed and not await quarantine.known(self.connection, [arrival]):
            self.disputes.setdefault(key, max(entry.place.seq, tip.upto + 1))
        return tip.disputed or key in self.disputes

    def _remark(self, entry: Entry) -> None:
        """A person should know of it, although it is believed and kept."""
        arrival = Arrival(entry.topic, entry.sealed, entry.received_ms)
        if entry.unreadable is not None:
            self.quarantined.append(Quarantine(arrival, Reason.UNREADABLE, entry.unreadable, entry.place))
        if entry.wrong_clock is not None:
            once_per_boot = replace(arrival, payload=f"clock of boot {entry.moment.boot}".encode())
            self.quarantined.append(Quarantine(once_per_boot, Reason.WRONG_CLOCK, entry.wrong_clock, entry.place))

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
        fresh: dict[StoreKey, list[int]] = {key: [] for key in self.disputes}
        for at in self.accepted:
            fresh.setdefault((at.box, at.store), []).append(at.seq)
        if not fresh:
            return
        projector, before = Projector(self.connection), dict(self.chains)
        for key, seqs in fresh.items():
            chain = self.chains[key]
            if key in self.disputes:
                chain = self._disputed(chain, self.disputes[key])
            chain = await self._advance(chain, seqs, projector)
            self.chains[key] = await self._sweep(chain) if chain.tip.disputed and chain.top > chain.upto else chain
        await projector.flush()
        self.quarantined += [
            Quarantine(Arrival(entry.topic, entry.sealed, entry.received_ms), Reason.NO_CONSENT, why)
            for entry, why in projector.beyond
        ]
        await upsert(self.connection, tables.chain, [asdict(self.chains[key]) for key in sorted(fresh)])
        decided = {self.chains[key].battery for key in fresh if self.chains[key].purposes != before[key].purposes}
        await self._take_back(sorted(battery for battery in decided if battery is not None))

    async def _take_back(self, batteries: Sequence[str]) -> None:
        """What was signed about a battery's condition stands no longer when its owner withdraws consent: for good."""
        at_ms = max((entry.received_ms for entry in self.accepted.values()), default=0)
        for battery in batteries:
            if may_leave(await purposes_in(self.connection, battery), PASSPORT) is not None:
                await credentials.take_back(self.connection, battery, Part.VALUE, at_ms, WITHDRAWN)

    async def _advance(self, chain: Chain, seqs: Sequence[int], projector: Projector) -> Chain:
        """One chain with new records in it, projected as far as each follows the one before."""
        chain = replace(chain, top=max(chain.top, *seqs, 0), records=chain.records + len(seqs))
        while (entry := self.accepted.get(Provenance(chain.box, chain.store, chain.upto + 1))) is not None:
            if not chain.tip.follows(entry.link):
                return self._disputed(chain, chain.upto + 1)
            chain = projector.add(chain, entry)
        if chain.upto < chain.top:
            async for entry in _contiguous(self.connection, chain):
                if not chain.tip.follows(entry.link):
                    return self._disputed(chain, chain.upto + 1)
                chain = projector.add(chain, entry)
                if chain.upto % CHUNK_RECORDS == 0:
                    await projector.flush()
        return chain

    def _disputed(self, chain: Chain, from_seq: int) -> Chain:
        if chain.disputed_from is not None:
            return chain
        now_ms = max(reading.received_ms for reading in self.readings if isinstance(reading, Entry))
        return replace(chain, disputed_from=from_seq, disputed_ms=now_ms, settled_ms=None)

    async def _sweep(self, chain: Chain) -> Chain:
        """Records beyond the tip of a disputed store leave the ledger: nobody can say yet whose history they follow."""
        table = tables.ledger
        beyond = (table.c.box == chain.box, table.c.store == chain.store, table.c.seq > chain.upto)
        rows = (await self.connection.execute(sa.select(table.c.sealed, table.c.received_ms).where(*beyond))).all()
        for row in rows:
            entry = intake.reread(row.sealed, row.received_ms)
            detail = f"the store is disputed and record {chain.upto + 1} does not lead here"
            first = entry.place.seq == chain.upto + 1
            refused = intake.broken(entry, chain.tip) if first else intake.refused(entry, Reason.DISPUTED, detail)
            self.swept.append(refused)
            self.accepted.pop(entry.place, None)
        await self.connection.execute(sa.delete(table).where(*beyond))
        self.unplaced.add((chain.box, chain.store))
        return replace(chain, top=chain.upto, records=chain.records - len(rows))

    async def _holding(self, chain: Chain) -> Holding:
        """What the box shall know. It is asked for more where a hole is, or where its records could not follow."""
        beyond: tuple[int, ...] = ()
        if chain.top > chain.upto:
            table = tables.ledger
            query = (
                sa.select(table.c.seq)
                .where(table.c.box == chain.box, table.c.store == chain.store, table.c.seq > chain.upto)
                .order_by(table.c.seq)
                .limit(BEYOND_MAX)
            )
            beyond = tuple((await self.connection.scalars(query)).all())
        asked = beyond or (chain.box, chain.store) in self.unplaced
        return Holding(
            chain.box, chain.store, chain.upto, beyond, chain.head, resend_from=chain.upto + 1 if asked else None
        )

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
                statuses[reading.box] = {"online": reading.online, "status": printable(reading.reason)}
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


async def _shut_out(
    connection: AsyncConnection, readings: Sequence[Reading], enrolled_only: bool
) -> dict[str, tuple[Reason, str]]:
    """Boxes among these that may not speak, and why."""
    boxes = {
        r.place.box if isinstance(r, Entry) else r.box for r in readings if isinstance(r, (Entry, Unready, Status))
    }
    table = tables.enrolled_box
    shut_out: dict[str, tuple[Reason, str]] = {}
    if enrolled_only:
        shut_out = {box: (Reason.NOT_ENROLLED, f"box {box} was never enrolled here") for box in boxes}
    for part in parts(sorted(boxes)):
        for row in await connection.execute(sa.select(table.c.box, table.c.state).where(table.c.box.in_(part))):
            shut_out.pop(row.box, None)
            if row.state != BoxState.ACTIVE:
                shut_out[row.box] = (Reason.REVOKED, f"box {row.box} is {row.state}")
    return shut_out


async def _keys(connection: AsyncConnection, boxes: Iterable[str]) -> dict[tuple[str, bytes], bytes]:
    table = tables.box_key
    keys = {}
    for part in parts(sorted(boxes)):
        for row in await connection.execute(sa.select(table).where(table.c.box.in_(part))):
            keys[row.box, row.key_id] = row.public_key
    return keys


async def _links(connection: AsyncConnection, places: Iterable[Provenance]) -> dict[Provenance, Link]:
    table = tables.ledger
    links = {}
    for part in parts(sorted((at.box, at.store, at.seq) for at in places)):
        query = sa.select(table.c.box, table.c.store, table.c.seq, table.c.digest, table.c.previous)
        for row in await connection.execute(query.where(sa.tuple_(table.c.box, table.c.store, table.c.seq).in_(part))):
            links[Provenance(row.box, row.store, row.seq)] = Link(row.digest, row.previous)
    return links


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


async def _chains(
    connection: AsyncConnection, keys: Iterable[StoreKey], *, lock: bool = False
) -> dict[StoreKey, Chain]:
    table = tables.chain
    chains: dict[StoreKey, Chain] = {}
    for part in parts(sorted(keys)):
        query = sa.select(table).where(sa.tuple_(table.c.box, table.c.store).in_(part))
        query = query.order_by(table.c.box, table.c.store).with_for_update() if lock else query
        chains |= {(row["box"], row["store"]): Chain(**row) for row in (await connection.execute(query)).mappings()}
    return chains


async def _all_chains(connection: AsyncConnection) -> list[Chain]:
    table = tables.chain
    rows = await connection.execute(sa.select(table).order_by(table.c.box, table.c.store))
    return [Chain(**row) for row in rows.mappings()]


async def _let_in(connection: AsyncConnection, chain: Chain) -> Chain:
    """The chain without its dispute, and with all that was held out in its history."""
    assert chain.disputed_from is not None
    table = tables.ledger
    before = Provenance(chain.box, chain.store, chain.disputed_from - 1)
    fresh = replace(chain, disputed_from=None, disputed_ms=None)
    if before.seq >= chain.upto:
        return fresh
    query = sa.select(table.c.digest).where(
        table.c.box == before.box, table.c.store == before.store, table.c.seq == before.seq
    )
    fresh = replace(fresh, upto=before.seq, head=await connection.scalar(query))
    projector = Projector(connection)
    async for entry in _contiguous(connection, fresh):
        if entry.place.seq > chain.upto:
            break
        fresh = projector.add(fresh, entry)
        if fresh.upto % CHUNK_RECORDS == 0:
            await projector.flush()
    await projector.flush()
    return fresh
