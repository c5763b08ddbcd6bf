"""Alerts in the book, on both databases: what is found, who hears of it, and that nothing is told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from packbook.adapters.rules import RuleBook
from packbook.adapters.store import account_tables, tables
from packbook.adapters.store import alerts as shelf
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.app.alert_news import TRIES_MAX, Post, deliver
from packbook.app.alert_watch import look
from packbook.app.alerts import BookAlerts, alerts_of
from packbook.app.operate import Office
from packbook.clock import now_ms
from packbook.core.accounts import EVERYWHERE, FIRST_TENANT, NOWHERE, Reach
from packbook.core.alerts import Alert, AlertQuery, AlertRules, Kind, Severity, State
from packbook.settings import AlertReceiver, Settings
from packbook.testing.scripted_box import SOME_DAY_MS, ScriptedBox

DAY_MS = 86_400_000
NOW_MS = SOME_DAY_MS + 30 * DAY_MS
RULES = RuleBook().load("alerts", AlertRules)
EVERYTHING = AlertReceiver(name="all", webhook="https://hear.example/", severity=Severity.INFO)
WORST = AlertReceiver(name="worst", webhook="https://wake.example/", severity=Severity.CRITICAL)

HEALTHY: dict[str, object] = {
    "uptime_s": 100_000.0,
    "frames": 1_000_000,
    "frames_dropped": 0,
    "disk_free_bytes": 8_000_000_000,
    "clock": "set",
}


def box_row(box: str, *, seen_ms: int = NOW_MS, **health: object) -> dict[str, object]:
    return {"box": box, "last_seen_ms": seen_ms, "online": True, "health": HEALTHY | health, "unready": 0}


def event_row(box: str, event: str, at_ms: int | None, seq: int = 1) -> dict[str, object]:
    moment = {"boot": "1" * 16, "mono_ms": 1, "wall_ms": at_ms}
    return {
        "box": box,
        "store": "5" * 16,
        "seq": seq,
        "battery": f"BAT-{box[0]}",
        "event": event,
        "at_ms": at_ms,
    } | moment


def soh_row(battery: str, at_ms: int, soh_pct: float, seq: int, **more: object) -> dict[str, object]:
    return {
        "box": "b" * 16,
        "store": "5" * 16,
        "seq": seq,
        "battery": battery,
        "boot": "1" * 16,
        "mono_ms": 1,
        "wall_ms": at_ms,
        "at_ms": at_ms,
        "state": "ok",
        "soh_pct": soh_pct,
        "sigma_pct": 0.5,
        "method": "weigh/1",
        "basis": "ocv",
        "reference_ah": 66.0,
        "estimates": [],
        "observed_s": 900.0,
        "inferred_s": 0.0,
        "unobserved_s": 100.0,
        "observed_ah": 1.0,
        "observed_km": 1.0,
    } | more


async def put(database: Database, table: sa.Table, *rows: Mapping[str, object]) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.insert(table), [dict(row) for row in rows])


async def found(database: Database, rules: AlertRules = RULES, at_ms: int = NOW_MS) -> list[tuple[Kind, str]]:
    """What one pass raises."""
    return sorted((alert.kind, alert.subject) for alert in await look(database, rules, at_ms=at_ms))


def desk(database: Database) -> BookAlerts:
    return alerts_of(Office(database, Settings()), own=True)


async def test_each_trouble_of_a_box_is_found_and_a_sound_box_is_left_alone(database: Database) -> None:
    """Six boxes with one trouble each, one with none, one that is retired with all of them."""
    await put(
        database,
        tables.box,
        box_row("a" * 16),
        box_row("b" * 16, seen_ms=NOW_MS - 15 * DAY_MS),
        box_row("c" * 16, clock="unset"),
        box_row("d" * 16, disk_free_bytes=10_000_000),
        box_row("e" * 16, frames_dropped=5_000),
        box_row("f" * 16),
        box_row("0" * 16, seen_ms=NOW_MS - 99 * DAY_MS, clock="unset", disk_free_bytes=0, frames_dropped=900_000),
        {"box": "1" * 16, "last_seen_ms": NOW_MS, "online": None, "health": None, "unready": 0},
    )
    await put(database, tables.event, event_row("f" * 16, "data_lost", NOW_MS - DAY_MS))
    retired = {"box": "0" * 16, "public_key": bytes(32), "fleet": "main", "state": "retired"}
    await put(database, tables.enrolled_box, retired | {"since_ms": 0, "enrolled_ms": 0, "replaces": None})

    assert await found(database) == [
        (Kind.BOX_SILENT, "b" * 16),
        (Kind.CAN_DROPS, "e" * 16),
        (Kind.CLOCK_BAD, f"{'c' * 16}/unset"),
        (Kind.DISK_WORN, f"{'d' * 16}/full"),
        (Kind.DISK_WORN, f"{'f' * 16}/data_lost"),
    ]


async def test_a_certificate_is_told_of_near_its_end_and_not_when_it_was_made_short(database: Database) -> None:
    """Renewal has failed for long; a certificate of a week is always near its end."""
    day = {"serial": "", "issuer": "i", "tls_key": bytes(32), "code": None, "der": b"", "revoked_ms": None}

    def certificate(serial: str, box: str, issued_d: int, until_d: int) -> dict[str, object]:
        times = {"issued_ms": NOW_MS + issued_d * DAY_MS, "until_ms": NOW_MS + until_d * DAY_MS}
        return day | {"serial": serial, "box": box * 16} | times

    await put(
        database,
        tables.certificate,
        certificate("1", "a", -350, 15),
        certificate("2", "b", -350, 15),
        certificate("3", "b", 0, 365),
        certificate("4", "c", -2, 5),
        certificate("5", "d", -400, -35),
    )
    assert await found(database) == [(Kind.CERTIFICATE_ENDING, "a" * 16), (Kind.CERTIFICATE_ENDING, "d" * 16)]


async def test_harm_is_told_of_by_battery_and_kind_and_clears_when_it_lies_behind(database: Database) -> None:
    """A battery that was hot thrice is one alert; undated and old events raise none."""
    await put(
        database,
        tables.event,
        *(event_row("a" * 16, "pack_hot", NOW_MS - n * DAY_MS, seq=n) for n in (1, 2, 3)),
        event_row("b" * 16, "crash", NOW_MS - 20 * DAY_MS, seq=4),
        event_row("b" * 16, "crash", None, seq=5),
        event_row("c" * 16, "clock_set", NOW_MS, seq=6),
    )
    assert await found(database) == [(Kind.HARMFUL_EVENT, "BAT-a/pack_hot")]
    [alert] = await desk(database).list(EVERYWHERE)
    assert (alert.severity, alert.figure, alert.box) == (Severity.CRITICAL, 3.0, None)
    assert await found(database, at_ms=NOW_MS + 14 * DAY_MS) == [(Kind.HARMFUL_EVENT, "BAT-a/pack_hot")]
    assert await desk(database).list(EVERYWHERE) == []


async def test_fade_and_coverage_are_compared_over_their_spans(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked through two at a time: one fades fast, one is not seen any more, two do as they should."""
    monkeypatch.setattr("packbook.adapters.store.alert_causes.BATTERIES_AT_ONCE", 2)
    counts = {"records": 1, "charges": 0, "drives": 0, "rests": 0}
    await put(
        database, tables.battery, *({"battery": name} | counts for name in ("fading", "sound", "unseen", "young"))
    )
    then_ms = NOW_MS - 365 * DAY_MS
    await put(
        database,
        tables.soh_point,
        soh_row("fading", then_ms, 95.0, 1),
        soh_row("fading", NOW_MS - 20 * DAY_MS, 80.0, 2, observed_s=9000.0, unobserved_s=1000.0),
        soh_row("fading", NOW_MS, 87.0, 3, observed_s=9100.0, unobserved_s=1000.0),
        soh_row("sound", then_ms, 95.0, 4),
        soh_row("sound", NOW_MS, 93.0, 5, observed_s=9000.0, unobserved_s=1000.0),
        soh_row("unseen", then_ms, 95.0, 6),
        soh_row("unseen", NOW_MS, 93.0, 7, observed_s=1000.0, unobserved_s=5000.0),
        soh_row("young", NOW_MS, 99.0, 8),
    )
    assert await found(database) == [(Kind.COVERAGE_FALLING, "unseen"), (Kind.RAPID_FADE, "fading")]


async def test_a_copied_card_is_an_alert_until_an_operator_settles_it(database: Database) -> None:
    """The ledger says that two histories have one store's name; somebody has to hear of it."""
    ours, other = ScriptedBox(), ScriptedBox()
    ours.life()
    other.hello()
    other.drive(99.0)
    await Ledger(database).take(ours.arrivals)
    await Ledger(database).take(other.arrivals)
    told = [alert for alert in await look(database, RULES, at_ms=NOW_MS) if alert.kind is Kind.CHAIN_BROKEN]
    assert [(a.subject, a.severity, a.battery) for a in told] == [
        (f"{ours.box}/{ours.store}", Severity.CRITICAL, "BAT-1")
    ]
    async with database.transaction() as connection:
        await connection.execute(sa.update(tables.chain).values(settled_ms=NOW_MS))
    assert (Kind.CHAIN_BROKEN, f"{ours.box}/{ours.store}") in await found(database, at_ms=NOW_MS + DAY_MS)
    assert await desk(database).list(EVERYWHERE, AlertQuery(kind=Kind.CHAIN_BROKEN)) == []


async def test_a_flood_of_refused_messages_is_told_by_box_with_the_commonest_reason(database: Database) -> None:
    """Strangers' messages have no box; they are one alert together."""

    def refused(n: int, box: str | None, reason: str) -> dict[str, object]:
        message = {"received_ms": NOW_MS, "topic": "t", "detail": "", "payload": b"", "times": 1, "last_ms": NOW_MS - n}
        return message | {"reason": reason, "digest": n.to_bytes(32, "big"), "box": box, "state": "open"}

    await put(
        database,
        tables.quarantine,
        *(refused(n, None, "not_ours") for n in range(30)),
        *(refused(n, None, "malformed") for n in range(30, 51)),
        *(refused(n, "a" * 16, "bad_signature") for n in range(100, 120)),
        *(refused(n + 4_000_000, "b" * 16, "bad_signature") for n in range(200)),
    )
    assert await found(database) == [(Kind.QUARANTINE_GROWING, "strangers")]
    [alert] = await desk(database).list(EVERYWHERE)
    assert alert.detail == {"messages": 51, "reason": "not_ours"}
    assert await desk(database).list(Reach("main")) == []  # nobody's box: the whole book's affair


# --- states -------------------------------------------------------------------------------------------------------


async def silent(database: Database, boxes: int = 1) -> None:
    await put(database, tables.box, *(box_row(f"{n:016x}", seen_ms=NOW_MS - 15 * DAY_MS) for n in range(boxes)))


async def test_one_of_many_processes_looks_each_minute(database: Database) -> None:
    """Ten workers on one database would otherwise do the same work ten times, and raise ten alerts."""
    await silent(database)
    passes = await asyncio.gather(*(look(database, RULES, [EVERYTHING], NOW_MS) for _ in range(4)))
    assert sorted(len(told) for told in passes) == [0, 0, 0, 1]
    assert await look(database, RULES, [EVERYTHING], NOW_MS + 30_000) == []
    async with database.transaction() as connection:
        assert await shelf.waiting(connection) == {"all": 1}


async def test_who_takes_an_alert_on_is_on_record_until_the_cause_is_gone(database: Database) -> None:
    """The second who acknowledges does not take the first one's name away; it clears by itself."""
    await silent(database)
    await look(database, RULES, at_ms=NOW_MS)
    [raised] = await desk(database).list(EVERYWHERE)
    assert raised.id is not None
    taken = await desk(database).acknowledge(raised.id, "Aoi", "car is in the workshop")
    again = await desk(database).acknowledge(raised.id, "Ren", "me too")
    assert taken == again
    assert taken is not None
    assert (taken.state, taken.acknowledged_by, taken.note) == (State.ACKNOWLEDGED, "Aoi", "car is in the workshop")
    assert await look(database, RULES, at_ms=NOW_MS + DAY_MS) == []
    async with database.transaction() as connection:
        await connection.execute(sa.update(tables.box).values(last_seen_ms=NOW_MS + DAY_MS))
    [cleared] = await look(database, RULES, at_ms=NOW_MS + DAY_MS + 60_000)
    assert (cleared.id, cleared.state, cleared.acknowledged_by) == (raised.id, State.CLEARED, "Aoi")
    assert await desk(database).list(EVERYWHERE) == []
    assert [a.id for a in await desk(database).list(EVERYWHERE, AlertQuery((State.CLEARED,)))] == [raised.id]


async def test_an_alert_outside_the_reach_does_not_exist(database: Database) -> None:
    """Another firm's operator neither sees nor acknowledges it."""
    await silent(database)
    await look(database, RULES, at_ms=NOW_MS)
    [raised] = await desk(database).list(EVERYWHERE)
    assert raised.id is not None
    for reach in (NOWHERE, Reach("another"), Reach(None, frozenset({"BAT-9"}))):
        assert await desk(database).list(reach) == []
        assert await desk(database).counts(reach) == {}
        assert await desk(database).acknowledge(raised.id, "Eve", "", reach) is None
    assert await desk(database).counts(EVERYWHERE) == {(Kind.BOX_SILENT, Severity.WARNING, State.RAISED): 1}


async def test_a_tenant_and_its_receivers_hear_of_its_own_boxes_alone(database: Database) -> None:
    """Two firms in one book: neither learns that the other has boxes, by page, mail or count."""
    await silent(database, 2)
    ours, theirs = f"{0:016x}", f"{1:016x}"
    known = {"public_key": bytes(32), "state": "active", "since_ms": 0, "enrolled_ms": 0, "replaces": None}
    await put(database, account_tables.tenant, {"tenant": "rental", "label": "Rental", "made_ms": 0})
    await put(database, account_tables.fleet, {"fleet": "vans", "tenant": "rental"})
    await put(database, tables.enrolled_box, known | {"box": theirs, "fleet": "vans"})
    rental = AlertReceiver(name="rental", webhook="https://r.example/", tenant="rental")
    first = AlertReceiver(name="first", webhook="https://f.example/", tenant=FIRST_TENANT)
    await look(database, RULES, [EVERYTHING, rental, first], NOW_MS)
    async with database.transaction() as connection:
        assert await shelf.waiting(connection) == {"all": 2, "first": 1, "rental": 1}
    for tenant, box in (("rental", theirs), (FIRST_TENANT, ours)):
        assert [alert.box for alert in await desk(database).list(Reach(tenant))] == [box]
        assert sum((await desk(database).counts(Reach(tenant))).values()) == 1


async def test_lists_are_filtered_and_paged(database: Database) -> None:
    """A page of alerts asks for what it shows."""
    await silent(database, 5)
    await look(database, RULES, at_ms=NOW_MS)
    alerts = desk(database)
    pages = [await alerts.list(EVERYWHERE, AlertQuery(limit=2, offset=offset)) for offset in (0, 2, 4)]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({alert.id for page in pages for alert in page}) == 5
    assert [a.box for a in await alerts.list(EVERYWHERE, AlertQuery(box=f"{3:016x}"))] == [f"{3:016x}"]
    assert await alerts.list(EVERYWHERE, AlertQuery(kind=Kind.RAPID_FADE)) == []
    assert await alerts.list(EVERYWHERE, AlertQuery(severity=Severity.CRITICAL)) == []


async def test_cleared_alerts_are_forgotten_after_their_time(database: Database) -> None:
    """A year and a month of them is kept, not all there ever were."""
    await silent(database)
    await look(database, RULES, [EVERYTHING], NOW_MS)
    async with database.transaction() as connection:
        await connection.execute(sa.delete(tables.box))
    await look(database, RULES, [EVERYTHING], NOW_MS + DAY_MS)
    await look(database, RULES, [EVERYTHING], NOW_MS + 402 * DAY_MS)
    assert await desk(database).list(EVERYWHERE, AlertQuery(tuple(State))) == []
    async with database.transaction() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.alert_delivery)) == 0


# --- news ---------------------------------------------------------------------------------------------------------


class Heard:
    """A receiver's webhook that hears, or is away."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.away = False

    async def send(self, body: bytes, _at_ms: int) -> None:
        from packbook.adapters.webhook import NotDelivered

        if self.away:
            raise NotDelivered("hear.example: answered 503")
        self.bodies.append(body)

    def post(self, receiver: AlertReceiver) -> Post:
        webhook: Any = self
        return Post(receiver, webhook, None, None)


async def deliveries(database: Database) -> list[tuple[str, int, bool]]:
    """Of each: what it tells, how often it was tried, whether it still waits."""
    out = tables.alert_delivery
    async with database.transaction() as connection:
        rows = await connection.execute(sa.select(out).order_by(out.c.id))
        return [(row.news, row.tries, row.due_ms is not None) for row in rows]


async def due_now(database: Database) -> None:
    async with database.transaction() as connection:
        waiting = tables.alert_delivery.c.due_ms.is_not(None)
        await connection.execute(sa.update(tables.alert_delivery).where(waiting).values(due_ms=0))


async def test_many_alerts_at_once_are_one_message(database: Database) -> None:
    """A thousand boxes go silent together: one mail, not a thousand."""
    await silent(database, 1000)
    await look(database, RULES, [EVERYTHING, WORST], NOW_MS)
    heard = Heard()
    await deliver(database, [heard.post(EVERYTHING), heard.post(WORST)])
    await deliver(database, [heard.post(EVERYTHING), heard.post(WORST)])
    [body] = heard.bodies
    assert body.count(b'"kind":"box_silent"') == 1000
    assert {tuple(entry) for entry in await deliveries(database)} == {("raised", 1, False)}


async def test_a_receiver_that_is_away_hears_of_it_later_and_once(database: Database) -> None:
    """What was written down is delivered after any pause; what was delivered is not repeated."""
    await silent(database)
    await look(database, RULES, [EVERYTHING], NOW_MS)
    heard = Heard()
    heard.away = True
    for _ in range(3):
        await due_now(database)
        await deliver(database, [heard.post(EVERYTHING)])
    heard.away = False
    await deliver(database, [heard.post(EVERYTHING)])
    assert heard.bodies == []  # its pause is not over
    await due_now(database)
    await deliver(database, [heard.post(EVERYTHING)])
    await deliver(database, [heard.post(EVERYTHING)])
    assert len(heard.bodies) == 1
    assert await deliveries(database) == [("raised", 4, False)]


async def test_pauses_grow_and_end(database: Database) -> None:
    """A receiver that is gone for good does not keep us busy for ever; that it was given up stays to be seen."""
    await silent(database)
    await look(database, RULES, [EVERYTHING], NOW_MS)
    heard, out = Heard(), tables.alert_delivery
    heard.away = True
    pauses = []
    for _ in range(3):
        await due_now(database)
        await deliver(database, [heard.post(EVERYTHING)])
        async with database.transaction() as connection:
            pauses.append(await connection.scalar(sa.select(out.c.due_ms)) - now_ms())
    assert [round(pause, -4) for pause in pauses] == [30_000, 60_000, 120_000]
    async with database.transaction() as connection:
        await connection.execute(sa.update(out).values(tries=TRIES_MAX - 1, due_ms=0))
    await deliver(database, [heard.post(EVERYTHING)])
    assert await deliveries(database) == [("raised", TRIES_MAX, False)]
    async with database.transaction() as connection:
        assert await connection.scalar(sa.select(out.c.problem)) == "hear.example: answered 503"


async def test_what_somebody_took_on_wakes_nobody_else(database: Database) -> None:
    """It was acknowledged on the page while the receiver was away."""
    await silent(database)
    await look(database, RULES, [EVERYTHING], NOW_MS)
    [raised] = await desk(database).list(EVERYWHERE)
    assert raised.id is not None
    await desk(database).acknowledge(raised.id, "Aoi", "")
    heard = Heard()
    await deliver(database, [heard.post(EVERYTHING)])
    assert heard.bodies == []


async def test_two_processes_do_not_send_the_same_news(database: Database) -> None:
    """While one sends, the other finds nothing due."""
    await silent(database, 3)
    await look(database, RULES, [EVERYTHING], NOW_MS)
    heard = Heard()
    await asyncio.gather(*(deliver(database, [heard.post(EVERYTHING)]) for _ in range(3)))
    assert len(heard.bodies) == 1


async def test_a_news_changes_only_what_the_receiver_wants(database: Database) -> None:
    """A phone that rings for every notice is switched off."""
    event = event_row("a" * 16, "crash", NOW_MS)
    await silent(database)
    await put(database, tables.event, event)
    only_clock = AlertReceiver(name="clock", webhook="https://c.example/", kinds=(Kind.CLOCK_BAD,))
    await look(database, RULES, [EVERYTHING, WORST, only_clock], NOW_MS)
    async with database.transaction() as connection:
        assert await shelf.waiting(connection) == {"all": 2, "worst": 1}


async def test_an_alert_survives_the_database_word_for_word(database: Database) -> None:
    """What is read is what was raised."""
    await silent(database)
    [told] = await look(database, RULES, at_ms=NOW_MS)
    [kept] = await desk(database).list(EVERYWHERE)
    assert kept == told
    assert isinstance(kept, Alert)
    assert replace(kept, id=None).detail == {"last_seen_ms": NOW_MS - 15 * DAY_MS}
