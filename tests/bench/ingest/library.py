"""A book that was kept for years: many batteries, and some with eight years of history.

In:  a database, how many batteries.
Out: the names of those with a long history; how long their pages take.
"""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import httpx

from bench.ingest.fleet import PER_BOX, Car, fleet, hellos, mixed
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.core.intake import Arrival
from packbook.testing.scripted_box import HOUR_MS, RECEIVED_MS, arrival

OLD: Final = 3
YEARS: Final = 8
ASKED: Final = 60  # times each
BATCH: Final = 2000
WARM: Final = 5
ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:\d+")


async def fill(database: Database, batteries: int) -> list[str]:
    ledger = Ledger(database)
    for begin in range(0, batteries - OLD, 1000):
        lives = await asyncio.to_thread(fleet, min(1000, batteries - OLD - begin), PER_BOX, begin)
        messages = [*hellos(lives), *mixed(lives)]
        await _take(ledger, (Arrival(topic, sealed, RECEIVED_MS) for topic, sealed in messages))
    named = [f"BENCH-OLD-{number}" for number in range(OLD)]
    for number, battery in enumerate(named):
        await _take(ledger, _years(number, battery))
    return named


async def _take(ledger: Ledger, arrivals: Iterator[Arrival]) -> None:
    while some := list(islice(arrivals, BATCH)):
        await ledger.take(some)


def _years(number: int, battery: str) -> Iterator[Arrival]:
    """Every day of them, received as it was made: a record a clock says was made later would have no date."""
    car = Car(name=f"bench-old-{number}", dice=random.Random(number))
    car.hello(battery)
    said = 0
    for _ in range(365 * YEARS):
        car.day()
        car.mono_ms += 14 * HOUR_MS  # ten records take ten hours of its clock
        for sealed in car.sealed[said:]:
            yield arrival(car.box, sealed, car.wall_ms + HOUR_MS)
        said = len(car.sealed)


async def pages(url: str, folder: Path, batteries: Sequence[str]) -> list[float]:
    """Of the real program, over HTTP."""
    file = folder / "web.toml"
    file.write_text(f'database_url = "{url}"\nweb_port = 0\n')
    return await asyncio.to_thread(_ask, file, batteries)


@contextmanager
def _web(settings: Path) -> Iterator[str]:
    """Its address."""
    command = [sys.executable, "-m", "packbook", "web", "--settings", str(settings)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=settings.parent)
    try:
        assert running.stdout is not None
        found = ADDRESS.search(running.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        running.terminate()
        running.wait(timeout=30)


def _ask(settings: Path, batteries: Sequence[str]) -> list[float]:
    taken_ms: list[float] = []
    with _web(settings) as address, httpx.Client(base_url=address, timeout=60) as browser:
        for number in range(WARM + ASKED):
            for battery in batteries:
                begin_s = time.perf_counter()
                browser.get(f"/battery/{battery}").raise_for_status()
                if number >= WARM:
                    taken_ms.append(1000.0 * (time.perf_counter() - begin_s))
    return taken_ms
