"""Codes that people type, and the statement that ties a TLS key to a box's records."""

from __future__ import annotations

from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from packwire.enrolment import ALPHABET, bind, bound_key, code_digest, grouped, new_code, plain_code, plain_fingerprint
from packwire.errors import Malformed, WireError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()


def test_a_code_has_130_random_bits_in_seven_groups() -> None:
    """Long enough that nobody guesses it, short enough to type."""
    code = new_code()
    assert [len(group) for group in code.split("-")] == [4] * 7
    assert grouped(plain_code(code)) == code
    assert len({new_code() for _ in range(100)}) == 100


@given(at=st.integers(0, 27), other=st.sampled_from(ALPHABET))
def test_one_wrong_character_always_shows(at: int, other: str) -> None:
    """Said at the box at once, without a network and without costing a try."""
    good = plain_code(new_code())
    if good[at] != other:
        with pytest.raises(Malformed, match="mistyped"):
            plain_code(good[:at] + other + good[at + 1 :])


@given(at=st.integers(0, 24))
def test_two_swapped_neighbours_always_show(at: int) -> None:
    """The other common slip."""
    good = plain_code(new_code())
    if good[at] != good[at + 1]:
        with pytest.raises(Malformed, match="mistyped"):
            plain_code(good[:at] + good[at + 1] + good[at] + good[at + 2 :])


@given(st.text())
def test_anything_else_is_named_or_taken(text: str) -> None:
    """No input of a person crashes the box."""
    for read in (plain_code, plain_fingerprint, code_digest):
        with suppress(Malformed):
            read(text)


def test_the_statement_names_the_record_key_for_this_tls_key_only() -> None:
    """Copied to another key it says nothing; every changed byte shows."""
    binding = bind(PUBLIC, KEY.sign, b"tls key")
    assert bound_key(binding, b"tls key") == PUBLIC
    assert len(binding) == 185
    with pytest.raises(WireError):
        bound_key(binding, b"another key")
    for at in range(len(binding)):
        changed = bytearray(binding)
        changed[at] ^= 1
        with pytest.raises(WireError):
            bound_key(bytes(changed), b"tls key")


@given(st.binary(max_size=300))
def test_noise_is_no_statement(noise: bytes) -> None:
    """It comes from strangers, before anybody is known."""
    with pytest.raises(WireError):
        bound_key(noise, b"tls key")
