"""The book's memory: a ledger of signed records, what follows from it, and what could not be believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from packbook.adapters.store.database import Database

READERS: Final = 4  # connections to a SQLite file; each has a thread, and more than processors only wait for each other


@asynccontextmanager
async def open_writer(url: str, worker: str) -> AsyncIterator[Database]:
    """A database to write to, as `worker`. An empty one gets this version's schema. Raises StoreError."""
    async with aclosing(Database(url)) as database, database.claim(worker):
        await database.require_schema(create=True)
        yield database


@asynccontextmanager
async def open_reader(url: str) -> AsyncIterator[Database]:
    """A database to read from, beside a writer if there is one. Raises StoreError."""
    async with aclosing(Database(url, read_only=True, connections=READERS)) as database:
        await database.require_schema()
        yield database


@asynccontextmanager
async def open_beside(url: str, writer: Database) -> AsyncIterator[Database]:
    """To read in the process that writes: pages wait for no commit, and no commit for pages. Raises StoreError."""
    if writer.in_memory:  # another connection would see another, empty one
        yield writer
        return
    async with open_reader(url) as database:
        yield database
