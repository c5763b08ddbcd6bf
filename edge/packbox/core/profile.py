"""What is known of a family of cars: frames, polls, variants, packs. Plain data, frozen.

In:  nothing; `adapters.profile_dir` reads a profile folder and builds these.
Out: `Profile`, read by `core.decode` (streams), `core.readings` (single frames) and the poll plan.
Refuses: a request that could change anything in a car. `Poll` cannot be built with one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from packbox.core.packs import PackFacts

FUNCTIONAL_IDS: Final = (0x7DF, 0x18DB33F1)  # requests to every ECU (ISO 15765-4)
EXTENDED_BIT: Final = 1 << 31  # as in DBC files: set in a key when the id is a 29-bit one
FUNCTIONAL_KEYS: Final = frozenset((FUNCTIONAL_IDS[0], FUNCTIONAL_IDS[1] | EXTENDED_BIT))
GROUP_BIT: Final = 1 << 30  # set in a key that stands for a J1939 parameter group from any sender
GROUP_MASK: Final = 0x03FFFF00  # what is left of an id without priority and source address (SAE J1939-21)
GROUP_FIRST_FORMAT: Final = 0xF0  # from this PDU format on, a group is sent to all and has no destination

# Services that only read: OBD 01 and 09, trouble codes by mask (19 02), KWP 21, UDS 22, tester present.
READ_SERVICES: Final = (0x01, 0x09, 0x19, 0x21, 0x22, 0x3E)
POSITIVE_ANSWER: Final = 0x40
NEGATIVE_ANSWER: Final = 0x7F

# Do no harm, for every family (design.md 3; reasons in facts/vehicles.md 2, "passive or polled").
BUS_ALIVE_S: Final = 2.0  # poll only while traffic was heard this recently: polling keeps ECUs awake
STOP_AFTER_SILENCE_S: Final = 10.0
AUX_VOLTAGE_MIN_V: Final = 12.2  # below it the 12 V battery may not start the car again
OTHER_TESTER_PAUSE_S: Final = 60.0  # two testers on one id break each other's answers


class Grade(StrEnum):
    """How well a signal is known (facts/vehicles.md, first table)."""

    RECOMPUTED = "R"
    TWO_SOURCES = "S2"
    ONE_SOURCE = "S1"
    DISPUTED = "?"


class Checksum(StrEnum):
    LEAF_CRC8 = "leaf_crc8"
    NIBBLE_SUM = "nibble_sum"
    INVERTED_SUM = "inverted_sum"


class CarState(StrEnum):
    DRIVING = "driving"
    CHARGING = "charging"
    READY = "ready"  # awake, neither driving nor charging


@dataclass(frozen=True, slots=True)
class QuantityUse:
    """How a signal becomes a quantity. With `steps` the value is looked up, otherwise it is value x factor + offset."""

    quantity: str
    source: str  # "1DB.pack_current": one per use, stable over variants
    prefer: int  # of several sources of one quantity the lowest speaks
    hold_ms: int  # how long it silences the others after it spoke
    factor: float = 1.0
    offset: float = 0.0
    steps: tuple[
        tuple[float, float, float], ...
    ] = ()  # (low, high, quantity value), both ends included; others are void
    needs: str | None = None  # evidence without which the use is off

    void: tuple[float, ...] = ()  # values of the signal that mean nothing for the quantity

    @property
    def is_plain(self) -> bool:
        """The signal's value is the quantity's."""
        return self.factor == 1.0 and self.offset == 0.0 and not self.steps and not self.void


@dataclass(frozen=True, slots=True)
class MuxArm:
    """A signal is there only while the selector has one of these raw values."""

    selector: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SignalLayout:
    """Bits of a frame. `start` as in a DBC file: lowest bit if Intel, highest bit if Motorola."""

    name: str
    unit: str
    start: int
    bits: int
    motorola: bool
    signed: bool
    scale: float
    offset: float
    arms: tuple[MuxArm, ...] = ()  # all must hold
    void: tuple[int, ...] = ()  # raw values that mean "not available"
    void_from: int | None = None  # this raw value and above
    uses: tuple[QuantityUse, ...] = ()
    grade: Grade = Grade.ONE_SOURCE
    source: str = ""


@dataclass(frozen=True, slots=True)
class CellPlaces:
    """In a pack of so many cells: which cell a frame begins with, by the module number 1, 2, ... in it; 0 = none."""

    in_series: int
    selector: str
    first: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Message:
    can_id: int
    extended: bool
    name: str
    bus: str
    lengths: tuple[int, ...]
    signals: tuple[SignalLayout, ...]
    cycle_ms: int | None = None
    checksum: Checksum | None = None
    counter: str | None = None  # signal that counts up by one from frame to frame
    void_when: tuple[str, int] | None = None  # (signal, raw): the whole frame says nothing then
    mux_known: tuple[tuple[str, tuple[int, ...]], ...] = ()  # selector values that are no surprise
    any_sender: bool = False  # a J1939 parameter group: priority and source address do not matter
    cells: tuple[CellPlaces, ...] = ()  # where all modules send their cells alike
    file: str = field(default="", compare=False)  # the DBC file it stands in

    @property
    def key(self) -> int:
        return group_key(self.can_id) if self.any_sender else message_key(self.can_id, self.extended)

    @property
    def label(self) -> str:
        return id_text(self.can_id, self.extended)


@dataclass(frozen=True, slots=True)
class RawMatch:
    """These bytes of the answer, read as `kind`, have one of these raw values."""

    at: int
    kind: str
    raw: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnswerField:
    """Bytes of an answer, counted from the first after the echoed request; big-endian unless the kind says `le`."""

    name: str
    unit: str
    kind: str  # u8 u16 u24 u32 s8 s16 s32, those wider than a byte with le or without; ascii hex dtcs pids
    at: int
    factor: float = 1.0
    offset: float = 0.0
    length: int | None = None  # of text or hex; None = to the end
    typical: tuple[str, ...] = ()  # a text that begins so is that of a car of this family
    void: tuple[int, ...] = ()  # in text: bytes that are left out
    mask: int | None = None  # only these bits, moved down to bit 0
    only_if: tuple[int, str, int] | None = None  # (at, kind, bits): void unless this neighbour has one of the bits
    when: RawMatch | None = None  # the answer has this field only then
    uses: tuple[QuantityUse, ...] = ()
    grade: Grade = Grade.ONE_SOURCE
    source: str = ""


@dataclass(frozen=True, slots=True)
class RowDigest:
    """One figure over all rows of one answer."""

    what: str  # count sum min max mean first last
    name: str
    unit: str
    uses: tuple[QuantityUse, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerRows:
    """The same field many times: cells, sensors. `name` holds `{n}`, counted from `number_from`."""

    name: str
    unit: str
    kind: str
    at: int
    step: int
    count: int
    factor: float = 1.0
    offset: float = 0.0
    void: tuple[int, ...] = ()
    void_from: int | None = None  # this raw value and above
    guard: tuple[int, str, int] | None = None  # (at, kind, raw): the row is void where this neighbour has that value
    mask_at: int | None = None  # a bit for each row begins in this byte, the highest first: 0 = the row is void
    number_from: int = 1
    when: RawMatch | None = None  # the answer has these rows only then
    digests: tuple[RowDigest, ...] = ()
    grade: Grade = Grade.ONE_SOURCE
    source: str = ""


@dataclass(frozen=True, slots=True)
class AnswerLayout:
    lengths: tuple[int, ...]  # of the whole answer, service byte included; () = any
    fields: tuple[AnswerField, ...] = ()
    rows: tuple[AnswerRows, ...] = ()
    void_when: tuple[RawMatch, ...] = ()  # while all of these hold the answer says nothing ...
    void_keeps: tuple[str, ...] = ()  # ... but these fields


@dataclass(frozen=True, slots=True)
class Poll:
    """A question that only reads, and how to read the answer."""

    id: str
    tx: int
    rx: int
    extended: bool
    request: bytes
    layouts: tuple[AnswerLayout, ...]
    ignored_lengths: tuple[int, ...] = ()  # answers of these lengths are known and mean nothing
    every_s: Mapping[CarState, float] = field(default_factory=dict)
    once: bool = False
    alone: bool = False  # a continuation frame on `rx` without its beginning belongs to this poll
    bus: int | None = None  # place of its bus among the profile's; None: the first interface
    also: tuple[int, ...] = ()  # further ids on which units may answer this one question, beside `rx`
    asked_by: str | None = None  # the poll that asks for this one too: several ECUs answer one functional request

    def __post_init__(self) -> None:
        reason = write_reason(self.request)
        if reason is not None:
            raise ValueError(reason)

    @property
    def head(self) -> bytes:
        """How a positive answer begins."""
        return answer_head(self.request)

    @property
    def tx_key(self) -> int:
        return message_key(self.tx, self.extended)

    @property
    def rx_key(self) -> int:
        return message_key(self.rx, self.extended)

    @property
    def rx_keys(self) -> tuple[int, ...]:
        """Of everybody who may answer."""
        return (self.rx_key, *(message_key(rx, self.extended) for rx in self.also))


@dataclass(frozen=True, slots=True)
class ValueRange:
    """A signal of a frame, or the ratio of two, lies between low and high."""

    key: int
    signal: str
    low: float
    high: float
    over: str | None = None  # divide by this signal of the same frame
    variant: str | None = None  # read as this variant has the frame; None = as all have it


@dataclass(frozen=True, slots=True)
class AnswerShape:
    """An answer of one of these lengths (service byte included), perhaps with one of its values in a range."""

    poll: str
    lengths: tuple[int, ...]  # () = any
    field: str | None = None
    low: float = 0.0
    high: float = 0.0
    over: str | None = None  # divide by this field of the same answer


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something a car shows that tells it from its sisters. Once seen `at_least` times it stays seen."""

    name: str
    at_least: int = 1
    wanders: bool = False  # its value moves through such ranges within one pack's life: another range proves nothing
    seen: tuple[int, ...] = ()  # keys of frames, any of them
    value: ValueRange | None = None
    answer: AnswerShape | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """This variant it is, when all of this evidence has been seen."""

    variant: str
    when: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    id: str
    name: str
    pack: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Bus:
    name: str
    bitrate: int
    where: str


@dataclass(frozen=True, slots=True)
class Care:
    """When polling must keep quiet in this family. The box's own rules are the floor; these may only be stricter."""

    bus_alive_s: float = BUS_ALIVE_S
    stop_after_silence_s: float = STOP_AFTER_SILENCE_S
    aux_voltage_min_v: float = AUX_VOLTAGE_MIN_V
    other_tester_pause_s: float = OTHER_TESTER_PAUSE_S
    never: tuple[str, ...] = ()  # plain sentences for the owner


@dataclass(frozen=True, slots=True)
class Rules:
    """Which quantities say what the car does, the most trusted first."""

    charging: tuple[str, ...]
    driving: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    id: str
    name: str
    digest: str  # SHA-256 over the folder's files, hex
    experimental: bool
    licence: str
    native_current_positive: str  # "charge" or "discharge", as the car sends it
    buses: tuple[Bus, ...]
    detect: tuple[int, ...]  # keys of frames that together are typical of the family
    variants: tuple[Variant, ...]
    choices: tuple[Choice, ...]  # the first complete one holds
    packs: tuple[PackFacts, ...]
    polls: tuple[Poll, ...]
    evidence: tuple[Evidence, ...]
    vehicles: Mapping[str, tuple[str, ...]]  # name, lower case -> variants; behaviour decides among several
    rules: Rules
    care: Care

    @property
    def questions(self) -> tuple[Poll, ...]:
        """The polls that may be asked; the others are answers of further ECUs to one of these."""
        return tuple(p for p in self.polls if p.asked_by is None)

    def variant(self, variant_id: str) -> Variant:
        return next(v for v in self.variants if v.id == variant_id)

    def pack(self, pack_id: str) -> PackFacts:
        return next(p for p in self.packs if p.id == pack_id)


def message_key(can_id: int, extended: bool) -> int:
    return can_id | (EXTENDED_BIT if extended else 0)


def group_key(can_id: int) -> int:
    """The key of a 29-bit id's J1939 parameter group, whoever sends it."""
    return can_id & GROUP_MASK | EXTENDED_BIT | GROUP_BIT


def id_text(can_id: int, extended: bool) -> str:
    return f"{can_id:08X}" if extended else f"{can_id:03X}"


def write_reason(request: bytes) -> str | None:
    """Why this request must never be sent, or None if it only reads."""
    if not request:
        return "an empty request"
    service = request[0]
    if service not in READ_SERVICES:
        return f"service {service:02X} is not one of those that only read (01 09 19-02 21 22 3E)"
    lengths = {0x01: (2,), 0x09: (2,), 0x19: (3,), 0x21: (2,), 0x22: (3,), 0x3E: (2,)}[service]
    if len(request) not in lengths:
        return f"service {service:02X} reads with {lengths[0]} bytes, not {len(request)}"
    if service == 0x19 and request[1] != 0x02:
        return f"of service 19 only 02 (codes by status mask) is allowed, not {request[1]:02X}"
    if service == 0x3E and request[1] != 0x00:
        return "of service 3E only 00 is allowed"
    return None


def answer_head(request: bytes) -> bytes:
    """The bytes with which a positive answer to this request begins: the service + 0x40 and the identifier."""
    echoed = 2 if request[0] == 0x22 else 1
    return bytes([request[0] + POSITIVE_ANSWER]) + request[1 : 1 + echoed]


def sent_by_all(variants: tuple[Variant, ...]) -> frozenset[int]:
    """Keys of the messages that every variant has."""
    return frozenset.intersection(*(frozenset(m.key for m in v.messages) for v in variants))


def agreed_messages(variants: tuple[Variant, ...]) -> tuple[Message, ...]:
    """What holds whichever variant it is: each message cut to the signals that all variants sending it agree on."""
    by_key: dict[int, list[Message]] = {}
    for variant in variants:
        for message in variant.messages:
            by_key.setdefault(message.key, []).append(message)
    return tuple(_agreed(messages) for messages in by_key.values())


def _agreed(messages: list[Message]) -> Message:
    first = messages[0]
    if all(message == first for message in messages[1:]):
        return first
    shared = [s for s in (_agreed_signal(s, messages[1:]) for s in first.signals) if s is not None]
    names = {s.name for s in shared}
    signals = tuple(s for s in shared if all(arm.selector in names for arm in s.arms))
    known: dict[str, set[int]] = {}
    for message in messages:
        for selector, values in message.mux_known:
            known.setdefault(selector, set()).update(values)
    return Message(
        first.can_id,
        first.extended,
        first.name,
        first.bus,
        tuple(sorted({n for m in messages for n in m.lengths})),
        signals,
        first.cycle_ms,
        first.checksum if all(m.checksum == first.checksum for m in messages) else None,
        first.counter if first.counter in names else None,
        first.void_when if all(m.void_when == first.void_when for m in messages) else None,
        tuple((s, tuple(sorted(v))) for s, v in sorted(known.items()) if s in names),
        first.any_sender,
    )


def _agreed_signal(signal: SignalLayout, messages: list[Message]) -> SignalLayout | None:
    """The signal with the uses that all these messages give it, or None if one has it otherwise or not at all."""
    uses = signal.uses
    for message in messages:
        other = next((s for s in message.signals if s.name == signal.name), None)
        if other is None or replace(other, uses=()) != replace(signal, uses=()):
            return None
        uses = tuple(use for use in uses if use in other.uses)
    return replace(signal, uses=uses)
