"""Bring frames from the source into the inbox, for as long as there is a source.

A bus that goes away is opened again, first soon, then patiently. Only a frame proves that it is back: an interface
that opens and fails again at once must not be hammered. Meanwhile ticks go on, so that sessions close and days end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import numpy as np

from packbox.app.inbox import Inbox
from packbox.core.frames import ERROR, FrameBatch
from packbox.core.stamp import Tick
from packbox.ports import BusDownError, Clock, FrameSource

log = logging.getLogger(__name__)

AGAIN_MIN_S: Final = 1.0  # an interface that was only reconfigured is back by then
AGAIN_MAX_S: Final = 30.0  # a car that wakes up is not missed for longer than this
TICK_EVERY_S: Final = 1.0


class Listener:
    """`down` says why there is no bus now; None while there is one. `heard_ns`: when the newest frame was taken.

    `hearers` get every batch at once.
    """

    def __init__(self, source: FrameSource, inbox: Inbox, clock: Clock) -> None:
        self.down: str | None = None
        self.heard_ns: int | None = None
        self.hearers: list[Callable[[FrameBatch], None]] = []
        self._source = source
        self._inbox = inbox
        self._clock = clock
        self._wait_s = AGAIN_MIN_S

    async def run(self) -> None:
        """Returns when the source ends. The inbox is ended in any case."""
        try:
            while True:
                try:
                    async for item in self._source.inputs():
                        self._heard(item)
                        await self._inbox.put(item)
                    return
                except BusDownError as problem:
                    self._lost(problem)
                    await self._wait()
        finally:
            self._inbox.end()

    def _heard(self, item: FrameBatch | Tick) -> None:
        if not isinstance(item, FrameBatch) or not len(item):
            return
        for hear in self.hearers:
            hear(item)
        if not np.any(item.flags & ERROR == 0):
            return  # nothing but what the controller itself says
        self.heard_ns = self._clock.now().mono_ns
        self._wait_s = AGAIN_MIN_S
        if self.down is not None:
            log.info("frames again")
            self.down = None

    def _lost(self, problem: BusDownError) -> None:
        if self.down is None:
            log.warning("no bus, trying again: %s", problem)
        self.down = str(problem)

    async def _wait(self) -> None:
        left_s, self._wait_s = self._wait_s, min(self._wait_s * 2, AGAIN_MAX_S)
        while left_s > 0:
            await self._inbox.put(Tick(self._clock.now()))
            await asyncio.sleep(min(left_s, TICK_EVERY_S))
            left_s -= TICK_EVERY_S
