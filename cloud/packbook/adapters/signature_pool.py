"""Signatures checked by processes of their own, beside a collector that has enough to do with what the records say.

In:  arrivals and the public keys on file, as `core.intake.read_all` takes them.
Out: the same readings.
A check takes longer than anything else that happens to a record, and little to hand over: three short strings there,
one byte back. A record that a process does not believe is checked again here, where the reason is told.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final

from packbook.core import intake
from packbook.core.intake import Arrival, Claims, Keys, Reading

SHARE_LEAST: Final = 50  # signatures that are worth the way to another process

log = logging.getLogger(__name__)


class SignaturePool:
    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool = self._begin()

    def _begin(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, mp_context=context, initializer=_leave_with_parent)

    async def read_all(self, arrivals: Sequence[Arrival], keys: Keys) -> list[Reading]:
        opened = await asyncio.to_thread(intake.open_all, arrivals, keys)
        claims = [(place, claim) for place, one in enumerate(opened) if (claim := intake.claim_of(one)) is not None]
        proven = await self._proven([claim for _, claim in claims])
        places = frozenset(place for (place, _), holds in zip(claims, proven, strict=True) if holds)
        return await asyncio.to_thread(intake.believe, arrivals, opened, keys, places)

    async def _proven(self, claims: Claims) -> bytes:
        """A 1 for each that holds. Few are left to whoever asks, and so are all when a process ended."""
        if len(claims) < SHARE_LEAST:
            return bytes(len(claims))
        size = max(SHARE_LEAST, -(-len(claims) // self._processes))
        loop, pool = asyncio.get_running_loop(), self._pool
        shares = [claims[begin : begin + size] for begin in range(0, len(claims), size)]
        try:
            return b"".join(await asyncio.gather(*(loop.run_in_executor(pool, intake.hold, share) for share in shares)))
        except BrokenProcessPool as problem:
            log.warning("a process that checks signatures ended, another one begins: %s", problem)
            if self._pool is pool:
                self._pool = self._begin()
            return bytes(len(claims))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _leave_with_parent() -> None:
    """A process waits for work on a pipe whose other end its siblings hold too: it would never hear that we died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ours to pass on
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
