"""Whose a battery is, in the store: on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

from packbook.adapters.store import accounts as shelf
from packbook.adapters.store import enrolment, tables, tenants
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.rebuilding import rebuild
from packbook.core.accounts import FIRST_TENANT, AccountAct, ExternalIdentity, Reach
from packbook.core.enrolment import BoxState, EnrolledBox
from packbook.testing.scripted_box import ScriptedBox

OURS, THEIRS = Reach(FIRST_TENANT), Reach("rival")


def speaking(name: str, battery: str) -> ScriptedBox:
    box = ScriptedBox(name=name)
    box.hello(battery)
    box.charge()
    box.soh()
    return box


async def heard(database: Database, box: ScriptedBox, fleet: str) -> None:
    async with database.transaction() as connection:
        await shelf.keep_fleet(connection, "rivals", "rival")
        await enrolment.keep_box(connection, EnrolledBox(box.box, box.public_key, fleet, BoxState.ACTIVE, 1, 1))
    await Ledger(database).take(box.arrivals)


async def seen(database: Database, reach: Reach) -> list[str]:
    return [battery.battery for battery in await SqlHistories(database).within(reach).batteries()]


async def test_a_battery_is_its_boxs_firms(database: Database) -> None:
    """What nobody put anywhere is the first one's; lists, single questions and boxes agree."""
    await heard(database, speaking("alfa", "A"), "taxis")
    await heard(database, speaking("bravo", "B"), "rivals")
    await Ledger(database).take(speaking("charlie", "C").arrivals)  # never enrolled
    assert await seen(database, OURS) == ["A", "C"]
    assert await seen(database, THEIRS) == ["B"]
    assert await seen(database, Reach(None)) == ["A", "B", "C"]
    assert await seen(database, Reach("main", frozenset({"A", "B"}))) == ["A"]
    book = SqlHistories(database).within(OURS)
    for ask in (book.soh_series, book.sessions, book.events, book.purposes):
        assert not await ask("B")
    assert await book.battery("B") is None
    assert await book.usage("B") is None
    assert await book.soh_series("A")
    assert {row.box for row in await book.boxes()} == {ScriptedBox(name=name).box for name in ("alfa", "charlie")}
    mine = SqlHistories(database).within(Reach("main", frozenset({"A"})))
    assert [row.box for row in await mine.boxes()] == [speaking("alfa", "A").box]


async def test_a_box_or_fleet_that_changes_hands_takes_its_batteries_along(database: Database) -> None:
    """Sold with its box: the buyer has the past, the seller nothing."""
    box = speaking("alfa", "A")
    await heard(database, box, "taxis")
    async with database.transaction() as connection:
        await enrolment.keep_box(connection, EnrolledBox(box.box, box.public_key, "rivals", BoxState.ACTIVE, 2, 1))
    assert (await seen(database, OURS), await seen(database, THEIRS)) == ([], ["A"])
    async with database.transaction() as connection:
        await shelf.keep_fleet(connection, "rivals", FIRST_TENANT)
        await tenants.settle_fleet(connection, "rivals")
    assert (await seen(database, OURS), await seen(database, THEIRS)) == (["A"], [])


async def test_a_box_that_claims_anothers_battery_does_not_take_it_over(database: Database) -> None:
    """A battery names itself: whoever knows the name of a rival's must not read its life."""
    await heard(database, speaking("alfa", "A"), "taxis")
    claiming = speaking("bravo", "A")
    claiming.mono_ms += 10_000_000
    claiming.hello("A")
    await heard(database, claiming, "rivals")
    assert (await seen(database, OURS), await seen(database, THEIRS)) == (["A"], [])
    await rebuild(database, lambda _done, _total: None)
    assert (await seen(database, OURS), await seen(database, THEIRS)) == (["A"], [])
    async with database.transaction() as connection:
        assert not await tenants.give(connection, "A", "nobody")
        assert await tenants.give(connection, "A", "rival")
    assert (await seen(database, OURS), await seen(database, THEIRS)) == ([], ["A"])


async def test_a_rebuilt_book_has_the_same_owners(database: Database) -> None:
    """`packbook rebuild` empties the projections; nobody sees more or less after it."""
    await heard(database, speaking("alfa", "A"), "taxis")
    await heard(database, speaking("bravo", "B"), "rivals")
    await rebuild(database, lambda _done, _total: None)
    assert (await seen(database, OURS), await seen(database, THEIRS)) == (["A"], ["B"])


async def test_accounts_are_kept_alike_on_both_databases(database: Database) -> None:
    """What signing in rests on: one login once, a code once, a session's end, the record of acts."""
    row = {"account": "a1", "login": "anna", "name": "Anna", "tenant": "main", "role": "owner", "made_ms": 1}
    async with database.transaction() as connection:
        await shelf.add(connection, row, ["B", "A"])
        await shelf.set_recovery(connection, "a1", [b"\x01" * 32, b"\x02" * 32])
        await shelf.add_identity(connection, "a1", ExternalIdentity("https://issuer.example", "42", 5, mapped=False))
        begun = {
            "account": "a1",
            "made_ms": 1,
            "seen_ms": 1,
            "until_ms": 99,
            "half": False,
            "device": "",
            "address": "x",
        }
        for number in (1, 2):
            await shelf.begin(connection, {**begun, "digest": bytes([number]) * 32})
        await shelf.note(
            connection,
            [AccountAct(7, "made", "main", "a1", "op", None, ""), AccountAct(8, "x", "b", None, "", None, "")],
        )
    async with database.transaction() as connection:
        found = await shelf.of_identity(connection, "https://issuer.example", "42")
        assert found is not None
        assert found.batteries == {"A", "B"}
        assert await shelf.of_identity(connection, "https://other.example", "42") is None
        assert [await shelf.take_step(connection, "a1", step) for step in (5, 5, 4, 6)] == [True, False, False, True]
        assert [await shelf.take_recovery(connection, "a1", b"\x01" * 32) for _ in range(2)] == [True, False]
        assert await shelf.recovery_left(connection, "a1") == 1
        assert await shelf.end(connection, "a1", but=b"\x02" * 32) == [b"\x01" * 32]
        assert await shelf.end_one(connection, b"\x02" * 32)
        assert [act.act for act in await shelf.acts(connection, OURS, 9)] == ["made"]
        assert len(await shelf.acts(connection, Reach(None), 9)) == 2


async def test_an_old_book_belongs_to_the_first_firm(database: Database) -> None:
    """A book from before there were firms shows its owner everything after `packbook migrate`."""
    await Ledger(database).take(speaking("alfa", "A").arrivals)
    async with database.transaction() as connection:
        assert (await connection.execute(sa.select(tables.battery_tenant.c.tenant))).scalar_one() == FIRST_TENANT
