"""Put one `Profile` together from a folder's `profile.toml` and the DBC files that it names.

In:  a profile folder.
Out: `core.profile.Profile`, complete: every id, name, bit place and reference fits.
Refuses with `ProfileError`, naming file, key and reason.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Never

import cantools
from cantools.database.can import Database
from cantools.database.can import Message as DbcMessage
from cantools.database.can import Signal as DbcSignal
from pydantic import ValidationError

from packbox.adapters.profile_dir import PROFILE_FILE
from packbox.adapters.profile_file import (
    CellPlacesTable,
    ChoiceTable,
    EvidenceTable,
    LayoutTable,
    MessageTable,
    PackTable,
    PollTable,
    ProfileTable,
    RawMatchTable,
    SignalTable,
    UsedTable,
    UseTable,
    VariantTable,
    map_key,
    nearest,
)
from packbox.core import profile as core
from packbox.core.layout import MAX_SIGNAL_BITS, last_byte, place
from packbox.core.packs import PackFacts
from packbox.ports import ProfileError

BROADCAST_PREFER: Final = 10
POLLED_PREFER: Final = 20
# A broadcast comes many times a second; ten seconds without one mean that it is gone, not late.
BROADCAST_HOLD_MS: Final = 10_000
POLL_HOLD_ROUNDS: Final = 2.5  # a poll is gone after it was missed twice
ONCE_HOLD_S: Final = 86_400.0

# In fields no wider than this, all ones is an ordinary value (facts/vehicles.md 2, missing values, rule 1).
ALL_ONES_ABOVE_BITS: Final = 6
CHECKED_LENGTHS: Final = (8,)


class ProfileBuilder:
    """Puts one profile together and knows which file and key to name when something does not fit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / PROFILE_FILE
        self._text = read_bytes(self._path)
        self._file = self._parse()
        self._dbc_bytes: dict[str, bytes] = {}
        self._dbc: dict[str, dict[str, DbcMessage]] = {}
        self._evidence = {e.name for e in self._file.evidence}
        # Each with its number in the file: one that repeats becomes many.
        self._asked = [(k, one) for k, poll in enumerate(self._file.polls) for one in poll.one_by_one()]

    def build(self) -> core.Profile:
        file = self._file
        if file.id != self._folder.name:
            self._fail("id", f"{file.id!r}, but the folder is {self._folder.name!r}")
        for name in dict.fromkeys(n for v in file.variants for n in v.dbc):
            self._dbc[name] = self._read_dbc(name)
        self._refuse_strays()
        self._refuse_doubles()
        profile = core.Profile(
            id=file.id,
            name=file.name,
            digest=self._digest(),
            experimental=file.experimental,
            licence=file.licence,
            native_current_positive=file.native_current_positive,
            buses=tuple(core.Bus(n, b.bitrate, b.where) for n, b in file.buses.items()),
            detect=tuple(self._key(i) for i in file.detect),
            variants=tuple(self._variant(v) for v in file.variants),
            choices=tuple(self._choice(k, c) for k, c in enumerate(file.choose)),
            packs=tuple(_pack(p) for p in file.packs),
            polls=tuple(poll for k, p in self._asked for poll in self._polls(k, p)),
            evidence=tuple(self._evidence_of(k, e) for k, e in enumerate(file.evidence)),
            vehicles={n.lower(): self._vehicle(n, v) for n, v in file.vehicles.items()},
            rules=core.Rules(tuple(file.rules.charging), tuple(file.rules.driving)),
            care=core.Care(**{**file.care.model_dump(), "never": tuple(file.care.never)}),
        )
        self._check_evidence(profile)
        return profile

    def _fail(self, key: str, reason: str) -> Never:
        raise ProfileError(f"{self._path}: {key}: {reason}")

    def _parse(self) -> ProfileTable:
        try:
            return ProfileTable.model_validate(tomllib.loads(self._text.decode("utf-8")))
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
        for name, content in sorted(self._dbc_bytes.items()):
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()

    def _read_dbc(self, name: str) -> dict[str, DbcMessage]:
        """Messages of a DBC file by id as text."""
        path = self._folder / name
        self._dbc_bytes[name] = read_bytes(path)
        try:
            database = cantools.database.load_string(self._dbc_bytes[name].decode("utf-8"), "dbc", strict=True)
        except (cantools.Error, ValueError) as cause:
            raise ProfileError(f"{path}: not a DBC file that can be used: {cause}") from cause
        assert isinstance(database, Database)  # a DBC file describes CAN, not diagnostics
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
                    f"messages.{can_id}.signals.{name}", f"no DBC file has this signal; near: {nearest(name, names)}"
                )
            if message.bus not in self._file.buses:
                self._fail(f"messages.{can_id}.bus", f"{message.bus!r} is not one of {sorted(self._file.buses)}")
            if message.any_sender and not _is_group(can_id):
                self._fail(f"messages.{can_id}.any_sender", "only for 29-bit ids of J1939 groups from F000 on")
            for name, signal in message.signals.items():
                for variant in (v for use in signal.uses for v in use.variants):
                    self._known_variant(f"messages.{can_id}.signals.{name}.uses.variants", variant)
            self._source(f"messages.{can_id}.source", message.source)

    def _refuse_doubles(self) -> None:
        file = self._file
        for kind, names in (
            ("packs", [p.id for p in file.packs]),
            ("variants", [v.id for v in file.variants]),
            ("polls", [p.id for _, p in self._asked]),
            ("evidence", [e.name for e in file.evidence]),
        ):
            if twice := sorted({n for n in names if names.count(n) > 1}):
                self._fail(kind, f"{twice[0]!r} stands there twice")

    def _source(self, key: str, source: str) -> str:
        """Words separated by blanks, each of which [sources] explains."""
        unknown = [word for word in source.split() if word not in self._file.sources]
        if unknown:
            self._fail(key, f"{unknown[0]!r} is not in [sources]")
        return source

    def _variant(self, written: VariantTable) -> core.Variant:
        where = f"variants.{written.id}"
        if written.pack not in {p.id for p in self._file.packs}:
            self._fail(f"{where}.pack", f"{written.pack!r} is not in [[packs]]")
        messages: dict[str, core.Message] = {}
        for name in written.dbc:
            for can_id, dbc in self._dbc[name].items():
                if can_id in messages:
                    self._fail(f"{where}.dbc", f"{can_id} is in two of the variant's files, {name} is the second")
                messages[can_id] = self._message(written.id, can_id, dbc, name)
        return core.Variant(written.id, written.name, written.pack, tuple(messages.values()))

    def _choice(self, number: int, written: ChoiceTable) -> core.Choice:
        where = f"choose.{number}"
        self._known_variant(f"{where}.variant", written.variant)
        for name in written.when:
            self._known_evidence(f"{where}.when", name)
        return core.Choice(written.variant, tuple(written.when))

    def _known_variant(self, where: str, name: str) -> None:
        known = [v.id for v in self._file.variants]
        if name not in known:
            self._fail(where, f"{name!r} is not in [[variants]]; near: {nearest(name, known)}")

    def _known_evidence(self, where: str, name: str) -> None:
        if name not in self._evidence:
            self._fail(where, f"{name!r} is not in [[evidence]]; near: {nearest(name, self._evidence)}")

    def _message(self, variant: str, can_id: str, dbc: DbcMessage, file_name: str) -> core.Message:
        written = _of_variant(self._file.messages[can_id], variant)
        lengths = tuple(sorted(set(written.lengths) or {dbc.length}))
        arms = {s.name: _arms(s, dbc) for s in dbc.signals}
        selectors: dict[str, set[int]] = {n: set(v) for n, v in written.mux_ignored.items()}
        for arm in (arm for chain in arms.values() for arm in chain):
            selectors.setdefault(arm.selector, set()).update(arm.values)
        control = selectors.keys() | {written.counter}
        signals = [self._signal(can_id, written, s, arms[s.name], s.name in control) for s in dbc.signals]
        signals += self._restatements(can_id, written, signals)
        self._check_fit(can_id, signals, lengths, file_name)
        if written.checksum is not None and lengths != CHECKED_LENGTHS:
            self._fail(f"messages.{can_id}.checksum", "checked frames have eight bytes")
        # What the TOML file says of a message holds for all its DBC files; not every one has every signal.
        names = {s.name for s in signals}
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
            counter=written.counter if written.counter in names else None,
            void_when=(void_when.signal, void_when.raw) if void_when and void_when.signal in names else None,
            mux_known=tuple((n, tuple(sorted(v))) for n, v in sorted(selectors.items()) if n in names),
            any_sender=written.any_sender,
            cells=tuple(self._cell_places(f"messages.{can_id}.cells", place, names) for place in written.cells),
            file=file_name,
        )

    def _cell_places(self, where: str, written: CellPlacesTable, names: Collection[str]) -> core.CellPlaces:
        if written.selector not in names:
            self._fail(where, f"{written.selector!r} is no signal of this message")
        return core.CellPlaces(written.in_series, written.selector, tuple(written.first))

    def _restatements(
        self, can_id: str, message: MessageTable, signals: Sequence[core.SignalLayout]
    ) -> Iterator[core.SignalLayout]:
        """Further readings of bits that a DBC file already describes."""
        by_name = {s.name: s for s in signals}
        for name, written in message.signals.items():
            if written.like not in by_name:
                continue
            assert written.scale is not None  # the form has it that these come together
            assert written.offset is not None
            assert written.unit is not None
            where = f"messages.{can_id}.signals.{name}"
            yield replace(
                by_name[written.like],
                name=name,
                scale=written.scale,
                offset=written.offset,
                unit=written.unit,
                uses=self._broadcast_uses(where, f"{can_id}.{name}", written),
                grade=written.grade or message.grade,
                source=self._source(f"{where}.source", written.source or message.source),
            )

    def _check_fit(
        self, can_id: str, signals: Sequence[core.SignalLayout], lengths: tuple[int, ...], file_name: str
    ) -> None:
        for signal in signals:
            where = f"messages.{can_id}.signals.{signal.name}"
            if signal.bits > MAX_SIGNAL_BITS:
                self._fail(where, f"{signal.bits} bits are more than {MAX_SIGNAL_BITS} ({file_name})")
            if place(signal.start, signal.bits, signal.motorola) < 0 or last_byte(signal) >= lengths[0]:
                self._fail(where, f"does not fit into {lengths[0]} bytes ({file_name})")

    def _signal(
        self, can_id: str, message: MessageTable, dbc: DbcSignal, arms: tuple[core.MuxArm, ...], control: bool
    ) -> core.SignalLayout:
        written = message.signals.get(dbc.name, SignalTable())
        where = f"messages.{can_id}.signals.{dbc.name}"
        if dbc.is_float:
            self._fail(where, "float signals are not supported")
        void = set(written.void)
        ordinary = written.all_ones_valid or control or dbc.length <= ALL_ONES_ABOVE_BITS
        if self._file.all_ones_are_void and not ordinary:
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
            void_from=written.void_from,
            uses=self._broadcast_uses(where, f"{can_id}.{dbc.name}", written),
            grade=written.grade or message.grade,
            source=self._source(f"{where}.source", written.source or message.source),
        )

    def _broadcast_uses(self, where: str, source: str, written: UsedTable) -> tuple[core.QuantityUse, ...]:
        return self._uses(where, source, written.all_uses(), BROADCAST_PREFER, BROADCAST_HOLD_MS)

    def _uses(
        self, where: str, source: str, written: Sequence[UseTable], prefer: int, hold_ms: int
    ) -> tuple[core.QuantityUse, ...]:
        uses = []
        for number, use in enumerate(written):
            if use.needs is not None:
                self._known_evidence(f"{where}.needs", use.needs)
            steps = [(map_key(v), map_key(v), out) for v, out in use.map.items()] + use.steps
            # One signal may feed several quantities, or one quantity on several conditions: number the later ones.
            name = source if number == 0 else f"{source}/{number + 1}"
            best = prefer if use.prefer is None else use.prefer
            void = tuple(use.void)
            uses.append(
                core.QuantityUse(
                    use.quantity, name, best, hold_ms, use.factor, use.offset, tuple(steps), use.needs, void
                )
            )
        return tuple(uses)

    def _polls(self, number: int, written: PollTable) -> Iterator[core.Poll]:
        """One poll for each ECU that may answer, so that their values stay apart; one of each group asks."""
        where = f"polls.{number}"
        if written.tx is not None and written.rx is not None:
            yield self._poll(where, written, written.id, written.tx, written.rx)
            return
        poll_id = written.id
        for name in written.groups:
            if name not in self._file.groups:
                self._fail(f"{where}.groups", f"{name!r} is not in [groups]")
            group = self._file.groups[name]
            asking = self._poll(where, written, poll_id, group.tx, group.rx[0])
            yield replace(asking, also=tuple(int(rx, 16) for rx in group.rx[1:]))
            for rx in group.rx[1:]:
                heard = self._poll(where, written, f"{written.id}@{rx}", group.tx, rx)
                yield replace(heard, every_s={}, once=False, asked_by=asking.id)
            poll_id = f"{written.id}@{group.tx}"

    def _poll(self, where: str, written: PollTable, poll_id: str, tx: str, rx: str) -> core.Poll:
        self._source(f"{where}.source", written.source)
        if tx in self._file.messages:
            self._fail(f"{where}.tx", f"{tx} is a frame that the car itself sends: asking there would forge it")
        longest_s = ONCE_HOLD_S if written.once or not written.every_s else max(written.every_s.values())
        hold_ms = int(POLL_HOLD_ROUNDS * longest_s * 1000)
        return core.Poll(
            id=poll_id,
            tx=int(tx, 16),
            rx=int(rx, 16),
            extended=len(tx) > 3,
            request=bytes.fromhex(written.request),
            layouts=tuple(
                self._layout(f"{where}.layouts.{k}", written, poll_id, a, hold_ms)
                for k, a in enumerate(written.layouts)
            ),
            ignored_lengths=tuple(written.ignored_lengths),
            every_s=written.every_s,
            once=written.once,
            alone=written.alone,
            bus=self._bus_number(f"{where}.bus", written.bus),
        )

    def _bus_number(self, where: str, name: str | None) -> int | None:
        """Its place in the file: the box's interfaces are named in the same order."""
        if name is not None and name not in self._file.buses:
            self._fail(where, f"{name!r} is not in [buses]")
        return None if name is None else list(self._file.buses).index(name)

    def _layout(
        self, where: str, poll: PollTable, poll_id: str, written: LayoutTable, hold_ms: int
    ) -> core.AnswerLayout:
        def uses(key: str, used: UsedTable, name: str) -> tuple[core.QuantityUse, ...]:
            if any(use.variants for use in used.all_uses()):
                self._fail(f"{where}.{key}.uses.variants", "polls are the same in all variants; needs may help")
            return self._uses(f"{where}.{key}", f"{poll_id}.{name}", used.all_uses(), POLLED_PREFER, hold_ms)

        fields = [
            core.AnswerField(
                name=f.name,
                unit=f.unit,
                kind=f.kind,
                at=f.at,
                factor=f.factor,
                offset=f.offset,
                length=f.length,
                typical=tuple(f.typical),
                void=tuple(f.void),
                mask=f.mask,
                only_if=None if f.only_if is None else (f.only_if.at, f.only_if.kind, f.only_if.bits),
                when=_match(f.when),
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
                mask_at=r.mask_at,
                number_from=r.number_from,
                when=_match(r.when),
                digests=tuple(
                    core.RowDigest(d.what, d.name, d.unit, uses(f"rows.{k}.digests.{j}", d, d.name))
                    for j, d in enumerate(r.digests)
                ),
                grade=r.grade or poll.grade,
                source=self._source(f"{where}.rows.{k}.source", r.source or poll.source),
            )
            for k, r in enumerate(written.rows)
        ]
        void_when = tuple(core.RawMatch(m.at, m.kind, tuple(m.raw)) for m in written.void_when)
        names = {f.name for f in fields}
        for name in written.void_keeps:
            if name not in names:
                self._fail(f"{where}.void_keeps", f"{name!r} is no field of it; near: {nearest(name, names)}")
        return core.AnswerLayout(
            tuple(written.lengths), tuple(fields), tuple(rows), void_when, tuple(written.void_keeps)
        )

    def _evidence_of(self, number: int, written: EvidenceTable) -> core.Evidence:
        where = f"evidence.{number}"
        value = written.value
        answer = written.answer
        if answer is not None:
            poll = next((p for _, p in self._asked if p.id == answer.poll), None)
            if poll is None:
                self._fail(f"{where}.answer.poll", f"{answer.poll!r} is not in [[polls]]")
            names = {f.name for a in poll.layouts for f in a.fields}
            for key, field in (("field", answer.field), ("over", answer.over)):
                if field is not None and field not in names:
                    self._fail(f"{where}.answer.{key}", f"{field!r} is no field of it; near: {nearest(field, names)}")
        for can_id in [*written.seen, *([value.message] if value else [])]:
            if can_id not in self._file.messages:
                self._fail(where, f"message {can_id} is not in [messages]")
        return core.Evidence(
            name=written.name,
            at_least=written.at_least,
            wanders=written.wanders,
            seen=tuple(self._key(i) for i in written.seen),
            value=None
            if value is None
            else core.ValueRange(
                self._key(value.message), value.signal, value.low, value.high, value.over, value.variant
            ),
            answer=None
            if answer is None
            else core.AnswerShape(
                answer.poll, tuple(answer.lengths), answer.field, answer.low, answer.high, answer.over
            ),
        )

    def _check_evidence(self, profile: core.Profile) -> None:
        """Evidence is weighed before the variant is known, so its signals must mean the same in all that send them."""
        agreed = {m.key: {s.name for s in m.signals} for m in core.agreed_messages(profile.variants)}
        for number, evidence in enumerate(profile.evidence):
            value = evidence.value
            if value is None:
                continue
            if value.variant is None:
                names = agreed[value.key]
            else:
                self._known_variant(f"evidence.{number}.value.variant", value.variant)
                names = {
                    s.name for m in profile.variant(value.variant).messages if m.key == value.key for s in m.signals
                }
            for name in (value.signal, value.over):
                if name is not None and name not in names:
                    where = value.variant or "all variants that send it"
                    self._fail(f"evidence.{number}.value", f"signal {name!r} is not the same in {where}")

    def _key(self, can_id: str) -> int:
        message = self._file.messages.get(can_id)
        if message is not None and message.any_sender:
            return core.group_key(int(can_id, 16))
        return core.message_key(int(can_id, 16), extended=len(can_id) > 3)

    def _vehicle(self, name: str, written: str | list[str]) -> tuple[str, ...]:
        """The variants that a car of this name can be; an empty list stands for all."""
        named = [written] if isinstance(written, str) else written
        for variant in named:
            self._known_variant(f"vehicles.{name}", variant)
        return tuple(named or (v.id for v in self._file.variants))


def _arms(signal: DbcSignal, message: DbcMessage) -> tuple[core.MuxArm, ...]:
    """All selectors above a multiplexed signal, the nearest first."""
    arms = []
    current = signal
    while current.multiplexer_signal is not None and current.multiplexer_ids:
        arms.append(core.MuxArm(current.multiplexer_signal, tuple(sorted(current.multiplexer_ids))))
        current = message.get_signal_by_name(current.multiplexer_signal)
    return tuple(arms)


def _match(written: RawMatchTable | None) -> core.RawMatch | None:
    return None if written is None else core.RawMatch(written.at, written.kind, tuple(written.raw))


def _of_variant(message: MessageTable, variant: str) -> MessageTable:
    """The message without the uses that are meant for other variants."""

    def cut(signal: SignalTable) -> SignalTable:
        return signal.model_copy(update={"uses": [u for u in signal.uses if not u.variants or variant in u.variants]})

    return message.model_copy(update={"signals": {name: cut(s) for name, s in message.signals.items()}})


def _is_group(can_id: str) -> bool:
    return len(can_id) > 3 and int(can_id[2:4], 16) >= core.GROUP_FIRST_FORMAT


def _pack(written: PackTable) -> PackFacts:
    return PackFacts(**{**written.model_dump(), "ocv": tuple(written.ocv)})


def read_bytes(path: Path) -> bytes:
    """The file's content. Raises ProfileError."""
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ProfileError(f"{path}: cannot be read: {cause.strerror}") from cause
