"""A lived-in book and a client for its pages, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from packbook.adapters.rules import RuleBook
from packbook.app.access import access_rules
from packbook.ports.histories import Histories
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_access import memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.web.app import create_app

TABLE = access_rules(RuleBook())
Visit = Callable[[Histories], httpx.AsyncClient]


def visit(book: Histories) -> httpx.AsyncClient:
    """A client of this book's pages. Our own mistakes come back as answers, as they do to people."""
    app = create_app(book, access=memory_access(TABLE))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://book.test", headers={"Accept-Language": "en"})


@pytest.fixture(scope="session")
def book() -> MemoryHistories:
    """Nine months of a Leaf, a young battery, a silent one. Tests only read it."""
    return lived_in()


@pytest.fixture
async def client(book: MemoryHistories) -> AsyncIterator[httpx.AsyncClient]:
    async with visit(book) as client:
        yield client


@pytest.fixture
def at() -> Visit:
    """Opens the pages of a book of the test's own."""
    return visit
