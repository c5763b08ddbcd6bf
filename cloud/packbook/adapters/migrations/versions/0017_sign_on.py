"""Which accounts a rule made for an identity provider's word, so that their roles follow the rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    mapped: sa.Column[bool] = sa.Column("mapped", sa.Boolean(), nullable=False, server_default=sa.false())
    op.add_column("external_identity", mapped)
