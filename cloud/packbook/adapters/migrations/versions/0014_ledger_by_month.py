"""A ledger cut by month on PostgreSQL, with one narrow key for all of it; heartbeats of the last months.

What is in the ledger already becomes its oldest part as it lies: nothing is copied but the narrow key.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

MONTH_AFTER = 31 * 86_400_000  # ms; the first of the month that follows is never further


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("CREATE VIEW seen AS SELECT box, store, seq, digest, received_ms FROM ledger")
    else:
        _cut_by_month()
    op.create_table(
        "heartbeat",
        sa.Column("box", sa.String(length=16), nullable=False),
        sa.Column("hour_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("health", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("box", "hour_ms"),
    )
    op.create_index("heartbeat_by_age", "heartbeat", ["hour_ms"])


def _cut_by_month() -> None:
    op.execute("ALTER TABLE ledger RENAME TO ledger_before")
    op.execute("ALTER TABLE ledger_before DROP CONSTRAINT ledger_pkey")
    op.execute("CREATE TABLE ledger (LIKE ledger_before) PARTITION BY RANGE (received_ms)")
    op.execute("ALTER TABLE ledger ADD PRIMARY KEY (box, store, seq, received_ms)")
    op.create_table(
        "seen",
        sa.Column("box", sa.String(length=16), nullable=False),
        sa.Column("store", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("box", "store", "seq"),
    )
    newest_ms = op.get_bind().scalar(sa.text("SELECT max(received_ms) FROM ledger_before"))
    if newest_ms is None:
        op.execute("DROP TABLE ledger_before")
        return
    op.execute("INSERT INTO seen SELECT box, store, seq, digest, received_ms FROM ledger_before")
    end_ms = _month_after(newest_ms)
    op.execute(f"ALTER TABLE ledger ATTACH PARTITION ledger_before FOR VALUES FROM (MINVALUE) TO ({end_ms})")


def _month_after(at_ms: int) -> int:
    """Begin of the month after this moment's, UTC."""
    first = datetime.fromtimestamp(at_ms / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    later = datetime.fromtimestamp(first.timestamp() + MONTH_AFTER / 1000, UTC)
    return int(later.replace(day=1).timestamp()) * 1000
