"""A card that lies about flushing: after a power cut the journal may be sound and older than what the box was told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal
from packbox.core.record import BoxId, SealedRow
from packbox.ports import Checkpoint
from packbox.testing.sim_clock import SimClock

NEWEST = f"{JOURNAL_FILE}-newest"


def digest(sealed: bytes) -> bytes:
    return hashlib.sha256(sealed).digest()[:16]


def opened(folder: Path) -> tuple[SqliteJournal, Checkpoint]:
    journal = SqliteJournal(folder / JOURNAL_FILE, BoxId("ab" * 8), digest, SimClock())
    return journal, journal.open()


def append(folder: Path, first: int, last: int) -> Checkpoint:
    """One life of a box that makes these records, one commit each."""
    journal, found = opened(folder)
    for seq in range(first, last + 1):
        journal.commit(b"state %d" % seq, [SealedRow(seq, 3, seq, seq, None, b"record %d" % seq)])
    journal.close()
    return found


def test_a_card_that_forgot_what_it_confirmed_begins_a_new_store(tmp_path: Path) -> None:
    """Going on would tell the book other records under numbers that it may hold already."""
    first = append(tmp_path, 1, 2)
    before = (tmp_path / JOURNAL_FILE).read_bytes()
    append(tmp_path, 3, 5)
    (tmp_path / JOURNAL_FILE).write_bytes(before)

    journal, found = opened(tmp_path)
    journal.close()

    assert found.head.store != first.head.store
    assert found.begun_after == (
        "the card had confirmed record 5, and the newest in journal.db is 2; kept as journal.damaged-1.db"
    )
    assert (tmp_path / "journal.damaged-1.db").read_bytes() == before
    again = append(tmp_path, 1, 1)
    assert again.head.store == found.head.store
    assert append(tmp_path, 2, 2).head.next_seq == 2


def test_an_honest_card_is_never_suspected(tmp_path: Path) -> None:
    """The number is written after the commit: a cut in between leaves it behind the journal, never ahead."""
    append(tmp_path, 1, 2)
    before = (tmp_path / NEWEST).read_bytes()
    first = append(tmp_path, 3, 4)
    (tmp_path / NEWEST).write_bytes(before)
    assert append(tmp_path, 5, 5).head.store == first.head.store


def cut_short(line: bytes) -> bytes:
    return line[:10]


def of_another_store(line: bytes) -> bytes:
    return b"0" * 16 + line[16:]


def higher_than_checked(line: bytes) -> bytes:
    return line[:17] + b"9" + line[18:]


def not_text(line: bytes) -> bytes:
    return b"\xff" * len(line)


@pytest.mark.parametrize("harm", [cut_short, of_another_store, higher_than_checked, not_text])
def test_a_number_that_cannot_be_believed_accuses_nobody(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    """The file itself lies on the same card: torn or overwritten it must not cost a history."""
    first = append(tmp_path, 1, 2)
    (tmp_path / NEWEST).write_bytes(harm((tmp_path / NEWEST).read_bytes()))
    assert append(tmp_path, 3, 3).head.store == first.head.store


def test_a_card_that_takes_no_number_still_takes_records(tmp_path: Path) -> None:
    """The record is safe before the number is written; a disk that fails just then must not stop the box."""
    (tmp_path / NEWEST).mkdir()
    append(tmp_path, 1, 2)
    assert append(tmp_path, 3, 3).head.next_seq == 3
