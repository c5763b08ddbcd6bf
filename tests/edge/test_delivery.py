"""The outbox policy: what goes now, what goes again, what an ack frees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packbox.core.delivery import (
    AGAIN_MAX_S,
    AGAIN_MIN_S,
    PROBE_AFTER_SENDS,
    WARN_AFTER_SENDS,
    WINDOW,
    AckRefused,
    Delivery,
    DeliveryCounts,
    Forked,
    backoff_s,
    compare_head,
    link_lost,
    publish_refused,
    rows_freed,
    send_now,
    take_ack,
)
from packbox.core.record import SealedRow, StoreId
from packwire.ack import Ack, ack_of, encode_ack
from packwire.ids import StoreId as WireStoreId

STORE = StoreId("5700000000000001")
FRESH = Delivery(STORE)


def rows(*seqs: int) -> list[SealedRow]:
    return [SealedRow(seq, 2, None, seq * 1000, None, b"record %d" % seq) for seq in seqs]


def seqs(sent: tuple[SealedRow, ...]) -> list[int]:
    return [row.seq for row in sent]


def ack_bytes(*held: int, store: str = STORE) -> bytes:
    return encode_ack(ack_of(WireStoreId(store), held))


def silent_for(sends: int, waiting: list[SealedRow]) -> tuple[Delivery, float]:
    """A state whose oldest row went out that often without an ack, and the time it has then."""
    state, now_s = FRESH, 0.0
    for _ in range(sends):
        state, _ = send_now(state, waiting, now_s, 1.0)
        assert state.again_s is not None
        now_s = state.again_s
    return state, now_s


def test_a_book_that_tells_its_head_shows_when_histories_part() -> None:
    """Else an old copy of a card would be refused for ever, in silence."""
    ahead = Ack(WireStoreId(STORE), 7, head=bytes(16))
    _, answer = take_ack(FRESH, encode_ack(ahead), newest_seq=6)
    assert isinstance(answer, Forked)
    assert "this store wrote 6" in answer.reason
    assert compare_head(ahead, bytes(16)) is None
    assert compare_head(ahead, None) is None
    assert isinstance(compare_head(ahead, b"x" * 16), Forked)
    assert compare_head(Ack(WireStoreId(STORE), 7), b"x" * 16) is None


def test_rows_go_out_once_and_in_order() -> None:
    """A row on its way is not sent again at every wake-up: mobile data costs money."""
    state, first = send_now(FRESH, rows(1, 2, 3), 100.0, 0.5)
    state, second = send_now(state, rows(1, 2, 3, 4), 100.1, 0.5)
    assert seqs(first) == [1, 2, 3]
    assert seqs(second) == [4]
    assert state.counts == DeliveryCounts(published=4)


def test_a_row_without_an_ack_goes_again_when_its_time_has_come() -> None:
    """The broker may have lost what it acknowledged; only time tells."""
    state, _ = send_now(FRESH, rows(1, 2), 0.0, 0.0)
    assert state.again_s == AGAIN_MIN_S
    early, nothing = send_now(state, rows(1, 2), AGAIN_MIN_S - 0.01, 0.0)
    late, again = send_now(early, rows(1, 2), AGAIN_MIN_S, 0.0)
    assert (seqs(nothing), seqs(again)) == ([], [1, 2])
    assert late.counts == DeliveryCounts(published=4, published_again=2)


def test_nothing_on_its_way_means_nothing_to_wait_for() -> None:
    """An idle box sleeps until a record is committed; it does not poll."""
    state, _ = send_now(FRESH, [], 5.0, 0.5)
    assert state.again_s is None


def test_a_long_silence_leaves_one_row_asking() -> None:
    """A denied topic must not cost twenty records every five minutes."""
    waiting = rows(*range(1, WINDOW + 1))
    state, now_s = silent_for(PROBE_AFTER_SENDS, waiting)
    state, probe = send_now(state, waiting, now_s + AGAIN_MAX_S, 1.0)
    assert seqs(probe) == [1]
    assert state.unanswered_sends == PROBE_AFTER_SENDS + 1


def test_the_first_ack_after_a_silence_opens_the_whole_window_at_once() -> None:
    """When the collector is back, months of records must not wait for a five minute timer."""
    waiting = rows(*range(1, WINDOW + 1))
    state, now_s = silent_for(PROBE_AFTER_SENDS + 2, waiting)
    state, _ = take_ack(state, ack_bytes(1), newest_seq=WINDOW)
    state, burst = send_now(state, waiting[1:], now_s, 1.0)
    assert seqs(burst) == list(range(2, WINDOW + 1))


def test_a_lost_link_makes_everything_due_but_forgets_no_count() -> None:
    """A new connection starts clean: nobody knows what the old one delivered. The warning must still come."""
    state, _ = silent_for(2, rows(1, 2))
    state, again = send_now(link_lost(state), rows(1, 2), 1.0, 0.5)
    assert seqs(again) == [1, 2]
    assert state.unanswered_sends == 3 <= WARN_AFTER_SENDS


def test_a_link_that_comes_and_goes_does_not_flood_a_book_that_does_not_listen() -> None:
    """Every reconnect with a full window would be an amplifier."""
    waiting = rows(*range(1, WINDOW + 1))
    state, now_s = silent_for(PROBE_AFTER_SENDS, waiting)
    _, sent = send_now(link_lost(state), waiting, now_s, 0.5)
    assert seqs(sent) == [1]


def test_an_ack_takes_rows_off_their_way() -> None:
    """A hole in the middle stays on its way, what is behind it does not go again."""
    state, _ = send_now(FRESH, rows(1, 2, 3, 4), 0.0, 0.5)
    state, answer = take_ack(state, ack_bytes(1, 3, 4), newest_seq=4)
    assert answer == Ack(WireStoreId(STORE), 1, ((3, 4),))
    assert [flight.seq for flight in state.flights] == [2]
    assert rows_freed(state, 3).counts.acked == 3


def test_an_ack_for_another_store_frees_nothing() -> None:
    """A replaced SD card starts a new store: the retained ack of the old one says nothing about it."""
    state, _ = send_now(FRESH, rows(1, 2), 0.0, 0.5)
    after, answer = take_ack(state, ack_bytes(1, 2, store="00000000000000ff"), newest_seq=2)
    assert answer == AckRefused("ack of store 00000000000000ff, ours is 5700000000000001")
    assert after == replace(state, counts=replace(state.counts, stray_acks=1))


@pytest.mark.parametrize("held", [(1, 2, 3), (1, 3)])
def test_an_ack_for_records_we_never_wrote_frees_nothing(held: tuple[int, ...]) -> None:
    """A card restored from an old image would otherwise throw away records the book never saw."""
    state, _ = send_now(FRESH, rows(1, 2), 0.0, 0.5)
    after, answer = take_ack(state, ack_bytes(*held), newest_seq=2)
    assert isinstance(answer, AckRefused)
    assert "up to record 3, this store wrote 2" in answer.reason
    assert after == replace(state, counts=replace(state.counts, bad_acks=1))


def test_garbage_on_the_ack_topic_is_counted_and_frees_nothing() -> None:
    """Anybody with broker access could write there."""
    after, answer = take_ack(FRESH, b"\xff garbage", newest_seq=9)
    assert isinstance(answer, AckRefused)
    assert answer.reason.startswith("ack: byte 0")
    assert after.counts == DeliveryCounts(bad_acks=1)


def test_a_refused_publish_is_counted_and_its_row_waits_on() -> None:
    """0x87 not authorised: the operator must see it, the record must survive it."""
    state, _ = send_now(FRESH, rows(1), 0.0, 0.5)
    after = publish_refused(state)
    assert after.flights == state.flights
    assert after.counts.refused_publishes == 1


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_backoff_stays_within_its_limits(tries: int, jitter: float) -> None:
    """Never a hammer, never longer than five minutes away from a broker that is back."""
    assert AGAIN_MIN_S <= backoff_s(tries, jitter) <= AGAIN_MAX_S
    assert backoff_s(tries, 1.0) <= backoff_s(tries + 1, 1.0)


@given(st.data())
def test_whatever_happens_no_row_is_forgotten(data: st.DataObject) -> None:
    """Any order of commits, losses, acks and refusals: with one good ack per send at the end the outbox is empty."""
    written, held = 0, set[int]()
    state, now_s = FRESH, 0.0

    def waiting() -> list[SealedRow]:
        return rows(*[seq for seq in range(1, written + 1) if seq not in held][:WINDOW])

    for step in data.draw(
        st.lists(st.sampled_from(["write", "send", "lose link", "ack", "stray", "wait"]), max_size=60)
    ):
        now_s += 0.1
        if step == "write":
            written += data.draw(st.integers(1, 30))
        elif step == "send":
            state, _ = send_now(state, waiting(), now_s, data.draw(st.floats(0, 1)))
        elif step == "lose link":
            state = link_lost(state)
        elif step == "ack" and state.flights:
            held |= {data.draw(st.sampled_from([flight.seq for flight in state.flights]))}
            state, answer = take_ack(state, ack_bytes(*held), written)
            assert isinstance(answer, Ack)
        elif step == "stray":
            state, _ = take_ack(state, ack_bytes(written + 1), written)
        else:
            now_s += 400.0
    for _ in range(written + 1):
        now_s += AGAIN_MAX_S + 1
        state, sent = send_now(state, waiting(), now_s, 1.0)
        held |= {row.seq for row in sent}
        state, _ = take_ack(state, ack_bytes(*held), written)
    assert held == set(range(1, written + 1))
    assert state.flights == ()
