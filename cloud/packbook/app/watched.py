"""A collector that tells how it is: metrics, health and readiness on a port of its own."""

from __future__ import annotations

from packbook.adapters.metrics import Metrics
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import ReadAll
from packbook.app.collecting import make_collector, run_until_retired
from packbook.app.condition import ProcessCondition, ops_door, serve_ops
from packbook.app.meanwhile import meanwhile
from packbook.settings import Settings
from packwire import __version__


async def collect_watched(settings: Settings, database: Database, read_all: ReadAll) -> None:
    """Raises PortTaken."""
    with ops_door(settings) as ops:
        assert ops is not None, "without a port nobody can look"
        metrics = Metrics(__version__)
        collector = make_collector(settings, database, read_all, metrics)
        condition = ProcessCondition(database, metrics, lambda: collector.up)
        async with meanwhile(serve_ops(condition, ops), "metrics"):
            await run_until_retired(collector)
