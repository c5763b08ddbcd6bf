"""Share links and the record of reads in the store, and the commands that make, show and end them."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from packbook.__main__ import main
from packbook.adapters.store import access as shelf
from packbook.adapters.store import open_reader, open_writer
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.app.access import BookGate, access_for, gate_of
from packbook.app.acts import ACTS
from packbook.app.operate import Office, OperateError, operators_door
from packbook.clock import now_ms
from packbook.core.access import ALL_BATTERIES, Read, Reader
from packbook.core.share import Ended, Link, token_digest
from packbook.ports.trouble import StoreError
from packbook.settings import Settings
from packbook.testing.scripted_box import ScriptedBox
from packbook.web.app import create_app

from .test_consent import agreeing

BATTERY = "BAT-1"
DAY = 86_400_000
LINK = Link(b"\x01" * 32, BATTERY, "buyer", None, ("soh_capacity_pct",), None, "Ms A", 1000, "op", 2000, 2)


def a_read(at_ms: int, what: str = "page", battery: str = BATTERY) -> Read:
    return Read(at_ms, battery, Reader("buyer", link=LINK.id), "link", what, ("soc_pct", "soh_capacity_pct"))


@pytest.fixture
def gate(database: Database) -> BookGate:
    return gate_of(Office(database, Settings(database_url="sqlite://")), own=True)


async def keep(database: Database, link: Link = LINK) -> None:
    async with database.transaction() as connection:
        await shelf.keep_link(connection, link)


async def test_links_come_back_as_they_were_kept(database: Database, gate: BookGate) -> None:
    """Scope and limits are what the owner agreed to: nothing of them may get lost."""
    bare = replace(LINK, digest=b"\x02" * 32, fields=None, formats=("neutral",), reads_max=None, purpose="repair")
    for link in (LINK, bare):
        await keep(database, link)
        assert await gate.link(link.digest) == link
    assert await gate.link(b"\x03" * 32) is None


async def test_the_pages_make_list_and_revoke_links_through_the_gate(database: Database, gate: BookGate) -> None:
    """The same acts as the command's: one way to make a link, whoever asks."""
    box = ScriptedBox()
    box.hello()
    await Ledger(database).take(box.arrivals)
    newer = replace(LINK, digest=b"\x04" * 32, made_ms=1100)
    await gate.keep_link(LINK)
    await gate.keep_link(newer)
    assert await gate.links_of(BATTERY) == [newer, LINK]
    await gate.revoke_link(BATTERY, newer.id)
    assert [link.ended(1500) for link in await gate.links_of(BATTERY)] == [Ended.REVOKED, None]
    with pytest.raises(OperateError, match="has no link"):
        await gate.revoke_link(BATTERY, "0" * 16)
    assert await gate.links_of("ANOTHER") == []


async def test_a_link_is_counted_and_noted_together_until_it_is_used_up(database: Database, gate: BookGate) -> None:
    """Neither a read without a note nor one more than was agreed to."""
    await keep(database)
    assert [await gate.open(LINK.digest, a_read(1500)) for _ in range(3)] == [None, None, Ended.USED_UP]
    assert await gate.reads(BATTERY, 10) == [a_read(1500), a_read(1500)]


async def test_the_last_read_is_taken_by_one_of_many(database: Database, gate: BookGate) -> None:
    """Two readers at the same moment, one read left."""
    await keep(database, replace(LINK, reads_max=1))
    ended = await asyncio.gather(*(gate.open(LINK.digest, a_read(1500)) for _ in range(5)))
    assert sorted(ended, key=str) == [None, *[Ended.USED_UP] * 4]


async def test_expired_and_unknown_links_open_nothing(database: Database, gate: BookGate) -> None:
    """The page looked before; what ended in between must not be shown."""
    await keep(database)
    assert await gate.open(LINK.digest, a_read(2000)) is Ended.EXPIRED
    assert await gate.open(b"\x09" * 32, a_read(1500)) is Ended.REVOKED
    assert await gate.reads(BATTERY, 10) == []


async def test_reads_of_a_battery_come_newest_first_with_those_of_all(database: Database, gate: BookGate) -> None:
    """Who looks at the list of all batteries has seen this one's health, too."""
    reads = [a_read(1), a_read(2, "batteries", ALL_BATTERIES), a_read(3, battery="BAT-2"), a_read(4)]
    await gate.note(reads)
    assert await gate.reads(BATTERY, 10) == [reads[3], reads[1], reads[0]]
    assert await gate.reads(BATTERY, 1) == [reads[3]]


async def test_a_name_leads_to_who_got_it_last(database: Database, gate: BookGate) -> None:
    """A label goes on with a pack's new passport; a name that was taken back leads nowhere."""
    async with database.transaction() as connection:
        await shelf.keep_names(connection, "old", ["/01/1/21/a", "/01/1/21/b"], 10)
        await shelf.keep_names(connection, "new", ["/01/1/21/a"], 20)
    assert (await gate.named("/01/1/21/a"), await gate.named("/01/1/21/b")) == ("new", "old")
    async with database.transaction() as connection:
        await shelf.keep_names(connection, "old", ["/01/1/21/a"], 30)
    assert (await gate.named("/01/1/21/a"), await gate.named("/01/1/21/b")) == ("new", None)


# --- commands and the page behind them ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one battery whose owner agreed."""
    file = tmp_path_factory.mktemp("shared") / "book.db"
    shutil.copy(migrated_file, file)
    box = agreeing("history", "passport")
    box.usage()
    box.soh()

    async def fill() -> None:
        async with open_writer(f"sqlite:///{file}", "test") as database:
            await Ledger(database).take(box.arrivals)

    asyncio.run(fill())
    return file


@pytest.fixture
def book(tmp_path: Path, filled: Path) -> Path:
    """Settings of a book with that battery."""
    shutil.copy(filled, tmp_path / "book.db")
    file = tmp_path / "book.toml"
    file.write_text(f'database_url = "{url_of(tmp_path)}"\npublic_url = "https://book.example/b/"\n')
    return file


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'book.db'}"


def call(book: Path, *words: str) -> int:
    return main([*words, "--settings", str(book)])


def database_file(book: Path) -> bytes:
    folder = book.parent
    return b"".join(path.read_bytes() for path in folder.glob("book.db*"))


def test_a_link_is_made_listed_read_and_revoked(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The owner's whole way, by commands alone; the token is on paper and nowhere else."""
    drawing = tmp_path / "link.svg"
    made = ("share", BATTERY, "new", "--reads", "3", "--note", "Ms A", "--fields", "soh_capacity_pct,model")
    assert call(book, *made, "--svg", str(drawing)) == 0
    told = capsys.readouterr()
    token = re.fullmatch(r"https://book\.example/b/s/([\w-]{43})\n", told.out)
    assert token is not None
    assert "model data alone" not in told.err
    assert token[1].encode() not in database_file(book)
    assert b"<svg" in drawing.read_bytes()
    assert call(book, "share", BATTERY, "list", "--json") == 0
    (link,) = map(json.loads, capsys.readouterr().out.splitlines())
    digest = token_digest(token[1])
    assert digest is not None
    assert link["id"] == digest.hex()[:16]
    assert "digest" not in link
    assert (link["fields"], link["reads"], link["reads_max"], link["ended"]) == (
        ["soh_capacity_pct", "model"],
        0,
        3,
        None,
    )
    assert call(book, "share", BATTERY, "list") == 0
    assert "opens" in capsys.readouterr().out
    assert call(book, "share", BATTERY, "revoke", "--id", link["id"]) == 0
    assert capsys.readouterr().out == "battery BAT-1: 1 links revoked\n"
    assert call(book, "share", BATTERY, "list") == 0
    assert "revoked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("share", "NOBODY", "new"), "battery NOBODY: not known to this book"),
        (("share", BATTERY, "new", "--role", "operator"), "operator: no link can be made for it"),
        (("share", BATTERY, "new", "--role", "public"), "public: no link can be made for it"),
        (("share", BATTERY, "new", "--purpose", "gossip"), "interest/gossip: no link can be made for it"),
        (("share", BATTERY, "new", "--fields", "lithium_kg"), "lithium_kg is nothing that buyer may see"),
        (("share", BATTERY, "new", "--formats", "pdg"), "there is no format pdg"),
        (("share", BATTERY, "new", "--note", "x" * 81), "--note"),
        (("share", BATTERY, "revoke", "--id", "0" * 16), "has no link 0000000000000000"),
        (("share", "NOBODY", "list"), "battery NOBODY: not known to this book"),
        (("reads", "NOBODY"), "battery NOBODY: not known to this book"),
        (("export", BATTERY, "--role", "buyer"), "a bundle holds sessions and times"),
        (("export", BATTERY, "--format", "neutral", "--role", "auditor"), "there is no role auditor"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_shared_is_said(
    book: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    """One line that names the word that is wrong."""
    assert call(book, *words) == 1
    assert reason in capsys.readouterr().err


def test_a_link_needs_to_know_where_the_pages_are(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An address of this machine alone would be of no use on paper."""
    book.write_text(book.read_text().splitlines()[0])
    assert call(book, "share", BATTERY, "new") == 2
    assert "public_url is not set" in capsys.readouterr().err


def test_an_export_is_cut_to_its_reader_and_noted(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file for a recycler holds what a recycler may see, and the owner can find out that it was made."""
    out = tmp_path / "record.json"
    words = ("export", BATTERY, "--format", "neutral", "--purpose", "recycling", "--out", str(out))
    assert call(book, *words) == 0
    record = json.loads(out.read_text())
    told = {name for part in ("identity", "value") for name in record[part]["record"]["facts"]}
    assert "soh_capacity_pct" in told
    assert not told & {"odometer_km", "energy_throughput_kwh", "charges_ac"}
    assert call(book, "export", BATTERY, "--out", str(tmp_path / "all.packbook")) == 0
    capsys.readouterr()
    assert call(book, "reads", BATTERY, "--json") == 0
    bundle, file = map(json.loads, capsys.readouterr().out.splitlines())
    assert (file["role"], file["purpose"], file["door"], file["what"]) == ("interest", "recycling", "export", "neutral")
    assert "soh_capacity_pct" in file["fields"]
    assert (bundle["role"], bundle["what"], bundle["fields"]) == ("operator", "bundle", [])
    assert file["account"]
    assert call(book, "reads", BATTERY) == 0
    assert "interest/recycling" in capsys.readouterr().out


def test_an_export_that_cannot_be_noted_is_not_written(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing leaves unseen."""
    with file_of(book) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON read_note BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        connection.commit()
    out = tmp_path / "all.packbook"
    assert call(book, "export", BATTERY, "--out", str(out)) == 1
    assert "disk full" in capsys.readouterr().err
    assert not out.exists()


def file_of(book: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(book.parent / "book.db"))


async def test_a_page_server_beside_a_running_book_has_it_write(book: Path, tmp_path: Path) -> None:
    """A SQLite file has one writer: the link is opened there, the page shown here."""
    settings = Settings(database_url=url_of(tmp_path), public_url="https://book.example")
    token = secrets.token_urlsafe(32)
    digest = token_digest(token)
    assert digest is not None
    link = replace(LINK, digest=digest, expires_ms=now_ms() + DAY, fields=None)
    async with open_writer(url_of(tmp_path), "collector") as writer, operators_door(Office(writer, settings), ACTS):
        await keep(writer, link)
        async with open_reader(url_of(tmp_path)) as reader:
            access = access_for(settings, gate_of(Office(reader, settings), own=False), reader)
            transport = httpx.ASGITransport(create_app(SqlHistories(reader), access=access))
            async with httpx.AsyncClient(transport=transport, base_url="http://book.test") as client:
                page = await client.get(f"/s/{token}")
                file = await client.get(f"/s/{token}/neutral")
                used_up = await client.get(f"/s/{token}")
            assert (page.status_code, file.status_code, used_up.status_code) == (200, 200, 410)
            assert [read.what for read in await access.gate.reads(BATTERY, 10)] == ["neutral", "page"]
    assert "88.0" in page.text
    assert "soh_capacity_pct" in file.json()["value"]["record"]["facts"]


async def test_without_the_running_book_nothing_is_shown(book: Path, tmp_path: Path) -> None:
    """Another program holds the file and does not answer: no note, no page."""
    settings = Settings(database_url=url_of(tmp_path))
    async with open_writer(url_of(tmp_path), "collector"), open_reader(url_of(tmp_path)) as reader:
        with pytest.raises(StoreError, match="another packbook"):
            await gate_of(Office(reader, settings), own=False).note([a_read(1)])


def test_a_declared_label_is_found(book: Path, tmp_path: Path) -> None:
    """What stands on the battery leads to it as soon as somebody entered it."""
    card = tmp_path / "card.toml"
    card.write_text(
        'by = "Example Motors"\n[facts]\n'
        'identifiers = ["gs1:https://x.example/01/09506000134352/21/S1", "did:did:web:x:1"]\n'
    )
    assert call(book, "declare", BATTERY, "--file", str(card)) == 0

    async def names() -> list[str | None]:
        async with open_reader(url_of(tmp_path)) as reader:
            gate = gate_of(Office(reader, Settings(database_url=url_of(tmp_path))), own=False)
            return [await gate.named(key) for key in ("/01/09506000134352/21/S1", "did:web:x:1", "did:web:x:2")]

    assert asyncio.run(names()) == [BATTERY, BATTERY, None]
