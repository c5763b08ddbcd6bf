"""Check one store's records: who signed each, and that each follows the one before.

In:  a store as a bundle holds it.
Out: the records that can be believed, and every fault with the record's number and the byte it stands at.
A record that is damaged proves nothing about its neighbours: what merely follows from an earlier fault is not told.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from packwire.bundle import Piece, StorePart
from packwire.errors import BadSignature, Malformed, UnknownKind, WireError
from packwire.ids import box_id_of
from packwire.messages import Hello, Kind
from packwire.seal import NO_PREVIOUS, Record, Sealed, check, digest, peek, read


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong: what, where in the file, and about which record, where that is known."""

    what: str  # short and stable: signature, damaged, foreign, gap, fork, order, link, beginning, file, ...
    words: str
    at: int | None = None  # byte of the file
    store: str = ""
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A record whose signature holds, and where it stands in the file."""

    at: int
    sealed: Sealed
    digest: bytes

    @property
    def seq(self) -> int:
        return self.sealed.envelope.seq


@dataclass(frozen=True, slots=True)
class CheckedStore:
    box: str
    store: str
    links: tuple[Link, ...]  # believed, rising by seq, each number once
    records: tuple[Record, ...]  # those of them that this version can read
    unread: tuple[int, ...]  # seqs of genuine records that it cannot
    count: int  # pieces in the file, believed or not
    faults: tuple[Fault, ...]

    @property
    def last(self) -> int:
        return self.links[-1].seq if self.links else 0

    def link(self, seq: int) -> Link | None:
        place = bisect_left(self.links, seq, key=lambda link: link.seq)
        return self.links[place] if place < len(self.links) and self.links[place].seq == seq else None

    @property
    def sound(self) -> bool:
        """Every number from 1 to the last is here, signed, and follows the one before."""
        return not self.faults and bool(self.links)


def check_store(part: StorePart) -> CheckedStore:
    faults: list[Fault] = []
    if box_id_of(part.key) != part.box:
        words = f"the key given for box {part.box} makes box {box_id_of(part.key)}"
        faults.append(Fault("wrong_key", words, store=part.store))
    found = list(_believed(part, faults))
    told = {fault.seq for fault in faults if fault.seq is not None}
    faults += _order(part.store, found)
    links = sorted({link.digest: link for link in reversed(found)}.values(), key=lambda link: link.seq)
    faults += _copies(part.store, found)
    faults += _forks(part.store, links)
    links = list({link.seq: link for link in reversed(links)}.values())[::-1]
    faults += _beginning(part, links, told)
    faults += _links(part.store, links, told)
    records, unread = [], []
    for link in links:
        try:
            records.append(read(link.sealed))
        except (UnknownKind, Malformed):
            unread.append(link.seq)
    return CheckedStore(
        part.box, part.store, tuple(links), tuple(records), tuple(unread), len(part.records), tuple(faults)
    )


def _believed(part: StorePart, faults: list[Fault]) -> Iterator[Link]:
    expected = 1
    for piece in part.records:
        verdict = _one(part, piece, expected)
        if isinstance(verdict, Fault):
            faults.append(verdict)
            expected += 1
        else:
            expected = verdict.seq + 1
            yield verdict


def _one(part: StorePart, piece: Piece, expected: int) -> Link | Fault:
    """`expected`: the number this record has if all is well, to name one that cannot be read."""
    named = f"bytes {piece.at} to {piece.at + len(piece.data) - 1}"
    try:
        sealed = peek(piece.data)
    except WireError as problem:
        words = f"record {expected} ({named}) is damaged: {problem}"
        return Fault("damaged", words, piece.at, part.store, expected)
    envelope = sealed.envelope
    if (envelope.box, envelope.store) != (part.box, part.store):
        words = f"record {envelope.seq} ({named}) belongs to box {envelope.box}, store {envelope.store}"
        return Fault("foreign", words, piece.at, part.store, envelope.seq)
    try:
        check(sealed, part.key)
    except BadSignature:
        words = f"record {envelope.seq} ({named}) was changed or not signed by box {part.box}"
        return Fault("signature", words, piece.at, part.store, envelope.seq)
    return Link(piece.at, sealed, digest(piece.data))


def _order(store: str, found: Sequence[Link]) -> Iterator[Fault]:
    for before, link in pairwise(found):
        if link.seq < before.seq:
            words = f"record {link.seq} stands behind record {before.seq}"
            yield Fault("order", words, link.at, store, link.seq)


def _copies(store: str, found: Sequence[Link]) -> Iterator[Fault]:
    seen: set[bytes] = set()
    for link in found:
        if link.digest in seen:
            yield Fault("twice", f"record {link.seq} is there twice", link.at, store, link.seq)
        seen.add(link.digest)


def _forks(store: str, links: Sequence[Link]) -> Iterator[Fault]:
    for before, link in pairwise(links):
        if link.seq == before.seq:
            words = f"the box signed two different records {link.seq}: a cloned card, or the box itself cheats"
            yield Fault("fork", words, link.at, store, link.seq)


def _beginning(part: StorePart, links: Sequence[Link], told: Set[int]) -> Iterator[Fault]:
    if not links:
        if not told:
            yield Fault("beginning", "there are no records", store=part.store)
        return
    first = links[0]
    if first.seq > 1:
        yield from _missing(part.store, 1, first, told)
    elif first.sealed.envelope.previous != NO_PREVIOUS:
        yield Fault("beginning", "record 1 says that another record was before it", first.at, part.store, 1)
    elif not _introduces(first.sealed, part.key):
        yield Fault("beginning", "record 1 is not a hello that names the box's key", first.at, part.store, 1)


def _introduces(first: Sealed, key: bytes) -> bool:
    try:
        hello = read(first).message if first.kind_number == Kind.HELLO else None
    except WireError:
        return False
    return isinstance(hello, Hello) and hello.public_key == key


def _links(store: str, links: Sequence[Link], told: Set[int]) -> Iterator[Fault]:
    for before, link in pairwise(links):
        if link.seq > before.seq + 1:
            yield from _missing(store, before.seq + 1, link, told)
        elif link.sealed.envelope.previous != before.digest:
            words = f"record {link.seq} does not follow the record {before.seq} that is here, but another one"
            yield Fault("link", words, link.at, store, link.seq)


def _missing(store: str, begin: int, then: Link, told: Set[int]) -> Iterator[Fault]:
    """Numbers that are not here, unless each of them was told as damaged."""
    end = then.seq - 1
    if end - begin < len(told) and all(seq in told for seq in range(begin, end + 1)):
        return
    numbers = f"record {begin} is" if end == begin else f"records {begin} to {end} are"
    yield Fault("gap", f"{numbers} missing before record {then.seq}", then.at, store, begin)
