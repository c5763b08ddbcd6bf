"""The kernel tier: every test of this folder runs inside user-mode Linux, and its result shows here as if it ran here.

Outside, the first test of the folder boots one guest that runs pytest on all of them; each report comes back through a
file, line by line, and is handed on under its own name. Inside (`REPORTS` is set) tests run as tests do.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from guest import SCRATCH, Guest, missing

HERE: Final = Path(__file__).parent
REPORTS: Final = "KERNEL_TIER_REPORTS"
SILENCE_MAX_S: Final = 180.0  # between two results; the slowest test takes 15 to 30 s
LOOK_EVERY_S: Final = 0.05
INSIDE: Final = os.environ.get(REPORTS)
TIER: Final = pytest.StashKey["Tier"]()


class Tier:
    """The guest and what it has told so far."""

    def __init__(self, items: list[pytest.Item], scratch: Path) -> None:
        self._config = items[0].config
        self._reports: dict[str, list[pytest.TestReport]] = {item.nodeid: [] for item in items}
        wanted = scratch / "wanted"
        wanted.write_text("\n".join(self._reports) + "\n")
        told = scratch / "reports"
        told.touch()
        self._told = told.open()
        self._heard_s = time.monotonic()
        environ = {
            REPORTS: str(told),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", f"{SCRATCH}/pytest"]
        self._guest = Guest(scratch, [*command, f"@{wanted}"], environ, self._config.rootpath)
        self._guest.start()

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """All of one test, its teardown last. Waits for them; a guest that dies or falls silent fails the test."""
        mine = self._reports[item.nodeid]
        while not (mine and mine[-1].when == "teardown"):
            ended = not self._guest.running
            self._listen()
            if mine and mine[-1].when == "teardown":
                break
            if ended or time.monotonic() - self._heard_s > SILENCE_MAX_S:
                self._guest.stop()
                text = "the guest ended or fell silent before this test was done:\n" + self._guest.last_words()
                return [*mine, _result(item, "failed", text)]
            time.sleep(LOOK_EVERY_S)
        return mine

    def _listen(self) -> None:
        for line in iter(self._told.readline, ""):
            while not line.endswith("\n"):
                line += self._told.readline()
            told = json.loads(line)
            if told["outcome"] == "skipped" and isinstance(told["longrepr"], list):
                told["longrepr"] = tuple(told["longrepr"])  # as pytest makes it; JSON knows no tuples
            report = self._config.hook.pytest_report_from_serializable(config=self._config, data=told)
            self._reports[report.nodeid].append(report)
            self._heard_s = time.monotonic()

    def close(self) -> None:
        self._guest.stop()
        self._told.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    if INSIDE or HERE not in item.path.parents:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _reports(item: pytest.Item) -> list[pytest.TestReport]:
    trouble = missing()
    if trouble is not None:
        if platform.machine() == "x86_64":
            return [_result(item, "failed", trouble)]
        return [_result(item, "skipped", (str(item.path), None, "Debian has user-mode Linux for x86 only"))]
    stash = item.session.stash
    if TIER not in stash:
        items = [other for other in item.session.items if HERE in other.path.parents]
        scratch = item.config._tmp_path_factory.mktemp("guest")  # type: ignore[attr-defined]  # its fixture needs a test
        stash[TIER] = Tier(items, scratch)
    return stash[TIER].reports(item)


def _result(item: pytest.Item, outcome: str, text: object) -> pytest.TestReport:
    return pytest.TestReport(
        item.nodeid,
        item.location,
        {},
        outcome=outcome,
        longrepr=text,
        when="call",  # type: ignore[arg-type]
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    if TIER in session.stash:
        session.stash[TIER].close()


class Teller:
    """Inside: tells each report as it comes. Synced, because the guest keeps what it writes in its own memory."""

    def __init__(self, config: pytest.Config, told: Path) -> None:
        self._config = config
        self._told = told

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._told.open("a") as file:
            file.write(json.dumps(told) + "\n")
            file.flush()
            os.fsync(file.fileno())


def pytest_configure(config: pytest.Config) -> None:
    if INSIDE:
        config.pluginmanager.register(Teller(config, Path(INSIDE)))
