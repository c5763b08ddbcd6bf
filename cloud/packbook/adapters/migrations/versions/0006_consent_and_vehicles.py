"""What the owner agreed to last in each store; which vehicle a battery is in, sealed; relations that were ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("chain", sa.Column("purposes", sa.Text()))
    op.create_table(
        "vehicle",
        sa.Column("association", sa.String(length=32), nullable=False),
        sa.Column("battery", sa.String(length=64), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("number", sa.LargeBinary()),
        sa.Column("number_index", sa.LargeBinary(length=32)),
        sa.PrimaryKeyConstraint("association"),
    )
    op.create_index("vehicle_by_battery", "vehicle", ["battery"])
    op.create_index("vehicle_by_number", "vehicle", ["number_index"])
    op.create_table(
        "ended_relation",
        sa.Column("battery", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("battery"),
    )
