"""What the ledger means, in tables: made record by record in chain order, inside the ledger's own transaction.

In:  believed entries of one (box, store) after another, each in rising seq without holes.
Out: rows of the projection tables. Entries of different stores may come in any order with the same result, so that
`packbook rebuild` ends where taking records one by one ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import rows, tables, tenants
from packbook.adapters.store.chains import Chain
from packbook.core.facts import ClockAnchor, Fact, Moment
from packbook.core.history import (
    Agreement,
    CellsPoint,
    EventRow,
    Installation,
    Provenance,
    SessionRow,
    SohPoint,
    UsageTotals,
)
from packbook.core.intake import Entry, beyond_consent

Row: TypeAlias = dict[str, object]

_COUNTED: Final = {"charge": 1, "drive": 2, "rest": 3}  # places in `_COUNTS`
_COUNTS: Final = ("records", "charges", "drives", "rests")
_STAYS: Final = ("seq", "boot", "mono_ms", "wall_ms", "from_ms")  # an installation keeps the date it began
_PLACE: Final = ("box", "store", "seq", "boot", "mono_ms", "wall_ms", "battery")  # what every dated row begins with


@dataclass(frozen=True, slots=True)
class _Shape:
    """How values of one class become rows: columns carry the names of their fields."""

    table: sa.Table
    columns: tuple[str, ...]
    values: attrgetter[tuple[Any, ...]]
    written: tuple[int, ...]  # places of what becomes JSON

    def row(self, value: object) -> rows.Values:
        found = self.values(value)
        if not self.written:
            return found
        listed = list(found)
        for place in self.written:
            if listed[place] is not None:
                listed[place] = rows.as_json(listed[place])
        return tuple(listed)


def _shape(table: sa.Table, value: type) -> _Shape:
    names = tuple(field.name for field in fields(value) if field.name != "provenance")
    written = tuple(place for place, name in enumerate(names) if isinstance(table.c[name].type, sa.JSON))
    return _Shape(table, names, attrgetter(*names), written)


_SHAPES: Final[Mapping[type, _Shape]] = {
    SessionRow: _shape(tables.session, SessionRow),
    SohPoint: _shape(tables.soh_point, SohPoint),
    EventRow: _shape(tables.event, EventRow),
    CellsPoint: _shape(tables.cells, CellsPoint),
}
_USAGE: Final = _shape(tables.usage, UsageTotals)
_USAGE_COLUMNS: Final = (*_PLACE, "installed", *_USAGE.columns)
_INSTALLATION: Final = _shape(tables.installation, Installation)
_ANCHOR: Final = ("box", "store", "seq", "boot", "mono_ms", "wall_ms")


class Projector:
    """Gathers rows; `flush` writes them. One per transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._rows: dict[type, list[rows.Values]] = defaultdict(list)
        self._anchors: list[rows.Values] = []
        self._installations: dict[tuple[str, str, int | None], Row] = {}
        self._usage: dict[tuple[str, str, int | None], rows.Values] = {}
        self._counts: dict[str, list[int]] = {}
        self._boots: set[tuple[str, str]] = set()  # (box, boot) with something to date
        self.beyond: list[tuple[Entry, str]] = []  # what the owner did not agree to, and why

    def add(self, chain: Chain, entry: Entry) -> Chain:
        """Take the next record of a chain; gives the chain with it. What is disputed enters no history."""
        assert entry.place.seq == chain.upto + 1
        assert chain.tip.follows(entry.previous)
        chain = chain.grown(entry.digest)
        if chain.disputed_from is not None and chain.upto >= chain.disputed_from:
            return chain
        for fact in entry.facts:
            if isinstance(fact.value, Installation):
                chain = self._install(chain, fact.value, fact.moment)
            elif isinstance(fact.value, Agreement):
                chain = replace(chain, purposes=" ".join(sorted(fact.value.purposes)))
        why = beyond_consent(entry, None if chain.purposes is None else chain.purposes.split())
        if why is not None:
            self.beyond.append((entry, why))
            return chain
        if chain.battery is None:  # an unreadable hello: the ledger keeps these until a version can read it
            return chain
        counts = self._counts.setdefault(chain.battery, [0] * len(_COUNTS))
        counts[0] += 1
        for fact in entry.facts:
            self._project(chain, chain.battery, entry.place, fact)
            if isinstance(fact.value, SessionRow):
                counts[_COUNTED[fact.value.kind]] += 1
        return chain

    def _install(self, chain: Chain, hello: Installation, moment: Moment) -> Chain:
        seq = hello.provenance.seq
        if hello.battery != chain.battery:
            chain = replace(chain, battery=hello.battery, installed=seq)
        row: Row = dict(zip(_INSTALLATION.columns, _INSTALLATION.values(hello), strict=True))
        row |= {"boot": moment.boot, "mono_ms": moment.mono_ms, "wall_ms": moment.wall_ms}
        row |= {"box": chain.box, "store": chain.store, "seq": chain.installed, "hello_seq": seq}
        began = self._installations.get((chain.box, chain.store, chain.installed))
        if began is not None:
            row |= {name: began[name] for name in _STAYS}
        self._installations[chain.box, chain.store, chain.installed] = row
        self._to_date(chain.box, moment)
        return chain

    def _project(self, chain: Chain, battery: str, place: Provenance, fact: Fact) -> None:
        value, moment = fact.value, fact.moment
        if isinstance(value, (Installation, Agreement)):
            return
        if isinstance(value, ClockAnchor):
            self._anchors.append((place.box, place.store, place.seq, value.boot, value.mono_ms, value.wall_ms))
            self._boots.add((place.box, value.boot))
            return
        at = (place.box, place.store, place.seq, moment.boot, moment.mono_ms, moment.wall_ms, battery)
        if isinstance(value, UsageTotals):
            self._usage[chain.box, chain.store, chain.installed] = (*at, chain.installed, *_USAGE.row(value))
        else:
            kind = type(value)
            self._rows[kind].append(at + _SHAPES[kind].row(value))
        self._to_date(place.box, moment)

    def _to_date(self, box: str, moment: Moment) -> None:
        if moment.wall_ms is None:
            self._boots.add((box, moment.boot))

    async def flush(self) -> None:
        """Write what was gathered, in an order that two writers share, then date what can be dated."""
        connection = self._connection
        for kind, shape in _SHAPES.items():
            await rows.insert(connection, shape.table, (*_PLACE, *shape.columns), self._rows[kind])
        await rows.insert(connection, tables.clock_anchor, _ANCHOR, self._anchors)
        installed = [self._installations[key] for key in sorted(self._installations, key=str)]
        await rows.upsert(connection, tables.installation, installed, keep=_STAYS)
        usage = [self._usage[key] for key in sorted(self._usage, key=str)]
        await rows.insert(connection, tables.usage, _USAGE_COLUMNS, usage, _newest_usage)
        counted = [(battery, *self._counts[battery]) for battery in sorted(self._counts)]
        await rows.insert(connection, tables.battery, ("battery", *_COUNTS), counted, _added_up)
        for box, boot in sorted(self._boots):
            await _date(connection, box, boot)
        moved = {box for box, _, _ in self._installations}
        moved |= {str(anchor[0]) for anchor in self._anchors}  # an installation may have been dated
        if moved:
            await tenants.settle(connection, moved)
        for gathered in (self._rows, self._anchors, self._installations, self._usage, self._counts, self._boots):
            gathered.clear()


_newest_usage: Final = rows.replacing(tables.usage, _USAGE_COLUMNS)
_added_up: Final = rows.replacing(tables.battery, ("battery", *_COUNTS), add=frozenset(_COUNTS))


async def _date(connection: AsyncConnection, box: str, boot: str) -> None:
    """Date everything of this boot whose clock was not set then, by the earliest anchor of the boot."""
    anchor = tables.clock_anchor
    found = (
        await connection.execute(
            sa.select(anchor.c.mono_ms, anchor.c.wall_ms)
            .where(anchor.c.box == box, anchor.c.boot == boot)
            .order_by(anchor.c.mono_ms, anchor.c.store, anchor.c.seq)
            .limit(1)
        )
    ).one_or_none()
    if found is None:
        return
    for table, column in tables.DATED.items():
        undated = (table.c.box == box, table.c.boot == boot, table.c.wall_ms.is_(None))
        await connection.execute(
            sa.update(table).where(*undated).values({column: table.c.mono_ms + (found.wall_ms - found.mono_ms)})
        )
