"""What the operator's list says of each battery; who did what at the enrolment desk; reads found by their date."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "fleet_row",
        sa.Column("battery", sa.String(length=64), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("judged_ms", sa.BigInteger(), nullable=False),
        sa.Column("box", sa.String(length=16)),
        sa.Column("store", sa.String(length=16)),
        sa.Column("installed", sa.BigInteger()),
        sa.Column("soh_at_ms", sa.BigInteger()),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("soh_pct", sa.Double()),
        sa.Column("lo90_pct", sa.Double()),
        sa.Column("hi90_pct", sa.Double()),
        sa.Column("soh_reported_pct", sa.Double()),
        sa.Column("coverage_pct", sa.Double()),
        sa.Column("odometer_km", sa.Double()),
        sa.Column("promise_pct", sa.Double()),
        sa.Column("promise_years", sa.Double()),
        sa.Column("next_use", sa.String(length=16)),
        sa.Column("lacking", sa.String(length=16)),
        sa.Column("judged", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("battery"),
    )
    op.create_index("read_note_by_time", "read_note", ["at_ms"])
    op.add_column("enrol_act", sa.Column("who", sa.Text()))
    op.add_column("enrol_act", sa.Column("fleet", sa.String(length=64)))
