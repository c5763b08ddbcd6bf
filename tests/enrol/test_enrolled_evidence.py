"""Bundles of boxes that really enrolled: a stranger with the fleet's root alone sees whose they are."""

from __future__ import annotations

from pathlib import Path

from box_records import BOOT
from packbook.adapters import authority
from packbook.adapters.authority import CA_FILE, ROOT_FILE
from packbook.adapters.store.ledger import Ledger
from packbook.app.evidence import book_evidence
from packbook.clock import now_ms
from packbook.testing.scripted_box import arrival
from packbox.__main__ import main
from packbox.adapters.journal import JOURNAL_FILE, SqliteJournal
from packbox.app.enrol import enrol
from packbox.core.record import BoxId, SealedRow
from packbox.testing.sim_clock import SimClock
from packproof.trust import Trust, read_trust
from packproof.verify import Report, verify
from packwire import ids
from packwire.messages import Drive, Hello, Message
from packwire.seal import Envelope, digest, seal

from .conftest import Book, Box


def drive(box: Box) -> list[bytes]:
    """Three drives in the box's journal, sealed with the key that it enrolled with."""
    key, name = box.keys.records, ids.box_id_of(box.keys.records.public_key)
    drives = [Drive(session=n, boot=BOOT, start_mono_ms=n, distance_km=3.0) for n in range(1, 4)]
    messages: list[Message] = [
        Hello(public_key=key.public_key, battery=ids.BatteryId("BAT-1"), battery_source="read"),
        *drives,
    ]
    journal = SqliteJournal(box.data_dir / JOURNAL_FILE, BoxId(name), digest, SimClock())
    head = journal.open().head
    previous, records = head.previous, []
    for seq, message in enumerate(messages, head.next_seq):
        envelope = Envelope(name, ids.StoreId(head.store), seq, previous, BOOT, seq, None)
        sealed = seal(message, envelope, key.sign, ids.key_id_of(key.public_key))
        journal.commit(b"", [SealedRow(seq, message.KIND, None, seq, None, sealed)])
        previous = digest(sealed)
        records.append(sealed)
    journal.close()
    return records


async def taken(book: Book, box: Box) -> None:
    await Ledger(book.database).take([arrival(ids.BoxId(box.id), sealed) for sealed in drive(box)])


async def from_book(book: Book, trust: Trust) -> Report:
    data = await book_evidence(book.settings, book.database).bundle("BAT-1")
    assert data is not None
    return verify(data, trust)


def enrolled_in(report: Report) -> list[str]:
    return [words for words in report.proven if "was enrolled in fleet" in words]


async def test_a_books_bundle_shows_which_fleet_enrolled_the_box(book: Book, box: Box) -> None:
    """The root stays offline and signs no box itself: what lies between must be in the file."""
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation(fleet="kyoto-taxis"))
    await taken(book, box)
    report = await from_book(book, read_trust([], [str(book.authority.folder / ROOT_FILE)]))
    assert report.ok, report.faults
    assert enrolled_in(report) == [
        f"Box {box.id} was enrolled in fleet 'kyoto-taxis' by 'Test fleet root', whose certificate you trust."
    ]


async def test_the_boxs_own_bundle_shows_it_too(book: Book, box: Box, tmp_path: Path) -> None:
    """The owner needs no book for it: what enrolment gave the box is in its file."""
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())
    drive(box)
    out = tmp_path / "own.packbook"
    assert main(["export", "--data-dir", str(box.data_dir), "--out", str(out)]) == 0
    report = verify(out.read_bytes(), read_trust([], [str(book.authority.folder / ROOT_FILE)]))
    assert report.ok, report.faults
    assert len(enrolled_in(report)) == 1


async def test_a_box_that_nobody_enrolled_is_told_from_one_of_the_fleet(book: Book, box: Box, tmp_path: Path) -> None:
    """Anybody can make a key and sign drives with it; and another fleet's root is not ours."""
    await taken(book, box)
    ours = str(book.authority.folder / ROOT_FILE)
    assert (await from_book(book, Trust())).ok
    refused = await from_book(book, read_trust([], [ours]))
    assert [fault.words for fault in refused.faults] == [
        f"no certificate in this file leads from box {box.id} to a root that you gave"
    ]
    await enrol(box.data_dir, box.keys, box.clock, await book.invitation())
    theirs = authority.make_root("Another fleet", now_ms())
    authority.add_issuer(theirs, tmp_path / "theirs", now_ms())
    assert not (await from_book(book, read_trust([], [str(tmp_path / "theirs" / CA_FILE)]))).ok
    assert (await from_book(book, read_trust([ours]))).ok
