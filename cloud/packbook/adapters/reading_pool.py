"""Signatures checked and records decoded by processes of their own, for a collector that fills its processor.

In:  arrivals and the public keys on file, as `core.intake.read_all` takes them.
Out: the same readings.
Handing records over costs a seventh of reading them, so this pays where processors are idle, and only there.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final

from packbook.core import intake
from packbook.core.intake import Arrival, Keys, Reading
from packbook.ports.trouble import StoreError

SHARE_LEAST: Final = 50  # arrivals that are worth the way to another process


class ReadingPool:
    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool = self._begin()

    def _begin(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, mp_context=context, initializer=_leave_with_parent)

    async def read_all(self, arrivals: Sequence[Arrival], keys: Keys) -> list[Reading]:
        """Raises StoreError when a process died: the batch is offered again, to new ones."""
        size = max(SHARE_LEAST, -(-len(arrivals) // self._processes))
        shares = [arrivals[begin : begin + size] for begin in range(0, len(arrivals), size)]
        loop = asyncio.get_running_loop()
        try:
            found = await asyncio.gather(
                *(loop.run_in_executor(self._pool, intake.read_all, share, _needed(share, keys)) for share in shares)
            )
        except BrokenProcessPool as problem:
            self._pool = self._begin()
            raise StoreError(f"a process that checks signatures ended: {problem}") from problem
        return intake.with_keys_brought(arrivals, [reading for share in found for reading in share], keys)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _needed(share: Sequence[Arrival], keys: Keys) -> Keys:
    boxes = intake.boxes_named(share)
    return {name: key for name, key in keys.items() if name[0] in boxes}


def _leave_with_parent() -> None:
    """A process waits for work on a pipe whose other end its siblings hold too: it would never hear that we died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ours to pass on
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
