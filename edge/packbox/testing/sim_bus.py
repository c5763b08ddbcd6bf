"""The bus of a simulated car as a box on it hears it now: late joiners missed what was, nothing waits for anybody.

In:  a `SimCar` (or another one from some day on), the true time, the box's clock, what is wrong with the wire.
Out: `ports.FrameSource` on the event loop's time: frames as they happened, ticks while the bus is silent.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np

from packbox.clock import SystemClock
from packbox.core.frames import FrameBatch
from packbox.core.stamp import NS_PER_MS, Tick
from packbox.ports import BusDownError
from packbox.sim.car import Asleep, Awake, SimCar
from packbox.sim.frames import ECONOMICAL, Columns, Poll, Sender, encode
from packbox.sim.source import voices
from packbox.testing.sim_clock import SimMachine

TORN_SHARE: Final = 0.01


class Wire(StrEnum):
    """What is wrong between the car and the box."""

    SOUND = "sound"
    SILENT = "silent"  # the plug fell out
    OFF = "off"  # the controller is bus-off, or its interface is down
    TORN = "torn"  # frames come shorter than they were sent


@dataclass(frozen=True, slots=True)
class Pieces:
    """How much is handed over at once."""

    drive_s: float = 20.0
    charge_s: float = 120.0
    tick_s: float = 300.0


class SimLife:
    """A car's frames, made once a stretch, for every box that hears it."""

    def __init__(self, car: SimCar, from_ms: int) -> None:
        self.car = car
        self._stretches: Iterator[Awake | Asleep] = car.stretches(from_ms)
        self._senders: list[Sender]
        self._polls: list[Poll]
        self._senders, self._polls = voices(car.model, car.seed)
        self.now = next(self._stretches)
        self._columns: Columns | None = None

    def at(self, true_ms: float) -> Awake | Asleep:
        while self.now.end_ms <= true_ms:
            self.now, self._columns = next(self._stretches), None
        return self.now

    def frames(self, from_ms: float, to_ms: float) -> Columns:
        """Of the present stretch."""
        assert isinstance(self.now, Awake)
        if self._columns is None:
            self._columns = encode(self.now, self._senders, self._polls, ECONOMICAL, self.now.start_ms, self.now.end_ms)
        whole = self._columns
        low, high = np.searchsorted(whole.wall_ns, [int(from_ms * NS_PER_MS), int(to_ms * NS_PER_MS)])
        return Columns(whole.wall_ns[low:high], whole.can_id[low:high], whole.length[low:high], whole.data[low:high])


class SimBus:
    """`ports.FrameSource`. `life` and `wire` may be changed while it runs."""

    def __init__(
        self,
        life: SimLife | None,
        true_ms: Callable[[], float],
        clock: SystemClock,
        machine: SimMachine,
        pieces: Pieces,
        dice: random.Random,
    ) -> None:
        self.life = life  # None: on the workshop's table
        self.wire = Wire.SOUND
        self._true_ms = true_ms
        self._clock = clock
        self._machine = machine
        self._pieces = pieces
        self._dice = dice

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        while True:
            if self.wire is Wire.OFF:
                raise BusDownError("simulated: bus-off")
            now_ms = self._true_ms()
            stretch = None if self.life is None else self.life.at(now_ms)
            if not isinstance(stretch, Awake):
                left_s = self._pieces.tick_s if stretch is None else (stretch.end_ms - now_ms) / 1000
                await asyncio.sleep(min(self._pieces.tick_s, max(left_s, 0.001)))
                yield Tick(self._clock.now())
                continue
            piece_s = self._pieces.charge_s if stretch.plugged else self._pieces.drive_s
            to_ms = min(now_ms + piece_s * 1000, stretch.end_ms)
            life = self.life
            assert life is not None
            columns = life.frames(now_ms, to_ms)
            await asyncio.sleep((to_ms - now_ms) / 1000)
            if self.wire in (Wire.SILENT, Wire.OFF) or not len(columns):
                yield Tick(self._clock.now())
            else:
                yield self._batch(columns)

    def _batch(self, columns: Columns) -> FrameBatch:
        stamp = self._clock.now()
        n = len(columns)
        batch = FrameBatch(
            stamp.boot,
            None if stamp.wall_ms is None else stamp.wall_ms - stamp.mono_ns // NS_PER_MS,
            self._machine.mono_ns_at(columns.wall_ns),
            np.zeros(n, np.uint8),
            columns.can_id,
            np.zeros(n, np.uint8),
            columns.length,
            columns.data,
        )
        return self._torn(batch) if self.wire is Wire.TORN else batch

    def _torn(self, batch: FrameBatch) -> FrameBatch:
        length, data = batch.length.copy(), batch.data.copy()
        for k in range(len(batch)):
            if self._dice.random() < TORN_SHARE:
                length[k] = self._dice.randrange(8)
                data[k, length[k] :] = 0
        return replace(batch, length=length, data=data)
