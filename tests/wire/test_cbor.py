"""The strict reader: everything it takes it gives back with the same bytes, everything else is refused by name."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packwire.cbor import MAX_DEPTH, MAX_MESSAGE_BYTES, MAX_WHOLE, dumps, loads
from packwire.errors import Malformed

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_WHOLE, MAX_WHOLE) | st.binary(max_size=300) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.integers(0, MAX_WHOLE), inner, max_size=30),
    max_leaves=40,
)


def depth(value: object) -> int:
    inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(depth, inside), default=-1)


@given(plain)
def test_what_is_written_is_read_back(value: object) -> None:
    """Also by cbor2, which knows nothing of our rules: a stranger can read it."""
    if depth(value) >= MAX_DEPTH:
        return
    data = dumps(value)
    assert loads(data) == value == cbor2.loads(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_read_exactly_or_refused(data: bytes) -> None:
    """One meaning, one encoding: whatever is accepted is what `dumps` would have written."""
    try:
        value = loads(data)
    except Malformed:
        return
    assert dumps(value) == data


@given(plain, st.data())
def test_a_changed_byte_is_read_exactly_or_refused(value: object, data: st.DataObject) -> None:
    """Near misses are harder than noise."""
    encoded = bytearray(dumps(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = loads(bytes(encoded))
    except Malformed:
        return
    assert dumps(read) == bytes(encoded)


@pytest.mark.parametrize(
    ("hexed", "reason"),
    [
        ("", "byte 0: ends early"),
        ("0000", "byte 1: 1 bytes behind the end"),
        ("1801", "byte 0: a number longer than needed"),
        ("190017", "a number longer than needed"),
        ("1a0000ffff", "a number longer than needed"),
        ("1b00000000ffffffff", "a number longer than needed"),
        ("1b0020000000000000", "a whole number beyond"),
        ("1bffffffffffffffff", "a whole number beyond"),
        ("3b001fffffffffffff", "a whole number beyond"),
        ("fb3ff0000000000000", "no floats"),
        ("f97e00", "no floats"),
        ("fb7ff8000000000000", "no floats"),
        ("f7", "only true, false and null"),
        ("f818", "only true, false and null"),
        ("ff", "only true, false and null"),
        ("9f01ff", "indefinite"),
        ("5f4101ff", "indefinite"),
        ("bf0001ff", "indefinite"),
        ("1c", "reserved length"),
        ("a201020103", "byte 3: map keys"),
        ("a202000100", "byte 3: map keys"),
        ("a1616100", "byte 1: map keys"),
        ("a12000", "byte 1: map keys"),
        ("a1f500", "byte 1: map keys"),
        ("a1800000", "byte 1: map keys"),
        ("8200", "byte 0: ends early"),
        ("828100", "byte 3: ends early"),
        ("a100", "byte 2: ends early"),
        ("41", "ends early"),
        ("5a7fffffff", "ends early"),
        ("9a7fffffff", "ends early"),
        ("ba7fffffff", "ends early"),
        ("9bffffffffffffffff", "ends early"),
        ("61ff", "byte 1: text is not UTF-8"),
        ("63eda080", "text is not UTF-8"),  # a lone surrogate
        ("81c100", "byte 1: tag 1 inside a message"),
        ("d81c81d81d00", "tag 29 inside a message"),
        ("81" * 20 + "00", "nested deeper"),
        ("a100" * 20 + "00", "nested deeper"),
        ("81" * 60_000 + "00", "nested deeper"),
    ],
)
def test_hostile_bytes_are_refused_with_place_and_reason(hexed: str, reason: str) -> None:
    """Each of these is legal CBOR for a full decoder, or makes one eat memory, hang or disagree with another."""
    with pytest.raises(Malformed, match=reason) as caught:
        loads(bytes.fromhex(hexed), "thing")
    assert str(caught.value).startswith("thing: byte ")


def test_a_message_beyond_the_limit_is_refused_unread() -> None:
    """Memory is bounded by what a managed broker would let through."""
    with pytest.raises(Malformed, match="at most 131072"):
        loads(b"\x00" * (MAX_MESSAGE_BYTES + 1))
