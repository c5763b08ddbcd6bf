"""An event loop whose time is free: when nothing is ready it leaps to the next timer instead of waiting.

In:  coroutines that sleep, with timeouts and queues of this loop. Out: the same order of everything, every time.
Refuses to wait for nothing: when no timer is left and nothing is ready, nobody will ever wake, and that is an error.
Threads, sockets and processes do not exist here: work that blocks is called, and takes no time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Leap(selectors.SelectSelector):
    """Watches nothing. Asked to wait, it moves the loop's time on."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is ready and no timer runs: the world stands still for ever"
        self.now_s += max(timeout, 0.0)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Begins at 0 s."""

    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        return self._leap.now_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
