"""Yesterday's backup comes back: what the book lost meanwhile, the boxes have."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from contextlib import aclosing, closing
from pathlib import Path

import asyncpg
import pytest

from packbook.__main__ import main
from packbook.adapters.store import open_writer
from packbook.adapters.store.audit import audit
from packbook.adapters.store.backup import copy_book
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.core.intake import Arrival
from packbook.ports.trouble import StoreError
from packbook.testing.scripted_box import RECEIVED_MS, ScriptedBox
from packwire.ids import StoreId
from packwire.presence import Standing, Status, encode_status
from packwire.topics import Leaf, topic
from postgres_server import Postgres


def box_of_two_days() -> ScriptedBox:
    box = ScriptedBox()
    box.life()
    box.life()
    return box


def put_back(copy: Path, book: Path) -> None:
    """As docs/book.md says."""
    for belongs in ("", "-wal", "-shm"):
        Path(f"{book}{belongs}").unlink(missing_ok=True)
    shutil.copy(copy, book)


async def comes_back(database: Database, box: ScriptedBox) -> None:
    """The box takes us to hold everything, hears that we do not, and sends it again."""
    online = encode_status(Status(online=True, standing=Standing(StoreId(box.store), 14)))
    ledger = Ledger(database)
    (told,) = (await ledger.take([Arrival(topic(box.box, Leaf.STATUS), online, RECEIVED_MS)])).holdings
    assert (told.upto, told.resend_from) == (7, 8)
    assert (await ledger.take(box.arrivals[7:])).accepted == 7
    found = await audit(database, lambda _done, _total: None)
    assert (found.records, found.broken, found.quarantine) == (14, 0, {})
    battery = await SqlHistories(database).battery("BAT-1")
    assert battery is not None
    assert battery.records == 14


async def test_a_sqlite_book_is_copied_while_it_is_written_to(sqlite_url: str, tmp_path: Path) -> None:
    """Nobody stops a fleet for a backup, and a copy of a file in use is worth nothing without this."""
    box, file, copy = box_of_two_days(), tmp_path / "book.db", tmp_path / "copy.db"
    async with open_writer(sqlite_url, "test") as database:
        await Ledger(database).take(box.arrivals[:7])
        assert copy_book(file, copy) == copy.stat().st_size
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        await Ledger(database).take(box.arrivals[7:])
    put_back(copy, file)
    async with open_writer(sqlite_url, "test") as database:
        await comes_back(database, box)


async def test_a_postgres_book_comes_back_from_pg_dump(postgres: Postgres, postgres_url: str) -> None:
    """The ledger's parts by month come back as parts."""
    box, dump = box_of_two_days(), str(postgres.scratch("book.dump"))
    async with open_writer(postgres_url, "test") as database:
        await Ledger(database).take(box.arrivals[:7])
    postgres.run("pg_dump", "--format=custom", f"--dbname={postgres_url}", f"--file={dump}")
    async with open_writer(postgres_url, "test") as database:
        await Ledger(database).take(box.arrivals[7:])
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()
    postgres.run("pg_restore", f"--dbname={postgres_url}", dump)
    async with aclosing(Database(postgres_url)) as database:
        await database.require_schema()
        await comes_back(database, box)


def test_a_copy_never_takes_the_place_of_anything(sqlite_url: str, tmp_path: Path) -> None:
    """The day's backup must not write over yesterday's, and half a copy must not lie about."""
    there = tmp_path / "there.db"
    there.touch()
    with pytest.raises(StoreError, match="File exists"):
        copy_book(tmp_path / "book.db", there)
    broken = tmp_path / "broken.db"
    broken.write_bytes(os.urandom(8192))
    with pytest.raises(StoreError, match="not a database"):
        copy_book(broken, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_the_command_says_what_it_wrote(
    sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL it names the program that is made for this."""
    monkeypatch.setenv("PACKBOOK_DATABASE_URL", sqlite_url)
    copy = tmp_path / "copy.db"
    assert main(["backup", str(copy)]) == 0
    assert f"{copy}: " in capsys.readouterr().out
    with closing(sqlite3.connect(copy)) as copied:
        assert copied.execute("SELECT count(*) FROM ledger").fetchone() == (0,)
    monkeypatch.setenv("PACKBOOK_DATABASE_URL", "postgresql://nobody@127.0.0.1/none")
    assert main(["backup", str(tmp_path / "other.db")]) == 2
    assert "pg_dump" in capsys.readouterr().err
