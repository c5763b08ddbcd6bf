"""The door of the book: what is believed, what is not, and that order and repetition change nothing."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.test_store import snapshot
from packbook.adapters.store import open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.core import intake
from packbook.core.facts import ClockAnchor
from packbook.core.intake import (
    Accept,
    Arrival,
    Duplicate,
    Entry,
    Ignored,
    Quarantine,
    Reason,
    Tip,
    Unready,
)
from packbook.testing.scripted_box import ScriptedBox, arrival
from packwire.ids import BootId, key_id_of
from packwire.messages import EventKind, Usage
from packwire.seal import Envelope, seal
from packwire.topics import Leaf, topic

Keys = dict[tuple[str, bytes], bytes]


def keys_of(*boxes: ScriptedBox) -> Keys:
    return {(box.box, key_id_of(box.public_key)): box.public_key for box in boxes}


def read(message: Arrival, *known: ScriptedBox) -> intake.Reading:
    return intake.read(message, keys_of(*known))


def reason(reading: intake.Reading) -> Reason:
    assert isinstance(reading, Quarantine), reading
    return reading.reason


def believed(reading: intake.Reading) -> Entry:
    assert isinstance(reading, Entry), reading
    return reading


def test_a_hello_brings_its_own_key() -> None:
    """A box's name is made from its key, so nobody has to be asked whether they belong together."""
    box = ScriptedBox()
    entry = believed(read(arrival(box.box, box.hello())))
    assert entry.new_key == intake.NewKey(box.box, key_id_of(box.public_key), box.public_key)
    assert believed(read(arrival(box.box, box.hello()), box)).new_key is None


def test_a_hello_with_somebody_elses_key_is_refused() -> None:
    """Otherwise anyone could speak for any box by bringing a key along."""
    box, thief = ScriptedBox(), ScriptedBox(name="thief")
    sealed = box.hello(public_key=thief.public_key)
    assert reason(read(arrival(box.box, sealed))) is Reason.WRONG_KEY


def test_a_record_before_its_hello_is_not_ready() -> None:
    """Neither believed nor refused: when the hello has come it is believed, in whatever order they lie in a batch."""
    box = ScriptedBox()
    hello, charge = arrival(box.box, box.hello()), arrival(box.box, box.charge())
    assert read(charge) == Unready(box.box, box.store, charge)
    readings = intake.read_all([charge, hello], {})
    assert [believed(reading).place.seq for reading in readings] == [2, 1]


def test_a_record_on_another_boxs_topic_is_refused() -> None:
    """A broker without access rules lets a thief publish there; the topic is signed too, so it cannot be changed."""
    box, other = ScriptedBox(), ScriptedBox(name="other")
    sealed = box.hello()
    assert reason(read(arrival(other.box, sealed), box, other)) is Reason.WRONG_BOX


def test_a_record_signed_by_another_key_is_refused() -> None:
    """The thief knows everything about the box except its key."""
    box, thief = ScriptedBox(), ScriptedBox(name="thief")
    envelope = Envelope(box.box, box.store, 1, bytes(16), box.boot, 1, None)
    forged = seal(Usage(), envelope, thief.key.sign, key_id_of(box.public_key))
    assert reason(read(arrival(box.box, forged), box)) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("topic_text", "payload", "expected"),
    [
        ("pb/v1/nobody/r", b"", Reason.NOT_OURS),
        ("pb/v2/0123456789abcdef/r", b"", Reason.NOT_OURS),
        ("", b"", Reason.NOT_OURS),
        ("pb/v1/0123456789abcdef/r", b"", Reason.MALFORMED),
        ("pb/v1/0123456789abcdef/r", b"\xd2\x84\x43\xa1\x01\x27", Reason.MALFORMED),
        ("pb/v1/0123456789abcdef/h", b"not cbor", Reason.MALFORMED),
        ("pb/v1/0123456789abcdef/s", b"on", Reason.MALFORMED),
        ("pb/v1/0123456789abcdef/s", b"\xff", Reason.MALFORMED),
    ],
)
def test_garbage_gets_a_reason(topic_text: str, payload: bytes, expected: Reason) -> None:
    """Operators count quarantine by reason; an exception would stop the collector instead."""
    assert reason(read(Arrival(topic_text, payload, 0))) is expected


def test_our_own_acks_are_ignored() -> None:
    """amqtt echoes what a client publishes."""
    assert read(Arrival("pb/v1/0123456789abcdef/ack", b"\x80", 0)) == Ignored()


def _resealed(box: ScriptedBox, changes: dict[int, object]) -> bytes:
    """A genuine, signed record whose payload differs from what this version knows."""
    sealed = cbor2.loads(box.sealed[-1])
    payload = cbor2.loads(sealed.value[2]) | changes
    body = cbor2.dumps(payload, canonical=True)
    external = topic(box.box, Leaf.RECORD).encode()
    to_sign = cbor2.dumps(["Signature1", sealed.value[0], external, body], canonical=True)
    parts = [sealed.value[0], sealed.value[1], body, box.key.sign(to_sign)]
    return cbor2.dumps(cbor2.CBORTag(18, parts), canonical=True)


def test_a_genuine_record_of_an_unknown_kind_is_kept_for_a_later_version() -> None:
    """Boxes are updated before the book sometimes; what they say then must not be lost."""
    box = ScriptedBox()
    box.charge()
    entry = believed(read(arrival(box.box, _resealed(box, {8: 4711})), box))
    assert (entry.kind, entry.facts) == (4711, ())
    assert entry.unreadable is not None
    assert "kind 4711" in entry.unreadable


def test_a_genuine_record_that_cannot_be_read_is_kept_too() -> None:
    """It is a link of the chain: refusing it would stop the history of this box for ever."""
    box = ScriptedBox()
    box.charge()
    entry = believed(read(arrival(box.box, _resealed(box, {9: {0: "not a number"}})), box))
    assert entry.facts == ()
    assert entry.unreadable is not None
    assert "Charge.session" in entry.unreadable


def test_an_unknown_schema_version_is_refused() -> None:
    """We cannot even tell where its signature begins to matter; the box keeps it."""
    box = ScriptedBox()
    box.charge()
    assert reason(read(arrival(box.box, _resealed(box, {0: 99})), box)) is Reason.UNKNOWN_VERSION


def test_a_longer_histogram_than_known_is_unreadable_rather_than_cut() -> None:
    """A newer box with finer bands: cutting would count hours into the wrong place."""
    box = ScriptedBox()
    box.say(Usage(soc_temp_s=(1,) * 91))
    entry = believed(read(arrival(box.box, box.sealed[-1]), box))
    assert entry.unreadable == "Usage.soc_temp_s: 91 cells, this side knows 90"


def test_a_date_before_the_product_existed_is_no_date() -> None:
    """A clock that was never set says 1970; a broken one says the year 280000. Views must never see either."""
    box = ScriptedBox()
    for wall_ms in (5, 2**53 - 1):
        box.event(EventKind.PACK_HOT, wall_ms=wall_ms)
        (fact,) = believed(read(arrival(box.box, box.sealed[-1]), box)).facts
        assert fact.moment.wall_ms is None


def test_an_event_told_later_is_dated_by_its_own_monotonic_time() -> None:
    """The record is sealed minutes after the event; within one boot the distance is known exactly."""
    box = ScriptedBox()
    box.event(EventKind.PACK_HOT, boot=box.boot, mono_ms=box.mono_ms)
    (fact,) = believed(read(arrival(box.box, box.sealed[-1]), box)).facts
    assert fact.moment.wall_ms == box.wall_ms - 3_600_000


def test_a_clock_anchor_is_an_event_and_an_anchor() -> None:
    """Owners see that the clock was set; the store dates what came before with it."""
    box = ScriptedBox()
    box.clock_anchor()
    facts = believed(read(arrival(box.box, box.sealed[-1]), box)).facts
    assert [type(fact.value).__name__ for fact in facts] == ["EventRow", "ClockAnchor"]
    anchor = facts[1].value
    assert isinstance(anchor, ClockAnchor)
    assert anchor.wall_ms - anchor.mono_ms == box.wall_ms - box.mono_ms


def _entries(box: ScriptedBox) -> list[Entry]:
    return [believed(reading) for reading in intake.read_all(box.arrivals, {})]


def test_a_record_must_follow_the_one_before_it() -> None:
    """The chain is what makes a missing or swapped record show."""
    box = ScriptedBox()
    box.life()
    first, second, third, *_ = _entries(box)
    held = Tip(2, second.digest)
    other = b"x" * 16
    assert intake.place(first, Tip(), None) == Accept(first)
    assert intake.place(third, held, None) == Accept(third)
    assert intake.place(second, held, second.digest) == Duplicate(second.place)
    assert reason_of(second, held, other) is Reason.FORK
    assert reason_of(third, replace(held, head=b"x" * 16)) is Reason.BROKEN_CHAIN
    assert reason_of(replace(first, previous=b"x" * 16), Tip()) is Reason.BROKEN_CHAIN


def test_beyond_a_hole_a_record_waits_unless_its_store_is_disputed() -> None:
    """Order does not matter in one history; of two, only the tip tells which is which."""
    box = ScriptedBox()
    box.life()
    first, _, third, *_ = _entries(box)
    tip = Tip(1, first.digest)
    assert intake.place(third, tip, None) == Accept(third)
    assert reason_of(third, replace(tip, disputed=True)) is Reason.DISPUTED


def reason_of(entry: Entry, tip: Tip, present: bytes | None = None) -> Reason:
    verdict = intake.place(entry, tip, present)
    assert isinstance(verdict, Quarantine), verdict
    return verdict.reason


def test_a_record_of_another_key_than_the_boxs_is_refused() -> None:
    """A name is made from the key: there is no rotation, a new key is a new box, and an old box has no other key."""
    box, thief = ScriptedBox(), ScriptedBox(name="thief")
    envelope = Envelope(box.box, box.store, 2, bytes(16), box.boot, 1, None)
    forged = seal(Usage(), envelope, thief.key.sign, key_id_of(thief.public_key))
    assert reason(read(arrival(box.box, forged), box)) is Reason.WRONG_KEY
    assert reason(read(arrival(box.box, forged))) is Reason.WRONG_KEY


def test_a_clock_that_runs_ahead_dates_nothing() -> None:
    """Nothing is made after it came. An anchor of such a clock would date a whole boot into next year."""
    box = ScriptedBox()
    box.clock_anchor()
    early = box.wall_ms - 2 * intake.CLOCK_AHEAD_MAX_MS
    entry = believed(read(replace(arrival(box.box, box.sealed[-1]), received_ms=early), box))
    assert entry.moment.wall_ms is None
    assert entry.wrong_clock is not None
    assert not any(isinstance(fact.value, ClockAnchor) for fact in entry.facts)
    assert believed(read(arrival(box.box, box.sealed[-1]), box)).wrong_clock is None


def test_a_store_must_begin_with_a_hello() -> None:
    """Without it nobody knows whose battery the rest is about."""
    box = ScriptedBox()
    box.charge()
    entry = believed(read(box.arrivals[0], box))
    assert reason_of(entry, Tip()) is Reason.NO_HELLO


async def _kept(arrivals: list[Arrival], batch: int) -> object:
    """Ledger and projections after offering these in batches until nobody waits for a hello any more."""
    async with open_writer("sqlite://", "test") as database:
        ledger = Ledger(database)
        waiting = True
        while waiting:
            waiting = False
            for begin in range(0, len(arrivals), batch):
                taken = await ledger.take(arrivals[begin : begin + batch])
                assert taken.quarantined == {}
                waiting |= taken.unready > 0
        return await snapshot(database)


def _family() -> list[Arrival]:
    """Three chains that touch each other: one battery watched twice, a swap, a late clock."""
    boxes = [ScriptedBox(clock_set=False), ScriptedBox(name="bravo"), ScriptedBox(store_name="second")]
    for box in boxes:
        box.life()
        box.hello(battery="BAT-2")
        box.usage()
        box.clock_anchor()
        box.soh()
    return [message for box in boxes for message in box.arrivals]


FAMILY = _family()


@pytest.fixture(scope="module")
def in_order() -> object:
    """The book after everything came once, in order, in one batch."""
    return asyncio.run(_kept(FAMILY, len(FAMILY)))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), batch=st.integers(1, 40), doubled=st.integers(0, 20))
def test_any_order_and_repetition_end_in_the_same_book(in_order: object, seed: int, batch: int, doubled: int) -> None:
    """Brokers double and reorder, boxes repeat: the history may depend on neither."""
    dice = random.Random(seed)
    offered = FAMILY + dice.choices(FAMILY, k=doubled)
    dice.shuffle(offered)
    assert asyncio.run(_kept(offered, batch)) == in_order


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_changed_byte_is_never_believed(seed: int) -> None:
    """Whatever bit of a record flips on its way, the record is refused and nothing is raised."""
    dice = random.Random(seed)
    box = ScriptedBox()
    box.hello()
    sealed = bytearray(box.charge())
    sealed[dice.randrange(len(sealed))] ^= 1 << dice.randrange(8)
    reading = read(arrival(box.box, bytes(sealed)), box)
    assert isinstance(reading, (Quarantine, Unready))


@given(st.binary(max_size=400))
def test_random_bytes_are_never_believed(payload: bytes) -> None:
    """The collector must survive anything."""
    box = ScriptedBox()
    assert isinstance(read(arrival(box.box, payload), box), Quarantine)


def test_the_boot_of_an_event_may_be_another_than_the_records() -> None:
    """Then the record's clock says nothing about it."""
    box = ScriptedBox()
    box.event(EventKind.DATA_LOST, boot=BootId("00" * 8), mono_ms=5)
    (fact,) = believed(read(arrival(box.box, box.sealed[-1]), box)).facts
    assert (fact.moment.boot, fact.moment.wall_ms) == ("00" * 8, None)
