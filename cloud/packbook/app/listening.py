"""Doors that are listened at over HTTP: a port taken before anything else is begun, and an application behind it.

In:  an address from the settings, an ASGI application.
Out: answers, until cancelled; then those under way are finished. Raises PortTaken, which names the setting.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from packbook.ports.trouble import PackbookError

OPEN_ANSWERS_WAIT_MAX_S: Final = 2  # for answers under way when we are asked to stop


class PortTaken(PackbookError):
    """Another program listens there. Choose another `web_port`, or 0 for a free one."""


@contextmanager
def taken(setting: str, host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens there. Raises PortTaken, which names the setting."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        door = socket.create_server((host, port), family=family)
    except OSError as problem:
        raise PortTaken(
            f"{setting} {port} on {host}: {problem.strerror}; set another, or 0 for a free one"
        ) from problem
    with door:
        yield door


class Server(uvicorn.Server):
    """uvicorn without its own signal handling (ours stops everything together), and with word when it is ready."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_app(
    app: ASGIApp,
    door: socket.socket,
    on_ready: Callable[[str], None],
    *,
    proxies: Sequence[str] = (),
    on_leave: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Until cancelled; `on_leave` comes first then."""
    config = uvicorn.Config(
        app,
        forwarded_allow_ips=list(proxies),  # whose word on the client's address and on TLS counts; nobody else's
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=OPEN_ANSWERS_WAIT_MAX_S,
    )
    host, port = door.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    server = Server(config, lambda: on_ready(f"http://{shown}:{port}/"))
    serving = asyncio.create_task(server.serve(sockets=[door]), name="pages")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        if on_leave is not None:
            await on_leave()
        server.should_exit = True
        await serving
        raise
