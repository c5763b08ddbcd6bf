"""Collecting and nothing else: what each of several workers does.

In:  settings.
Out: records in the ledger, until asked to stop or, by SIGUSR1, to leave for good.
It imports little: a worker that died is to be back soon, and all that a book does beside is done by another process.
"""

from __future__ import annotations

from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database
from packbook.app.collecting import make_collector, reading, run_until_retired
from packbook.app.command import DONE
from packbook.settings import Settings


async def only_collect(settings: Settings) -> int:
    async with open_writer(settings.database_url.get_secret_value(), settings.collector_name) as database:
        await collect_until_retired(settings, database)
    return DONE


async def collect_until_retired(settings: Settings, database: Database) -> None:
    """Cancelled, it comes back to what the broker keeps for it; asked by SIGUSR1, it leaves nothing there."""
    with reading(settings) as read_all:
        if settings.metrics_port is None:
            await run_until_retired(make_collector(settings, database, read_all))
        else:
            from packbook.app.watched import collect_watched  # a web server, where somebody wants to look

            await collect_watched(settings, database, read_all)
