"""The book's memory: a ledger of signed records, what follows from it, and what could not be believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from packbook.adapters.store.database import Database


@asynccontextmanager
async def open_writer(url: str, worker: str) -> AsyncIterator[Database]:
    """A database to write to, as `worker`. An empty one gets this version's schema. Raises StoreError."""
    async with aclosing(Database(url)) as database, database.claim(worker):
        await database.require_schema(create=True)
        yield database


@asynccontextmanager
async def open_reader(url: str) -> AsyncIterator[Database]:
    """A database to read from, beside a writer if there is one. Raises StoreError."""
    async with aclosing(Database(url, read_only=True)) as database:
        await database.require_schema()
        yield database
