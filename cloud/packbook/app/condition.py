"""How this process is, for programs that watch it: alive, ready, and in figures (docs/run.md).

In:  its database, its metrics, its collector if it has one.
Out: `ports.Condition`; and a door of its own for it, on `metrics_host` and `metrics_port`, that asks for no account.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from packbook.adapters.metrics import Metrics
from packbook.adapters.store.database import Database, head
from packbook.adapters.store.figures import book_figures
from packbook.app.listening import serve_app, taken
from packbook.clock import now_ms
from packbook.ports.taking import Condition, Readiness
from packbook.ports.trouble import StoreError
from packbook.settings import Settings
from packbook.web.ops import create_ops_app

ANSWER_WAIT_MAX_S: Final = 3.0  # who asks whether we are ready gives up after some seconds, too
FIGURES_EVERY_S: Final = 15.0  # however often we are asked, the database is not
OK: Final = "ok"

log = logging.getLogger(__name__)


class ProcessCondition:
    """`ports.Condition`. `source_up`: whether records can come in; None: this process takes none."""

    def __init__(self, database: Database, metrics: Metrics, source_up: Callable[[], bool] | None = None) -> None:
        self._database = database
        self._metrics = metrics
        self._source_up = source_up
        if source_up is not None:
            metrics.follow(source_up)
        self._looked_s = -FIGURES_EVERY_S
        self._turn = asyncio.Lock()

    async def readiness(self) -> Readiness:
        checks = {"database": await self._examine_database()}
        if self._source_up is not None:
            checks["collector"] = OK if self._source_up() else "not_connected"
        return Readiness(all(said == OK for said in checks.values()), checks)

    async def _examine_database(self) -> str:
        """A word, not the trouble itself: that names hosts and users, and anybody may ask."""
        try:
            async with asyncio.timeout(ANSWER_WAIT_MAX_S):
                return OK if await self._database.revision() == head() else "wrong_schema"
        except (StoreError, TimeoutError):
            return "unreachable"

    async def metrics(self) -> tuple[bytes, str]:
        async with self._turn:
            now_s = asyncio.get_running_loop().time()
            if now_s - self._looked_s >= FIGURES_EVERY_S:
                await self._look()
                self._looked_s = now_s
        return self._metrics.exposition()

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_WAIT_MAX_S):
                figures = await book_figures(self._database, now_ms())
        except (StoreError, TimeoutError) as problem:
            log.debug("no figures of the book: %s", problem)
            figures = None
        self._metrics.book(figures, self._database.pool)


@contextmanager
def ops_door(settings: Settings) -> Iterator[socket.socket | None]:
    """The socket that metrics are served on; None: nobody wants them. Raises PortTaken."""
    if settings.metrics_port is None:
        yield None
        return
    with taken("metrics_port", settings.metrics_host, settings.metrics_port) as door:
        yield door


async def serve_ops(condition: Condition, door: socket.socket) -> None:
    """Until cancelled."""
    await serve_app(create_ops_app(condition), door, lambda url: log.info("metrics at %smetrics", url))
