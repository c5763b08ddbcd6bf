"""The seal: every change shows, nobody without the key can make a second form, every refusal is named."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from packwire.cbor import MAX_WHOLE, dumps
from packwire.codec import to_wire
from packwire.errors import BadSignature, Malformed, UnknownKind, UnknownVersion, WireError
from packwire.ids import BoxId, box_id_of, key_id_of
from packwire.messages import Charge
from packwire.seal import NO_PREVIOUS, _any, _usual, digest, open_sealed, peek, read, seal
from packwire.topics import Leaf, topic
from wire_samples import BOX, KEY, PUBLIC_KEY, TYPICAL, envelope, sealed_sample

SEALED = sealed_sample(TYPICAL[1], largest=False)
COSE = cbor2.loads(SEALED)
PAYLOAD = cbor2.loads(COSE.value[2])
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the Ed25519 base point (RFC 8032 §5.1)


def rebuilt(**parts: object) -> bytes:
    """The record with some of its four parts replaced, unsigned by us."""
    names = ("protected", "unprotected", "payload", "signature")
    return dumps(cbor2.CBORTag(18, [parts.get(name, part) for name, part in zip(names, COSE.value, strict=True)]))


def signed(payload: dict[int, object]) -> bytes:
    """A payload of our choice under a good signature: what a hostile box can make."""
    body = dumps(payload)
    to_be_signed = dumps(["Signature1", COSE.value[0], topic(BOX, Leaf.RECORD).encode(), body])
    return rebuilt(payload=body, signature=KEY.sign(to_be_signed))


def refusal(data: bytes) -> str | None:
    try:
        open_sealed(data, PUBLIC_KEY)
    except WireError as problem:
        return str(problem)
    return None


def test_an_honest_record_opens() -> None:
    """The base of all that follows."""
    record = open_sealed(SEALED, PUBLIC_KEY)
    assert record.message == TYPICAL[1]
    assert record.sealed == SEALED


def test_trust_costs_what_the_pages_say() -> None:
    """156 B a record (docs/trust.md), 162 once every number in the envelope is at its largest."""
    for largest, bytes_max in ((False, 156), (True, 162)):
        costs = [len(sealed_sample(said, largest=largest)) - len(dumps(to_wire(said))) for said in TYPICAL]
        assert max(costs) == bytes_max


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_found(place: int, flip: int) -> None:
    """Also in the parts that the signature does not cover."""
    changed = bytearray(SEALED)
    changed[place] ^= flip
    assert refusal(bytes(changed)) is not None


def test_every_single_byte_is_covered() -> None:
    """The property above, without luck."""
    for place in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[place] ^= 1
        assert refusal(bytes(changed)) is not None, f"byte {place}"


@given(st.binary(max_size=300))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    """The collector meets whatever anybody publishes."""
    assert refusal(data) is not None


@given(
    st.lists(st.tuples(st.integers(0, len(SEALED)), st.binary(max_size=3)), min_size=1, max_size=4), st.integers(0, 9)
)
def test_mangled_records_never_raise_anything_else(inserts: list[tuple[int, bytes]], cut: int) -> None:
    """Bytes put in, bytes cut off: read as it is or refused."""
    data = SEALED
    for place, extra in inserts:
        data = data[:place] + extra + data[place:]
    data = data[: len(data) - cut]
    assert (refusal(data) is None) == (data == SEALED)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_WHOLE, MAX_WHOLE) | st.binary(max_size=20) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 30), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.integers(0, 12), plain, max_size=8))
def test_a_hostile_box_with_a_good_key_never_raises_anything_else(changes: dict[int, object]) -> None:
    """Enrolled does not mean honest."""
    refusal(signed(PAYLOAD | changes))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (0, 2, "record: schema 2, this side knows 1"),
        (0, True, "record.schema: expected a whole number from 0"),
        (0, "1", "record.schema: expected a whole number from 0"),
        (1, b"short", "record.box: expected 8 bytes"),
        (2, "0123456789abcdef", "record.store: expected 8 bytes"),
        (3, 0, "record.seq: expected a whole number from 1"),
        (3, True, "record.seq: expected a whole number from 1"),
        (4, b"", "record.previous: expected 16 bytes"),
        (5, None, "record.boot: expected 8 bytes"),
        (6, -1, "record.mono_ms: expected a whole number from 0"),
        (7, None, "record.wall_ms: expected a whole number from 0"),
        (8, "charge", "record.kind: expected a whole number from 0"),
        (8, 99, "record: kind 99, this side knows 1..12"),
        (9, None, "Charge: expected a map, got NoneType"),
        (9, {}, "Charge.session: is missing"),
    ],
)
def test_a_wrong_envelope_is_refused_by_name(key: int, value: object, reason: str) -> None:
    """The quarantine table shows this text."""
    assert refusal(signed(PAYLOAD | {key: value})) == reason


def test_unknown_versions_and_kinds_can_be_told_from_garbage() -> None:
    """Their bytes are kept: a later version of the book reads them."""
    with pytest.raises(UnknownVersion):
        peek(signed(PAYLOAD | {0: 2}))
    with pytest.raises(UnknownKind):
        read(peek(signed(PAYLOAD | {8: 99})))


def test_an_envelope_field_of_a_newer_box_is_ignored() -> None:
    """It is signed, so it is the box's own; it says nothing to us."""
    assert open_sealed(signed(PAYLOAD | {40: "news"}), PUBLIC_KEY).message == TYPICAL[1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (rebuilt(unprotected={**COSE.value[1], 5: b"iv"}), "record.unprotected"),
        (rebuilt(unprotected={}), "record.unprotected"),
        (rebuilt(unprotected={4: b"longer"}), "record.key_id: expected 4 bytes"),
        (rebuilt(unprotected={4: "kid!"}), "record.key_id: expected 4 bytes"),
        (rebuilt(protected=b""), "record.protected"),
        (rebuilt(protected=dumps({1: -7})), "record.protected"),
        (rebuilt(payload=None), "record.payload"),
        (rebuilt(payload=b""), "record.payload: byte 0: ends early"),
        (rebuilt(payload=dumps([])), "record.payload: expected a map"),
        (rebuilt(payload=COSE.value[2] + b"\x00"), "record.payload: byte"),
        (rebuilt(signature=b""), "record.signature: expected 64 bytes"),
        (rebuilt(signature=COSE.value[3] + b"\x00"), "record.signature: expected 64 bytes"),
        (dumps(COSE.value), "record: not a COSE_Sign1"),
        (dumps(cbor2.CBORTag(17, COSE.value)), "record: not a COSE_Sign1"),
        (dumps(cbor2.CBORTag(18, COSE.value[:3])), "record: COSE_Sign1 needs four parts"),
        (dumps(cbor2.CBORTag(61, COSE)), "record: byte 2: tag 18 inside"),
        (SEALED + b"\x00", "behind the end"),
        (cbor2.dumps(COSE, indefinite_containers=True), "indefinite"),
        (b"\xd8\x12" + SEALED[1:], "longer than needed"),
    ],
)
def test_a_second_outer_form_of_a_record_is_refused(data: bytes, reason: str) -> None:
    """The signature covers the payload only: without this a broker could turn a record into a fork of itself."""
    refused = refusal(data)
    assert refused is not None
    assert reason in refused


def test_the_signature_itself_has_one_form() -> None:
    """S + L is the same point (RFC 8032 §8.4): a library that took it would allow a second record."""
    half = int.from_bytes(COSE.value[3][32:], "little") + ORDER
    again = COSE.value[3][:32] + half.to_bytes(32, "little")
    with pytest.raises(BadSignature):
        open_sealed(rebuilt(signature=again), PUBLIC_KEY)


def test_a_record_cannot_be_replayed_on_the_topic_of_another_box() -> None:
    """The topic is signed along."""
    record = peek(SEALED)
    with pytest.raises(BadSignature, match="pb/v1/ffffffffffffffff/r"):
        open_sealed(SEALED, PUBLIC_KEY, received_on=topic(BoxId("f" * 16), Leaf.RECORD))
    assert open_sealed(SEALED, PUBLIC_KEY, received_on=topic(record.envelope.box, Leaf.RECORD)).message == TYPICAL[1]


def test_the_key_of_another_box_opens_nothing() -> None:
    """Text names box, store, seq, key and topic: what an operator looks for."""
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(BadSignature, match=rf"{BOX}/0123456789abcdef/4711 of key {key_id_of(PUBLIC_KEY).hex()}: "):
        open_sealed(SEALED, stranger)
    with pytest.raises(BadSignature):
        open_sealed(SEALED, b"no key at all")


def test_the_chain_shows_a_missing_or_changed_record() -> None:
    """Each record carries the digest of the whole one before it."""
    first = seal(TYPICAL[0], envelope(1, NO_PREVIOUS), KEY.sign, key_id_of(PUBLIC_KEY))
    second = seal(TYPICAL[1], envelope(2, digest(first)), KEY.sign, key_id_of(PUBLIC_KEY))
    assert peek(second).envelope.previous == digest(first) != digest(second)
    assert len(digest(first)) == 16


@pytest.mark.parametrize(
    "wrong", [{"seq": 0}, {"previous": b""}, {"mono_ms": -1}, {"wall_ms": -1}], ids=lambda wrong: next(iter(wrong))
)
def test_a_box_cannot_seal_what_nobody_could_open(wrong: dict[str, object]) -> None:
    """Our own mistake stops here, not in a quarantine table."""
    with pytest.raises(AssertionError):
        seal(TYPICAL[0], replace(envelope(1, NO_PREVIOUS), **wrong), KEY.sign, key_id_of(PUBLIC_KEY))


def test_a_message_too_strange_to_send_is_named() -> None:
    """Sealing is the last moment at which the box may notice."""
    broken = msgspec.structs.replace(TYPICAL[1], energy_in_wh=1e300)
    assert isinstance(broken, Charge)
    with pytest.raises(Malformed, match=r"Charge\.energy_in_wh"):
        seal(broken, envelope(1, NO_PREVIOUS), KEY.sign, key_id_of(PUBLIC_KEY))


def test_a_box_is_named_after_its_key() -> None:
    """Whoever holds id and key can tell whether they belong together, without asking anybody."""
    assert box_id_of(PUBLIC_KEY) == BOX
    assert BOX.startswith(key_id_of(PUBLIC_KEY).hex())


def test_the_usual_form_reads_as_the_general_way_does() -> None:
    """A shortcut that took one byte more than the long way would give a record a second form."""
    for message in TYPICAL:
        for clock_set in (True, False):
            here = replace(envelope(7, bytes(range(16))), wall_ms=1_790_000_000_000 if clock_set else None)
            sealed = seal(message, here, KEY.sign, key_id_of(PUBLIC_KEY))
            assert _usual(sealed) == _any(sealed)
            assert _usual(sealed) is not None
            for place in range(min(len(sealed), 120)):  # behind, the same reader is at work
                for flip in (0x01, 0x20):
                    changed = sealed[:place] + bytes([sealed[place] ^ flip]) + sealed[place + 1 :]
                    taken = _usual(changed)
                    assert taken is None or taken == _any(changed)


@pytest.mark.parametrize("number", [1, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, MAX_WHOLE])
def test_a_number_of_any_length_is_of_the_usual_form(number: int) -> None:
    """And no other form of it: a longer one, zero as a place in the chain, one beyond the contract."""
    sealed = seal(TYPICAL[0], replace(envelope(1, NO_PREVIOUS), seq=number), KEY.sign, key_id_of(PUBLIC_KEY))
    taken = _usual(sealed)
    assert taken is not None
    assert taken.envelope.seq == number
    assert taken == _any(sealed)
