"""What the rig says may lie on a disk after a power cut: what was flushed is never missing, nothing is made up."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from rig.crash_states import (
    DISCARD,
    ENTRY,
    FLUSH,
    FORCED,
    MAGIC,
    MARK,
    SUPER,
    VERSION,
    LogError,
    crash_states,
    entries_flushed,
    read_log,
)

SECTOR = 512
DISK_SECTORS = 8


def written(
    folder: Path, entries: Sequence[tuple[int, bytes, int]], *, flushed: int | None = None, cut_bytes: int = 0
) -> Path:
    """A log as QEMU writes it: (first sector, data, flags). A discard names its sectors by its data's length."""
    log = bytearray(
        SUPER.pack(MAGIC, VERSION, len(entries) if flushed is None else flushed, SECTOR).ljust(SECTOR, b"\0")
    )
    for sector, data, flags in entries:
        is_mark = bool(flags & MARK)
        log += ENTRY.pack(sector, 0 if is_mark else len(data) // SECTOR, flags, len(data) if is_mark else 0).ljust(
            SECTOR, b"\0"
        )
        if not flags & DISCARD:
            log += data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")
    path = folder / "log.raw"
    path.write_bytes(log[: len(log) - cut_bytes] + bytes(0 if cut_bytes else 4 * SECTOR))
    (folder / "before.raw").write_bytes(bytes(DISK_SECTORS * SECTOR))
    return path


def filled(byte: int, sectors: int = 1) -> bytes:
    return bytes([byte]) * (sectors * SECTOR)


def states(log: Path, count: int = 200, *, lies: bool = False, first: int = 0) -> list[tuple[int, bytes]]:
    """Where the power went, and the first byte of each sector then."""
    made = crash_states(
        log, log.with_name("before.raw"), log.with_name("image.raw"), random.Random(1), count, first, lies=lies
    )
    return [(state.at, state.image.read_bytes()[::SECTOR]) for state in made]


def test_what_was_flushed_is_always_there(tmp_path: Path) -> None:
    """The promise that a file system and SQLite build on."""
    log = written(tmp_path, [(0, filled(1), 0), (1, filled(2), 0), (0, b"", FLUSH), (2, filled(3), 0)])
    after = [disk for at, disk in states(log) if at >= 3]
    assert after
    assert {disk[:2] for disk in after} == {b"\x01\x02"}
    assert {disk[2] for disk in after} == {0, 3}


def test_what_was_not_flushed_may_be_there_in_any_part_and_order(tmp_path: Path) -> None:
    """Neither ext4 nor a card orders anything between two flushes; a sector is whole or was not written."""
    log = written(tmp_path, [(0, filled(1, 2), 0), (4, filled(2), 0)])
    found = {(disk[0], disk[1], disk[4]) for at, disk in states(log, 2000) if at == 2}
    assert found == {(0, 0, 0), (0, 0, 2), (1, 0, 0), (1, 0, 2), (0, 1, 0), (0, 1, 2), (1, 1, 0), (1, 1, 2)}


def test_nothing_is_there_that_was_not_written_yet(tmp_path: Path) -> None:
    log = written(tmp_path, [(0, filled(1), 0), (0, b"", FLUSH), (1, filled(2), 0), (0, b"", FLUSH)])
    assert all(disk[1] == 0 for at, disk in states(log) if at <= 2)


def test_the_newest_bytes_of_a_place_win(tmp_path: Path) -> None:
    log = written(tmp_path, [(0, filled(1), 0), (0, filled(2), 0), (0, b"", FLUSH), (0, b"", FLUSH)])
    assert {disk[0] for at, disk in states(log) if at >= 3} == {2}


def test_a_card_that_lies_may_lose_what_it_said_was_safe(tmp_path: Path) -> None:
    log = written(tmp_path, [(0, filled(1), 0), (0, b"", FLUSH), (1, filled(2), 0), (0, b"", FLUSH)])
    assert (4, b"\0\x02" + bytes(6)) in states(log, lies=True)


def test_a_forced_write_is_there_without_a_flush(tmp_path: Path) -> None:
    log = written(tmp_path, [(0, filled(1), FORCED), (1, filled(2), 0)])
    assert {disk[0] for at, disk in states(log) if at >= 1} == {1}


def test_discarded_sectors_lose_their_bytes_and_marks_write_none(tmp_path: Path) -> None:
    log = written(
        tmp_path,
        [(0, filled(1), 0), (0, b"", FLUSH), (0, b"a text" * 200, MARK), (0, filled(0), DISCARD), (0, b"", FLUSH)],
    )
    assert len(read_log(log)) == 5
    assert {disk[0] for at, disk in states(log) if at in (2, 3)} == {1}
    assert {disk for at, disk in states(log, first=5)} == {bytes(8)}


def test_a_log_that_was_cut_ends_at_its_last_whole_entry(tmp_path: Path) -> None:
    """QEMU is killed while it writes: that is what the rig is for."""
    entries = [(0, filled(1), 0), (0, b"", FLUSH), (1, filled(2, 4), 0)]
    assert len(read_log(written(tmp_path, entries, cut_bytes=SECTOR))) == 2
    assert len(read_log(written(tmp_path, entries))) == 3


def test_the_same_dice_make_the_same_disks(tmp_path: Path) -> None:
    """A state that breaks a promise must come again."""
    log = written(tmp_path, [(place, filled(place + 1), 0) for place in range(DISK_SECTORS)])
    assert states(log) == states(log)


def test_the_number_of_flushed_entries_is_read_while_the_log_grows(tmp_path: Path) -> None:
    log = written(tmp_path, [(0, filled(1), 0), (0, b"", FLUSH), (1, filled(2), 0)], flushed=2)
    assert entries_flushed(log) == 2
    empty = tmp_path / "empty"
    empty.touch()
    assert entries_flushed(empty) == 0


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"short", id="short"),
        pytest.param(bytes(600), id="zeros"),
        pytest.param(SUPER.pack(1, VERSION, 0, SECTOR), id="magic"),
        pytest.param(SUPER.pack(MAGIC, VERSION + 1, 0, SECTOR), id="version"),
        pytest.param(SUPER.pack(MAGIC, VERSION, 0, 0), id="no-sector"),
        pytest.param(SUPER.pack(MAGIC, VERSION, 0, 700), id="odd-sector"),
    ],
)
def test_a_file_that_is_no_log_is_refused(tmp_path: Path, head: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(head)
    with pytest.raises(LogError):
        read_log(log)
