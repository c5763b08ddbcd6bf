"""The journal on SQLite: one writer, one connection, every commit on disk when it returns.

In:  the fold's snapshot and the sealed records it produced; what the book holds.
Out: the checkpoint at open, records that wait for the book.
Refuses a second process on the same file, a file of another box, a file of newer software. A damaged file, or one that
is older than what the card had confirmed, is renamed and never deleted; a new store begins and says so until its first
record is on disk. A disk that refuses at the start is no reason to stay away: what it holds is read into memory, and
each commit tries the disk again.

Why WAL and FULL: in 400 simulated power cuts it alone lost nothing (facts/transport.md §6). Why one connection: SQLite
before 3.51.3 can lose a WAL reset between two. Readers of other processes take a copy (`copy.py`).
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from packbox.adapters.durable import sync_folder
from packbox.adapters.journal.files import ASIDES_MAX, asides, newest_aside, outbox_of, set_aside
from packbox.adapters.journal.lock import Lock
from packbox.adapters.journal.migrate import NEWEST, migrate
from packbox.adapters.journal.newest import forgotten, remember_newest
from packbox.adapters.journal.packing import pack, read_state
from packbox.adapters.journal.standby import bring_back, read_into_memory
from packbox.adapters.journal.trouble import damage, is_damage, told
from packbox.core.record import BoxId, ChainHead, SealedRow, StoreId
from packbox.ports import Checkpoint, Clock, JournalBrokenError, JournalDiskError, JournalError, Outbox

log = logging.getLogger(__name__)

PAGE_BYTES: Final = 4096
WAL_BYTES_MAX: Final = 4 * 2**20  # the WAL file shrinks to this after a checkpoint
BUSY_MS: Final = 5000  # a reader that takes its copy holds us up for a moment only
STORE_ID_BYTES: Final = 8

Digest: TypeAlias = Callable[[bytes], bytes]


class SqliteJournal:
    """`ports.Journal`. `digest`: what the next record of the chain carries of the one before it."""

    def __init__(self, path: Path, box: BoxId, digest: Digest, clock: Clock) -> None:
        self.path = path
        self._box = box
        self._digest = digest
        self._clock = clock
        self._lock = Lock(path)
        self._db: sqlite3.Connection | None = None
        self._next_seq = 0
        self._store = StoreId("")
        self._stands_by = False  # in memory: the disk refuses

    def open(self) -> Checkpoint:
        assert self._db is None
        try:
            try:
                return self._begin(*self._open_on_disk())
            except JournalDiskError as problem:
                self.close()
                return self._stand_by(str(problem))
        except BaseException:
            self.close()
            raise

    def commit(self, state: bytes, rows: Sequence[SealedRow]) -> None:
        if self._stands_by:
            self._come_back()
        seqs = [row.seq for row in rows]
        assert seqs == list(range(self._next_seq, self._next_seq + len(rows))), f"{seqs} do not follow {self._next_seq}"
        with told(self.path, "written"), _transaction(self._opened()) as db:
            db.execute(
                "INSERT INTO state (only, snapshot, packed) VALUES (1, ?, 1)"
                " ON CONFLICT DO UPDATE SET snapshot = excluded.snapshot, packed = excluded.packed",
                (pack(state),),
            )
            db.executemany(
                "INSERT INTO record (seq, kind, session, mono_ms, wall_ms, sealed) VALUES (?, ?, ?, ?, ?, ?)",
                [(row.seq, row.kind, row.session, row.mono_ms, row.wall_ms, row.sealed) for row in rows],
            )
        self._next_seq += len(rows)
        if rows:
            remember_newest(self.path, self._store, rows[-1].seq)

    def waiting(self, after_seq: int, limit: int) -> list[SealedRow]:
        with told(self.path, "read"):
            found = self._opened().execute(
                "SELECT seq, kind, session, mono_ms, wall_ms, sealed FROM record"
                " WHERE held = 0 AND seq > ? ORDER BY seq LIMIT ?",
                (after_seq, limit),
            )
            return [SealedRow(*row) for row in found]

    def release(self, upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        with told(self.path, "written"), _transaction(self._opened()) as db:
            return sum(
                db.execute("UPDATE record SET held = 1 WHERE held = 0 AND seq BETWEEN ? AND ?", span).rowcount
                for span in [(1, upto), *ranges]
            )

    def take_back(self, from_seq: int, upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        spans = [(1, upto), *ranges]
        elsewhere = " AND NOT seq BETWEEN ? AND ?" * len(spans)
        query = f"UPDATE record SET held = 0 WHERE held = 1 AND seq >= ?{elsewhere}"  # noqa: S608  nothing but marks
        with told(self.path, "written"), _transaction(self._opened()) as db:
            return db.execute(query, (from_seq, *chain.from_iterable(spans))).rowcount

    def digest_of(self, seq: int) -> bytes | None:
        with told(self.path, "read"):
            found = self._opened().execute("SELECT sealed FROM record WHERE seq = ?", (seq,)).fetchone()
        return None if found is None else self._digest(found[0])

    def end_store(self, reason: str) -> bool:
        if self._stands_by or asides(self.path) >= ASIDES_MAX:
            return False
        with told(self.path, "written"), _transaction(self._opened()) as db:
            db.execute("UPDATE store SET over = ?", (reason,))
        return True

    def outbox(self) -> Outbox:
        with told(self.path, "read"):
            return outbox_of(self._opened(), self.path)

    def close(self) -> None:
        try:
            if self._db is not None:
                with told(self.path, "closed"):
                    self._db.close()
        finally:
            self._db = None
            self._stands_by = False
            self._lock.drop()

    def _opened(self) -> sqlite3.Connection:
        assert self._db is not None, "open() comes first"
        return self._db

    def _begin(self, db: sqlite3.Connection, begun_after: str | None) -> Checkpoint:
        self._db = db
        with told(self.path, "opened"):
            return self._checkpoint(db, begun_after)

    def _stand_by(self, trouble: str) -> Checkpoint:
        log.error("listening without a disk: %s", trouble, extra={"FILE": str(self.path)})
        self._stands_by = True
        with told(self.path, "read"):
            memory = read_into_memory(self.path, self._open_sound)
        return replace(self._begin(*memory), trouble=trouble)

    def _open_on_disk(self) -> tuple[sqlite3.Connection, str | None]:
        self._lock.take()
        with told(self.path, "opened"):
            return self._open_sound(self.path)

    def _come_back(self) -> None:
        """From memory to the disk. Raises JournalDiskError as long as it refuses."""
        memory = self._opened()
        with ExitStack() as undo:
            undo.callback(self._lock.drop)
            disk, _ = self._open_on_disk()
            undo.callback(disk.close)
            with told(self.path, "written"):
                if not bring_back(memory, disk):
                    raise JournalBrokenError(f"{self.path}: is not what it was when the disk began to refuse")
                sync_folder(self.path.parent)
            undo.pop_all()
        memory.close()
        self._db, self._stands_by = disk, False

    def _open_sound(self, path: Path) -> tuple[sqlite3.Connection, str | None]:
        """A connection to a sound file, and why an older one had to go, if one had to."""
        try:
            db = _connect(path)
            why = _over(db, path)
            if why is None:
                return db, None
            db.close()
        except sqlite3.DatabaseError as problem:
            if not is_damage(problem):
                raise
            why = f"{path.name} was damaged ({problem})"
        moved = set_aside(path)
        reason = f"{why}; kept as {moved.name}"
        log.error("journal set aside, a new store begins: %s", reason, extra={"FILE": str(path)})
        return _connect(path), reason

    def _checkpoint(self, db: sqlite3.Connection, begun_after: str | None) -> Checkpoint:
        if db.execute("SELECT count(*) FROM store").fetchone() == (0,):
            store = secrets.token_hex(STORE_ID_BYTES)
            aside = newest_aside(self.path)
            if begun_after is None and aside is not None:  # the power went between the renaming and here
                begun_after = f"an older journal was set aside as {aside.name}"
            with _transaction(db):
                created_ms = self._clock.now().wall_ms
                db.execute(
                    "INSERT INTO store (id, box, created_ms, begun_after) VALUES (?, ?, ?, ?)",
                    (store, self._box, created_ms, begun_after),
                )
            if not self._stands_by:
                sync_folder(self.path.parent)
        store, box, begun_after = db.execute("SELECT id, box, begun_after FROM store").fetchone()
        if box != self._box:
            raise JournalError(
                f"{self.path}: belongs to box {box}, but the key here makes box {self._box}; "
                "bring back that box's key or use another data folder"
            )
        newest = db.execute("SELECT seq, sealed FROM record ORDER BY seq DESC LIMIT 1").fetchone()
        seq, previous = (0, bytes(len(self._digest(b"")))) if newest is None else (newest[0], self._digest(newest[1]))
        self._next_seq, self._store = seq + 1, StoreId(store)
        return Checkpoint(
            state=read_state(db),
            head=ChainHead(self._box, self._store, self._next_seq, previous),
            begun_after=begun_after if newest is None else None,
        )


def _over(db: sqlite3.Connection, path: Path) -> str | None:
    """Why this sound journal must not be gone on with. Raises sqlite3.Error."""
    said = db.execute("SELECT over FROM store WHERE over IS NOT NULL").fetchone()
    return forgotten(path, db) if said is None else str(said[0])


def _connect(path: Path) -> sqlite3.Connection:
    """Open, check, migrate. Raises sqlite3.Error; the connection is closed then."""
    db = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = OFF")  # Debian's default zeroes what is freed: twice the bytes per commit
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise damage(verdict)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > NEWEST:
            raise JournalError(f"{path}: written by newer software (layout {version}, this one knows {NEWEST})")
        migrate(db)
        read_state(db)  # a flipped bit within a page passes SQLite's check, but not this
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # on a full disk SQLite may have rolled back by itself
            db.execute("ROLLBACK")
        raise
