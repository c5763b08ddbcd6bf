"""A sound copy of a SQLite book while it runs.

In:  the book's file, a file that is not there yet.
Out: the book as it stood at one moment, checked.
Refuses to write over anything. PostgreSQL has its own programs for this (docs/book.md).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from packbook.ports.trouble import StoreError


def copy_book(book: Path, copy: Path) -> int:
    """Gives its size in bytes. Raises StoreError: then there is no copy."""
    try:
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # it holds what the book holds
    except OSError as problem:
        raise StoreError(f"{copy}: {problem.strerror}") from problem
    try:
        reader = sqlite3.connect(f"file:{quote(str(book.absolute()))}?mode=ro", uri=True)
        with closing(reader), closing(sqlite3.connect(copy)) as writer:
            reader.backup(writer)  # in one step, so that what comes meanwhile is in it wholly or not at all
            said = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
            if said != "ok":
                raise StoreError(f"{book}: the copy is not sound: {said}")
    except (sqlite3.Error, StoreError) as problem:
        copy.unlink()
        raise StoreError(f"{book}: {problem}") from problem
    return copy.stat().st_size
