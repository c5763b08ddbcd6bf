"""How far the cells were apart; curves of charges, charges by temperature, and the car's own count of energy."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("session", sa.Column("curve", sa.JSON()))
    op.add_column("usage", sa.Column("charging_temp_s", sa.JSON()))
    op.add_column("soh_point", sa.Column("energy", sa.JSON()))
    op.create_table(
        "cells",
        sa.Column("box", sa.String(length=16), nullable=False),
        sa.Column("store", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("battery", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=16), nullable=False),
        sa.Column("mono_ms", sa.BigInteger(), nullable=False),
        sa.Column("wall_ms", sa.BigInteger()),
        sa.Column("at_ms", sa.BigInteger()),
        sa.Column("spread_mv", sa.Double(), nullable=False),
        sa.Column("cell_voltage_min_v", sa.Double(), nullable=False),
        sa.Column("cell_voltage_max_v", sa.Double(), nullable=False),
        sa.Column("cells", sa.BigInteger(), nullable=False),
        sa.Column("lowest_cell", sa.BigInteger()),
        sa.Column("highest_cell", sa.BigInteger()),
        sa.Column("soc_pct", sa.Double()),
        sa.Column("pack_current_a", sa.Double()),
        sa.Column("temp_min_degc", sa.Double()),
        sa.Column("temp_max_degc", sa.Double()),
        sa.Column("quiet_s", sa.Double()),
        sa.PrimaryKeyConstraint("box", "store", "seq"),
    )
    op.create_index("cells_by_battery", "cells", ["battery", "at_ms"])
    op.create_index(
        "cells_undated",
        "cells",
        ["box", "boot"],
        sqlite_where=sa.text("wall_ms IS NULL"),
        postgresql_where=sa.text("wall_ms IS NULL"),
    )
