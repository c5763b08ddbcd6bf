"""A diagnostic bus in memory, and the control units of a family that answer polls there, on the loop's time.

In:  a profile and the truth about a car, by quantity or by the name of a field.
Out: frames as the real units send them: delays of tens of milliseconds, answers of several frames that wait for flow
     control, refusals, "wait" (7F xx 78), silence, frames in the wrong order. `SimBus.frames` keeps every frame.
A unit does nothing with a request that the profile does not know but refuse it; a write would be refused loudly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from packbox.core.answers import NUMBER_BYTES
from packbox.core.exchange import OutFrame, harm_reason, send_all
from packbox.core.frames import CLASSIC_BYTES, EXTENDED, SENT, FrameBatch, join
from packbox.core.isotp import CONTINUATION_BYTES, FIRST_FRAME_BYTES, RESPONSE_PENDING
from packbox.core.profile import (
    EXTENDED_BIT,
    NEGATIVE_ANSWER,
    AnswerField,
    AnswerLayout,
    AnswerRows,
    Poll,
    Profile,
    QuantityUse,
)
from packbox.core.stamp import NS_PER_S, Tick
from packbox.ports import BusBusyError
from packbox.testing.sim_clock import LoopClock

FRAME_S: Final = 0.00025  # eight bytes at 500 kbit/s
ANSWER_DELAY_S: Final = (0.008, 0.040)
CONTINUED_DELAY_S: Final = 0.0015
FLOW_CONTROL_WITHIN_S: Final = 1.0  # ISO 15765-2, N_Bs
OUT_OF_RANGE: Final = 0x31
CAR: Final = "car"
BOX: Final = "box"
PADDING: Final = b"\xaa"
_GATHER_S: Final = 0.25

Truth = Callable[[], Mapping[str, float]]
Heard = Callable[[int, bytes], None]


@dataclass(frozen=True, slots=True)
class BusFrame:
    at_s: float
    sender: str
    key: int
    data: bytes


class Bus(Protocol):
    """Where units speak: `SimBus`, or a bridge to another bus."""

    def join(self, name: str, heard: Heard) -> None: ...
    def send(self, name: str, key: int, data: bytes) -> None: ...


class SimBus:
    """Every frame reaches every other node. `full`: frames of the box cannot be sent now, as when nobody listens."""

    def __init__(self) -> None:
        self.frames: list[BusFrame] = []
        self.full = False
        self._nodes: dict[str, Heard] = {}

    def join(self, name: str, heard: Heard) -> None:
        self._nodes[name] = heard

    def send(self, name: str, key: int, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.frames.append(BusFrame(loop.time(), name, key, data))
        for node, heard in self._nodes.items():
            if node != name:
                loop.call_later(FRAME_S, heard, key, data)

    def sent_by(self, name: str) -> list[BusFrame]:
        return [frame for frame in self.frames if frame.sender == name]


class SimLink:
    """`ports.FrameLink` of the box."""

    def __init__(self, bus: SimBus) -> None:
        self._bus = bus
        self._heard: dict[int, Heard] = {}
        bus.join(BOX, self._hear)

    async def send(self, frame: OutFrame) -> None:
        if self._bus.full:
            raise BusBusyError("sim: no buffer space available")
        self._bus.send(BOX, frame.key, frame.data)

    @contextmanager
    def overhear(self, keys: Sequence[int], heard: Heard) -> Iterator[None]:
        self._heard |= dict.fromkeys(keys, heard)
        try:
            yield
        finally:
            self._heard.clear()

    def _hear(self, key: int, data: bytes) -> None:
        if key in self._heard:
            self._heard[key](key, data)


class SimBusSource:
    """`ports.FrameSource`: what is on the bus and, beside it, what the car broadcasts, four batches a second.

    `broadcast` (from, to in loop seconds): the car's own frames of that time.
    """

    def __init__(
        self, bus: SimBus, until_s: float, broadcast: Callable[[float, float], FrameBatch | None] = lambda _a, _b: None
    ) -> None:
        self._bus = bus
        self._until_s = until_s
        self._broadcast = broadcast

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        loop = asyncio.get_running_loop()
        done_s, read = loop.time(), len(self._bus.frames)
        while done_s < self._until_s:
            await asyncio.sleep(_GATHER_S)
            now_s = loop.time()
            frames, read = self._bus.frames[read:], len(self._bus.frames)
            own = self._broadcast(done_s, now_s)
            parts = [part for part in (own, _batch(frames) if frames else None) if part is not None]
            done_s = now_s
            if parts:
                yield _merged(parts)
            else:
                yield Tick(LoopClock().now())


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
    """All control units of a family. `moods`: by poll id; `lengths`: which layout answers, by poll id."""

    def __init__(
        self,
        bus: Bus,
        profile: Profile,
        truth: Truth,
        *,
        seed: int = 1,
        lengths: Mapping[str, int] | None = None,
        moods: Mapping[str, Mood] | None = None,
    ) -> None:
        self.moods = dict(moods or {})
        self.asked: list[str] = []  # poll ids
        self.shocked: list[bytes] = []  # what must never be sent
        self._bus = bus
        self._polls = profile.polls
        self._truth = truth
        self._lengths = dict(lengths or {})
        self._dice = random.Random(seed)
        self._waiting: dict[int, tuple[Poll, list[bytes], float]] = {}  # by the id of the flow control
        self._due: dict[int, list[asyncio.TimerHandle]] = {}  # by answering id
        bus.join(CAR, self._hear)

    def _hear(self, key: int, data: bytes) -> None:
        if data[0] >> 4 == 3:
            self._go_on(key)
            return
        mine = [p for p in self._polls if p.tx_key == key]
        if not mine:
            return
        if harm_reason(data) is not None:
            self.shocked.append(data)
        request = data[1 : 1 + data[0]]
        asked = [p for p in mine if p.request == request]
        for rx_key in {p.rx_key for p in asked or mine[:1]}:
            for handle in self._due.pop(rx_key, []):
                handle.cancel()
        for poll in asked:
            self.asked.append(poll.id)
            self._take(poll, self.moods.get(poll.id, WILLING))
        if not asked:
            self._say(mine[0], _single(bytes((NEGATIVE_ANSWER, request[0], OUT_OF_RANGE))), self._delay_s())

    def _take(self, poll: Poll, mood: Mood) -> None:
        delay_s = self._delay_s()
        if mood.silent:
            return
        if mood.refuses is not None:
            self._say(poll, _single(bytes((NEGATIVE_ANSWER, poll.request[0], mood.refuses))), delay_s)
            return
        for k in range(int(mood.waits_s)):
            self._say(poll, _single(bytes((NEGATIVE_ANSWER, poll.request[0], RESPONSE_PENDING))), delay_s + k)
        delay_s += mood.waits_s
        frames = iso_tp(answer_of(poll, self._truth(), self._lengths.get(poll.id)))
        if mood.skips and len(frames) > 2:
            del frames[len(frames) // 2]
        if mood.stops:
            del frames[max(1, len(frames) // 2) :]
        self._say(poll, frames[0], delay_s)
        if frames[1:]:
            until_s = asyncio.get_running_loop().time() + delay_s + FLOW_CONTROL_WITHIN_S
            self._waiting[send_all(poll).key] = poll, frames[1:], until_s

    def _go_on(self, key: int) -> None:
        poll, frames, until_s = self._waiting.pop(key, (None, [], 0.0))
        if poll is None or asyncio.get_running_loop().time() > until_s:
            return
        for k, frame in enumerate(frames, 1):
            self._say(poll, frame, k * CONTINUED_DELAY_S)

    def _say(self, poll: Poll, frame: bytes, delay_s: float) -> None:
        handle = asyncio.get_running_loop().call_later(delay_s, self._bus.send, CAR, poll.rx_key, frame)
        self._due.setdefault(poll.rx_key, []).append(handle)

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


def iso_tp(answer: bytes) -> list[bytes]:
    """The frames that carry an answer, padded."""
    if len(answer) <= CONTINUATION_BYTES:
        return [_single(answer)]
    frames = [bytes((0x10 | len(answer) >> 8, len(answer) & 0xFF)) + answer[:FIRST_FRAME_BYTES]]
    for k, begin in enumerate(range(FIRST_FRAME_BYTES, len(answer), CONTINUATION_BYTES), 1):
        frames.append(_padded(bytes((0x20 | k & 0x0F,)) + answer[begin : begin + CONTINUATION_BYTES]))
    return frames


def _single(answer: bytes) -> bytes:
    return _padded(bytes((len(answer),)) + answer)


def _padded(frame: bytes) -> bytes:
    return frame.ljust(CLASSIC_BYTES, PADDING)


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


def _batch(frames: Sequence[BusFrame]) -> FrameBatch:
    n = len(frames)
    keys = np.array([f.key for f in frames], np.int64)
    flags = np.where(keys & EXTENDED_BIT, EXTENDED, 0) | np.array([SENT * (f.sender == BOX) for f in frames])
    return FrameBatch(
        LoopClock().now().boot,
        None,
        np.array([round(f.at_s * NS_PER_S) for f in frames], np.int64),
        np.zeros(n, np.uint8),
        (keys & ~EXTENDED_BIT).astype(np.uint32),
        flags.astype(np.uint8),
        np.array([len(f.data) for f in frames], np.uint8),
        np.frombuffer(b"".join(f.data.ljust(CLASSIC_BYTES, b"\0") for f in frames), np.uint8).reshape(n, CLASSIC_BYTES),
    )


def _merged(parts: Sequence[FrameBatch]) -> FrameBatch:
    whole = join(parts)
    return whole.pick(np.argsort(whole.mono_ns, kind="stable"))
