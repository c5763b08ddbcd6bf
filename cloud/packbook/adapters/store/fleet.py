"""The operator's list of batteries in SQL: filtered, sorted and paged by the database. Implements `ports.FleetList`.

In:  how far somebody sees, and a `FleetQuery`.
Out: rows, one statement for a page of them and one for their number, however many batteries there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import sqlalchemy as sa

from packbook.adapters.store import lives, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.tenants import battery_within
from packbook.core.accounts import Reach
from packbook.core.alerts import OPEN
from packbook.core.fleet_reports import Life
from packbook.core.fleet_row import Judged, from_json
from packbook.core.fleet_table import ROWS_PER_PAGE, Column, FleetQuery, FleetRow, Link
from packbook.ports.fleet import Choices, FleetPage

DAY_MS: Final = 86_400_000
_head, _row, _installed, _box, _enrolled = (
    tables.battery,
    tables.fleet_row,
    tables.installation,
    tables.box,
    tables.enrolled_box,
)


def _standing(column: sa.Column[Any], *conditions: sa.ColumnElement[bool]) -> sa.Subquery:
    """How many alerts stand of each battery or box; few rows, however large the fleet is."""
    open_ones = tables.alert.c.state.in_([state.value for state in OPEN])
    counted = sa.select(column.label("of"), sa.func.count().label("alerts")).where(open_ones, column.is_not(None))
    return counted.where(*conditions).group_by(column).subquery()


_of_battery: Final = _standing(tables.alert.c.battery)
_of_box: Final = _standing(tables.alert.c.box, tables.alert.c.battery.is_(None))
_NAMES: Final[Mapping[str, sa.ColumnElement[Any]]] = {
    **{field.name: _row.c[field.name] for field in fields(FleetRow) if field.name in _row.c},
    "battery": _head.c.battery,
    "vehicle": _installed.c.vehicle,
    "pack": _installed.c.pack,
    "family": _installed.c.profile,
    "software": _installed.c.software,
    "fleet": _enrolled.c.fleet,
    "seen_ms": _box.c.last_seen_ms,
    "online": _box.c.online,
    "box_state": _enrolled.c.state,
    "state": sa.func.coalesce(_row.c.state, "none"),
    "alerts": sa.func.coalesce(_of_battery.c.alerts, 0) + sa.func.coalesce(_of_box.c.alerts, 0),
}
_SORTED_BY: Final[Mapping[Column, Sequence[sa.ColumnElement[Any]]]] = {
    Column.BATTERY: (),
    Column.VEHICLE: (sa.func.lower(_NAMES["vehicle"]),),
    Column.SOH: (_NAMES["soh_pct"],),
    Column.REPORTED: (_NAMES["soh_reported_pct"],),
    Column.COVERAGE: (_NAMES["coverage_pct"],),
    Column.ODOMETER: (_NAMES["odometer_km"],),
    Column.SEEN: (_NAMES["seen_ms"],),
    Column.LINK: (_NAMES["box_state"], _NAMES["online"]),
    Column.GUARANTEE: (_NAMES["promise_pct"], _NAMES["promise_years"]),
}


class SqlFleetList:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, reach: Reach, query: FleetQuery, now_ms: int) -> FleetPage:
        """Beyond the last page there is none: it gives the last."""
        wanted = _chosen(reach, query, now_ms)
        async with self._database.transaction() as connection:
            total = await connection.scalar(sa.select(sa.func.count()).select_from(wanted.subquery())) or 0
            number = max(1, min(query.page, -(-total // ROWS_PER_PAGE)))
            wish = _ordered(wanted, query).limit(ROWS_PER_PAGE).offset((number - 1) * ROWS_PER_PAGE)
            rows = [FleetRow(**row) for row in (await connection.execute(wish)).mappings()]
        return FleetPage(tuple(rows), total, number)

    async def rows(self, reach: Reach, query: FleetQuery, now_ms: int) -> Sequence[FleetRow]:
        async with self._database.transaction() as connection:
            found = await connection.execute(_ordered(_chosen(reach, query, now_ms), query))
            return [FleetRow(**row) for row in found.mappings()]

    async def figures(
        self, reach: Reach, query: FleetQuery, now_ms: int
    ) -> Sequence[tuple[float | None, float | None]]:
        chosen = _chosen(reach, query, now_ms).with_only_columns(_row.c.soh_pct, _row.c.coverage_pct)
        async with self._database.transaction() as connection:
            return [(row.soh_pct, row.coverage_pct) for row in await connection.execute(chosen)]

    async def judged(self, reach: Reach, query: FleetQuery, now_ms: int) -> Sequence[tuple[FleetRow, Judged]]:
        chosen = _ordered(_chosen(reach, query, now_ms), query).add_columns(_row.c.judged, _installed.c.nominal_kwh)
        async with self._database.transaction() as connection:
            found = (await connection.execute(chosen.where(_row.c.battery.is_not(None)))).mappings()
            return [(FleetRow(**{name: row[name] for name in _NAMES}), from_json(row["judged"])) for row in found]

    async def choices(self, reach: Reach) -> Choices:
        """What there is to choose from, in this reach."""
        every = _chosen(reach, FleetQuery(), 0)
        async with self._database.transaction() as connection:
            found = {
                name: [
                    str(value)
                    for value in await connection.scalars(
                        every.with_only_columns(_NAMES[name]).distinct().where(_NAMES[name].is_not(None))
                    )
                ]
                for name in ("family", "pack", "fleet")
            }
        return Choices(*(tuple(sorted(found[name])) for name in ("family", "pack", "fleet")))

    async def lives(self, reach: Reach, batteries: Sequence[str]) -> Sequence[Life]:
        """In the order asked for; those outside the reach are left out."""
        chosen = _chosen(reach, FleetQuery(), 0).where(_head.c.battery.in_(batteries))
        async with self._database.transaction() as connection:
            rows = {row["battery"]: FleetRow(**row) for row in (await connection.execute(chosen)).mappings()}
            seen = sorted(rows)
            readings = await lives.readings(connection, seen)
            events = await lives.events(connection, seen)
            usages = await lives.usages(connection, seen)
        return [
            Life(rows[name], readings.get(name, ()), events.get(name, ()), usages.get(name, ()))
            for name in dict.fromkeys(batteries)
            if name in rows
        ]


def _chosen(reach: Reach, query: FleetQuery, now_ms: int) -> sa.Select[Any]:
    chosen = (
        sa.select(*(column.label(name) for name, column in _NAMES.items()))
        .select_from(_head)
        .outerjoin(_row, _row.c.battery == _head.c.battery)
        .outerjoin(
            _installed,
            (_installed.c.box == _row.c.box)
            & (_installed.c.store == _row.c.store)
            & (_installed.c.seq == _row.c.installed),
        )
        .outerjoin(_box, _box.c.box == _row.c.box)
        .outerjoin(_enrolled, _enrolled.c.box == _row.c.box)
        .outerjoin(_of_battery, _of_battery.c.of == _head.c.battery)
        .outerjoin(_of_box, _of_box.c.of == _row.c.box)
    )
    return chosen.where(battery_within(_head.c.battery, reach), *_conditions(query, now_ms))


def _conditions(query: FleetQuery, now_ms: int) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if query.q:
        looked_in = (_head.c.battery, _installed.c.vehicle, _installed.c.pack, _row.c.box)
        found.append(sa.or_(*(column.icontains(query.q, autoescape=True) for column in looked_in)))
    for name in ("state", "family", "pack", "fleet", "next_use"):
        value = getattr(query, name)
        if value is not None:
            found.append(_NAMES[name] == str(value))
    if query.link is not None:
        found.append(_linked(query.link))
    if query.soh_min is not None:
        found.append(_row.c.soh_pct >= query.soh_min)
    if query.soh_max is not None:
        found.append(_row.c.soh_pct <= query.soh_max)
    if query.coverage_max is not None:
        found.append(_row.c.coverage_pct < query.coverage_max)
    if query.silent_days is not None:
        found.append(sa.func.coalesce(_box.c.last_seen_ms, 0) < now_ms - int(query.silent_days * DAY_MS))
    if query.promised:
        found.append(_row.c.promise_pct.is_not(None))
    if query.alerted:
        found.append(_NAMES["alerts"] > 0)
    return found


def _linked(link: Link) -> sa.ColumnElement[bool]:
    decided = (Link.REVOKED.value, Link.RETIRED.value, Link.REPLACED.value)
    if link.value in decided:
        return _enrolled.c.state == link.value
    speaks = sa.func.coalesce(_enrolled.c.state, "active").not_in(decided)
    return speaks & _box.c.online.is_(link is Link.ONLINE)


def _ordered(chosen: sa.Select[Any], query: FleetQuery) -> sa.Select[Any]:
    """What is not known comes last, whichever way; equal ones by name, so that pages do not overlap."""
    by = _SORTED_BY.get(query.sort) or (() if query.sort is Column.BATTERY else (_NAMES[query.sort.value],))
    ways = [(column.desc() if query.falling else column.asc()).nulls_last() for column in by]
    last = _head.c.battery.desc() if query.falling and not by else _head.c.battery.asc()
    return chosen.order_by(*ways, last)
