"""What Alembic runs for every command: our connection, our tables. Only Alembic imports this file."""

from __future__ import annotations

from alembic import context

from packbook.adapters.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
