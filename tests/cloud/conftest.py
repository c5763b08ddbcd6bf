"""Databases for the book's tests: a fresh SQLite file, and a fresh database on a private PostgreSQL of this session."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from brokers import free_port
from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database

POSTGRES_BINS = "/usr/lib/postgresql"
STOP_WAIT_MAX_S = 20.0


class Postgres:
    """One private server on a free port, its files in a scratch folder, without fsync: tests cut no power here."""

    def __init__(self) -> None:
        programs = sorted(Path(POSTGRES_BINS).glob("*/bin/initdb"))
        if not programs:
            pytest.skip("PostgreSQL is not installed (tests/needs.sh installs it)")
        self._bin = programs[-1].parent
        self._folder = Path(tempfile.mkdtemp(prefix="packbook-postgres-"))
        self._as_user: list[str] = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root; Debian's package brings the user
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as_user = ["runuser", "-u", "postgres", "--"]
        self._data = self._folder / "data"
        self.port = free_port()

    def url(self, database: str) -> str:
        return f"postgresql://book@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._run("initdb", "-D", self._data, "-U", "book", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        with (self._data / "postgresql.conf").open("a") as config:
            config.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{self._folder}'\n"
                "fsync = off\nfull_page_writes = off\nshared_buffers = 32MB\nmax_connections = 30\n"
            )
        self.resume()

    def resume(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-l", self._folder / "log", "start")

    def crash(self) -> None:
        """As a power cut would: no clean shutdown."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def stop(self) -> None:
        pid_file = self._data / "postmaster.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
            self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop", check=False)
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str | Path, check: bool = True) -> None:
        subprocess.run(
            [*self._as_user, str(self._bin / program), *map(str, arguments)],
            check=check,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            timeout=STOP_WAIT_MAX_S,
        )


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

    async def make() -> None:
        async with open_writer(f"sqlite:///{file}", "test"):
            pass

    asyncio.run(make())
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_file: Path) -> str:
    """A fresh, migrated SQLite database."""
    shutil.copy(migrated_file, tmp_path / "book.db")
    return f"sqlite:///{tmp_path / 'book.db'}"


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
