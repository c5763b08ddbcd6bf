"""What all tests share: the one door to ../shared, and the switch that turns benchmarks on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# No deadline: how long a case takes says how busy the machine is. The same cases each time, so that a red gate is the
# fault of the change before it; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("packbook", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("packbook")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
KERNEL = "tests/kernel"  # one guest runs all of it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench", action="store_true", help="run tests/bench too (ratios, minutes)")
    parser.addoption("--kills", default="5", help="how many processes tests/worlds kills")
    parser.addoption("--kill-every-s", default="2.5", help="mean time between two of them")
    parser.addoption("--world-seed", default="", help="repeat a world that failed")


def pytest_configure() -> None:
    """looptime asks for the event loop before every test; one that nobody set would be made, and closed by nobody."""
    asyncio.set_event_loop(None)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path == ROOT / "tests/bench" and not config.getoption("--bench"):
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: begun last, one of them would keep one worker busy while the others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or f"/{KERNEL}/" in item.path.as_posix()}
    items.sort(key=lambda item: item.path not in slow)


class ByFile(LoadScopeScheduling):
    """A file's tests stay with one worker, for what they share is dear: brokers, databases, worlds."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return KERNEL if file.startswith(f"{KERNEL}/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Recordings and official files that may not ship. Absent elsewhere: the test is skipped, saying so."""
    if not SHARED.is_dir():
        pytest.skip("../shared is not here: real recordings and official files may not ship with the project")
    return SHARED
