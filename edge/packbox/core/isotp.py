"""Put the answers of diagnostic polls together by listening (ISO 15765-2), whoever asked.

In:  frames on request and answer ids, one by one: they are rare.
Out: `Answer` at the frame that completes it; broken and negative ones counted.
Never sends: flow control is the tester's business and only read past here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from packbox.core.profile import NEGATIVE_ANSWER

RESPONSE_PENDING: Final = 0x78
# ISO 15765-2 N_Cr is 1 s; twice that, because loggers stamp late.
CONTINUATION_LIMIT_NS: Final = 2_000_000_000
FIRST_FRAME_BYTES: Final = 6
CONTINUATION_BYTES: Final = 7
FRAME_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One answering id on one bus: what was asked last and what has come of the answer."""

    request: bytes = b""  # last single-frame request seen, empty = none
    expected: int = 0  # announced length, 0 = no answer is open
    data: bytes = b""
    next_index: int = 0
    mono_ns: int = 0  # of the newest frame of the open answer
    skipping: bool = False  # continuation frames of an answer already given up


IDLE: Final = Line()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, service byte first. `request` is what was seen asked last on this pair, if anything was."""

    request: bytes | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    line: Line
    answer: Answer | None = None
    broken: int = 0
    negative: int = 0


def hear_request(line: Line, frame: bytes) -> Line:
    """A frame on the request id. Flow control and anything longer than one frame change nothing."""
    length = frame[0] if frame else 0
    if 1 <= length <= CONTINUATION_BYTES and length < len(frame):
        return replace(line, request=frame[1 : 1 + length])
    return line


def hear_answer(line: Line, frame: bytes, mono_ns: int) -> Heard:
    """A frame on the answer id."""
    if not frame:
        return Heard(line, broken=1)
    kind = frame[0] >> 4
    if kind == 0:
        return _single(line, frame)
    if kind == 1:
        return _first(line, frame, mono_ns)
    if kind == 2:
        return _continuation(line, frame, mono_ns)
    return Heard(line)  # flow control of the answering side, or no ISO-TP at all


def _single(line: Line, frame: bytes) -> Heard:
    given_up = 1 if line.expected else 0
    length = frame[0]
    idle = Line(line.request)
    if not 1 <= length < len(frame):
        return Heard(idle, broken=given_up + 1)
    return _complete(idle, frame[1 : 1 + length], given_up)


def _first(line: Line, frame: bytes, mono_ns: int) -> Heard:
    given_up = 1 if line.expected else 0
    expected = (frame[0] & 0x0F) << 8 | (frame[1] if len(frame) > 1 else 0)
    if len(frame) < FRAME_BYTES or expected <= CONTINUATION_BYTES:
        return Heard(Line(line.request, skipping=True), broken=given_up + 1)
    return Heard(Line(line.request, expected, frame[2:FRAME_BYTES], 1, mono_ns), broken=given_up)


def _continuation(line: Line, frame: bytes, mono_ns: int) -> Heard:
    if not line.expected:
        return Heard(replace(line, skipping=True), broken=0 if line.skipping else 1)
    wanted = min(line.expected - len(line.data), CONTINUATION_BYTES)
    late = mono_ns - line.mono_ns > CONTINUATION_LIMIT_NS
    if frame[0] & 0x0F != line.next_index or len(frame) < 1 + wanted or late:
        return Heard(Line(line.request, skipping=True), broken=1)
    data = line.data + frame[1 : 1 + wanted]
    if len(data) < line.expected:
        return Heard(Line(line.request, line.expected, data, (line.next_index + 1) & 0x0F, mono_ns))
    return _complete(Line(line.request), data, 0)


def _complete(line: Line, data: bytes, broken: int) -> Heard:
    if data[0] == NEGATIVE_ANSWER:
        waiting = len(data) > 2 and data[2] == RESPONSE_PENDING
        return Heard(line, broken=broken, negative=0 if waiting else 1)
    return Heard(line, Answer(line.request or None, data), broken)


def window_of(frame: bytes) -> tuple[int, bytes, int | None] | None:
    """(offset in the answer, its bytes there, whole length if announced) of a frame seen alone; None if it is no part.

    A continuation frame's place is read from its index, so it is right only within the first 15 of them.
    """
    if not frame:
        return None
    kind = frame[0] >> 4
    if kind == 0 and 1 <= frame[0] < len(frame):
        return 0, frame[1 : 1 + frame[0]], frame[0]
    if kind == 1 and len(frame) == FRAME_BYTES:
        return 0, frame[2:], (frame[0] & 0x0F) << 8 | frame[1]
    if kind == 2 and frame[0] & 0x0F:
        return FIRST_FRAME_BYTES + CONTINUATION_BYTES * ((frame[0] & 0x0F) - 1), frame[1:], None
    return None
