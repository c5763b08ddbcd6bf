"""Let go of what is kept for some time only: heartbeats older than `heartbeat_days`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from packbook.adapters.store import heartbeats
from packbook.adapters.store.database import Database
from packbook.clock import now_ms
from packbook.ports import StoreError

FORGET_EVERY_S: Final = 86_400.0
DAY_MS: Final = 86_400_000

log = logging.getLogger(__name__)


@asynccontextmanager
async def forgetting(database: Database, heartbeat_days: int) -> AsyncIterator[None]:
    """Once a day while this is open."""
    task = asyncio.create_task(_forget_daily(database, heartbeat_days), name="forget")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _forget_daily(database: Database, heartbeat_days: int) -> None:
    """Until cancelled. Trouble with the database is the collector's to end on; here tomorrow is early enough."""
    while True:
        try:
            gone = await heartbeats.forget(database, now_ms() - heartbeat_days * DAY_MS)
            log.debug("forgot %d heartbeats", gone)
        except StoreError as problem:
            log.warning("could not forget old heartbeats: %s", problem)
        await asyncio.sleep(FORGET_EVERY_S)
