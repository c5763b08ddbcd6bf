"""`packbook web`: serve pages and the API, reading only, but for the record of who read."""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from packbook.adapters.metrics import Metrics
from packbook.adapters.store import open_reader
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.watch import SqlWatch
from packbook.app.access import access_for, gate_beside
from packbook.app.command import DONE, add_settings, run
from packbook.app.condition import ProcessCondition, ops_door, serve_ops
from packbook.app.credentials import BookCredentials, issuer_of
from packbook.app.evidence import book_evidence
from packbook.app.listening import serve_app, taken
from packbook.ports import Condition, Credentials, Evidence, Histories, Watch
from packbook.settings import Settings
from packbook.web.access import Access
from packbook.web.app import create_app
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
            access = access_for(settings, gate_beside(settings, database), database)
            signed = BookCredentials(database, issuer_of(settings))
            async with asyncio.TaskGroup() as book:
                if ops is not None:
                    book.create_task(serve_ops(condition, ops), name="metrics")
                pages = serve_pages(
                    SqlHistories(database),
                    evidence,
                    access,
                    signed,
                    door,
                    say_where,
                    watch=SqlWatch(database),
                    condition=condition,
                )
                book.create_task(pages, name="web")
    return DONE


def say_where(url: str) -> None:
    print(f"pages at {url}", flush=True)


@contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The socket that pages will be served on, taken before anything else is begun. Raises PortTaken."""
    with taken("web_port", settings.web_host, settings.web_port) as door:
        yield door


async def serve_pages(
    histories: Histories,
    evidence: Evidence,
    access: Access,
    signed: Credentials,
    door: socket.socket,
    on_ready: Callable[[str], None],
    *,
    watch: Watch | None = None,
    condition: Condition | None = None,
) -> None:
    """Until cancelled. `on_ready` hears the address once requests are answered."""
    app = create_app(histories, evidence, access=access, signed=signed, watch=watch, condition=condition)
    # Streams that never end would be waited for, and then cut.
    await serve_app(app, door, on_ready, hub_in(app).aclose)
