"""Keep `fleet_row` true: what the operator's list says of each battery, worked out anew when records came.

In:  a database to write to, the time.
Out: rows of `fleet_row`. They follow from the projections and can be thrown away at any time.
A forecast takes milliseconds of processor time, so it is made here, once, and not when somebody looks at the list; and
only where something that it rests on changed: most records tell of drives and rests.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import doubts, fleets, lives, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import oldest_first
from packbook.adapters.store.rows import Row, upsert
from packbook.core.fleet_row import as_json, coverage_pct, from_json, judged
from packbook.core.forecast import PRIOR, AgeingModel
from packbook.core.history import EventRow, SohPoint, UsageTotals
from packbook.core.prospect import Lacking, forecast_of

AT_ONCE: Final = 5  # batteries whose whole readings are in memory together
AGAIN_MS: Final = 60_000  # a car that sends all day is not judged more often
ANEW_MS: Final = 86_400_000  # the fleet's model may have learned meanwhile
BASIS: Final = "basis"  # beside what was judged: what it rests on


@dataclass(frozen=True, slots=True)
class _Known:
    battery: str
    records: int
    installed: sa.RowMapping | None
    readings: Sequence[SohPoint]
    events: Sequence[EventRow]
    usages: Sequence[UsageTotals]
    doubted: bool
    before: Mapping[str, Any]  # what was judged the last time; empty: never


async def judge(
    database: Database, now_ms: int, program: str = "", *, most: int | None = None, rest: float = 0.0
) -> int:
    """Work out again what is due, at `most` so many. Gives how many batteries that were. Raises StoreError.

    `program`: its version; another one may forecast differently. `rest`: how long to pause after each few, in times of
    what they took: records that come in meanwhile are not to wait for forecasts.
    """
    loop = asyncio.get_running_loop()
    async with database.transaction() as connection:
        doubted = frozenset(await doubts.of_batteries(connection, None))
        due = await _due(connection, doubted, now_ms, most)
    models: dict[str, AgeingModel] = {}
    for at in range(0, len(due), AT_ONCE):
        some, begin_s = due[at : at + AT_ONCE], loop.time()
        async with database.transaction() as connection:
            known = await _known(connection, some, doubted)
        for pack in {str(one.installed["pack"]) for one in known if one.installed is not None} - set(models):
            learned = await fleets.newest(database, pack)
            models[pack] = PRIOR if learned is None else learned.model
        rows = await asyncio.to_thread(_rows, known, models, now_ms, program)
        async with database.transaction() as connection:
            await upsert(connection, tables.fleet_row, rows)
        await asyncio.sleep(rest * (loop.time() - begin_s))
    return len(due)


async def _due(connection: AsyncConnection, doubted: frozenset[str], now_ms: int, most: int | None) -> list[str]:
    """New ones first, then those that were looked at longest ago."""
    head, row = tables.battery, tables.fleet_row
    stale = (row.c.judged_ms < now_ms - ANEW_MS) | (
        (row.c.records != head.c.records) & (row.c.judged_ms < now_ms - AGAIN_MS)
    )
    disputed = sa.func.coalesce(row.c.lacking, "") == Lacking.DISPUTED.value
    changed = sa.or_(disputed & head.c.battery.not_in(doubted), ~disputed & head.c.battery.in_(doubted))
    query = (
        sa.select(head.c.battery)
        .outerjoin(row, row.c.battery == head.c.battery)
        .where(row.c.battery.is_(None) | stale | changed)
        .order_by(row.c.judged_ms.asc().nulls_first(), head.c.battery)
        .limit(most)
    )
    return list(await connection.scalars(query))


async def _known(connection: AsyncConnection, batteries: Sequence[str], doubted: frozenset[str]) -> list[_Known]:
    head, installation = tables.battery, tables.installation
    counted = await connection.execute(
        sa.select(head.c.battery, head.c.records).where(head.c.battery.in_(batteries)).order_by(head.c.battery)
    )
    records = {row.battery: row.records for row in counted}
    installed = await connection.execute(
        sa.select(installation).where(installation.c.battery.in_(batteries)).order_by(*oldest_first(installation))
    )
    newest = {row["battery"]: row for row in installed.mappings()}
    readings = await lives.readings(connection, batteries)
    events = await lives.events(connection, batteries)
    usages = await lives.usages(connection, batteries)
    row = tables.fleet_row
    known = await connection.execute(sa.select(row.c.battery, row.c.judged).where(row.c.battery.in_(batteries)))
    before = {one.battery: one.judged for one in known}
    return [
        _Known(
            name,
            count,
            newest.get(name),
            readings.get(name, ()),
            events.get(name, ()),
            usages.get(name, ()),
            name in doubted,
            before.get(name, {}),
        )
        for name, count in records.items()
    ]


def _rows(known: Sequence[_Known], models: Mapping[str, AgeingModel], now_ms: int, program: str) -> list[Row]:
    return [_row(one, models, now_ms, program) for one in known]


def _row(known: _Known, models: Mapping[str, AgeingModel], now_ms: int, program: str) -> Row:
    installed = known.installed
    newest = known.readings[-1] if known.readings else None
    model = PRIOR if installed is None else models.get(str(installed["pack"]), PRIOR)
    basis = _basis(known, model, program)
    if known.before.get(BASIS) == basis:
        told = from_json(known.before)
    else:
        found = Lacking.DISPUTED if known.doubted else forecast_of(known.readings, known.events, model=model)
        told = judged(found)
    promise = told.strongest
    return {
        "battery": known.battery,
        "records": known.records,
        "judged_ms": now_ms,
        "box": None if installed is None else installed["box"],
        "store": None if installed is None else installed["store"],
        "installed": None if installed is None else installed["seq"],
        "soh_at_ms": newest.at_ms if newest else None,
        "state": newest.state if newest else "none",
        "soh_pct": newest.soh_pct if newest else None,
        "lo90_pct": newest.lo90_pct if newest else None,
        "hi90_pct": newest.hi90_pct if newest else None,
        "soh_reported_pct": newest.soh_reported_pct if newest else None,
        "coverage_pct": coverage_pct(known.usages, newest),
        "odometer_km": max((u.odometer_km for u in known.usages if u.odometer_km is not None), default=None),
        "promise_pct": promise.threshold_pct if promise else None,
        "promise_years": promise.horizon_years if promise else None,
        "next_use": told.next_use,
        "lacking": told.lacking,
        "judged": as_json(told) | {BASIS: basis},
    }


def _basis(known: _Known, model: AgeingModel, program: str) -> str:
    """The same for two forecasts that cannot differ: one version of this program over the same life."""
    rests_on = (program, known.doubted, known.readings, known.events, model)
    packed = msgspec.msgpack.encode(rests_on, enc_hook=lambda array: array.tolist())
    return hashlib.sha256(packed).hexdigest()[:32]
