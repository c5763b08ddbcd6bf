"""Is the book right, after all of it? Judged from outside: by the boxes' journals, with packwire alone, by commands.

In:  journals, the database, the settings of a book that nobody writes to any more.
Out: counts; all that is wrong, in words. Nothing wrong is an empty list.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from packbook.adapters.store import tables
from packwire.errors import WireError
from packwire.ids import box_id_of
from packwire.messages import Hello, Kind
from packwire.seal import NO_PREVIOUS, check, digest, peek, read

COMMAND_WAIT_MAX_S: Final = 600.0
NAMED_MAX: Final = 5
Store = tuple[str, str]
Records = dict[int, bytes]


@dataclass
class Verdict:
    records: int = 0
    stores: int = 0
    planted: int = 0
    bundles: int = 0
    wrong: list[str] = field(default_factory=list)


def made_by(journals: Iterable[Path]) -> dict[Store, Records]:
    """What the boxes have on their disks. A box's own journal and a scripted one's differ in one column."""
    made: dict[Store, Records] = {}
    for journal in journals:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
            for (sealed,) in db.execute("SELECT sealed FROM record ORDER BY seq"):
                envelope = peek(sealed).envelope
                made.setdefault((envelope.box, envelope.store), {})[envelope.seq] = sealed
    return made


async def held_by(url: str) -> dict[Store, list[tuple[int, bytes]]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT box, store, seq, sealed FROM ledger ORDER BY box, store, seq")
    finally:
        await connection.close()
    held: dict[Store, list[tuple[int, bytes]]] = {}
    for row in rows:
        held.setdefault((row["box"], row["store"]), []).append((row["seq"], row["sealed"]))
    return held


async def judge(url: str, settings: Path, journals: list[Path], planted: set[bytes], batteries: list[str]) -> Verdict:
    """The order matters: `rebuild` comes last but for the look at what it made."""
    verdict = Verdict(planted=len(planted))
    made, held = made_by(journals), await held_by(url)
    verdict.records, verdict.stores = sum(map(len, held.values())), len(held)
    if not verdict.records:
        verdict.wrong.append("the book is empty: nothing was judged")
    differences(made, held, verdict.wrong)
    for store, rows in held.items():
        verdict.wrong += [f"store {store}: {trouble}" for trouble in trouble_in_chain(rows)]
    await _quarantine(url, planted, verdict.wrong)
    await asyncio.to_thread(_doctor, settings, verdict)
    verdict.bundles = await asyncio.to_thread(_bundles, settings, batteries, verdict.wrong)
    before = await snapshot(url)
    said = await asyncio.to_thread(command, settings, "rebuild")
    verdict.wrong += [f"packbook rebuild: {said.stderr[-500:]}"] if said.returncode else []
    for table, rows in (await snapshot(url)).items():
        if rows != before[table]:
            other = [pair for pair in zip(before[table], rows, strict=False) if pair[0] != pair[1]][:1]
            counts = f"{len(before[table])} rows, rebuilt {len(rows)}"
            verdict.wrong.append(f"projection {table} differs from a rebuild: {counts}; {other}")
    return verdict


def differences(made: dict[Store, Records], held: dict[Store, list[tuple[int, bytes]]], wrong: list[str]) -> None:
    for store in made.keys() | held.keys():
        mine, theirs = made.get(store, {}), held.get(store, [])
        seqs = [seq for seq, _ in theirs]
        lost = sorted(mine.keys() - set(seqs))
        doubled = sorted(seq for seq, times in Counter(seqs).items() if times > 1)
        other = [seq for seq, sealed in theirs if mine.get(seq) != sealed]
        for word, which in (("lost", lost), ("doubled", doubled), ("not as the box made them", other)):
            if which:
                wrong.append(f"store {store}: {len(which)} of {len(mine)} records {word}: {which[:NAMED_MAX]}")


def trouble_in_chain(rows: list[tuple[int, bytes]]) -> list[str]:
    """Every signature and every link, with nothing of the book's."""
    public_key, previous = b"", NO_PREVIOUS
    for place, (seq, sealed) in enumerate(rows, start=1):
        taken = peek(sealed)
        if (seq, taken.envelope.seq, taken.envelope.previous) != (place, place, previous):
            return [f"the chain breaks at record {place} (found {seq})"]
        if taken.kind_number == Kind.HELLO:
            message = read(taken).message
            assert isinstance(message, Hello)
            public_key = message.public_key
            if box_id_of(public_key) != taken.envelope.box:
                return [f"record {seq} brings the key of another box"]
        try:
            check(taken, public_key)
        except WireError as problem:
            return [f"record {seq}: {problem}"]
        previous = digest(sealed)
    return []


async def quarantined(url: str) -> dict[bytes, str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT payload, reason FROM quarantine")
    finally:
        await connection.close()
    return {row["payload"]: row["reason"] for row in rows}


async def _quarantine(url: str, planted: set[bytes], wrong: list[str]) -> None:
    found = await quarantined(url)
    strange = {payload: reason for payload, reason in found.items() if payload not in planted}
    if strange:
        wrong.append(f"quarantine holds {dict(Counter(strange.values()))} that nobody planted")
    if planted - found.keys():
        wrong.append(f"{len(planted - found.keys())} of {len(planted)} planted messages are not in quarantine")


def _doctor(settings: Path, verdict: Verdict) -> None:
    """The book's own look at itself must agree. Open quarantine makes it end with 1, which is right."""
    said = command(settings, "doctor", "--json")
    if not said.stdout:
        verdict.wrong.append(f"packbook doctor: {said.stderr[-500:]}")
        return
    ledger = json.loads(said.stdout)["ledger"]
    for key in ("troubles", "disputes", "two_lives", "unready"):
        if ledger[key]:
            verdict.wrong.append(f"packbook doctor: {key} {ledger[key]}")


def _bundles(settings: Path, batteries: list[str], wrong: list[str]) -> int:
    """What real boxes said of a battery, as one file, checked as a stranger would."""
    for number, battery in enumerate(batteries):
        file = settings.with_name(f"bundle-{number}")
        for words in (("export", battery, "--format", "bundle", "--out", str(file)), ("verify", str(file))):
            said = command(settings if words[0] == "export" else None, *words)
            if said.returncode:
                wrong.append(f"packbook {words[0]} {battery}: {(said.stdout + said.stderr)[-500:]}")
                break
    return len(batteries)


def command(settings: Path | None, *words: str) -> subprocess.CompletedProcess[str]:
    where = ["--settings", str(settings)] if settings is not None else []
    return subprocess.run(
        [sys.executable, "-m", "packbook", *words, *where],
        check=False, capture_output=True, text=True, timeout=COMMAND_WAIT_MAX_S,
    )  # fmt: skip


async def snapshot(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything that the ledger means: projections and chains, in a fixed order."""
    connection = await asyncpg.connect(url)
    try:
        found = {}
        for table in (*tables.PROJECTIONS, tables.chain):
            rows = await connection.fetch(f"SELECT * FROM {table.name} ORDER BY {_key(table)}")  # noqa: S608 - our tables
            found[table.name] = [tuple(row) for row in rows]
        return found
    finally:
        await connection.close()


def _key(table: object) -> str:
    return ", ".join(column.name for column in table.primary_key.columns)  # type: ignore[attr-defined]  # any of ours
