"""Make the histories anew from the ledger, box by box, while the collector goes on.

In:  a database whose ledger is as it is.
Out: projections as if all records had come now, in chain order.
Each transaction takes one box, with every box that ever watched a battery it watched: their counts stand in one row.
Records of these boxes that come meanwhile wait for it; all others pass. What is stopped half way can be begun again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import chains, tables
from packbook.adapters.store.chains import CHUNK_RECORDS, Chain
from packbook.adapters.store.database import Database
from packbook.adapters.store.projections import Projector
from packbook.adapters.store.relations import forget_names

RECORDS_AT_ONCE: Final = 10_000  # of a part: whoever asked hears of it within some seconds


@dataclass(frozen=True, slots=True)
class Rebuilt:
    boxes: frozenset[str]
    records: int  # read


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the work. `after`: the box to go on behind; None when all is done. `skip`: done already, further on."""

    after: str | None
    skip: frozenset[str]
    records: int
    total: int  # that the ledger holds


@dataclass(frozen=True, slots=True)
class _Group:
    """Boxes and batteries that belong together."""

    boxes: frozenset[str]
    batteries: frozenset[str]


class _More(Exception):
    """Others turned out to belong to the group: to be done again with them."""

    def __init__(self, group: _Group) -> None:
        self.group = group


async def rebuild(database: Database, progress: Callable[[int, int], None]) -> int:
    """All of it. Gives the number of records read. Raises StoreError."""
    part = Part(after="", skip=frozenset(), records=0, total=0)
    done = 0
    while part.after is not None:
        part = await rebuild_part(database, part.after, part.skip)
        done += part.records
        progress(done, part.total)
    return done


async def rebuild_part(database: Database, after: str, skip: Collection[str]) -> Part:
    """The next boxes after this one, without those that were done with others: enough for some seconds."""
    waiting = await records_by_box(database)
    finished, records = set(skip), 0
    for box in waiting:
        if box <= after or box in finished:
            continue
        if records >= RECORDS_AT_ONCE:
            return Part(after, frozenset(done for done in finished if done > after), records, sum(waiting.values()))
        rebuilt = await rebuild_box(database, box)
        finished |= rebuilt.boxes
        records += rebuilt.records
        after = box
    return Part(None, frozenset(), records, sum(waiting.values()))


async def records_by_box(database: Database) -> dict[str, int]:
    """What there is to do: boxes in order, and how many records the ledger holds of each."""
    table = tables.chain
    query = sa.select(table.c.box, sa.func.sum(table.c.records)).group_by(table.c.box).order_by(table.c.box)
    async with database.transaction() as connection:
        return {box: int(records) for box, records in await connection.execute(query)}


async def rebuild_box(database: Database, box: str) -> Rebuilt:
    """One box and those that belong to it, in one transaction. Raises StoreError."""
    group = _Group(frozenset({box}), frozenset())
    while True:
        try:
            async with database.transaction() as connection:
                return await _rebuild_group(connection, await _whole(connection, group))
        except _More as found:
            group = found.group


async def _rebuild_group(connection: AsyncConnection, group: _Group) -> Rebuilt:
    held = await chains.of_boxes(connection, group.boxes, lock=True)
    await _empty(connection, group, held)
    if len(await chains.of_boxes(connection, group.boxes)) != len(held) or await _whole(connection, group) != group:
        raise _More(await _whole(connection, group))  # a store was begun while we waited for the others
    records, seen = 0, set(group.batteries)
    for chain in held:
        fresh = replace(chain, upto=0, battery=None, installed=None, head=None, purposes=None)
        projector = Projector(connection)
        async for entry in chains.contiguous(connection, fresh):
            if not fresh.tip.follows(entry.previous):  # somebody changed the ledger: `packbook doctor` names it
                break
            fresh = projector.add(fresh, entry)
            if fresh.battery is not None:
                seen.add(fresh.battery)
            records += 1
            if records % CHUNK_RECORDS == 0:
                await projector.flush()
        await projector.flush()
        await chains.keep(connection, [fresh])
    if seen - group.batteries:  # this version reads more batteries out of the records than the one before
        grown = await _whole(connection, _Group(group.boxes, frozenset(seen)))
        if grown.boxes != group.boxes:
            raise _More(grown)
    await forget_names(connection, seen)
    return Rebuilt(group.boxes, records)


async def _empty(connection: AsyncConnection, group: _Group, held: Collection[Chain]) -> None:
    """Only rows of chains that are locked, and their batteries' counts: with these, whoever adds to them waits."""
    for table in (*tables.DATED, tables.clock_anchor):
        for chain in held:
            await connection.execute(sa.delete(table).where(table.c.box == chain.box, table.c.store == chain.store))
    counts = tables.battery
    await connection.execute(sa.delete(counts).where(counts.c.battery.in_(sorted(group.batteries))))


async def _whole(connection: AsyncConnection, group: _Group) -> _Group:
    """The group with all that belongs to it, as far as installations and chains tell."""
    while True:
        batteries, boxes = set(group.batteries), set(group.boxes)
        for table in (tables.installation, tables.chain):
            ties = sa.select(table.c.box, table.c.battery).where(
                table.c.battery.is_not(None)
                & (table.c.box.in_(sorted(group.boxes)) | table.c.battery.in_(sorted(group.batteries)))
            )
            for box, battery in await connection.execute(ties):
                boxes.add(box)
                batteries.add(battery)
        grown = _Group(frozenset(boxes), frozenset(batteries))
        if grown == group:
            return group
        group = grown
