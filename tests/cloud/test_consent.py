"""What may leave the book for others: the owner's word, and whose word counts when boxes and cards change."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa

from packbook.__main__ import main
from packbook.adapters.store import open_writer, relations, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.app import export
from packbook.app.formats import Format
from packbook.core.consent import Watcher, may_leave, who_decides
from packbook.core.formats import Made
from packbook.testing.scripted_box import ScriptedBox
from packwire.messages import Consent


def agreeing(*purposes: str, store: str = "first") -> ScriptedBox:
    box = ScriptedBox(store_name=store)
    box.hello()
    if purposes:
        box.say(Consent(purposes=purposes, text_version="2026-11"))
    return box


def test_silence_is_no_consent() -> None:
    """A box was installed to keep its owner's history; who never decided did not agree that others see it."""
    assert may_leave({"a/1": None}, "history") is None
    assert "nobody decided" in (may_leave({"a/1": None}, "passport") or "")
    assert "no box watches" in (may_leave({}, "passport") or "")


def test_every_store_that_counts_must_agree() -> None:
    """Two boxes watch one battery: what one owner keeps back the other's yes does not give away."""
    assert may_leave({"a/1": ["history", "passport"], "b/1": ["passport"]}, "passport") is None
    assert "agreed to history (store b/1" in (may_leave({"a/1": ["passport"], "b/1": ["history"]}, "passport") or "")
    assert "agreed to nothing" in (may_leave({"a/1": []}, "passport") or "")


def watcher(name: str, newest_ms: int, *purposes: str, active: bool = True) -> Watcher:
    box, store = name.split("/")
    return Watcher(box, store, newest_ms, active, purposes)


def test_the_newest_card_and_the_boxes_that_are_there_decide() -> None:
    """A card that broke years ago, or a box that was taken out, must not bind whoever owns the battery now."""
    old, new = watcher("a/1", 10, "history"), watcher("a/2", 20, "passport")
    gone = watcher("b/1", 30, "history", active=False)
    assert who_decides([old, new, gone]) == {"a/2": ("passport",)}
    assert who_decides([watcher("c/1", 5, active=False), gone]) == {"b/1": ("history",)}
    assert who_decides([]) == {}


async def test_a_store_with_two_histories_agrees_to_nothing(database: Database) -> None:
    """The owner may have withdrawn in the history that is held out."""
    box = agreeing("history", "passport")
    await Ledger(database).take(box.arrivals)
    assert may_leave(await relations.purposes_of(database, "BAT-1"), "passport") is None
    async with database.transaction() as connection:
        await connection.execute(sa.update(tables.chain).values(disputed_from=3, disputed_ms=1))
    assert "agreed to nothing" in (may_leave(await relations.purposes_of(database, "BAT-1"), "passport") or "")


@pytest.mark.parametrize(
    ("purposes", "code"),
    [((), 1), (("history",), 1), (("history", "passport"), 0)],
    ids=["undecided", "history", "passport"],
)
def test_a_format_for_others_needs_the_owners_yes(
    tmp_path: Path,
    sqlite_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    purposes: tuple[str, ...],
    code: int,
) -> None:
    """Whatever format is added: only those named as the owner's own go without."""

    async def fill() -> None:
        box = agreeing(*purposes)
        box.usage()
        async with open_writer(sqlite_url, "test") as database:
            await Ledger(database).take(box.arrivals)

    def make(_settings: object, _passport: object, _rules: object) -> Made:
        return Made(b"a passport", ())

    asyncio.run(fill())
    module = ModuleType("some_passport")
    module.SUFFIX, module.make = ".json", make  # type: ignore[attr-defined]  # what a format module is
    monkeypatch.setitem(sys.modules, "some_passport", module)
    monkeypatch.setitem(export.FORMATS, "some", Format("some_passport", "of a test"))
    (tmp_path / "book.toml").write_text(f'database_url = "{sqlite_url}"\n')
    out = tmp_path / "out.json"
    arguments = ["--settings", str(tmp_path / "book.toml"), "--out", str(out)]
    assert main(["export", "BAT-1", "--format", "some", *arguments]) == code
    assert out.exists() == (code == 0)
    assert ("consent to passport is missing" in capsys.readouterr().err) == (code == 1)
    assert main(["export", "BAT-1", "--format", "bundle", *arguments[:2], "--out", str(tmp_path / "own")]) == 0
