"""SQLite's and the system's words turned into ours: which file, what could not be done, why."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from packbox.ports import JournalBrokenError, JournalError

WORDS: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_IOERR: "input/output error, the card may be failing",
    sqlite3.SQLITE_BUSY: "in use by another program",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged, not a database",
}


@contextmanager
def told(path: Path, done: str) -> Iterator[None]:
    """Raises JournalError, or JournalBrokenError when the file is damaged, for SQLite's errors and the system's."""
    try:
        yield
    except sqlite3.Error as problem:
        kind = JournalBrokenError if is_damage(problem) else JournalError
        known = WORDS.get(_primary(problem))
        raise kind(f"{path}: cannot be {done}: {f'{known} ({problem})' if known else problem}") from problem
    except OSError as problem:
        raise JournalError(f"{path}: cannot be {done}: {problem.strerror}") from problem


def is_damage(problem: sqlite3.Error) -> bool:
    return _primary(problem) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def damage(text: str) -> sqlite3.DatabaseError:
    """What SQLite would have raised, had it touched the page that its check names."""
    problem = sqlite3.DatabaseError(text.replace("\n", " "))
    problem.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return problem


def _primary(problem: sqlite3.Error) -> int:
    """The basic result code: the upper bits only refine it (sqlite.org/rescode.html)."""
    return getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
