"""Bring a journal's layout up to date: numbered SQL files, each one transaction, forward only."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

MIGRATIONS: Final[dict[int, str]] = {
    int(file.name.partition("_")[0]): file.read_text(encoding="utf-8")
    for file in Path(__file__).with_name("migrations").glob("*.sql")
}
NEWEST: Final = max(MIGRATIONS)
assert sorted(MIGRATIONS) == list(range(1, NEWEST + 1)), "migrations are numbered without holes"


def migrate(db: sqlite3.Connection) -> None:
    """Raises sqlite3.Error; then the layout is what it was."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    for number in range(version + 1, NEWEST + 1):
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{MIGRATIONS[number]}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
