"""What people and firms say of batteries; the estimated state of certified energy beside the state of health."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("soh_point", sa.Column("soce_pct", sa.Double()))
    op.create_table(
        "declared",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("entered_ms", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("field", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(none_as_null=True)),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("on", sa.String(length=10)),
        sa.Column("method", sa.Text()),
        sa.Column("document", sa.Text()),
        sa.Column("sigma", sa.Double()),
        sa.Column("conditions", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("declared_by_subject", "declared", ["scope", "subject", "id"])
