"""The journal on a disk that loses power between any two writes.

SIGKILL never shows a durability bug: the kernel still writes what was not flushed. Here every write of SQLite is
recorded, and what may lie on the disk after a cut is built and opened: hundreds of such states.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal, open_copy
from packbox.adapters.journal import journal as journal_module
from packbox.core.record import BoxId, SealedRow
from packbox.ports import JournalError
from packbox.testing.sim_clock import SimClock
from packbox.testing.sim_disk import SQLITE_FULL, SQLITE_READONLY, Crash, Entry, SimDisk, crashes

BOX = BoxId("ab" * 8)
COMMITS: Final = 24
FOLD_BACK_PAGES: Final = 30  # a thousand in a car: here the WAL begins anew every few commits
STATES_MIN: Final = 300


@dataclass(frozen=True, slots=True)
class Told:
    """What the box had been told by its journal, and what it had asked for."""

    safe_seq: int = 0  # newest record whose commit returned
    asked_seq: int = 0
    safe_held: int = 0  # upto of the last release that returned
    asked_held: int = 0
    store: str | None = None


def digest(sealed: bytes) -> bytes:
    return hashlib.sha256(sealed).digest()[:16]


def state_of(seq: int) -> bytes:
    """Names the newest record it led to; some pages long, as a fold's is."""
    return b"%08d" % seq + random.Random(seq).randbytes(9_000 + seq % 5 * 700)


def live(path: Path, disk: SimDisk) -> None:
    """Two lives of a box: commits with and without records, acks between them, an orderly stop in the middle."""
    told = Told()

    def tell(**news: int | str) -> None:
        nonlocal told
        told = Told(**{name: news.get(name, getattr(told, name)) for name in Told.__slots__})  # type: ignore[arg-type]
        disk.mark(told)

    tell()
    for life in range(2):
        journal = SqliteJournal(path, BOX, digest, SimClock(wall_ms=1_700_000_000_000))
        head = journal.open().head
        tell(store=head.store)
        journal._opened().execute(f"PRAGMA wal_autocheckpoint = {FOLD_BACK_PAGES}")
        seq, previous = head.next_seq, head.previous
        for turn in range(COMMITS // 2):
            rows: list[SealedRow] = []
            for _ in range((0, 1, 3)[turn % 3]):
                sealed = previous + random.Random(seq).randbytes(200 + seq % 7 * 40)
                rows.append(SealedRow(seq, 3, seq, seq * 1000, None, sealed))
                seq, previous = seq + 1, digest(sealed)
            tell(asked_seq=seq - 1)
            journal.commit(state_of(seq - 1), rows)
            tell(safe_seq=seq - 1)
            if turn % 4 == 3:
                tell(asked_held=seq - 2)
                journal.release(seq - 2, [])
                tell(safe_held=seq - 2)
        if life == 0:
            journal.close()
    # The second life ends without a word: the connection stays open until the disk is gone.
    journal.close()


def recorded(folder: Path) -> Sequence[Entry]:
    folder.mkdir()
    with SimDisk(folder) as disk:
        live(folder / JOURNAL_FILE, disk)
    return disk.log


def broken_promise(crash: Crash, folder: Path) -> str | None:
    """What a restart after this power cut finds missing, made up or torn; None when every promise was kept."""
    told = crash.note
    assert isinstance(told, Told)
    crash.lay_out(folder)
    journal = SqliteJournal(folder / JOURNAL_FILE, BOX, digest, SimClock())
    try:
        found = journal.open()
        rows = journal.waiting(0, 10_000)
    except (JournalError, sqlite3.Error) as problem:
        return f"cannot be opened: {problem}"
    finally:
        journal.close()
    if found.begun_after is not None:
        return found.begun_after
    if told.store is not None and found.head.store != told.store:
        return "another store"
    newest = found.head.next_seq - 1
    if not told.safe_seq <= newest <= told.asked_seq:
        return f"newest record {newest}, reported {told.safe_seq}, begun {told.asked_seq}"
    if found.state != (None if found.state is None and newest == 0 else state_of(newest)):
        return f"state does not belong to record {newest}"
    if newest and not (told.safe_held <= newest - len(rows) <= told.asked_held):
        return f"{newest - len(rows)} records held, reported {told.safe_held}, begun {told.asked_held}"
    with open_copy(folder / JOURNAL_FILE) as copy:
        if (damage := copy.damage()) is not None:
            return damage
        previous, count = bytes(16), 0
        for row in copy.chain():
            if row.seq != count + 1 or row.sealed[:16] != previous:
                return f"record {row.seq} does not follow record {count}"
            previous, count = digest(row.sealed), row.seq
    return None if count == newest else f"{count} records, expected {newest}"


def judged(log: Sequence[Entry], folder: Path, seed: int, per_cut: int = 1) -> Iterator[tuple[Crash, str | None]]:
    for number, crash in enumerate(crashes(log, random.Random(seed), per_cut)):
        yield crash, broken_promise(crash, folder / str(number))


def test_no_power_cut_breaks_a_promise(tmp_path: Path) -> None:
    """What commit reported is there, whole batches only, state and records together, and the file is sound."""
    log = recorded(tmp_path / "box")
    states = torn = 0
    for crash, problem in judged(log, tmp_path, seed=1, per_cut=1):
        assert problem is None, f"power cut after write {crash.at} (seed 1): {problem}"
        states += 1
        torn += crash.lost > 0
    print(f"\n{states} power cuts, {torn} of them with writes lost or torn; nothing reported was lost")
    assert states >= STATES_MIN
    assert torn >= STATES_MIN / 3


def careless(level: str) -> Callable[[Path], sqlite3.Connection]:
    connect = journal_module._connect

    def instead(path: Path) -> sqlite3.Connection:
        db = connect(path)
        db.execute(f"PRAGMA synchronous = {level}")
        return db

    return instead


def in_two_transactions(self: SqliteJournal, state: bytes, rows: Sequence[SealedRow]) -> None:
    """The planted fault: records first, the state that made them afterwards."""
    db = self._opened()
    for row in rows:
        values = (row.seq, row.kind, row.session, row.mono_ms, row.wall_ms, row.sealed)
        db.execute(
            "INSERT INTO record (seq, kind, session, mono_ms, wall_ms, sealed) VALUES (?, ?, ?, ?, ?, ?)", values
        )
    db.execute("INSERT OR REPLACE INTO state (only, snapshot) VALUES (1, ?)", (state,))
    self._next_seq += len(rows)


@pytest.mark.parametrize("fault", ["synchronous NORMAL", "synchronous OFF", "two transactions"])
def test_the_power_cuts_bite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """A test that never failed proves nothing: each of these faults is found by the same cuts."""
    with monkeypatch.context() as planted:
        if fault == "two transactions":
            planted.setattr(SqliteJournal, "commit", in_two_transactions)
        else:
            planted.setattr(journal_module, "_connect", careless(fault.split()[1]))
        log = recorded(tmp_path / "box")
    assert any(problem is not None for _, problem in judged(log, tmp_path, seed=1))


@pytest.mark.parametrize(("code", "why"), [(SQLITE_FULL, "disk full"), (SQLITE_READONLY, "read-only")])
def test_a_disk_that_refuses_every_write_loses_nothing_and_heals(tmp_path: Path, code: int, why: str) -> None:
    """The box listens on and tries again; what was committed stays, and the same commit succeeds later."""
    with SimDisk(tmp_path) as disk:
        journal = SqliteJournal(tmp_path / JOURNAL_FILE, BOX, digest, SimClock())
        journal.open()
        rows = [SealedRow(seq, 3, seq, seq, None, bytes(16) + b"%d" % seq) for seq in (1, 2)]
        journal.commit(state_of(1), rows[:1])
        disk.trouble = code
        for _ in range(3):
            with pytest.raises(JournalError, match=why):
                journal.commit(state_of(2), rows[1:])
            assert journal.waiting(0, 9) == rows[:1]
        disk.trouble = 0
        journal.commit(state_of(2), rows[1:])
        journal.close()
        again = journal.open()
        assert (again.state, again.head.next_seq) == (state_of(2), 3)
        journal.close()
