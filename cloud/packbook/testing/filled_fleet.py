"""A fleet in a database, for tests, screenshots and work on the operator's pages: a few lived-in batteries, or a crowd.

`fill` writes a `MemoryHistories` into the tables as intake would have, with boxes, codes, certificates, refused
messages and acts around it. `crowd` adds thousands of made-up batteries with plausible figures, seeded: the same every
time. `beats` tells how one box fared.
Nothing here goes through signatures; what is to be believed comes by `tests/lived_fleet.py`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters.store import tables, tenants
from packbook.adapters.store.database import Database
from packbook.adapters.store.judging import judge
from packbook.adapters.store.rows import upsert
from packbook.core.fleet_row import Judged, Promise, as_json
from packbook.core.guarantee import Condition, Failed
from packbook.core.history import EventRow, SessionRow, SohPoint, UsageTotals
from packbook.testing.memory_histories import MemoryHistories

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
BEAT_EVERY_MS: Final = 6 * HOUR_MS
BOOT: Final = "b00700000000b007"
STORE: Final = "c04e1f77a9b23d65"


class Pack(NamedTuple):
    """A kind of car in the crowd, and how its batteries fare."""

    pack: str
    profile: str
    kwh: float
    chemistry: str
    cells: int
    soh_pct: float  # of the middle one
    cars: str  # what their firm calls them


PACKS: Final = (
    Pack("leaf-24", "nissan-leaf", 24.0, "lmo", 96, 79.0, "Pool car"),
    Pack("leaf-40", "nissan-leaf", 40.0, "nmc", 96, 90.0, "Van"),
    Pack("imiev-16", "mitsubishi-imiev", 16.0, "lmo", 88, 76.0, "Kei van"),
    Pack("leaf-62", "nissan-leaf", 62.0, "nmc", 96, 93.0, "Taxi"),
    Pack("zoe-52", "renault-zoe-ph2", 52.0, "nmc", 96, 91.0, "Courier"),
    Pack("atto3-60", "byd-atto3", 60.0, "lfp", 126, 95.0, "Crew car"),
)
FLEETS: Final = ("vans-north", "vans-south", "lease")
_TABLE_OF: Final[Mapping[type, sa.Table]] = {
    SessionRow: tables.session,
    SohPoint: tables.soh_point,
    EventRow: tables.event,
    UsageTotals: tables.usage,
}


async def fill(database: Database, book: MemoryHistories, now_ms: int) -> None:
    """An empty database becomes this book, judged."""
    async with database.transaction() as connection:
        for battery, head in book.heads.items():
            counts = {f"{kind}s": head.sessions.get(kind, 0) for kind in ("charge", "drive", "rest")}
            await _insert(connection, tables.battery, {"battery": battery, "records": head.records, **counts})
            of_head: dict[str, Any] = {
                column.name: getattr(head, column.name, None) for column in tables.installation.c
            }
            place = {"box": head.boxes[0], "store": STORE, "seq": 1, "hello_seq": 1, **_moment()}
            await _insert(connection, tables.installation, of_head | place | {"from_ms": head.first_ms})
            rows: list[SessionRow | SohPoint | EventRow] = [
                *book.points.get(battery, ()),
                *book.session_rows.get(battery, ()),
                *book.event_rows.get(battery, ()),
            ]
            for number, row in enumerate(rows, 2):
                await _insert(connection, _TABLE_OF[type(row)], _row(row, battery, head.boxes[0], number))
            if battery in book.totals:
                usage = _row(book.totals[battery], battery, head.boxes[0], len(rows) + 2)
                await _insert(connection, tables.usage, usage | {"installed": 1})
        for box in book.box_rows:
            await _box(connection, box.box, box.last_seen_ms or now_ms, online=box.online, health=dict(box.health))
        await _around(connection, [box.box for box in book.box_rows], now_ms)
        await tenants.settle(connection, [box.box for box in book.box_rows])
    await judge(database, now_ms)


async def crowd(database: Database, vehicles: int, now_ms: int, seed: int = 1) -> None:
    """So many batteries more, judged already: their figures come from dice, not from readings."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    batteries, installed, boxes, enrolled, rows = [], [], [], [], []
    for number in range(vehicles):
        pack = PACKS[number % len(PACKS)]
        battery, box = f"{pack.pack}-{number:05d}", hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()[:16]
        silent_days = dice.expovariate(1 / dice.choice((0.5,) * 12 + (30.0,)))
        seen_ms = now_ms - int(silent_days * DAY_MS)
        batteries.append({"battery": battery, "records": 500, "charges": 200, "drives": 200, "rests": 50})
        installed.append(_installation(box, battery, pack, now_ms - 400 * DAY_MS, number))
        boxes.append(_presence(box, seen_ms, online=silent_days < 1.0, health=_health(dice)))
        state = "revoked" if number % 211 == 210 else "active"
        enrolled.append(_enrolled(box, FLEETS[number % 7 % len(FLEETS)], state, now_ms - 400 * DAY_MS))
        rows.append(_judged_row(dice, battery, box, pack.soh_pct, now_ms))
    async with database.transaction() as connection:
        for table, values in (
            (tables.battery, batteries),
            (tables.installation, installed),
            (tables.box, boxes),
            (tables.enrolled_box, enrolled),
            (tables.fleet_row, rows),
        ):
            if values:
                await connection.execute(sa.insert(table), values)
        await tenants.settle(connection, [box["box"] for box in boxes])


async def beats(database: Database, box: str, days: int, now_ms: int, seed: int = 1) -> None:
    """A box's health over so many days: it writes more, its disk fills, at noon it is warm."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    rows: list[dict[str, Any]] = []
    health: dict[str, Any] = _health(dice) | {"clock": "set", "frames": 0, "frames_dropped": 0, "journal_bytes": 0}
    for number, at_ms in enumerate(range(now_ms - days * DAY_MS, now_ms, BEAT_EVERY_MS)):
        health = health | {
            "uptime_s": number * BEAT_EVERY_MS / 1000,
            "frames": health["frames"] + 1_400_000,
            "frames_dropped": health["frames_dropped"] + int(dice.expovariate(1 / 15)),
            "journal_bytes": health["journal_bytes"] + dice.randrange(30_000),
            "disk_free_bytes": 20_400_000_000 - 9_000_000 * number,
            "cpu_temp_degc": round(44 + 9 * (number % 4 == 2) + dice.gauss(0, 2), 1),
            "outbox_waiting": dice.choice((0, 0, 0, 2)),
            "oldest_waiting_s": 0.0,
        }
        rows.append({"box": box, "hour_ms": at_ms - at_ms % HOUR_MS, "at_ms": at_ms, "health": health})
    async with database.transaction() as connection:
        await connection.execute(sa.insert(tables.heartbeat), rows)
        await upsert(connection, tables.box, [_presence(box, now_ms, online=True, health=health)])


async def _insert(connection: AsyncConnection, table: sa.Table, row: Mapping[str, Any]) -> None:
    known = {name: value for name, value in row.items() if name in table.c}
    await connection.execute(sa.insert(table), [known])


def _moment() -> dict[str, object]:
    return {"boot": BOOT, "mono_ms": 1, "wall_ms": 1}


def _row(value: SessionRow | SohPoint | EventRow | UsageTotals, battery: str, box: str, seq: int) -> dict[str, Any]:
    plain = {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.name != "provenance"}
    return plain | {"battery": battery, "box": box, "store": STORE, "seq": seq, **_moment()}


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _presence(box: str, seen_ms: int, *, online: bool | None, health: dict[str, object]) -> dict[str, Any]:
    return {"box": box, "last_seen_ms": seen_ms, "online": online, "health": health, "unready": 0}


async def _box(
    connection: AsyncConnection, box: str, seen_ms: int, *, online: bool | None, health: dict[str, object]
) -> None:
    await _insert(connection, tables.box, _presence(box, seen_ms, online=online, health=health))


def _enrolled(box: str, fleet: str, state: str, at_ms: int) -> dict[str, Any]:
    return {
        "box": box,
        "public_key": hashlib.sha256(box.encode()).digest(),
        "fleet": fleet,
        "state": state,
        "since_ms": at_ms,
        "enrolled_ms": at_ms,
        "replaces": None,
    }


def _installation(box: str, battery: str, pack: Pack, from_ms: int, number: int) -> dict[str, Any]:
    return {
        "box": box,
        "store": STORE,
        "seq": 1,
        "battery": battery,
        "hello_seq": 1,
        **_moment(),
        "from_ms": from_ms,
        "battery_source": "read" if number % 3 else "provisional",
        "vehicle": f"{pack.cars} {number + 1}",
        "profile": pack.profile,
        "variant": None,
        "pack": pack.pack,
        "chemistry": pack.chemistry,
        "cells_in_series": pack.cells,
        "nominal_kwh": pack.kwh,
        "reference_ah": 65.4,
        "reference_source": "battery system's 100 %",
        "software": "packbox 0.1.0",
    }


def _health(dice: random.Random) -> dict[str, object]:
    frames = dice.randrange(10_000_000, 90_000_000)
    return {
        "uptime_s": float(dice.randrange(100_000)),
        "frames": frames,
        "frames_dropped": int(dice.expovariate(1 / 300.0)),
        "frames_bad": dice.randrange(40),
        "implausible_values": dice.randrange(3),
        "cells_not_sum": dice.choice((0,) * 60 + (7,)),
        "outbox_waiting": dice.randrange(5),
        "oldest_waiting_s": dice.expovariate(1 / 9000.0),
        "journal_bytes": dice.randrange(9_000_000),
        "disk_free_bytes": dice.choice((20_000_000_000,) * 40 + (100_000_000,)),
        "clock": dice.choice(("set",) * 50 + ("unset",)),
        "cpu_temp_degc": round(dice.gauss(48, 8), 1),
        "software": dice.choice(("packbox 0.1.0", "packbox 0.1.1")),
        "config_version": 0,
    }


def _judged_row(dice: random.Random, battery: str, box: str, usual_pct: float, now_ms: int) -> dict[str, Any]:
    soh, half = min(101.0, dice.gauss(usual_pct, 5.0)), dice.uniform(1.0, 4.0)
    probability = min(0.999, max(0.01, (soh - 66.0) / 22.0))
    failed = () if probability >= 0.95 else (Failed(Condition.PROBABILITY, probability, 0.95),)
    promises = tuple(
        Promise(70.0, years, years * 20_000.0, probability**years, failed, ()) for years in (1.0, 2.0, 3.0)
    )
    use = "car" if soh > 78 else "small_mobility" if soh > 70 else "stationary"
    told = Judged(None, promises, use, {"car": ("low",)} if use != "car" else {}, ("resistance",))
    promise = told.strongest
    return {
        "battery": battery,
        "records": 500,
        "judged_ms": now_ms,
        "box": box,
        "store": STORE,
        "installed": 1,
        "soh_at_ms": now_ms - DAY_MS,
        "state": dice.choice(("ok",) * 8 + ("learning", "stale")),
        "soh_pct": soh,
        "lo90_pct": soh - half,
        "hi90_pct": soh + half,
        "soh_reported_pct": float(round(soh + dice.gauss(0, 2))),
        "coverage_pct": min(100.0, dice.gauss(88.0, 9.0)),
        "odometer_km": float(dice.randrange(5_000, 160_000)),
        "promise_pct": promise.threshold_pct if promise else None,
        "promise_years": promise.horizon_years if promise else None,
        "next_use": told.next_use,
        "lacking": None,
        "judged": as_json(told),
    }


async def _around(connection: AsyncConnection, boxes: list[str], now_ms: int) -> None:
    """What grows around boxes in a year: fleets, certificates, codes, chains, refused messages, acts."""
    for number, box in enumerate(boxes):
        await _insert(
            connection, tables.enrolled_box, _enrolled(box, FLEETS[number % 2], "active", now_ms - 300 * DAY_MS)
        )
        issued = {
            "serial": f"{number + 1:040x}",
            "box": box,
            "issuer": "f" * 64,
            "tls_key": b"\1" * 32,
            "code": None,
            "issued_ms": now_ms - 60 * DAY_MS,
            "until_ms": now_ms + (30 - 11 * number) * DAY_MS,
            "der": b"\0",
        }
        await _insert(connection, tables.certificate, issued)
        chain = {
            "box": box,
            "store": STORE,
            "upto": 400,
            "top": 400 + number,
            "records": 400,
            "purposes": "history passport",
        }
        await _insert(connection, tables.chain, chain)
        act = {"at_ms": now_ms - 300 * DAY_MS, "act": "enrolled", "box": box, "detail": "code 0badc0de"}
        await _insert(connection, tables.enrol_act, act)
    refused = {
        "received_ms": now_ms - DAY_MS,
        "reason": "bad_signature",
        "detail": "the signature does not fit the box's key",
        "payload": bytes(range(40)),
        "times": 3,
        "last_ms": now_ms - DAY_MS // 2,
        "box": boxes[0] if boxes else None,
        "state": "open",
    }
    for number, topic in enumerate(("record", "heartbeat")):
        digest = hashlib.sha256(topic.encode()).digest()
        await _insert(
            connection, tables.quarantine, refused | {"topic": f"pb/1/{topic}", "digest": digest, "id": number + 1}
        )
    for number, used in enumerate((boxes[0] if boxes else None, None)):
        code = {
            "digest": hashlib.sha256(f"code {number}".encode()).digest(),
            "fleet": FLEETS[0],
            "made_ms": now_ms - 301 * DAY_MS + number,
            "expires_ms": now_ms + (number * 20 - 10) * DAY_MS,
            "used_ms": now_ms - 300 * DAY_MS if used else None,
            "used_by": used,
        }
        await _insert(connection, tables.enrol_code, code)
    read = {"at_ms": now_ms - DAY_MS, "battery": "*", "role": "operator", "door": "page", "what": "fleet", "fields": []}
    await _insert(connection, tables.read_note, read)
