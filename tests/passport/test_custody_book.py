"""Hand-overs as people do them: files between parties, a book that keeps them, a record that tells them."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packbook.__main__ import main
from packbook.adapters.store import custody, open_reader, open_writer, tables
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.app.formats import FORMATS
from packbook.testing.scripted_box import ScriptedBox
from packwire.messages import Consent, Soh, SohState

OLD, NEW = "urn:uuid:8d3f0f0e-6a43-4c3b-9f0e-3f0a4a3c1b52", "urn:uuid:0c8b3d52-40f8-4b85-8f0c-1a6f1d0b9f11"


def filled(folder: Path, *batteries: str) -> Path:
    """A book of one box, in whose car these batteries were, one after the other; each one's SoH is 10 % higher."""
    box = ScriptedBox()
    for number, battery in enumerate(batteries):
        box.hello(battery)
        box.say(Consent(purposes=("history", "passport"), text_version="2026-11"))
        box.usage()
        soh_pct = 71.0 + 10.0 * number
        box.say(Soh(state=SohState.OK, soh_pct=soh_pct, lo90_pct=69.4, hi90_pct=92.6, method="weigh/1"))

    async def fill() -> None:
        async with open_writer(f"sqlite:///{folder / 'book.db'}", "test") as database:
            await Ledger(database).take(box.arrivals)

    asyncio.run(fill())
    (folder / "book.toml").write_text(f'database_url = "sqlite:///{folder / "book.db"}"\n')
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("made"), "BAT-1")


@pytest.fixture
def yard(tmp_path: Path, made: Path) -> Path:
    """A book with one battery, whose owner agreed that it be shown."""
    shutil.copy(made / "book.db", tmp_path)
    (tmp_path / "book.toml").write_text(f'database_url = "sqlite:///{tmp_path / "book.db"}"\n')
    return tmp_path


def do(yard: Path, *words: str | Path) -> int:
    return main([*map(str, words), "--settings", str(yard / "book.toml")])


def key(yard: Path, name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert do(yard, "custody", "new-key", "--key", yard / f"{name}.key") == 0
    return capsys.readouterr().out.strip()


def handed(yard: Path, giver: str, taker: str, did: str, role: str, *more: str) -> None:
    """Over the whole way: offer, accept. The chain lies in `chain.custody`."""
    chain, offered = yard / "chain.custody", yard / "offered"
    begun = ("--chain", chain) if chain.exists() else ("--battery", "BAT-1", "--status", "original")
    to = ("--to", did, "--to-name", taker, "--role", role)
    assert (
        do(
            yard,
            "custody",
            "offer",
            *begun,
            "--key",
            yard / f"{giver}.key",
            "--name",
            giver,
            *to,
            "--out",
            offered,
            *more,
        )
        == 0
    )
    assert do(yard, "custody", "accept", offered, "--key", yard / f"{taker}.key", "--out", chain) == 0


def record(yard: Path, battery: str, *words: str) -> dict[str, Any]:
    out = yard / "out.json"
    assert do(yard, "export", battery, "--format", "neutral", "--out", out, *words) == 0
    told = json.loads(out.read_text())
    return {**told["identity"]["record"]["facts"], **told["value"]["record"]["facts"]}


def test_a_battery_goes_from_hand_to_hand(yard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Owner, dealer and storage maker need files alone; the book adds what is new and tells it in the record."""
    key(yard, "owner", capsys)
    dealer, maker = key(yard, "dealer", capsys), key(yard, "maker", capsys)
    handed(
        yard, "owner", "dealer", dealer, "dealer", "--on", "2026-05-03", "--document", "invoice 12", "--passport", OLD
    )
    capsys.readouterr()
    assert do(yard, "custody", "keep", yard / "chain.custody") == 0
    assert capsys.readouterr().out == "1 of 1 hand-overs were new\n"
    new_life = ("--status", "repurposed", "--category", "stationary", "--passport", NEW, "--passport-before", OLD)
    handed(yard, "dealer", "maker", maker, "repurposer", "--on", "2026-08-01", *new_life)
    assert do(yard, "custody", "verify", yard / "chain.custody", "--first", dealer) == 1
    assert "not with the party you named" in capsys.readouterr().err
    assert do(yard, "custody", "verify", yard / "chain.custody", "--json") == 0
    assert [json.loads(line)["to"]["did"] for line in capsys.readouterr().out.splitlines()] == [dealer, maker]
    assert do(yard, "custody", "keep", yard / "chain.custody") == 0
    assert do(yard, "custody", "keep", yard / "chain.custody") == 0  # again: nothing is new
    assert capsys.readouterr().out == "1 of 2 hand-overs were new\n0 of 2 hand-overs were new\n"
    assert do(yard, "custody", "status", "BAT-1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["holder"]["name"], told["passport"]) == ("repurposed", "maker", NEW)
    assert told["passports_closed"] == [{"id": OLD, "on": "2026-08-01"}]
    assert told["may_follow"] == ["remanufactured", "waste"]

    facts = record(yard, "BAT-1")
    assert [fact["value"] for fact in facts["custody"]] == ["maker", "dealer"]
    assert facts["custody"][1]["conditions"]["document"] == "invoice 12"
    assert [(fact["value"], fact["method"]) for fact in facts["status"]] == [("repurposed", "custody/1")]
    assert facts["category"][0]["value"] == "stationary"
    assert [fact["value"] for fact in facts["passport_id"]] == [NEW]
    assert facts["passport_before_id"][0]["conditions"] == {"closed_on": "2026-08-01"}
    assert [fact["value"] for fact in facts["soh_capacity_pct"]] == [71]  # its history goes on under its rights
    assert "custody" not in record(yard, "BAT-1", "--purpose", "repair")
    assert do(yard, "reads", "BAT-1") == 0
    assert "custody" in capsys.readouterr().out


def test_signed_words_go_before_unsigned_ones(yard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A card that is entered later does not turn a signed status round."""
    key(yard, "owner", capsys)
    handed(yard, "owner", "dealer", key(yard, "dealer", capsys), "dealer", "--status", "re-used", "--on", "2026-05-03")
    assert do(yard, "custody", "keep", yard / "chain.custody") == 0
    (yard / "card.toml").write_text('by = "Example Motors"\n[facts]\nstatus = "original"\nmass_kg = 290\n')
    assert do(yard, "declare", "BAT-1", "--file", yard / "card.toml") == 0
    assert [fact["value"] for fact in record(yard, "BAT-1")["status"]] == ["re-used"]


def test_a_book_holds_one_history_of_hand_overs(yard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sold twice: both chains check, and the one that came first stays."""
    key(yard, "owner", capsys)
    dealer, other = key(yard, "dealer", capsys), key(yard, "other", capsys)
    handed(yard, "owner", "dealer", dealer, "dealer", "--on", "2026-05-03")
    assert do(yard, "custody", "keep", yard / "chain.custody") == 0
    (yard / "chain.custody").unlink()
    handed(yard, "owner", "other", other, "auction", "--on", "2026-05-03")
    assert do(yard, "custody", "verify", yard / "chain.custody") == 0
    assert do(yard, "custody", "keep", yard / "chain.custody") == 1
    assert "the book holds another history of 1 links; none was taken" in capsys.readouterr().err


def test_the_histories_of_swapped_packs_stay_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The car got another pack: what the old one did and who holds it now has no place in the new one's record."""
    yard = filled(tmp_path, "BAT-1", "BAT-2")
    key(yard, "owner", capsys)
    handed(
        yard, "owner", "dealer", key(yard, "dealer", capsys), "dismantler", "--on", "2026-05-03", "--status", "waste"
    )
    assert do(yard, "custody", "keep", yard / "chain.custody") == 0
    old, new = (record(yard, battery, "--role", "owner") for battery in ("BAT-1", "BAT-2"))
    assert [facts["soh_capacity_pct"][0]["value"] for facts in (old, new)] == [71, 81]
    assert ("custody" in old, "custody" in new, "status" in new) == (True, False, False)

    async def seen() -> list[int]:
        async with open_reader(f"sqlite:///{yard / 'book.db'}") as database:
            return [len(await SqlHistories(database).soh_series(battery)) for battery in ("BAT-1", "BAT-2")]

    assert asyncio.run(seen()) == [1, 1]


def test_a_recycled_battery_leaves_what_the_law_keeps(yard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The passport ceases to exist (Art. 77(8)): which battery it was and that it is gone; nothing of its life."""
    key(yard, "owner", capsys)
    recycler = key(yard, "recycler", capsys)
    handed(
        yard, "owner", "recycler", recycler, "recycler", "--status", "waste", "--on", "2026-05-03", "--passport", OLD
    )
    here = ("--chain", yard / "chain.custody", "--key", yard / "recycler.key", "--out", yard / "offered")
    assert do(yard, "custody", "offer", *here, "--recycled") == 1
    assert "needs 1 document, 0 are named" in capsys.readouterr().err
    assert do(yard, "custody", "offer", *here, "--recycled", "--document", "certificate 7", "--on", "2026-06-01") == 0
    accepting = ("--key", yard / "recycler.key", "--out", yard / "chain.custody")
    assert do(yard, "custody", "accept", yard / "offered", *accepting) == 0
    assert do(yard, "custody", "keep", yard / "chain.custody") == 0
    facts = record(yard, "BAT-1")
    assert facts.keys() == {"battery_id", "category", "custody", "passport_id", "status"}
    assert facts["status"][0]["conditions"] == {"recycled_on": "2026-06-01"}
    for name in FORMATS:  # a file of what is left, or a word on what it lacks
        assert do(yard, "export", "BAT-1", "--format", name, "--out", yard / "left") in (0, 1)
    assert do(yard, "export", "BAT-1", "--format", "dossier", "--out", yard / "left.json") == 0
    assert json.loads((yard / "left.json").read_text())["coverage"] is None
    assert do(yard, "custody", "offer", *here, "--on", "2026-07-01") == 1
    assert "was recycled on 2026-06-01; nothing follows" in capsys.readouterr().err


def test_export_and_return_are_what_the_owner_says(yard: Path) -> None:
    """A country and a day, declared; nothing follows from where a car was."""
    (yard / "card.toml").write_text('by = "owner"\non = "2026-04-01"\n[facts]\nexported_to = "NZ"\n')
    assert do(yard, "declare", "BAT-1", "--file", yard / "card.toml") == 0
    (fact,) = record(yard, "BAT-1", "--role", "owner")["exported_to"]
    assert (fact["value"], fact["on"], fact["source"]) == ("NZ", "2026-04-01", "declared")
    assert "exported_to" not in record(yard, "BAT-1", "--role", "buyer")
    (yard / "card.toml").write_text('by = "owner"\n[facts]\nexported_to = "Auckland, Queen St 1"\n')
    assert do(yard, "declare", "BAT-1", "--file", yard / "card.toml") == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("keep", "none.custody"), "none.custody: cannot be read: No such file"),
        (("verify", "book.toml"), "custody file"),
        (("status", "NOPE"), "NOPE"),
        (("accept", "book.toml", "--key", "x", "--out", "y"), "custody file"),
        (("offer", "--battery", "BAT-1", "--key", "none.key", "--out", "x"), "none.key: cannot be read"),
    ],
)
def test_a_hand_over_that_cannot_be_says_why(
    yard: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], why: str
) -> None:
    """Dealers are no programmers: one line, and nothing was changed."""
    placed = [str(yard / word) if "." in word else word for word in words]
    assert do(yard, "custody", *placed) == 1
    assert why.replace(": No", " (No") in capsys.readouterr().err


def test_a_link_that_was_changed_in_the_book_shows(yard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever can write the database cannot write a hand-over: the record says that it does not hold."""
    key(yard, "owner", capsys)
    handed(yard, "owner", "dealer", key(yard, "dealer", capsys), "dealer", "--on", "2026-05-03")
    assert do(yard, "custody", "keep", yard / "chain.custody") == 0

    async def tamper() -> None:
        async with (
            open_writer(f"sqlite:///{yard / 'book.db'}", "test") as database,
            database.transaction() as connection,
        ):
            link = (await custody.links_of(connection, "BAT-1"))[0]
            forged = link.replace(b"dealer", b"healer")
            await connection.execute(sa.update(tables.custody).values(link=forged))

    asyncio.run(tamper())
    facts = record(yard, "BAT-1")
    assert "status" not in facts
    assert facts["custody"][0]["value"].startswith("link 1 does not hold: ")
    assert do(yard, "custody", "show", "BAT-1") == 1
    assert "packbook: link 1:" in capsys.readouterr().err
