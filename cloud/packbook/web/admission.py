"""Only so many reads at work at a time: the others wait in turn, in memory, and none in vain for a connection.

In:  requests. Out: the same, in the order they came; 503 with Retry-After to whoever finds the queue full.
A place is given back when the answer is made, before it is sent: nobody holds one by taking an answer slowly, nor by
sending slowly, for forms take none. Streams take none either, which hardly work; nor do static files, nor the questions
whether we are well, which are to be answered when all else is busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

AT_WORK_MAX: Final = 8  # there are fewer processors, and no fewer connections that are not waited for long
WAITING_MAX: Final = 1000
FREE: Final = ("/static/", "/healthz", "/readyz", "/api/v1/live")


class Admission:
    """ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        refuse: Callable[[Request], Awaitable[Response]],
        at_work_max: int = AT_WORK_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self.app = app
        self._refuse = refuse
        self._places = asyncio.Semaphore(at_work_max)  # given in the order they were asked for
        self._waiting = 0
        self._waiting_max = waiting_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["path"].startswith(FREE):
            await self.app(scope, receive, send)
            return
        if self._waiting >= self._waiting_max and self._places.locked():
            answer = await self._refuse(Request(scope, receive))
            await answer(scope, receive, send)
            return
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        held = True

        async def send_freed(message: Message) -> None:
            nonlocal held
            if held:
                held = False
                self._places.release()
            await send(message)

        try:
            await self.app(scope, receive, send_freed)
        finally:
            if held:
                self._places.release()
