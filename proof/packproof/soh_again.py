"""State of health worked out again: the box's own arithmetic over the readings that it sent.

In:  the records of one life, and the facts of the packs they name.
Out: findings. A value follows when every reading before it is there and both, digit by digit, are the same.
Machines may round the last bit of a float differently, so that one step of the last digit sent is forgiven.
Resistance, and SOCE with it, rest on samples that are not sent; they stay claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

import numpy as np
from msgspec.structs import asdict

from packbox.core.outcome import SohComputed
from packbox.core.packs import PackFacts
from packbox.core.soh import panel
from packbox.core.soh.method import SessionEnd
from packbox.core.soh.panel import PanelState, Readings
from packbox.core.soh.reading import BmsSaid, CapacityTold, EnergyLeft, RestsSeen, RestSwing, SocLeg, SpanCharged
from packbox.core.stamp import BootId, Stamp
from packbox.core.summary import message_of
from packproof.finding import Finding, Verdict
from packproof.life import Life
from packwire.codec import Body, plan_of, to_wire
from packwire.messages import Hello, Reading, Session, Soh, Usage
from packwire.seal import Record

Packs: TypeAlias = Mapping[tuple[str, str], PackFacts]  # by profile digest (hex) and the pack's id, as in the hello

FORGIVEN_STEPS: Final = 1
RECOMPUTED: Final = (
    "state", "soh_pct", "sigma_pct", "lo90_pct", "hi90_pct", "capacity_ah", "sigma_ah", "reference_ah", "basis",
    "method",
)  # fmt: skip
OF_METHODS: Final = ("method", "capacity_ah", "sigma_ah", "n", "evidence")
OF_ENERGY: Final = ("method", "energy_full_kwh", "sigma_kwh", "n", "evidence", "gids")
ROUNDED_S: Final = 1.0
SHOWN: Final = 8  # records that are named
NO_PACK: Final = "no record says which pack it is"
NOT_WHOLE: Final = "records before it are not here"
IMPOSSIBLE: Final = (ArithmeticError, ValueError, AssertionError)  # what readings that no box takes may lead to
_NO_TIME: Final = Stamp(BootId("00" * 8), 0, None)  # the message has none


def readings_of(message: Reading) -> Readings:
    """As the box used them."""
    prior = [] if message.prior is None else [CapacityTold(**_values(message.prior))]
    told = [] if message.told is None else [CapacityTold(**_values(message.told))]
    swings = [RestSwing(**_values(item)) for item in message.swings]
    seen = [] if message.seen is None else [RestsSeen(**_values(message.seen))]
    return Readings(
        message.number,
        SessionEnd(message.session, message.line_s),
        tuple(SocLeg(**_values(item)) for item in message.legs),
        () if message.bms is None else (BmsSaid(**_values(message.bms)),),
        (*prior, *swings, *told, *seen),
        () if message.span is None else (SpanCharged(**_values(message.span)),),
        tuple(EnergyLeft(**_values(item)) for item in message.energy),
        message.refused,
    )


def _values(item: Body) -> dict[str, Any]:
    return asdict(item)


def check_soh(life: Life, packs: Packs) -> list[Finding]:
    """Every state of health of this life."""
    again = _Again(life, packs)
    for record in life.records:
        again.take(record)
    return again.findings()


class _Again:
    """The box's panel, fed from the records."""

    def __init__(self, life: Life, packs: Packs) -> None:
        self.life, self.packs = life, packs
        self.state: PanelState = panel.start()
        self.pack: PackFacts | None = None
        self.no_pack: str | None = NO_PACK  # why the facts of the pack are not known
        self.lost: str | None = NO_PACK  # why nothing can be worked out from here on
        self.sessions: set[int] = set()
        self.since: list[int] = []  # readings since the last value that followed
        self.readings = 0
        self.followed: list[Record] = []
        self.differ: list[tuple[Record, Soh, tuple[int, ...], str]] = []
        self.untold: dict[str, list[Record]] = {}
        self.odd: list[Finding] = []
        self.newest: Record | None = None
        self.observed_s = 0.0
        self.fell: list[int] = []

    def take(self, record: Record) -> None:
        match record.message:
            case Hello():
                self._hello(record.message)
            case Session():
                self.sessions.add(record.message.session)
            case Reading():
                self._reading(record, record.message)
            case Soh():
                self._soh(record, record.message)
                self._observed(record, record.message.observed_s)
            case Usage():
                self._observed(record, record.message.observed_s)

    def _hello(self, hello: Hello) -> None:
        self.pack = None if hello.pack is None else self.packs.get((hello.profile_digest.hex(), hello.pack))
        known = hello.pack is None or self.pack is not None
        self.no_pack = None if known else f"the facts of pack {hello.pack} of profile {hello.profile} are not here"
        if self.no_pack is not None or self.readings == 0:
            self.lost = self.no_pack

    def _reading(self, record: Record, reading: Reading) -> None:
        seq, number, due = record.envelope.seq, reading.number, self.state.told + 1
        whole = self.life.whole(record)
        if number > due:
            self.lost = f"readings {due} to {number - 1} are not here (lost, or used by older software)"
        elif number < due and not whole:  # where the pack was changed was lost, too
            self.state, self.since = panel.start(), []
            self.lost = self.no_pack if number == 1 else NOT_WHOLE
        elif number < due or (whole and reading.session not in self.sessions):
            self._accuse(
                seq, f"reading {number} of session {reading.session} is told twice or of a session nobody told"
            )
        self.readings += 1
        self.since.append(seq)
        if self.lost is not None:
            self.state = replace(self.state, told=number)
            return
        try:
            with np.errstate(all="raise"):
                self.state = panel.use(self.state, readings_of(reading), self.pack)
        except IMPOSSIBLE as problem:
            self.lost = "an impossible reading stands before it"
            if whole:
                self._accuse(seq, f"reading {number} is none that a box could take ({type(problem).__name__})")

    def _accuse(self, seq: int, words: str) -> None:
        self.odd.append(Finding("soh.readings", Verdict.DIFFERS, words, store=self.life.store, seqs=(seq,)))

    def _soh(self, record: Record, told: Soh) -> None:
        self.newest = record
        lost = self.lost
        if told.line_s is None:
            lost = "older software did not tell the second it holds for"
        elif lost is None:
            lost = self._compared(record, told, float(told.line_s))
        if lost is not None:
            self.untold.setdefault(lost, []).append(record)

    def _compared(self, record: Record, told: Soh, line_s: float) -> str | None:
        try:
            with np.errstate(all="raise"):
                said = panel.verdict(self.state, line_s, self.pack, told.soh_reported_pct)
        except IMPOSSIBLE:
            return "the readings before it lead to no number"
        outcome = SohComputed(
            _NO_TIME,
            said.soh,
            said.estimates,
            told.soh_reported_pct,
            None,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            None,
            energy=said.energy,
        )
        message = message_of(outcome, b"")
        assert isinstance(message, Soh)
        off = _differing(told, message)
        if not off:
            self.followed.append(record)
            self.since = []
        elif not self.life.whole(record):
            return NOT_WHOLE
        else:
            self.differ.append((record, message, tuple(self.since), ", ".join(off)))
        return None

    def _observed(self, record: Record, observed_s: float) -> None:
        if observed_s < self.observed_s - ROUNDED_S and self.life.whole(record):
            self.fell.append(record.envelope.seq)
        self.observed_s = observed_s

    # -- in words ----------------------------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        found, store = list(self.odd), self.life.store
        for why, records in self.untold.items():
            words = f"{_many(len(records))} cannot be worked out again: {why}"
            seqs = tuple(r.envelope.seq for r in records[:SHOWN])
            found.append(Finding("soh", Verdict.MISSING, words, _value(records[-1].message), store=store, seqs=seqs))
        if self.differ:
            record, again, readings, off = self.differ[0]
            of = len(self.differ) + len(self.followed)
            words = (
                f"{_many(len(self.differ))} of {of} say something else than the readings; first in {off},"
                f" after the readings in records {', '.join(map(str, readings[-SHOWN:])) or 'none'}"
            )
            seqs = (record.envelope.seq, *readings[-SHOWN:])
            found.append(Finding("soh", Verdict.DIFFERS, words, _value(record.message), _value(again), store, seqs))
        elif self.followed:
            newest = self.followed[-1]
            words = f"{_many(len(self.followed))} from {self.readings} readings, by every method and with the interval"
            value = _value(newest.message)
            found.append(Finding("soh", Verdict.PROVEN, words, value, value, store, (newest.envelope.seq,)))
        found += self._claims()
        return found

    def _claims(self) -> list[Finding]:
        if self.newest is None:
            return []
        store, seq = self.life.store, self.newest.envelope.seq
        if self.fell:
            words = "the time observed fell from one record to the next"
            return [Finding("soh.coverage", Verdict.DIFFERS, words, store=store, seqs=tuple(self.fell[:SHOWN]))]
        words = "resistance, energy (SOCE) and the car's own value are the box's own: samples are not sent"
        return [Finding("soh.beside", Verdict.CLAIMED, words, store=store, seqs=(seq,))]


def _many(n: int) -> str:
    return "1 state of health" if n == 1 else f"{n} states of health"


def _value(message: object) -> str:
    assert isinstance(message, Soh)
    if message.soh_pct is None:
        return f"{message.state.value}: none" if message.capacity_ah is None else f"{message.capacity_ah:g} Ah"
    return f"{message.soh_pct:.2f} % ({message.lo90_pct:.2f} to {message.hi90_pct:.2f}), {message.state.value}"


def _differing(told: Soh, again: Soh) -> list[str]:
    """Names of what is not the same as it was sent."""
    off = _other_fields(told, again, RECOMPUTED)
    if told.energy is not None and again.energy is not None:
        off += [f"{again.energy.method} {name}" for name in _other_fields(told.energy, again.energy, OF_ENERGY)]
    elif told.energy is not again.energy:
        off.append("energy")
    if len(told.estimates) != len(again.estimates):
        return [*off, "estimates"]
    for one, other in zip(told.estimates, again.estimates, strict=True):
        off += [f"{other.method} {name}" for name in _other_fields(one, other, OF_METHODS)]
    return off


def _other_fields(told: Body, again: Body, names: tuple[str, ...]) -> list[str]:
    one, other = to_wire(told), to_wire(again)
    return [
        plan.name
        for plan in plan_of(type(told))
        if plan.name in names and not _same(one.get(plan.wire.key), other.get(plan.wire.key), plan.wire.per)
    ]


def _same(one: object, other: object, per: int | None) -> bool:
    if per is not None and isinstance(one, int) and isinstance(other, int):
        return abs(one - other) <= FORGIVEN_STEPS
    return one == other
