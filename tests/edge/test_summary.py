"""Outcomes become signed records, and records become readable again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fold_day import BOOT, PACK, WALL_MS, Day, plan, run
from packbox.core.outcome import (
    Agreement,
    BoxHealth,
    CellsSeen,
    ChargeKind,
    ConsentSaid,
    EventName,
    EventSeen,
    Introduced,
    LogLines,
    Outcome,
    SessionClosed,
    SohComputed,
    UsageDue,
)
from packbox.core.packs import PackFacts
from packbox.core.record import BoxId, ChainHead, StoreId
from packbox.core.soh.weigh import SohStatus
from packbox.core.stamp import Stamp
from packbox.core.summary import message_of, seal_outcomes
from packwire import messages
from packwire.ids import box_id_of
from packwire.seal import NO_PREVIOUS, digest, open_sealed

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
HEAD = ChainHead(BoxId(box_id_of(PUBLIC)), StoreId("cd" * 8), 1, NO_PREVIOUS)
STAMP = Stamp(BOOT, 12_345_678_901, WALL_MS)


def a_days_outcomes() -> list[Outcome]:
    day = (
        Day(soc=80, temp=56).drive(60, soc_shown_pct=77, cell_voltage_min_v=3.5, ambient_temp_degc=31).idle(2).sleep(3)
    )
    day.charge(120, amps=14, soh_reported_pct=91.5, capacity_reported_ah=54.9).idle(2)
    cells = CellsSeen(STAMP, (3.701, None, 3.699), 55.0, -0.4, (20.0, 21.5))
    agreed = ConsentSaid(STAMP, Agreement(("history",), "owner", "2026-11", WALL_MS))
    return [*run([day.frames()])[1], cells, BoxHealth(STAMP, frames=7), agreed, LogLines(STAMP, "00" * 8, ("a line",))]


def test_every_outcome_becomes_a_record_that_anyone_with_the_key_can_read() -> None:
    outcomes = a_days_outcomes()

    head, rows = seal_outcomes(outcomes, HEAD, KEY.sign, PUBLIC)

    records = [open_sealed(row.sealed, PUBLIC) for row in rows]
    assert {record.kind for record in records} == set(messages.Kind)
    assert [record.kind for record in records] == [message_of(o, PUBLIC).KIND for o in outcomes]
    assert [record.envelope.seq for record in records] == [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert head == replace(HEAD, next_seq=len(rows) + 1, previous=digest(rows[-1].sealed))


def test_records_hang_together() -> None:
    """One left out would show."""
    _, rows = seal_outcomes(a_days_outcomes(), HEAD, KEY.sign, PUBLIC)
    previous = NO_PREVIOUS
    for row in rows:
        assert open_sealed(row.sealed, PUBLIC).envelope.previous == previous
        previous = digest(row.sealed)


def test_sealing_in_two_goes_gives_the_same_records() -> None:
    """Commits fall anywhere."""
    outcomes = a_days_outcomes()
    head, first = seal_outcomes(outcomes[:3], HEAD, KEY.sign, PUBLIC)
    _, second = seal_outcomes(outcomes[3:], head, KEY.sign, PUBLIC)
    assert first + second == seal_outcomes(outcomes, HEAD, KEY.sign, PUBLIC)[1]


def test_a_session_row_knows_its_session_and_its_time() -> None:
    _, rows = seal_outcomes(a_days_outcomes(), HEAD, KEY.sign, PUBLIC)
    numbers = [row.session for row in rows if row.kind in (2, 3, 4)]
    assert numbers == [1, 2, 3, 4]
    assert all(row.session is None for row in rows if row.kind not in (2, 3, 4))
    assert all(row.wall_ms is not None and row.wall_ms >= WALL_MS for row in rows)


def test_a_charge_says_on_the_wire_what_the_fold_said() -> None:
    outcome = next(o for o in a_days_outcomes() if isinstance(o, SessionClosed) and o.session.kind == "charge")
    message = message_of(outcome, PUBLIC)
    assert isinstance(message, messages.Charge)
    session = outcome.session
    assert (message.session, message.charge_kind.value, message.segments) == (3, "ac", 1)
    assert (message.charge_in_ah, message.energy_in_wh) == (session.charge_in_ah, session.energy_in_wh)
    assert (message.soc_start_pct, message.soc_end_pct) == (session.soc_start_pct, session.soc_end_pct)
    assert (message.boot, message.start_mono_ms, message.start_wall_ms) == (
        BOOT,
        session.start.mono_ns // 1_000_000,
        session.start.wall_ms,
    )


def test_a_usage_record_has_full_histograms_that_add_up() -> None:
    outcome = [o for o in a_days_outcomes() if isinstance(o, UsageDue)][-1]
    message = message_of(outcome, PUBLIC)
    assert isinstance(message, messages.Usage)
    assert (len(message.soc_temp_s), len(message.c_rate_temp_s), len(message.depth_counts)) == (90, 180, 70)
    assert sum(message.soc_temp_s) == int(outcome.usage.soc_temp_s.sum())
    assert message.events == (("pack_hot", 2),)  # before the sleep and after it
    assert message.equivalent_full_cycles == pytest.approx((28 + 30) / 120, rel=0.05)


def test_a_soh_record_carries_methods_evidence_and_what_the_car_says() -> None:
    outcome = [o for o in a_days_outcomes() if isinstance(o, SohComputed)][-1]
    message = message_of(outcome, PUBLIC)
    assert isinstance(message, messages.Soh)
    assert [e.method for e in message.estimates] == ["charge_ratio/1", "bms_value/1", "rest_bands/1", "full_span/1"]
    assert message.estimates[0].evidence == (1, 3)
    assert (message.soh_reported_pct, message.capacity_reported_ah) == (91.5, 54.9)
    assert (message.reference_ah, message.reference_source) == (60.0, "made up")


def test_an_events_record_tells_when_it_began() -> None:
    began = Stamp(BOOT, 5_000_000_000, WALL_MS - 7000)
    message = message_of(EventSeen(STAMP, EventName.CELL_LOW, began, 60.0, 2.71), PUBLIC)
    assert isinstance(message, messages.Event)
    assert (message.mono_ms, message.wall_ms, message.duration_s, message.extreme) == (5000, WALL_MS - 7000, 60.0, 2.71)


def test_an_introduction_names_the_pack_with_its_source() -> None:
    outcome = next(o for o in a_days_outcomes() if isinstance(o, Introduced))
    message = message_of(outcome, PUBLIC)
    assert isinstance(message, messages.Hello)
    assert (message.public_key, message.battery, message.battery_source) == (PUBLIC, "battery-1", "configured")
    assert (message.pack, message.reference_ah, message.chemistry, message.cells_in_series) == (
        "test-60",
        60,
        "nmc",
        96,
    )


def test_a_long_text_is_cut_instead_of_stopping_the_box() -> None:
    """A source quoted at length must not make a record impossible."""
    wordy = replace(PACK, reference_source="x" * 500)
    outcomes = run([Day().drive(10).frames()], plan(wordy))[1]
    _, rows = seal_outcomes(outcomes, HEAD, KEY.sign, PUBLIC)
    hello = open_sealed(rows[0].sealed, PUBLIC).message
    assert isinstance(hello, messages.Hello)
    assert len(hello.reference_source or "") == 200


def test_records_say_what_became_true_in_order() -> None:
    """`packbox history` shows what was sent, not what is remembered."""
    _, rows = seal_outcomes(a_days_outcomes(), HEAD, KEY.sign, PUBLIC)
    hello, drive = (open_sealed(row.sealed, PUBLIC) for row in rows[:2])
    assert isinstance(hello.message, messages.Hello)
    assert hello.message.battery == "battery-1"
    assert isinstance(drive.message, messages.Drive)
    assert drive.message.session == 1
    assert drive.envelope.boot == BOOT


def test_records_keep_their_byte_budget() -> None:
    """Months of history over a mobile link (facts/transport.md §5)."""
    _, rows = seal_outcomes(a_days_outcomes(), HEAD, KEY.sign, PUBLIC)
    for row in rows:
        assert len(row.sealed) <= messages.BYTE_BUDGET[messages.Kind(row.kind)]


def test_names_inside_are_the_names_on_the_wire() -> None:
    """A renamed state would be refused by the book months later."""
    assert {e.value for e in EventName} <= {e.value for e in messages.EventKind}
    assert {s.value for s in SohStatus} == {s.value for s in messages.SohState}
    assert {k.value for k in ChargeKind} == {k.value for k in messages.ChargeKind}


def test_a_pack_without_facts_is_introduced_as_far_as_known() -> None:
    nothing: PackFacts | None = None
    outcomes = run([Day().drive(10).frames()], plan(nothing))[1]
    message = message_of(outcomes[0], PUBLIC)
    assert isinstance(message, messages.Hello)
    assert (message.pack, message.reference_ah, message.chemistry) == (None, None, None)
