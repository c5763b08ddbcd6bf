"""`packbox export`: an owner takes away everything the box recorded, and anybody can check it."""

from __future__ import annotations

from pathlib import Path

import pytest

from box_records import BOOT, fill
from packbox.__main__ import main
from packbox.adapters.identity import read_key
from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal
from packbox.core.record import BoxId, SealedRow
from packbox.testing.sim_clock import SimClock
from packproof.verify import Report, verify
from packwire.ids import BatteryId, StoreId, box_id_of, key_id_of
from packwire.messages import Drive, Hello, Message
from packwire.seal import Envelope, digest, seal


def life(data_dir: Path) -> list[Message]:
    """What a box says of three drives."""
    key = read_key(data_dir / "key" / "box.pem").public_key
    drives = [Drive(session=n, boot=BOOT, start_mono_ms=n, distance_km=3.0) for n in range(1, 4)]
    return [Hello(public_key=key, battery=BatteryId("BAT-1"), battery_source="read"), *drives]


def exported(data_dir: Path) -> Report:
    out = data_dir / "out.packbook"
    assert main(["export", "--data-dir", str(data_dir), "--out", str(out)]) == 0
    return verify(out.read_bytes())


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A box that has its key and an empty journal."""
    fill(tmp_path, []).close()
    return tmp_path


def record(data_dir: Path) -> None:
    """A short life in the journal that is there, or in a new one."""
    key = read_key(data_dir / "key" / "box.pem")
    box = box_id_of(key.public_key)
    journal = SqliteJournal(data_dir / JOURNAL_FILE, BoxId(box), digest, SimClock())
    head = journal.open().head
    previous = head.previous
    for seq, message in enumerate(life(data_dir), head.next_seq):
        envelope = Envelope(box, StoreId(head.store), seq, previous, BOOT, seq, None)
        sealed = seal(message, envelope, key.sign, key_id_of(key.public_key))
        journal.commit(b"", [SealedRow(seq, message.KIND, None, seq, None, sealed)])
        previous = digest(sealed)
    journal.close()


def test_what_the_box_recorded_checks_without_any_book(data_dir: Path) -> None:
    """No account, no cloud: the file and its keys are enough."""
    record(data_dir)
    report = exported(data_dir)
    assert report.ok, report.faults
    assert report.bundle is not None
    assert (report.bundle.battery, report.bundle.claims.records, report.bundle.claims.drives) == ("BAT-1", 4, 3)


def test_a_journal_that_was_set_aside_comes_along(data_dir: Path) -> None:
    """A new store does not hide the old one's years; one that cannot be read any more is told, not fatal."""
    record(data_dir)
    (data_dir / JOURNAL_FILE).rename(data_dir / "journal.damaged-1.db")
    (data_dir / "journal.damaged-2.db").write_bytes(b"not a database")
    record(data_dir)
    report = exported(data_dir)
    assert report.ok, report.faults
    assert [store.last for store in report.stores] == [4, 4]
    assert report.bundle is not None
    assert report.bundle.claims.drives == 6


def test_a_box_that_recorded_nothing_says_so(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty file would look like a battery without a past."""
    assert main(["export", "--data-dir", str(data_dir)]) == 1
    assert "nothing is recorded yet" in capsys.readouterr().err
