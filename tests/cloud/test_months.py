"""The ledger by month, what an older book brings along, heartbeats, histories made anew beside the collector."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import sqlalchemy as sa
from alembic import command
from pydantic import SecretStr

from packbook.adapters.store import database as database_module
from packbook.adapters.store import heartbeats, open_writer, rebuilding, tables
from packbook.adapters.store.audit import audit
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.rebuilding import rebuild, rebuild_box, records_by_box
from packbook.app.operate import Office, operators_door
from packbook.app.rebuild import ACTS
from packbook.app.rebuild import rebuild as rebuild_command
from packbook.core.intake import Arrival
from packbook.settings import Settings
from packbook.testing.scripted_box import RECEIVED_MS, ScriptedBox, arrival
from packwire.messages import Health
from packwire.presence import encode_heartbeat
from packwire.topics import Leaf, topic

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
FIRST_RELEASE: Final = "0010"  # the newest schema before the ledger was cut by month


def at_ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


async def parts_of(database: Database) -> dict[str, int]:
    """Rows of each part of the ledger."""
    async with database.transaction() as connection:
        names = await connection.scalars(
            sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ledger'::regclass")
        )
        counts = {name: sa.select(sa.func.count()).select_from(sa.table(name)) for name in sorted(names)}
        return {name: await connection.scalar(count) or 0 for name, count in counts.items()}


async def test_records_lie_in_the_part_of_their_month_and_the_next_one_is_ready(postgres_url: str) -> None:
    """At the turn of the month nobody waits for a table, and a year can be moved to slower disks as a whole."""
    box = ScriptedBox()
    box.life()
    async with open_writer(postgres_url, "test") as database:
        ledger = Ledger(database)
        for sealed, when_ms in zip(
            box.sealed, [at_ms(2026, 11, 30)] * 3 + [at_ms(2026, 12, 31)] * 2 + [at_ms(2027, 1, 1)] * 2, strict=True
        ):
            await ledger.take([arrival(box.box, sealed, when_ms)])
        parts = {"ledger_2026_11": 3, "ledger_2026_12": 2, "ledger_2027_01": 2, "ledger_2027_02": 0}
        assert await parts_of(database) == parts
        assert (await Ledger(database).take(box.arrivals)).duplicates == 7  # of whatever month
        assert (await audit(database, lambda _done, _total: None)).broken == 0


async def test_two_collectors_begin_a_month_together(postgres_url: str) -> None:
    """Both meet the first record of a month at once."""
    boxes = [ScriptedBox(name=f"box-{number}") for number in range(4)]
    for box in boxes:
        box.life()
    async with open_writer(postgres_url, "one") as one, open_writer(postgres_url, "two") as two:
        ledgers = [Ledger(one), Ledger(two)]
        taken = await asyncio.gather(*(ledgers[n % 2].take(box.arrivals) for n, box in enumerate(boxes)))
    assert [each.accepted for each in taken] == [7] * 4


async def _of_a_released_version(url: str) -> ScriptedBox:
    """A book as the newest schema of before kept it, with a box's life in its ledger."""
    box = ScriptedBox()
    box.life()
    config = database_module._config()
    async with aclosing(Database(url)) as database, database.transaction() as connection:
        if not database.is_sqlite:
            await connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            await connection.execute(sa.text("CREATE SCHEMA public"))

        def upgrade(sync: sa.Connection) -> None:
            config.attributes["connection"] = sync
            command.upgrade(config, FIRST_RELEASE)

        await connection.run_sync(upgrade)
        for number, sealed in enumerate(box.sealed, start=1):
            insert = sa.text(
                "INSERT INTO ledger VALUES (:box, :store, :seq, :none, :digest, :kind, :boot, 1, NULL, :at, :sealed)"
            )
            row = {"box": box.box, "store": box.store, "seq": number, "none": bytes(16), "kind": 1}
            row |= {"digest": sealed[:16], "boot": box.boot, "at": RECEIVED_MS, "sealed": sealed}
            await connection.execute(insert, row)
    return box


async def test_a_released_book_keeps_its_ledger_where_it_lies(database_url: str) -> None:
    """Years of records are not copied while the fleet waits, and what they hold is still recognised."""
    url = database_url.replace("book.db", "old.db")
    box = await _of_a_released_version(url)
    async with aclosing(Database(url)) as database:
        await database.migrate()
        await database.require_schema()
        async with database.transaction() as connection:
            seen = await connection.execute(sa.select(tables.seen.c.seq, tables.seen.c.digest).order_by("seq"))
            assert [tuple(row) for row in seen] == [(n, sealed[:16]) for n, sealed in enumerate(box.sealed, start=1)]
        if not database.is_sqlite:
            assert await parts_of(database) == {"ledger_before": 7}
            later = ScriptedBox(name="bravo")
            later.life()
            await Ledger(database).take([arrival(later.box, sealed, RECEIVED_MS) for sealed in later.sealed])
            await Ledger(database).take([arrival(later.box, later.rest(), RECEIVED_MS + 62 * DAY_MS)])
            parts = await parts_of(database)
            assert parts["ledger_before"] == 14
            assert sum(parts.values()) == 15


async def test_heartbeats_are_kept_one_an_hour_and_forgotten_in_time(database: Database) -> None:
    """An operator looks at how a box fared over weeks; for years there is no room."""
    box = ScriptedBox()

    def beat(when_ms: int, frames: int) -> Arrival:
        return Arrival(topic(box.box, Leaf.HEARTBEAT), encode_heartbeat(Health(frames=frames)), when_ms)

    begin_ms = RECEIVED_MS - RECEIVED_MS % HOUR_MS
    ledger, histories = Ledger(database), SqlHistories(database)
    await ledger.take([beat(begin_ms, 1), beat(begin_ms + 600_000, 2), beat(begin_ms + HOUR_MS, 3)])
    await ledger.take([beat(begin_ms + HOUR_MS + 1, 4), beat(begin_ms + DAY_MS, 5)])
    kept = [(row.at_ms - begin_ms, row.health["frames"]) for row in await histories.heartbeats(box.box, 0)]
    assert kept == [(600_000, 2), (HOUR_MS + 1, 4), (DAY_MS, 5)]
    assert await heartbeats.forget(database, begin_ms + DAY_MS) == 2
    assert len(await histories.heartbeats(box.box, 0)) == 1
    assert await histories.heartbeats("00" * 8, 0) == []


async def test_boxes_that_shared_a_battery_are_made_anew_together(database: Database) -> None:
    """Their counts stand in one row: one of them alone would count twice or not at all."""
    one, other, alone = ScriptedBox(), ScriptedBox(name="bravo"), ScriptedBox(name="charlie")
    for box, battery in ((one, "BAT-1"), (other, "BAT-1"), (other, "BAT-2"), (alone, "BAT-3")):
        box.hello(battery)
        box.charge()
    ledger = Ledger(database)
    await ledger.take(one.arrivals + other.arrivals + alone.arrivals)
    assert await records_by_box(database) == {one.box: 2, other.box: 4, alone.box: 2}
    rebuilt = await rebuild_box(database, other.box)
    assert (rebuilt.boxes, rebuilt.records) == (frozenset({one.box, other.box}), 6)
    async with database.transaction() as connection:
        table = tables.battery
        counts = await connection.execute(sa.select(table.c.battery, table.c.records).order_by(table.c.battery))
        assert [tuple(row) for row in counts] == [("BAT-1", 4), ("BAT-2", 2), ("BAT-3", 2)]


async def test_a_sqlite_book_that_is_served_makes_its_histories_anew_itself(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has one writer: the command asks it, part by part, and records come in between two of them."""
    monkeypatch.setattr(rebuilding, "RECORDS_AT_ONCE", 1)  # each box a part
    settings = Settings(database_url=SecretStr(sqlite_url))
    boxes = sorted((ScriptedBox(name=f"box-{number}") for number in range(3)), key=lambda box: box.box)
    for box in boxes:
        box.hello(f"BAT-{box.name}")
        for _ in range(3):
            box.charge()
    parts: list[object] = []
    async with open_writer(sqlite_url, "collector") as writer:
        ledger = Ledger(writer)
        await ledger.take([message for box in boxes for message in box.arrivals])
        async with writer.transaction() as connection:
            await connection.execute(sa.delete(tables.session))

        async def counted_part(office: Office, wish: Mapping[str, Any]) -> object:
            parts.append(await ACTS["rebuild.part"](office, wish))
            await ledger.take([arrival(box.box, box.charge()) for box in boxes])
            return parts[-1]

        async with operators_door(Office(writer, settings), {**ACTS, "rebuild.part": counted_part}):
            assert await rebuild_command(settings) == 0
        async with writer.transaction() as connection:
            counted = await connection.execute(sa.select(tables.battery.c.records, tables.battery.c.charges))
            assert [tuple(row) for row in counted] == [(7, 6)] * 3
            assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.session)) == 18
    assert [part["after"] for part in parts] == [boxes[0].box, boxes[1].box, None]  # type: ignore[index]  # JSON
    assert "histories made anew from 15 records" in capsys.readouterr().out


async def test_records_come_in_while_histories_are_made_anew(postgres_url: str) -> None:
    """An update that reads more from the records must not stop a fleet for the hours that it takes."""
    boxes = [ScriptedBox(name=f"box-{number}") for number in range(12)]
    for box in boxes:
        box.hello(f"BAT-{box.name}")
        for _ in range(30):
            box.charge()
    early = [message for box in boxes for message in box.arrivals[:16]]
    late = [box.arrivals[number] for number in range(16, 31) for box in boxes]
    async with open_writer(postgres_url, "one") as one, open_writer(postgres_url, "two") as two:
        await Ledger(one).take(early)
        ledger = Ledger(two)
        making = asyncio.create_task(rebuild(one, lambda _done, _total: None))
        for begin in range(0, len(late), 12):
            assert (await ledger.take(late[begin : begin + 12])).accepted == 12
        await making
        async with one.transaction() as connection:
            counted = await connection.execute(sa.select(tables.battery.c.records, tables.battery.c.charges))
            assert [tuple(row) for row in counted] == [(31, 30)] * 12
            assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.session)) == 360
