"""The application ack, the only thing that frees a record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packwire.ack import MAX_RANGES, Ack, ack_of, decode_ack, encode_ack
from packwire.cbor import MAX_WHOLE, dumps
from packwire.errors import Malformed
from packwire.ids import StoreId
from wire_samples import ACKS

STORE = StoreId("0123456789abcdef")
RAW = bytes.fromhex(STORE)


@given(st.sets(st.integers(1, 300)), st.integers(1, 320))
def test_an_ack_holds_exactly_what_the_book_holds(held: set[int], seq: int) -> None:
    """One number too many would delete a record that nobody has."""
    ack = decode_ack(encode_ack(ack_of(STORE, held)))
    if len(ack.ranges) < MAX_RANGES:
        assert ack.holds(seq) == (seq in held)
    else:
        assert not ack.holds(seq) or seq in held


@given(st.sets(st.integers(1, 400)))
def test_an_ack_has_one_form_whatever_order_records_came_in(held: set[int]) -> None:
    """Cumulative and retained: the newest replaces older ones."""
    assert ack_of(STORE, held) == ack_of(STORE, sorted(held, reverse=True) * 2)


def test_more_holes_than_fit_are_left_for_later() -> None:
    """The box sends the rest again; the ack stays small."""
    ack = ack_of(STORE, range(2, 1000, 2))
    assert len(ack.ranges) == MAX_RANGES
    assert decode_ack(encode_ack(ack)) == ack


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({}, "ack: expected"),
        ([RAW, 1], "ack: expected"),
        ([STORE, 1, []], "ack.store"),
        ([RAW[:7], 1, []], "ack.store"),
        ([RAW, -1, []], "ack.upto"),
        ([RAW, True, []], "ack.upto"),
        ([RAW, "1", []], "ack.upto"),
        ([RAW, 1, None], "ack.ranges"),
        ([RAW, 1, [3]], "ack.ranges"),
        ([RAW, 1, [[3]]], "ack.ranges"),
        ([RAW, 1, [[3, 2]]], "ack.ranges"),
        ([RAW, 3, [[3, 5]]], "ack.ranges"),
        ([RAW, 1, [[3, 5], [5, 7]]], "ack.ranges"),
        ([RAW, 1, [[3, True]]], "ack.ranges"),
        ([RAW, 1, [[n, n] for n in range(3, 200, 2)]], "ack.ranges: expected at most"),
        ([RAW, 1, [], {0: bytes(15)}], "ack.head"),
        ([RAW, 1, [], {0: "0" * 16}], "ack.head"),
        ([RAW, 0, [], {0: bytes(16)}], "ack.head"),
        ([RAW, 1, [], {1: 0}], "ack.resend_from"),
        ([RAW, 1, [], {1: True}], "ack.resend_from"),
    ],
)
def test_a_wrong_ack_is_refused_by_name(value: object, reason: str) -> None:
    """Whoever can write to the topic must not be able to make the box forget."""
    with pytest.raises(Malformed) as caught:
        decode_ack(dumps(value))
    assert str(caught.value).startswith(reason)


@given(st.binary(max_size=80))
def test_random_bytes_are_an_ack_or_malformed(data: bytes) -> None:
    """Nothing else may come out of the decoder."""
    try:
        ack = decode_ack(data)
    except Malformed:
        return
    assert 0 <= ack.upto <= MAX_WHOLE


@given(st.sampled_from(sorted(ACKS)), st.data())
def test_a_changed_ack_is_an_ack_or_malformed(name: str, data: st.DataObject) -> None:
    """Near misses of real acks."""
    changed = bytearray(encode_ack(ACKS[name]))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        ack = decode_ack(bytes(changed))
    except Malformed:
        return
    assert isinstance(ack, Ack)


def test_a_fourth_element_of_a_newer_book_is_ignored() -> None:
    """The contract grows by adding."""
    assert decode_ack(dumps([RAW, 5, [], "news"])) == Ack(STORE, 5)
    assert decode_ack(dumps([RAW, 5, [], {1: 3, 2: "news"}, 7])) == Ack(STORE, 5, resend_from=3)
