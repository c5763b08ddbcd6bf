"""A person at the box sees its history, also while it runs, also when a record is broken."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from box_records import BEGIN_WALL_MS, BOOT, fill
from packbox.__main__ import main
from packwire.messages import Charge, ChargeKind, Drive, Event, EventKind, Health, Rest, Soh, SohState, Usage

MESSAGES = [
    Drive(
        session=1,
        boot=BOOT,
        start_mono_ms=0,
        start_wall_ms=BEGIN_WALL_MS,
        duration_s=1830,
        soc_start_pct=80.0,
        soc_end_pct=62.5,
        energy_in_wh=400,
        energy_out_wh=4600,
        distance_km=31.4,
    ),
    Rest(session=2, boot=BOOT, start_mono_ms=0, duration_s=7260, unseen_s=3600),
    Charge(
        session=3,
        boot=BOOT,
        start_mono_ms=5000,
        duration_s=45,
        charge_kind=ChargeKind.DC,
        segments=3,
        interrupted=True,
        energy_in_wh=9000,
    ),
    Event(event=EventKind.PACK_HOT, text="52 degC"),
    Usage(energy_in_wh=9400, energy_out_wh=4600, charges_dc=1, drives=1, distance_km=31.4, observed_s=1875),
    Soh(state=SohState.NONE, why="no charge long enough", soh_reported_pct=88.5),
    Soh(state=SohState.LEARNING, soh_pct=91.25, lo90_pct=88.0, hi90_pct=94.0),
    Health(),
]


def test_the_page_tells_the_life_of_the_battery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One look says: how is it, how was it used, what happened, and has the book got it. The box may be running."""
    journal = fill(tmp_path, MESSAGES)
    journal.release(1, [])
    assert main(["history", "--data-dir", str(tmp_path)]) == 0
    page = capsys.readouterr().out
    assert "7 records wait for the book" in page
    assert "SoH: 91.2 % (88.0 to 94.0 %), learning" in page
    assert "usage: 9.4 kWh in, 4.6 kWh out, 0 AC and 1 DC charges, 1 drives, 31 km, 0.5 h seen" in " ".join(
        page.split()
    )
    table = [line.split("  ") for line in page.splitlines()[page.splitlines().index("") + 1 :]]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in table]
    assert rows == [
        ["no", "UTC", "what", "h:min", "SoC %", "in kWh", "out", "book", "more"],
        ["2025-10-09"],
        ["08:57", "pack_hot", "-", "52 degC"],
        ["before the clock was set, since start"],
        ["3", "+0:00", "charge dc", "0:01", "9.0", "0.0", "-", "broken off, 3 segments"],
        ["2", "+0:00", "rest", "2:01", "0.0", "0.0", "-", "asleep 1:00"],
        ["2025-10-09"],
        ["1", "08:53", "drive", "0:30", "80 to 62", "0.4", "4.6", "yes", "31.4 km"],
    ]
    assert max(map(len, page.splitlines())) <= 80


def test_json_lines_carry_names_of_the_wire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other programs read this: one object per record, newest first, units in the names."""
    fill(tmp_path, MESSAGES)
    assert main(["history", "--data-dir", str(tmp_path), "--json", "--kind", "charge", "--kind", "soh"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["seq"], line["kind"]) for line in lines] == [(7, "soh"), (6, "soh"), (3, "charge")]
    assert lines[0]["soh_pct"] == 91.25
    assert lines[2]["energy_in_wh"] == 9000
    assert lines[2]["charge_kind"] == "dc"


@pytest.mark.parametrize(("limit", "count"), [("2", 2), ("0", 8)])
def test_the_limit_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: str, count: int) -> None:
    """Years of records must not flood a terminal; 0 means all."""
    fill(tmp_path, MESSAGES)
    main(["history", "--data-dir", str(tmp_path), "--json", "--limit", limit])
    assert len(capsys.readouterr().out.splitlines()) == count


def test_a_broken_record_is_shown_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bad record must not hide the others."""
    fill(tmp_path, MESSAGES).close()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute("UPDATE record SET sealed = x'00' WHERE seq = 1")
        db.commit()
    assert main(["history", "--data-dir", str(tmp_path)]) == 0
    page = capsys.readouterr().out
    assert "unreadable" in page
    assert "record 1: " in page
    assert "charge dc" in page


def test_an_empty_journal_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new box that has seen nothing."""
    fill(tmp_path, [])
    assert main(["history", "--data-dir", str(tmp_path)]) == 0
    assert "nothing recorded yet" in capsys.readouterr().out


def test_a_place_without_journal_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong --data-dir."""
    assert main(["history", "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"packbox history: {tmp_path}/nowhere/journal.db: there is no journal here yet\n"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("wrong", [["--limit", "-1"], ["--limit", "x"], ["--kind", "trip"]])
def test_wrong_usage_is_2(tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes are a contract with scripts."""
    with pytest.raises(SystemExit) as leaving:
        main(["history", "--data-dir", str(tmp_path), *wrong])
    assert leaving.value.code == 2
