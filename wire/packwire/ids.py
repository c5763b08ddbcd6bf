"""Names of things that travel: boxes, stores, boots, batteries, and how a box's name follows from its key.

A box id is the first 8 bytes of SHA-256 over its first Ed25519 public key, in hex: whoever holds the id and a
key can tell whether they belong together, without asking anybody.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final, NewType

BoxId = NewType("BoxId", str)  # 16 hex digits
StoreId = NewType("StoreId", str)  # 16 hex digits: one life of one box database
BootId = NewType("BootId", str)  # 16 hex digits: monotonic time means nothing across two of them
BatteryId = NewType("BatteryId", str)  # pack serial, configured name, or "prov-<box>-<n>"

ID_BYTES: Final = 8
KEY_ID_BYTES: Final = 4
PUBLIC_KEY_BYTES: Final = 32  # raw Ed25519
HEX_ID: Final = re.compile(r"[0-9a-f]{16}")
BATTERY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def box_id_of(public_key: bytes) -> BoxId:
    """The box id that belongs to a raw 32-byte Ed25519 public key."""
    return BoxId(hashlib.sha256(public_key).digest()[:ID_BYTES].hex())


def key_id_of(public_key: bytes) -> bytes:
    """The 4-byte key id that a sealed record names its key by."""
    return hashlib.sha256(public_key).digest()[:KEY_ID_BYTES]


def new_store_id() -> StoreId:
    return StoreId(secrets.token_hex(ID_BYTES))


def is_hex_id(text: str) -> bool:
    return HEX_ID.fullmatch(text) is not None
