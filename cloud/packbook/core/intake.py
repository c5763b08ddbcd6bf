"""The book's door: bytes from outside become records that are believed, or a reason why not.

In:  `Arrival` (topic, bytes, when), the public keys on file, and how far the record's chain is held.
Out: what it is (`read`), whether it may enter the ledger (`place`), and what it says of a battery (`core.facts`).
Refuses, always with a reason: topics and records of another box, keys that do not make the box's name, signatures
that do not hold, a second record in the same place of a chain, a record that does not follow the one before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from packbook.core.facts import Fact, Moment, calendar, facts_of
from packbook.core.history import (
    EventRow,
    Provenance,
)
from packwire import topics
from packwire.cbor import MAX_MESSAGE_BYTES
from packwire.codec import shown
from packwire.consent import UNDECIDED, is_within
from packwire.ed25519 import is_signed
from packwire.errors import BadSignature, Malformed, UnknownKind, UnknownVersion, WireError
from packwire.ids import KEY_ID_BYTES, BoxId, box_id_of, key_id_of
from packwire.messages import (
    EventKind,
    Hello,
    Kind,
)
from packwire.presence import Standing, decode_heartbeat, decode_status
from packwire.seal import NO_PREVIOUS, Claim, Sealed, check, claim, digest, peek
from packwire.seal import read as read_message
from packwire.topics import Leaf

CLOCK_AHEAD_MAX_MS: Final = 86_400_000  # a record is not made after it came; a day for zones confused by hand


class Reason(StrEnum):
    """Why a message stands in quarantine. Short and stable: operators count by it."""

    NOT_OURS = "not_ours"
    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    WRONG_BOX = "wrong_box"
    WRONG_KEY = "wrong_key"
    BAD_SIGNATURE = "bad_signature"
    NO_HELLO = "no_hello"
    FORK = "fork"
    BROKEN_CHAIN = "broken_chain"
    DISPUTED = "disputed"  # of a store with two histories, and it follows on neither yet
    REVOKED = "revoked"  # genuine, of a box that may no longer speak
    NOT_ENROLLED = "not_enrolled"
    WRONG_CLOCK = "wrong_clock"  # believed and kept, but undated: a note, once per boot
    FLOOD = "flood"  # a box's quarantine is full: what comes on top is counted, not kept
    NO_CONSENT = "no_consent"  # believed and kept in the ledger, but the owner did not agree to it: in no history
    UNREADABLE = "unreadable"  # believed and kept in the ledger, but what it says cannot be read by this version
    REFUSED_BY_STORE = "refused_by_store"


class Fate(StrEnum):
    """What became of a message in quarantine."""

    OPEN = "open"
    BELIEVED = "believed"  # the same bytes are in the ledger by now
    DROPPED = "dropped"  # an operator had its bytes thrown away; that it came stays known


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as the broker handed it over; `received_ms` by the book's clock."""

    topic: str
    payload: bytes
    received_ms: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """`at`: the place that the box's own signature gives it; None where no signature was believed."""

    arrival: Arrival
    reason: Reason
    detail: str
    at: Provenance | None = None


@dataclass(frozen=True, slots=True)
class Unready:
    """Of a box whose key is not on file yet. Not kept, not acknowledged: the box keeps it and offers it again."""

    box: str
    store: str  # whose hello is missing, as far as an unproven record can say
    arrival: Arrival

    @property
    def received_ms(self) -> int:
        return self.arrival.received_ms


@dataclass(frozen=True, slots=True)
class Heartbeat:
    box: str
    received_ms: int
    health: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Status:
    box: str
    received_ms: int
    online: bool
    reason: str  # why it is gone
    standing: Standing | None = None  # what the box takes us to hold of its present store


@dataclass(frozen=True, slots=True)
class Ignored:
    """A downward topic, our own echo perhaps. Nothing to keep."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A believed record, as the ledger keeps it, with what it says."""

    place: Provenance
    previous: bytes
    digest: bytes
    kind: int
    moment: Moment
    received_ms: int
    sealed: bytes
    topic: str
    new_key: NewKey | None
    facts: tuple[Fact, ...]
    unreadable: str | None  # why `facts` is empty although the record is genuine
    wrong_clock: str | None  # why it has no date although its box gave one


@dataclass(frozen=True, slots=True)
class NewKey:
    box: str
    key_id: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A record of a box whose key is known, taken apart: it is believed if this key signed it."""

    arrival: Arrival
    sealed: Sealed
    public_key: bytes
    new_key: NewKey | None


Reading: TypeAlias = Entry | Heartbeat | Status | Ignored | Unready | Quarantine
Keys: TypeAlias = Mapping[tuple[str, bytes], bytes]  # (box, key id) -> raw Ed25519 public key
Claims: TypeAlias = Sequence[Claim]


def boxes_named(arrivals: Iterable[Arrival]) -> set[str]:
    """Whose keys will be needed to read these."""
    return {address.box for arrival in arrivals if (address := topics.parse(arrival.topic))}


def read_all(arrivals: Sequence[Arrival], keys: Keys) -> list[Reading]:
    """Read many; a key that one of them brings (a hello) is good for all, whatever their order."""
    return believe(arrivals, open_all(arrivals, keys), keys)


def open_all(arrivals: Sequence[Arrival], keys: Keys) -> list[Reading | Opened]:
    """Everything but the signatures of records."""
    return [_open(arrival, keys) for arrival in arrivals]


def believe(
    arrivals: Sequence[Arrival], opened: Sequence[Reading | Opened], keys: Keys, proven: Collection[int] = ()
) -> list[Reading]:
    """Check the signatures, but for those at the places `proven`, and read what the records say."""
    readings = [
        _believe(one, proven=place in proven) if isinstance(one, Opened) else one for place, one in enumerate(opened)
    ]
    brought = {(new.box, new.key_id): new.public_key for r in readings if isinstance(r, Entry) and (new := r.new_key)}
    if not brought:
        return readings
    known = {**keys, **brought}
    return [
        read(arrival, known) if isinstance(reading, Unready) else reading
        for arrival, reading in zip(arrivals, readings, strict=True)
    ]


def claim_of(one: Reading | Opened) -> Claim | None:
    """What must hold for this to be believed. None: nothing, or it never can."""
    return claim(one.sealed, one.public_key, one.arrival.topic) if isinstance(one, Opened) else None


def hold(claims: Claims) -> bytes:
    """A 1 for each that holds, a 0 for each that does not."""
    return bytes(is_signed(*claimed) for claimed in claims)


def read(arrival: Arrival, keys: Keys) -> Reading:
    """What one message is. Never raises: whatever is wrong with it is a value with a reason."""
    one = _open(arrival, keys)
    return _believe(one, proven=False) if isinstance(one, Opened) else one


def _open(arrival: Arrival, keys: Keys) -> Reading | Opened:
    address = topics.parse(arrival.topic)
    if address is None:
        return Quarantine(arrival, Reason.NOT_OURS, f"topic {arrival.topic[:120]!r} is not one of ours")
    try:
        match address.leaf:
            case Leaf.RECORD:
                return _record(arrival, address.box, keys)
            case Leaf.HEARTBEAT:
                health = shown(decode_heartbeat(arrival.payload))
                return Heartbeat(address.box, arrival.received_ms, health)
            case Leaf.STATUS:
                status = decode_status(arrival.payload)
                return Status(address.box, arrival.received_ms, status.online, status.reason, status.standing)
            case _:
                return Ignored()
    except WireError as problem:
        return _unbelieved(arrival, problem)


def _believe(one: Opened, *, proven: bool) -> Reading:
    arrival = one.arrival
    try:
        if not proven:
            check(one.sealed, one.public_key, arrival.topic)
        return _entry(one.sealed, arrival.received_ms, arrival.topic, one.new_key)
    except WireError as problem:
        return _unbelieved(arrival, problem)


def _unbelieved(arrival: Arrival, problem: WireError) -> Quarantine:
    match problem:
        case UnknownVersion():
            reason = Reason.UNKNOWN_VERSION
        case BadSignature():
            reason = Reason.BAD_SIGNATURE
        case _:
            reason = Reason.MALFORMED
    return Quarantine(arrival, reason, str(problem))


def _record(arrival: Arrival, box: BoxId, keys: Keys) -> Reading | Opened:
    sealed = peek(arrival.payload)
    if sealed.envelope.box != box:
        return Quarantine(arrival, Reason.WRONG_BOX, f"record of box {sealed.envelope.box} on {arrival.topic}")
    if sealed.key_id != bytes.fromhex(box)[:KEY_ID_BYTES]:  # a box's name is made from its key: it never has another
        return Quarantine(arrival, Reason.WRONG_KEY, f"signed with key {sealed.key_id.hex()}, not that of box {box}")
    new_key = None
    public_key = keys.get((box, sealed.key_id))
    if public_key is None:
        if sealed.kind_number != Kind.HELLO:
            return Unready(box, sealed.envelope.store, arrival)
        public_key = _key_in(sealed)
        if box_id_of(public_key) != box or key_id_of(public_key) != sealed.key_id:
            return Quarantine(arrival, Reason.WRONG_KEY, f"the key in this hello does not make the name {box}")
        new_key = NewKey(box, sealed.key_id, public_key)
    return Opened(arrival, sealed, public_key, new_key)


def _key_in(sealed: Sealed) -> bytes:
    message = read_message(sealed).message
    assert isinstance(message, Hello)
    return message.public_key


def reread(sealed: bytes, received_ms: int) -> Entry:
    """An entry made anew from the bytes in the ledger, which were believed when they came."""
    taken = peek(sealed)
    return _entry(taken, received_ms, topics.topic(taken.envelope.box, Leaf.RECORD), None)


def _entry(sealed: Sealed, received_ms: int, topic: str, new_key: NewKey | None) -> Entry:
    envelope = sealed.envelope
    place = Provenance(envelope.box, envelope.store, envelope.seq)
    latest_ms = received_ms + CLOCK_AHEAD_MAX_MS
    wall_ms = calendar(envelope.wall_ms, latest_ms)
    moment = Moment(envelope.boot, envelope.mono_ms, wall_ms)
    wrong_clock = None
    if envelope.wall_ms is not None and wall_ms is None:
        wrong_clock = f"{_name(place)} says {envelope.wall_ms} ms since 1970; it came at {received_ms} ms"
    facts: tuple[Fact, ...] = ()
    unreadable = None
    try:
        facts = facts_of(read_message(sealed).message, place, moment, latest_ms)
    except (UnknownKind, Malformed) as problem:
        unreadable = str(problem)
    return Entry(
        place=place,
        previous=envelope.previous,
        digest=digest(sealed.sealed),
        kind=sealed.kind_number,
        moment=moment,
        received_ms=received_ms,
        sealed=sealed.sealed,
        topic=topic,
        new_key=new_key,
        facts=facts,
        unreadable=unreadable,
        wrong_clock=wrong_clock,
    )


# --- the chain -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tip:
    """How far a store's chain is held without a hole, and what stands there. `head`: digest of record `upto`."""

    upto: int = 0
    head: bytes | None = None
    disputed: bool = False

    def follows(self, previous: bytes) -> bool:
        """Is this what the next record carries?"""
        return previous == (self.head if self.upto else NO_PREVIOUS)


@dataclass(frozen=True, slots=True)
class Accept:
    entry: Entry


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Held already, byte for byte. Acknowledged again, otherwise without consequence."""

    place: Provenance


def place(entry: Entry, tip: Tip, present: bytes | None) -> Accept | Duplicate | Quarantine:
    """May this record enter the ledger? `tip`: its store's, `present`: digest of what stands in its place.

    Beyond a hole it may wait in the ledger until the chain reaches it and proves it or not. Not in a disputed store:
    there, records of two histories come, and which is which shows only at the tip.
    """
    at = entry.place
    if present is not None:
        if present == entry.digest:
            return Duplicate(at)
        detail = f"{_name(at)} is in the ledger with digest {present.hex()}, this one has {entry.digest.hex()}"
        return refused(entry, Reason.FORK, detail)
    if at.seq == 1 and entry.kind != Kind.HELLO:
        return refused(entry, Reason.NO_HELLO, f"{_name(at)} begins a store without a hello")
    if at.seq == tip.upto + 1:
        return Accept(entry) if tip.follows(entry.previous) else broken(entry, tip)
    if tip.disputed:
        detail = f"{_name(at)} is of a disputed store and cannot be placed before record {tip.upto + 1} is there"
        return refused(entry, Reason.DISPUTED, detail)
    return Accept(entry)


def broken(entry: Entry, tip: Tip) -> Quarantine:
    """A record right after the tip that does not follow it."""
    expected = tip.head if tip.upto and tip.head else NO_PREVIOUS
    detail = f"{_name(entry.place)} follows digest {entry.previous.hex()}, not {expected.hex()}"
    return refused(entry, Reason.BROKEN_CHAIN, detail)


def refused(entry: Entry, reason: Reason, detail: str) -> Quarantine:
    """A record that its box did sign, and that cannot stand in the ledger."""
    return Quarantine(Arrival(entry.topic, entry.sealed, entry.received_ms), reason, detail, entry.place)


PARTS: Final = frozenset({Reason.FORK, Reason.BROKEN_CHAIN})  # two histories under one store's name


def _name(at: Provenance) -> str:
    return f"record {at.box}/{at.store}/{at.seq}"


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One ledger row, as far as checking the chain needs it. `previous`: digest of the row before, if that is held."""

    at: Provenance
    digest: bytes
    sealed: bytes
    previous: bytes | None


def trouble_in(row: ChainLink, keys: Keys) -> str | None:
    """What is wrong with a row of the ledger: bytes changed, signature or chain broken. None when it is sound."""
    try:
        sealed = peek(row.sealed)
        key = keys.get((row.at.box, sealed.key_id))
        if key is None:
            return f"{_name(row.at)}: key {sealed.key_id.hex()} is not on file"
        check(sealed, key)
    except WireError as problem:
        return f"{_name(row.at)}: {problem}"
    envelope = sealed.envelope
    if Provenance(envelope.box, envelope.store, envelope.seq) != row.at or digest(row.sealed) != row.digest:
        return f"{_name(row.at)}: the row is not about the record it holds"
    expected = NO_PREVIOUS if envelope.seq == 1 else row.previous
    if expected is not None and envelope.previous != expected:
        return f"{_name(row.at)}: does not follow the record before it"
    return None


# --- consent -------------------------------------------------------------------------------------------------------


def beyond_consent(entry: Entry, purposes: Collection[str] | None) -> str | None:
    """Why this record may enter no history although it is genuine; None when it may. `purposes` None: undecided.

    A box of ours never seals such a record; another one might, and what it sends is not made use of.
    """
    try:
        kind = Kind(entry.kind)
    except ValueError:
        return None  # says nothing anyway
    event = next((EventKind(fact.value.event) for fact in entry.facts if isinstance(fact.value, EventRow)), None)
    agreed = UNDECIDED if purposes is None else purposes
    if is_within(agreed, kind, event):
        return None
    return f"{_name(entry.place)} ({kind.name.lower()}): the owner agreed to {', '.join(sorted(agreed)) or 'nothing'}"


def kept(payload: bytes) -> bytes:
    """As much of a refused message as quarantine keeps."""
    return payload[:MAX_MESSAGE_BYTES]
