"""What the owner agreed to holds at the book too; which vehicle a battery is in is kept apart, and can be ended."""

from __future__ import annotations

import io
import json
import logging
import sqlite3
from pathlib import Path

import pytest

from packbook.__main__ import main
from packbook.adapters.store import open_writer, relations, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.adapters.store.rebuilding import rebuild
from packbook.adapters.vin_vault import VaultError, VinVault
from packbook.core.intake import Arrival
from packbook.core.vehicle import vehicle_number
from packbook.ports.trouble import StoreError
from packbook.testing.scripted_box import RECEIVED_MS, ScriptedBox, arrival
from packwire.messages import Consent, Event, EventKind

VIN = "JN1AZE0U1T0123456"
NOW_MS = RECEIVED_MS + 1000


def agree(box: ScriptedBox, *purposes: str) -> None:
    box.say(Consent(purposes=purposes, text_version="2026-11"))


async def counts(database: Database) -> tuple[dict[str, int], int]:
    histories = SqlHistories(database)
    battery = await histories.battery("BAT-1")
    assert battery is not None
    return dict(battery.sessions), len(await histories.events("BAT-1"))


async def test_what_the_owner_did_not_agree_to_enters_no_history_and_is_not_lost(database: Database) -> None:
    """A box that tells more than it may is not made use of; its chain stays whole and its records evidence."""
    box = ScriptedBox()
    box.hello()
    box.drive()
    agree(box, "passport")
    box.drive()
    box.usage()
    box.event()
    agree(box)
    box.usage(charge_in_ah=999.0)
    box.event()
    box.say(Event(event=EventKind.CLOCK_SET))
    taken = await Ledger(database).take(box.arrivals)
    assert (taken.accepted, taken.quarantined) == (10, {"no_consent": 3})
    assert taken.holdings[0].upto == 10
    assert await counts(database) == ({"charge": 0, "drive": 1, "rest": 0}, 2)
    usage = await SqlHistories(database).usage("BAT-1")
    assert usage is not None
    assert usage.charge_in_ah == 100.0
    reasons = [item.reason for item in await SqlHistories(database).quarantine()]
    assert any("(drive): the owner agreed to passport" in reason for reason in reasons)
    assert any("(usage): the owner agreed to nothing" in reason for reason in reasons)


async def test_a_consent_that_comes_late_is_held_against_what_follows_it(database: Database) -> None:
    """Records travel in any order; what counts is the order in which they were made."""
    box = ScriptedBox()
    box.hello()
    agree(box, "passport")
    box.drive()
    agree(box, "history")
    box.drive()
    ledger = Ledger(database)
    for one in (0, 4, 2, 3, 1):  # but for the hello, without whose key nothing is kept
        await ledger.take([box.arrivals[one]])
    assert await counts(database) == ({"charge": 0, "drive": 1, "rest": 0}, 0)
    await rebuild(database, lambda _done, _total: None)
    assert await counts(database) == ({"charge": 0, "drive": 1, "rest": 0}, 0)
    assert await relations.purposes_of(database, "BAT-1") == {f"{box.box}/{box.store}": ("history",)}


async def test_purposes_that_nobody_knows_yet_allow_nothing(database: Database) -> None:
    """A newer box, or one that tries words with blanks in them."""
    box = ScriptedBox()
    box.hello()
    agree(box, "history passport", "marketing")
    box.drive()
    taken = await Ledger(database).take(box.arrivals)
    assert taken.quarantined == {"no_consent": 1}


# --- vehicles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (" jn1aze0u1t0123456\n", VIN),
        ("ZE0-012345", "ZE0-012345"),
        ("ＡＺＥ０－１２３４５６", "AZE0-123456"),
        ("HA3W‐0012345", "HA3W-0012345"),
        ("NM2-01", "NM2-01"),
    ],
)
def test_numbers_are_kept_in_one_form(written: str, kept: str) -> None:
    """Japanese registration papers print full-width letters and every kind of dash."""
    assert vehicle_number(written) == kept


@pytest.mark.parametrize(
    "bad", ["", "ABC-1", "A" * 18, "ZE0-012-345", "-12345678", "ZE0/012345", "ABCDEFGH", "JN1AZE0U1TO123456"]
)
def test_what_is_no_number_is_refused_without_repeating_it(bad: str) -> None:
    """The refusal ends in a log, and a number with one wrong digit is still somebody's."""
    with pytest.raises(ValueError) as refusal:
        vehicle_number(bad)
    assert not bad or bad not in str(refusal.value)


@pytest.fixture
def vault(tmp_path: Path) -> VinVault:
    return VinVault(tmp_path / "keys")


async def known(database: Database) -> ScriptedBox:
    box = ScriptedBox()
    box.life()
    await Ledger(database).take(box.arrivals)
    return box


async def test_a_number_is_found_by_itself_and_nowhere_readable(database: Database, vault: VinVault) -> None:
    """The database and every backup of it hold neither the number nor a hash that a list of VINs would reveal."""
    await known(database)
    await relations.associate(database, vault, "BAT-1", "ZE0-012345", NOW_MS)
    assert await relations.batteries_in(database, vault, "ZE0012345") == ["BAT-1"]
    assert await relations.batteries_in(database, vault, "ZE0-012346") == []
    async with database.transaction() as connection:
        (row,) = (await connection.execute(tables.vehicle.select())).all()
    assert b"012345" not in bytes(row.number) + bytes(row.number_index)
    other = VinVault(vault._folder.parent / "other")
    assert other.index("ZE0-012345") != row.number_index


async def test_a_pack_in_another_car_ends_the_earlier_association(database: Database, vault: VinVault) -> None:
    """Packs are swapped; both cars belong to the battery's past."""
    await known(database)
    await relations.associate(database, vault, "BAT-1", "ZE0-012345", NOW_MS)
    await relations.associate(database, vault, "BAT-1", VIN, NOW_MS + 5)
    assert [(v.number, v.ended_ms) for v in await relations.vehicles(database, vault, "BAT-1")] == [
        ("ZE0-012345", NOW_MS + 5), (VIN, None),
    ]  # fmt: skip
    assert await relations.batteries_in(database, vault, "ZE0-012345") == []


async def test_ending_the_relation_takes_the_vehicle_away_and_keeps_the_battery(
    database: Database, vault: VinVault
) -> None:
    """Crypto-shredding: an old backup of the database has no key any more. The next owner keeps the battery's life."""
    box = await known(database)
    await relations.associate(database, vault, "BAT-1", VIN, NOW_MS)
    async with database.transaction() as connection:
        (backup,) = (await connection.execute(tables.vehicle.select())).all()
    histories = SqlHistories(database)
    before = await counts(database)
    assert await relations.end_relation(database, vault, "BAT-1", NOW_MS + 9) == 1
    assert await relations.end_relation(database, vault, "BAT-1", NOW_MS + 9) == 0
    (gone,) = await relations.vehicles(database, vault, "BAT-1")
    assert (gone.number, gone.ended_ms) == (None, NOW_MS + 9)
    assert vault.open(backup.association, "BAT-1", backup.number) is None
    assert await relations.batteries_in(database, vault, VIN) == []
    assert await counts(database) == before
    battery = await histories.battery("BAT-1")
    assert battery is not None
    assert battery.vehicle is None
    await rebuild(database, lambda _done, _total: None)
    again = await histories.battery("BAT-1")
    assert again is not None
    assert again.vehicle is None
    box.hello(vehicle="the next owner's car")
    await Ledger(database).take([replaced(box, NOW_MS + 100)])
    new = await histories.battery("BAT-1")
    assert new is not None
    assert new.vehicle == "the next owner's car"


def replaced(box: ScriptedBox, received_ms: int) -> Arrival:
    return arrival(box.box, box.sealed[-1], received_ms)


async def test_a_battery_that_is_not_known_is_refused_by_name(database: Database, vault: VinVault) -> None:
    """A typing error must not file somebody's car under nothing."""
    with pytest.raises(StoreError, match="battery NOBODY: not known"):
        await relations.associate(database, vault, "NOBODY", VIN, NOW_MS)


def test_keys_that_others_can_read_are_refused(vault: VinVault) -> None:
    """A copied folder with open modes would undo all of it."""
    sealed = vault.seal("ab" * 16, "BAT-1", VIN)
    key = vault._folder / f"{'ab' * 16}.key"
    key.chmod(0o644)
    with pytest.raises(VaultError, match="lets others at the keys"):
        vault.open("ab" * 16, "BAT-1", sealed)
    key.chmod(0o600)
    with pytest.raises(VaultError, match="does not open"):
        vault.open("ab" * 16, "BAT-2", sealed)
    key.write_bytes(b"short")
    with pytest.raises(VaultError, match="holds 5 bytes"):
        vault.open("ab" * 16, "BAT-1", sealed)


# --- the commands ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def file(tmp_path: Path, sqlite_url: str) -> str:
    """Settings of a book that knows one battery."""
    async with open_writer(sqlite_url, "test") as database:
        await known(database)
    settings = tmp_path / "packbook.toml"
    settings.write_text(
        f'database_url = "{sqlite_url}"\nvehicle_keys_dir = "{tmp_path / "keys"}"\nlog_level = "debug"\n'
    )
    return str(settings)


def test_an_owner_gets_everything_and_ends_the_relation(
    file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From entering the number to forgetting it; no line of any log and no error ever holds it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("sys.stdin", io.StringIO(VIN + "\n"))
    assert main(["vehicle", "set", "BAT-1", "--settings", file]) == 0
    said = capsys.readouterr()
    assert VIN not in said.out + said.err
    number = tmp_path / "number.txt"
    number.write_text(VIN)
    assert main(["vehicle", "find", "--vin", str(number), "--settings", file]) == 0
    assert capsys.readouterr().out == "BAT-1\n"
    assert main(["vehicle", "show", "BAT-1", "--settings", file]) == 0
    assert VIN in capsys.readouterr().out
    out = tmp_path / "everything.json"
    assert main(["owner", "export", "BAT-1", "--out", str(out), "--settings", file]) == 0
    whole = json.loads(out.read_text())
    assert [vehicle["number"] for vehicle in whole["vehicles"]] == [VIN]
    assert [record["kind"] for record in whole["records"]][:2] == ["hello", "drive"]
    assert len(whole["records"]) == 7
    assert oct(out.stat().st_mode)[-3:] == "600"
    capsys.readouterr()
    assert main(["reads", "BAT-1", "--settings", file]) == 0
    assert "owner-export" in capsys.readouterr().out
    assert main(["owner", "export", "BAT-1", "--out", str(out), "--settings", file]) == 1
    assert main(["owner", "forget", "BAT-1", "--settings", file]) == 2
    assert main(["owner", "forget", "BAT-1", "--yes", "--settings", file]) == 0
    capsys.readouterr()
    assert main(["vehicle", "show", "BAT-1", "--settings", file]) == 0
    assert "(relation ended)" in capsys.readouterr().out
    assert VIN not in caplog.text
    with sqlite3.connect(tmp_path / "book.db") as database:
        assert VIN not in "\n".join(database.iterdump())
    database.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vehicle", "set", "BAT-1", "--vin", VIN], "a number belongs into a file"),
        (["vehicle", "show", "NOBODY"], "battery NOBODY: not known"),
        (["owner", "forget", "NOBODY", "--yes"], "battery NOBODY: not known"),
    ],
)
def test_what_cannot_be_done_is_said_without_the_number(
    file: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    """A number on the command line is refused, and not repeated."""
    assert main([*words, "--settings", file]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert VIN not in err


def test_without_a_folder_for_keys_no_number_is_taken(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better no number than a readable one."""
    monkeypatch.setattr("sys.stdin", io.StringIO(VIN))
    monkeypatch.setenv("PACKBOOK_DATABASE_URL", sqlite_url)
    assert main(["vehicle", "set", "BAT-1"]) == 2
    assert "vehicle_keys_dir: not set" in capsys.readouterr().err
