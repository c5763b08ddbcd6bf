"""The ledger and what follows from it, on both databases."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
import sqlalchemy as sa

from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.audit import audit
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.rebuilding import rebuild
from packbook.core.history import Provenance
from packbook.core.intake import Arrival
from packbook.ports.taking import Holding
from packbook.testing.scripted_box import HOUR_MS, RECEIVED_MS, SOME_DAY_MS, ScriptedBox, arrival
from packwire.messages import EventKind, Health
from packwire.presence import encode_heartbeat
from packwire.seal import digest

Snapshot = dict[str, list[tuple[object, ...]]]


async def snapshot(database: Database) -> Snapshot:
    """Everything that the ledger means: all projections and the chains, in a fixed order."""
    found: Snapshot = {}
    async with database.transaction() as connection:
        for table in (*tables.PROJECTIONS, tables.chain):
            rows = await connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            found[table.name] = [tuple(row) for row in rows]
    return found


async def test_a_short_life_becomes_a_history(database: Database) -> None:
    """The path everything else deepens: signed records in, a battery's history out, each figure with its source."""
    box = ScriptedBox()
    box.life()
    taken = await Ledger(database).take(box.arrivals)
    histories = SqlHistories(database)

    assert (taken.accepted, taken.duplicates, taken.quarantined) == (7, 0, {})
    assert taken.holdings == (Holding(box.box, box.store, 7, (), digest(box.sealed[6])),)
    battery = await histories.battery("BAT-1")
    assert battery is not None
    assert battery.sessions == {"charge": 1, "drive": 1, "rest": 1}
    assert (battery.records, battery.boxes, battery.profile) == (7, [box.box], "nissan-leaf")
    assert battery.soh is not None
    assert battery.soh.soh_pct == 88.0
    assert battery.soh.provenance == Provenance(box.box, box.store, 6)
    assert battery.soh.estimates[0].evidence == (1, 2)
    assert await histories.batteries() == [battery]
    charge, *_ = await histories.sessions("BAT-1", "charge")
    assert (charge.energy_in_wh, charge.charge_kind, charge.provenance.seq) == (9000.0, "ac", 3)
    assert [s.kind for s in await histories.sessions("BAT-1")] == ["rest", "charge", "drive"]
    usage = await histories.usage("BAT-1")
    assert usage is not None
    assert (usage.charges_ac, usage.soc_temp_s[3], len(usage.c_rate_temp_s)) == (4, 600, 180)
    assert [e.event for e in await histories.events("BAT-1")] == ["cell_low"]
    assert [(b.box, b.records) for b in await histories.boxes()] == [(box.box, 7)]


async def test_an_unknown_battery_is_nothing_rather_than_an_error(database: Database) -> None:
    """A link may outlive what it points to."""
    histories = SqlHistories(database)
    assert await histories.battery("NOBODY") is None
    assert await histories.usage("NOBODY") is None
    assert (await histories.soh_series("NOBODY"), await histories.sessions("NOBODY")) == ([], [])


async def test_the_same_record_again_is_harmless_and_acknowledged_again(database: Database) -> None:
    """Lost acks are normal: the box repeats until it hears that the book holds the record."""
    box, ledger = ScriptedBox(), Ledger(database)
    box.life()
    await ledger.take(box.arrivals)
    before = await snapshot(database)
    again = await ledger.take(box.arrivals[2:4] * 2)
    assert (again.accepted, again.duplicates) == (0, 4)
    assert again.holdings == (Holding(box.box, box.store, 7, (), digest(box.sealed[6])),)
    assert await snapshot(database) == before


async def test_records_beyond_a_hole_wait_in_the_ledger_until_it_is_filled(database: Database) -> None:
    """The history is made in chain order, but nothing that came is asked for twice."""
    box, ledger, histories = ScriptedBox(), Ledger(database), SqlHistories(database)
    box.life()
    first, second, third, *rest = box.arrivals
    early = await ledger.take([first, *rest])
    assert early.holdings == (Holding(box.box, box.store, 1, (4, 5, 6, 7), digest(box.sealed[0]), 2),)
    assert await histories.sessions("BAT-1") == []
    late = await ledger.take([third])
    assert late.holdings == (Holding(box.box, box.store, 1, (3, 4, 5, 6, 7), digest(box.sealed[0]), 2),)
    filled = await ledger.take([second])
    assert filled.holdings == (Holding(box.box, box.store, 7, (), digest(box.sealed[6])),)
    assert len(await histories.sessions("BAT-1")) == 3


async def test_a_second_record_in_the_same_place_is_a_fork(database: Database) -> None:
    """Two boxes with one card: the first to arrive stands, the other is kept as evidence and raises the alarm."""
    box, ledger = ScriptedBox(), Ledger(database)
    box.hello()
    clone = replace(box, sealed=[])
    box.charge()
    clone.drive()
    await ledger.take(box.arrivals)
    forked = await ledger.take([arrival(clone.box, clone.sealed[0])])
    assert forked.quarantined == {"fork": 1}
    assert forked.accepted == 0
    (kept,) = await SqlHistories(database).quarantine()
    assert kept.reason.startswith("fork: record")
    assert kept.payload == clone.sealed[0]


async def test_a_record_that_does_not_fit_its_neighbours_breaks_the_chain(database: Database) -> None:
    """From both sides: a wrong predecessor, and a wrong record squeezed before a held one."""
    box, ledger = ScriptedBox(), Ledger(database)
    box.hello()
    other = replace(box, sealed=list(box.sealed))
    box.charge()
    box.charge()
    other.drive()
    other.drive()
    await ledger.take(box.arrivals[:2])
    after = await ledger.take([arrival(box.box, other.sealed[2])])
    assert after.quarantined == {"broken_chain": 1}
    third = ScriptedBox(name="bravo")
    third.hello()
    fourth = replace(third, sealed=list(third.sealed))
    third.charge()
    third.charge()
    fourth.drive()
    await ledger.take([third.arrivals[0], third.arrivals[2]])
    between = await ledger.take([fourth.arrivals[1]])
    assert between.quarantined == {"broken_chain": 1}


async def test_garbage_is_kept_once_and_counted(database: Database) -> None:
    """A flood of one bad message must neither block good ones nor fill the disk."""
    box, ledger = ScriptedBox(), Ledger(database)
    box.hello()
    garbage = Arrival(f"pb/v1/{box.box}/r", b"\x00garbage\xff", RECEIVED_MS)
    strange = Arrival("pb/v1/\x00not-a-box\n/r", b"", RECEIVED_MS)
    taken = await ledger.take([garbage, box.arrivals[0], strange, garbage])
    await ledger.take([replace(garbage, received_ms=RECEIVED_MS + 5)])
    assert (taken.accepted, taken.quarantined) == (1, {"malformed": 2, "not_ours": 1})
    async with database.transaction() as connection:
        table = tables.quarantine
        rows = (await connection.execute(sa.select(table.c.reason, table.c.times, table.c.received_ms))).all()
    assert sorted(rows) == [("malformed", 3, RECEIVED_MS), ("not_ours", 1, RECEIVED_MS)]


async def test_a_record_whose_key_is_unknown_is_neither_kept_nor_acknowledged(database: Database) -> None:
    """The box keeps it, and is asked for its hello: after a restored backup it believes that we have that."""
    box, ledger = ScriptedBox(), Ledger(database)
    box.life()
    early = await ledger.take(box.arrivals[1:])
    assert (early.unready, early.accepted) == (6, 0)
    assert early.holdings == (Holding(box.box, box.store, 0, (), resend_from=1),)
    (seen,) = await SqlHistories(database).boxes()
    assert (seen.box, seen.records) == (box.box, 0)
    together = await ledger.take(list(reversed(box.arrivals)))
    assert together.accepted == 7


async def test_a_box_that_takes_us_to_hold_another_number_is_told_at_once(database: Database) -> None:
    """A restored backup: the box keeps what we lost, but the car is parked and sends no record for days."""
    box, ledger = ScriptedBox(), Ledger(database)
    box.life()
    await ledger.take(box.arrivals[:3])
    head = digest(box.sealed[2])

    async def told(standing: str) -> tuple[Holding, ...]:
        status = Arrival(f"pb/v1/{box.box}/s", f"online {standing}".encode(), RECEIVED_MS)
        return (await ledger.take([status])).holdings

    for held in (7, 2, 0):
        assert await told(f"{box.store} {held}") == (Holding(box.box, box.store, 3, (), head, resend_from=4),)
    assert await told(f"{box.store} 3") == ()
    lost = "57" * 8
    assert await told(f"{lost} 4") == (Holding(box.box, lost, 0, (), None, resend_from=1),)
    assert await told(f"{lost} 0") == ()  # a new store that has not said anything yet
    assert await told("") == ()  # an older box


async def test_the_key_of_a_hello_that_does_not_fit_is_kept_for_the_records_that_do(database: Database) -> None:
    """Otherwise the ledger would hold records that nobody can verify any more."""
    box = ScriptedBox()
    odd = replace(box, previous=b"x" * 16, sealed=[])
    odd.hello()
    box.life()
    taken = await Ledger(database).take([arrival(box.box, odd.sealed[0]), *box.arrivals[1:3]])
    assert (taken.accepted, taken.quarantined) == (2, {"broken_chain": 1})
    found = await audit(database, lambda _done, _total: None)
    assert (found.records, found.troubles) == (2, [])


async def test_two_stores_and_two_boxes_of_one_battery_add_up(database: Database) -> None:
    """A replaced card or a second box starts counting at zero; the battery's life does not."""
    ledger, histories = Ledger(database), SqlHistories(database)
    for name, store in (("alfa", "first"), ("alfa", "second"), ("bravo", "first")):
        box = ScriptedBox(name=name, store_name=store)
        box.hello()
        box.usage(charge_in_ah=50.0, charges_ac=2)
        box.usage(charge_in_ah=100.0, charges_ac=4)
        await ledger.take(box.arrivals)
    usage = await histories.usage("BAT-1")
    assert usage is not None
    assert (usage.charge_in_ah, usage.charges_ac, usage.soc_temp_s[3]) == (300.0, 12, 1800)
    assert (usage.events, usage.odometer_km) == ({"cell_low": 3}, 1100.0)
    battery = await histories.battery("BAT-1")
    assert battery is not None
    assert len(battery.boxes) == 2


async def test_another_battery_in_a_later_hello_forks_the_history(database: Database) -> None:
    """Packs get swapped: what follows belongs to the other battery, and nothing is mixed."""
    box, histories = ScriptedBox(), SqlHistories(database)
    box.life()
    swapped_at = box.wall_ms + HOUR_MS
    box.hello(battery="BAT-2")
    box.charge()
    box.usage(charge_in_ah=7.0)
    box.hello(battery="BAT-2", software="0.2.0")
    box.charge()
    await Ledger(database).take(box.arrivals)
    first, second = await histories.batteries()
    assert (first.battery, first.records, first.sessions["charge"]) == ("BAT-1", 7, 1)
    assert (second.battery, second.records, second.sessions["charge"]) == ("BAT-2", 5, 2)
    assert (second.first_ms, second.software) == (swapped_at, "0.2.0")
    usage = await histories.usage("BAT-2")
    assert usage is not None
    assert usage.charge_in_ah == 7.0
    async with database.transaction() as connection:
        table = tables.installation
        rows = (await connection.execute(sa.select(table.c.battery, table.c.seq, table.c.hello_seq))).all()
    assert sorted(rows) == [("BAT-1", 1, 1), ("BAT-2", 8, 11)]


async def test_a_later_clock_anchor_dates_what_came_before_it(database: Database) -> None:
    """A Pi wakes without a date; the day is learnt later and the earlier sessions get theirs, the ledger unchanged."""
    box, ledger, histories = ScriptedBox(clock_set=False), Ledger(database), SqlHistories(database)
    box.life()
    await ledger.take(box.arrivals)
    undated = await histories.sessions("BAT-1")
    assert [s.start_ms for s in undated] == [None] * 3
    box.clock_anchor()
    await ledger.take(box.arrivals[7:])
    dated = await histories.sessions("BAT-1", "drive")
    assert dated[0].start_ms == SOME_DAY_MS + 60_000 + HOUR_MS
    battery = await histories.battery("BAT-1")
    assert battery is not None
    assert battery.first_ms == SOME_DAY_MS + 60_000 + HOUR_MS
    assert battery.soh is not None
    assert battery.soh.at_ms == SOME_DAY_MS + 60_000 + 6 * HOUR_MS
    async with database.transaction() as connection:
        walls = (await connection.scalars(sa.select(tables.ledger.c.wall_ms).order_by(tables.ledger.c.seq))).all()
    assert walls == [None] * 7 + [box.wall_ms]


async def test_an_anchor_of_another_boot_dates_nothing(database: Database) -> None:
    """Monotonic times of two boots are never compared."""
    box = ScriptedBox(clock_set=False)
    box.life()
    box.boot_name, box.mono_ms = "boot-2", 0
    box.clock_anchor()
    box.charge()
    await Ledger(database).take(box.arrivals)
    sessions = await SqlHistories(database).sessions("BAT-1")
    assert [s.start_ms is None for s in sessions] == [False, True, True, True]


async def test_a_rebuild_ends_where_taking_records_one_by_one_ended(database: Database) -> None:
    """Projections are a function of the ledger alone; a later version may read more out of the same records."""
    ledger = Ledger(database)
    boxes = [ScriptedBox(), ScriptedBox(store_name="second", clock_set=False), ScriptedBox(name="bravo")]
    for box in boxes:
        box.life()
        box.hello(battery="BAT-2")
        box.life()
        box.clock_anchor()
        box.event(EventKind.PACK_HOT, extreme=61.5)
    for step in zip(*(box.arrivals for box in boxes), strict=True):
        await ledger.take(step)
    hole = ScriptedBox(name="charlie")
    hole.life()
    await ledger.take(hole.arrivals[:3] + hole.arrivals[5:])
    before = await snapshot(database)
    steps: list[tuple[int, int]] = []
    assert await rebuild(database, lambda done, total: steps.append((done, total))) == 3 * 17 + 3
    assert await snapshot(database) == before
    assert steps[-1] == (54, 56)


async def test_two_collectors_on_one_database_neither_lose_nor_double(postgres_url: str) -> None:
    """A shared subscription deals one box's records to several workers, in any order and sometimes twice."""
    boxes = [ScriptedBox(name=f"box-{n}") for n in range(4)]
    for box in boxes:
        box.hello()
        for _ in range(40):
            box.charge()
    dealt = [message for box in boxes for message in box.arrivals]
    dice = random.Random(7)
    async with open_writer(postgres_url, "collector-0") as one, open_writer(postgres_url, "collector-1") as other:

        async def work(database: Database) -> int:
            hand = list(dealt)
            dice.shuffle(hand)
            accepted, waiting = 0, True
            while waiting:
                waiting = False
                for begin in range(0, len(hand), 10):
                    taken = await Ledger(database).take(hand[begin : begin + 10])
                    accepted += taken.accepted
                    waiting |= taken.unready > 0
            return accepted

        accepted = await asyncio.gather(work(one), work(other))
        before = await snapshot(one)
        await rebuild(one, lambda _done, _total: None)
        assert await snapshot(one) == before
        battery = await SqlHistories(other).battery("BAT-1")
    assert sum(accepted) == len(dealt)
    assert min(accepted) > 0
    assert battery is not None
    assert (battery.records, battery.sessions["charge"]) == (164, 160)


async def test_one_row_the_database_refuses_blocks_nobody(sqlite_url: str) -> None:
    """Poison that passes every check must not stand before the records of a whole fleet."""
    database = Database(sqlite_url)
    async with database.transaction() as connection:
        await connection.execute(
            sa.text(
                "CREATE TRIGGER poison BEFORE INSERT ON session WHEN NEW.energy_in_wh = 666 "
                "BEGIN SELECT RAISE(ABORT, 'cannot stand it'); END"
            )
        )
    box = ScriptedBox()
    box.hello()
    box.charge()
    box.charge(energy_in_wh=666.0)
    box.charge()
    other = ScriptedBox(name="bravo")
    other.life()
    taken = await Ledger(database).take(box.arrivals + other.arrivals)
    assert (taken.accepted, taken.quarantined) == (10, {"refused_by_store": 1})
    (kept,) = await SqlHistories(database).quarantine()
    assert "cannot stand it" in kept.reason
    await database.aclose()


@pytest.mark.parametrize("payload", [b"online", b"offline connection lost"])
async def test_status_and_heartbeat_are_presence_not_evidence(database: Database, payload: bytes) -> None:
    """Unsigned messages change what an operator sees, never the ledger."""
    box = ScriptedBox()
    status = Arrival(f"pb/v1/{box.box}/s", payload, RECEIVED_MS)
    beat = encode_heartbeat(Health(frames=1000, software="0.1.0"))
    heartbeat = Arrival(f"pb/v1/{box.box}/h", beat, RECEIVED_MS + 1)
    taken = await Ledger(database).take([status, heartbeat])
    (seen,) = await SqlHistories(database).boxes()
    assert (seen.online, seen.last_seen_ms, seen.records) == (payload == b"online", RECEIVED_MS + 1, 0)
    assert (seen.health["frames"], seen.health["software"]) == (1000, "0.1.0")
    assert (taken.holdings, taken.quarantined) == ((), {})
