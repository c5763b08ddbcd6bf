"""One batch of readings in one transaction: what is believed enters the ledger and the histories, the rest quarantine.

In:  a connection in a transaction, readings, and which boxes may not speak.
Out: `Taken`. Nothing of it holds before the transaction is committed, which is the caller's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import chains, credentials, heartbeats, quarantine, rows, tables
from packbook.adapters.store.chains import CHUNK_RECORDS, Chain, StoreKey
from packbook.adapters.store.projections import Projector
from packbook.adapters.store.quarantine import printable
from packbook.adapters.store.relations import purposes_in
from packbook.core import intake
from packbook.core.consent import PASSPORT, may_leave
from packbook.core.enrolment import BoxState
from packbook.core.history import Provenance
from packbook.core.intake import Accept, Arrival, Entry, Heartbeat, Quarantine, Reading, Reason, Status, Tip, Unready
from packbook.core.passport import Part
from packbook.ports.taking import Holding, Taken

BEYOND_MAX: Final = 4096  # records past a hole that one ack names; the rest is named when the hole is filled
WITHDRAWN: Final = "the owner withdrew his consent"  # why a credential was taken back

ShutOut = Mapping[str, tuple[Reason, str]]  # box -> why nothing of it is taken

_LEDGER: Final = tuple(column.name for column in tables.ledger.columns)
_SEEN: Final = tuple(column.name for column in tables.seen.columns)


async def write(connection: AsyncConnection, readings: Sequence[Reading], barred: ShutOut) -> Taken:
    return await _Batch(connection, readings, barred).write()


@dataclass(slots=True)
class _Batch:
    """The work of one transaction, step by step in `write`."""

    connection: AsyncConnection
    readings: Sequence[Reading]
    barred: ShutOut
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
            elif isinstance(reading, Entry) and reading.place.box in self.barred:
                self.quarantined.append(intake.refused(reading, *self.barred[reading.place.box]))
            elif isinstance(reading, Entry):
                entries.append(reading)
        return entries

    def _asked_for(self) -> list[Holding]:
        """Nothing is held of these stores, not even the key: after a restored backup the box must begin again."""
        stores = {reading.box: reading.store for reading in self.readings if isinstance(reading, Unready)}
        return [
            Holding(box, store, 0, (), resend_from=1)
            for box, store in stores.items()
            if box not in self.barred and (box, store) not in self.chains
        ]

    async def _set_right(self) -> list[Holding]:
        """Boxes that take us to hold more or less of a store than we do: we lost it with a backup, or they an ack.

        Who is right is told nothing: when a whole fleet comes back there is one query, and hardly an ack.
        """
        said = {
            (reading.box, str(reading.standing.store)): reading.standing.held
            for reading in self.readings
            if isinstance(reading, Status) and reading.standing is not None and reading.box not in self.barred
        }
        known = {key: Chain(*key) for key in said} | await chains.of_stores(self.connection, said.keys())
        return [
            replace(await self._holding(known[key]), resend_from=known[key].upto + 1)
            for key, held in said.items()
            if known[key].upto != held
        ]

    async def _lock_chains(self, entries: Sequence[Entry]) -> None:
        """Collectors that share a database take one store's records one after another."""
        touched = {(entry.place.box, entry.place.store) for entry in entries}
        self.chains = await chains.locked(self.connection, touched)

    async def _place(self, entries: Sequence[Entry]) -> None:
        """In chain order, so that of one batch each may follow the one before; first come, first held."""
        places = {entry.place for entry in entries}
        maybe_held = [at for at in places if at.seq <= self.chains[at.box, at.store].top]
        held = await chains.digests(self.connection, maybe_held)
        tips = {key: chain.tip for key, chain in self.chains.items()}
        for entry in sorted(entries, key=lambda entry: (entry.place.box, entry.place.store, entry.place.seq)):
            at = entry.place
            key = (at.box, at.store)
            tip = tips[key]
            verdict = intake.place(entry, tip, held.get(at))
            match verdict:
                case Accept():
                    self.accepted[at] = entry
                    held[at] = entry.digest
                    if at.seq == tip.upto + 1:
                        tips[key] = Tip(at.seq, entry.digest, tip.disputed)
                    self._remark(entry)
                case Quarantine():
                    self.quarantined.append(verdict)
                    if verdict.reason in intake.PARTS and await self._parts_ways(entry, tip):
                        tips[key] = replace(tip, disputed=True)
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
        ledger, seen = [], []
        for at, entry in self.accepted.items():
            place, when = (at.box, at.store, at.seq), entry.moment
            proof = (*place, entry.previous, entry.digest, entry.kind)
            ledger.append((*proof, when.boot, when.mono_ms, when.wall_ms, entry.received_ms, entry.sealed))
            seen.append((*place, entry.digest, entry.received_ms))
        await rows.insert(self.connection, tables.ledger, _LEDGER, ledger)
        if self.connection.dialect.name != "sqlite":  # there it is a view of the ledger
            await rows.insert(self.connection, tables.seen, _SEEN, seen)

    async def _keep_keys(self, entries: Sequence[Entry]) -> None:
        """A key that makes the box's name is good, also when the hello that brought it does not fit the chain."""
        brought = [
            {"box": new.box, "key_id": new.key_id, "public_key": new.public_key, "received_ms": entry.received_ms}
            for entry in entries
            if (new := entry.new_key) is not None
        ]
        await rows.insert_new(self.connection, tables.box_key, brought)

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
        await chains.keep(self.connection, [self.chains[key] for key in fresh])
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
            if not chain.tip.follows(entry.previous):
                return self._disputed(chain, chain.upto + 1)
            chain = projector.add(chain, entry)
        if chain.upto < chain.top:
            async for entry in chains.contiguous(self.connection, chain):
                if not chain.tip.follows(entry.previous):
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
        beyond = _beyond(table, chain)
        found = (await self.connection.execute(sa.select(table.c.sealed, table.c.received_ms).where(beyond))).all()
        for row in found:
            entry = intake.reread(row.sealed, row.received_ms)
            detail = f"the store is disputed and record {chain.upto + 1} does not lead here"
            first = entry.place.seq == chain.upto + 1
            refused = intake.broken(entry, chain.tip) if first else intake.refused(entry, Reason.DISPUTED, detail)
            self.swept.append(refused)
            self.accepted.pop(entry.place, None)
        for held in tables.HOLD_RECORDS[self.connection.dialect.name]:
            await self.connection.execute(sa.delete(held).where(_beyond(held, chain)))
        self.unplaced.add((chain.box, chain.store))
        return replace(chain, top=chain.upto, records=chain.records - len(found))

    async def _holding(self, chain: Chain) -> Holding:
        """What the box shall know. It is asked for more where a hole is, or where its records could not follow."""
        beyond: tuple[int, ...] = ()
        if chain.top > chain.upto:
            table = tables.seen
            query = sa.select(table.c.seq).where(_beyond(table, chain)).order_by(table.c.seq).limit(BEYOND_MAX)
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
        boxes = [{"box": b, "last_seen_ms": seen[b], "unready": unready[b]} for b in sorted(seen)]
        await rows.upsert(self.connection, tables.box, boxes, add=("unready",))
        settled = {entry.place.box for entry in entries}
        if settled:
            named = rows.among(self.connection, tables.box.c.box, settled)
            of_these = sa.update(tables.box).where(named, tables.box.c.unready > 0)
            await self.connection.execute(of_these.values(unready=0))
        await heartbeats.keep(self.connection, (one for one in self.readings if isinstance(one, Heartbeat)))
        statuses: dict[str, rows.Row] = {}
        healths: dict[str, rows.Row] = {}
        for reading in self.readings:
            if isinstance(reading, Status):
                statuses[reading.box] = {"online": reading.online, "status": printable(reading.reason)}
            elif isinstance(reading, Heartbeat):
                healths[reading.box] = {"health": dict(reading.health)}
        for changes in (statuses, healths):
            known = [{"box": b, "last_seen_ms": seen[b], "unready": 0, **changes[b]} for b in sorted(changes)]
            await rows.upsert(self.connection, tables.box, known, keep=("last_seen_ms", "unready"))


def _beyond(table: sa.Table, chain: Chain) -> sa.ColumnElement[bool]:
    """What is held of this store past its tip."""
    return sa.and_(table.c.box == chain.box, table.c.store == chain.store, table.c.seq > chain.upto)


async def shut_out(connection: AsyncConnection, readings: Sequence[Reading], enrolled_only: bool) -> ShutOut:
    """Boxes among these that may not speak, and why."""
    boxes = {
        r.place.box if isinstance(r, Entry) else r.box for r in readings if isinstance(r, (Entry, Unready, Status))
    }
    table = tables.enrolled_box
    barred: dict[str, tuple[Reason, str]] = {}
    if enrolled_only:
        barred = {box: (Reason.NOT_ENROLLED, f"box {box} was never enrolled here") for box in boxes}
    for box, state in await connection.execute(
        sa.select(table.c.box, table.c.state).where(rows.among(connection, table.c.box, boxes))
    ):
        barred.pop(box, None)
        if state != BoxState.ACTIVE:
            barred[box] = (Reason.REVOKED, f"box {box} is {state}")
    return barred
