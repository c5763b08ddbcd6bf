"""Boxes for their operator, in SQL: the list, everything about one, codes, and how well profiles fit.

Implements `ports.FleetBoxes`. One statement for a list, a fixed number for one box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import heartbeats, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import event_from
from packbook.adapters.store.quarantine import parts
from packbook.adapters.store.tenants import box_within, fleet_within
from packbook.core.accounts import Reach
from packbook.core.enrolment import MS_PER_DAY, BoxState, EnrolledBox, Issued
from packbook.core.fleet_boxes import (
    DISK_FREE_MIN_BYTES,
    DOUBTS,
    DROPPED_MAX_PER_MILLION,
    ENDING_DAYS,
    MILLION,
    MISFIT_MIN_PER_MILLION,
    SILENT_DAYS,
    WAITING_MAX_S,
    Act,
    Beat,
    BoxColumn,
    BoxLife,
    BoxLine,
    BoxQuery,
    Fit,
    StoreLine,
    Trouble,
)
from packbook.core.fleet_papers import CodeLine
from packbook.core.fleet_table import ROWS_PER_PAGE
from packbook.core.history import Agreement, EventRow, Installation, Provenance
from packbook.ports.fleet import BoxPage

EVENTS_SHOWN: Final = 100
BEATS_SHOWN: Final = 24 * 14  # one an hour: two weeks
ACTS_SHOWN: Final = 100
_DIGEST_CHARS: Final = 16
_box, _enrolled, _installed = tables.box, tables.enrolled_box, tables.installation
_ended: Final = ("revoked", "retired", "replaced")


class _Joined:
    """Boxes, those that spoke and those that are only enrolled, with what else is known of each.

    `only`: of these boxes. What a wish does not ask for is not joined: thousands are counted in milliseconds.
    """

    def __init__(self, only: Sequence[str] | None = None) -> None:
        every = sa.union(*(sa.select(table.c.box).where(*_among(table.c.box, only)) for table in (_box, _enrolled)))
        self.there = every.subquery()
        self.now = _newest_installation(only)
        self.until = _certificates(only)
        self.columns: Mapping[str, sa.ColumnElement[Any]] = {
            "box": self.there.c.box,
            "battery": self.now.c.battery,
            "vehicle": self.now.c.vehicle,
            "profile": self.now.c.profile,
            "pack": self.now.c.pack,
            "fleet": _enrolled.c.fleet,
            "state": _enrolled.c.state,
            "seen_ms": _box.c.last_seen_ms,
            "online": _box.c.online,
            "unready": sa.func.coalesce(_box.c.unready, 0),
            "health": _box.c.health,
            "until_ms": self.until.c.until_ms,
        }

    def source(self, *, now: bool = True, until: bool = True) -> sa.FromClause:
        box = self.there.c.box
        found: sa.FromClause = self.there.outerjoin(_box, _box.c.box == box).outerjoin(
            _enrolled, _enrolled.c.box == box
        )
        if now:
            found = found.outerjoin(self.now, self.now.c.box == box)
        return found.outerjoin(self.until, self.until.c.box == box) if until else found

    def lines(self) -> sa.Select[Any]:
        return sa.select(*(column.label(name) for name, column in self.columns.items())).select_from(self.source())


def _among(column: sa.ColumnElement[str], only: Sequence[str] | None) -> list[sa.ColumnElement[bool]]:
    return [] if only is None else [column.in_(only)]


def _newest_installation(only: Sequence[str] | None) -> sa.Subquery:
    order = (_installed.c.from_ms.desc().nulls_last(), _installed.c.store.desc(), _installed.c.seq.desc())
    rank = sa.func.row_number().over(partition_by=_installed.c.box, order_by=order).label("rank")
    ranked = sa.select(_installed, rank).where(*_among(_installed.c.box, only)).subquery()
    return sa.select(ranked).where(ranked.c.rank == 1).subquery()


def _certificates(only: Sequence[str] | None) -> sa.Subquery:
    table = tables.certificate
    last = sa.func.max(table.c.until_ms).label("until_ms")
    counting = sa.select(table.c.box, last).where(table.c.revoked_ms.is_(None), *_among(table.c.box, only))
    return counting.group_by(table.c.box).subquery()


def _told(name: str) -> sa.ColumnElement[Any]:
    told: sa.ColumnElement[Any] = _box.c.health[name].as_float()
    return told


def _per_million(name: str) -> sa.ColumnElement[Any]:
    return MILLION * _told(name) / sa.func.nullif(_told("frames") + _told("frames_dropped"), 0)


_dropped: Final = _per_million("frames_dropped")
_SORTED_BY: Final[Mapping[BoxColumn, sa.ColumnElement[Any]]] = {
    BoxColumn.SEEN: _box.c.last_seen_ms,
    BoxColumn.FLEET: _enrolled.c.fleet,
    BoxColumn.WAITING: _told("oldest_waiting_s"),
    BoxColumn.DROPPED: _dropped,
    BoxColumn.DISK: _told("disk_free_bytes"),
    BoxColumn.SOFTWARE: _box.c.health["software"].as_string(),
}


class SqlFleetBoxes:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, reach: Reach, query: BoxQuery, now_ms: int) -> BoxPage:
        """Beyond the last page there is none: it gives the last."""
        wish = _wish(reach, query, now_ms)
        async with self._database.transaction() as connection:
            counted = sa.select(sa.func.count()).select_from(wish.order_by(None).subquery())
            total = await connection.scalar(counted) or 0
            number = max(1, min(query.page, -(-total // ROWS_PER_PAGE)))
            boxes = list(await connection.scalars(wish.limit(ROWS_PER_PAGE).offset((number - 1) * ROWS_PER_PAGE)))
            lines = await _lines(connection, boxes)
        return BoxPage(tuple(lines), total, number)

    async def rows(self, reach: Reach, query: BoxQuery, now_ms: int) -> Sequence[BoxLine]:
        async with self._database.transaction() as connection:
            boxes = list(await connection.scalars(_wish(reach, query, now_ms)))
            return [line for part in parts(boxes) for line in await _lines(connection, part)]

    async def fleets(self, reach: Reach) -> Sequence[str]:
        name = _enrolled.c.fleet
        query = sa.select(name).distinct().where(fleet_within(name, reach)).order_by(name)
        async with self._database.transaction() as connection:
            return list(await connection.scalars(query))

    async def one(self, reach: Reach, box: str) -> BoxLife | None:
        async with self._database.transaction() as connection:
            mine = await connection.scalar(sa.select(box_within(sa.literal(box), reach)))
            lines = await _lines(connection, [box]) if mine else []
            if not lines:
                return None
            return BoxLife(
                line=lines[0],
                enrolled=await _enrolment(connection, box),
                beats=await _beats(connection, box),
                installations=await _installations(connection, box),
                stores=await _stores(connection, box),
                certificates=await _issued(connection, box),
                events=await _events(connection, box),
                acts=await _acts(connection, box),
            )

    async def codes(self, reach: Reach, limit: int, offset: int) -> Sequence[CodeLine]:
        table = tables.enrol_code
        query = sa.select(table).where(fleet_within(table.c.fleet, reach))
        query = query.order_by(table.c.made_ms.desc(), table.c.digest).limit(limit).offset(offset)
        async with self._database.transaction() as connection:
            return [
                CodeLine(**{**row, "digest": row["digest"].hex()[:_DIGEST_CHARS]})
                for row in (await connection.execute(query)).mappings()
            ]

    async def fits(self, reach: Reach) -> Sequence[Fit]:
        """The family with the most boxes first."""
        counted = {name: sa.func.coalesce(sa.func.sum(_told(name)), 0).label(name) for name in ("frames", *DOUBTS)}
        now = _newest_installation(None)
        of = (now.c.profile, now.c.variant, now.c.pack)
        event = tables.event
        wrong = sa.select(event.c.box).where(event.c.event == "wrong_profile").distinct().subquery()
        query = (
            sa.select(
                *of,
                sa.func.count().label("boxes"),
                sa.func.sum(sa.case((now.c.battery_source == "read", 1), else_=0)).label("read"),
                sa.func.sum(sa.case((now.c.battery_source == "provisional", 1), else_=0)).label("provisional"),
                sa.func.count(wrong.c.box).label("wrong_profile"),
                *counted.values(),
            )
            .select_from(now)
            .outerjoin(_box, _box.c.box == now.c.box)
            .outerjoin(wrong, wrong.c.box == now.c.box)
            .where(box_within(now.c.box, reach))
            .group_by(*of)
            .order_by(sa.desc("boxes"), *of)
        )
        async with self._database.transaction() as connection:
            return [
                Fit(
                    row["profile"],
                    row["variant"],
                    row["pack"],
                    row["boxes"],
                    row["read"],
                    row["provisional"],
                    {name: int(row[name]) for name in counted},
                    row["wrong_profile"],
                )
                for row in (await connection.execute(query)).mappings()
            ]


def _wish(reach: Reach, query: BoxQuery, now_ms: int) -> sa.Select[Any]:
    """Names of boxes, in the order asked for."""
    joined = _Joined()
    ending = BoxColumn.CERTIFICATE is query.sort or Trouble.CERTIFICATE is query.trouble
    chosen = sa.select(joined.there.c.box).select_from(joined.source(now=bool(query.q), until=ending))
    chosen = chosen.where(box_within(joined.there.c.box, reach))
    if query.q:
        looked_in = (joined.there.c.box, joined.now.c.battery, joined.now.c.vehicle, _enrolled.c.fleet)
        chosen = chosen.where(sa.or_(*(column.icontains(query.q, autoescape=True) for column in looked_in)))
    if query.fleet is not None:
        chosen = chosen.where(_enrolled.c.fleet == query.fleet)
    if query.link is not None:
        chosen = chosen.where(linked(query.link))
    if query.trouble is not None:
        speaks = sa.func.coalesce(_enrolled.c.state, BoxState.ACTIVE.value) == BoxState.ACTIVE.value
        chosen = chosen.where(speaks, _troubled(query.trouble, joined.until.c.until_ms, now_ms))
    by = joined.until.c.until_ms if query.sort is BoxColumn.CERTIFICATE else _SORTED_BY.get(query.sort)
    if by is None:
        return chosen.order_by(joined.there.c.box.desc() if query.falling else joined.there.c.box.asc())
    return chosen.order_by((by.desc() if query.falling else by.asc()).nulls_last(), joined.there.c.box)


async def _lines(connection: AsyncConnection, boxes: Sequence[str]) -> list[BoxLine]:
    """In this order."""
    found = {
        row["box"]: BoxLine(**{**row, "health": row["health"] or {}})
        for row in (await connection.execute(_Joined(boxes).lines())).mappings()
    }
    return [found[box] for box in boxes if box in found]


def linked(link: str) -> sa.ColumnElement[bool]:
    """`link`: a `core.fleet_table.Link`. What an operator decided comes before what a box says."""
    if link in _ended:
        return _enrolled.c.state == link
    speaks = sa.func.coalesce(_enrolled.c.state, BoxState.ACTIVE.value).not_in(_ended)
    return speaks & _box.c.online.is_(link == "online")


def _troubled(trouble: Trouble, until_ms: sa.ColumnElement[Any], now_ms: int) -> sa.ColumnElement[bool]:
    """As `core.fleet_boxes.troubles` says; a test holds both together."""
    found: dict[Trouble, sa.ColumnElement[bool]] = {
        Trouble.SILENT: sa.func.coalesce(_box.c.last_seen_ms, 0) < now_ms - SILENT_DAYS * MS_PER_DAY,
        Trouble.NO_KEY: _box.c.unready > 0,
        Trouble.WAITING: _told("oldest_waiting_s") > WAITING_MAX_S,
        Trouble.DROPPED: _dropped > DROPPED_MAX_PER_MILLION,
        Trouble.DISK: _told("disk_free_bytes") < DISK_FREE_MIN_BYTES,
        Trouble.CLOCK: _box.c.health["clock"].as_string() == "unset",
        Trouble.CERTIFICATE: until_ms < now_ms + ENDING_DAYS * MS_PER_DAY,
        Trouble.PROFILE: _per_million("cells_not_sum") > MISFIT_MIN_PER_MILLION,
    }
    return found[trouble]


# --- one box -------------------------------------------------------------------------------------------------------


async def _enrolment(connection: AsyncConnection, box: str) -> EnrolledBox | None:
    row = (await connection.execute(sa.select(_enrolled).where(_enrolled.c.box == box))).mappings().first()
    return None if row is None else EnrolledBox(**{**row, "state": BoxState(row["state"])})


async def _beats(connection: AsyncConnection, box: str) -> list[Beat]:
    """Those of the past that were kept, and the one now."""
    now = sa.select(_box.c.last_seen_ms, _box.c.health).where(_box.c.box == box, _box.c.health.is_not(None))
    found = [Beat(row.last_seen_ms, row.health) for row in await connection.execute(now)]
    kept = [Beat(beat.at_ms, beat.health) for beat in await heartbeats.of_box(connection, box, 0)]
    newest_first = sorted(kept, key=lambda beat: beat.at_ms, reverse=True)
    return [*(beat for beat in found if beat not in kept), *newest_first][:BEATS_SHOWN]


async def _installations(connection: AsyncConnection, box: str) -> list[Installation]:
    names = [field.name for field in fields(Installation) if field.name != "provenance"]
    query = sa.select(_installed).where(_installed.c.box == box)
    query = query.order_by(_installed.c.from_ms.desc().nulls_last(), _installed.c.store.desc(), _installed.c.seq.desc())
    return [
        Installation(**{name: row[name] for name in names}, provenance=Provenance(row["box"], row["store"], row["seq"]))
        for row in (await connection.execute(query)).mappings()
    ]


async def _stores(connection: AsyncConnection, box: str) -> list[StoreLine]:
    chain, ledger = tables.chain, tables.seen
    query = (
        sa.select(chain, ledger.c.received_ms)
        .outerjoin(
            ledger, (ledger.c.box == chain.c.box) & (ledger.c.store == chain.c.store) & (ledger.c.seq == chain.c.top)
        )
        .where(chain.c.box == box)
        .order_by(ledger.c.received_ms.desc().nulls_last(), chain.c.store)
    )
    return [
        StoreLine(
            store=row.store,
            battery=row.battery,
            upto=row.upto,
            top=row.top,
            records=row.records,
            agreed=None
            if row.purposes is None
            else Agreement(tuple(row.purposes.split()), Provenance(box, row.store, row.upto)),
            disputed=row.disputed_from is not None and row.settled_ms is None,
        )
        for row in await connection.execute(query)
    ]


async def _issued(connection: AsyncConnection, box: str) -> list[Issued]:
    table = tables.certificate
    query = sa.select(table).where(table.c.box == box).order_by(table.c.issued_ms.desc())
    return [Issued(**row) for row in (await connection.execute(query)).mappings()]


async def _events(connection: AsyncConnection, box: str) -> list[EventRow]:
    table = tables.event
    order = (table.c.at_ms.desc().nulls_last(), table.c.store.desc(), table.c.seq.desc())
    query = sa.select(table).where(table.c.box == box).order_by(*order).limit(EVENTS_SHOWN)
    return [event_from(row) for row in (await connection.execute(query)).mappings()]


async def _acts(connection: AsyncConnection, box: str) -> list[Act]:
    table = tables.enrol_act
    query = sa.select(table).where(table.c.box == box).order_by(table.c.id.desc()).limit(ACTS_SHOWN)
    names = [field.name for field in fields(Act)]
    return [Act(**{name: row[name] for name in names}) for row in (await connection.execute(query)).mappings()]
