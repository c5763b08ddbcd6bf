"""The fold's state, packed for the card: a third to a fifth of its bytes, in well under a millisecond."""

from __future__ import annotations

import sqlite3
from typing import Final

import zstandard

from packbox.adapters.journal.trouble import damage

LEVEL: Final = 3  # higher levels win a few percent and cost several times the time
STATE_BYTES_MAX: Final = 64 * 2**20  # far above any honest state; a damaged header must not ask for all memory


def pack(state: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(state)


def read_state(db: sqlite3.Connection) -> bytes | None:
    """The newest snapshot, None in a new store. Raises sqlite3.Error, also when it cannot be unpacked."""
    found = db.execute("SELECT snapshot, packed FROM state").fetchone()
    if found is None:
        return None
    snapshot, packed = found
    if not packed:  # of a box before layout 2
        return bytes(snapshot)
    try:
        return zstandard.ZstdDecompressor().decompress(snapshot, max_output_size=STATE_BYTES_MAX)
    except zstandard.ZstdError as problem:
        raise damage(f"the saved state cannot be unpacked: {problem}") from problem
