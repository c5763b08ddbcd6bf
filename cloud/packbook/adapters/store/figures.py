"""How the whole book stands, in a few counts: for metrics. One short transaction, whatever the size of the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from packbook.adapters.store import alerts, tables
from packbook.adapters.store.database import Database
from packbook.core.accounts import EVERYWHERE
from packbook.core.alerts import Kind, Severity, State
from packbook.core.intake import Fate

RECENT_MS: Final = 86_400_000  # a box that is away for longer is silent; what it said of its outbox then is old
WAITING_MIN_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class BookFigures:
    boxes: int
    boxes_online: int
    boxes_waiting: int
    oldest_unacknowledged_s: float  # 0: none waits
    ledger_records: int
    quarantine: Mapping[str, int]  # open, by reason
    alerts: Mapping[tuple[Kind, Severity, State], int]
    news_waiting: Mapping[str, int]  # by receiver


async def book_figures(database: Database, now_ms: int) -> BookFigures:
    """Raises StoreError."""
    box, chain, noted = tables.box, tables.chain, tables.quarantine
    waits_s = box.c.health["oldest_waiting_s"].as_float()
    recent = box.c.last_seen_ms >= now_ms - RECENT_MS
    boxes = sa.select(
        sa.func.count().label("boxes"),
        sa.func.count().filter(box.c.online.is_(True)).label("online"),
        sa.func.count().filter(recent, waits_s > WAITING_MIN_S).label("waiting"),
        sa.func.max(waits_s).filter(recent).label("oldest_s"),
    ).select_from(box)
    reasons = sa.select(noted.c.reason, sa.func.count().label("n")).where(noted.c.state == Fate.OPEN.value)
    async with database.transaction() as connection:
        counted = (await connection.execute(boxes)).one()
        records = await connection.scalar(sa.select(sa.func.sum(chain.c.records)))
        by_reason = {row.reason: row.n for row in await connection.execute(reasons.group_by(noted.c.reason))}
        return BookFigures(
            boxes=counted.boxes,
            boxes_online=counted.online,
            boxes_waiting=counted.waiting,
            oldest_unacknowledged_s=counted.oldest_s or 0.0,
            ledger_records=int(records or 0),
            quarantine=by_reason,
            alerts=await alerts.counted(connection, EVERYWHERE),
            news_waiting=await alerts.waiting(connection),
        )
