"""Bundles for tests: a scripted box with an honest life, a book's key, and both ways to export it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from packbook.testing.scripted_box import SOME_DAY_MS, ScriptedBox
from packwire.bundle import Bundle, Claims, Piece, StorePart, encode_bundle
from packwire.checkpoint import Checkpoint, encode_checkpoint
from packwire.ids import BatteryId
from packwire.messages import EventKind
from packwire.seal import digest

BATTERY: Final = BatteryId("BAT-1")
BOOK: Final = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"book").digest())
BOOK_KEY: Final = BOOK.public_key().public_bytes_raw()
MALLORY: Final = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"mallory").digest())
MALLORY_KEY: Final = MALLORY.public_key().public_bytes_raw()


def lived(name: str = "alfa", store: str = "first", rounds: int = 4) -> ScriptedBox:
    """A box that drove, charged and rested, and counts nothing that it did not see."""
    box = ScriptedBox(name, store)
    box.hello(BATTERY)
    for _ in range(rounds):
        box.drive()
        box.charge()
        box.rest()
        box.event(EventKind.COLD_CHARGE)
    return box


def part(box: ScriptedBox, records: Sequence[bytes] | None = None) -> StorePart:
    pieces = tuple(Piece(0, sealed) for sealed in (box.sealed if records is None else records))
    return StorePart(box.box, box.store, box.public_key, pieces)


def checkpoint(box: ScriptedBox, upto: int | None = None, key: Ed25519PrivateKey = BOOK) -> bytes:
    upto = upto or len(box.sealed)
    public = key.public_key().public_bytes_raw()
    point = Checkpoint(public, box.box, box.store, upto, digest(box.sealed[upto - 1]), BATTERY, SOME_DAY_MS)
    return encode_checkpoint(point, key.sign)


def claims(*boxes: ScriptedBox) -> Claims:
    rounds = sum((len(box.sealed) - 1) // 4 for box in boxes)
    return Claims(records=sum(len(box.sealed) for box in boxes), charges=rounds, drives=rounds, rests=rounds)


def by_book(*boxes: ScriptedBox, parts: Sequence[StorePart] | None = None, key: Ed25519PrivateKey = BOOK) -> bytes:
    """As the book exports them; `parts`: what a cheat put in their place, `key`: who signed that."""
    bundle = Bundle(
        made_ms=SOME_DAY_MS,
        exporter=key.public_key().public_bytes_raw(),
        battery=BATTERY,
        stores=tuple(part(box) for box in boxes) if parts is None else tuple(parts),
        checkpoints=tuple(checkpoint(box) for box in boxes),
        claims=claims(*boxes),
    )
    return encode_bundle(bundle, key.sign)


def by_box(box: ScriptedBox, records: Sequence[bytes] | None = None, checkpoints: Sequence[bytes] = ()) -> bytes:
    bundle = Bundle(
        made_ms=SOME_DAY_MS,
        exporter=box.public_key,
        battery=BATTERY,
        stores=(part(box, records),),
        checkpoints=tuple(checkpoints),
        claims=claims(box) if records is None else Claims(records=len(records)),
    )
    return encode_bundle(bundle, box.key.sign)
