"""The read side of the book: tables become `core.history` values. Implements `ports.Histories`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import doubts, fleets, heartbeats, relations, tables, tenants
from packbook.adapters.store.database import Database
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.fleet import FleetModel
from packbook.core.history import (
    Battery,
    BoxRow,
    CellsPoint,
    ChargeCurve,
    Doubt,
    EnergyFull,
    Estimate,
    EventRow,
    HeartbeatRow,
    Provenance,
    SessionRow,
    SohPoint,
    UsageTotals,
)
from packbook.core.intake import Fate
from packbook.core.merge import add_usage
from packbook.ports.histories import Quarantined

_HISTOGRAMS: Final = ("soc_temp_s", "c_rate_temp_s", "depth_counts", "charging_temp_s")

ValueT = TypeVar("ValueT", SessionRow, SohPoint, UsageTotals, EventRow, CellsPoint)

_NAMES: Final = {  # of columns; worked out once, for a page may be of thousands of rows
    target: tuple(field.name for field in fields(target) if field.name != "provenance")
    for target in (SessionRow, SohPoint, UsageTotals, EventRow, CellsPoint)
}


class SqlHistories:
    def __init__(self, database: Database, reach: Reach = EVERYWHERE) -> None:
        self._database = database
        self._reach = reach

    def within(self, reach: Reach) -> SqlHistories:
        return SqlHistories(self._database, self._reach.narrowed(reach))

    async def batteries(self, limit: int | None = None, offset: int = 0) -> Sequence[Battery]:
        head = tables.battery.c.battery
        async with self._database.transaction() as connection:
            if limit is None:
                return await _batteries(connection, self._reach, None)
            part = sa.select(head).where(tenants.battery_within(head, self._reach)).order_by(head)
            names = (await connection.scalars(part.limit(limit).offset(offset))).all()
            return await _batteries(connection, self._reach, names)

    async def battery(self, battery: str) -> Battery | None:
        async with self._database.transaction() as connection:
            return await _one(connection, self._reach, battery)

    async def has(self, battery: str) -> bool:
        async with self._database.transaction() as connection:
            return await _is_within(connection, self._reach, battery)

    async def version(self, battery: str) -> str | None:
        named = {"battery": battery}
        async with self._database.transaction() as connection:
            if self._reach != EVERYWHERE and not await _is_within(connection, self._reach, battery):
                return None
            head = (await connection.execute(_COUNTED, named)).one_or_none()
            if head is None:
                return None
            chains = (await connection.execute(_CHAINS, named)).all()
        return hashlib.sha256(repr((tuple(head), [tuple(row) for row in chains])).encode()).hexdigest()

    async def soh_series(self, battery: str, limit: int | None = None, offset: int = 0) -> Sequence[SohPoint]:
        table = tables.soh_point
        query = sa.select(table).where(*self._of(table, battery)).order_by(*oldest_first(table))
        if limit is not None:
            query = query.limit(limit).offset(offset)
        return [soh_from(row) for row in await self._rows(query)]

    async def sessions(
        self,
        battery: str,
        kind: str | None = None,
        limit: int = 200,
        offset: int = 0,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> Sequence[SessionRow]:
        table = tables.session
        query = sa.select(table).where(*self._of(table, battery)).order_by(*_newest_first(table))
        if kind is not None:
            query = query.where(table.c.kind == kind)
        if since_ms is not None:
            query = query.where(table.c.start_ms >= since_ms)
        if until_ms is not None:
            query = query.where(table.c.start_ms < until_ms)
        return [_session(row) for row in await self._rows(query.limit(limit).offset(offset))]

    async def session(self, battery: str, source: Provenance) -> SessionRow | None:
        table = tables.session
        place = (table.c.box == source.box, table.c.store == source.store, table.c.seq == source.seq)
        query = sa.select(table).where(*self._of(table, battery), *place)
        return next((_session(row) for row in await self._rows(query)), None)

    async def usage(self, battery: str) -> UsageTotals | None:
        table = tables.usage
        query = sa.select(table).where(*self._of(table, battery)).order_by(*oldest_first(table))
        return add_usage([usage_from(row) for row in await self._rows(query)])

    async def events(self, battery: str, limit: int = 100, offset: int = 0) -> Sequence[EventRow]:
        table = tables.event
        query = sa.select(table).where(*self._of(table, battery)).order_by(*_newest_first(table))
        return [event_from(row) for row in await self._rows(query.limit(limit).offset(offset))]

    async def cells(self, battery: str, limit: int | None = None, offset: int = 0) -> Sequence[CellsPoint]:
        table = tables.cells
        query = sa.select(table).where(*self._of(table, battery)).order_by(*oldest_first(table))
        if limit is not None:
            query = query.limit(limit).offset(offset)
        return [_value(CellsPoint, row) for row in await self._rows(query)]

    async def fleet_model(self, family: str) -> FleetModel | None:
        return await fleets.newest(self._database, family)

    async def purposes(self, battery: str) -> Mapping[str, Sequence[str] | None]:
        async with self._database.transaction() as connection:
            if not await _is_within(connection, self._reach, battery):
                return {}
            return await relations.purposes_in(connection, battery)

    async def boxes(self, limit: int | None = None, offset: int = 0) -> Sequence[BoxRow]:
        box, chain = tables.box, tables.chain
        held = sa.select(chain.c.box, sa.func.sum(chain.c.records).label("records")).group_by(chain.c.box).subquery()
        query = sa.select(box, held.c.records).outerjoin(held, held.c.box == box.c.box).order_by(box.c.box)
        query = query.where(tenants.box_within(box.c.box, self._reach))
        if limit is not None:
            query = query.limit(limit).offset(offset)
        return [
            BoxRow(
                box=row["box"],
                last_seen_ms=row["last_seen_ms"],
                online=row["online"],
                records=int(row["records"] or 0),
                health=row["health"] or {},
            )
            for row in await self._rows(query)
        ]

    async def heartbeats(self, box: str, since_ms: int) -> Sequence[HeartbeatRow]:
        known = sa.select(tables.box.c.box).where(tables.box.c.box == box)
        async with self._database.transaction() as connection:
            if await connection.scalar(known.where(tenants.box_within(tables.box.c.box, self._reach))) is None:
                return []
            return await heartbeats.of_box(connection, box, since_ms)

    async def quarantine(self, limit: int = 100) -> Sequence[Quarantined]:
        table = tables.quarantine
        query = sa.select(table).where(table.c.state == Fate.OPEN.value)
        query = query.where(tenants.box_within(table.c.box, self._reach))
        query = query.order_by(table.c.last_ms.desc(), table.c.id.desc()).limit(limit)
        return [
            Quarantined(
                row["id"], row["received_ms"], row["topic"], f"{row['reason']}: {row['detail']}", row["payload"]
            )
            for row in await self._rows(query)
        ]

    def _of(self, table: sa.Table, battery: str) -> tuple[sa.ColumnElement[bool], ...]:
        return table.c.battery == battery, tenants.battery_within(table.c.battery, self._reach)

    async def _rows(self, query: sa.Select[tuple[object, ...]]) -> Sequence[sa.RowMapping]:
        async with self._database.transaction() as connection:
            return (await connection.execute(query)).mappings().all()


async def _one(connection: AsyncConnection, reach: Reach, battery: str) -> Battery | None:
    """Asked with nearly every page, by statements that were put together once."""
    if reach != EVERYWHERE and not await _is_within(connection, reach, battery):
        return None
    named = {"battery": battery}
    head = (await connection.execute(_HEAD, named)).mappings().one_or_none()
    if head is None:
        return None
    installed = (await connection.execute(_INSTALLED, named)).mappings().all()
    newest = (await connection.execute(_NEWEST_SOH, named)).mappings().one_or_none()
    doubted = await doubts.of_batteries(connection, battery)
    return _battery(head, installed, None if newest is None else soh_from(newest), doubted.get(battery, ()))


async def _batteries(connection: AsyncConnection, reach: Reach, only: Sequence[str] | None) -> list[Battery]:
    """All batteries within the reach, or those named, with their newest installation and SoH."""
    head, table = tables.battery, tables.installation
    heads = sa.select(head, *_span_columns(head)).order_by(head.c.battery)
    heads = heads.where(tenants.battery_within(head.c.battery, reach))
    installed = sa.select(table).order_by(*oldest_first(table))
    installed = installed.where(tenants.battery_within(table.c.battery, reach))
    if only is not None:
        heads = heads.where(head.c.battery.in_(only))
        installed = installed.where(table.c.battery.in_(only))
    installations: dict[str, list[sa.RowMapping]] = {}
    for row in (await connection.execute(installed)).mappings():
        installations.setdefault(row["battery"], []).append(row)
    newest = await _newest_soh(connection, reach, only)
    doubted = await doubts.of_batteries(connection, None)
    rows = (await connection.execute(heads)).mappings()
    return [
        _battery(row, installations[row["battery"]], newest.get(row["battery"]), doubted.get(row["battery"], ()))
        for row in rows
    ]


def _span_columns(head: sa.Table) -> list[sa.Label[object]]:
    """First and last date of each kind of row, each read from one end of an index."""
    return [
        sa.select(function(table.c[column]))
        .where(table.c.battery == head.c.battery)
        .scalar_subquery()
        .label(f"{side}_{table.name}")
        for table, column in tables.DATED.items()
        for side, function in (("first", sa.func.min), ("last", sa.func.max))
    ]


def _battery(
    head: sa.RowMapping, installations: Sequence[sa.RowMapping], soh: SohPoint | None, doubted: tuple[Doubt, ...]
) -> Battery:
    newest = installations[-1]
    firsts = [head[f"first_{table.name}"] for table in tables.DATED]
    lasts = [head[f"last_{table.name}"] for table in tables.DATED]
    return Battery(
        battery=head["battery"],
        battery_source=newest["battery_source"],
        vehicle=newest["vehicle"],
        profile=newest["profile"],
        variant=newest["variant"],
        pack=newest["pack"],
        chemistry=newest["chemistry"],
        cells_in_series=newest["cells_in_series"],
        nominal_kwh=newest["nominal_kwh"],
        reference_ah=newest["reference_ah"],
        reference_source=newest["reference_source"],
        software=newest["software"],
        first_ms=min((ms for ms in firsts if ms is not None), default=None),
        last_ms=max((ms for ms in lasts if ms is not None), default=None),
        records=head["records"],
        sessions={"charge": head["charges"], "drive": head["drives"], "rest": head["rests"]},
        boxes=sorted({row["box"] for row in installations}),
        soh=soh,
        doubts=doubted,
    )


async def _is_within(connection: AsyncConnection, reach: Reach, battery: str) -> bool:
    table = tables.battery
    query = sa.select(table.c.battery).where(table.c.battery == battery)
    return await connection.scalar(query.where(tenants.battery_within(table.c.battery, reach))) is not None


async def _newest_soh(connection: AsyncConnection, reach: Reach, only: Sequence[str] | None) -> dict[str, SohPoint]:
    table = tables.soh_point
    rank = sa.func.row_number().over(partition_by=table.c.battery, order_by=_newest_first(table))
    ranked = sa.select(table, rank.label("rank")).where(tenants.battery_within(table.c.battery, reach))
    if only is not None:
        ranked = ranked.where(table.c.battery.in_(only))
    rows = ranked.subquery()
    found = await connection.execute(sa.select(rows).where(rows.c.rank == 1))
    return {row["battery"]: soh_from(row) for row in found.mappings()}


def oldest_first(table: sa.Table) -> list[sa.ColumnElement[object]]:
    """By date, undated before dated (nothing says they are newer), then by place in the chain."""
    date = table.c[tables.DATED[table]]
    return [date.asc().nulls_first(), table.c.box, table.c.store, table.c.seq]


def _newest_first(table: sa.Table) -> list[sa.ColumnElement[object]]:
    date = table.c[tables.DATED[table]]
    return [date.desc().nulls_last(), table.c.box.desc(), table.c.store.desc(), table.c.seq.desc()]


def _value(target: type[ValueT], row: sa.RowMapping, **given: object) -> ValueT:
    """A history value from the columns of the same names."""
    values: dict[str, Any] = {name: row[name] for name in _NAMES[target] if name not in given} | given
    return target(**values, provenance=Provenance(row["box"], row["store"], row["seq"]))


def soh_from(row: sa.RowMapping) -> SohPoint:
    estimates = tuple(Estimate(**_with_tuples(item)) for item in row["estimates"])
    energy = None if row["energy"] is None else EnergyFull(**_with_tuples(row["energy"]))
    return _value(SohPoint, row, estimates=estimates, energy=energy)


def event_from(row: sa.RowMapping) -> EventRow:
    return _value(EventRow, row)


def _session(row: sa.RowMapping) -> SessionRow:
    curve = None if row["curve"] is None else ChargeCurve(**_with_tuples(row["curve"]))
    return _value(SessionRow, row, curve=curve)


def usage_from(row: sa.RowMapping) -> UsageTotals:
    return _value(UsageTotals, row, **{name: tuple(row[name] or ()) for name in _HISTOGRAMS})


def _with_tuples(item: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in item.items()}


_NAMED: Final = sa.bindparam("battery", type_=sa.String)
_HEAD: Final = sa.select(tables.battery, *_span_columns(tables.battery)).where(tables.battery.c.battery == _NAMED)
_INSTALLED: Final = (
    sa.select(tables.installation)
    .where(tables.installation.c.battery == _NAMED)
    .order_by(*oldest_first(tables.installation))
)
_COUNTED: Final = sa.select(
    tables.battery,
    sa.select(sa.func.max(tables.fleet_model.c.learned_ms))
    .where(
        tables.fleet_model.c.family.in_(
            sa.select(tables.installation.c.pack).where(tables.installation.c.battery == _NAMED)
        )
    )
    .scalar_subquery()
    .label("taught_ms"),
).where(tables.battery.c.battery == _NAMED)
_CHAINS: Final = (  # of all boxes that ever watched it: another store of theirs may put it in doubt
    sa.select(tables.chain)
    .where(tables.chain.c.box.in_(sa.select(tables.installation.c.box).where(tables.installation.c.battery == _NAMED)))
    .order_by(tables.chain.c.box, tables.chain.c.store)
)
_NEWEST_SOH: Final = (
    sa.select(tables.soh_point)
    .where(tables.soh_point.c.battery == _NAMED)
    .order_by(*_newest_first(tables.soh_point))
    .limit(1)
)
