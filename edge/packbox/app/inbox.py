"""Between the bus and the fold: a queue with an end, a bound, and a count of what it had to drop.

In:  frame batches and ticks, one at a time.
Out: everything that came since the last look, in order.
A recording or a simulated car waits for room. A live bus cannot wait: then the oldest batch goes and its frames
are counted, because what happens now says more than what is already late.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from packbox.core.frames import FrameBatch
from packbox.core.stamp import Tick

ROOM_FRAMES: Final = 200_000  # 25 s of two buses at 4,000 frames/s; about 6 MB
RECORDING_ROOM_FRAMES: Final = 20_000  # folded in one go: short enough to leave in time when asked to
ROOM_ITEMS: Final = 2_000  # ticks and small batches cost memory too


class Inbox:
    """For one writer and one reader on the same event loop."""

    def __init__(self, *, may_wait: bool, room_frames: int = ROOM_FRAMES, room_items: int = ROOM_ITEMS) -> None:
        self.dropped_frames = 0
        self._may_wait = may_wait
        self._room_frames = room_frames
        self._room_items = room_items
        self._items: deque[FrameBatch | Tick] = deque()
        self._frames = 0
        self._changed = asyncio.Event()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Nothing is here and nothing will come."""
        return self._ended and not self._items

    @property
    def empty(self) -> bool:
        return not self._items

    async def put(self, item: FrameBatch | Tick) -> None:
        assert not self._ended
        while self._may_wait and self._is_full():
            self._changed.clear()
            await self._changed.wait()
        self._items.append(item)
        self._frames += _frames_in(item)
        while not self._may_wait and self._is_over() and len(self._items) > 1:
            oldest = self._items.popleft()
            self._frames -= _frames_in(oldest)
            self.dropped_frames += _frames_in(oldest)
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    async def take(self, wait_s: float) -> list[FrameBatch | Tick]:
        """What is here; waits up to `wait_s` for something or for the end. Empty when nothing came."""
        if not self._items and not self._ended:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                return []
        taken = list(self._items)
        self._items.clear()
        self._frames = 0
        self._changed.set()
        return taken

    def _is_full(self) -> bool:
        return self._frames >= self._room_frames or len(self._items) >= self._room_items

    def _is_over(self) -> bool:
        return self._frames > self._room_frames or len(self._items) > self._room_items


def _frames_in(item: FrameBatch | Tick) -> int:
    return len(item) if isinstance(item, FrameBatch) else 0
