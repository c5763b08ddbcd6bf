"""A journal in memory, with a disk that can be full: keeps every promise of `ports.Journal` except outliving us."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from packbox.core.record import BoxId, ChainHead, SealedRow, StoreId
from packbox.ports import Checkpoint, JournalError, Outbox


class MemoryJournal:
    """`close` and `open` it again to play a restart; set `trouble` to play a full disk."""

    def __init__(self, box: BoxId, store: StoreId, digest: Callable[[bytes], bytes]) -> None:
        self.state: bytes | None = None
        self.rows: list[SealedRow] = []
        self.held: set[int] = set()
        self.commits = 0
        self.trouble: str | None = None
        self.over: str | None = None  # why nothing may follow; what happens to the file is the real journal's matter
        self._box = box
        self._store = store
        self._digest = digest

    def open(self) -> Checkpoint:
        self._may("opened")
        previous = self._digest(self.rows[-1].sealed) if self.rows else bytes(len(self._digest(b"")))
        return Checkpoint(self.state, ChainHead(self._box, self._store, len(self.rows) + 1, previous))

    def commit(self, state: bytes, rows: Sequence[SealedRow]) -> None:
        first = len(self.rows) + 1
        assert [row.seq for row in rows] == list(range(first, first + len(rows)))
        self._may("written")
        self.state = state
        self.rows.extend(rows)
        self.commits += 1

    def waiting(self, after_seq: int, limit: int) -> list[SealedRow]:
        self._may("read")
        return [row for row in self.rows if row.seq > after_seq and row.seq not in self.held][:limit]

    def release(self, upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        self._may("written")
        spans = [(1, upto), *ranges]
        new = {row.seq for row in self.rows if any(lo <= row.seq <= hi for lo, hi in spans)} - self.held
        self.held |= new
        return len(new)

    def take_back(self, from_seq: int, upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        self._may("written")
        spans = [(1, upto), *ranges]
        lost = {seq for seq in self.held if seq >= from_seq and not any(lo <= seq <= hi for lo, hi in spans)}
        self.held -= lost
        return len(lost)

    def digest_of(self, seq: int) -> bytes | None:
        self._may("read")
        return self._digest(self.rows[seq - 1].sealed) if 0 < seq <= len(self.rows) else None

    def end_store(self, reason: str) -> bool:
        self._may("written")
        self.over = reason
        return True

    def outbox(self) -> Outbox:
        waiting = self.waiting(0, len(self.rows))
        known = [row.wall_ms for row in waiting if row.wall_ms is not None]
        return Outbox(len(waiting), min(known, default=None), sum(len(row.sealed) for row in self.rows))

    def close(self) -> None: ...

    def _may(self, done: str) -> None:
        if self.trouble is not None:
            raise JournalError(f"memory: cannot be {done}: {self.trouble}")
