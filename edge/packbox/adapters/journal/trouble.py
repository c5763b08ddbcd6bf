"""SQLite's and the system's words turned into ours: which file, what could not be done, why."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from packbox.ports import JournalBrokenError, JournalDiskError, JournalError

WORDS: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_IOERR: "input/output error, the card may be failing",
    sqlite3.SQLITE_BUSY: "in use by another program",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged, not a database",
}


DISK: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR})
DISK_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


@contextmanager
def told(path: Path, done: str) -> Iterator[None]:
    """Raises JournalError for SQLite's errors and the system's, or its kind for damage or a disk that refuses."""
    try:
        yield
    except sqlite3.Error as problem:
        kind = JournalBrokenError if is_damage(problem) else _kind(is_refusal(problem, path))
        known = WORDS.get(_primary(problem))
        raise kind(f"{path}: cannot be {done}: {f'{known} ({problem})' if known else problem}") from problem
    except OSError as problem:
        raise _kind(problem.errno in DISK_ERRNOS)(f"{path}: cannot be {done}: {problem.strerror}") from problem


def is_damage(problem: sqlite3.Error) -> bool:
    return _primary(problem) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_refusal(problem: sqlite3.Error, path: Path) -> bool:
    """Whether it is the disk that will not, not the file that is wrong."""
    return _primary(problem) in DISK or is_read_only(path.parent)


def is_read_only(folder: Path) -> bool:
    """SQLite only says that it cannot open a file whose companions it cannot make."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def damage(text: str) -> sqlite3.DatabaseError:
    """What SQLite would have raised, had it touched the page that its check names."""
    problem = sqlite3.DatabaseError(text.replace("\n", " "))
    problem.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return problem


def _kind(disk: bool) -> type[JournalError]:
    return JournalDiskError if disk else JournalError


def _primary(problem: sqlite3.Error) -> int:
    """The basic result code: the upper bits only refine it (sqlite.org/rescode.html)."""
    return getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
