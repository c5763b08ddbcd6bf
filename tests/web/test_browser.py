"""The pages in a real browser: charts drawn, no complaint on the console, both languages."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from packbook.core.history import Battery
from packbook.testing.memory_access import memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.web.app import create_app
from packbook.web.live import Hub, LookThrough

from .conftest import TABLE

CHROMIUM = shutil.which("chromium")
PATIENCE_S = 60.0
PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (tests/needs.sh installs it)")


@contextmanager
def served(book: MemoryHistories) -> Iterator[str]:
    """The pages on a free port of this machine."""
    app = create_app(book, access=memory_access(TABLE))
    app.state.live = Hub(
        LookThrough(book), life_max_s=0.0
    )  # chromium's virtual time stands still while a stream is open
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="pages")
        thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def address(book: MemoryHistories) -> Iterator[str]:
    with served(book) as address:
        yield address


def browse(tmp_path: Path, *arguments: str) -> tuple[str, list[str]]:
    """What chromium prints, and the lines of the page's console. Background traffic of the browser's own is off."""
    assert CHROMIUM
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--hide-scrollbars",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=9000",  # two polls of live.js,
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_owner_page_draws_every_chart_without_complaint(address: str, tmp_path: Path, language: str) -> None:
    """The policy forbids inline script and style: a chart library that used them would say so on the console."""
    dom, console = browse(tmp_path, "--dump-dom", f"{address}/battery/leaf-24-0001?lang={language}")
    assert console == []
    charts = re.findall(r'<figure class="chart"[^>]*>', dom)
    assert len(charts) == 7
    assert all('data-drawn="yes"' in chart for chart in charts)
    assert dom.count("<canvas") >= 7
    assert not re.search(r'<p class="live"[^>]*\bhidden', dom)


def test_times_are_told_in_the_browsers_zone(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored in UTC, read in Tokyo."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    dom, _ = browse(tmp_path, "--dump-dom", f"{address}/?lang=ja")
    assert re.search(r'<time datetime="2026-12-01T00:00:00Z"[^>]*>2026/12/01 9:00</time>', dom)


def test_a_battery_that_arrives_appears_by_itself(book: MemoryHistories, tmp_path: Path) -> None:
    """The demo shows growth: whoever watches the empty list sees the first battery come."""

    class Arriving(MemoryHistories):
        asked = 0

        async def batteries(self, limit: int | None = None, offset: int = 0) -> Sequence[Battery]:
            self.asked += 1
            return [] if self.asked < 3 else await book.batteries()

    with served(Arriving()) as address:
        dom, console = browse(tmp_path, "--dump-dom", f"{address}/")
    assert console == []
    assert "Leaf, demo car 1" in dom
    assert "No battery has reported yet" not in dom


@pytest.mark.parametrize("path", ["/", "/battery/imiev-16-0007", "/battery/leaf-24-0001/sessions", "/nowhere"])
def test_the_other_pages_run_without_complaint(address: str, tmp_path: Path, path: str) -> None:
    """A complaint on the console is a mistake nobody reported yet."""
    _, console = browse(tmp_path, "--dump-dom", address + path)
    assert [line for line in console if "404" not in line or path != "/nowhere"] == []


@pytest.mark.parametrize(("size", "scheme"), [("1200,2400", 1), ("500,2400", 0)])
def test_a_picture_of_the_page_can_be_taken(address: str, tmp_path: Path, size: str, scheme: int) -> None:
    """Light on a desk, dark on a phone; an empty page makes a far smaller picture."""
    picture = tmp_path / "page.png"
    browse(
        tmp_path,
        f"--window-size={size}",
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--screenshot={picture}",
        f"{address}/battery/leaf-24-0001",
    )
    assert picture.read_bytes().startswith(PNG)
    assert picture.stat().st_size > 100_000
