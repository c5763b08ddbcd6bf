"""Row-level security by tenant on PostgreSQL, for whoever does not own the tables.

The collector owns them and sees everything, as before. Pages that log in as another role see a tenant's rows alone
while they answer one of its people, also where a query forgot to ask for it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

BY_BATTERY = ("battery", "installation", "session", "soh_point", "usage", "event", "cells", "fleet_row")
BY_BOX = ("ledger", "seen", "chain")
OURS = "(SELECT current_setting('packbook.tenant', true))"  # asked once for each statement, not for each row


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    _wall("battery_tenant", f"battery_tenant.tenant = {OURS}")
    for table in BY_BATTERY:
        home = f"SELECT 1 FROM battery_tenant home WHERE home.battery = {table}.battery"  # noqa: S608 - ours
        _wall(table, f"EXISTS ({home} AND home.tenant = {OURS})")
    parts = op.get_bind().scalars(
        sa.text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ledger'::regclass")
    )
    for part in parts.all():  # asked for by itself, past the ledger's own wall, it shows nothing
        op.execute(f"ALTER TABLE {part} ENABLE ROW LEVEL SECURITY")
    for table in BY_BOX:
        watched = (
            "SELECT 1 FROM installation watched JOIN battery_tenant home ON home.battery = watched.battery"  # noqa: S608 - ours
            f" WHERE watched.box = {table}.box AND home.tenant = {OURS}"
        )
        _wall(table, f"EXISTS ({watched})")


def _wall(table: str, visible: str) -> None:
    """Unset: nothing. `*`: everything, for what no tenant asked for."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant_wall ON {table} USING ({OURS} = '*' OR {visible})")
