"""What a book does by itself costs, whether boxes send or not: `PYTHONPATH=tests python tests/bench/periodic.py`.

In:  so many made-up boxes (100,000), each with a battery, a last heartbeat and a year of SoH records, in an empty book.
Out: for each piece of periodic work its processor time, of the book and of the database, and what that is in a minute.
Processor time is honest on a busy machine where the clock is not. `--database sqlite` or `postgresql` takes one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import sqlalchemy as sa

from packbook.adapters.rules import RuleBook
from packbook.adapters.store import alert_causes, open_writer, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.figures import book_figures
from packbook.adapters.store.judging import AGAIN_MS, judge
from packbook.app.condition import FIGURES_EVERY_S
from packbook.app.fleet import JUDGE_EVERY_S
from packbook.clock import now_ms
from packbook.core.alerts import AlertRules, Kind
from packbook.testing.filled_fleet import crowd
from postgres_server import Postgres
from processes import children_of

CROWD: Final = 2000  # made by dice; the rest are copies under other names
SOH_RECORDS: Final = 12  # of each battery, over a year
HEALTH_A_DAY: Final = 0.7  # SoH records (scale.py): only these make a forecast
STIRS_A_DAY: Final = 4.0  # assumed: how often a day a box brings news, several records at a time (scale.py: 12 a day)
JUDGED: Final = 100  # batteries with news, for the price of one
REPEATS: Final = 3
MINUTE_S: Final = 60.0
TICKS_S: Final = os.sysconf("SC_CLK_TCK")
NUMBERS: Final = "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < {last}) "
OTHER_BOX: Final = "substr({0}.box, 1, 11) || CAST(10000 + n AS VARCHAR)"


@dataclass(frozen=True)
class Spent:
    """Processor seconds."""

    book_s: float
    database_s: float

    def __str__(self) -> str:
        return f"{self.book_s:8.3f} {self.database_s:8.3f}"


class Meter:
    def __init__(self, server: Postgres | None) -> None:
        self._server = server

    def now(self) -> Spent:
        return Spent(time.process_time(), 0.0 if self._server is None else sum(map(_ticks, self._family())) / TICKS_S)

    def _family(self) -> list[int]:
        assert self._server is not None
        return [self._server.pid, *children_of(self._server.pid)]

    async def of(self, work: Callable[[], Awaitable[object]]) -> Spent:
        """The least of some times: what else the machine does only ever adds."""
        spent = []
        for _ in range(REPEATS):
            before = self.now()
            await work()
            after = self.now()
            spent.append(Spent(after.book_s - before.book_s, after.database_s - before.database_s))
        return min(spent, key=lambda one: one.book_s + one.database_s)


def _ticks(pid: int) -> int:
    """Of the process, and of those that it waited for."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0
    return sum(map(int, words[11:15]))


async def fill(database: Database, boxes: int, at_ms: int) -> None:
    await crowd(database, min(CROWD, boxes), at_ms)
    copies = boxes // CROWD - 1
    async with database.transaction() as connection:
        for table in (tables.battery, tables.installation, tables.box, tables.enrolled_box, tables.fleet_row,
                      tables.battery_tenant):  # fmt: skip
            if copies > 0:
                await connection.execute(sa.text(_copied(table, copies)))
        await connection.execute(sa.text(_soh_records(at_ms)))
        if not database.is_sqlite:
            await connection.execute(sa.text("ANALYZE"))


def _copied(table: sa.Table, copies: int) -> str:
    """Each row under other names; of those that name a box or a battery."""
    new = {"box": OTHER_BOX.format("t"), "battery": "t.battery || '-' || CAST(n AS VARCHAR)"}
    names = [column.name for column in table.columns]
    values = ", ".join(new.get(name, f't."{name}"') for name in names)
    columns = ", ".join(f'"{name}"' for name in names)
    numbers = NUMBERS.format(last=copies)
    return f'INSERT INTO "{table.name}" ({columns}) {numbers}SELECT {values} FROM "{table.name}" t CROSS JOIN many'  # noqa: S608 - our tables


def _soh_records(at_ms: int) -> str:
    """From 97 % down, a month between two; the box sees nine tenths of each."""
    month_ms = 30 * 86_400_000
    values = {
        "box": "t.box", "store": "t.store", "seq": "100 + n", "battery": "t.battery", "boot": "t.boot",
        "mono_ms": "n", "wall_ms": f"{at_ms} - ({SOH_RECORDS} - n) * {month_ms}",
        "at_ms": f"{at_ms} - ({SOH_RECORDS} - n) * {month_ms}", "state": "'ok'", "method": "'coulomb-1'",
        "soh_pct": "97.0 - 0.2 * n", "sigma_pct": "1.0", "lo90_pct": "95.0 - 0.2 * n", "hi90_pct": "99.0 - 0.2 * n",
        "capacity_ah": "60.0", "sigma_ah": "0.6", "reference_ah": "65.4", "basis": "'measured'", "estimates": "'[]'",
        "observed_s": "n * 900000.0", "inferred_s": "0.0", "unobserved_s": "n * 100000.0", "observed_ah": "n * 500.0",
        "observed_km": "n * 900.0", "odometer_km": "n * 1000.0",
    }  # fmt: skip
    source = f"{', '.join(values.values())} FROM installation t CROSS JOIN many"
    return f"INSERT INTO soh_point ({', '.join(values)}) {NUMBERS.format(last=SOH_RECORDS)}SELECT {source}"


async def news_of(database: Database, batteries: int, *, of_health: bool) -> None:
    """So many were judged some time ago and brought records since."""
    row = tables.fleet_row
    some = sa.select(row.c.battery).order_by(row.c.battery).limit(batteries)
    stale = sa.update(row).where(row.c.battery.in_(some)).values(records=1, judged_ms=row.c.judged_ms - 2 * AGAIN_MS)
    async with database.transaction() as connection:
        await connection.execute(stale.values(judged={}) if of_health else stale)  # nothing is known of its basis


async def price_of_one(database: Database, meter: Meter, *, of_health: bool) -> Spent:
    """A battery that brought news, without the look for what is due."""
    idle = await meter.of(lambda: judge(database, now_ms()))
    spent = []
    for _ in range(REPEATS):
        await news_of(database, JUDGED, of_health=of_health)
        before = meter.now()
        assert await judge(database, now_ms()) == JUDGED
        after = meter.now()
        book_s, database_s = after.book_s - before.book_s - idle.book_s, after.database_s - before.database_s
        spent.append(Spent(book_s / JUDGED, max(0.0, database_s - idle.database_s) / JUDGED))
    return min(spent, key=lambda one: one.book_s)


async def measure(database: Database, meter: Meter, boxes: int) -> None:
    rules = RuleBook(None).load("alerts", AlertRules)
    total = Spent(0.0, 0.0)

    def tell(what: str, spent: Spent, times_a_minute: float) -> None:
        nonlocal total
        minute = Spent(spent.book_s * times_a_minute, spent.database_s * times_a_minute)
        total = Spent(total.book_s + minute.book_s, total.database_s + minute.database_s)
        print(f"{what:34} {spent}  x {times_a_minute:8.3f} = {minute}", flush=True)

    print(f"{'processor seconds':34} {'book':>8} {'database':>8}    a minute       {'book':>8} {'database':>8}")
    tell("judge: look what is due", await meter.of(lambda: judge(database, now_ms())), MINUTE_S / JUDGE_EVERY_S)
    for what, of_health, a_day in (("SoH", True, HEALTH_A_DAY), ("others", False, STIRS_A_DAY - HEALTH_A_DAY)):
        price = await price_of_one(database, meter, of_health=of_health)
        tell(f"judge: a battery with news ({what})", price, boxes * a_day / 1440)
    for kind in Kind:
        cost = await meter.of(lambda kind=kind: alert_causes.sightings(database, rules, kind, now_ms()))  # type: ignore[misc]  # bound at once
        tell(f"alerts: {kind.value}", cost, MINUTE_S / rules.rule(kind).every_s)
    tell(
        "metrics of the whole book",
        await meter.of(lambda: book_figures(database, now_ms())),
        MINUTE_S / FIGURES_EVERY_S,
    )
    print(f"{'all of it, a minute':34} {total}  {(total.book_s + total.database_s) / MINUTE_S:.1%} of a processor core")


@contextmanager
def some_database(kind: str) -> Iterator[tuple[str, Postgres | None]]:
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="packbook-periodic-") as folder:
            yield f"sqlite:///{folder}/book.db", None
        return
    server = Postgres(durable=True)
    try:
        server.start()
        asyncio.run(_create(server))
        yield server.url("book"), server
    finally:
        server.stop()


async def _create(server: Postgres) -> None:
    connection = await asyncpg.connect(server.url("postgres"))
    await connection.execute("CREATE DATABASE book")
    await connection.close()


async def run(url: str, server: Postgres | None, boxes: int) -> None:
    async with open_writer(url, "periodic") as database:
        begun_s = time.monotonic()
        await fill(database, boxes, now_ms())
        print(f"\n{database.name.split(':')[0]}: {boxes:,} boxes filled in {time.monotonic() - begun_s:.0f} s")
        await measure(database, Meter(server), boxes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boxes", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"))
    args = parser.parse_args()
    for kind in (args.database,) if args.database else ("postgresql", "sqlite"):
        with some_database(kind) as (url, server):
            asyncio.run(run(url, server, args.boxes))


if __name__ == "__main__":
    main()
