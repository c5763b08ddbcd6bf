"""What the ledger means, in tables: made record by record in chain order, inside the ledger's own transaction.

In:  believed entries of one (box, store) after another, each in rising seq without holes.
Out: rows of the projection tables. Entries of different stores may come in any order with the same result, so that
`packbook rebuild` ends where taking records one by one ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables, tenants
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
from packbook.core.intake import ClockAnchor, Entry, Fact, Moment, Tip, beyond_consent

Row: TypeAlias = dict[str, object]

_COUNTED: Final = {"charge": "charges", "drive": "drives", "rest": "rests"}
_STAYS: Final = ("seq", "boot", "mono_ms", "wall_ms", "from_ms")  # an installation keeps the date it began


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


class Projector:
    """Gathers rows; `flush` writes them. One per transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._rows: dict[sa.Table, list[Row]] = defaultdict(list)
        self._newest: dict[sa.Table, dict[tuple[object, ...], Row]] = defaultdict(dict)
        self._counts: dict[str, dict[str, int]] = {}
        self._boots: set[tuple[str, str]] = set()  # (box, boot) with something to date
        self.beyond: list[tuple[Entry, str]] = []  # what the owner did not agree to, and why

    def add(self, chain: Chain, entry: Entry) -> Chain:
        """Take the next record of a chain; gives the chain with it. What is disputed enters no history."""
        assert chain.tip.follows(entry.link)
        assert entry.place.seq == chain.upto + 1
        chain = replace(chain, upto=entry.place.seq, head=entry.digest)
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
        self._count(chain.battery, "records")
        for fact in entry.facts:
            self._project(chain, chain.battery, entry.place, fact)
        return chain

    def _install(self, chain: Chain, hello: Installation, moment: Moment) -> Chain:
        seq = hello.provenance.seq
        if hello.battery != chain.battery:
            chain = replace(chain, battery=hello.battery, installed=seq)
        row = _columns(hello) | _moment(moment)
        row |= {"box": chain.box, "store": chain.store, "seq": chain.installed, "hello_seq": seq}
        began = self._newest[tables.installation].get((chain.box, chain.store, chain.installed))
        if began is not None:
            row |= {name: began[name] for name in _STAYS}
        self._newest[tables.installation][chain.box, chain.store, chain.installed] = row
        self._to_date(chain.box, moment)
        return chain

    def _project(self, chain: Chain, battery: str, place: Provenance, fact: Fact) -> None:
        value, moment = fact.value, fact.moment
        at: Row = {"box": place.box, "store": place.store, "seq": place.seq}
        match value:
            case Installation() | Agreement():
                return
            case ClockAnchor():
                anchor = at | {"boot": value.boot, "mono_ms": value.mono_ms, "wall_ms": value.wall_ms}
                self._rows[tables.clock_anchor].append(anchor)
                self._boots.add((place.box, value.boot))
                return
            case UsageTotals():
                row = _columns(value) | at | _moment(moment) | {"battery": battery, "installed": chain.installed}
                self._newest[tables.usage][chain.box, chain.store, chain.installed] = row
            case SessionRow() | SohPoint() | EventRow() | CellsPoint():
                row = _columns(value) | at | _moment(moment) | {"battery": battery}
                self._rows[_TABLE_OF[type(value)]].append(row)
        if isinstance(value, SessionRow):
            self._count(battery, _COUNTED[value.kind])
        self._to_date(place.box, moment)

    def _count(self, battery: str, what: str) -> None:
        counts = self._counts.setdefault(battery, dict.fromkeys(("records", *_COUNTED.values()), 0))
        counts[what] += 1

    def _to_date(self, box: str, moment: Moment) -> None:
        if moment.wall_ms is None:
            self._boots.add((box, moment.boot))

    async def flush(self) -> None:
        """Write what was gathered, in an order that two writers share, then date what can be dated."""
        for table, rows in self._rows.items():
            if rows:
                await self._connection.execute(sa.insert(table), rows)
        for table, newest in self._newest.items():
            keep = _STAYS if table is tables.installation else ()
            await upsert(self._connection, table, [newest[key] for key in sorted(newest, key=str)], keep=keep)
        counts: list[Row] = [{"battery": battery, **self._counts[battery]} for battery in sorted(self._counts)]
        await upsert(self._connection, tables.battery, counts, add=("records", *_COUNTED.values()))
        for box, boot in sorted(self._boots):
            await _date(self._connection, box, boot)
        moved = {str(row["box"]) for row in self._newest[tables.installation].values()}
        moved |= {str(row["box"]) for row in self._rows[tables.clock_anchor]}  # an installation may have been dated
        if moved:
            await tenants.settle(self._connection, moved)
        for gathered in (self._rows, self._newest, self._counts, self._boots):
            gathered.clear()


_TABLE_OF: Final[Mapping[type, sa.Table]] = {
    SessionRow: tables.session,
    SohPoint: tables.soh_point,
    EventRow: tables.event,
    CellsPoint: tables.cells,
}


def _columns(value: Any) -> Row:  # noqa: ANN401  any dataclass
    """A history value as columns of the same names; what is made of parts becomes JSON."""
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.name != "provenance"}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _columns(value) if is_dataclass(value) and not isinstance(value, type) else value


def _moment(moment: Moment) -> Row:
    return {"boot": moment.boot, "mono_ms": moment.mono_ms, "wall_ms": moment.wall_ms}


async def upsert(
    connection: AsyncConnection,
    table: sa.Table,
    rows: Sequence[Row],
    *,
    keys: Sequence[str] = (),
    keep: Iterable[str] = (),
    add: Iterable[str] = (),
) -> None:
    """Insert; where the key is there already: leave `keep`, sum `add`, replace the other columns given."""
    if not rows:
        return
    insert = (sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert)(table)
    keys = keys or [column.name for column in table.primary_key]
    changed = [name for name in rows[0] if name not in keys and name not in set(keep)]
    changes = {
        name: table.c[name] + insert.excluded[name] if name in set(add) else insert.excluded[name] for name in changed
    }
    await connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changes), list(rows))


async def insert_new(connection: AsyncConnection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert; where the key is there already, leave it."""
    if rows:
        insert = sqlite_insert(table) if connection.dialect.name == "sqlite" else postgres_insert(table)
        await connection.execute(insert.on_conflict_do_nothing(), list(rows))


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
