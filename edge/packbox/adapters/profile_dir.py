"""Read a profile folder: `profile.toml` and the DBC files it names become one frozen `Profile`.

In:  a folder of `can_profiles` (docs/profiles.md describes it key by key).
Out: `core.profile.Profile`, complete and checked: ids, names, bit places and references all fit together.
Refuses with `ProfileError`, naming file, key and reason: unknown keys, wrong types, signals that no DBC file has, and any
request that is not read-only.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Never

import cantools
from cantools.database.can import Message as DbcMessage
from cantools.database.can import Signal as DbcSignal
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from packbox.core import profile as core
from packbox.core.answers import DIGESTS, KINDS, NUMBER_BYTES
from packbox.core.layout import MAX_SIGNAL_BITS, last_byte, place
from packbox.core.packs import Chemistry, PackFacts
from packbox.core.quantities import QUANTITIES
from packbox.ports import ProfileError

PROFILE_FILE: Final = "profile.toml"
VECTORS_FILE: Final = "vectors.json"
README_FILE: Final = "README.md"

# A broadcast comes many times a second; ten seconds without one mean that it is gone, not late.
BROADCAST_HOLD_MS: Final = 10_000
BROADCAST_PREFER: Final = 10
POLLED_PREFER: Final = 20
ONCE_HOLD_S: Final = 86_400.0
POLL_HOLD_ROUNDS: Final = 2.5  # a poll is gone after it was missed twice

# In fields narrower than this, all ones is an ordinary value (facts/vehicles.md 2, missing values, rule 1).
ALL_ONES_ABOVE_BITS: Final = 6


# -- the file as written ------------------------------------------------------------------------------------------------


def _checked_id(text: str) -> str:
    if not re.fullmatch(r"[0-7][0-9A-F]{2}|[01][0-9A-F]{7}", text):
        raise ValueError("three hex digits (11-bit) or eight (29-bit), upper case")
    return text


def _checked_hex(text: str) -> str:
    if not re.fullmatch(r"([0-9A-F]{2}( |$))+", text):
        raise ValueError("bytes in upper case hex, one space between them")
    return text


def _checked_quantity(name: str) -> str:
    if name not in QUANTITIES:
        raise ValueError(f"no quantity of this name; near: {_nearest(name, QUANTITIES)}")
    return name


def _nearest(name: str, names: Iterable[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, list(names), 3, 0.4)) or "none"


def _map_key(text: str) -> float:
    """A value on the left of a map: TOML keys are text."""
    try:
        return float(int(text, 16)) if text.startswith("0x") else float(text)
    except ValueError:
        raise ValueError(f"map: {text!r} is no number") from None


CanId = Annotated[str, AfterValidator(_checked_id)]
HexBytes = Annotated[str, AfterValidator(_checked_hex)]
QuantityName = Annotated[str, AfterValidator(_checked_quantity)]
Kind = Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")]
NumberKind = Annotated[str, Field(pattern=f"^({'|'.join(NUMBER_BYTES)})$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Use(_Table):
    quantity: QuantityName
    factor: float = 1.0
    offset: float = 0.0
    map: dict[str, float] = {}  # value of the signal -> value of the quantity
    steps: list[tuple[float, float, float]] = []  # (from, to, value of the quantity)
    prefer: int | None = None
    needs: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> _Use:
        if (self.map or self.steps) and (self.factor != 1.0 or self.offset != 0.0):
            raise ValueError("map or steps and factor or offset exclude each other")
        for key in self.map:
            _map_key(key)
        return self


class _Graded(_Table):
    grade: core.Grade | None = None
    source: str | None = None


class _Used(_Graded):
    quantity: QuantityName | None = None  # short for one use without further conditions
    uses: list[_Use] = []

    @model_validator(mode="after")
    def _one_form(self) -> _Used:
        if self.quantity is not None and self.uses:
            raise ValueError("quantity and uses exclude each other")
        return self

    def all_uses(self) -> list[_Use]:
        return [_Use(quantity=self.quantity)] if self.quantity is not None else self.uses


class _Signal(_Used):
    void: list[int] = []
    all_ones_valid: bool = False
    like: str | None = None  # the same bits as this signal of the frame, read with another scale
    scale: float | None = None
    offset: float | None = None
    unit: str | None = None

    @model_validator(mode="after")
    def _complete_restatement(self) -> _Signal:
        given = [value is not None for value in (self.like, self.scale, self.offset, self.unit)]
        if any(given) and not all(given):
            raise ValueError("like, scale, offset and unit belong together")
        return self


class _RawValue(_Table):
    signal: str
    raw: int


class _Message(_Table):
    bus: str
    grade: core.Grade
    source: str
    lengths: list[Annotated[int, Field(ge=1, le=8)]] = []
    checksum: core.Checksum | None = None
    counter: str | None = None
    void_when: _RawValue | None = None
    mux_ignored: dict[str, list[int]] = {}
    signals: dict[str, _Signal] = {}


class _AnswerField(_Used):
    name: str
    unit: str = ""
    kind: Kind
    at: Annotated[int, Field(ge=0)]
    factor: float = 1.0
    offset: float = 0.0
    length: int | None = None
    void: list[int] = []


class _Digest(_Used):
    what: Annotated[str, Field(pattern=f"^({'|'.join(DIGESTS)})$")]
    name: str
    unit: str = ""


class _Guard(_Table):
    at: Annotated[int, Field(ge=0)]
    kind: NumberKind
    raw: int


class _AnswerRows(_Graded):
    name: Annotated[str, Field(pattern=r"^[^{}]*\{n\}[^{}]*$")]
    unit: str = ""
    kind: NumberKind
    at: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=1)]
    count: Annotated[int, Field(ge=1, le=512)]
    factor: float = 1.0
    offset: float = 0.0
    void: list[int] = []
    void_from: int | None = None
    guard: _Guard | None = None
    digests: list[_Digest] = []


class _Layout(_Table):
    lengths: list[int] = []
    fields: list[_AnswerField] = []
    rows: list[_AnswerRows] = []


class _Poll(_Table):
    id: str
    tx: CanId
    rx: CanId
    request: HexBytes
    grade: core.Grade
    source: str
    layouts: Annotated[list[_Layout], Field(min_length=1)]
    ignored_lengths: list[int] = []
    every_s: dict[core.CarState, Annotated[float, Field(gt=0)]] = {}
    once: bool = False
    alone: bool = False

    @model_validator(mode="after")
    def _reads_only(self) -> _Poll:
        reason = core.write_reason(bytes.fromhex(self.request))
        if reason is not None:
            raise ValueError(f"request {self.request}: {reason}")
        if len(self.tx) != len(self.rx):
            raise ValueError("tx and rx must both be 11-bit or both 29-bit ids")
        if self.once and self.every_s:
            raise ValueError("once and every_s exclude each other")
        return self


class _ValueRange(_Table):
    message: CanId
    signal: str
    low: float
    high: float
    over: str | None = None


class _AnswerShape(_Table):
    poll: str
    lengths: Annotated[list[int], Field(min_length=1)]
    field: str | None = None
    low: float = 0.0
    high: float = 0.0


class _Evidence(_Table):
    name: str
    at_least: Annotated[int, Field(ge=1)] = 1
    seen: list[CanId] = []
    value: _ValueRange | None = None
    answer: _AnswerShape | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> _Evidence:
        if sum((bool(self.seen), self.value is not None, self.answer is not None)) != 1:
            raise ValueError("exactly one of seen, value, answer")
        return self


class _Variant(_Table):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    name: str
    pack: str
    dbc: Annotated[list[str], Field(min_length=1)]


class _Choice(_Table):
    variant: str
    when: Annotated[list[str], Field(min_length=1)]


class _Pack(_Table):
    id: str
    chemistry: Chemistry
    cells_in_series: Annotated[int, Field(ge=1)] | None = None
    reference_ah: Annotated[float, Field(gt=0)] | None = None
    reference_source: str | None = None
    rated_ah: Annotated[float, Field(gt=0)] | None = None
    nominal_kwh: Annotated[float, Field(gt=0)] | None = None
    ocv: list[tuple[float, float]] = []
    ocv_source: str | None = None

    @model_validator(mode="after")
    def _sourced(self) -> _Pack:
        if (self.reference_ah is None) != (self.reference_source is None):
            raise ValueError("reference_ah and reference_source belong together")
        if bool(self.ocv) != (self.ocv_source is not None):
            raise ValueError("ocv and ocv_source belong together")
        if any(
            later[0] <= earlier[0] or later[1] <= earlier[1]
            for earlier, later in zip(self.ocv, self.ocv[1:], strict=False)
        ):
            raise ValueError("ocv must rise in both columns")
        return self


class _Bus(_Table):
    bitrate: Annotated[int, Field(ge=10_000, le=1_000_000)]
    where: str


class _Rules(_Table):
    charging: list[QuantityName]
    driving: list[QuantityName]


class _Care(_Table):
    """Only stricter than the box's own rules: `core.profile.Care` holds the floor."""

    bus_alive_s: Annotated[float, Field(gt=0, le=core.BUS_ALIVE_S)] = core.BUS_ALIVE_S
    stop_after_silence_s: Annotated[float, Field(gt=0, le=core.STOP_AFTER_SILENCE_S)] = core.STOP_AFTER_SILENCE_S
    aux_voltage_min_v: Annotated[float, Field(ge=core.AUX_VOLTAGE_MIN_V)] = core.AUX_VOLTAGE_MIN_V
    other_tester_pause_s: Annotated[float, Field(ge=core.OTHER_TESTER_PAUSE_S)] = core.OTHER_TESTER_PAUSE_S
    never: list[str] = []


class _File(_Table):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    name: str
    experimental: bool = False
    licence: str
    native_current_positive: Literal["charge", "discharge"]
    all_ones_are_void: bool = True
    sources: dict[str, str]
    buses: dict[str, _Bus]
    detect: Annotated[list[CanId], Field(min_length=1)]
    packs: Annotated[list[_Pack], Field(min_length=1)]
    evidence: list[_Evidence] = []
    variants: Annotated[list[_Variant], Field(min_length=1)]
    choose: list[_Choice] = []
    messages: dict[CanId, _Message] = {}
    polls: list[_Poll] = []
    vehicles: dict[str, str]
    rules: _Rules
    care: _Care = _Care()


# -- from the file to the core -------------------------------------------------------------------------------------------


class _Builder:
    """Puts one profile together and knows which file and key to name when something does not fit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / PROFILE_FILE
        self._text = _read_bytes(self._path)
        self._file = self._parse()
        self._dbc: dict[str, dict[str, DbcMessage]] = {}
        self._evidence = {e.name for e in self._file.evidence}

    def build(self) -> core.Profile:
        file = self._file
        if file.id != self._folder.name:
            self._fail("id", f"{file.id!r}, but the folder is {self._folder.name!r}")
        for name in dict.fromkeys(n for v in file.variants for n in v.dbc):
            self._dbc[name] = self._read_dbc(name)
        self._refuse_strays()
        for kind, names in (
            ("packs", [p.id for p in file.packs]),
            ("variants", [v.id for v in file.variants]),
            ("polls", [p.id for p in file.polls]),
            ("evidence", [e.name for e in file.evidence]),
        ):
            if twice := sorted({n for n in names if names.count(n) > 1}):
                self._fail(kind, f"{twice[0]!r} stands there twice")
        profile = core.Profile(
            id=file.id,
            name=file.name,
            digest=self._digest(),
            experimental=file.experimental,
            licence=file.licence,
            native_current_positive=file.native_current_positive,
            buses=tuple(core.Bus(n, b.bitrate, b.where) for n, b in file.buses.items()),
            detect=tuple(_key(i) for i in file.detect),
            variants=tuple(self._variant(v) for v in file.variants),
            choices=tuple(self._choice(k, c) for k, c in enumerate(file.choose)),
            packs=tuple(_pack(p) for p in file.packs),
            polls=tuple(self._poll(k, p) for k, p in enumerate(file.polls)),
            evidence=tuple(self._evidence_of(k, e) for k, e in enumerate(file.evidence)),
            vehicles={n.lower(): self._vehicle(n, v) for n, v in file.vehicles.items()},
            rules=core.Rules(tuple(file.rules.charging), tuple(file.rules.driving)),
            care=core.Care(**{**file.care.model_dump(), "never": tuple(file.care.never)}),
        )
        self._check_evidence(profile)
        return profile

    def _fail(self, key: str, reason: str) -> Never:
        raise ProfileError(f"{self._path}: {key}: {reason}")

    def _parse(self) -> _File:
        try:
            return _File.model_validate(tomllib.loads(self._text.decode("utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
            raise ProfileError(f"{self._path}: not TOML: {cause}") from cause
        except ValidationError as cause:
            first, *others = cause.errors()
            key = ".".join(str(part) for part in first["loc"])
            reason = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
            more = f" (and {len(others)} more)" if others else ""
            raise ProfileError(f"{self._path}: {key}: {reason}{more}") from cause

    def _digest(self) -> str:
        digest = hashlib.sha256(self._text)
        for name in sorted(self._dbc):
            digest.update(name.encode() + b"\0" + _read_bytes(self._folder / name))
        return digest.hexdigest()

    def _read_dbc(self, name: str) -> dict[str, DbcMessage]:
        """Messages of a DBC file by id as text."""
        path = self._folder / name
        _read_bytes(path)
        try:
            database = cantools.database.load_file(path, database_format="dbc", strict=True)
        except (cantools.Error, ValueError, UnicodeDecodeError) as cause:
            raise ProfileError(f"{path}: not a DBC file that can be used: {cause}") from cause
        return {core.id_text(m.frame_id, m.is_extended_frame): m for m in database.messages}

    def _refuse_strays(self) -> None:
        """Every message and signal of the TOML file is in a DBC file, and the other way round."""
        for name, messages in self._dbc.items():
            for can_id in messages:
                if can_id not in self._file.messages:
                    self._fail(f"messages.{can_id}", f"missing, but {name} has this message")
        for can_id, message in self._file.messages.items():
            found = [messages[can_id] for messages in self._dbc.values() if can_id in messages]
            if not found:
                self._fail(f"messages.{can_id}", "no DBC file has this message")
            names = {s.name for m in found for s in m.signals}
            wanted = {n for n, s in message.signals.items() if s.like is None}
            wanted |= {s.like for s in message.signals.values() if s.like is not None}
            wanted |= {message.counter} if message.counter else set()
            wanted |= {message.void_when.signal} if message.void_when else set()
            wanted |= set(message.mux_ignored)
            for name in sorted(wanted - names):
                self._fail(
                    f"messages.{can_id}.signals.{name}", f"no DBC file has this signal; near: {_nearest(name, names)}"
                )
            if message.bus not in self._file.buses:
                self._fail(f"messages.{can_id}.bus", f"{message.bus!r} is not one of {sorted(self._file.buses)}")
            self._source(f"messages.{can_id}.source", message.source)

    def _source(self, key: str, source: str) -> str:
        """Source texts of the keys named, separated by blanks."""
        unknown = [word for word in source.split() if word not in self._file.sources]
        if unknown:
            self._fail(key, f"{unknown[0]!r} is not in [sources]")
        return source

    def _variant(self, written: _Variant) -> core.Variant:
        where = f"variants.{written.id}"
        if written.pack not in {p.id for p in self._file.packs}:
            self._fail(f"{where}.pack", f"{written.pack!r} is not in [[packs]]")
        messages: dict[str, core.Message] = {}
        for name in written.dbc:
            for can_id, dbc in self._dbc[name].items():
                if can_id in messages:
                    self._fail(f"{where}.dbc", f"{can_id} is in two of the variant's files, {name} is the second")
                messages[can_id] = self._message(can_id, dbc, name)
        return core.Variant(written.id, written.name, written.pack, tuple(messages.values()))

    def _choice(self, number: int, written: _Choice) -> core.Choice:
        where = f"choose.{number}"
        self._known_variant(f"{where}.variant", written.variant)
        for name in written.when:
            self._known_evidence(f"{where}.when", name)
        return core.Choice(written.variant, tuple(written.when))

    def _known_variant(self, where: str, name: str) -> None:
        known = [v.id for v in self._file.variants]
        if name not in known:
            self._fail(where, f"{name!r} is not in [[variants]]; near: {_nearest(name, known)}")

    def _known_evidence(self, where: str, name: str) -> None:
        if name not in self._evidence:
            self._fail(where, f"{name!r} is not in [[evidence]]; near: {_nearest(name, self._evidence)}")

    def _message(self, can_id: str, dbc: DbcMessage, file_name: str) -> core.Message:
        written = self._file.messages[can_id]
        where = f"messages.{can_id}"
        lengths = tuple(sorted(set(written.lengths) or {dbc.length}))
        selectors: dict[str, set[int]] = {n: set(v) for n, v in written.mux_ignored.items()}
        arms = {s.name: _arms(s, dbc) for s in dbc.signals}
        for chain in arms.values():
            for arm in chain:
                selectors.setdefault(arm.selector, set()).update(arm.values)
        control = selectors.keys() | {written.counter}
        signals = [self._signal(can_id, written, s, arms[s.name], s.name in control) for s in dbc.signals]
        by_name = {s.name: s for s in signals}
        for name, restated in written.signals.items():
            if restated.like in by_name:
                assert restated.scale is not None
                assert restated.offset is not None
                assert restated.unit is not None
                uses = self._uses(
                    f"{where}.signals.{name}",
                    f"{can_id}.{name}",
                    restated.all_uses(),
                    BROADCAST_PREFER,
                    BROADCAST_HOLD_MS,
                )
                signals.append(
                    replace(
                        by_name[restated.like],
                        name=name,
                        scale=restated.scale,
                        offset=restated.offset,
                        unit=restated.unit,
                        uses=uses,
                    )
                )
        for signal in signals:
            if place(signal.start, signal.bits, signal.motorola) < 0 or last_byte(signal) >= lengths[0]:
                self._fail(f"{where}.signals.{signal.name}", f"does not fit into {lengths[0]} bytes ({file_name})")
            if signal.bits > MAX_SIGNAL_BITS:
                self._fail(
                    f"{where}.signals.{signal.name}",
                    f"{signal.bits} bits are more than {MAX_SIGNAL_BITS} ({file_name})",
                )
        if written.checksum is not None and lengths != (8,):
            self._fail(f"{where}.checksum", "checked frames have eight bytes")
        void_when = written.void_when
        return core.Message(
            can_id=dbc.frame_id,
            extended=dbc.is_extended_frame,
            name=dbc.name,
            bus=written.bus,
            lengths=lengths,
            signals=tuple(signals),
            cycle_ms=dbc.cycle_time or None,
            checksum=written.checksum,
            counter=written.counter if written.counter in by_name else None,
            void_when=(void_when.signal, void_when.raw) if void_when and void_when.signal in by_name else None,
            mux_known=tuple((n, tuple(sorted(v))) for n, v in sorted(selectors.items()) if n in by_name),
        )

    def _signal(
        self, can_id: str, message: _Message, dbc: DbcSignal, arms: tuple[core.MuxArm, ...], control: bool
    ) -> core.SignalLayout:
        written = message.signals.get(dbc.name, _Signal())
        where = f"messages.{can_id}.signals.{dbc.name}"
        if dbc.is_float:
            self._fail(where, "float signals are not supported")
        void = set(written.void)
        if (
            self._file.all_ones_are_void
            and not written.all_ones_valid
            and not control
            and dbc.length > ALL_ONES_ABOVE_BITS
        ):
            void.add((1 << (dbc.length - 1 if dbc.is_signed else dbc.length)) - 1)
        return core.SignalLayout(
            name=dbc.name,
            unit=dbc.unit or "",
            start=dbc.start,
            bits=dbc.length,
            motorola=dbc.byte_order == "big_endian",
            signed=dbc.is_signed,
            scale=float(dbc.scale),
            offset=float(dbc.offset),
            arms=arms,
            void=tuple(sorted(void)),
            uses=self._uses(where, f"{can_id}.{dbc.name}", written.all_uses(), BROADCAST_PREFER, BROADCAST_HOLD_MS),
            grade=written.grade or message.grade,
            source=self._source(f"{where}.source", written.source or message.source),
        )

    def _uses(
        self, where: str, source: str, written: Sequence[_Use], prefer: int, hold_ms: int
    ) -> tuple[core.QuantityUse, ...]:
        uses = []
        for number, use in enumerate(written):
            if use.needs is not None:
                self._known_evidence(f"{where}.needs", use.needs)
            steps = [(_map_key(v), _map_key(v), out) for v, out in use.map.items()] + use.steps
            # One signal may feed several quantities, or one quantity on several conditions: number the later ones.
            name = source if number == 0 else f"{source}/{number + 1}"
            best = prefer if use.prefer is None else use.prefer
            uses.append(
                core.QuantityUse(use.quantity, name, best, hold_ms, use.factor, use.offset, tuple(steps), use.needs)
            )
        return tuple(uses)

    def _poll(self, number: int, written: _Poll) -> core.Poll:
        where = f"polls.{number}"
        self._source(f"{where}.source", written.source)
        longest_s = ONCE_HOLD_S if written.once or not written.every_s else max(written.every_s.values())
        hold_ms = int(POLL_HOLD_ROUNDS * longest_s * 1000)
        return core.Poll(
            id=written.id,
            tx=int(written.tx, 16),
            rx=int(written.rx, 16),
            extended=len(written.tx) > 3,
            request=bytes.fromhex(written.request),
            layouts=tuple(
                self._layout(f"{where}.layouts.{k}", written, a, hold_ms) for k, a in enumerate(written.layouts)
            ),
            ignored_lengths=tuple(written.ignored_lengths),
            every_s=written.every_s,
            once=written.once,
            alone=written.alone,
        )

    def _layout(self, where: str, poll: _Poll, written: _Layout, hold_ms: int) -> core.AnswerLayout:
        def uses(key: str, used: _Used, name: str) -> tuple[core.QuantityUse, ...]:
            return self._uses(f"{where}.{key}", f"{poll.id}.{name}", used.all_uses(), POLLED_PREFER, hold_ms)

        fields = [
            core.AnswerField(
                name=f.name,
                unit=f.unit,
                kind=f.kind,
                at=f.at,
                factor=f.factor,
                offset=f.offset,
                length=f.length,
                void=tuple(f.void),
                uses=uses(f"fields.{k}", f, f.name),
                grade=f.grade or poll.grade,
                source=self._source(f"{where}.fields.{k}.source", f.source or poll.source),
            )
            for k, f in enumerate(written.fields)
        ]
        rows = [
            core.AnswerRows(
                name=r.name,
                unit=r.unit,
                kind=r.kind,
                at=r.at,
                step=r.step,
                count=r.count,
                factor=r.factor,
                offset=r.offset,
                void=tuple(r.void),
                void_from=r.void_from,
                guard=None if r.guard is None else (r.guard.at, r.guard.kind, r.guard.raw),
                digests=tuple(
                    core.RowDigest(d.what, d.name, d.unit, uses(f"rows.{k}.digests.{j}", d, d.name))
                    for j, d in enumerate(r.digests)
                ),
                grade=r.grade or poll.grade,
                source=self._source(f"{where}.rows.{k}.source", r.source or poll.source),
            )
            for k, r in enumerate(written.rows)
        ]
        return core.AnswerLayout(tuple(written.lengths), tuple(fields), tuple(rows))

    def _evidence_of(self, number: int, written: _Evidence) -> core.Evidence:
        where = f"evidence.{number}"
        value = written.value
        answer = written.answer
        if answer is not None and answer.poll not in {p.id for p in self._file.polls}:
            self._fail(f"{where}.answer.poll", f"{answer.poll!r} is not in [[polls]]")
        for can_id in [*written.seen, *([value.message] if value else [])]:
            if can_id not in self._file.messages:
                self._fail(where, f"message {can_id} is not in [messages]")
        return core.Evidence(
            name=written.name,
            at_least=written.at_least,
            seen=tuple(_key(i) for i in written.seen),
            value=value and core.ValueRange(_key(value.message), value.signal, value.low, value.high, value.over),
            answer=answer
            and core.AnswerShape(answer.poll, tuple(answer.lengths), answer.field, answer.low, answer.high),
        )

    def _check_evidence(self, profile: core.Profile) -> None:
        """Evidence is weighed before the variant is known, so its signals must mean the same in all of them."""
        shared = {m.key: {s.name for s in m.signals} for m in core.common_messages(profile.variants)}
        for number, evidence in enumerate(profile.evidence):
            if evidence.value is not None:
                for name in (evidence.value.signal, evidence.value.over):
                    if name is not None and name not in shared[evidence.value.key]:
                        self._fail(f"evidence.{number}.value", f"signal {name!r} is not the same in all variants")

    def _vehicle(self, name: str, variant: str) -> str | None:
        """An empty variant means that behaviour decides."""
        if variant:
            self._known_variant(f"vehicles.{name}", variant)
        return variant or None


def _arms(signal: DbcSignal, message: DbcMessage) -> tuple[core.MuxArm, ...]:
    """All selectors above a multiplexed signal, the nearest first."""
    arms = []
    current = signal
    while current.multiplexer_signal is not None and current.multiplexer_ids:
        arms.append(core.MuxArm(current.multiplexer_signal, tuple(sorted(current.multiplexer_ids))))
        current = message.get_signal_by_name(current.multiplexer_signal)
    return tuple(arms)


def _key(text: str) -> int:
    return core.message_key(int(text, 16), extended=len(text) > 3)


def _pack(written: _Pack) -> PackFacts:
    return PackFacts(**{**written.model_dump(), "ocv": tuple(written.ocv)})


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ProfileError(f"{path}: cannot be read: {cause.strerror}") from cause


# -- where profiles are ---------------------------------------------------------------------------------------------------


def profiles_folder(setting: Path | None = None) -> Path:
    """The setting, then the checkout, then what was installed under share/."""
    if setting is not None:
        if not setting.is_dir():
            raise ProfileError(f"{setting}: no such folder of profiles")
        return setting
    checkout = Path(__file__).resolve().parents[3] / "can_profiles"
    installed = Path(sys.prefix) / "share/packbox/can_profiles"
    for folder in (checkout, installed):
        if folder.is_dir():
            return folder
    raise ProfileError(f"no profiles found: neither {checkout} nor {installed} is there")


def profile_ids(folder: Path | None = None) -> tuple[str, ...]:
    found = profiles_folder(folder)
    return tuple(sorted(path.parent.name for path in found.glob(f"*/{PROFILE_FILE}")))


def load_profile(profile_id: str, folder: Path | None = None) -> core.Profile:
    known = profile_ids(folder)
    if profile_id not in known:
        raise ProfileError(f"no profile {profile_id!r}; known: {', '.join(known) or 'none'}")
    return _Builder(profiles_folder(folder) / profile_id).build()


class Catalogue:
    """All profiles of a folder by id, `id:variant` and vehicle name. Each is read when it is first asked for."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = profiles_folder(folder)
        self._loaded: dict[str, core.Profile] = {}

    @property
    def ids(self) -> tuple[str, ...]:
        return profile_ids(self._folder)

    def profile(self, profile_id: str) -> core.Profile:
        if profile_id not in self._loaded:
            self._loaded[profile_id] = load_profile(profile_id, self._folder)
        return self._loaded[profile_id]

    def find(self, name: str) -> tuple[core.Profile, str | None]:
        """`family`, `family:variant` or the name of a vehicle, in any case."""
        family, colon, variant = name.partition(":")
        if family in self.ids:
            profile = self.profile(family)
            if colon and variant not in {v.id for v in profile.variants}:
                known = ", ".join(v.id for v in profile.variants)
                raise ProfileError(f"profile {family} has no variant {variant!r}; known: {known}")
            return profile, variant or None
        return self._find_vehicle(name)

    def _find_vehicle(self, name: str) -> tuple[core.Profile, str | None]:
        """The exact name, else the longest known name that it begins with: lists add remarks behind the name."""
        wanted = name.strip().lower()
        best = ""
        found: tuple[core.Profile, str | None] | None = None
        broken: ProfileError | None = None
        for profile_id in self.ids:
            try:
                profile = self.profile(profile_id)
            except ProfileError as cause:  # somebody's unfinished profile must not stop the others
                broken = cause
                continue
            for vehicle, variant in profile.vehicles.items():
                if len(vehicle) > len(best) and _begins_with(wanted, vehicle):
                    best, found = vehicle, (profile, variant)
        if found is None and broken is not None:
            raise broken
        if found is None:
            raise ProfileError(f"no profile or vehicle {name!r}; profiles: {', '.join(self.ids)}")
        return found


def _begins_with(text: str, word: str) -> bool:
    return text == word or (text.startswith(word) and not text[len(word)].isalnum())


def load_vectors(profile_id: str, folder: Path | None = None) -> list[dict[str, Any]]:
    """The test vectors that ship with a profile; the form is that of `packbox decode` lines with `expected`."""
    path = profiles_folder(folder) / profile_id / VECTORS_FILE
    try:
        vectors = json.loads(_read_bytes(path))
    except ValueError as cause:
        raise ProfileError(f"{path}: not JSON: {cause}") from cause
    if not isinstance(vectors, list) or not all(isinstance(v, dict) for v in vectors):
        raise ProfileError(f"{path}: must be a list of objects")
    return vectors
