"""Many readers of a served book while records come in: `make bench-readers`, or with fewer or more of them.

A book of its own on SQLite and on PostgreSQL, filled with batteries that lived for a year, served by `packbook serve`;
records of further drives come in over a real mosquitto all the while. Each reader takes pages and API in turn, half
of them with the ETag they have, and thinks for a moment between two. Any answer but 200 and 304 is an error and ends
with exit code 1. Times are told as they are: they say something about this machine only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import ssl
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiomqtt
import asyncpg
import httpx

from brokers import Mosquitto
from cloud.conftest import Postgres
from packbook.adapters.store import open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.core.intake import Arrival
from packbook.testing.scripted_box import ScriptedBox
from packwire.topics import Leaf, topic

PATHS: Final = (
    "/battery/{b}",
    "/battery/{b}/sessions",
    "/api/v1/batteries?limit=50",
    "/api/v1/batteries/{b}",
    "/api/v1/batteries/{b}/soh",
    "/api/v1/batteries/{b}/sessions?kind=charge",
    "/api/v1/batteries/{b}/usage",
    "/api/v1/batteries/{b}/forecast",
)
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else each client would read all certificates of the system
BATCH: Final = 2000
ANSWER_WAIT_MAX_S: Final = 60.0
RAMP_S: Final = 2.0  # readers do not all begin in the same instant


@dataclass
class Told:
    times_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    answers: Counter[int] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    records: int = 0


def lived(number: int, rounds: int) -> ScriptedBox:
    box = ScriptedBox(f"box-{number}", f"store-{number}")
    box.hello(f"BAT-{number:04d}")
    for day in range(rounds):
        box.drive()
        box.charge()
        box.rest()
        if day % 7 == 0:
            box.soh(95.0 - day / 100)
    box.usage()
    return box


async def fill(url: str, boxes: Sequence[ScriptedBox]) -> int:
    async with open_writer(url, "bench") as database:
        ledger, kept = Ledger(database), 0
        waiting: list[Arrival] = []
        for box in boxes:
            waiting += box.arrivals
            while len(waiting) >= BATCH or (box is boxes[-1] and waiting):
                kept += (await ledger.take(waiting[:BATCH])).accepted
                waiting = waiting[BATCH:]
    return kept


@asynccontextmanager
async def served(url: str, broker: Mosquitto, folder: Path) -> AsyncIterator[str]:
    """By a process of its own, as operators run it."""
    file = folder / "packbook.toml"
    settings = {"database_url": url, "broker": f"mqtt://{broker.host}:{broker.port}", "web_port": 0}
    settings["book_key_file"] = str(folder / "book-key.pem")
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    command = [sys.executable, "-m", "packbook", "serve", "--settings", str(file)]
    program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert program.stdout is not None
        line = (await program.stdout.readline()).decode()
        yield line.split()[-1].rstrip("/")
    finally:
        program.send_signal(signal.SIGTERM)
        await program.wait()


async def ingest(boxes: Sequence[ScriptedBox], broker: Mosquitto, per_s: float, told: Told, until_s: float) -> None:
    """Further drives, box after box, at this rate."""
    loop = asyncio.get_running_loop()
    async with aiomqtt.Client(broker.host, broker.port, timeout=ANSWER_WAIT_MAX_S) as client:
        began_s = loop.time()
        while loop.time() < until_s:
            box = boxes[told.records % len(boxes)]
            await client.publish(topic(box.box, Leaf.RECORD), box.drive(), qos=1)
            told.records += 1
            await asyncio.sleep(max(0.0, began_s + told.records / per_s - loop.time()))


async def read(url: str, number: int, batteries: int, think_s: float, told: Told, until_s: float) -> None:
    dice = random.Random(number)
    tags: dict[str, str] = {}
    await asyncio.sleep(RAMP_S * dice.random())
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_WAIT_MAX_S, verify=NO_TLS) as client:
        while asyncio.get_running_loop().time() < until_s:
            pattern = dice.choice(PATHS)
            path = pattern.format(b=f"BAT-{dice.randrange(batteries):04d}")
            headers = {"If-None-Match": tags[path]} if path in tags and dice.random() < 0.5 else {}
            began_s = time.perf_counter()
            try:
                answer = await client.get(path, headers=headers)
            except httpx.HTTPError as problem:
                told.problems[type(problem).__name__] += 1
                continue
            told.times_s[pattern].append(time.perf_counter() - began_s)
            told.answers[answer.status_code] += 1
            if answer.status_code not in (200, 304):
                told.problems[f"{answer.status_code} {pattern}"] += 1
            if "etag" in answer.headers:
                tags[path] = answer.headers["etag"]
            await asyncio.sleep(think_s * 2 * dice.random())


async def measure(name: str, url: str, arguments: argparse.Namespace, folder: Path) -> bool:
    boxes = [lived(number, arguments.rounds) for number in range(arguments.batteries)]
    kept = await fill(url, boxes)
    with Mosquitto(folder) as broker:
        async with served(url, broker, folder) as address:
            told = Told()
            until_s = asyncio.get_running_loop().time() + RAMP_S + arguments.seconds
            await asyncio.gather(
                ingest(boxes, broker, arguments.ingest, told, until_s),
                *(
                    read(address, number, arguments.batteries, arguments.think, told, until_s)
                    for number in range(arguments.readers)
                ),
            )
    report(name, kept, arguments, told)
    return not told.problems


def report(name: str, kept: int, arguments: argparse.Namespace, told: Told) -> None:
    answers = sum(told.answers.values())
    print(
        f"{name}: {arguments.readers} readers, {arguments.think:g} s of thought, {arguments.batteries} batteries, "
        f"{kept} records before and {told.records / arguments.seconds:.0f}/s meanwhile"
    )
    print(
        f"  {answers} answers ({answers / arguments.seconds:.0f}/s), {told.answers[304]} of them 304; errors: ", end=""
    )
    print(", ".join(f"{what} {times}" for what, times in told.problems.items()) or "none")
    rows = {**told.times_s, "all": [each for times in told.times_s.values() for each in times]}
    for pattern, times in rows.items():
        cuts = statistics.quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
        p50, p95, p99 = (1000 * cuts[at] for at in (49, 94, 98))
        print(f"  {pattern:46} p50 {p50:7.0f} ms  p95 {p95:7.0f} ms  p99 {p99:7.0f} ms")


async def on_postgres(arguments: argparse.Namespace, folder: Path) -> bool:
    server = Postgres()
    try:
        server.start()
        connection = await asyncpg.connect(server.url("postgres"))
        await connection.execute("CREATE DATABASE book")
        await connection.close()
        return await measure("PostgreSQL", server.url("book"), arguments, folder)
    finally:
        server.stop()


async def run(arguments: argparse.Namespace) -> bool:
    fine = True
    for database in arguments.databases:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if database == "sqlite":
                fine &= await measure("SQLite", f"sqlite:///{folder / 'book.db'}", arguments, folder)
            else:
                fine &= await on_postgres(arguments, folder)
    return fine


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--think", type=float, default=5.0, help="mean pause of a reader between two requests, s")
    parser.add_argument("--ingest", type=float, default=50.0, help="records a second meanwhile")
    parser.add_argument("--batteries", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=180, help="drives, charges and rests of each before")
    parser.add_argument("--databases", nargs="+", choices=("sqlite", "postgres"), default=("sqlite", "postgres"))
    os.environ.pop("CREDENTIALS_DIRECTORY", None)
    sys.exit(0 if asyncio.run(run(parser.parse_args())) else 1)
