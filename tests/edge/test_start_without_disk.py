"""A disk that refuses when the box starts, full or read-only: it listens, says so, and goes on by itself later."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from box_records import fill, write_log
from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal, open_copy
from packbox.app import doctor
from packbox.core.record import BoxId, SealedRow
from packbox.ports import JournalBrokenError, JournalDiskError, JournalError
from packbox.settings import load_settings
from packbox.testing.sim_clock import SimClock
from packwire.messages import Health

BOX = BoxId("ab" * 8)
PATIENCE_S = 60.0


def digest(sealed: bytes) -> bytes:
    return hashlib.sha256(sealed).digest()[:16]


def row(seq: int) -> SealedRow:
    return SealedRow(seq, 3, seq, seq * 1000, None, b"record %d" % seq)


@dataclass
class Disk:
    """A small one of its own, that the kernel itself refuses to write to."""

    folder: Path

    def refuse(self, how: str) -> None:
        if how == "read-only":
            self._mount("-o", "remount,ro")
            return
        with (self.folder / "films").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    def heal(self) -> None:
        self._mount("-o", "remount,rw")
        (self.folder / "films").unlink(missing_ok=True)

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this machine lets nobody mount: the kernel's own refusal cannot be had")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def make(disk: Disk) -> Iterator[Callable[[], SqliteJournal]]:
    made: list[SqliteJournal] = []

    def begin() -> SqliteJournal:
        made.append(SqliteJournal(disk.folder / JOURNAL_FILE, BOX, digest, SimClock()))
        return made[-1]

    yield begin
    for journal in made:
        journal.close()


def cut_power(journal: SqliteJournal) -> None:
    """What lies on the disk now is what the next start finds; a `close` would tidy up."""
    folder = journal.path.parent
    files = {file: file.read_bytes() for file in folder.glob(f"{JOURNAL_FILE}*") if not file.name.endswith("-shm")}
    assert any(file.name.endswith("-wal") for file in files)
    journal.close()
    for file, data in files.items():
        file.write_bytes(data)


@pytest.mark.parametrize("end", ["left", "power cut"])
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_journal_on_a_disk_that_refuses_goes_on_in_memory_and_then_on_disk(
    disk: Disk, make: Callable[[], SqliteJournal], how: str, end: str
) -> None:
    """The history goes on where it was, old records can be sent, and nothing of it is twice or missing later."""
    journal = make()
    store = journal.open().head.store
    journal.commit(b"one", [row(1), row(2)])
    journal.close() if end == "left" else cut_power(journal)
    disk.refuse(how)
    with open_copy(disk.folder / JOURNAL_FILE) as copy:
        assert [one.seq for one in copy.chain()] == [1, 2]

    journal = make()
    begun = journal.open()
    assert (begun.state, begun.head.store, begun.head.next_seq) == (b"one", store, 3)
    assert begun.trouble is not None
    assert str(disk.folder) in begun.trouble
    assert [waiting.seq for waiting in journal.waiting(0, 10)] == [1, 2]
    journal.release(1, ())
    for _ in range(2):
        with pytest.raises(JournalDiskError):
            journal.commit(b"two", [row(3)])
    assert not journal.end_store("somebody says so")

    disk.heal()
    journal.commit(b"two", [row(3)])
    journal.close()
    again = make().open()
    assert (again.state, again.head.store, again.head.next_seq, again.trouble) == (b"two", store, 4, None)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_store_that_began_in_memory_is_the_one_that_comes_to_the_disk(
    disk: Disk, make: Callable[[], SqliteJournal], how: str
) -> None:
    """Records may have been sealed in its name."""
    disk.refuse(how)
    journal = make()
    store = journal.open().head.store
    with pytest.raises(JournalDiskError):
        journal.commit(b"one", [row(1)])
    disk.heal()
    journal.commit(b"one", [row(1)])
    journal.close()
    again = make().open()
    assert (again.state, again.head.store, again.head.next_seq) == (b"one", store, 2)
    assert make().path.with_suffix(".db-wal").exists()  # and keeps its promises from then on


def test_a_damaged_journal_on_a_disk_that_refuses_is_set_aside_when_it_is_well(
    disk: Disk, make: Callable[[], SqliteJournal]
) -> None:
    """Both at once is how a card ends. What was damaged is kept, as always."""
    damaged = disk.folder / JOURNAL_FILE
    damaged.write_bytes(b"no database at all, but long enough to be looked at as one." * 20)
    disk.refuse("read-only")
    journal = make()
    begun = journal.open()
    assert begun.begun_after is not None
    assert "was damaged" in begun.begun_after
    disk.heal()
    journal.commit(b"one", [row(1)])
    assert (disk.folder / "journal.damaged-1.db").read_bytes().startswith(b"no database")
    journal.close()
    assert make().open().head.store == begun.head.store


def test_a_disk_that_comes_back_with_another_history_begins_anew(disk: Disk, make: Callable[[], SqliteJournal]) -> None:
    """A card that was exchanged while the box ran: what is in memory does not follow on it."""
    disk.refuse("full")
    journal = make()
    journal.open()
    disk.heal()
    other = make()
    other.open()
    other.close()
    with pytest.raises(JournalBrokenError, match="not what it was"):
        journal.commit(b"one", [row(1)])


def test_the_doctor_names_a_disk_that_turned_read_only(disk: Disk) -> None:
    """The commonest end of a card, and it looks like a box that works."""
    fill(disk.folder, [Health()]).close()
    disk.refuse("read-only")
    settings = load_settings(None, {"data_dir": disk.folder, "profile": "nissan-leaf"})
    found = {finding.check: finding for finding in doctor.examine(lambda: settings)}
    assert (found["disk"].verdict, found["disk"].text) == ("FAIL", f"{disk.folder} is read-only")
    assert found["chain"].verdict == "OK"


def test_trouble_that_is_no_disks_ends_the_start(tmp_path: Path) -> None:
    """A second box, a foreign key: waiting would not mend it."""
    path = tmp_path / JOURNAL_FILE
    first = SqliteJournal(path, BOX, digest, SimClock())
    first.open()
    with pytest.raises(JournalError, match="in use"):
        SqliteJournal(path, BOX, digest, SimClock()).open()
    first.close()
    with pytest.raises(JournalError, match="belongs to box"):
        SqliteJournal(path, BoxId("cd" * 8), digest, SimClock()).open()


def test_a_box_on_a_disk_that_refuses_comes_up_says_so_and_goes_on_when_it_is_well(
    disk: Disk, tmp_path: Path, root: Path
) -> None:
    """Nobody is in the car to restart it."""
    fill(disk.folder, []).close()
    disk.refuse("full")
    log = write_log(tmp_path / "car.log", "leaf-24,seed=5,start=2026-05-04,until=2026-05-05")
    status = tmp_path / "status.json"
    options = ["--source", f"log:{log}", "--profile", "nissan-leaf", "--speed", "2000"]
    box = subprocess.Popen(
        [sys.executable, "-m", "packbox", "run", "--data-dir", disk.folder, *options],
        env={**os.environ, "PACKBOX_STATUS_FILE": str(status), "PACKBOX_PROFILES_DIR": str(root / "can_profiles")},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = until(lambda: json.loads(status.read_text()) if status.exists() else None)
        assert str(disk.folder) in said["journal"]["trouble"]
        assert "cannot save" in said["health"]["text"]
        disk.heal()
        until(lambda: records_in(disk.folder) > 0 or box.poll() is not None)
        box.send_signal(signal.SIGTERM)
        code, text = box.wait(PATIENCE_S), box.stderr.read() if box.stderr else ""
    finally:
        box.kill()
        box.communicate()
    assert code == 0, text
    assert "listening without a disk" in text
    assert "saved again" in text


def until(look: Callable[[], object]) -> dict[str, dict[str, str]]:
    deadline_s = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return found  # type: ignore[return-value]  # of the status file, where the caller asked for it


def records_in(folder: Path) -> int:
    try:
        with open_copy(folder / JOURNAL_FILE) as journal:
            return journal.outbox().waiting
    except JournalError:
        return 0
