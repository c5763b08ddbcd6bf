"""The newest record's number in a file of its own, so that a card which forgot what it had confirmed is found out.

In:  store and number, after the commit that made the record was flushed.
Out: at the next start, whether the journal is as new as the card once said.
Some cards say that they flushed and did not: after a power cut the journal may be whole, and older than what the book
was sent. Going on there would tell the same numbers a second time with other content. On an honest card this file is
never ahead of the journal. An old journal put back by hand looks the same, and deserves the same.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from packbox.core.record import StoreId

FILE_END: Final = "-newest"
SEQ_DIGITS: Final = 20  # always the same length: the file never grows, and one sector holds it


def remember_newest(journal: Path, store: StoreId, seq: int) -> None:
    """A disk that refuses keeps the older number, which does no harm: the record itself is safe already."""
    with suppress(OSError):
        file = os.open(_beside(journal), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(file, _line(store, seq), 0)
            os.fdatasync(file)
        finally:
            os.close(file)


def forgotten(journal: Path, db: sqlite3.Connection) -> str | None:
    """What the card confirmed and does not have, None when all is there. Raises sqlite3.Error."""
    here = db.execute("SELECT id, (SELECT coalesce(max(seq), 0) FROM record) FROM store").fetchone()
    if here is None:
        return None
    store, newest = here
    confirmed = _confirmed(journal, store)
    if confirmed <= newest:
        return None
    return f"the card had confirmed record {confirmed}, and the newest in {journal.name} is {newest}"


def _confirmed(journal: Path, store: StoreId) -> int:
    """0 where nothing readable speaks of this store."""
    try:
        line = _beside(journal).read_bytes()
        seq = int(line.split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return seq if line == _line(store, seq) else 0


def _line(store: StoreId, seq: int) -> bytes:
    said = f"{store} {seq:0{SEQ_DIGITS}d}"
    return f"{said} {zlib.crc32(said.encode()):08x}\n".encode()


def _beside(journal: Path) -> Path:
    return journal.with_name(journal.name + FILE_END)
