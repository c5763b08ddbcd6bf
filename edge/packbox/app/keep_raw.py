"""Keep raw frames beside the history, if the operator wants them: gather, pack and write in a thread of their own.

In:  the frame source, listened along. Out: blocks in the ring.
The reader never waits for us: what the card cannot take in time is dropped, and counted. No trouble of the ring leaves
this room: it is said once, and once when it is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from packbox.adapters.machine import disk_free_bytes
from packbox.adapters.ring import FOLDER, Ring
from packbox.adapters.ring_block import encode
from packbox.core.frames import FrameBatch, join
from packbox.core.stamp import NS_PER_S, Tick
from packbox.ports import FrameSource
from packbox.settings import Settings

log = logging.getLogger(__name__)

MB: Final = 2**20
BLOCK_NS: Final = 10 * NS_PER_S  # a power cut takes at most so much, as of everything else
BLOCK_FRAMES: Final = 32_768  # half a megabyte in memory, some ten thousand bytes packed
BACKLOG_FRAMES: Final = 4 * BLOCK_FRAMES  # what a card that stalls for ten seconds must not cost in memory
FREE_BYTES_MIN: Final = 64 * 2**20  # raw frames stop long before the journal lacks room (doctor fails below 50 MB)


@dataclass(frozen=True, slots=True)
class RawRoom:
    """How much raw frames may take: what the operator gave, what is left of the budget, what the disk has."""

    data_dir: Path
    ring_bytes: int
    budget_bytes: int

    def now(self) -> int:
        ring = _size(self.data_dir / FOLDER)
        others = sum(_size(place) for place in self.data_dir.iterdir() if place.name != FOLDER)
        free = disk_free_bytes(self.data_dir)
        limits = [self.ring_bytes, self.budget_bytes - others]
        if free is not None:
            limits.append(ring + free - FREE_BYTES_MIN)
        return max(0, min(limits))


class KeepRaw:
    """Iterate `along(source)` in place of the source; `close` at the end."""

    def __init__(self, room: RawRoom, bus_names: tuple[str, ...]) -> None:
        self.dropped_frames = 0
        self.trouble: str | None = None
        self._bus_names = bus_names
        self._ring = Ring(room.data_dir / FOLDER, room.now)
        self._thread = ThreadPoolExecutor(1, "raw")
        self._gathered: list[FrameBatch] = []
        self._frames = 0
        self._writing: asyncio.Future[None] | None = None

    async def close(self) -> None:
        """Write what is gathered."""
        while self._writing is not None or self._gathered:
            if self._writing is not None:
                await asyncio.wait([self._writing])
                self._writing = None
            self._write()
        self._thread.shutdown()
        self._ring.close()

    def along(self, source: FrameSource) -> FrameSource:
        return _Along(source, self)

    def hear(self, batch: FrameBatch) -> None:
        if not len(batch):
            return
        if self._gathered and batch.boot != self._gathered[-1].boot:
            self._write()
        self._gathered.append(batch)
        self._frames += len(batch)
        while self._frames > BACKLOG_FRAMES and len(self._gathered) > 1:
            lost = len(self._gathered.pop(0))
            self._frames -= lost
            self.dropped_frames += lost
        spans_ns = int(batch.mono_ns[-1]) - int(self._gathered[0].mono_ns[0])
        if self._frames >= BLOCK_FRAMES or not 0 <= spans_ns < BLOCK_NS:
            self._write()

    def _write(self) -> None:
        """Hand over what is gathered, unless the thread is still busy: then it waits for the next look."""
        if not self._gathered or (self._writing is not None and not self._writing.done()):
            return
        batches, self._gathered, self._frames = self._gathered, [], 0
        self._writing = asyncio.get_running_loop().run_in_executor(self._thread, self._append, batches)

    def _append(self, batches: list[FrameBatch]) -> None:
        for same_boot in _by_boot(batches):
            whole = join(same_boot)
            for begin in range(0, len(whole), BLOCK_FRAMES):
                part = whole.pick(np.arange(begin, min(begin + BLOCK_FRAMES, len(whole))))
                try:
                    self._ring.append(encode(part, self._bus_names))
                except OSError as problem:
                    self._fell(problem, len(part))
                else:
                    self._rose()

    def _fell(self, problem: OSError, frames: int) -> None:
        self.dropped_frames += frames
        if self.trouble is None:
            log.warning("raw frames are not kept: %s", problem)
        self.trouble = str(problem)

    def _rose(self) -> None:
        if self.trouble is not None:
            log.info("raw frames are kept again", extra={"DROPPED": self.dropped_frames})
            self.trouble = None


@dataclass(frozen=True, slots=True)
class _Along:
    source: FrameSource
    raw: KeepRaw

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        async for item in self.source.inputs():
            if isinstance(item, FrameBatch):
                self.raw.hear(item)
            yield item


def keep_raw(settings: Settings) -> KeepRaw:
    room = RawRoom(settings.data_dir, settings.raw_ring_mb * MB, settings.disk_budget_mb * MB)
    return KeepRaw(room, bus_names(settings.source))


def bus_names(source: str) -> tuple[str, ...]:
    """As far as the setting `source` names them."""
    kind, _, rest = source.partition(":")
    if kind == "socketcan":
        return tuple(rest.split(","))
    return (rest.rpartition(":")[2].rpartition("/")[2],) if kind == "can" else ()


def _by_boot(batches: list[FrameBatch]) -> list[list[FrameBatch]]:
    groups: list[list[FrameBatch]] = []
    for batch in batches:
        if groups and groups[-1][-1].boot == batch.boot:
            groups[-1].append(batch)
        else:
            groups.append([batch])
    return groups


def _size(place: Path) -> int:
    try:
        if place.is_dir():
            return sum(_size(inside) for inside in place.iterdir())
        return place.stat().st_size
    except FileNotFoundError:  # SQLite's companions and the ring's files come and go
        return 0
