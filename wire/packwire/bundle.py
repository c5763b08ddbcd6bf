"""The evidence bundle: one file with which a stranger checks a battery's history, with public keys alone.

In:  sealed records of one or more stores, what the exporter adds and claims, and the exporter's key; or such a file.
Out: the file's bytes; or its parts with the byte each stands at, and what is wrong with the file as a whole.
Nothing in it is believed here: records carry their own signatures, `packproof.verify` checks those and the chain.
Refuses, before anything large is built: more bytes, stores or records than the limits below, any byte that could be
otherwise (strict CBOR), and anything behind the end.

The file is a COSE_Sign1 by whoever exported it. Its payload is a map in which every part after the first has a digest
in the last, the manifest: so a changed byte is found in its part also where no record's own signature covers it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeVar

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from packwire.cbor import MAX_MESSAGE_BYTES, Cursor, dumps, loads
from packwire.codec import Body, Wire, from_wire, to_wire
from packwire.errors import Malformed
from packwire.ids import BATTERY_ID, ID_BYTES, KEY_ID_BYTES, PUBLIC_KEY_BYTES, BatteryId, BoxId, StoreId, key_id_of
from packwire.messages import Count
from packwire.seal import COSE_SIGN1_TAG, KEY_ID_HEADER, PROTECTED, SIGNATURE_BYTES, Sign

PURPOSE: Final = "packbook/bundle/1"
FORMAT: Final = 1
DIGEST_BYTES: Final = 32  # SHA-256 of a part, in the manifest

MAX_BUNDLE_BYTES: Final = 100_000_000  # twenty years of daily driving are about 40 MB
MAX_STORES: Final = 1_000
MAX_RECORDS: Final = 500_000  # of all stores together; a list of more is an attack on memory
MAX_CERTIFICATES: Final = 200
MAX_CHECKPOINTS: Final = 2_000
MAX_SMALL_BYTES: Final = 16_384  # a certificate, a checkpoint, the claims

# Keys of the payload map, all required; `_Reader._payload` is the code of it.
KEYS: Final = {
    0: ("format", "whole number, 1"),
    1: ("made_ms", "whole number from 0: UTC by the exporter's clock"),
    2: ("exporter", "32 bytes: Ed25519 key that signed this file"),
    3: ("battery", "text"),
    4: ("stores", "list of maps: 0 box (8 bytes), 1 store (8 bytes), 2 key (32 bytes), 3 records (list of bytes)"),
    5: ("certificates", "list of bytes: X.509, DER"),
    6: ("checkpoints", "list of bytes, each a checkpoint"),
    7: ("claims", "bytes: a CBOR map `Claims`"),
    8: ("manifest", "list of 32 bytes: SHA-256 over the bytes of the values 1 to 7"),
}
MANIFEST: Final = 8


class Claims(Body, frozen=True, kw_only=True):
    """What the exporter says the records come to. A reader works it out again and compares."""

    records: Annotated[Count, Wire(0)] = 0
    charges: Annotated[Count, Wire(1)] = 0
    drives: Annotated[Count, Wire(2)] = 0
    rests: Annotated[Count, Wire(3)] = 0
    # Newest totals of every installation, added up.
    charge_in_ah: Annotated[float | None, Wire(4, per=100)] = None
    charge_out_ah: Annotated[float | None, Wire(5, per=100)] = None
    energy_in_wh: Annotated[float | None, Wire(6, per=1)] = None
    energy_out_wh: Annotated[float | None, Wire(7, per=1)] = None
    distance_km: Annotated[float | None, Wire(8, per=10)] = None
    # Newest state of health.
    soh_pct: Annotated[float | None, Wire(9, per=100)] = None
    lo90_pct: Annotated[float | None, Wire(10, per=100)] = None
    hi90_pct: Annotated[float | None, Wire(11, per=100)] = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the file and where they begin in it."""

    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StorePart:
    box: BoxId
    store: StoreId
    key: bytes  # the box's Ed25519 key
    records: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What stands in a bundle, none of it believed yet."""

    made_ms: int
    exporter: bytes
    battery: BatteryId
    stores: tuple[StorePart, ...]
    certificates: tuple[bytes, ...] = ()
    checkpoints: tuple[bytes, ...] = ()
    claims: Claims = field(default_factory=Claims)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something wrong with the file as such: at which byte, and what."""

    at: int
    reason: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What could be read of a file, and what is wrong with it. A file without trouble has a bundle."""

    bundle: Bundle | None
    stores: tuple[StorePart, ...]  # also where the rest could not be read
    troubles: tuple[Trouble, ...]


def encode_bundle(bundle: Bundle, sign: Sign) -> bytes:
    """The file. `sign` makes raw Ed25519 signatures of `bundle.exporter`. Raises Malformed if it would be too large."""
    values: list[object] = [
        bundle.made_ms,
        bundle.exporter,
        bundle.battery,
        [_store_map(part) for part in bundle.stores],
        list(bundle.certificates),
        list(bundle.checkpoints),
        dumps(to_wire(bundle.claims)),
    ]
    encoded = [dumps(value) for value in values]
    manifest = dumps([hashlib.sha256(value).digest() for value in encoded])
    parts = [dumps(FORMAT), *encoded, manifest]
    head = bytes([0xA0 + len(parts)])  # a map of so many
    payload = b"".join([head, *(bytes([key]) + part for key, part in enumerate(parts))])
    outer = [PROTECTED, {KEY_ID_HEADER: key_id_of(bundle.exporter)}, payload, sign(_to_be_signed(payload))]
    data = dumps(cbor2.CBORTag(COSE_SIGN1_TAG, outer))
    if len(data) > MAX_BUNDLE_BYTES or sum(len(part.records) for part in bundle.stores) > MAX_RECORDS:
        raise Malformed(f"bundle: {len(data)} bytes; at most {MAX_BUNDLE_BYTES} and {MAX_RECORDS} records are allowed")
    return data


def _store_map(part: StorePart) -> dict[int, object]:
    records = [record.data for record in part.records]
    return {0: bytes.fromhex(part.box), 1: bytes.fromhex(part.store), 2: part.key, 3: records}


def _to_be_signed(payload: bytes | memoryview) -> bytes:
    """As `dumps` would write it, with one copy of what may be 100 MB."""
    length = dumps(len(payload))
    head = bytes([0x40 | length[0]]) + length[1:]  # a byte string's head is a number's with another major type
    return b"".join([dumps(["Signature1", PROTECTED, PURPOSE.encode(), b""])[:-1], head, payload])


def decode_bundle(data: bytes) -> Bundle:
    """A file that is whole and signed by the exporter that it names. Raises Malformed with the first trouble."""
    found = survey(data)
    if found.bundle is None or found.troubles:
        raise Malformed(found.troubles[0].reason)
    return found.bundle


def survey(data: bytes) -> Survey:
    """As much of a file as can be read, with every trouble. Never raises."""
    if len(data) > MAX_BUNDLE_BYTES:
        reason = f"bundle: {len(data)} bytes; at most {MAX_BUNDLE_BYTES} are allowed"
        return Survey(None, (), (Trouble(MAX_BUNDLE_BYTES, reason),))
    reader = _Reader(data)
    try:
        reader.read()
    except Malformed as problem:
        reader.troubles.append(Trouble(reader.cursor.at, str(problem)))
    return Survey(reader.bundle, tuple(reader.stores), tuple(reader.troubles))


ItemT = TypeVar("ItemT")


class _Reader:
    """One pass over the file. What was read before a fault stays."""

    def __init__(self, data: bytes) -> None:
        self.cursor = Cursor(data, "bundle")
        self.stores: list[StorePart] = []
        self.troubles: list[Trouble] = []
        self.bundle: Bundle | None = None
        self._data = data
        self._left = MAX_RECORDS
        self._values: list[tuple[int, int]] = []  # from and to which byte each part of the payload stands

    def read(self) -> None:
        cursor, data = self.cursor, self._data
        cursor.tag(COSE_SIGN1_TAG)
        if cursor.items(4) != 4 or cursor.string(len(PROTECTED)) != PROTECTED:
            raise cursor.refusal(cursor.at, "not a COSE_Sign1 with EdDSA (-8)")
        cursor.entries(1)
        cursor.key(KEY_ID_HEADER)
        key_id = cursor.string(KEY_ID_BYTES)
        length = cursor.begin_string(MAX_BUNDLE_BYTES)
        begin = cursor.at
        bundle, manifest = self._payload()
        payload = memoryview(data)[begin : cursor.at]
        if len(payload) != length:
            raise cursor.refusal(begin, f"a payload of {len(payload)} bytes that says it has {length}")
        signature = cursor.string(SIGNATURE_BYTES)
        if cursor.at != len(data):
            raise cursor.refusal(cursor.at, f"{len(data) - cursor.at} bytes behind the end")
        self._compare(manifest)
        self._check(bundle.exporter, key_id, signature, payload)
        self.bundle = bundle

    def _payload(self) -> tuple[Bundle, list[bytes]]:
        cursor = self.cursor
        cursor.entries(len(KEYS))
        made = self._part(0, cursor.whole)
        if made != FORMAT:
            raise cursor.refusal(cursor.at, f"format {made}, this side knows {FORMAT}: a newer version may read it")
        bundle = Bundle(
            made_ms=self._part(1, cursor.whole),
            exporter=self._part(2, self._key_string),
            battery=self._part(3, self._battery),
            stores=self._part(4, self._all_stores),
            certificates=self._part(5, lambda: self._strings(MAX_CERTIFICATES)),
            checkpoints=self._part(6, lambda: self._strings(MAX_CHECKPOINTS)),
            claims=self._part(7, self._claims),
        )
        return bundle, self._part(MANIFEST, lambda: list(self._strings(len(KEYS), DIGEST_BYTES)))

    def _part(self, key: int, read: Callable[[], ItemT]) -> ItemT:
        self.cursor.what = f"bundle.{KEYS[key][0]}"
        self.cursor.key(key)
        begin = self.cursor.at
        value = read()
        self._values.append((begin, self.cursor.at))
        self.cursor.what = "bundle"
        return value

    def _key_string(self) -> bytes:
        return self._sized(PUBLIC_KEY_BYTES)

    def _sized(self, length: int) -> bytes:
        at = self.cursor.at
        found = self.cursor.string(length)
        if len(found) != length:
            raise self.cursor.refusal(at, f"expected {length} bytes")
        return found

    def _battery(self) -> BatteryId:
        at = self.cursor.at
        name = self.cursor.text(64)
        if not BATTERY_ID.fullmatch(name):
            raise self.cursor.refusal(at, "not the name of a battery")
        return BatteryId(name)

    def _strings(self, most: int, most_bytes: int = MAX_SMALL_BYTES) -> tuple[bytes, ...]:
        return tuple([self.cursor.string(most_bytes) for _ in range(self.cursor.items(most))])

    def _all_stores(self) -> tuple[StorePart, ...]:
        for number in range(self.cursor.items(MAX_STORES)):
            self.cursor.what = f"bundle.stores[{number}]"
            self._store()
        return tuple(self.stores)

    def _store(self) -> None:
        cursor = self.cursor
        cursor.entries(4)
        cursor.key(0)
        box = BoxId(self._sized(ID_BYTES).hex())
        cursor.key(1)
        store = StoreId(self._sized(ID_BYTES).hex())
        cursor.key(2)
        key = self._key_string()
        cursor.key(3)
        cursor.what = f"bundle: store {store}"
        records: list[Piece] = []
        try:
            count = cursor.items(self._left)
            self._left -= count
            for place in range(count):
                cursor.what = f"bundle: store {store}: record {place + 1} of {count}"
                sealed = cursor.string(MAX_MESSAGE_BYTES)
                records.append(Piece(cursor.at - len(sealed), sealed))
        finally:
            self.stores.append(StorePart(box, store, key, tuple(records)))

    def _claims(self) -> Claims:
        at = self.cursor.at
        raw = self.cursor.string(MAX_SMALL_BYTES)
        try:
            return from_wire(Claims, loads(raw, "claims"))
        except Malformed as problem:
            raise self.cursor.refusal(at, str(problem)) from problem

    def _compare(self, manifest: Sequence[bytes]) -> None:
        told = self._values[1:MANIFEST]
        for key, (begin, end) in enumerate(told, 1):
            digest = hashlib.sha256(memoryview(self._data)[begin:end]).digest()
            if key > len(manifest) or digest != manifest[key - 1]:
                reason = f"bundle.{KEYS[key][0]}: bytes {begin} to {end - 1} are not those that the manifest names"
                self.troubles.append(Trouble(begin, reason))
        if len(manifest) > len(told):
            self.troubles.append(Trouble(self._values[MANIFEST][0], "bundle.manifest: names more parts than there are"))

    def _check(self, exporter: bytes, key_id: bytes, signature: bytes, payload: memoryview) -> None:
        try:
            if key_id != key_id_of(exporter):
                raise InvalidSignature
            # Not by `is_signed`: libsodium's binding would copy what may be 100 MB twice.
            Ed25519PublicKey.from_public_bytes(exporter).verify(signature, _to_be_signed(payload))
        except (InvalidSignature, ValueError):
            reason = f"bundle: not signed by the exporter that it names (key {key_id_of(exporter).hex()})"
            self.troubles.append(Trouble(len(self._data) - SIGNATURE_BYTES, reason))
