"""Databases for the book's tests: a fresh SQLite file, and a fresh database on a private PostgreSQL of this session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from empty_book import empty_book
from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database
from postgres_server import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        asyncio.run(_template(server))
        yield server
    finally:
        server.stop()


async def _template(server: Postgres) -> None:
    """A migrated database that each test gets a copy of: cheaper than migrating anew."""
    await _administer(server, "CREATE DATABASE template_book")
    async with open_writer(server.url("template_book"), "test"):
        pass


async def _administer(server: Postgres, statement: str) -> None:
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "book.db"
    empty_book(file)
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh, migrated SQLite database."""
    return empty_book(tmp_path / "book.db")


@pytest.fixture
async def postgres_url(postgres: Postgres) -> AsyncIterator[str]:
    """A fresh, migrated PostgreSQL database."""
    await _administer(postgres, "CREATE DATABASE book TEMPLATE template_book")
    yield postgres.url("book")
    await _administer(postgres, "DROP DATABASE book WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs on both databases."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_writer(database_url, "test") as opened:
        yield opened
