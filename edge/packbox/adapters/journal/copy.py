"""Read a journal without disturbing the box that writes it: take a copy, close the original, look at the copy.

SQLite's online backup reads one consistent state while the writer goes on; only a moment's read lock is held, so
the writer's WAL can be folded back as usual while a person reads page after page. A card that turned read-only is when
people want to read most: there SQLite cannot, so the files are copied first, which nobody can change meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from packbox.adapters.journal.files import outbox_of
from packbox.adapters.journal.migrate import NEWEST
from packbox.adapters.journal.packing import read_state
from packbox.adapters.journal.standby import copied
from packbox.adapters.journal.trouble import is_refusal, told
from packbox.core.record import BoxId, SealedRow, StoreId
from packbox.ports import JournalError, Outbox


@dataclass(frozen=True, slots=True)
class HeldRow:
    row: SealedRow
    held: bool  # the book holds it


class JournalCopy:
    """One consistent look at a journal. Every method raises JournalError, naming the original."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._db = db
        with told(path, "read"):
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != NEWEST:
                raise JournalError(f"{path}: has layout {version}, this software reads {NEWEST}; run the box once")
            found = db.execute("SELECT id, box, created_ms, begun_after FROM store").fetchone()
        if found is None:
            raise JournalError(f"{path}: the box was stopped before its first start was done; run it once")
        self.store, self.box = StoreId(found[0]), BoxId(found[1])
        self.created_ms: int | None = found[2]
        self.begun_after: str | None = found[3]

    def rows(self, kinds: Sequence[int] = (), limit: int | None = None) -> Iterator[HeldRow]:
        """Newest first, all kinds when none is named."""
        with told(self._path, "read"):
            found = self._db.execute(
                "SELECT seq, kind, session, mono_ms, wall_ms, sealed, held FROM record"
                " WHERE :kinds = '[]' OR kind IN (SELECT value FROM json_each(:kinds)) ORDER BY seq DESC LIMIT :limit",
                {"kinds": json.dumps(list(kinds)), "limit": -1 if limit is None else limit},
            )
            for row in found:
                yield HeldRow(SealedRow(*row[:6]), bool(row[6]))

    def chain(self) -> Iterator[SealedRow]:
        """Every record, oldest first."""
        with told(self._path, "read"):
            found = self._db.execute("SELECT seq, kind, session, mono_ms, wall_ms, sealed FROM record ORDER BY seq")
            for row in found:
                yield SealedRow(*row)

    def snapshot(self) -> bytes | None:
        """The fold's state, as the box last saved it."""
        with told(self._path, "read"):
            return read_state(self._db)

    def outbox(self) -> Outbox:
        with told(self._path, "read"):
            return outbox_of(self._db, self._path)

    def damage(self) -> str | None:
        """What SQLite's full check finds, None when all is well."""
        with told(self._path, "read"):
            verdict = str(self._db.execute("PRAGMA integrity_check(1)").fetchone()[0])
        return None if verdict == "ok" else verdict


@contextmanager
def open_copy(path: Path) -> Iterator[JournalCopy]:
    """Raises JournalError when there is no journal, it cannot be read, or newer software wrote it."""
    import tempfile  # not for the box that runs

    if not path.is_file():
        raise JournalError(f"{path}: there is no journal here yet")
    with ExitStack() as cleanup:
        with told(path, "read"):
            folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="packbox-"))
            db = cleanup.enter_context(closing(sqlite3.connect(Path(folder) / path.name)))
            try:
                _read(path, db)
            except sqlite3.OperationalError as problem:
                if not is_refusal(problem, path):
                    raise
                _read(cleanup.enter_context(copied(path)), db)
        yield JournalCopy(path, db)


def _read(path: Path, into: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as original:
        original.backup(into)
