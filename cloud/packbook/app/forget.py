"""Let go of what is kept for some time only: heartbeats older than `heartbeat_days`."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from packbook.adapters.store import heartbeats
from packbook.adapters.store.database import Database
from packbook.clock import now_ms
from packbook.ports.trouble import StoreError

FORGET_EVERY_S: Final = 86_400.0
DAY_MS: Final = 86_400_000

log = logging.getLogger(__name__)


async def forget_daily(database: Database, heartbeat_days: int) -> None:
    """Until cancelled. Trouble with the database is the collector's to end on; here tomorrow is early enough."""
    while True:
        try:
            gone = await heartbeats.forget(database, now_ms() - heartbeat_days * DAY_MS)
            log.debug("forgot %d heartbeats", gone)
        except StoreError as problem:
            log.warning("could not forget old heartbeats: %s", problem)
        await asyncio.sleep(FORGET_EVERY_S)
