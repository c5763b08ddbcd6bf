"""Turn physical quantities into CAN frames, many at a time.

In:  an `Awake` stretch, the moments at which an id is sent and what it carries, as fields of facts/vehicles.md.
Out: `Columns`: times, ids and bytes, in time order.

The fields here are written from the facts and not read from the profiles' DBC files: two transcriptions that must agree
make the simulator an oracle for profiles and decoder (tests/edge/test_sim_frames.py lets cantools compare them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.stamp import NS_PER_MS, NS_PER_S
from packbox.sim.car import Awake

ByteArray: TypeAlias = npt.NDArray[np.uint8]
Physical: TypeAlias = FloatArray | IntArray | float

START_UP_S: Final = 1.0  # how long control units send "not available" after waking
_FRAME_GAP_S: Final = 0.002  # between the frames of one diagnostic answer
_POLL_GAP_S: Final = 0.3  # between one question and the next: longer than any answer takes
_FIRST_POLL_S: Final = 2.0
_STAGGER_S: Final = 0.0003  # ids follow each other, as on a bus
_NOISE_LENGTH: Final = 4099  # prime, so that no cycle time falls into step with it
_LAYOUT: Final = re.compile(r"(\d+)\|(\d+)@([01])([+-])")


@dataclass(frozen=True, slots=True)
class Field:
    """One signal: place and order as in a DBC file, physical = raw * scale + offset, `void` = raw "not available"."""

    shift: int  # of its least significant bit in the frame read as one number of its byte order
    length: int
    big_endian: bool
    signed: bool
    scale: float
    offset: float
    void: int | None

    def raw(self, physical: Physical) -> IntArray:
        low, high = (
            (-(1 << (self.length - 1)), (1 << (self.length - 1)) - 1) if self.signed else (0, (1 << self.length) - 1)
        )
        if self.void == high:
            high -= 1  # a real value never reads as "not available"
        rounded = np.rint((np.asarray(physical, np.float64) - self.offset) / self.scale)
        return np.clip(rounded, low, high).astype(np.int64)


def field(layout: str, scale: float = 1.0, offset: float = 0.0, void: int | None = None) -> Field:
    """`layout` as facts/vehicles.md §1 writes it: `start|length@order sign`."""
    match = _LAYOUT.fullmatch(layout)
    assert match, layout
    start, length = int(match[1]), int(match[2])
    big_endian = match[3] == "0"
    shift = 63 - (8 * (start // 8) + 7 - start % 8) - (length - 1) if big_endian else start
    return Field(shift, length, big_endian, match[4] == "-", scale, offset, void)


@dataclass(frozen=True, slots=True)
class Rates:
    """How often frames come: never more often than the real car sends them."""

    drive_s: float  # current, voltage and speed while driving
    charge_s: float  # the same at the plug
    slow_s: float  # everything else
    polls_s: float  # questions of another tester
    chunk_s: float  # made at once: bounds memory


REAL: Final = Rates(0.0, 0.0, 0.0, 60.0, 30.0)
# What two cores can afford for months: knots of the simulated current, so that no charge is lost between frames.
ECONOMICAL: Final = Rates(1.0, 5.0, 10.0, 900.0, 7200.0)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """n frames: `wall_ns` int64 (n,), `can_id` uint32 (n,), `length` uint8 (n,), `data` uint8 (n, 8)."""

    wall_ns: IntArray
    can_id: npt.NDArray[np.uint32]
    length: ByteArray
    data: ByteArray

    def __len__(self) -> int:
        return len(self.wall_ns)


class Seen:
    """A stretch looked at at the moments one id is sent. `k` counts the id's frames since waking."""

    def __init__(self, awake: Awake, k: IntArray, t_s: FloatArray) -> None:
        self.awake = awake
        self.k = k
        self.t_s = t_s
        position = t_s / awake.step_s
        self._knot = np.minimum(position.astype(np.int64), len(awake.current_a) - 2)
        self._share = position - self._knot

    def __len__(self) -> int:
        return len(self.k)

    def smooth(self, column: FloatArray) -> FloatArray:
        before = column[self._knot]
        between: FloatArray = before + (column[self._knot + 1] - before) * self._share
        return between

    def held(self, column: IntArray) -> IntArray:
        return column[self._knot]

    @property
    def starting(self) -> BoolArray:
        result: BoolArray = self.t_s < START_UP_S
        return result


@dataclass(frozen=True, slots=True)
class Sender:
    """One id: its native cycle, whether it is needed often, and what fills it."""

    can_id: int
    cycle_ms: float
    fill: Callable[[Seen], ByteArray]
    often: bool = False
    burst: int = 1  # frames that belong together (modules of a pack), sent at native cycle even at economical rates
    when: Callable[[Awake], bool] = lambda _awake: True
    length: int = 8


@dataclass(frozen=True, slots=True)
class Poll:
    """A question of another tester and its answer, every so many of the tester's rounds."""

    tx: int
    rx: int
    request: bytes
    answer: Callable[[Seen], ByteArray]  # (n, length) with the echoed service
    every: int = 1


def pack(seen: Seen, *fields: tuple[Field, Physical]) -> ByteArray:
    """Frames of 8 bytes. While the control unit starts up every field that can says "not available"."""
    n = len(seen)
    starting = seen.starting
    little = np.zeros(n, np.uint64)
    big = np.zeros(n, np.uint64)
    for place, value in fields:
        raw = np.broadcast_to(place.raw(value), (n,))
        if place.void is not None:
            raw = np.where(starting, place.void, raw)
        bits = (raw & ((1 << place.length) - 1)).astype(np.uint64) << np.uint64(place.shift)
        if place.big_endian:
            big |= bits
        else:
            little |= bits
    data: ByteArray = (big.astype(">u8").view(np.uint8) | little.astype("<u8").view(np.uint8)).reshape(n, 8)
    return data


def noise(k: IntArray, salt: int, sigma: float) -> FloatArray:
    """Sensor noise that depends on the frame's number alone, so that a resumed car repeats it."""
    drawn: FloatArray = _NOISE[(k * 7 + salt) % _NOISE_LENGTH]
    return sigma * drawn


def encode(
    awake: Awake, senders: Sequence[Sender], polls: Sequence[Poll], rates: Rates, from_ms: int, to_ms: int
) -> Columns:
    """All frames of the stretch with `from_ms <= time < to_ms` (wall), in time order."""
    window_s = (max(0.0, (from_ms - awake.start_ms) / 1000.0), min(awake.seconds, (to_ms - awake.start_ms) / 1000.0))
    parts = [_NO_FRAMES]
    for place, sender in enumerate(senders):
        if sender.when(awake):
            parts.append(_sent(awake, sender, rates, _STAGGER_S * (place + 1), window_s))
    for place, poll in enumerate(polls):
        parts += _exchange(awake, poll, rates.polls_s, _FIRST_POLL_S + _POLL_GAP_S * place, window_s)
    wall_ns = np.concatenate([p.wall_ns for p in parts])
    order = np.argsort(wall_ns, kind="stable")
    low, high = np.searchsorted(wall_ns[order], [from_ms * NS_PER_MS, to_ms * NS_PER_MS])
    order = order[low:high]  # an answer may run over the edge of the window; the next window has the rest
    return Columns(
        wall_ns[order],
        np.concatenate([p.can_id for p in parts])[order],
        np.concatenate([p.length for p in parts])[order],
        np.concatenate([p.data for p in parts])[order],
    )


def _sent(awake: Awake, sender: Sender, rates: Rates, phase_s: float, window_s: tuple[float, float]) -> Columns:
    """An id's frames in the window. A burst counts its frames one by one."""
    from_s, to_s = window_s
    native_s = sender.cycle_ms / 1000.0
    fast_s = rates.charge_s if awake.plugged else rates.drive_s
    cycle_s = max(native_s * sender.burst, fast_s if sender.often else rates.slow_s)
    first = max(0, int((from_s - phase_s - sender.burst * native_s) / cycle_s))
    rounds = np.arange(first, max(0, int((to_s - phase_s) / cycle_s)) + 1)
    k = (rounds[:, None] * sender.burst + np.arange(sender.burst)).ravel()
    t_s = (rounds[:, None] * cycle_s + np.arange(sender.burst) * native_s).ravel() + phase_s
    inside = t_s < awake.seconds
    k, t_s = k[inside], t_s[inside]
    data = sender.fill(Seen(awake, k, t_s))
    data[:, sender.length :] = 0
    return _columns(awake, t_s, sender.can_id, data, sender.length)


def _exchange(
    awake: Awake, poll: Poll, round_s: float, phase_s: float, window_s: tuple[float, float]
) -> Sequence[Columns]:
    """Question, answer and flow control as ISO 15765-2 frames, padded with zeros; whole exchanges only."""
    from_s, to_s = window_s
    cycle_s = round_s * poll.every
    first = max(0, int((from_s - phase_s - _POLL_GAP_S) / cycle_s))
    k = np.arange(first, max(0, int((to_s - phase_s) / cycle_s)) + 1)
    k = k[k * cycle_s + phase_s + _POLL_GAP_S < awake.seconds]
    if not len(k):
        return []
    t_s = (k * cycle_s + phase_s).astype(np.float64)
    answers = poll.answer(Seen(awake, k, t_s))
    n, length = answers.shape

    def asked(payload: bytes, at: int) -> Columns:
        data = np.tile(np.frombuffer(payload.ljust(8, b"\0"), np.uint8), (n, 1))
        return _columns(awake, t_s + at * _FRAME_GAP_S, poll.tx, data)

    def answered(head: bytes, body: ByteArray, at: int) -> Columns:
        data = np.zeros((n, 8), np.uint8)
        data[:, : len(head)] = np.frombuffer(head, np.uint8)
        data[:, len(head) : len(head) + body.shape[1]] = body
        return _columns(awake, t_s + at * _FRAME_GAP_S, poll.rx, data)

    frames = [asked(bytes([len(poll.request)]) + poll.request, 0)]
    if length <= 7:
        return [*frames, answered(bytes([length]), answers, 1)]
    frames.append(answered(bytes([0x10 | length >> 8, length & 0xFF]), answers[:, :6], 1))
    frames.append(asked(b"\x30", 2))
    for number, start in enumerate(range(6, length, 7), start=1):
        frames.append(answered(bytes([0x20 | number & 0x0F]), answers[:, start : start + 7], 2 + number))
    return frames


def _columns(awake: Awake, t_s: FloatArray, can_id: int, data: ByteArray, length: int = 8) -> Columns:
    n = len(t_s)
    wall_ns = awake.start_ms * NS_PER_MS + np.rint(t_s * NS_PER_S).astype(np.int64)
    return Columns(wall_ns, np.full(n, can_id, np.uint32), np.full(n, length, np.uint8), data)


def counting(seen: Seen) -> ByteArray:
    """Bytes without a meaning, for ids that nobody decodes."""
    data: ByteArray = (seen.k[:, None] * np.array([1, 0, 3, 0, 5, 0, 7, 0]) % 251).astype(np.uint8)
    return data


def answer(seen: Seen, template: bytes, *fields: tuple[int, int, Physical]) -> ByteArray:
    """Answers after a template; `fields`: first byte after service and identifier, bytes, raw value (big-endian)."""
    rows = np.tile(np.frombuffer(template, np.uint8), (len(seen), 1))
    for first, size, value in fields:
        raw = np.broadcast_to(np.rint(np.asarray(value, np.float64)).astype(np.int64), (len(seen),))
        for byte in range(size):
            rows[:, 2 + first + byte] = (raw >> (8 * (size - 1 - byte))) & 0xFF
    return rows


_NO_FRAMES: Final = Columns(
    np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.uint8), np.empty((0, 8), np.uint8)
)
_NOISE: Final[FloatArray] = np.random.default_rng(4099).normal(size=_NOISE_LENGTH)
