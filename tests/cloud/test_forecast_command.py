"""`packbook forecast`: the table in, JSON lines out, and errors that name file, line and column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from packbook.__main__ import main


def table(tmp_path: Path, text: str, name: str = "fleet.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def months(unit: str, count: int, pace_pct: float = 0.25, start_pct: float = 95.0) -> str:
    rows = (f"{unit},{2019 + n // 12}-{n % 12 + 1:02d},{start_pct - pace_pct * n:.2f}" for n in range(count))
    return "\n".join(rows) + "\n"


HEADER = "unit,month,soh_pct\n"


def run(capsys: pytest.CaptureFixture[str], path: Path, *options: str, at: str = "2020-06") -> list[dict[str, Any]]:
    assert main(["forecast", "--csv", str(path), "--at", at, *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_unit_gets_the_months_after_its_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five fields, month after month, in the table's own way of writing months."""
    path = table(tmp_path, HEADER + months("a", 24) + months("b", 18))
    lines = run(capsys, path, "--months", "8")
    assert [(line["unit"], line["month"]) for line in lines[:8]] == [
        ("a", month)
        for month in ("2020-07", "2020-08", "2020-09", "2020-10", "2020-11", "2020-12", "2021-01", "2021-02")
    ]
    assert {line["unit"] for line in lines} == {"a", "b"}
    assert all(set(line) == {"unit", "month", "soh_pct", "lo90_pct", "hi90_pct"} for line in lines)
    assert all(line["lo90_pct"] < line["soh_pct"] < line["hi90_pct"] for line in lines)


def test_nothing_after_the_month_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A forecast that has seen the answer is worth nothing."""
    short = run(capsys, table(tmp_path, HEADER + months("a", 18)))
    assert run(capsys, table(tmp_path, HEADER + months("a", 18) + "a,2020-07,60\n")) == short


def test_a_unit_never_learns_from_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the whole fleet as teacher, each unit is judged by the others: its own later fate must not leak."""
    fleet = "".join(months(f"v{n}", 30, 0.3 + 0.02 * n) for n in range(5))
    own, other = months("a", 30, 0.3), months("a", 18, 0.3) + "".join(f"a,2020-{n:02d},60\n" for n in range(7, 13))
    asked = table(tmp_path, HEADER + months("a", 18, 0.3))
    found = [
        run(capsys, asked, "--learn", str(table(tmp_path, HEADER + fleet + rows, f"learn{n}.csv")))
        for n, rows in enumerate(("", own, other))
    ]
    assert found[0] == found[1] == found[2]


def test_counted_months_work_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Laboratories and simulations count months from somewhere."""
    path = table(tmp_path, HEADER + "".join(f"a,{n},{99 - n * 0.2}\n" for n in range(24)))
    assert [line["month"] for line in run(capsys, path, "--months", "2", at="11")] == [12, 13]


def test_a_promise_is_decided_month_by_month(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Probability, decision, and every failed condition by name."""
    path = table(tmp_path, HEADER + months("a", 18, 0.15))
    lines = run(capsys, path, "--guarantee", "80")
    first, last = lines[0], lines[-1]
    assert (first["decision"], first["failed"], first["why"]) == ("offered", [], None)
    assert first["probability"] > 0.99
    assert first["not_checked"] == ["evidence", "harm", "resistance"]
    assert last["decision"] == "not offered"
    assert last["failed"][0] == "horizon"
    assert last["why"].startswith("3.00 years ahead, at most 2.83")


def test_a_promise_may_end_with_kilometres(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Years and km, whichever comes first; without an odometer the years stand, and that is said."""
    rows = "".join(f"a,2020-{n:02d},{95 - 0.2 * n},{40_000 + 5000 * n}\n" for n in range(1, 13))
    path = table(tmp_path, "unit,month,soh_pct,odometer_km\n" + rows)
    asked = ("--guarantee", "80", "--guarantee-km", "30000")
    lines = run(capsys, path, *asked, at="2020-12")
    assert (lines[11]["km"], lines[11]["judged_years"]) == (30000.0, pytest.approx(0.5, abs=0.01))
    assert lines[0]["judged_years"] == pytest.approx(1 / 12, abs=0.001)
    bare = table(tmp_path, HEADER + months("a", 12))
    assert main(["forecast", "--csv", str(bare), "--at", "2019-12", "--months", "12", *asked]) == 0
    told = capsys.readouterr()
    assert "unit a: no odometer_km of three months" in told.err
    assert json.loads(told.out.splitlines()[-1])["judged_years"] == 1.0
    assert main(["forecast", "--csv", str(bare), "--at", "2019-12", "--guarantee-km", "30000"]) == 2


def test_life_tells_passages_and_next_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Years and kilometres to 80 % and 70 %, beyond where there is no knowing, and where it could go."""
    rows = "".join(f"a,2020-{n:02d},{90 - 0.2 * n},{40_000 + 1500 * n},2016-01\n" for n in range(1, 13))
    path = table(tmp_path, "unit,month,soh_pct,odometer_km,made\n" + rows)
    life = run(capsys, path, "--life", "--months", "1", at="2020-12")[-1]
    assert life["after_month"] == "2020-12"
    eighty, seventy = life["passages"]
    assert eighty["years"] == sorted(eighty["years"])
    assert eighty["km"][1] == pytest.approx(eighty["years"][1] * 18_000, rel=0.05)
    assert seventy["years"][2] == "beyond"
    assert life["next_use"] in {"car", "small_mobility"}
    assert life["learned_from_vehicles"] == 0


def test_units_without_history_are_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A unit that begins later is no error, but it must not vanish silently."""
    path = table(tmp_path, HEADER + months("a", 6) + "late,2021-01,90\n")
    assert main(["forecast", "--csv", str(path), "--at", "2019-06", "--months", "1"]) == 0
    out = capsys.readouterr()
    assert len(out.out.splitlines()) == 1
    assert "unit late has no soh_pct up to 2019-06" in out.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: no column unit"),
        ("unit,month,soh\na,2020-01,90\n", "line 1: no column soh_pct; there are: unit, month, soh"),
        ("unit,month,soh_pct,month\n", "line 1: column month stands there twice"),
        (HEADER, "no row below the header"),
        (HEADER + "a,2020-01,90\na,2020-13,90\n", "line 3, column month: '2020-13' is neither"),
        (HEADER + "a,Jan 2020,90\n", "line 2, column month: 'Jan 2020' is neither"),
        (HEADER + "a,2020-01,ninety\n", "line 2, column soh_pct: 'ninety' is not a number"),
        (HEADER + "a,2020-01,nan\n", "line 2, column soh_pct: 'nan' is not a finite number"),
        (HEADER + "a,2020-01,0.93\n", "line 2, column soh_pct: 0.93 is not between 5 and 130 percent"),
        (HEADER + ",2020-01,93\n", "line 2, column unit: empty"),
        (HEADER + "a,2020-01,92,5\n", "line 2: more cells than the 3 columns of line 1"),
        (HEADER + "a,2020-01\n", "no unit has a soh_pct up to 2020-06"),
        (HEADER + "a,2021-01,93\n", "no unit has a soh_pct up to 2020-06"),
        (HEADER + "a,2020-01,93\na,2020-01,92\n", "line 3, column month: unit a has 2020-01 already in line 2"),
        (HEADER + "a,2020-01,93\na,2,92\n", "line 3, column month: 2 is written in another way than 2020-01 in line 2"),
        (HEADER + "a,2020-07,93\n", "column month: no unit has a soh_pct up to 2020-06"),
        (HEADER + "a,3,93\n", "--at 2020-06"),
        (HEADER + 'a,2020-01,"93\n', "not CSV"),
        ("unit,month,soh_pct,made\na,2020-01,93,2020-02\n", "column made: 2020-02 is not a month up to 2020-01"),
        ("unit,month,soh_pct,odometer_km\na,2020-01,93,-4\n", "column odometer_km: -4 is negative"),
    ],
)
def test_a_bad_table_is_refused_with_file_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    """A guess at what a cell might mean would end up in a promise."""
    path = table(tmp_path, text)
    assert main(["forecast", "--csv", str(path), "--at", "2020-06"]) == 1
    out = capsys.readouterr()
    assert out.out == ""
    assert str(path) in out.err
    assert said in out.err


def test_a_file_that_is_not_there_or_not_text_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback for a slip of the finger."""
    binary = tmp_path / "b.csv"
    binary.write_bytes(b"unit,month,soh_pct\n\xff\xfe,2020-01,90\n")
    for path, said in ((tmp_path / "no.csv", "No such file"), (binary, "not UTF-8")):
        assert main(["forecast", "--csv", str(path), "--at", "2020-06"]) == 1
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [["--at", "June"], ["--guarantee", "0.8"], ["--months", "0"], ["--guarantee", "x"], ["--guarantee-km", "0"]],
)
def test_wrong_options_are_wrong_usage(tmp_path: Path, options: list[str]) -> None:
    """Exit code 2: other programs tell a slip in the call from bad data."""
    path = table(tmp_path, HEADER + months("a", 6))
    with pytest.raises(SystemExit) as stopped:
        main(["forecast", "--csv", str(path), "--at", "2019-06", *options])
    assert stopped.value.code == 2


def test_a_month_long_after_the_readings_is_answered_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in --at would otherwise look like a forecast of next month."""
    path = table(tmp_path, HEADER + months("a", 12))
    assert main(["forecast", "--csv", str(path), "--at", "2021-12", "--months", "1"]) == 0
    out = capsys.readouterr()
    assert "unit a: its newest soh_pct is of 2019-12, 24 months before --at" in out.err
    assert json.loads(out.out)["month"] == "2022-01"


def test_an_empty_table_to_learn_from_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that teaches nothing was not what the caller meant."""
    path, empty = table(tmp_path, HEADER + months("a", 12)), table(tmp_path, HEADER, "empty.csv")
    assert main(["forecast", "--csv", str(path), "--at", "2019-12", "--learn", str(empty)]) == 1
    assert f"{empty}: no row below the header" in capsys.readouterr().err


def test_a_fleet_too_small_to_teach_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever gave a file to learn from must know that it changed nothing."""
    path = table(tmp_path, HEADER + "".join(months(unit, 18) for unit in "abc"))
    assert main(["forecast", "--csv", str(path), "--at", "2020-03", "--months", "1", "--learn", str(path)]) == 0
    assert "--learn teaches nothing about a: fewer than 4 other vehicles" in capsys.readouterr().err


def test_a_rise_is_named_and_what_was_before_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An exchanged pack must not be forecast as the old one, nor silently."""
    old = "".join(f"a,2018-{n:02d},{80 - 0.5 * n}\n" for n in range(1, 13))
    path = table(tmp_path, HEADER + old + months("a", 18))
    assert main(["forecast", "--csv", str(path), "--at", "2020-06", "--months", "1"]) == 0
    risen = capsys.readouterr()
    assert "unit a: its soh_pct rises at once in 2019-01" in risen.err
    path = table(tmp_path, HEADER + months("a", 18))
    assert run(capsys, path, "--months", "1") == [json.loads(risen.out)]
