"""The operator's lists on both databases: they keep to the reach, page without overlap, and follow new records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
import sqlalchemy as sa

from packbook.adapters.store import judging, open_writer, tables, tenants
from packbook.adapters.store.account_tables import fleet as fleet_table
from packbook.adapters.store.database import Database
from packbook.adapters.store.fleet import SqlFleetList
from packbook.adapters.store.fleet_boxes import SqlFleetBoxes
from packbook.adapters.store.fleet_papers import SqlFleetPapers
from packbook.adapters.store.judging import AGAIN_MS, ANEW_MS, judge
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.fleet_boxes import BoxColumn, BoxQuery, Trouble, troubles
from packbook.core.fleet_papers import AuditQuery, MessageQuery
from packbook.core.fleet_table import Column, FleetQuery, Link
from packbook.core.history import SohPoint
from packbook.core.prospect import Lacking, Prospect, forecast_of
from packbook.testing.filled_fleet import FLEETS, crowd, fill
from packbook.testing.lived_in import YOUNG_BOX, lived_in
from packbook.testing.rows import BOX

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
LEAF, YOUNG = "leaf-24-0001", "env200-24-0102"
CROWD = 160


async def give(database: Database, fleet: str, tenant: str) -> None:
    """The fleet changes hands."""
    async with database.transaction() as connection:
        await connection.execute(sa.insert(fleet_table), [{"fleet": fleet, "tenant": tenant}])
        await tenants.settle_fleet(connection, fleet)


async def test_lists_are_asked_and_answered_alike_on_both_databases(database_url: str) -> None:
    """Whoever moves from SQLite to PostgreSQL must find the same batteries on the same pages."""
    async with open_writer(database_url, "test") as database:
        await crowd(database, CROWD, NOW_MS)
        book = SqlFleetList(database)
        for column in Column:
            for falling in (False, True):
                query = FleetQuery(sort=column, falling=falling)
                pages = [
                    await book.page(EVERYWHERE, FleetQuery(sort=column, falling=falling, page=n), NOW_MS)
                    for n in range(1, 5)
                ]
                names = [row.battery for page in pages for row in page.rows]
                assert names == [row.battery for row in await book.rows(EVERYWHERE, query, NOW_MS)], query
                assert len(set(names)) == CROWD, query
        rows = await book.rows(EVERYWHERE, FleetQuery(), NOW_MS)
        for query, kept in (
            (FleetQuery(q="VAN 15"), lambda row: "van 15" in row.vehicle.lower()),
            (FleetQuery(q="100%_"), lambda row: False),
            (FleetQuery(soh_min=80.0, soh_max=90.0), lambda row: 80.0 <= row.soh_pct <= 90.0),
            (FleetQuery(coverage_max=80.0), lambda row: row.coverage_pct < 80.0),
            (FleetQuery(silent_days=3.0), lambda row: row.seen_ms < NOW_MS - 3 * DAY_MS),
            (FleetQuery(link=Link.ONLINE), lambda row: row.link is Link.ONLINE),
            (
                FleetQuery(link=Link.OFFLINE, fleet=FLEETS[1]),
                lambda row: row.link is Link.OFFLINE and row.fleet == FLEETS[1],
            ),
            (
                FleetQuery(promised=True, pack="leaf-40"),
                lambda row: row.promise_pct is not None and row.pack == "leaf-40",
            ),
        ):
            found = {row.battery for row in await book.rows(EVERYWHERE, query, NOW_MS)}
            assert found == {row.battery for row in rows if kept(row)}, query
        assert (await book.choices(EVERYWHERE)).fleets == tuple(sorted(FLEETS))
        beyond = await book.page(EVERYWHERE, FleetQuery(page=99), NOW_MS)
        assert (beyond.number, beyond.total, len(beyond.rows)) == (4, CROWD, CROWD % 50)


async def test_the_database_names_the_troubles_that_the_page_names(database_url: str) -> None:
    """A filter that finds other boxes than those marked on the page would hide the ones that matter."""
    async with open_writer(database_url, "test") as database:
        await crowd(database, CROWD, NOW_MS)
        boxes = SqlFleetBoxes(database)
        lines = await boxes.rows(EVERYWHERE, BoxQuery(), NOW_MS)
        for trouble in Trouble:
            found = {line.box for line in await boxes.rows(EVERYWHERE, BoxQuery(trouble=trouble), NOW_MS)}
            assert found == {line.box for line in lines if trouble in troubles(line, NOW_MS)}, trouble
        for column in BoxColumn:
            first = await boxes.page(EVERYWHERE, BoxQuery(sort=column, falling=True), NOW_MS)
            assert (first.total, len(first.lines)) == (CROWD, 50), column
        assert sum(fit.boxes for fit in await boxes.fits(EVERYWHERE)) == CROWD


async def test_nothing_of_another_tenant_is_seen_by_any_list(database_url: str) -> None:
    """Two firms in one book: neither may learn of the other's cars, boxes, codes, messages or acts."""
    async with open_writer(database_url, "test") as database:
        await fill(database, lived_in(), NOW_MS)
        await give(database, FLEETS[1], "other")
        ours, theirs = Reach("main"), Reach("other")
        book, boxes, papers = SqlFleetList(database), SqlFleetBoxes(database), SqlFleetPapers(database)
        seen = {
            reach: {row.battery for row in (await book.page(reach, FleetQuery(), NOW_MS)).rows}
            for reach in (ours, theirs)
        }
        assert seen[theirs] == {YOUNG}
        assert YOUNG not in seen[ours]
        assert LEAF in seen[ours]
        assert [life.row.battery for life in await book.lives(theirs, [LEAF, YOUNG])] == [YOUNG]
        assert [row.battery for row, _ in await book.judged(theirs, FleetQuery(), NOW_MS)] == [YOUNG]
        assert len(await book.figures(theirs, FleetQuery(), NOW_MS)) == 1
        assert (await book.choices(theirs)).fleets == (FLEETS[1],)
        assert [line.box for line in (await boxes.page(theirs, BoxQuery(), NOW_MS)).lines] == [YOUNG_BOX]
        assert await boxes.one(theirs, BOX) is None
        assert await boxes.one(ours, YOUNG_BOX) is None
        assert await boxes.fleets(theirs) == [FLEETS[1]]
        assert await boxes.codes(theirs, 10, 0) == []
        assert sum(fit.boxes for fit in await boxes.fits(theirs)) == 1
        assert (await papers.messages(theirs, MessageQuery())).total == 0
        assert (await papers.messages(ours, MessageQuery())).total == 2
        assert await papers.message(theirs, 1) is None
        assert {row.about for row in await papers.audit(theirs, AuditQuery(), 50)} == {YOUNG_BOX}
        assert BOX in {row.about for row in await papers.audit(ours, AuditQuery(), 50)}
        only = Reach("main", frozenset({LEAF}))
        assert [row.battery for row in (await book.page(only, FleetQuery(), NOW_MS)).rows] == [LEAF]
        assert [line.box for line in (await boxes.page(only, BoxQuery(), NOW_MS)).lines] == [BOX]


async def test_the_list_follows_new_records_and_nothing_else(sqlite_url: str) -> None:
    """Forecasts cost processor time: a battery is judged again when records came, and once a day."""
    async with open_writer(sqlite_url, "test") as database:
        await fill(database, lived_in(), NOW_MS)
        assert await judge(database, NOW_MS + 1) == 0
        async with database.transaction() as connection:
            await connection.execute(
                sa.update(tables.battery).values(records=9999).where(tables.battery.c.battery == LEAF)
            )
        assert await judge(database, NOW_MS + AGAIN_MS) == 0  # it was only just looked at
        assert await judge(database, NOW_MS + AGAIN_MS + 1) == 1
        assert await judge(database, NOW_MS + ANEW_MS + 2) == 2
        row = (await SqlFleetList(database).rows(EVERYWHERE, FleetQuery(q=LEAF), NOW_MS))[0]
    assert (row.state, row.lacking, row.next_use) == ("ok", None, "car")
    assert row.coverage_pct == pytest.approx(98.6, abs=1.0)


async def test_a_forecast_is_made_anew_only_where_what_it_rests_on_changed(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten records that a car brings in a day, one tells of its health: 100,000 cars would keep a processor busy."""
    made: list[float | None] = []

    def counted(readings: Sequence[SohPoint], *rest: Any, **named: Any) -> Prospect | Lacking:
        made.append(readings[-1].soh_pct)
        return forecast_of(readings, *rest, **named)

    async with open_writer(sqlite_url, "test") as database:
        await fill(database, lived_in(), NOW_MS)
        listed = await SqlFleetList(database).rows(EVERYWHERE, FleetQuery(q=LEAF), NOW_MS)
        monkeypatch.setattr(judging, "forecast_of", counted)
        assert await judge(database, NOW_MS + ANEW_MS + 1) == 3
        assert made == []
        again = await SqlFleetList(database).rows(EVERYWHERE, FleetQuery(q=LEAF), NOW_MS)
        assert [replace(row, judged_ms=NOW_MS) for row in again] == listed
        async with database.transaction() as connection:
            mine = sa.update(tables.soh_point).where(tables.soh_point.c.battery == LEAF)
            await connection.execute(mine.values(soh_pct=tables.soh_point.c.soh_pct - 1.0))
        assert await judge(database, NOW_MS + 2 * ANEW_MS + 2) == 3
        assert made == [pytest.approx(listed[0].soh_pct - 1.0)]


async def test_a_battery_in_dispute_is_judged_so_at_once_and_back(sqlite_url: str) -> None:
    """No list may go on promising what rests on two histories."""
    chain = tables.chain
    async with open_writer(sqlite_url, "test") as database:
        await fill(database, lived_in(), NOW_MS)
        book = SqlFleetList(database)

        async def dispute(from_seq: int | None) -> str | None:
            async with database.transaction() as connection:
                values = {"battery": LEAF, "disputed_from": from_seq, "disputed_ms": from_seq and NOW_MS}
                await connection.execute(sa.update(chain).where(chain.c.box == BOX).values(values))
            await judge(database, NOW_MS)
            (row,) = await book.rows(EVERYWHERE, FleetQuery(q=LEAF), NOW_MS)
            return row.lacking

        assert await dispute(300) == "disputed"
        assert await dispute(None) is None


async def test_a_battery_that_was_not_looked_at_yet_is_listed_all_the_same(sqlite_url: str) -> None:
    """A new car must not wait for a background task to exist."""
    async with open_writer(sqlite_url, "test") as database:
        async with database.transaction() as connection:
            counts = {"records": 1, "charges": 0, "drives": 0, "rests": 0}
            await connection.execute(sa.insert(tables.battery), [{"battery": "new-1", **counts}])
        (row,) = (await SqlFleetList(database).page(EVERYWHERE, FleetQuery(), NOW_MS)).rows
        known = {field.name: getattr(row, field.name) for field in fields(row)}
        assert await judge(database, NOW_MS) == 1
    assert {name for name, value in known.items() if value} == {"battery", "state"}
