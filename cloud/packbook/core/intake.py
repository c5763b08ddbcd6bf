"""The book's door: bytes from outside become records that are believed, or a reason why not.

In:  `Arrival` (topic, bytes, when), the public keys on file, and how far the record's chain is held.
Out: what it is (`read`), whether it may enter the ledger (`place`), and what it says of a battery (`facts_of`).
Refuses, always with a reason: topics and records of another box, keys that do not make the box's name, signatures
that do not hold, a second record in the same place of a chain, a record that does not follow the one before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from packbook.core.history import (
    C_RATE_EDGES,
    DEPTH_EDGES_PCT,
    SOC_BANDS_PCT,
    TEMP_EDGES_DEGC,
    Agreement,
    CellsPoint,
    ChargeCurve,
    EnergyFull,
    Estimate,
    EventRow,
    Installation,
    Provenance,
    SessionRow,
    SohPoint,
    UsageTotals,
)
from packwire import topics
from packwire.cbor import MAX_MESSAGE_BYTES
from packwire.codec import Body, shown
from packwire.consent import UNDECIDED, Purpose, is_within
from packwire.errors import BadSignature, Malformed, UnknownKind, UnknownVersion, WireError
from packwire.ids import KEY_ID_BYTES, BoxId, box_id_of, key_id_of
from packwire.messages import (
    Cells,
    Charge,
    Consent,
    Drive,
    Event,
    EventKind,
    Hello,
    Kind,
    Message,
    Rest,
    Session,
    Soh,
    Usage,
)
from packwire.presence import Standing, decode_heartbeat, decode_status
from packwire.seal import NO_PREVIOUS, Sealed, check, digest, peek
from packwire.seal import read as read_message
from packwire.topics import Leaf

CALENDAR_MS: Final = (1_262_304_000_000, 4_102_444_800_000)  # 2010..2100: outside, a box's clock was never set
CLOCK_AHEAD_MAX_MS: Final = 86_400_000  # a record is not made after it came; a day for zones confused by hand

_TEMP_BANDS: Final = len(TEMP_EDGES_DEGC) + 1
SOC_TEMP_CELLS: Final = len(SOC_BANDS_PCT) * _TEMP_BANDS
C_RATE_TEMP_CELLS: Final = 2 * (len(C_RATE_EDGES) + 1) * _TEMP_BANDS
DEPTH_CELLS: Final = (len(DEPTH_EDGES_PCT) - 1) * len(SOC_BANDS_PCT)


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
class Moment:
    """When, by the box's clocks. `wall_ms` is None until the clock was set since boot."""

    boot: str
    mono_ms: int
    wall_ms: int | None


@dataclass(frozen=True, slots=True)
class ClockAnchor:
    """At this monotonic time of this boot the calendar said this."""

    boot: str
    mono_ms: int
    wall_ms: int


Value: TypeAlias = Installation | SessionRow | SohPoint | CellsPoint | UsageTotals | EventRow | ClockAnchor | Agreement


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing a record says, and when."""

    moment: Moment
    value: Value


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


Reading: TypeAlias = Entry | Heartbeat | Status | Ignored | Unready | Quarantine
Keys: TypeAlias = Mapping[tuple[str, bytes], bytes]  # (box, key id) -> raw Ed25519 public key


def boxes_named(arrivals: Iterable[Arrival]) -> set[str]:
    """Whose keys will be needed to read these."""
    return {address.box for arrival in arrivals if (address := topics.parse(arrival.topic))}


def read_all(arrivals: Sequence[Arrival], keys: Keys) -> list[Reading]:
    """Read many; a key that one of them brings (a hello) is good for all, whatever their order."""
    return with_keys_brought(arrivals, [read(arrival, keys) for arrival in arrivals], keys)


def with_keys_brought(arrivals: Sequence[Arrival], readings: list[Reading], keys: Keys) -> list[Reading]:
    """Those whose key another of them brings are read again."""
    brought = {(new.box, new.key_id): new.public_key for r in readings if isinstance(r, Entry) and (new := r.new_key)}
    if not brought:
        return readings
    known = {**keys, **brought}
    return [
        read(arrival, known) if isinstance(reading, Unready) else reading
        for arrival, reading in zip(arrivals, readings, strict=True)
    ]


def read(arrival: Arrival, keys: Keys) -> Reading:
    """What one message is. Never raises: whatever is wrong with it is a value with a reason."""
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
    except UnknownVersion as problem:
        return Quarantine(arrival, Reason.UNKNOWN_VERSION, str(problem))
    except BadSignature as problem:
        return Quarantine(arrival, Reason.BAD_SIGNATURE, str(problem))
    except WireError as problem:
        return Quarantine(arrival, Reason.MALFORMED, str(problem))


def _record(arrival: Arrival, box: BoxId, keys: Keys) -> Reading:
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
    check(sealed, public_key, arrival.topic)
    return _entry(sealed, arrival.received_ms, arrival.topic, new_key)


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


# --- what a record says --------------------------------------------------------------------------------------------


def facts_of(message: Message, place: Provenance, moment: Moment, latest_ms: int) -> tuple[Fact, ...]:
    """Translate a message into the book's own values. Kinds that no view shows yet say nothing (the ledger has them).

    `latest_ms`: calendar times after it are a wrong clock's. Raises Malformed when a histogram is longer than this
    version knows bands for.
    """
    match message:
        case Hello():
            return (Fact(moment, _installation(message, place, moment)),)
        case Session():
            return (_session(message, place, latest_ms),)
        case Usage():
            return (Fact(moment, _usage(message, place, moment, latest_ms)),)
        case Soh():
            return (Fact(moment, _soh(message, place, moment)),)
        case Cells():
            point = _cells(message, place, moment)
            return () if point is None else (Fact(moment, point),)
        case Event():
            return _event(message, place, moment, latest_ms)
        case Consent():
            known = tuple(purpose for purpose in message.purposes if purpose in frozenset(Purpose))
            return (Fact(moment, Agreement(known, place)),)
        case _:
            return ()


ValueT = TypeVar("ValueT")


def _like(target: type[ValueT], message: Body, **given: object) -> ValueT:
    """A value of `target`: fields of the same name come from the message, the rest is given."""
    fields: tuple[str, ...] = target.__dataclass_fields__.keys()  # type: ignore[attr-defined]  # dataclasses have it
    taken = {name: getattr(message, name) for name in fields if name not in given}
    return target(**taken, **given)


def _installation(hello: Hello, place: Provenance, moment: Moment) -> Installation:
    return _like(Installation, hello, from_ms=moment.wall_ms, provenance=place)


def _session(session: Session, place: Provenance, latest_ms: int) -> Fact:
    moment = Moment(session.boot, session.start_mono_ms, calendar(session.start_wall_ms, latest_ms))
    charge = session if isinstance(session, Charge) else None
    drive = session if isinstance(session, Drive) else None
    row = _like(
        SessionRow,
        session,
        kind=_SESSION_KIND[type(session)],
        start_ms=moment.wall_ms,
        charge_kind=charge.charge_kind.value if charge else None,
        segments=charge.segments if charge else None,
        power_max_kw=charge.power_max_kw if charge else None,
        distance_km=drive.distance_km if drive else None,
        energy_regenerated_wh=drive.energy_regenerated_wh if drive else None,
        provenance=place,
        curve=_like(ChargeCurve, charge.curve) if charge and charge.curve else None,
    )
    return Fact(moment, row)


_SESSION_KIND: Final[Mapping[type[Session], str]] = {Charge: "charge", Drive: "drive", Rest: "rest"}


def _usage(usage: Usage, place: Provenance, moment: Moment, latest_ms: int) -> UsageTotals:
    return _like(
        UsageTotals,
        usage,
        at_ms=moment.wall_ms,
        soc_temp_s=_full(usage.soc_temp_s, SOC_TEMP_CELLS, "soc_temp_s"),
        c_rate_temp_s=_full(usage.c_rate_temp_s, C_RATE_TEMP_CELLS, "c_rate_temp_s"),
        depth_counts=_full(usage.depth_counts, DEPTH_CELLS, "depth_counts"),
        events=dict(usage.events),
        first_ms=calendar(usage.first_wall_ms, latest_ms),
        provenance=place,
        charging_temp_s=_full(usage.charging_temp_s, _TEMP_BANDS, "charging_temp_s") if usage.charging_temp_s else (),
    )


def _full(counts: Sequence[int], cells: int, name: str) -> tuple[int, ...]:
    if len(counts) > cells:
        raise Malformed(f"Usage.{name}: {len(counts)} cells, this side knows {cells}")
    return (*counts, *([0] * (cells - len(counts))))


def _soh(soh: Soh, place: Provenance, moment: Moment) -> SohPoint:
    return _like(
        SohPoint,
        soh,
        at_ms=moment.wall_ms,
        state=soh.state.value,
        estimates=tuple(_like(Estimate, estimate) for estimate in soh.estimates),
        provenance=place,
        energy=None if soh.energy is None else _like(EnergyFull, soh.energy),
    )


def _cells(cells: Cells, place: Provenance, moment: Moment) -> CellsPoint | None:
    """None where it tells no spread: fewer than two cells and no extremes, or a lowest one above the highest."""
    known = [(mv, number) for number, mv in enumerate(cells.voltages_mv, 1) if mv is not None]
    low_v, high_v = cells.cell_voltage_min_v, cells.cell_voltage_max_v
    if len(known) > 1:
        told = [mv / 1000.0 for mv, _ in known]
        low_v = min(told) if low_v is None else min(low_v, *told)
        high_v = max(told) if high_v is None else max(high_v, *told)
    if low_v is None or high_v is None or high_v < low_v:
        return None
    return _like(
        CellsPoint,
        cells,
        at_ms=moment.wall_ms,
        spread_mv=round((high_v - low_v) * 1000.0, 1),
        cell_voltage_min_v=low_v,
        cell_voltage_max_v=high_v,
        cells=len(known),
        lowest_cell=min(known)[1] if len(known) > 1 else None,
        highest_cell=max(known)[1] if len(known) > 1 else None,
        temp_min_degc=min(cells.temps_degc, default=None),
        temp_max_degc=max(cells.temps_degc, default=None),
        provenance=place,
    )


def _event(event: Event, place: Provenance, sealed_at: Moment, latest_ms: int) -> tuple[Fact, ...]:
    moment = Moment(
        event.boot or sealed_at.boot,
        sealed_at.mono_ms if event.mono_ms is None else event.mono_ms,
        calendar(event.wall_ms, latest_ms) if event.wall_ms is not None else _carried(sealed_at, event),
    )
    row = EventRow(event.event.value, moment.wall_ms, event.duration_s, event.extreme, event.text, place)
    if event.event is not EventKind.CLOCK_SET or moment.wall_ms is None:
        return (Fact(moment, row),)
    return Fact(moment, row), Fact(moment, ClockAnchor(moment.boot, moment.mono_ms, moment.wall_ms))


def _carried(sealed_at: Moment, event: Event) -> int | None:
    """The calendar at the event, carried over from when its record was made, within one boot."""
    if sealed_at.wall_ms is None or event.boot not in (None, sealed_at.boot):
        return None
    return sealed_at.wall_ms - (sealed_at.mono_ms - (sealed_at.mono_ms if event.mono_ms is None else event.mono_ms))


def calendar(wall_ms: int | None, latest_ms: int) -> int | None:
    """A calendar time, or None where the box's clock cannot have been right."""
    low_ms, high_ms = CALENDAR_MS
    return wall_ms if wall_ms is not None and low_ms <= wall_ms < high_ms and wall_ms <= latest_ms else None


def kept(payload: bytes) -> bytes:
    """As much of a refused message as quarantine keeps."""
    return payload[:MAX_MESSAGE_BYTES]
