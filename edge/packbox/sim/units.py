"""The control units of a family that answer polls, made from the profile that asks them.

In:  a profile, the truth about a car by quantity or by the name of a field, a bus.
Out: frames as the real units send them: delays of tens of milliseconds, answers of several frames that wait for flow
     control, refusals, "wait" (7F xx 78), silence, frames in the wrong order.
A unit does nothing with a request that the profile does not know but refuse it; a write would be refused loudly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from packbox.core.answers import NUMBER_BYTES
from packbox.core.exchange import send_all
from packbox.core.isotp import RESPONSE_PENDING
from packbox.core.profile import (
    FUNCTIONAL_KEYS,
    NEGATIVE_ANSWER,
    AnswerField,
    AnswerLayout,
    AnswerRows,
    Poll,
    Profile,
    QuantityUse,
)
from packbox.sim import obd
from packbox.sim.mouth import CAR, Bus, Mouth, iso_tp, single
from packbox.sim.obd import ObdUnit, Truth

ANSWER_DELAY_S: Final = (0.008, 0.040)
FLOW_OVERFLOW: Final = b"\x32\x00\x00"  # no unit of ours takes a question of several frames


@dataclass(frozen=True, slots=True)
class Mood:
    """How a unit takes one question."""

    silent: bool = False
    refuses: int | None = None  # with this code
    waits_s: float = 0.0  # says 78 once a second and answers after this
    skips: bool = False  # leaves out a continuation frame
    stops: bool = False  # after half of the answer


WILLING: Final = Mood()


class SimUnits:
    """All control units of a family. `moods`: by poll id; `lengths`: which layout answers, by poll id.

    `own` knows some answers to the byte. With `standard`, a unit for any OBD app stands beside them. While `asleep`
    nobody answers.
    """

    def __init__(
        self,
        bus: Bus,
        profile: Profile,
        truth: Truth,
        *,
        seed: int = 1,
        lengths: Mapping[str, int] | None = None,
        moods: Mapping[str, Mood] | None = None,
        own: Callable[[Poll], bytes | None] = lambda _poll: None,
        standard: ObdUnit | None = None,
    ) -> None:
        self.moods = dict(moods or {})
        self.asked: list[str] = []  # poll ids
        self.questions = 0  # heard, whoever is asked
        self.asleep = False
        self._bus = bus
        self._polls = profile.polls
        self._truth = truth
        self._lengths = dict(lengths or {})
        self._own = own
        self._standard = standard
        self._dice = random.Random(seed)
        self._mouths: dict[int, Mouth] = {}  # by answering id
        self._by_flow: dict[int, Mouth] = {}  # who speaks on, by the id of the flow control
        bus.join(CAR, self._hear)

    @property
    def keys(self) -> frozenset[int]:
        """Ids that somebody here listens to."""
        asked = {key for poll in self._polls for key in (poll.tx_key, send_all(poll).key)}
        standard = set() if self._standard is None else {obd.FUNCTIONAL_KEY, obd.ASKED_KEY}
        return frozenset(asked | standard)

    def _hear(self, key: int, data: bytes) -> None:
        if self.asleep or not data:
            return
        kind = data[0] >> 4
        if kind == 3:
            if key in self._by_flow:
                self._by_flow[key].hear_flow(data)
        elif kind in (0, 1):
            self._hear_question(key, data)

    def _hear_question(self, key: int, data: bytes) -> None:
        mine = [poll for poll in self._polls if poll.tx_key == key]
        to_standard = self._standard is not None and key in (obd.FUNCTIONAL_KEY, obd.ASKED_KEY)
        if not mine and not to_standard:
            return
        self.questions += 1
        length = data[0]
        request = data[1 : 1 + length]
        if not 1 <= length < len(data):  # several frames, or none that holds together
            if data[0] >> 4 == 1:
                self._mouth(mine[0].rx_key if mine else obd.ANSWER_KEY).say([FLOW_OVERFLOW.ljust(8, b"\0")], 0.0)
            return
        asked = [poll for poll in mine if poll.request == request]
        for rx_key in {poll.rx_key for poll in asked or mine[:1]}:
            self._mouth(rx_key).hush()
        for poll in asked:
            self.asked.append(poll.id)
            self._take(poll, self.moods.get(poll.id, WILLING))
        if asked:
            return
        if to_standard:
            self._take_standard(request, to_all=key == obd.FUNCTIONAL_KEY)
        elif key not in FUNCTIONAL_KEYS:
            said = obd.courtesy(request)
            if said is not None:
                self._mouth(mine[0].rx_key).say([single(said)], self._delay_s())

    def _take(self, poll: Poll, mood: Mood) -> None:
        if mood.silent:
            return
        mouth, delay_s = self._mouth(poll.rx_key), self._delay_s()
        if mood.refuses is not None:
            mouth.say([single(bytes((NEGATIVE_ANSWER, poll.request[0], mood.refuses)))], delay_s)
            return
        for k in range(int(mood.waits_s)):
            mouth.say([single(bytes((NEGATIVE_ANSWER, poll.request[0], RESPONSE_PENDING)))], delay_s + k)
        delay_s += mood.waits_s
        frames = iso_tp(self._own(poll) or answer_of(poll, self._truth(), self._lengths.get(poll.id)))
        if mood.skips and len(frames) > 2:
            del frames[len(frames) // 2]
        if mood.stops:
            del frames[max(1, len(frames) // 2) :]
        mouth.say(frames, delay_s)
        self._by_flow[send_all(poll).key] = mouth

    def _take_standard(self, request: bytes, *, to_all: bool) -> None:
        assert self._standard is not None
        said = self._standard.answer(request, to_all=to_all)
        mouth = self._mouth(obd.ANSWER_KEY)
        mouth.hush()
        if said is not None:
            mouth.say(iso_tp(said), self._delay_s())
            self._by_flow[obd.ASKED_KEY] = mouth

    def _mouth(self, rx_key: int) -> Mouth:
        return self._mouths.setdefault(rx_key, Mouth(self._bus, rx_key))

    def _delay_s(self) -> float:
        return self._dice.uniform(*ANSWER_DELAY_S)


def answer_of(poll: Poll, truth: Mapping[str, float], length: int | None = None) -> bytes:
    """A whole positive answer in the layout of this length, or in the first; what nobody knows is zero."""
    layout = next((a for a in poll.layouts if length in a.lengths), poll.layouts[0])
    whole = length or (layout.lengths[0] if layout.lengths else len(poll.head) + _needed(layout))
    body = bytearray(whole - len(poll.head))
    for field in layout.fields:
        _fill(body, field, truth)
    for rows in layout.rows:
        _fill_rows(body, rows, truth)
    return poll.head + bytes(body)


def _needed(layout: AnswerLayout) -> int:
    ends = [f.at + NUMBER_BYTES.get(f.kind, f.length or 9) for f in layout.fields]
    ends += [r.at + (r.count - 1) * r.step + NUMBER_BYTES[r.kind] for r in layout.rows]
    return max(ends, default=1)


def _fill(body: bytearray, field: AnswerField, truth: Mapping[str, float]) -> None:
    if field.kind in NUMBER_BYTES:
        value = truth[field.name] if field.name in truth else _value(field.uses, truth)
        if value is not None:
            raw = (value - field.offset) / field.factor
            _put(body, field.kind, field.at, raw if field.mask is None else raw * (field.mask & -field.mask))
    elif field.kind == "ascii":
        room = len(body) - field.at if field.length is None else field.length
        body[field.at : field.at + room] = b"SIM0123456789ABCDEFGHIJKL"[:room].ljust(room, b" ")
    elif field.kind == "dtcs":
        body[:] = bytes.fromhex("4E D00000 4E 33D700 4E").ljust(len(body), b"\0")[: len(body)]


def _fill_rows(body: bytearray, rows: AnswerRows, truth: Mapping[str, float]) -> None:
    """From the lowest to the highest, evenly, as the digests tell them."""
    told = {digest.what: value for digest in rows.digests if (value := _value(digest.uses, truth)) is not None}
    low = told.get("min", told.get("mean", told.get("max")))
    high = told.get("max", told.get("mean", low))
    if low is None or high is None:
        return
    for n in range(rows.count):
        at = rows.at + n * rows.step
        if at + NUMBER_BYTES[rows.kind] <= len(body):
            value = low + (high - low) * n / max(1, rows.count - 1)
            _put(body, rows.kind, at, (value - rows.offset) / rows.factor)


def _value(uses: Sequence[QuantityUse], truth: Mapping[str, float]) -> float | None:
    """What the unit must say for the quantity to come out."""
    for use in uses:
        if use.quantity in truth and not use.steps:
            return (truth[use.quantity] - use.offset) / use.factor
    return None


def _put(body: bytearray, kind: str, at: int, raw: float) -> None:
    size, signed = NUMBER_BYTES[kind], kind.startswith("s")
    top = (1 << (8 * size - signed)) - 1
    whole = min(max(round(raw), -top - 1 if signed else 0), top)
    body[at : at + size] = whole.to_bytes(size, "little" if kind.endswith("le") else "big", signed=signed)
