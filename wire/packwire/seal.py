"""Seal a message into a record for travel, and open it again: COSE_Sign1 with Ed25519 over a hash-chained payload.

In:  a message and its place in the chain; or the bytes of a record and a public key.
Out: the bytes of a record; or the message, believed.

COSE_Sign1 (RFC 9052 §4.2) with algorithm EdDSA (-8), a 4-byte key id, and the MQTT topic as external data, so a
record cannot be replayed under another box's name. The payload names box, store and sequence number, and carries
the first 16 bytes of SHA-256 over the previous record of the store: one missing, changed or swapped record shows.
The digest covers the whole record, the signature only its payload. So the rest has one form only (strict CBOR, the
key id as the single unsigned header): nobody without the key can make second bytes for a record and feign a fork.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import cbor2

from packwire.cbor import MAX_MESSAGE_BYTES, MAX_WHOLE, dumps, last_value, loads
from packwire.codec import from_wire, to_wire
from packwire.ed25519 import is_signed
from packwire.errors import BadSignature, Malformed, UnknownKind, UnknownVersion
from packwire.ids import ID_BYTES, KEY_ID_BYTES, BootId, BoxId, StoreId, key_id_of
from packwire.messages import MESSAGES, SCHEMA, Kind, Message
from packwire.topics import Leaf, topic

COSE_SIGN1_TAG: Final = 18
PROTECTED: Final = dumps({1: -8})  # algorithm: EdDSA
KEY_ID_HEADER: Final = 4  # RFC 9052 §3.1
DIGEST_BYTES: Final = 16
NO_PREVIOUS: Final = bytes(DIGEST_BYTES)  # what the first record of a store carries
SIGNATURE_BYTES: Final = 64

# Keys of the payload map, for docs and schema; `seal` and `peek` below are the code of it.
ENVELOPE_KEYS: Final = {
    0: ("schema", "whole number"),
    1: ("box", "8 bytes"),
    2: ("store", "8 bytes"),
    3: ("seq", "whole number from 1"),
    4: ("previous", "16 bytes"),
    5: ("boot", "8 bytes"),
    6: ("mono_ms", "whole number from 0"),
    7: ("wall_ms", "whole number from 0, absent while the clock is not set"),
    8: ("kind", "whole number"),
    9: ("body", "map by kind"),
}

Sign: TypeAlias = Callable[[bytes], bytes]
Claim: TypeAlias = tuple[bytes, bytes, bytes]  # signed bytes, signature, public key


@dataclass(frozen=True, slots=True)
class Envelope:
    """Where a record stands: whose, which store, which place in the chain, when it was made."""

    box: BoxId
    store: StoreId
    seq: int  # from 1, without holes
    previous: bytes  # digest of record seq-1 of the same store, NO_PREVIOUS for seq 1
    boot: BootId
    mono_ms: int
    wall_ms: int | None


@dataclass(frozen=True, slots=True)
class Record:
    """An opened record. `sealed` are the bytes as they travelled: keep those, everything else follows from them."""

    envelope: Envelope
    kind: Kind
    message: Message
    sealed: bytes


def digest(sealed: bytes) -> bytes:
    """What the next record of the store carries as `previous`."""
    return hashlib.sha256(sealed).digest()[:DIGEST_BYTES]


def seal(message: Message, envelope: Envelope, sign: Sign, key_id: bytes) -> bytes:
    """The record's bytes: sign once, store these, send exactly these. `sign` makes a raw Ed25519 signature."""
    assert 1 <= envelope.seq <= MAX_WHOLE
    assert len(envelope.previous) == DIGEST_BYTES
    assert len(key_id) == KEY_ID_BYTES
    assert envelope.mono_ms >= 0
    assert envelope.wall_ms is None or envelope.wall_ms >= 0
    payload = {
        0: SCHEMA,
        1: bytes.fromhex(envelope.box),
        2: bytes.fromhex(envelope.store),
        3: envelope.seq,
        4: envelope.previous,
        5: bytes.fromhex(envelope.boot),
        6: envelope.mono_ms,
        8: int(message.KIND),
        9: to_wire(message),
    }
    if envelope.wall_ms is not None:
        payload[7] = envelope.wall_ms
    body = dumps(payload)
    signature = sign(_to_be_signed(body, topic(envelope.box, Leaf.RECORD)))
    return dumps(cbor2.CBORTag(COSE_SIGN1_TAG, [PROTECTED, {KEY_ID_HEADER: key_id}, body, signature]))


def _to_be_signed(payload: bytes, external: str) -> bytes:
    return dumps(["Signature1", PROTECTED, external.encode(), payload])


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record taken apart but not yet believed."""

    envelope: Envelope
    kind_number: int
    body: object
    key_id: bytes
    payload: bytes
    signature: bytes
    sealed: bytes


# The one form that `seal` gives a record, read at one go: of the time a collector needs for a record, taking it apart
# value by value was a quarter. What does not fit is taken apart that way, and refused with the byte's place.
_WHOLE: Final = rb"([\x00-\x17]|\x18[\x18-\xff]|\x19[^\x00].|\x1a(?!\x00\x00).{4}|\x1b(?!\x00{4})\x00[\x00-\x1f].{6})"
_OUTSIDE: Final = re.compile(
    rb"\xd2\x84" + re.escape(dumps(PROTECTED)) + rb"\xa1\x04\x44(.{4})(?:\x58([\x18-\xff])|\x59([^\x00].))", re.DOTALL
)
_INSIDE: Final = re.compile(
    rb"(?:\xaa|(\xa9))\x00"
    + re.escape(dumps(SCHEMA))
    + rb"\x01\x48(.{8})\x02\x48(.{8})\x03(?!\x00)"
    + _WHOLE
    + rb"\x04\x50(.{16})\x05\x48(.{8})\x06"
    + _WHOLE
    + rb"(?(1)|\x07"
    + _WHOLE
    + rb")\x08([\x00-\x17])\x09",
    re.DOTALL,
)
_BEHIND: Final = b"\x58\x40"  # the signature's length, between it and the payload
_BODY_DEPTH: Final = 1  # the payload's map is around it


def peek(sealed: bytes) -> Sealed:
    """Take a record apart without checking who made it. Raises Malformed or UnknownVersion."""
    return _usual(sealed) or _any(sealed)


def _usual(sealed: bytes) -> Sealed | None:
    """A record as `seal` makes it. None where it is anything else, good or not."""
    outside = _OUTSIDE.match(sealed)
    if outside is None or len(sealed) > MAX_MESSAGE_BYTES:
        return None
    key_id, short, long = outside.groups()
    begin = outside.end()
    end = begin + int.from_bytes(short or long)
    payload = sealed[begin:end]
    inside = _INSIDE.match(payload)
    if inside is None or sealed[end : end + 2] != _BEHIND or len(sealed) != end + 2 + SIGNATURE_BYTES:
        return None
    _, box, store, seq, previous, boot, mono_ms, wall_ms, kind = inside.groups()
    try:
        body = last_value(payload, inside.end(), _BODY_DEPTH)
    except Malformed:
        return None
    return Sealed(
        Envelope(
            BoxId(box.hex()),
            StoreId(store.hex()),
            _number(seq),
            previous,
            BootId(boot.hex()),
            _number(mono_ms),
            None if wall_ms is None else _number(wall_ms),
        ),
        kind[0],
        body,
        key_id,
        payload,
        sealed[end + 2 :],
        sealed,
    )


def _number(written: bytes) -> int:
    return written[0] if len(written) == 1 else int.from_bytes(written[1:])


def _any(sealed: bytes) -> Sealed:
    cose = loads(sealed, "record")
    if not isinstance(cose, cbor2.CBORTag) or cose.tag != COSE_SIGN1_TAG:
        raise Malformed("record: not a COSE_Sign1 (tag 18)")
    if not isinstance(cose.value, list) or len(cose.value) != 4:
        raise Malformed("record: COSE_Sign1 needs four parts")
    protected, unprotected, payload, signature = cose.value
    if protected != PROTECTED:
        raise Malformed("record.protected: algorithm is not EdDSA (-8)")
    if not isinstance(unprotected, dict) or set(unprotected) != {KEY_ID_HEADER}:
        raise Malformed("record.unprotected: expected the key id and nothing else")
    if not isinstance(payload, bytes):
        raise Malformed("record.payload: expected a byte string")
    inner = loads(payload, "record.payload")
    if not isinstance(inner, dict):
        raise Malformed("record.payload: expected a map")
    schema = _whole(inner, 0, "schema", 0)
    if schema != SCHEMA:
        raise UnknownVersion(f"record: schema {schema}, this side knows {SCHEMA}")
    return Sealed(
        envelope=Envelope(
            box=BoxId(_hex(inner, 1, "box")),
            store=StoreId(_hex(inner, 2, "store")),
            seq=_whole(inner, 3, "seq", 1),
            previous=_bytes(inner, 4, "previous", DIGEST_BYTES),
            boot=BootId(_hex(inner, 5, "boot")),
            mono_ms=_whole(inner, 6, "mono_ms", 0),
            wall_ms=_whole(inner, 7, "wall_ms", 0) if 7 in inner else None,
        ),
        kind_number=_whole(inner, 8, "kind", 0),
        body=inner.get(9),
        key_id=_bytes(unprotected, KEY_ID_HEADER, "key_id", KEY_ID_BYTES),
        payload=payload,
        signature=_sized(signature, "signature", SIGNATURE_BYTES),
        sealed=sealed,
    )


def claim(record: Sealed, public_key: bytes, received_on: str | None = None) -> Claim | None:
    """What `is_signed` is to be asked: did this key sign this record for this topic (default: of its own box)?

    None: another key's id stands on it. The id is not signed; unless it is compared, another one would make a second
    form of the record.
    """
    if record.key_id != key_id_of(public_key):
        return None
    external = received_on if received_on is not None else topic(record.envelope.box, Leaf.RECORD)
    return _to_be_signed(record.payload, external), record.signature, public_key


def check(record: Sealed, public_key: bytes, received_on: str | None = None) -> None:
    """Raise BadSignature unless this key signed this record for this topic (default: the topic of its own box)."""
    claimed = claim(record, public_key, received_on)
    if claimed is not None and is_signed(*claimed):
        return
    asked = received_on if received_on is not None else topic(record.envelope.box, Leaf.RECORD)
    raise BadSignature(
        f"record {record.envelope.box}/{record.envelope.store}/{record.envelope.seq} of key {record.key_id.hex()}: "
        f"not signed by key {key_id_of(public_key).hex()} for topic {asked}"
    )


def read(record: Sealed) -> Record:
    """The message inside. Raises UnknownKind or Malformed with the field's name."""
    try:
        kind = Kind(record.kind_number)
    except ValueError as problem:
        raise UnknownKind(f"record: kind {record.kind_number}, this side knows 1..{max(Kind)}") from problem
    return Record(record.envelope, kind, from_wire(MESSAGES[kind], record.body), record.sealed)


def open_sealed(sealed: bytes, public_key: bytes, received_on: str | None = None) -> Record:
    """Peek, check and read in one. Raises a WireError that says what is wrong."""
    record = peek(sealed)
    check(record, public_key, received_on)
    return read(record)


def _hex(inner: dict[int, object], key: int, name: str) -> str:
    return _bytes(inner, key, name, ID_BYTES).hex()


def _bytes(inner: dict[int, object], key: int, name: str, length: int) -> bytes:
    return _sized(inner.get(key), name, length)


def _sized(value: object, name: str, length: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != length:
        raise Malformed(f"record.{name}: expected {length} bytes")
    return value


def _whole(inner: dict[int, object], key: int, name: str, low: int) -> int:
    value = inner.get(key)
    if type(value) is not int or not low <= value <= MAX_WHOLE:
        raise Malformed(f"record.{name}: expected a whole number from {low}")
    return value
