"""What a stranger sees in a bundle: honest ones pass, every change is found and named."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from bundles import BATTERY, BOOK_KEY, MALLORY, by_book, by_box, checkpoint, lived, part
from packproof.finding import Verdict
from packproof.trust import Trust
from packproof.verify import Report, verify
from packwire.bundle import Piece, StorePart, decode_bundle

BOOK = Trust(frozenset({BOOK_KEY}))
MUTATIONS = 1000


def codes(report: Report) -> set[str]:
    return {fault.what for fault in report.faults}


def test_an_honest_bundle_of_a_trusted_book_checks() -> None:
    """The good case must be quiet, or nobody heeds the bad one."""
    report = verify(by_book(lived(), lived("bravo")), BOOK)
    assert report.ok, report.faults
    assert len(report.stores) == 2
    assert all("records 1 to 17, none missing" in words for words in report.proven[:2])
    assert any("A book that you trust" in words for words in report.proven)
    assert any("that you trust held records 1 to 17" in words for words in report.proven)
    assert {f.what: f.verdict for f in report.findings}["exporter.records"] is Verdict.PROVEN


def test_a_bundle_made_by_the_box_itself_needs_no_book() -> None:
    """An owner without any cloud can prove what the box recorded; what nobody can know is said."""
    report = verify(by_box(lived()))
    assert report.ok, report.faults
    assert any("itself made this file" in words for words in report.proven)
    assert any("No book signed how far" in words for words in report.missing)


def test_without_a_trusted_key_the_book_is_only_claimed() -> None:
    """A signature says that a key signed, not whose key that is."""
    report = verify(by_book(lived()))
    assert report.ok
    assert any("Whose that is, the file cannot prove" in words for words in report.claimed)
    assert not any("that you trust" in words for words in report.proven)


def test_a_bundle_signed_by_another_than_the_trusted_book_is_refused() -> None:
    """Else anybody could cut a bundle to taste and sign what is left."""
    assert codes(verify(by_book(lived(), key=MALLORY), BOOK)) == {"exporter"}


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda r: [*r[:5], *r[6:]], "gap", "record 6 is missing before record 7"),
        (lambda r: [*r[:5], *r[9:]], "gap", "records 6 to 9 are missing before record 10"),
        (lambda r: r[1:], "gap", "record 1 is missing before record 2"),
        (lambda r: [*r[:5], r[6], r[5], *r[7:]], "order", "record 6 stands behind record 7"),
        (lambda r: [*r[:5], r[4], *r[5:]], "twice", "record 5 is there twice"),
        (lambda r: [*r[:5], lived("bravo").sealed[5], *r[6:]], "foreign", "record 6"),
        (lambda r: r[:-3], "tail", "the book had signed up to 17, this file ends at 14"),
        (lambda _: [], "beginning", "there are no records"),
    ],
)  # fmt: skip
def test_what_a_cheating_exporter_does_to_records_is_named(change: object, code: str, words: str) -> None:
    """The exporter signs whatever it likes: records and checkpoints must give it away."""
    box = lived()
    assert callable(change)
    report = verify(by_book(box, parts=[part(box, change(box.sealed))]), BOOK)
    fault = next(fault for fault in report.faults if fault.what == code)
    assert words in fault.words
    assert fault.store == box.store


def test_a_changed_record_is_named_with_its_number_and_byte() -> None:
    """`byte 1234` lets two people look at the same place of the same file."""
    box = lived()
    spoiled = bytearray(box.sealed[7])
    spoiled[90] ^= 1
    data = by_book(box, parts=[part(box, [*box.sealed[:7], bytes(spoiled), *box.sealed[8:]])])
    report = verify(data, BOOK)
    fault = report.faults[0]
    assert (fault.what in ("signature", "damaged"), fault.seq, fault.store) == (True, 8, box.store)
    assert fault.at is not None
    assert data[fault.at : fault.at + len(spoiled)] == bytes(spoiled)
    assert len(report.faults) == 1


def test_two_records_with_one_number_are_a_fork() -> None:
    """A cloned card signs two histories; neither is the truth."""
    box, clone = lived(), lived()
    other = lived(rounds=1)
    other.drive(99.0)
    report = verify(by_book(clone, parts=[part(box, [*box.sealed, other.sealed[5]])]), BOOK)
    assert "fork" in codes(report)


def test_a_history_rewritten_by_its_own_box_contradicts_the_checkpoint() -> None:
    """Who holds the box's key can sign another past, but not what the book signed back then."""
    box, rewritten = lived(), lived(rounds=2)
    for _ in range(8):
        rewritten.drive(1.0)
    report = verify(by_book(box, parts=[part(rewritten)]), BOOK)
    assert [fault.seq for fault in report.faults if fault.what == "fork"] == [17]


def test_a_cut_tail_shows_by_a_checkpoint_kept_elsewhere() -> None:
    """The box's own export is cut and signed anew by its owner; a buyer who kept the book's checkpoint sees it."""
    box = lived()
    cut = by_box(box, box.sealed[:12])
    assert verify(cut).ok is False  # the claimed counts do not fit
    honest_cut = by_box(lived(rounds=2))
    assert verify(honest_cut).ok
    report = verify(honest_cut, kept=[checkpoint(box)])
    assert codes(report) == {"tail"}
    assert "the book had signed up to 17, this file ends at 9" in report.faults[0].words


def test_a_store_that_is_left_out_shows_by_its_checkpoint() -> None:
    """A replaced card begins a new store: leaving out the old one would hide years."""
    old, new = lived(), lived(store="second")
    report = verify(by_book(new), BOOK, kept=[checkpoint(old)])
    assert codes(report) == {"store"}


def test_a_checkpoint_of_another_battery_says_nothing() -> None:
    """Checkpoints of a whole book may be kept in one file: those of other batteries are no fault."""
    other = lived("charlie")
    point = checkpoint(other)
    assert verify(by_book(lived()), BOOK).ok
    bundle = decode_bundle(by_book(lived()))
    assert bundle.battery == BATTERY
    assert codes(verify(by_book(lived()), BOOK, kept=[point])) == {"store"}  # same battery: it is about this one
    assert codes(verify(by_book(lived()), BOOK, kept=[b"\x00" + point])) == {"checkpoint"}


def test_claims_that_the_records_do_not_carry_differ() -> None:
    """The exporter's own figures are compared, not repeated."""
    box = lived()
    more = lived(rounds=5)
    data = by_book(more, parts=[part(box)])
    differing = {finding.what: (finding.claimed, finding.recomputed) for finding in verify(data).differing}
    assert differing["exporter.charges"] == (5, 4)


def mutations(dice: random.Random, data: bytes) -> tuple[str, bytes]:
    """A change to the bytes of a file, by somebody without any key."""
    at = dice.randrange(len(data))
    kind = dice.choice(["flip", "remove", "insert", "cut", "append", "double", "zero"])
    match kind:
        case "flip":
            changed = bytes([data[at] ^ (1 << dice.randrange(8))])
            return kind, data[:at] + changed + data[at + 1 :]
        case "remove":
            return kind, data[:at] + data[at + dice.randint(1, 40) :]
        case "insert":
            return kind, data[:at] + dice.randbytes(dice.randint(1, 40)) + data[at:]
        case "cut":
            return kind, data[:at]
        case "append":
            return kind, data + dice.randbytes(dice.randint(1, 40))
        case "double":
            end = min(len(data), at + 200)
            return kind, data[:end] + data[at:end] + data[end:]
        case _:
            length = dice.randint(1, 40)
            return kind, (data[:at] + bytes(length) + data[at + length :])


def rearranged(dice: random.Random, records: Sequence[bytes], foreign: Sequence[bytes]) -> tuple[str, list[bytes]]:
    """A change to the records by an exporter that signs it."""
    new = list(records)
    at, other = dice.sample(range(len(new)), 2)
    kind = dice.choice(["drop", "swap", "double", "foreign", "spoil", "cut"])
    match kind:
        case "drop":
            del new[at]
        case "swap":
            new[at], new[other] = new[other], new[at]
        case "double":
            new.insert(other, new[at])
        case "foreign":
            new[at] = dice.choice(foreign)
        case "spoil":
            spoiled = bytearray(new[at])
            spoiled[dice.randrange(len(spoiled))] ^= 1 << dice.randrange(8)
            new[at] = bytes(spoiled)
        case _:
            new = new[: max(1, at)]
    return kind, new


def test_a_thousand_mutations_are_all_found() -> None:
    """The promise to a stranger, by dice: whatever was done, the verdict is not `everything checks`."""
    dice = random.Random(6)
    box, foreign = lived(rounds=2), lived("bravo", rounds=2)
    honest = by_book(box, foreign)
    missed: list[str] = []
    for number in range(MUTATIONS):
        if number % 2:
            kind, data = mutations(dice, honest)
            if data == honest:
                continue
            report = verify(data)
        else:
            kind, records = rearranged(dice, box.sealed, foreign.sealed)
            data = by_book(box, foreign, parts=[part(box, records), part(foreign)])
            report = verify(data, BOOK)
        if report.ok or not (report.faults and report.faults[0].words):
            missed.append(f"{number}: {kind}")
    assert missed == []


def test_one_changed_byte_names_the_record_it_is_in() -> None:
    """Whoever changed a byte without any key: record and offset are told first, whatever else breaks with it."""
    dice = random.Random(8)
    box = lived()
    honest = by_book(box)
    for seq, sealed in enumerate(box.sealed, 1):
        begin = honest.index(sealed)
        at = begin + dice.randrange(len(sealed))
        fault = verify(honest[:at] + bytes([honest[at] ^ 0x10]) + honest[at + 1 :]).faults[0]
        assert (fault.seq, fault.at) == (seq, begin)


def test_one_changed_byte_outside_the_records_names_the_part_it_is_in() -> None:
    """No record's signature covers the exporter's own words: the manifest tells where they were changed."""
    honest = by_book(lived())
    at = honest.index(b"BAT-1", honest.rindex(b"\x03\x65BAT-1")) + 4
    words = [fault.words for fault in verify(honest[:at] + b"2" + honest[at + 1 :]).faults]
    assert any(word.startswith("bundle.battery: bytes") for word in words)


def test_records_signed_by_another_key_are_not_the_boxs() -> None:
    """A cheat who makes records for somebody else's box name has the wrong key, and the name shows it."""
    box, mallory = lived(), lived("mallory")
    stolen = StorePart(box.box, box.store, mallory.public_key, part(mallory).records)
    report = verify(by_book(box, parts=[stolen]), BOOK)
    assert {"wrong_key", "foreign"} <= codes(report)


def test_nothing_in_a_file_makes_the_verifier_raise_or_judge_it_sound() -> None:
    """A stranger's tool meets strangers' files."""
    dice = random.Random(7)
    for length in (0, 1, 5, 100, 3000):
        assert not verify(dice.randbytes(length)).ok
    assert not verify(b"\xd2\x84\x43\xa1\x01\x27" + b"\xff" * 50).ok
    assert not verify(by_book(parts=[])).ok
    assert not verify(by_book(lived(), parts=[StorePart(lived().box, lived().store, b"k" * 32, (Piece(0, b""),))])).ok
