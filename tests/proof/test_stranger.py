"""The stranger test: a simulated car's box records, it and the book export, and somebody else checks both alone.

The stranger's process has no network, no settings, no database and no key of ours: only the file and, if they like, the
public key that the book publishes.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from packbook.__main__ import main as packbook
from packbook.adapters.signing_key import read_or_make_key
from packbook.adapters.store import open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.testing.scripted_box import arrival
from packbox.__main__ import main as packbox
from packwire.bundle import decode_bundle

ALONE = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("a stranger has no network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from packbook.__main__ import main
sys.exit(main(["verify", *sys.argv[1:]]))
"""
DAYS = "sim:leaf-24,seed=1,start=2026-01-01,until=2026-01-12,speed=max"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `box.packbook` and `book.packbook`, of the same life."""
    folder = tmp_path_factory.mktemp("stranger")
    box = ["--data-dir", str(folder / "box")]
    assert packbox(["run", *box, "--profile", "nissan-leaf", "--source", DAYS]) == 0
    assert packbox(["export", *box, "--out", str(folder / "box.packbook")]) == 0
    bundle = decode_bundle((folder / "box.packbook").read_bytes())
    settings = folder / "book.toml"
    settings.write_text(f'database_url = "sqlite:///{folder / "book.db"}"\n')

    async def hand_over() -> None:
        async with open_writer(f"sqlite:///{folder / 'book.db'}", "test") as database:
            (store,) = bundle.stores
            taken = await Ledger(database).take([arrival(store.box, record.data) for record in store.records])
            assert taken.accepted == len(store.records)

    asyncio.run(hand_over())
    out = str(folder / "book.packbook")
    assert packbook(["export", bundle.battery, "--settings", str(settings), "--out", out]) == 0
    return folder


def alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": ""}
    return subprocess.run(
        [sys.executable, "-c", ALONE, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_stranger_checks_what_the_box_made(files: Path) -> None:
    """No cloud was ever there: the box's own file is enough."""
    done = alone(files, "box.packbook", "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["wrong"]) == (0, True, []), done.stdout
    differing = [number for number in told["numbers"] if number["verdict"] == "differs"]
    assert differing == []
    proven = {number["what"] for number in told["numbers"] if number["verdict"] == "proven"}
    assert {"exporter.records", "exporter.charges", "exporter.soh_pct", "usage.drives", "usage.charges_ac"} <= proven


def test_a_stranger_checks_what_the_book_made(files: Path) -> None:
    """With the key that the book publishes, its checkpoint proves the end of the history."""
    key = read_or_make_key(files / "book-key.pem").public_key.hex()
    done = alone(files, "book.packbook", "--trust", key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "EVERYTHING CHECKS" in done.stdout
    assert "A book that you trust" in " ".join(done.stdout.split())
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert "\x1b" not in done.stdout  # colour only on a terminal


def test_a_changed_file_ends_with_1_and_is_named(files: Path) -> None:
    """Scripts look at the exit code, people at the record and the byte."""
    data = bytearray((files / "box.packbook").read_bytes())
    record = decode_bundle(bytes(data)).stores[0].records[41]
    data[record.at + 100] ^= 1
    (files / "spoiled.packbook").write_bytes(data)
    done = alone(files, "spoiled.packbook")
    assert done.returncode == 1
    assert f"record 42 (bytes {record.at} to" in " ".join(done.stdout.split())


def test_wrong_usage_is_told_apart(files: Path) -> None:
    """2 means that nothing was checked."""
    assert alone(files, "nowhere.packbook").returncode == 2
    assert alone(files, "box.packbook", "--trust", "nowhere.pem").returncode == 2
