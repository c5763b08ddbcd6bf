"""A recorded log as a frame source: once, at the pace of the recording or as fast as it is taken.

In:  a log of any format that `adapters.logs` reads, and how many of its frames were folded in an earlier run.
Out: `FrameBatch`es on the log's own timeline. The boot id comes from the log's first bytes: a restart half way goes on
in the same boot, and a second run over the same log has nothing new to say.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from packbox.adapters.logs import BATCH_FRAMES, read_log
from packbox.core.frames import FrameBatch
from packbox.core.stamp import NS_PER_S, BootId, Tick
from packbox.ports import LogFormatError

HEAD_BYTES: Final = 65_536  # two recordings do not begin with the same thousand frames
PACED_BATCH_FRAMES: Final = 512  # a quarter of a second of a busy bus: live enough to look at


class LogSource:
    """`ports.FrameSource`. `speed`: times faster than recorded; None: as fast as taken. `boot`: of `log_boot`.

    `skip_frames`: how many were folded in an earlier run.
    """

    def __init__(self, path: Path, boot: BootId, speed: float | None, skip_frames: int = 0) -> None:
        assert speed is None or speed > 0
        self._path = path
        self._boot = boot
        self._speed = speed
        self._skip_frames = skip_frames

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        skip = self._skip_frames
        loop = asyncio.get_running_loop()
        began_s, first_ns = loop.time(), None
        size = BATCH_FRAMES if self._speed is None else PACED_BATCH_FRAMES
        with read_log(self._path, boot=self._boot, batch_frames=size) as reading:
            for batch in reading:
                if skip >= len(batch):
                    skip -= len(batch)
                    continue
                if skip:
                    batch, skip = batch.pick(slice(skip, None)), 0
                if first_ns is None:
                    first_ns = int(batch.mono_ns[0])
                if self._speed is not None:
                    due_s = began_s + (int(batch.mono_ns[-1]) - first_ns) / NS_PER_S / self._speed
                    await asyncio.sleep(max(0.0, due_s - loop.time()))
                yield batch
                await asyncio.sleep(0)  # others want to run too


def log_boot(path: Path) -> BootId:
    """A boot id that belongs to this log's content. Raises LogFormatError."""
    try:
        with path.open("rb") as file:
            return BootId(hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()[:16])
    except OSError as problem:
        raise LogFormatError(f"{path}: cannot be read: {problem.strerror}") from problem
