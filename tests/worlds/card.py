"""The box's SD card: the real SQLite journal, a power switch between any two writes, a disk that may refuse.

What counts as written is what SQLite had committed when the power went; torn sectors: tests/edge/crash.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal
from packbox.core.record import BoxId, SealedRow
from packbox.ports import Clock, JournalDiskError
from packwire.seal import digest


class PowerCutError(BaseException):
    """Nothing runs any more. Not an Exception: no handler of ours may see it."""


class Card:
    """What outlives a box's power. `trouble`: why the disk refuses, None while it does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trouble: str | None = None
        self.cut_before_write = False
        self.cut_after_write = False
        self.powered = False
        folder.mkdir(parents=True)

    def files(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.folder.glob(f"{JOURNAL_FILE}*")}

    def put(self, files: dict[str, bytes]) -> None:
        for file in self.folder.glob(f"{JOURNAL_FILE}*"):
            file.unlink()
        for name, data in files.items():
            (self.folder / name).write_bytes(data)


class CardJournal(SqliteJournal):
    """The real journal on a card. `wrote`: told of each commit once it is on disk."""

    def __init__(self, card: Card, box: BoxId, clock: Clock, wrote: Callable[[Sequence[SealedRow]], None]) -> None:
        super().__init__(card.folder / JOURNAL_FILE, box, digest, clock)
        self._card = card
        self._wrote = wrote

    def _open_on_disk(self) -> tuple[sqlite3.Connection, str | None]:
        self._may_write()
        return super()._open_on_disk()

    def commit(self, state: bytes, rows: Sequence[SealedRow]) -> None:
        self._may_write()
        super().commit(state, rows)
        self._wrote(rows)
        self._written()

    def release(self, upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        if self._stands_by:
            return super().release(upto, ranges)
        self._may_write()
        freed = super().release(upto, ranges)
        self._written()
        return freed

    def drop(self) -> None:
        """The power is gone: what lies on the card now is what the next start finds."""
        files = self._card.files()
        db: sqlite3.Connection | None = self._db
        self._db = None
        if db is not None:
            db.close()  # folds the WAL back, which a power cut does not
            self._card.put(files)
        self._stands_by = False
        self._lock.drop()

    def _may_write(self) -> None:
        if not self._card.powered:
            raise PowerCutError
        if self._card.cut_before_write:
            self._card.powered = self._card.cut_before_write = False
            raise PowerCutError
        if self._card.trouble is not None:
            raise JournalDiskError(f"simulated: {self._card.trouble}")

    def _written(self) -> None:
        if self._card.cut_after_write:
            self._card.powered = self._card.cut_after_write = False
            raise PowerCutError
