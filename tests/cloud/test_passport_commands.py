"""Commands around the passport that reach beyond one book: durability of families, registration with Ouranos."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pypdfium2
import pytest

from bundles import lived
from packbook.__main__ import main
from packbook.adapters.store import open_writer
from packbook.adapters.store.ledger import Ledger
from packbook.app import ouranos
from packbook.app.formats import FORMATS
from packbook.core.ouranos import PartEntry
from packbook.settings import load_settings
from packbook.testing.scripted_box import ScriptedBox
from packwire.messages import Consent

OPERATOR = "d9a38406-cae2-4679-b052-15a75f5531e8"
PLANT = "d9a38406-cae2-4679-b052-15a75f5531e9"
TRACE = "d9a38406-cae2-4679-b052-15a75f5531f6"
CARD = 'by = "Example Motors"\n[facts]\nmodel = "62A"\nvehicle_class = "car"\n'
Book = Callable[..., int]


@pytest.fixture
def book(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Book:
    async def fill() -> None:
        box = lived()
        box.say(Consent(purposes=("history", "passport"), text_version="2026-11"))
        box.usage()
        async with open_writer(sqlite_url, "test") as database:
            await Ledger(database).take(box.arrivals)

    asyncio.run(fill())
    lines = [f'database_url = "{sqlite_url}"', f'ouranos_operator_id = "{OPERATOR}"', f'ouranos_plant_id = "{PLANT}"']
    (tmp_path / "book.toml").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([*words, "--settings", "book.toml"])


class Platform:
    """Gives every part the same trace id, and counts."""

    def __init__(self) -> None:
        self.asked: list[PartEntry] = []

    async def register(self, entry: PartEntry) -> str:
        self.asked.append(entry)
        return TRACE


def declare_model(book: Book) -> None:
    Path("card.toml").write_text(CARD)
    assert book("declare", "BAT-1", "--file", "card.toml") == 0


def test_a_trace_id_becomes_one_of_the_batterys_names(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """It is kept with who gave it; a battery that has one is not registered again."""
    platform = Platform()
    entry = PartEntry(OPERATOR, PLANT, "62A", "BAT-1")
    assert asyncio.run(ouranos.register(load_settings(Path("book.toml")), platform, entry)) == TRACE
    capsys.readouterr()
    assert book("declare", "BAT-1", "--list") == 0
    assert f"identifiers = ouranos:{TRACE}  (Ouranos Ecosystem, register-part)" in capsys.readouterr().out
    assert book("ouranos", "BAT-1") == 0  # without key, token and address: nobody is asked
    assert capsys.readouterr().out.strip() == TRACE
    assert platform.asked == [entry]


def test_what_would_be_sent_can_be_seen_before(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """Model and id, and nothing of how the battery is."""
    declare_model(book)
    capsys.readouterr()
    assert book("ouranos", "BAT-1", "--show") == 0
    sent = json.loads(capsys.readouterr().out)
    assert {name: value for name, value in sent.items() if value} == {
        "operatorId": OPERATOR,
        "plantId": PLANT,
        "partsName": "62A",
        "supportPartsName": "BAT-1",
        "amountRequiredUnit": "unit",
    }


def test_what_is_missing_for_registering_is_named(
    book: Book, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert book("ouranos", "BAT-1") == 2
    assert "ouranos_api_key: put it into a file" in capsys.readouterr().err
    for name in ("ouranos_api_key", "ouranos_token"):
        Path(name).write_text("secret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", ".")
    assert book("ouranos", "BAT-1") == 2
    assert "ouranos_url: not set" in capsys.readouterr().err
    monkeypatch.setenv("PACKBOOK_OURANOS_TOKEN", "secret")
    assert book("ouranos", "BAT-1") == 2
    assert "ouranos_token: a secret does not belong here" in capsys.readouterr().err


def test_families_of_a_fleet_are_reported(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """By the law asked for; a fleet of one gets no verdict, and the read is on record."""
    declare_model(book)
    capsys.readouterr()
    assert book("durability", "--law", "euro7") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rule"]["version"] == "euro7"
    (family,) = report["families"]
    assert (family["class"], family["model"], family["vehicles"]) == ("car", "62A", 1)
    assert [point["verdict"] for point in family["points"]] == [None, None]
    assert book("reads", "BAT-1") == 0
    assert "durability" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("export", "nobody", "--format", "credential"), 1, "no battery 'nobody' is in this book"),
        (
            ("export", "BAT-1", "--format", "gtr22", "--rule", "limits=1999"),
            1,
            "version 1999 is not known; known are: euro7, gtr22",
        ),
        (("export", "BAT-1", "--format", "gbt32960", "--rule", "gbt32960=3"), 1, "known are: 2016, 2025"),
        (("export", "BAT-1", "--format", "idta", "--rule", "idta=1"), 1, "rules idta: there is no such family"),
        (("export", "BAT-1", "--format", "csv", "--out", "absent/x"), 1, "absent/x: cannot be written (No such file"),
        (
            ("export", "BAT-1", "--format", "csv", "--out", "."),
            1,
            ".: cannot be written (there is something that is no file)",
        ),
        (("export", "BAT-1", "--format", "csv", "--out", "/dev/null"), 1, "/dev/null: cannot be written"),
        (("export", "BAT-1", "--format", "dpp"), 1, "battery BAT-1: nothing was made. DPP header"),
        (("credential", "issue", "BAT-1", "--role", "king"), 1, "there is no role king"),
        (("credential", "issue", "BAT-1", "--role", "public", "--bundle", "x"), 1, "it is for owner and operator"),
    ],
)
def test_what_cannot_be_made_says_why(
    book: Book, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, reason: str
) -> None:
    assert book(*words) == code
    assert reason in capsys.readouterr().err


def test_a_sheet_is_made_checked_and_put_on_record(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """From records to paper: the same bytes again, a code that the record bears out, and a note of who took it."""
    for name in ("first.pdf", "again.pdf"):
        assert book("export", "BAT-1", "--format", "sheet", "--lang", "ja", "--role", "buyer", "--out", name) == 0
    assert Path("first.pdf").read_bytes() == Path("again.pdf").read_bytes()
    assert book("export", "BAT-1", "--format", "neutral", "--role", "buyer", "--out", "record.json") == 0
    document = pypdfium2.PdfDocument("first.pdf")
    told = " ".join(document[0].get_textpage().get_text_bounded().split())
    document.close()
    assert "電池状態シート" in told
    code = re.search(r"検証コード ([0-9A-F]{4}(?: [0-9A-F]{4}){3})", told)
    assert code is not None
    assert main(["verify-sheet", code[1], "record.json"]) == 0
    capsys.readouterr()
    assert book("reads", "BAT-1") == 0
    assert capsys.readouterr().out.count("sheet") == 2


@pytest.mark.parametrize("link", ["book.example/s/T", "ftp://book.example", "https://", "https://x/" + "y" * 400])
def test_a_qr_code_that_leads_nowhere_is_refused(book: Book, link: str) -> None:
    """Before paper is spent on it."""
    with pytest.raises(SystemExit) as ended:
        book("export", "BAT-1", "--format", "sheet", "--link", link)
    assert ended.value.code == 2


def test_half_a_history_makes_a_file_or_says_what_is_missing(book: Book, capsys: pytest.CaptureFixture[str]) -> None:
    """Usage has come and no state of health yet: no format may end with a trace, or write a file of nothing."""
    refused = {}
    for name in FORMATS:
        code = book("export", "BAT-1", "--format", name, "--out", f"BAT-1.{name}")
        said = capsys.readouterr().err
        assert Path(f"BAT-1.{name}").exists() == (code == 0), name
        if code != 0:
            refused[name] = said
    assert refused.keys() >= {"dpp", "load-spectrum", "remaining-life"}
    assert all(said.startswith("packbook: battery BAT-1: nothing was made.") for said in refused.values())


def test_a_battery_that_told_nothing_yet_is_named_so(
    book: Book, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Just plugged in: that is not an error of the command's user, nor an empty passport."""

    async def greet() -> None:
        box = ScriptedBox("bravo")
        box.hello("BAT-2")
        async with open_writer(sqlite_url, "test") as database:
            await Ledger(database).take(box.arrivals)

    asyncio.run(greet())
    for words in (("export", "BAT-2", "--format", "neutral"), ("credential", "issue", "BAT-2"), ("passport", "BAT-2")):
        assert book(*words) == 1
        assert "battery BAT-2: no usage or state of health has arrived yet" in capsys.readouterr().err
