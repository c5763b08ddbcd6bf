"""What a page costs: processor time for each request, in-process over a SQLite book; `python tests/bench/pages.py`.

A battery with `--days` of life among others. Processor time is honest on a busy machine where the clock is not, so both
are told. `--profile PATH` prints where the time of one page goes. The first request of a page is not counted: compiled
templates and statements are kept for all that follow.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from packbook.adapters.rules import RuleBook
from packbook.adapters.store import open_reader, open_writer
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.watch import SqlWatch
from packbook.app.access import access_rules
from packbook.testing.memory_access import memory_access
from packbook.testing.scripted_box import ScriptedBox, arrival
from packbook.web.app import create_app

OLD: Final = "BAT-0000"
PATHS: Final = (
    "/",
    "/battery/{b}",
    "/battery/{b}/use",
    "/battery/{b}/sessions",
    "/api/v1/batteries?limit=50",
    "/api/v1/batteries/{b}",
    "/api/v1/batteries/{b}/soh",
    "/api/v1/batteries/{b}/sessions?kind=charge",
    "/api/v1/batteries/{b}/usage",
    "/api/v1/batteries/{b}/forecast",
)
BATCH: Final = 2000
DAY_MS: Final = 86_400_000


def lived(number: int, days: int) -> ScriptedBox:
    box = ScriptedBox(f"box-{number}", f"store-{number}")
    box.hello(f"BAT-{number:04d}")
    for day in range(days):
        box.mono_ms = max(box.mono_ms, day * DAY_MS)
        box.drive()
        box.charge()
        box.rest()
        if day % 7 == 0:
            box.soh(95.0 - day / 200)
    box.usage()
    return box


async def fill(url: str, batteries: int, days: int) -> int:
    kept = 0
    async with open_writer(url, "bench") as database:
        ledger = Ledger(database)
        for number in range(batteries):
            box = lived(number, days if number == 0 else 30)
            arrivals = [arrival(box.box, sealed, box.wall_ms) for sealed in box.sealed]
            for start in range(0, len(arrivals), BATCH):
                kept += (await ledger.take(arrivals[start : start + BATCH])).accepted
    return kept


async def measure(arguments: argparse.Namespace, url: str) -> None:
    async with open_reader(url) as database:
        book = SqlHistories(database)
        app = create_app(book, access=memory_access(access_rules(RuleBook())), watch=SqlWatch(database))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://book.test") as client:
            if arguments.profile:
                await profile(client, arguments.profile.format(b=OLD), arguments.times)
                return
            print(f"{'page':46} {'cpu ms':>8} {'p50 ms':>8} {'p95 ms':>8} {'304 cpu':>8} {'kB':>7}")
            for pattern in PATHS:
                await cost(client, pattern, arguments.times)


async def cost(client: httpx.AsyncClient, pattern: str, times: int) -> None:
    path = pattern.format(b=OLD)
    first = await client.get(path)
    assert first.status_code == 200, (path, first.status_code)
    walls_ms, cpu_ms = await timed(client, path, {}, times)
    tagged = f"{'-':>8}"
    if "etag" in first.headers:
        _, again_ms = await timed(client, path, {"If-None-Match": first.headers["etag"]}, times)
        tagged = f"{again_ms:8.1f}"
    cuts = statistics.quantiles(walls_ms, n=20)
    print(f"{pattern:46} {cpu_ms:8.1f} {cuts[9]:8.1f} {cuts[18]:8.1f} {tagged} {len(first.content) / 1000:7.1f}")


async def timed(client: httpx.AsyncClient, path: str, headers: dict[str, str], times: int) -> tuple[list[float], float]:
    walls_ms = []
    began_s = time.process_time()
    for _ in range(times):
        at_s = time.perf_counter()
        await client.get(path, headers=headers)
        walls_ms.append(1000 * (time.perf_counter() - at_s))
    return walls_ms, 1000 * (time.process_time() - began_s) / times


async def profile(client: httpx.AsyncClient, path: str, times: int) -> None:
    await client.get(path)
    with cProfile.Profile() as seen:
        for _ in range(times):
            await client.get(path)
    pstats.Stats(seen).sort_stats("cumulative").print_stats(60)


async def run(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = arguments.book or Path(name) / "book.db"
        url = f"sqlite:///{file}"
        if not file.exists():
            print(f"{await fill(url, arguments.batteries, arguments.days)} records, {arguments.batteries} batteries")
        await measure(arguments, url)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batteries", type=int, default=50)
    parser.add_argument("--days", type=int, default=8 * 365, help="that the first battery lived; the others a month")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--book", type=Path, help="keep the book here, and use it again")
    parser.add_argument("--profile", metavar="PATH", help="of one page, with {b} for the battery")
    asyncio.run(run(parser.parse_args()))
