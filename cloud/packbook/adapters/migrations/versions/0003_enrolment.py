"""Enrolment: one-time codes, the boxes that used them, the certificates they got, and what operators did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "enrol_code",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("fleet", sa.String(length=64), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("replaces", sa.String(length=16)),
        sa.Column("used_ms", sa.BigInteger()),
        sa.Column("used_by", sa.String(length=16)),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "enrolled_box",
        sa.Column("box", sa.String(length=16), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("fleet", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_ms", sa.BigInteger(), nullable=False),
        sa.Column("replaces", sa.String(length=16)),
        sa.PrimaryKeyConstraint("box"),
    )
    op.create_table(
        "certificate",
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("box", sa.String(length=16), nullable=False),
        sa.Column("issuer", sa.String(length=64), nullable=False),
        sa.Column("tls_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("code", sa.LargeBinary(length=32)),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("certificate_by_box", "certificate", ["box", "issued_ms"])
    op.create_table(
        "enrol_act",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("act", sa.String(length=32), nullable=False),
        sa.Column("box", sa.String(length=16)),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
