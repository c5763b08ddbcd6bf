"""Fleets of nobody, of a few and of thousands, and a client for their pages: real tables, no network."""

from __future__ import annotations

import asyncio
import functools
import re
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from packbook.adapters import authority
from packbook.adapters.rules import RuleBook
from packbook.adapters.store import open_writer
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.app.access import access_rules
from packbook.app.fleet import fleet_of
from packbook.app.operate import Office
from packbook.clock import now_ms
from packbook.settings import Settings
from packbook.testing.filled_fleet import crowd, fill
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_access import memory_access
from packbook.web.app import create_app
from packbook.web.fleet.room import Fleet

CROWD: Final = 2000
NOW_MS: Final = now_ms()
TOKEN = re.compile(r'name="csrf" value="([^"]+)"')
BASE: Final = "http://book.test"
TABLE: Final = access_rules(RuleBook())


@pytest.fixture(scope="session")
def file_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Databases to copy, each made when it is asked for first.

    `empty`, `one` car with its box, `lived` in, and a `crowd`.
    """
    folder = tmp_path_factory.mktemp("fleets")

    async def make(name: str) -> Path:
        file = folder / f"{name}.db"
        async with open_writer(f"sqlite:///{file}", "test") as database:
            book = lived_in()
            if name == "one":
                for battery in ("env200-24-0102", "imiev-16-0007"):
                    del book.heads[battery]
                del book.box_rows[1:]
            if name in ("one", "lived"):
                await fill(database, book, NOW_MS)
            if name == "crowd":
                await crowd(database, CROWD, NOW_MS)
        return file

    def made(name: str) -> Path:  # tests have a loop of their own in their thread
        with ThreadPoolExecutor(1) as beside:
            return beside.submit(asyncio.run, make(name)).result()

    return functools.cache(made)


@pytest.fixture(scope="session")
def ca_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ca")
    authority.add_issuer(authority.make_root("Test fleet", NOW_MS), folder, NOW_MS)
    return folder


@dataclass
class Opened:
    """A fleet's pages, and its database for what a page does not tell."""

    client: httpx.AsyncClient
    database: Database
    fleet: Fleet

    async def text(self, path: str, language: str = "en") -> str:
        answer = await self.client.get(path, headers={"Accept-Language": language})
        assert answer.status_code == 200, (path, answer.status_code)
        return answer.text

    async def send(self, page: str, path: str, **fields: object) -> httpx.Response:
        """Fill in a form of a page."""
        token = TOKEN.search(await self.text(page))
        assert token is not None, page
        return await self.client.post(path, data={"csrf": token[1], **fields}, headers={"Origin": BASE})


Open = Callable[..., AbstractAsyncContextManager[Opened]]


@pytest.fixture
def opened(file_of: Callable[[str], Path], ca_dir: Path, tmp_path: Path) -> Open:
    """Opens a copy of one of the fleets."""

    @asynccontextmanager
    async def visit(name: str, **settings: object) -> AsyncIterator[Opened]:
        file = tmp_path / f"{name}.db"
        shutil.copy(file_of(name), file)
        told = {"database_url": f"sqlite:///{file}", "ca_dir": ca_dir, "enrol_url": "https://book.test:8444"} | settings
        async with aclosing(Database(f"sqlite:///{file}")) as database:
            fleet = fleet_of(Office(database, Settings(**told)), own=True)  # type: ignore[arg-type]  # pydantic checks them
            app = create_app(SqlHistories(database), access=memory_access(TABLE), fleet=fleet)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            headers = {"Accept-Language": "en"}
            async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
                yield Opened(client, database, fleet)

    return visit
