"""A checkpoint: the book's signed word that it held a store's records up to one of them, and which one that was.

In:  what the book holds, and its signing key; or the bytes of a checkpoint.
Out: the other of the two.
Whoever keeps a checkpoint can tell later whether the end of a history was cut off or rewritten. Box and store are
named, so that it cannot be used for another history; the battery, so that a store that is left out shows too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cbor2

from packwire.cbor import MAX_WHOLE, dumps, loads
from packwire.errors import Malformed, UnknownVersion
from packwire.ids import BATTERY_ID, ID_BYTES, PUBLIC_KEY_BYTES, BatteryId, BoxId, StoreId
from packwire.seal import DIGEST_BYTES, Sign
from packwire.signed import open_whole, sign_whole

PURPOSE: Final = "packbook/checkpoint/1"
FORMAT: Final = 1

# Keys of the payload map; all are required.
KEYS: Final = {
    0: ("format", "whole number"),
    1: ("book_key", "32 bytes"),
    2: ("box", "8 bytes"),
    3: ("store", "8 bytes"),
    4: ("upto", "whole number from 1"),
    5: ("digest", "16 bytes"),
    6: ("battery", "text"),
    7: ("at_ms", "whole number from 0"),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    book_key: bytes  # Ed25519, 32 bytes: whether it is a book that one trusts is for the reader to say
    box: BoxId
    store: StoreId
    upto: int  # the book held 1..upto
    digest: bytes  # of record `upto`
    battery: BatteryId  # whose record that one is
    at_ms: int


def encode_checkpoint(point: Checkpoint, sign: Sign) -> bytes:
    payload = dumps(
        {
            0: FORMAT,
            1: point.book_key,
            2: bytes.fromhex(point.box),
            3: bytes.fromhex(point.store),
            4: point.upto,
            5: point.digest,
            6: point.battery,
            7: point.at_ms,
        }
    )
    return sign_whole(payload, PURPOSE, sign, point.book_key)


def decode_checkpoint(data: bytes) -> Checkpoint:
    """A checkpoint that its own key signed. Raises Malformed, UnknownVersion or BadSignature."""
    said = _payload(data)
    if said.get(0) != FORMAT:
        raise UnknownVersion(f"checkpoint: format {said.get(0)}, this side knows {FORMAT}")
    if set(said) != set(KEYS):
        raise Malformed(f"checkpoint: expected the keys 0..{max(KEYS)}")
    battery = said[6]
    if not isinstance(battery, str) or not BATTERY_ID.fullmatch(battery):
        raise Malformed("checkpoint.battery: not the name of a battery")
    point = Checkpoint(
        book_key=_sized(said, 1, PUBLIC_KEY_BYTES),
        box=BoxId(_sized(said, 2, ID_BYTES).hex()),
        store=StoreId(_sized(said, 3, ID_BYTES).hex()),
        upto=_whole(said, 4, 1),
        digest=_sized(said, 5, DIGEST_BYTES),
        battery=BatteryId(battery),
        at_ms=_whole(said, 7, 0),
    )
    open_whole(data, PURPOSE, point.book_key, "checkpoint")
    return point


def _payload(data: bytes) -> dict[int, object]:
    """What it says, before it is believed: the key that must have signed it stands in it."""
    outer = loads(data, "checkpoint")
    parts = outer.value if isinstance(outer, cbor2.CBORTag) else None
    if not isinstance(parts, list) or len(parts) != 4 or not isinstance(parts[2], bytes):
        raise Malformed("checkpoint: not a COSE_Sign1 (tag 18)")
    said = loads(parts[2], "checkpoint.payload")
    if not isinstance(said, dict):
        raise Malformed("checkpoint.payload: expected a map")
    return said


def _sized(said: dict[int, object], key: int, length: int) -> bytes:
    value = said[key]
    if not isinstance(value, bytes) or len(value) != length:
        raise Malformed(f"checkpoint.{KEYS[key][0]}: expected {length} bytes")
    return value


def _whole(said: dict[int, object], key: int, low: int) -> int:
    value = said[key]
    if type(value) is not int or not low <= value <= MAX_WHOLE:
        raise Malformed(f"checkpoint.{KEYS[key][0]}: expected a whole number from {low}")
    return value
