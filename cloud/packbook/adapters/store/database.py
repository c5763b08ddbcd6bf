"""One database: SQLite in a file (the embedded default) or PostgreSQL, behind the same transactions.

In:  a URL from the settings.
Out: transactions; every trouble comes out as `StoreError` with the database's name (never its password).
Refuses a schema that this version does not know, and a second writer where one would harm.

SQLite: WAL, synchronous FULL, and one connection that writes, because libraries before 3.51.3 have a WAL-reset race
between two connections of one file (facts: Debian 12 has 3.40.1). All others, here and in other processes, open it
read-only: these never check-point.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection

from packbook.adapters import migrations
from packbook.ports.trouble import StoreError
from packbook.wall import walled_in

CONNECT_WAIT_MAX_S: Final = 10.0
BUSY_WAIT_MAX_MS: Final = 5000  # another process that reads may hold the file for a moment
JOURNAL_BYTES_MAX: Final = 4_194_304
CACHE_KB: Final = 65_536  # boxes' names are random: with the usual 2 MB most of an index is read again for each batch
TENANT: Final = "packbook.tenant"  # whose rows PostgreSQL shows to a role that does not own the tables
EVERYBODY: Final = "*"
POSTGRES_CONNECTIONS: Final = 5  # one writes, the rest answer pages
WORKER_LOCKS: Final = 0x7061636B  # "pack": our class of PostgreSQL advisory locks

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
_TROUBLE: Final = (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, OverflowError)
_DATA_ERRORS: Final = ("22", "23")  # SQLSTATE classes: data exception, integrity violation


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections of this process."""

    in_use: int
    idle: int


class RowRefused(StoreError):
    """The database is well, but one of these rows does not fit it. Nothing of this transaction was kept."""


def database_url(text: str) -> sa.URL:
    """The URL with our async driver in it. Raises StoreError for what is neither SQLite nor PostgreSQL."""
    try:
        url = sa.make_url(text)
    except SQLAlchemyError as problem:
        raise StoreError(f"database_url: {text.partition(':')[0]}...: not a database URL") from problem
    scheme = url.drivername.partition("+")[0]
    if scheme not in _DRIVERS:
        raise StoreError(f"database_url: {scheme!r} is not one of sqlite, postgresql")
    return url.set(drivername=_DRIVERS[scheme])


class Database:
    def __init__(self, url: str, *, read_only: bool = False, connections: int = 1) -> None:
        """`connections`: of a SQLite file that is only read; a writer has one."""
        assert read_only or connections == 1
        self._url = database_url(url)
        self._connections = connections
        self._read_only = read_only
        self.name = self._url.render_as_string(hide_password=True)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        path = self._url.database if self.is_sqlite else None
        self._file = Path(path) if path and path != ":memory:" else None
        self._engine = self._sqlite_engine(read_only) if self.is_sqlite else self._postgres_engine()

    def _sqlite_engine(self, read_only: bool) -> AsyncEngine:
        url = self._url
        if self._file is not None and read_only:
            url = url.set(database=f"file:{quote(str(self._file.absolute()))}", query={"mode": "ro", "uri": "true"})
        engine = create_async_engine(url, poolclass=AsyncAdaptedQueuePool, pool_size=self._connections, max_overflow=0)

        @sa.event.listens_for(engine.sync_engine, "connect")
        def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
            connection.isolation_level = None  # the driver would begin transactions late and commit before DDL
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_WAIT_MAX_MS}")
            if not read_only:
                cursor.execute("PRAGMA journal_mode = WAL")
                cursor.execute("PRAGMA synchronous = FULL")
                cursor.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
                cursor.execute(f"PRAGMA cache_size = -{CACHE_KB}")
            cursor.close()

        @sa.event.listens_for(engine.sync_engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

        return engine

    def _postgres_engine(self) -> AsyncEngine:
        engine = create_async_engine(
            self._url,
            pool_size=POSTGRES_CONNECTIONS,
            connect_args={
                "timeout": CONNECT_WAIT_MAX_S,
                "server_settings": {"application_name": "packbook", TENANT: EVERYBODY},
            },
        )
        _leave_the_dead(engine.sync_engine)
        return engine

    @property
    def in_memory(self) -> bool:
        return self.is_sqlite and self._file is None

    @property
    def pool(self) -> Pool:
        pool = self._engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        return Pool(in_use=pool.checkedout(), idle=pool.checkedin())

    async def aclose(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Committed when the block ends, rolled back when it raises. Raises StoreError."""
        with self._named_trouble():
            async with self._engine.begin() as connection:
                tenant = None if self.is_sqlite else walled_in()
                if tenant is not None:
                    await connection.execute(sa.select(sa.func.set_config(TENANT, tenant, sa.true())))
                yield connection

    @contextmanager
    def _named_trouble(self) -> Iterator[None]:
        try:
            yield
        except _TROUBLE as problem:
            cause = problem.orig if isinstance(problem, DBAPIError) and problem.orig else problem
            lines = str(cause).splitlines() or [type(cause).__name__]
            kind = RowRefused if _is_refusal(problem) else StoreError
            raise kind(f"database {self.name}: {lines[0]}") from problem

    # --- schema -------------------------------------------------------------------------------------------------

    async def revision(self) -> str | None:
        """The schema this database has. None for an empty database."""
        self._try_file()
        async with self.transaction() as connection:
            return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())

    async def migrate(self) -> None:
        """Bring the schema to this version's. Raises StoreError when the database is newer than this program."""
        await self._refuse_newer(await self.revision())
        async with self.transaction() as connection:
            await connection.run_sync(_upgrade)

    async def require_schema(self, *, create: bool = False) -> None:
        """Raise StoreError unless the schema is this version's. `create`: an empty database gets it."""
        found = await self.revision()
        if found is None and create:
            await self.migrate()
            return
        await self._refuse_newer(found)
        if found != head():
            state = "is empty" if found is None else f"has schema {found}, this version needs {head()}"
            raise StoreError(f"database {self.name} {state}: run 'packbook migrate'")

    async def _refuse_newer(self, found: str | None) -> None:
        known = {script.revision for script in _scripts().walk_revisions()}
        if found is not None and found not in known:
            raise StoreError(
                f"database {self.name} has schema {found}, which this version (schema {head()}) does not know: "
                "it was made by a newer packbook; install that one"
            )

    def _try_file(self) -> None:
        """Open the file once ourselves: when SQLite cannot, the driver's thread dies with a trace of its own."""
        if self._file is not None and (self._read_only or self._file.exists()):
            with self._named_trouble():
                self._file.open("rb" if self._read_only else "r+b").close()

    # --- writers ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def claim(self, worker: str) -> AsyncIterator[None]:
        """Be the writer `worker` while the block runs. SQLite has one writer, PostgreSQL one of each name."""
        if not self.is_sqlite:
            async with self._postgres_claim(worker):
                yield
        elif self._file is None:
            yield
        else:
            with self._file_claim(self._file):
                yield

    @contextmanager
    def _file_claim(self, file: Path) -> Iterator[None]:
        lock = file.with_name(file.name + ".lock")
        with self._named_trouble():
            handle = lock.open("a+")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as problem:
                handle.seek(0)
                raise StoreError(
                    f"database {self.name}: another packbook (pid {handle.read().strip() or 'unknown'}) writes to it; "
                    "a SQLite database has one writer"
                ) from problem
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    @asynccontextmanager
    async def _postgres_claim(self, worker: str) -> AsyncIterator[None]:
        with self._named_trouble():
            connection = await self._engine.connect()
        try:
            with self._named_trouble():
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                ours = await connection.scalar(
                    sa.text("SELECT pg_try_advisory_lock(:class, hashtext(:worker))"),
                    {"class": WORKER_LOCKS, "worker": worker},
                )
            if not ours:
                raise StoreError(f"database {self.name}: another packbook collects under the name {worker!r}")
            yield
        finally:
            await connection.invalidate()  # ends the session, and with it the lock, also when the server is gone
            await connection.close()


def _leave_the_dead(engine: sa.Engine) -> None:
    """After a restart of the server each connection of a pool is dead: nobody is to meet one.

    The driver knows of it. SQLAlchemy's own `pool_pre_ping` asks the server before each transaction instead, by three
    trips; a batch of records takes fifteen without them.
    """

    @sa.event.listens_for(engine, "checkout")
    def _take_up(_connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        assert isinstance(entry.driver_connection, asyncpg.Connection)
        if entry.driver_connection.is_closed():
            raise InvalidatePoolError("the server closed this connection")


def _is_refusal(problem: BaseException) -> bool:
    """Is it the row that is wrong, rather than the database?"""
    if isinstance(problem, (DataError, IntegrityError, OverflowError)):
        return True
    cause = problem.orig if isinstance(problem, DBAPIError) else problem  # COPY's come as the driver raises them
    if isinstance(cause, asyncpg.DataError) or isinstance(getattr(cause, "__cause__", None), asyncpg.DataError):
        return True
    state = getattr(cause, "sqlstate", None)
    return isinstance(state, str) and state[:2] in _DATA_ERRORS


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _scripts() -> ScriptDirectory:
    """Read once: a program's revisions do not change while it runs, and every command asks several times."""
    return ScriptDirectory.from_config(_config())


@cache  # reading the scripts takes longer than all else that opening a database takes
def head() -> str:
    """The schema revision this version of the program works with."""
    revision = _scripts().get_current_head()
    assert revision is not None
    return revision


def _upgrade(connection: sa.Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
