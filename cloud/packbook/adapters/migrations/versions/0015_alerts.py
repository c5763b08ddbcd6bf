"""Alerts for operators, whose turn it is to look for them, and what is still to be sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STANDS = sa.text("state != 'cleared'")


def upgrade() -> None:
    op.create_table(
        "alert",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("box", sa.String(length=16)),
        sa.Column("store", sa.String(length=16)),
        sa.Column("battery", sa.String(length=64)),
        sa.Column("figure", sa.Double(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("rules", sa.String(length=32), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("raised_ms", sa.BigInteger()),
        sa.Column("calm_ms", sa.BigInteger()),
        sa.Column("acknowledged_ms", sa.BigInteger()),
        sa.Column("acknowledged_by", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("cleared_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("alert_by_box", "alert", ["box"])
    op.create_index("alert_by_battery", "alert", ["battery"])
    op.create_index("alert_by_time", "alert", ["raised_ms"])
    op.create_index(
        "alert_standing", "alert", ["kind", "subject"], unique=True, sqlite_where=STANDS, postgresql_where=STANDS
    )
    op.create_table(
        "alert_watch",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind"),
    )
    op.create_table(
        "alert_delivery",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("alert", sa.BigInteger(), nullable=False),
        sa.Column("receiver", sa.String(length=64), nullable=False),
        sa.Column("news", sa.String(length=16), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("due_ms", sa.BigInteger()),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("sent_ms", sa.BigInteger()),
        sa.Column("problem", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("alert_delivery_by_alert", "alert_delivery", ["alert"])
    op.create_index("alert_delivery_due", "alert_delivery", ["receiver", "due_ms"])
    op.create_index("event_by_time", "event", ["event", "at_ms"])
    op.create_index("quarantine_by_time", "quarantine", ["last_ms"])
