"""`packbook web`: serve pages and the API, reading only, but for the record of who read."""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI

from packbook.adapters.store import open_reader
from packbook.app.command import DONE, add_settings, run
from packbook.app.evidence import book_evidence
from packbook.app.pages import pages_over
from packbook.ports import PackbookError
from packbook.settings import Settings
from packbook.web.live import hub_in

OPEN_ANSWERS_WAIT_MAX_S: Final = 2  # for answers under way when we are asked to stop


class PortTaken(PackbookError):
    """Another program listens there. Choose another `web_port`, or 0 for a free one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, web)


async def web(settings: Settings) -> int:
    with listening(settings) as door:
        async with open_reader(settings.database_url.get_secret_value()) as database:
            app = pages_over(settings, database, book_evidence(settings, database), own=False)
            await serve_pages(app, door, say_where, settings.trusted_proxies)
    return DONE


def say_where(url: str) -> None:
    print(f"pages at {url}", flush=True)


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The socket that pages will be served on, taken before anything else is begun. Raises PortTaken."""
    with taken("web_port", settings.web_host, settings.web_port) as door:
        yield door


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


async def serve_pages(
    app: FastAPI, door: socket.socket, on_ready: Callable[[str], None], proxies: Sequence[str] = ()
) -> None:
    """Until cancelled. `on_ready` hears the address once requests are answered."""
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
        await hub_in(app).aclose()  # streams that never end would be waited for, and then cut
        server.should_exit = True
        await serving
        raise
