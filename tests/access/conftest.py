"""The two firms' book, made once for each test that asks."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .firm import Firm, a_firm


@pytest.fixture(scope="session")
def firm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database as it begins: cheaper to copy than to make."""
    folder = tmp_path_factory.mktemp("firm")

    async def make() -> None:
        async with a_firm(f"sqlite:///{folder / 'book.db'}", folder):
            pass

    asyncio.run(make())
    return folder


@pytest.fixture
async def firm(firm_file: Path, tmp_path: Path) -> AsyncIterator[Firm]:
    for file in ("book.db", "book.pem"):
        shutil.copy(firm_file / file, tmp_path / file)
    async with a_firm(f"sqlite:///{tmp_path / 'book.db'}", tmp_path) as opened:
        yield opened
