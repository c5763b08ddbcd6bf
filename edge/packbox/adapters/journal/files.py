"""What writer and readers share: the files of one database and the size of the outbox."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from packbox.adapters.durable import sync_folder
from packbox.ports import Outbox

JOURNAL_FILE: Final = "journal.db"
ASIDES_MAX: Final = 16  # acks can end no more stores than that: a lying broker must not fill the card
COMPANIONS: Final = ("", "-wal", "-shm")  # the files that make up one SQLite database in WAL mode


def outbox_of(db: sqlite3.Connection, path: Path) -> Outbox:
    """`path`: the journal whose size on disk counts. Raises sqlite3.Error or OSError."""
    waiting, oldest_wall_ms = db.execute("SELECT count(*), min(wall_ms) FROM record WHERE held = 0").fetchone()
    return Outbox(waiting, oldest_wall_ms, sum(file.stat().st_size for file in files_of(path)))


def files_of(path: Path) -> list[Path]:
    return [file for end in COMPANIONS if (file := path.with_name(path.name + end)).exists()]


def set_aside(path: Path) -> Path:
    """Rename the database and its companions so that they still belong together. Nothing is deleted."""
    moved = _aside(path, asides(path) + 1)
    for file in reversed(files_of(path)):  # the database last: a cut half way leaves it in place, to be moved again
        file.rename(moved.with_name(moved.name + file.name.removeprefix(path.name)))
    sync_folder(path.parent)
    return moved


def newest_aside(path: Path) -> Path | None:
    """What was set aside last, if anything was."""
    count = asides(path)
    return _aside(path, count) if count else None


def asides(path: Path) -> int:
    """How many journals were set aside here."""
    count = 0
    while files_of(_aside(path, count + 1)):
        count += 1
    return count


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")
