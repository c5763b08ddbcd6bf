"""The book's memory: a ledger of signed records, what follows from it, and what could not be believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from packbook.adapters.store.database import Database


@asynccontextmanager
async def open_database(url: str, *, create: bool = False, read_only: bool = False) -> AsyncIterator[Database]:
    """A database whose schema is this version's. `create`: an empty one gets it. Raises StoreError."""
    database = Database(url, read_only=read_only)
    try:
        await database.require_schema(create=create)
        yield database
    finally:
        await database.close()
