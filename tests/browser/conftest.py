"""One fleet for all browser tests, one browser for each file.

A browser that stayed open between files would keep an event loop running in the thread that tests run in.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from browser.drive import CHROMIUM, chromium
from browser.fleet import Served, demo_like


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        for item in items:
            if "/tests/browser/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason="chromium is not installed (tests/needs.sh installs it)"))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with demo_like(tmp_path_factory.mktemp("fleet")) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser
