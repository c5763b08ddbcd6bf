"""Two histories under one store's name, boxes that may not speak, and what operators do about them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from packbook.adapters.rules import RuleBook
from packbook.adapters.store import quarantine, tables
from packbook.adapters.store.audit import audit
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.quarantine import Act, Dispute
from packbook.adapters.store.rebuilding import rebuild
from packbook.app.passports import BookPassports
from packbook.core.history import Doubt
from packbook.core.intake import Arrival, Fate
from packbook.ports.taking import Holding
from packbook.testing.scripted_box import RECEIVED_MS, ScriptedBox
from packwire.seal import digest


def clone_of(box: ScriptedBox) -> ScriptedBox:
    """The same card in another slot."""
    return replace(box, sealed=list(box.sealed))


def parted() -> tuple[ScriptedBox, ScriptedBox]:
    """Two boxes with one card: two records in common, then three of each."""
    box = ScriptedBox()
    box.hello()
    box.charge()
    clone = clone_of(box)
    for one in (box, clone):
        for distance_km in (5.0, 6.0, 7.0):
            one.drive(distance_km + (one is clone))
    return box, clone


def settled(box: ScriptedBox, act: str = "trust") -> Act:
    return Act(RECEIVED_MS, act, "operator", "looked at the cards", box=box.box, store=box.store)


async def fates(database: Database) -> list[tuple[str, str, int | None]]:
    """Of all messages that were ever refused, by reason."""
    async with database.transaction() as connection:
        found = await quarantine.items(connection, every_state=True)
    return sorted((item.reason, item.state, item.seq) for item in found)


async def test_the_history_that_came_first_stands_and_the_other_box_is_told(database: Database) -> None:
    """The head in the ack is how a box with the other history learns of it; no record of either is thrown away."""
    box, clone = parted()
    ledger = Ledger(database)
    await ledger.take(box.arrivals)
    taken = await ledger.take(clone.arrivals[2:])
    assert taken.quarantined == {"fork": 3}
    assert taken.holdings == (Holding(box.box, box.store, 5, (), digest(box.sealed[4])),)
    assert await fates(database) == [("fork", "open", 3), ("fork", "open", 4), ("fork", "open", 5)]
    assert len(await SqlHistories(database).sessions("BAT-1")) == 4


async def test_a_disputed_store_goes_on_and_its_history_waits_for_a_person(database: Database) -> None:
    """Nobody can say which card is the right one: both go on being kept, neither enters the battery's history."""
    box, clone = parted()
    ledger, histories = Ledger(database), SqlHistories(database)
    await ledger.take(box.arrivals)
    await ledger.take(clone.arrivals[2:])
    box.charge()
    box.drive()
    more = await ledger.take(box.arrivals[5:])
    assert (more.accepted, more.holdings[0].upto) == (2, 7)
    assert len(await histories.sessions("BAT-1")) == 4
    async with database.transaction() as connection:
        assert await quarantine.disputes(connection) == [
            Dispute(box.box, box.store, "BAT-1", 6, RECEIVED_MS, held_out=2, settled_ms=None)
        ]
    found = await audit(database, lambda _done, _total: None)
    assert (found.broken, len(found.disputes)) == (0, 1)


async def test_settled_with_trust_the_history_goes_on_where_it_stood(database: Database) -> None:
    """The card was restored from a backup, say: what was held out enters in order, and a rebuild ends the same."""
    box, clone = parted()
    ledger, histories = Ledger(database), SqlHistories(database)
    await ledger.take(box.arrivals)
    await ledger.take(clone.arrivals[2:3])
    box.charge()
    box.drive()
    await ledger.take(box.arrivals[5:])
    assert await ledger.settle(settled(box), trust=True) == 2
    sessions = await histories.sessions("BAT-1")
    assert len(sessions) == 6
    await ledger.take(clone.arrivals[2:3])  # the same forked record again raises nothing anew
    box.drive()
    assert (await ledger.take(box.arrivals[7:])).accepted == 1
    assert len(await histories.sessions("BAT-1")) == 7
    await rebuild(database, lambda _done, _total: None)
    assert len(await histories.sessions("BAT-1")) == 7


async def test_settled_with_distrust_it_stays_out_for_good(database: Database) -> None:
    """Also after a rebuild. The evidence stays in the ledger; doctor stops asking."""
    box, clone = parted()
    ledger, histories = Ledger(database), SqlHistories(database)
    await ledger.take(box.arrivals)
    await ledger.take(clone.arrivals[2:3])
    box.charge()
    await ledger.take(box.arrivals[5:])
    assert await ledger.settle(settled(box, "distrust"), trust=False) == 1
    await rebuild(database, lambda _done, _total: None)
    assert len(await histories.sessions("BAT-1")) == 4
    async with database.transaction() as connection:
        (dispute,) = await quarantine.disputes(connection)
        written = (await connection.execute(sa.select(tables.quarantine_act))).mappings().all()
    assert dispute.settled_ms == RECEIVED_MS
    assert [(row["act"], row["who"], row["why"]) for row in written] == [
        ("distrust", "operator", "looked at the cards")
    ]
    assert await ledger.settle(replace(settled(box), store="0" * 16), trust=True) is None


async def test_a_history_that_goes_on_from_an_unseen_fork_breaks_the_chain(database: Database) -> None:
    """The clone was offline while it parted: its first record that we see stands right after our tip."""
    box, clone = parted()
    ledger = Ledger(database)
    await ledger.take(box.arrivals)
    clone.charge()
    clone.charge()
    taken = await ledger.take(clone.arrivals[5:])
    assert taken.quarantined == {"broken_chain": 1, "disputed": 1}
    assert taken.holdings == (Holding(box.box, box.store, 5, (), digest(box.sealed[4]), resend_from=6),)


async def test_a_wrong_record_taken_beyond_a_hole_makes_way(database: Database) -> None:
    """Its box counts it as held: it must leave the ledger for quarantine, and the right one be asked for."""
    box, clone = parted()
    ledger = Ledger(database)
    await ledger.take([*box.arrivals[:2], clone.arrivals[3]])  # 1, 2, and 4 of the other history
    taken = await ledger.take([box.arrivals[2]])
    assert taken.holdings == (Holding(box.box, box.store, 3, (), digest(box.sealed[2]), resend_from=4),)
    assert taken.quarantined == {"broken_chain": 1}
    rest = await ledger.take(box.arrivals[3:])
    assert (rest.accepted, rest.holdings) == (2, (Holding(box.box, box.store, 5, (), digest(box.sealed[4])),))
    async with database.transaction() as connection:
        (kept,) = await quarantine.items(connection)
    assert (kept.payload, kept.seq) == (clone.sealed[3], 4)


async def test_a_record_refused_for_a_while_leaves_quarantine_when_it_is_believed(database: Database) -> None:
    """The honest box's record came out of order in a disputed store: later it fits, and nobody need look at it."""
    box, clone = parted()
    ledger = Ledger(database)
    await ledger.take(box.arrivals)
    await ledger.take(clone.arrivals[2:3])
    box.charge()
    box.charge()
    early = await ledger.take(box.arrivals[6:7])
    assert (early.quarantined, early.holdings[0].resend_from) == ({"disputed": 1}, 6)
    await ledger.take(box.arrivals[5:7])
    assert await fates(database) == [("disputed", "believed", 7), ("fork", "open", 3)]


async def test_records_that_a_restored_book_forgot_are_asked_for(database: Database) -> None:
    """The box was told long ago that they are held. Without asking it would never send them again."""
    box = ScriptedBox()
    box.life()
    ledger = Ledger(database)
    await ledger.take(box.arrivals[:2])  # the backup
    taken = await ledger.take(box.arrivals[5:])
    assert taken.holdings == (Holding(box.box, box.store, 2, (6, 7), digest(box.sealed[1]), resend_from=3),)
    filled = await ledger.take(box.arrivals[2:5])
    assert filled.holdings == (Holding(box.box, box.store, 7, (), digest(box.sealed[6])),)


async def enrol(database: Database, box: ScriptedBox, state: str) -> None:
    row = {"box": box.box, "public_key": box.public_key, "fleet": "f", "state": state, "since_ms": 0, "enrolled_ms": 0}
    async with database.transaction() as connection:
        await connection.execute(sa.delete(tables.enrolled_box))
        await connection.execute(sa.insert(tables.enrolled_box).values(row))


async def test_a_revoked_box_is_kept_out_until_an_operator_vouches_for_a_record(database: Database) -> None:
    """A stolen box still signs. What it says is kept, said and not believed; the owner's last drives can be let in."""
    box, other = ScriptedBox(), ScriptedBox(name="bravo")
    box.life()
    other.life()
    ledger = Ledger(database)
    await ledger.take(box.arrivals[:2])
    await enrol(database, box, "revoked")
    taken = await ledger.take([*box.arrivals[2:], *other.arrivals])
    assert (taken.accepted, taken.quarantined) == (7, {"revoked": 5})
    assert [holding.box for holding in taken.holdings] == [other.box]
    vouched = await ledger.take(box.arrivals[2:3], vouched=True)
    assert vouched.accepted == 1
    assert sorted(state for _, state, _ in await fates(database)) == [Fate.BELIEVED, *[Fate.OPEN] * 4]


async def test_a_book_for_enrolled_boxes_takes_no_others(database: Database) -> None:
    """Anybody can make a key and a name; a fleet's book may want only its own."""
    box, stranger = ScriptedBox(), ScriptedBox(name="stranger")
    box.life()
    stranger.life()
    await enrol(database, box, "active")
    taken = await Ledger(database, enrolled_only=True).take([*stranger.arrivals, *box.arrivals])
    assert (taken.accepted, taken.quarantined) == (7, {"not_enrolled": 7})
    later = await Ledger(database, enrolled_only=True).take(stranger.arrivals[1:])
    assert (later.unready, later.holdings) == (6, ())


async def test_a_flood_of_different_garbage_is_counted_not_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile box has a small share of the disk, and no other box pays for it."""
    monkeypatch.setattr(quarantine, "KEPT_PER_BOX_MAX", 10)
    box, hostile = ScriptedBox(), ScriptedBox(name="hostile")
    garbage = [Arrival(f"pb/v1/{hostile.box}/r", bytes([0, k]), RECEIVED_MS) for k in range(50)]
    strange = [Arrival(f"elsewhere/{k}", b"", RECEIVED_MS) for k in range(50)]
    ledger = Ledger(database)
    await ledger.take([*garbage[:30], *strange[:30]])
    await ledger.take([*garbage[30:], *strange[30:], Arrival(f"pb/v1/{box.box}/r", b"", RECEIVED_MS)])
    async with database.transaction() as connection:
        found = await quarantine.items(connection)
    kept = [(item.box, item.reason, item.times) for item in found]
    assert [times for _, reason, times in kept if reason == "flood"] == [40, 40]
    assert len(kept) == 2 * (10 + 1) + 1
    assert (box.box, "malformed", 1) in kept


async def test_a_wrong_clock_is_told_once_per_boot(database: Database) -> None:
    """The records are genuine and kept; a person should set the clock, not read a thousand notes."""
    box = ScriptedBox(mono_ms=900 * 86_400_000)
    box.life()
    early = [replace(message, received_ms=RECEIVED_MS - 10**9) for message in box.arrivals]
    taken = await Ledger(database).take(early)
    assert taken.accepted == 7
    assert [(reason, state) for reason, state, _ in await fates(database)] == [("wrong_clock", "open")]
    assert all(session.start_ms is None for session in await SqlHistories(database).sessions("BAT-1"))


# --- what is said of the battery --------------------------------------------------------------------------------------


async def test_a_battery_in_dispute_says_so_wherever_it_is_shown(database: Database) -> None:
    """A buyer who sees a figure sees that it is in doubt, also after a person left the second history out for good."""
    box, clone = parted()
    ledger, histories = Ledger(database), SqlHistories(database)
    await ledger.take(box.arrivals)
    assert [battery.doubts for battery in await histories.batteries()] == [()]
    await ledger.take(clone.arrivals[2:])
    box.charge()
    await ledger.take(box.arrivals[5:])
    doubt = Doubt("two_histories", box.box, box.store, RECEIVED_MS, held_out=1, settled=False)
    assert [battery.doubts for battery in await histories.batteries()] == [(doubt,)]
    record = await BookPassports(database, RuleBook()).passport("BAT-1")
    assert record is not None
    assert record.doubts == ("two_histories",)
    await ledger.settle(settled(box, "distrust"), trust=False)
    battery = await histories.battery("BAT-1")
    assert battery is not None
    assert battery.doubts == (replace(doubt, settled=True),)
    await ledger.settle(settled(box), trust=True)
    assert [battery.doubts for battery in await histories.batteries()] == [()]


async def test_a_copied_card_that_began_a_store_of_its_own_puts_both_batteries_in_doubt(database: Database) -> None:
    """No record contradicts another, but one box cannot be in two cars: whose history is whose nobody can say."""
    box, other = ScriptedBox(), ScriptedBox(store_name="second")
    box.hello()
    other.hello("BAT-2")
    box.drive()
    ledger, histories = Ledger(database), SqlHistories(database)
    first, second = box.arrivals
    await ledger.take([first])
    await ledger.take([replace(other.arrivals[0], received_ms=RECEIVED_MS + 1)])
    assert [battery.doubts for battery in await histories.batteries()] == [(), ()]
    await ledger.take([replace(second, received_ms=RECEIVED_MS + 2 * quarantine.LATE_MAX_MS)])
    doubt = Doubt("two_boxes", other.box, other.store, RECEIVED_MS + 1, held_out=0, settled=False)
    assert [battery.doubts for battery in await histories.batteries()] == [(doubt,), (doubt,)]
