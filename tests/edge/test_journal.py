"""The journal keeps what it said it keeps: through kills, damage, full disks and second processes."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal, open_copy
from packbox.adapters.journal.files import ASIDES_MAX
from packbox.adapters.journal.migrate import MIGRATIONS, NEWEST
from packbox.core.record import BoxId, SealedRow
from packbox.ports import Checkpoint, JournalBrokenError, JournalError, Outbox
from packbox.testing.sim_clock import SimClock

BOX = BoxId("ab" * 8)
KILLS = 10


def digest(sealed: bytes) -> bytes:
    return hashlib.sha256(sealed).digest()[:16]


def row(seq: int, kind: int = 3) -> SealedRow:
    return SealedRow(seq, kind, seq, seq * 1000, None if seq % 2 else seq * 1000 + 5, b"record %d" % seq)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / JOURNAL_FILE


@pytest.fixture
def make(path: Path) -> Iterator[Callable[[], SqliteJournal]]:
    made: list[SqliteJournal] = []

    def begin() -> SqliteJournal:
        made.append(SqliteJournal(path, BOX, digest, SimClock(wall_ms=1_700_000_000_000)))
        return made[-1]

    yield begin
    for journal in made:
        journal.close()


def reopened(make: Callable[[], SqliteJournal], old: SqliteJournal) -> tuple[SqliteJournal, Checkpoint]:
    old.close()
    new = make()
    return new, new.open()


def test_a_new_journal_begins_an_unused_store(make: Callable[[], SqliteJournal]) -> None:
    """The store's id tells the book that seq starts again; it may never be the same twice."""
    first = make()
    begun = first.open()
    assert (begun.state, begun.head.box, begun.head.next_seq, begun.head.previous) == (None, BOX, 1, bytes(16))
    assert begun.begun_after is None
    assert len(bytes.fromhex(begun.head.store)) == 8


def test_state_and_records_come_back_together(make: Callable[[], SqliteJournal]) -> None:
    """A state without its records would lose sessions; records without their state would make them twice."""
    journal = make()
    store = journal.open().head.store
    journal.commit(b"one", [row(1), row(2)])
    journal.commit(b"two", [])
    journal, again = reopened(make, journal)
    assert again == Checkpoint(b"two", again.head)
    assert (again.head.store, again.head.next_seq, again.head.previous) == (store, 3, digest(b"record 2"))
    assert journal.waiting(0, 10) == [row(1), row(2)]


def test_a_commit_that_fails_changes_nothing(make: Callable[[], SqliteJournal]) -> None:
    """Half a commit would break the promise above."""
    journal = make()
    journal.open()
    journal.commit(b"one", [row(1)])
    duplicate = SealedRow(2, 3, None, 0, None, None)  # the database refuses NULL as bytes
    with pytest.raises(JournalError):
        journal.commit(b"two", [duplicate])
    journal.commit(b"three", [row(2)])
    _, again = reopened(make, journal)
    assert (again.state, again.head.next_seq) == (b"three", 3)


@pytest.mark.parametrize("seqs", [[2], [1, 1], [1, 3], [0]])
def test_a_record_out_of_order_is_our_own_mistake(make: Callable[[], SqliteJournal], seqs: list[int]) -> None:
    """A hole in the chain can never be mended afterwards: stop before it is written."""
    journal = make()
    journal.open()
    with pytest.raises(AssertionError):
        journal.commit(b"s", [row(seq) for seq in seqs])


def test_only_what_the_book_holds_leaves_the_outbox(make: Callable[[], SqliteJournal]) -> None:
    """Released means: never sent again. It stays in the history."""
    journal = make()
    journal.open()
    journal.commit(b"s", [row(seq) for seq in range(1, 11)])
    assert journal.outbox().waiting == 10
    assert journal.release(3, [(5, 6), (9, 20)]) == 7
    assert journal.release(3, [(5, 6)]) == 0
    assert [r.seq for r in journal.waiting(0, 10)] == [4, 7, 8]
    assert [r.seq for r in journal.waiting(4, 1)] == [7]
    journal, again = reopened(make, journal)
    assert [r.seq for r in journal.waiting(0, 10)] == [4, 7, 8]
    assert again.head.next_seq == 11


def test_what_the_book_lost_goes_back_into_the_outbox(make: Callable[[], SqliteJournal]) -> None:
    """A book restored from last week's backup: everything since is still here, and nothing else goes twice."""
    journal = make()
    journal.open()
    journal.commit(b"s", [row(seq) for seq in range(1, 11)])
    journal.release(9, [])
    assert journal.take_back(4, 5, [(8, 8)]) == 3
    assert [r.seq for r in journal.waiting(0, 99)] == [6, 7, 9, 10]
    assert journal.take_back(4, 5, [(8, 8)]) == 0
    assert journal.take_back(1, 5, [(8, 8)]) == 0
    assert journal.take_back(1, 5, [(6, 8)]) == 0, "what an ack sets free beside is no row less"


def test_a_store_that_ended_is_kept_and_another_begins(make: Callable[[], SqliteJournal], path: Path) -> None:
    """An old copy of a card: the book believes nothing more of this store, and only a new one gets on."""
    journal = make()
    old = journal.open().head.store
    journal.commit(b"s", [row(1), row(2)])
    assert (journal.digest_of(2), journal.digest_of(3)) == (digest(b"record 2"), None)
    journal.end_store("the book holds another history")
    journal, begun = reopened(make, journal)
    assert (begun.state, begun.head.next_seq) == (None, 1)
    assert begun.head.store != old
    assert begun.begun_after == "the book holds another history; kept as journal.damaged-1.db"
    with open_copy(path.with_name("journal.damaged-1.db")) as copy:
        assert (copy.store, [r.seq for r in copy.chain()]) == (old, [1, 2])


def test_acks_cannot_fill_the_card_with_ended_stores(make: Callable[[], SqliteJournal], path: Path) -> None:
    """Acks are not signed: a broker that lies may cost some stores, never the room to record in."""
    for number in range(1, ASIDES_MAX + 1):
        path.with_name(f"journal.damaged-{number}.db").write_bytes(b"ended")
    journal = make()
    store = journal.open().head.store
    assert not journal.end_store("the book holds another history")
    journal, begun = reopened(make, journal)
    assert begun.head.store == store


def test_a_saved_state_that_cannot_be_unpacked_is_damage(make: Callable[[], SqliteJournal], path: Path) -> None:
    """A flipped bit within a page passes SQLite's own check; it must not keep the box from starting for ever."""
    journal = make()
    journal.open()
    journal.commit(b"s" * 999, [row(1)])
    journal._opened().execute("UPDATE state SET snapshot = x'00112233'")
    journal.close()
    assert make().open().begun_after is not None


def test_the_outbox_tells_how_much_waits_and_since_when(make: Callable[[], SqliteJournal]) -> None:
    """Health and doctor judge the link by it."""
    journal = make()
    journal.open()
    journal.commit(b"s", [row(1), row(2), row(4 - 1)])
    found = journal.outbox()
    assert (found.waiting, found.oldest_wall_ms) == (3, 2005)
    assert found.journal_bytes > 0


def test_it_is_as_careful_as_measured(make: Callable[[], SqliteJournal], path: Path) -> None:
    """WAL and FULL are what survived 400 power cuts; the other settings lost records (facts/transport.md §6)."""
    journal = make()
    journal.open()
    db = journal._opened()
    got = {
        name: db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "page_size", "user_version")
    }
    assert got == {"journal_mode": "wal", "synchronous": 2, "page_size": 4096, "user_version": NEWEST}


def test_a_second_box_on_the_same_journal_is_told_so(make: Callable[[], SqliteJournal], path: Path) -> None:
    """Two writers would fork the chain. The lock goes with the process, so nobody must clean up after a crash."""
    first, second = make(), make()
    first.open()
    with pytest.raises(JournalError, match=f"{path}: in use by another packbox"):
        second.open()
    first.close()
    second.open()


def test_a_journal_of_another_box_is_refused(make: Callable[[], SqliteJournal], path: Path) -> None:
    """With a new key the book would not believe the old chain; somebody has to decide."""
    first = make()
    first.open()
    first.close()
    other = SqliteJournal(path, BoxId("cd" * 8), digest, SimClock())
    with pytest.raises(JournalError, match=f"belongs to box {BOX}"):
        other.open()
    first.open()


def test_a_journal_of_newer_software_is_refused(make: Callable[[], SqliteJournal], path: Path) -> None:
    """Old software would not understand what it destroys."""
    first = make()
    first.open()
    first.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {NEWEST + 1}")
    with pytest.raises(JournalError, match="newer software"):
        make().open()


def test_a_migration_that_fails_leaves_the_old_layout(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut or a bug half way through must not leave a layout that neither version knows."""
    from packbox.adapters.journal import migrate

    monkeypatch.setattr(migrate, "MIGRATIONS", {1: MIGRATIONS[1], 2: "CREATE TABLE extra (x); CREATE TABLE extra (x);"})
    monkeypatch.setattr(migrate, "NEWEST", 2)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        with pytest.raises(sqlite3.OperationalError):
            migrate.migrate(db)
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone() == (0,)


@pytest.mark.parametrize("damage", ["not a database", "a page in the middle", "cut short"])
def test_a_damaged_journal_is_kept_and_a_new_store_begins(
    make: Callable[[], SqliteJournal], path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad card must not stop the box for ever, nor hide that history was lost, nor destroy what may be rescued."""
    journal = make()
    old = journal.open().head.store
    journal.commit(b"s" * 50_000, [row(seq) for seq in range(1, 500)])
    journal.close()
    data = path.read_bytes()
    broken = {
        "not a database": b"garbage" * 5000,
        "a page in the middle": data[: 4096 * 2] + bytes(range(256)) * 64 + data[4096 * 6 :],
        "cut short": data[: len(data) // 2],
    }[damage]
    path.write_bytes(broken)

    journal = make()
    begun = journal.open()
    assert begun.state is None
    assert (begun.head.next_seq, begun.head.previous) == (1, bytes(16))
    assert begun.head.store != old
    assert begun.begun_after is not None
    assert "journal.damaged-1.db" in begun.begun_after
    assert path.with_name("journal.damaged-1.db").read_bytes() == broken
    assert "a new store begins" in caplog.text

    journal, again = reopened(make, journal)
    assert again.begun_after == begun.begun_after, "told until the first record is safe"
    journal.commit(b"s", [row(1)])
    _, again = reopened(make, journal)
    assert again.begun_after is None


def test_a_power_cut_while_setting_aside_hides_nothing(make: Callable[[], SqliteJournal], path: Path) -> None:
    """Renamed, and then the power went: the new store must still say that it is not the first."""
    path.with_name("journal.damaged-1.db").write_bytes(b"garbage")
    begun = make().open()
    assert begun.begun_after == "an older journal was set aside as journal.damaged-1.db"


def test_a_second_damage_does_not_write_over_the_first(make: Callable[[], SqliteJournal], path: Path) -> None:
    """Each set-aside file may hold records that exist nowhere else."""
    for _ in range(2):
        path.write_bytes(b"garbage" * 1000)
        journal = make()
        journal.open()
        journal.close()
    assert sorted(p.name for p in path.parent.glob("*.damaged-*")) == ["journal.damaged-1.db", "journal.damaged-2.db"]


def test_damage_met_while_running_says_so(make: Callable[[], SqliteJournal], path: Path) -> None:
    """The caller then opens again, which sets the file aside."""
    journal = make()
    journal.open()
    journal.commit(b"s", [row(seq) for seq in range(1, 200)])
    journal._opened().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    with path.open("r+b") as file:  # beneath SQLite's feet, as a failing card does
        file.seek(4096)
        file.write(bytes(len(data) - 4096))
    journal._opened().execute("PRAGMA shrink_memory")
    with pytest.raises(JournalBrokenError, match="damaged"):
        journal.waiting(0, 1000)


def test_a_full_disk_loses_nothing_and_heals(make: Callable[[], SqliteJournal], path: Path) -> None:
    """What was committed stays; the failed commit can be made again when there is space."""
    journal = make()
    journal.open()
    journal.commit(b"one", [row(1)])
    pages = journal._opened().execute("PRAGMA page_count").fetchone()[0]
    journal._opened().execute(f"PRAGMA max_page_count = {pages}")
    big = SealedRow(2, 3, None, 0, None, bytes(50_000))
    with pytest.raises(JournalError, match=f"{path}: cannot be written: disk full"):
        journal.commit(b"two", [big])
    assert journal.waiting(0, 10) == [row(1)]
    journal._opened().execute("PRAGMA max_page_count = 1000000")
    journal.commit(b"two", [big])
    assert [r.seq for r in journal.waiting(0, 10)] == [1, 2]


def test_a_read_only_file_is_named(make: Callable[[], SqliteJournal], path: Path) -> None:
    """A card that turned read-only is the commonest end of an SD card."""
    journal = make()
    journal.open()
    journal._opened().execute("PRAGMA query_only = ON")
    with pytest.raises(JournalError, match=f"{path}: cannot be written: read-only"):
        journal.commit(b"s", [row(1)])
    journal._opened().execute("PRAGMA query_only = OFF")
    journal.commit(b"s", [row(1)])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Wrong data_dir is the commonest mistake of a first start."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(JournalError, match="cannot be written"):
        SqliteJournal(tmp_path / "file" / "data" / JOURNAL_FILE, BOX, digest, SimClock()).open()


CHILD = """
import hashlib, itertools, sys
from pathlib import Path
from packbox.adapters.journal import SqliteJournal
from packbox.core.record import BoxId, SealedRow
from packbox.testing.sim_clock import SimClock
digest = lambda sealed: hashlib.sha256(sealed).digest()[:16]
journal = SqliteJournal(Path(sys.argv[1]), BoxId("ab" * 8), digest, SimClock())
seq = journal.open().head.next_seq
for count in itertools.cycle((1, 3, 0, 7)):
    rows = [SealedRow(s, 3, s, s, None, b"%d" % s * 100) for s in range(seq, seq + count)]
    print("begin", seq + count - 1, flush=True)
    journal.commit(b"state %d" % (seq + count - 1), rows)
    seq += count
    print("done", seq - 1, flush=True)
"""


def test_a_kill_at_any_moment_keeps_exactly_what_was_reported(path: Path, make: Callable[[], SqliteJournal]) -> None:
    """The whole point of the journal. (SIGKILL tests our recovery; power cuts are tested on simulated disks.)"""
    for kill in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(5 + 7 * kill)]
            child.kill()
            lines += child.stdout.readlines()
        words = [line.split() for line in lines if line.endswith("\n")]
        done = max(int(seq) for word, seq in words if word == "done")
        begun = max(int(seq) for word, seq in words if word == "begin")
        journal = make()
        found = journal.open()
        last = found.head.next_seq - 1
        assert last in (done, begun)
        assert found.state == b"state %d" % last
        assert [r.seq for r in journal.waiting(0, 10**6)] == list(range(1, last + 1))
        journal.close()


def test_history_is_read_while_the_box_writes(make: Callable[[], SqliteJournal], path: Path) -> None:
    """A person at the box must see its history without stopping it, and without harming it."""
    journal = make()
    store = journal.open().head.store
    journal.commit(b"s", [row(1, kind=2), row(2, kind=3), row(3, kind=2)])
    journal.release(1, [])
    with open_copy(path) as copy:
        journal.commit(b"t", [row(4)])
        assert (copy.store, copy.box, copy.created_ms, copy.snapshot()) == (store, BOX, 1_700_000_000_000, b"s")
        assert [(r.row.seq, r.held) for r in copy.rows()] == [(3, False), (2, False), (1, True)]
        assert [r.row.seq for r in copy.rows(kinds=[2])] == [3, 1]
        assert [r.row.seq for r in copy.rows(kinds=[2, 3], limit=2)] == [3, 2]
        assert list(copy.chain()) == [row(1, kind=2), row(2, kind=3), row(3, kind=2)]
        assert copy.damage() is None
        assert copy.outbox() == Outbox(2, 2005, copy.outbox().journal_bytes)
    assert journal.outbox().waiting == 3


def test_many_copies_do_not_disturb_a_busy_writer(make: Callable[[], SqliteJournal], path: Path) -> None:
    """`history` in a loop next to `run`: no lock errors on either side, and each copy is one consistent state."""
    journal = make()
    journal.open()
    journal.commit(b"0", [])
    stop = threading.Event()

    def write() -> None:
        seq = 1
        while not stop.is_set():
            journal.commit(b"%d" % seq, [row(seq)])
            seq += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            with open_copy(path) as copy:
                assert copy.snapshot() == b"%d" % len(list(copy.chain()))
    finally:
        stop.set()
        writer.join()


def test_a_journal_that_is_not_there_is_named(path: Path) -> None:
    """`history` before the first start."""
    with pytest.raises(JournalError, match="no journal here yet"), open_copy(path):
        pass


def test_a_copy_of_garbage_is_an_answer_not_a_crash(path: Path) -> None:
    """`doctor` must live through what it is there to find."""
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(JournalError, match="damaged"), open_copy(path):
        pass
