"""`packbook web`: serve pages and the API, reading only, but for the record of who read."""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fastapi import FastAPI

from packbook.adapters.metrics import Metrics
from packbook.adapters.store import open_reader
from packbook.app.command import DONE, add_settings, run
from packbook.app.condition import ProcessCondition, ops_door, serve_ops
from packbook.app.evidence import book_evidence
from packbook.app.listening import serve_app, taken
from packbook.app.pages import pages_over
from packbook.settings import Settings
from packbook.web.live import hub_in
from packwire import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)


def main(args: argparse.Namespace) -> int:
    return run(args, web)


async def web(settings: Settings) -> int:
    with listening(settings) as door, ops_door(settings) as ops:
        async with open_reader(settings.database_url.get_secret_value()) as database:
            condition = ProcessCondition(database, Metrics(__version__))
            evidence = book_evidence(settings, database)
            async with asyncio.TaskGroup() as book:
                if ops is not None:
                    book.create_task(serve_ops(condition, ops), name="metrics")
                app = pages_over(settings, database, evidence, own=False, condition=condition)
                book.create_task(serve_pages(app, door, say_where, settings.trusted_proxies), name="web")
    return DONE


def say_where(url: str) -> None:
    print(f"pages at {url}", flush=True)


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The socket that pages will be served on, taken before anything else is begun. Raises PortTaken."""
    with taken("web_port", settings.web_host, settings.web_port) as door:
        yield door


async def serve_pages(
    app: FastAPI, door: socket.socket, on_ready: Callable[[str], None], proxies: Sequence[str] = ()
) -> None:
    """Until cancelled. `on_ready` hears the address once requests are answered."""
    # Streams that never end would be waited for, and then cut.
    await serve_app(app, door, on_ready, proxies=proxies, on_leave=hub_in(app).aclose)
