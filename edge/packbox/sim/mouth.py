"""How a control unit says an answer: frame by frame, a long one as the asker's flow control wants it (ISO 15765-2).

In:  a whole answer and when it begins; the flow control frames of whoever asked.
Out: frames on a `Bus`, on the loop's time.
A new question ends what was being said; an asker who sends no flow control within a second gets no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from packbox.core.frames import CLASSIC_BYTES
from packbox.core.isotp import CONTINUATION_BYTES, FIRST_FRAME_BYTES

CAR: Final = "car"
CONTINUED_DELAY_S: Final = 0.0015  # the least time from frame to frame, whatever shorter one is asked for
FLOW_CONTROL_WITHIN_S: Final = 1.0  # ISO 15765-2, N_Bs
PADDING: Final = b"\xaa"
GO_ON: Final = 0
WAIT: Final = 1

Heard = Callable[[int, bytes], None]


class Bus(Protocol):
    """Where units speak: a bus in memory, or a bridge to another one."""

    def join(self, name: str, heard: Heard) -> None: ...
    def send(self, name: str, key: int, data: bytes) -> None: ...


class Mouth:
    """One answering id, `key` as `core.profile.message_key` makes it."""

    def __init__(self, bus: Bus, key: int) -> None:
        self._bus = bus
        self._key = key
        self._due: list[asyncio.TimerHandle] = []
        self._rest: Sequence[bytes] = ()
        self._until_s = 0.0

    def hush(self) -> None:
        for handle in self._due:
            handle.cancel()
        self._due.clear()
        self._rest = ()

    def say(self, frames: Sequence[bytes], delay_s: float) -> None:
        """The first frame; the others when flow control comes."""
        self._later(delay_s, frames[0])
        if frames[1:]:
            self._rest = frames[1:]
            self._until_s = asyncio.get_running_loop().time() + delay_s + FLOW_CONTROL_WITHIN_S

    def hear_flow(self, data: bytes) -> None:
        now_s = asyncio.get_running_loop().time()
        if not self._rest or now_s > self._until_s:
            return
        status = data[0] & 0x0F
        if status == WAIT:
            self._until_s = now_s + FLOW_CONTROL_WITHIN_S
        elif status != GO_ON:
            self._rest = ()
        else:
            block = data[1] if len(data) > 1 and data[1] else len(self._rest)
            gap_s = max(CONTINUED_DELAY_S, separation_s(data[2] if len(data) > 2 else 0))
            said, self._rest = self._rest[:block], self._rest[block:]
            for k, frame in enumerate(said, 1):
                self._later(k * gap_s, frame)
            self._until_s = now_s + len(said) * gap_s + FLOW_CONTROL_WITHIN_S

    def _later(self, delay_s: float, frame: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._due = [handle for handle in self._due if handle.when() > loop.time()]
        self._due.append(loop.call_later(delay_s, self._bus.send, CAR, self._key, frame))


def separation_s(code: int) -> float:
    """STmin: milliseconds up to 7F, hundreds of microseconds from F1 to F9; what is reserved means the longest."""
    if 0xF1 <= code <= 0xF9:
        return (code - 0xF0) * 1e-4
    return min(code, 0x7F) * 1e-3


def iso_tp(answer: bytes) -> list[bytes]:
    """The frames that carry an answer, padded."""
    if len(answer) <= CONTINUATION_BYTES:
        return [single(answer)]
    frames = [bytes((0x10 | len(answer) >> 8, len(answer) & 0xFF)) + answer[:FIRST_FRAME_BYTES]]
    for k, begin in enumerate(range(FIRST_FRAME_BYTES, len(answer), CONTINUATION_BYTES), 1):
        frames.append(_padded(bytes((0x20 | k & 0x0F,)) + answer[begin : begin + CONTINUATION_BYTES]))
    return frames


def single(answer: bytes) -> bytes:
    return _padded(bytes((len(answer),)) + answer)


def _padded(frame: bytes) -> bytes:
    return frame.ljust(CLASSIC_BYTES, PADDING)
