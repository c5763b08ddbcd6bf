"""A diagnostic bus in memory, on the loop's time, for the units of `packbox.sim.units` and a box that asks them.

In:  what nodes send.
Out: every frame at every other node; `SimBus.frames` keeps them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from packbox.core.exchange import OutFrame
from packbox.core.frames import CLASSIC_BYTES, EXTENDED, SENT, FrameBatch, join
from packbox.core.profile import EXTENDED_BIT
from packbox.core.stamp import NS_PER_S, Tick
from packbox.ports import BusBusyError
from packbox.sim.mouth import Heard
from packbox.testing.sim_clock import LoopClock

FRAME_S: Final = 0.00025  # eight bytes at 500 kbit/s
BOX: Final = "box"
_GATHER_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class BusFrame:
    at_s: float
    sender: str
    key: int
    data: bytes


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
