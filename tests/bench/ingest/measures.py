"""Each promise of `bench.ingest`, measured once.

In:  a private PostgreSQL, a scratch folder, how much.
Out: rates, times, megabytes.
Messages wait in the broker before the clock starts, under the session that each peer comes back to: what is measured
is a fleet that was offline, and not how fast the bench can publish.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

import asyncpg
import sqlalchemy as sa

from bench.ingest import peers
from bench.ingest.fleet import PER_BOX, Life, fleet, hellos, mixed, staggered
from bench.ingest.library import fill, pages
from bench.ingest.system import (
    begin_session,
    collector,
    listening,
    memory_mb,
    processor_s,
    publish,
    until_held,
)
from brokers import Mosquitto
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.clock import now_ms
from packbook.core.intake import Arrival
from postgres_server import Postgres

NODE_RED_MISSING: Final = "npm ci in tests/bench/nodered first"
BEST_CASE: Final = "Node-RED, its driver alone"
POLL_S: Final = 0.1  # each look costs the database and this machine something
PATIENCE_S: Final = 600.0
FIRST_SHARE: Final = 0.1  # of a run: until all are at work it is not counted

Rates: TypeAlias = dict[str, list[float]]
Costs: TypeAlias = dict[str, list[float]]  # processor time in us for a record, by program; not disturbed by neighbours


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    boxes: int
    half_s: float
    drain_boxes: int
    memory_records: int
    batteries: int


@dataclass(frozen=True, slots=True)
class Drained:
    wrong: int
    took_s: float


# --- rates ---------------------------------------------------------------------------------------------------------


async def one_round(server: Postgres, folder: Path, size: Size, costs: Costs) -> dict[str, float]:
    """Messages a second of each, by name."""
    lives = await asyncio.to_thread(fleet, size.boxes)
    async with _database(server) as url:
        watched = {"collector, postgresql": None, "PostgreSQL": server.pid}
        found = {"postgresql": await _ours(url, folder, lives, costs, watched)}
    async with _database(server) as url:
        found["postgresql, each box once a batch"] = await _ours(
            url, folder, lives, costs, {"collector, each box once a batch": None}, together=len(lives)
        )
    with TemporaryDirectory(dir=folder) as fresh:
        found["sqlite"] = await _ours(f"sqlite:///{fresh}/book.db", folder, lives, costs, {"collector, sqlite": None})
    async with _database(server) as url:
        await _run(url, peers.TABLE)
        await _keys_for(url, lives)
        found["one INSERT per message"] = await _theirs(url, folder, lives, "record", peers.inserting)
    if (peers.NODE_RED / "node_modules").is_dir():
        async with _database(server) as url:
            await _run(url, peers.PLAIN_TABLE)
            found["Node-RED"] = await _theirs(url, folder, lives, "plain", _node_red_in(folder, bare=False))
        async with _database(server) as url:
            await _run(url, peers.PLAIN_TABLE)
            found[BEST_CASE] = await _theirs(url, folder, lives, "plain", _node_red_in(folder, bare=True))
    return found


def _node_red_in(folder: Path, *, bare: bool) -> peers.Peer:
    return lambda url, broker: peers.node_red(url, broker, folder, bare=bare)


async def _ours(
    url: str,
    folder: Path,
    lives: Sequence[Life],
    costs: Costs,
    watched: Mapping[str, int | None],
    together: int = 100,
) -> float:
    """Counted in the database, as the peers': acks come back later than they could, to a bench that is busy itself.

    `watched`: whose processor time goes into `costs`; None is the collector. Mosquitto's always does.
    """
    await _greet(url, lives)
    total = sum(len(one.records) for one in lives)
    seen: list[tuple[float, int]] = []
    with Mosquitto(folder) as broker:
        await begin_session(broker)
        await publish(broker, mixed(lives, together))
        async with aclosing(Database(url, read_only=True)) as database:
            with collector(url, broker, folder) as process:
                pids = {what: pid or process.pid for what, pid in watched.items()} | {"mosquitto": broker.pid}
                begun: tuple[int, dict[str, float]] | None = None
                async with asyncio.timeout(PATIENCE_S):
                    while not seen or seen[-1][1] < total:
                        await asyncio.sleep(POLL_S)
                        async with database.transaction() as connection:
                            held = await connection.scalar(sa.select(sa.func.sum(tables.chain.c.records)))
                        seen.append((time.monotonic(), int(held or 0) - len(lives)))
                        if begun is None and seen[-1][1] >= FIRST_SHARE * total:
                            begun = seen[-1][1], {what: processor_s(pid) for what, pid in pids.items()}
                assert begun is not None
                for what, before_s in begun[1].items():
                    spent_s = processor_s(pids[what]) - before_s
                    costs.setdefault(what, []).append(1e6 * spent_s / max(1, total - begun[0]))
    return _rate(seen)


async def _theirs(url: str, folder: Path, lives: Sequence[Life], table: str, peer: peers.Peer) -> float:
    total = sum(len(one.records) for one in lives)
    seen: list[tuple[float, int]] = []
    with Mosquitto(folder) as broker:
        await begin_session(broker, peers.PATTERNS)
        await publish(broker, mixed(lives))
        connection = await asyncpg.connect(url)
        with peer(url, broker):
            async with asyncio.timeout(PATIENCE_S):
                while not seen or seen[-1][1] < total:
                    await asyncio.sleep(POLL_S)
                    held = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
                    seen.append((time.monotonic(), held))
        await connection.close()
    return _rate(seen)


def _rate(seen: Sequence[tuple[float, int]]) -> float:
    """From when the first tenth was there until all was."""
    end_s, total = seen[-1]
    begin_s, before = next((at, held) for at, held in seen if held >= FIRST_SHARE * total)
    return (total - before) / max(end_s - begin_s, POLL_S)


async def _greet(url: str, lives: Sequence[Life]) -> None:
    """The fleet is known: each box's hello is in the book."""
    at_ms = now_ms()  # of today: else the alert of a silent box is raised for each while we measure
    greetings = [Arrival(topic, payload, at_ms) for topic, payload in hellos(lives)]
    async with open_writer(url, "bench") as database:
        ledger = Ledger(database)
        for begin in range(0, len(greetings), 500):
            await ledger.take(greetings[begin : begin + 500])


async def _keys_for(url: str, lives: Sequence[Life]) -> None:
    """The other collector finds the keys in the database, too."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE bench_key (box text, public_key bytea)")
    await connection.copy_records_to_table("bench_key", records=[(one.box, one.public_key) for one in lives])
    await connection.close()


@asynccontextmanager
async def _database(server: Postgres) -> AsyncIterator[str]:
    """A fresh one."""
    await _run(server.url("postgres"), "CREATE DATABASE bench")
    try:
        yield server.url("bench")
    finally:
        await _run(server.url("postgres"), "DROP DATABASE bench WITH (FORCE)")


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


# --- one figure each -----------------------------------------------------------------------------------------------


async def receipt_to_ack(server: Postgres, folder: Path, size: Size, per_s: float) -> list[float]:
    """From the publication to the box's ack, in ms, for each record. The broker's part is in it."""
    lives = await asyncio.to_thread(fleet, max(50, int(per_s * size.half_s / PER_BOX)))
    async with _database(server) as url:
        await _greet(url, lives)
        with Mosquitto(folder) as broker:
            async with listening(broker, timed=True) as acks:
                with collector(url, broker, folder):
                    await _first_ack(broker, acks.upto, lives[0])
                    rest = lives[1:]
                    turns = staggered(rest)
                    sent_s = await publish(broker, ((one.topic, one.records[at]) for one, at in turns), per_s)
                    await until_held(acks, rest, 1)
    order = [(one.box, at + 2) for one, at in turns]  # record 1 was its hello
    return [1000.0 * (acks.at_s[place] - at) for place, at in zip(order, sent_s, strict=True)]


async def _first_ack(broker: Mosquitto, upto: dict[str, int], first: Life) -> None:
    """One record until it is acknowledged: the collector is up."""
    async with asyncio.timeout(PATIENCE_S):
        while upto.get(first.box, 0) < len(first.records) + 1:
            await publish(broker, [(first.topic, sealed) for sealed in first.records])
            await asyncio.sleep(0.5)


async def drain(server: Postgres, folder: Path, size: Size) -> Drained:
    """All boxes at once. What the ledger then holds is counted, not what was acknowledged."""
    lives = await asyncio.to_thread(fleet, size.drain_boxes)
    async with _database(server) as url:
        await _greet(url, lives)
        with Mosquitto(folder) as broker:
            await begin_session(broker)
            await publish(broker, mixed(lives, together=len(lives)))
            async with listening(broker) as acks:
                with collector(url, broker, folder):
                    begin_s = time.monotonic()
                    await until_held(acks, lives, 1)
                    took_s = time.monotonic() - begin_s
        expected = {(one.box, seq) for one in lives for seq in range(1, PER_BOX + 2)}
        async with aclosing(Database(url)) as database, database.transaction() as connection:
            query = sa.select(tables.ledger.c.box, tables.ledger.c.seq)
            held = [tuple(row) for row in await connection.execute(query)]
    return Drained(len(expected ^ set(held)) + len(held) - len(set(held)), took_s)


async def memory(server: Postgres, folder: Path, size: Size) -> list[float]:
    """Of the collector, after each tenth of the records."""
    per_share = max(10, size.memory_records // 10 // PER_BOX)
    held_mb: list[float] = []
    async with _database(server) as url:
        with Mosquitto(folder) as broker:
            async with listening(broker) as acks:
                with collector(url, broker, folder) as process:
                    for share in range(10):
                        lives = await asyncio.to_thread(fleet, per_share, first=share * per_share)
                        await _greet_by_wire(broker, lives)
                        await publish(broker, mixed(lives))
                        await until_held(acks, lives, 1)
                        held_mb.append(memory_mb(process))
                        acks.forget()
    return held_mb


async def _greet_by_wire(broker: Mosquitto, lives: Sequence[Life]) -> None:
    await publish(broker, hellos(lives))


async def page(server: Postgres, folder: Path, size: Size) -> list[float]:
    """One battery's page, as a browser asks for it, in ms."""
    async with _database(server) as url:
        async with open_writer(url, "bench") as database:
            named = await fill(database, size.batteries)
        return await pages(url, folder, named)
