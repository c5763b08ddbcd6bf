"""What could not be believed, kept with the reason until a person has looked at it.

In:  refused messages, any number, again and again; acts of operators.
Out: rows of `quarantine`, each message once with how often it came; a row of `quarantine_act` for each act.
A box fills its own share only: what comes on top is counted, not kept, and stays with the box, which got no ack.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables
from packbook.adapters.store.rows import Row, among, upsert
from packbook.core import intake
from packbook.core.intake import Arrival, Entry, Fate, Quarantine, Reason

KEPT_PER_BOX_MAX: Final = 1000  # open messages; at 128 kB each a hostile box takes 128 MB, an honest one 500 kB
LATE_MAX_MS: Final = 3_600_000  # what a broker held back may come so long after newer messages
LOOKUP_MAX: Final = 2000  # values asked for in one statement: SQLite takes 32,766 parameters

ItemT = TypeVar("ItemT")
_table: Final = tables.quarantine


def parts(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """Small enough for one statement each."""
    return (items[begin : begin + LOOKUP_MAX] for begin in range(0, len(items), LOOKUP_MAX))


def message_digest(topic: str, payload: bytes) -> bytes:
    return hashlib.sha256(printable(topic).encode() + b"\0" + payload).digest()


async def known(connection: AsyncConnection, arrivals: Iterable[Arrival]) -> set[bytes]:
    """Digests of those that stand in quarantine already, whatever became of them."""
    found: set[bytes] = set()
    for part in parts(sorted({message_digest(a.topic, a.payload) for a in arrivals})):
        found |= set(await connection.scalars(sa.select(_table.c.digest).where(_table.c.digest.in_(part))))
    return found


async def put(connection: AsyncConnection, refused: Sequence[Quarantine], *, bounded: bool = True) -> None:
    """Keep what is new, count what is not. `bounded` False: for bytes that would be nowhere else."""
    if not refused:
        return
    there = await known(connection, [item.arrival for item in refused])
    room = await _room(connection, {_box_of(item) for item in refused}) if bounded else None
    rows: dict[bytes, Row] = {}
    times: Counter[bytes] = Counter()
    for item in refused:
        digest = message_digest(item.arrival.topic, item.arrival.payload)
        if room is not None and digest not in there and digest not in rows:
            box = _box_of(item)
            if room[box] <= 0:
                item = _flood(item)
                digest = message_digest(item.arrival.topic, item.arrival.payload)
            room[box] -= 1
        times[digest] += 1
        rows[digest] = _row(item, digest, times[digest])
    await upsert(
        connection,
        _table,
        [rows[digest] for digest in sorted(rows)],
        keys=("digest",),
        keep=("received_ms", "topic", "reason", "detail", "payload", "box", "store", "seq"),
        add=("times",),
    )


def _row(item: Quarantine, digest: bytes, times: int) -> Row:
    arrival, at = item.arrival, item.at
    return {
        "received_ms": arrival.received_ms,
        "topic": printable(arrival.topic),
        "reason": item.reason.value,
        "detail": printable(item.detail),
        "digest": digest,
        "payload": intake.kept(arrival.payload),
        "times": times,
        "last_ms": arrival.received_ms,
        "box": _box_of(item),
        "store": at.store if at else None,
        "seq": at.seq if at else None,
    }


def _box_of(item: Quarantine) -> str | None:
    """Whose share it takes: that of the topic's box, which the broker's access rules vouch for."""
    return next(iter(intake.boxes_named([item.arrival])), None)


async def _room(connection: AsyncConnection, boxes: Collection[str | None]) -> dict[str | None, int]:
    room: dict[str | None, int] = dict.fromkeys(boxes, KEPT_PER_BOX_MAX)
    named = sorted(box for box in boxes if box is not None)
    for where in (_table.c.box.in_(named), _table.c.box.is_(None)):
        counted = (
            sa.select(_table.c.box, sa.func.count().label("kept"))
            .where(where, _table.c.state == Fate.OPEN.value)
            .group_by(_table.c.box)
        )
        for row in await connection.execute(counted):
            room[row.box] = KEPT_PER_BOX_MAX - row.kept
    return room


def _flood(item: Quarantine) -> Quarantine:
    box = _box_of(item)
    topic = item.arrival.topic if box else "topics that are not ours"
    arrival = replace(item.arrival, topic=topic, payload=b"what came on top of a full quarantine")
    detail = f"{KEPT_PER_BOX_MAX} messages of {f'box {box}' if box else 'strangers'} wait in quarantine"
    return Quarantine(arrival, Reason.FLOOD, f"{detail}: further ones are counted, not kept")


async def settle_believed(connection: AsyncConnection, entries: Iterable[Entry]) -> None:
    """What entered the ledger after all needs no person any more."""
    entries = list(entries)
    named = among(connection, _table.c.box, {entry.place.box for entry in entries})
    query = sa.select(_table.c.box).where(named, _table.c.state == Fate.OPEN.value).distinct()
    waiting = set(await connection.scalars(query))
    digests = sorted(message_digest(entry.topic, entry.sealed) for entry in entries if entry.place.box in waiting)
    for some in parts(digests):
        of_these = sa.update(_table).where(_table.c.digest.in_(some), _table.c.state == Fate.OPEN.value)
        await connection.execute(of_these.values(state=Fate.BELIEVED.value))


def printable(text: str) -> str:
    """Text that every database takes: what a stranger wrote may hold anything."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


# --- for operators -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One message in quarantine, as an operator sees it."""

    id: int
    state: str
    reason: str
    detail: str
    topic: str
    received_ms: int
    last_ms: int
    times: int
    box: str | None
    store: str | None
    seq: int | None
    digest: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Dispute:
    """A store with two histories: records from `from_seq` on are kept, and enter no history."""

    box: str
    store: str
    battery: str | None
    from_seq: int
    since_ms: int
    held_out: int
    settled_ms: int | None


@dataclass(frozen=True, slots=True)
class TwoLives:
    """A box whose older store went on after a newer one began: one key in two boxes, most likely a cloned card."""

    box: str
    older: str
    newer: str
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator did, and why."""

    at_ms: int
    act: str
    who: str
    why: str
    item: int | None = None
    digest: bytes | None = None
    box: str | None = None
    store: str | None = None


async def items(
    connection: AsyncConnection,
    *,
    ids: Sequence[int] = (),
    box: str | None = None,
    reason: str | None = None,
    every_state: bool = False,
) -> list[Item]:
    """Oldest first. Only what nobody has dealt with, unless ids or every state is asked for."""
    query = sa.select(_table).order_by(_table.c.id)
    if ids:
        query = query.where(_table.c.id.in_(ids))
    elif not every_state:
        query = query.where(_table.c.state == Fate.OPEN.value)
    if box is not None:
        query = query.where(_table.c.box == box)
    if reason is not None:
        query = query.where(_table.c.reason == reason)
    return [Item(**row) for row in (await connection.execute(query)).mappings()]


async def disputes(connection: AsyncConnection) -> list[Dispute]:
    """Every disputed store, settled ones too."""
    chain = tables.chain
    query = sa.select(chain).where(chain.c.disputed_from.is_not(None)).order_by(chain.c.box, chain.c.store)
    return [
        Dispute(
            box=row.box,
            store=row.store,
            battery=row.battery,
            from_seq=row.disputed_from,
            since_ms=row.disputed_ms,
            held_out=max(0, row.upto - row.disputed_from + 1),
            settled_ms=row.settled_ms,
        )
        for row in await connection.execute(query)
    ]


async def two_lives(connection: AsyncConnection) -> list[TwoLives]:
    """Told even where neither history ever met the other: a clone that hears an ack in time begins a store quietly."""
    ledger = tables.seen
    spans = (
        sa.select(
            ledger.c.box,
            ledger.c.store,
            sa.func.min(ledger.c.received_ms).label("first_ms"),
            sa.func.max(ledger.c.received_ms).label("last_ms"),
        )
        .group_by(ledger.c.box, ledger.c.store)
        .subquery()
    )
    older, newer = spans.alias(), spans.alias()
    query = sa.select(older.c.box, older.c.store, newer.c.store, newer.c.first_ms, older.c.last_ms).where(
        older.c.box == newer.c.box,
        older.c.first_ms < newer.c.first_ms,
        older.c.last_ms > newer.c.first_ms + LATE_MAX_MS,
    )
    found = await connection.execute(query.order_by(older.c.box, older.c.store, newer.c.store))
    return [TwoLives(*row) for row in found]


async def acts(connection: AsyncConnection, item: int) -> list[Act]:
    table = tables.quarantine_act
    columns = [table.c[name] for name in Act.__dataclass_fields__]
    found = await connection.execute(sa.select(*columns).where(table.c.item == item).order_by(table.c.id))
    return [Act(**row) for row in found.mappings()]


async def note(connection: AsyncConnection, act: Act) -> None:
    values = {name: getattr(act, name) for name in Act.__dataclass_fields__}
    await connection.execute(sa.insert(tables.quarantine_act).values(**values))


async def drop(connection: AsyncConnection, item: Item) -> None:
    """Throw the bytes away. The row stays: that it came, when, why it was refused, and its digest."""
    row = sa.update(_table).where(_table.c.id == item.id)
    await connection.execute(row.values(state=Fate.DROPPED.value, payload=b""))
