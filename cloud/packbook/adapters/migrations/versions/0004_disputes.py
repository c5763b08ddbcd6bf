"""Disputed stores, the head of every chain, and a quarantine that can be worked through."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("chain", sa.Column("head", sa.LargeBinary(length=16)))
    op.add_column("chain", sa.Column("disputed_from", sa.BigInteger()))
    op.add_column("chain", sa.Column("disputed_ms", sa.BigInteger()))
    op.add_column("chain", sa.Column("settled_ms", sa.BigInteger()))
    op.execute(
        "UPDATE chain SET head = (SELECT digest FROM ledger"
        " WHERE ledger.box = chain.box AND ledger.store = chain.store AND ledger.seq = chain.upto)"
    )
    op.add_column("quarantine", sa.Column("box", sa.String(length=16)))
    op.add_column("quarantine", sa.Column("store", sa.String(length=16)))
    op.add_column("quarantine", sa.Column("seq", sa.BigInteger()))
    op.add_column("quarantine", sa.Column("state", sa.String(length=8), nullable=False, server_default="open"))
    op.create_index("quarantine_by_box", "quarantine", ["box", "state"])
    op.create_table(
        "quarantine_act",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("act", sa.String(length=16), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("item", sa.BigInteger()),
        sa.Column("digest", sa.LargeBinary(length=32)),
        sa.Column("box", sa.String(length=16)),
        sa.Column("store", sa.String(length=16)),
        sa.PrimaryKeyConstraint("id"),
    )
