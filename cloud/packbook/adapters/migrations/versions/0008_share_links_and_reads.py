"""Links that an owner gives away, who read what of one battery's own life, and the names batteries are found by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "share_link",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("battery", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=32)),
        sa.Column("fields", sa.JSON()),
        sa.Column("formats", sa.JSON()),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("reads_max", sa.BigInteger()),
        sa.Column("reads", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("share_link_by_battery", "share_link", ["battery"])
    op.create_table(
        "read_note",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("battery", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=32)),
        sa.Column("link", sa.String(length=16)),
        sa.Column("account", sa.Text()),
        sa.Column("door", sa.String(length=16), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("read_note_by_battery", "read_note", ["battery", "at_ms"])
    op.create_table(
        "battery_name",
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("battery", sa.String(length=64), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "battery"),
    )
