"""The doctor finds what is wrong, says what to do, and breaks nothing."""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from box_records import BEGIN_WALL_MS, BOOT, fill
from packbox.__main__ import main
from packbox.adapters.identity import read_key
from packbox.adapters.journal import SqliteJournal
from packbox.app import doctor, history, run
from packbox.core.record import BoxId
from packbox.core.signals import Refused
from packbox.core.stamp import Stamp
from packbox.testing.sim_clock import SimClock
from packwire.ids import box_id_of
from packwire.messages import Drive, Health
from packwire.seal import digest

Examine = Callable[..., dict[str, tuple[str, str]]]

MESSAGES = [Drive(session=1, boot=BOOT, start_mono_ms=0), Health(), Health()]


@pytest.fixture
def examined(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Examine:
    """Findings of one look, by check: the worst verdict and its line."""
    monkeypatch.setenv("PACKBOX_PROFILE", "nissan-leaf")
    monkeypatch.setenv("PACKBOX_PROFILES_DIR", str(root / "can_profiles"))
    monkeypatch.setenv("PACKBOX_SOURCE", "sim:leaf-24")

    def look(**environ: str) -> dict[str, tuple[str, str]]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        code = main(["doctor", "--data-dir", str(tmp_path), "--json"])
        findings: dict[str, tuple[str, str]] = {}
        for line in capsys.readouterr().out.splitlines():
            found = json.loads(line)
            order = ("OK", "WARN", "FAIL")
            if order.index(found["verdict"]) >= order.index(findings.get(found["check"], ("OK", ""))[0]):
                findings[found["check"]] = (found["verdict"], found["text"])
        assert code == (1 if any(verdict == "FAIL" for verdict, _ in findings.values()) else 0)
        return findings

    return look


def test_a_healthy_box(tmp_path: Path, examined: Examine) -> None:
    """Every part was looked at, also while the box runs, and nothing was changed."""
    journal = fill(tmp_path, MESSAGES)
    before = sorted(tmp_path.rglob("*"))
    found = examined()
    assert sorted(tmp_path.rglob("*")) == before
    assert list(found) == [
        "settings",
        "profile",
        "key",
        "journal",
        "chain",
        "outbox",
        "refused",
        "disk",
        "clock",
        "broker",
        "operator",
        "bus",
        "running",
    ]
    assert {name for name, (verdict, _) in found.items() if verdict != "OK"} <= {"broker", "clock", "running"}
    assert found["chain"][1] == "3 records, each signed and following the one before"
    journal.close()


def test_a_new_box_is_not_ill(tmp_path: Path, examined: Examine) -> None:
    """Before the first start there is no key and no journal, and the doctor makes none."""
    found = examined()
    assert (found["key"][0], found["journal"][0]) == ("WARN", "WARN")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            "UPDATE record SET sealed = (SELECT sealed FROM record WHERE seq = 1) WHERE seq = 2",
            "record 2 does not follow",
        ),
        ("DELETE FROM record WHERE seq = 2", "record 3 does not follow record 1"),
        (
            (  # whatever the last byte was
                "UPDATE record SET sealed = CAST(substr(sealed, 1, length(sealed) - 1) || "
                "CASE hex(substr(sealed, -1)) WHEN '00' THEN x'01' ELSE x'00' END AS BLOB) WHERE seq = 3"
            ),
            "record 3: ",
        ),
    ],
)
def test_a_changed_record_is_found_and_named(tmp_path: Path, examined: Examine, spoil: str, said: str) -> None:
    """As the book will find it; better to know before the box is sold on."""
    fill(tmp_path, MESSAGES).close()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute(spoil)
        db.commit()
    verdict, text = examined()["chain"]
    assert verdict == "FAIL"
    assert said in text


def test_a_damaged_journal_is_found(tmp_path: Path, examined: Examine) -> None:
    """And what was set aside before is remembered."""
    fill(tmp_path, MESSAGES).close()
    (tmp_path / "journal.db").write_bytes(b"garbage" * 1000)
    (tmp_path / "journal.damaged-1.db").touch()
    verdict, text = examined()["journal"]
    assert verdict == "FAIL"
    assert "damaged, not a database" in text


def test_files_set_aside_are_pointed_at(tmp_path: Path, examined: Examine) -> None:
    """They may hold records that exist nowhere else."""
    fill(tmp_path, MESSAGES).close()
    (tmp_path / "journal.damaged-1.db").touch()
    verdict, text = examined()["journal"]
    assert verdict == "WARN"
    assert text.startswith(f"{tmp_path}/journal.damaged-1.db")


def test_a_store_that_began_anew_says_why(tmp_path: Path, examined: Examine) -> None:
    """Whoever finds an earlier journal set aside wants to know what happened to it."""
    fill(tmp_path, MESSAGES).close()
    (tmp_path / "journal.db").write_bytes(b"garbage" * 1000)
    box = BoxId(box_id_of(read_key(tmp_path / "key/box.pem").public_key))
    journal = SqliteJournal(tmp_path / "journal.db", box, digest, SimClock())
    journal.open()
    journal.close()
    verdict, text = examined()["journal"]
    assert verdict == "WARN"
    assert text.startswith("began anew: journal.db was damaged")
    assert text.endswith("kept as journal.damaged-1.db")


def test_a_key_that_others_may_read_is_found(tmp_path: Path, examined: Examine) -> None:
    """And the rest is looked at all the same."""
    fill(tmp_path, MESSAGES).close()
    (tmp_path / "key" / "box.pem").chmod(0o644)
    found = examined()
    assert found["key"][0] == "FAIL"
    assert "mode 0644" in found["key"][1]
    assert "bus" in found


def test_a_key_that_is_gone_is_found(tmp_path: Path, examined: Examine) -> None:
    """The journal without its key is a box that nobody will believe."""
    fill(tmp_path, MESSAGES).close()
    shutil.rmtree(tmp_path / "key")
    assert examined()["key"][0] == "FAIL"


@pytest.mark.parametrize(
    ("environ", "check", "verdict", "said"),
    [
        ({"PACKBOX_PROFILE": "submarine"}, "profile", "FAIL", "no profile or vehicle"),
        ({"PACKBOX_COMMIT_EVERY_S": "0"}, "settings", "FAIL", "$PACKBOX_COMMIT_EVERY_S"),
        ({"PACKBOX_SOURCE": "socketcan:nocan0"}, "bus", "FAIL", "nocan0: there is no such interface"),
        ({"PACKBOX_SOURCE": "socketcan:lo"}, "bus", "FAIL", "lo: is no CAN interface"),
        ({"PACKBOX_SOURCE": "log:/nowhere"}, "bus", "FAIL", "there is no such log"),
        ({"PACKBOX_BROKER__HOST": "127.0.0.1", "PACKBOX_BROKER__PORT": "1"}, "broker", "WARN", "cannot be reached"),
        ({"PACKBOX_CLOCK_TRUSTED": "always"}, "clock", "OK", "known"),
    ],
)
def test_each_trouble_is_named(examined: Examine, environ: dict[str, str], check: str, verdict: str, said: str) -> None:
    """One line, one trouble."""
    found = examined(**environ)
    assert found[check][0] == verdict
    assert said in found[check][1]


def test_records_that_wait_too_long_are_pointed_at() -> None:
    """A car that drives meets a network within days; else the broker, the key or the book is the trouble."""
    day_ms = 86_400_000
    assert doctor._outbox(3, BEGIN_WALL_MS, BEGIN_WALL_MS + 8 * day_ms).verdict == "WARN"
    assert doctor._outbox(3, BEGIN_WALL_MS, BEGIN_WALL_MS + 6 * day_ms).verdict == "OK"
    assert doctor._outbox(3, None, BEGIN_WALL_MS).text == "3 records wait for the book"
    assert doctor._outbox(0, None, None).text == "the book has all"


def test_a_box_that_knows_no_car_yet_says_what_to_do(examined: Examine) -> None:
    """Without a profile the box recognises the car; until it was awake once there is nothing to say."""
    assert examined(PACKBOX_PROFILE="auto")["profile"] == ("WARN", "no car was recognised yet")


def test_what_was_refused_is_told_by_reason(tmp_path: Path, examined: Examine) -> None:
    """A wrong length is the wrong profile, a wrong checksum the wrong wire: the sum alone helps nobody."""
    refused = Refused(wrong_length=900, bad_checksum=200, foreign_answers=3, void_values=1_000_000)
    fill(tmp_path, MESSAGES, refused=refused).close()
    verdict, text = examined()["refused"]
    assert verdict == "WARN"
    assert text == (
        "900 of another length, 200 with a wrong checksum, 3 answers of a unit that was not asked, "
        "1,000,000 values that the car calls void"
    )


def test_every_reason_has_its_words() -> None:
    """A reason that the doctor does not know would be counted for nobody."""
    assert set(doctor.REASONS) == {field.name for field in fields(Refused)}


def test_people_get_lines_with_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong and what to do about it, in one look."""
    monkeypatch.setattr(doctor.SystemClock, "now", lambda self: Stamp(BOOT, 0, None))
    monkeypatch.setenv("PACKBOX_PROFILE", "leaf-of-tea")
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "FAIL  profile: no profile or vehicle 'leaf-of-tea'" in out
    assert "WARN  clock: not synchronized since boot" in out
    assert err == "packbox doctor: found a problem\n"


@pytest.mark.parametrize("module", [run, history, doctor])
def test_every_option_is_explained(root: Path, module: ModuleType) -> None:
    """docs/box.md says what is true today."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    text = (root / "docs/box.md").read_text(encoding="utf-8")
    options = [name for action in parser._actions for name in action.option_strings if name not in ("-h", "--help")]
    assert [name for name in options if f"`{name}" not in text] == []


def test_the_unit_gives_the_box_no_right_it_does_not_need(root: Path) -> None:
    """A box in a car listens to a bus that can kill: whoever breaks in must find nothing to use."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = root / "systemd/packbox.service"
    subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit], check=True, capture_output=True
    )


def test_the_bus_is_brought_up_listening_only(root: Path) -> None:
    """The one line that keeps us from disturbing a car."""
    assert "ListenOnly=yes" in (root / "systemd/80-can.network").read_text().split("[CAN]")[1].splitlines()
