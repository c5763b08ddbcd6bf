"""Box, broker and book over a network that delays and loses packets: everything arrives, once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from brokers import Mosquitto

DELIVERED_WITHIN_S = 120.0
LEAVE_MAX_S = 10.0


def tc(*words: str) -> None:
    subprocess.run(["/sbin/tc", "qdisc", *words], check=True)


@pytest.fixture
def poor_network() -> Iterator[None]:
    """A car in a garage: each packet takes 30 to 70 ms, one of ten is lost, some overtake others."""
    tc("add", "dev", "lo", "root", "netem", "delay", "50ms", "20ms", "loss", "10%")
    yield
    said = subprocess.run(["/sbin/tc", "-s", "qdisc", "show", "dev", "lo"], check=True, capture_output=True, text=True)
    assert int(said.stdout.partition("dropped ")[2].split(",")[0]) > 10, "the network was not poor"
    tc("del", "dev", "lo", "root")


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


@pytest.mark.usefixtures("poor_network")
def test_every_record_reaches_the_book_once_over_a_lossy_link(tmp_path: Path) -> None:
    """What a phone link in a car really is; a record is given up only when the book said that it holds it."""
    book, box = tmp_path / "book.db", tmp_path / "box"
    with Mosquitto(tmp_path, persistent=True) as broker, (tmp_path / "log").open("wb") as log:
        (tmp_path / "book.toml").write_text(
            f'database_url = "sqlite:///{book}"\nbroker = "mqtt://{broker.host}:{broker.port}"\n'
        )
        collect = [sys.executable, "-m", "packbook", "collect", "--settings", str(tmp_path / "book.toml")]
        run = [sys.executable, "-m", "packbox", "run", "--data-dir", str(box), "--until-sent"]
        run += ["--source", "sim:leaf-24,seed=7,start=2026-01-01,until=2026-01-08,speed=max"]
        given = {
            "PACKBOX_PROFILE": "nissan-leaf",
            "PACKBOX_CLOCK_TRUSTED": "always",
            "PACKBOX_BROKER__HOST": broker.host,
            "PACKBOX_BROKER__PORT": str(broker.port),
        }
        collector = subprocess.Popen(collect, stdout=log, stderr=log)
        try:
            done = subprocess.run(
                run, env={**os.environ, **given}, stdout=log, stderr=log, timeout=DELIVERED_WITHIN_S, check=False
            )
        finally:
            collector.terminate()
            collector.wait(LEAVE_MAX_S)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    made = rows(box / "journal.db", "SELECT seq, sealed FROM record ORDER BY seq")
    assert len(made) > 20
    assert rows(book, "SELECT seq, sealed FROM ledger ORDER BY seq") == made
    assert rows(book, "SELECT reason FROM quarantine") == []
