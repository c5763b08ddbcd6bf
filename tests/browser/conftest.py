"""One fleet for all browser tests, one browser for each file.

A browser that stayed open between files would keep an event loop running in the thread that tests run in.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from browser.drive import CHROMIUM, chromium
from browser.fleet import Served, fill, serve


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        for item in items:
            if "/tests/browser/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason="chromium is not installed (tests/needs.sh installs it)"))


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A copy for each worker, filled once for all of them: that takes longer than any page."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    whole, part = shared / "filled", shared / "filled.part"
    with (shared / "filled.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            fill(part)
            part.rename(whole)
    own = base / "own-fleet"
    shutil.copytree(whole, own)
    with serve(own) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser
