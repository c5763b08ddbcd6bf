"""`packbox estimate`: tables in, one line a day out, and clear words for bad input."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from packbox.__main__ import main
from packbox.adapters import sample_csv
from packbox.adapters.pack_file import read_pack_file
from packbox.adapters.sample_csv import Block, Layout, read_blocks
from packbox.core.packs import Chemistry, PackFacts

PACK = """
chemistry = "lmo"
cells_in_series = 96
rated_ah = 60
reference_ah = 60
bms_capacity_start_ah = 55
soc_is = "displayed"
ocv = [[0, 3.2], [11, 3.66], [22, 3.78], [44, 3.905], [67, 3.985], [78, 4.045], [89, 4.085], [100, 4.18]]
"""
KEYS = {"day", "t_s", "soh_pct", "lo90_pct", "hi90_pct", "capacity_ah", "sigma_ah", "soce_pct", "r25_ohm", "state"}
HEADER = "t_s,pack_current_a,cell_voltage_mean_v,soc_pct,temp_degc"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "pack.toml"
    path.write_text(PACK)
    return path


def table(path: Path, days: int, start_s: int = 0) -> Path:
    """Every day a drive and a charge of 30 or 60 % of a 54 Ah pack, with its rests.

    Two depths, as no one drives the same way every day: swings all alike cannot be told from hysteresis.
    """
    rows, now, soc = [HEADER], start_s + 3600, 80.0
    socs, volts = (
        np.array([0, 11, 22, 44, 67, 78, 89, 100]),
        np.array([3.2, 3.66, 3.78, 3.905, 3.985, 4.045, 4.085, 4.18]),
    )
    for day in range(start_s // 86_400, start_s // 86_400 + days):
        rows_driven = 432 if day % 2 else 216
        for amps, count in (
            (0.0, 2), (-27.0, rows_driven), (0.0, 2), (None, 0), (0.0, 2), (13.5, 2 * rows_driven), (0.0, 2),
        ):  # fmt: skip
            if amps is None:
                now += 8 * 3600
                continue
            for _ in range(count):
                soc += amps * 10 / 36 / 54.0
                now += 10
                rows.append(f"{now},{amps},{np.interp(soc, socs, volts) + amps * 1e-3:.4f},{int(soc)},20")
        now = (day + 1) * 86_400 + 3600
    text = "\n".join(rows) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    assert main(["estimate", *map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 1) -> str:
    assert main(["estimate", *map(str, arguments)]) == code
    return capsys.readouterr().err


def test_every_day_has_its_line_and_the_end_a_summary(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *days, summary = lines(capsys, table(tmp_path / "car.csv.gz", 20), "--pack", pack)
    assert [line["day"] for line in days] == list(range(20))
    assert all(line.keys() - {"why"} == KEYS for line in days)
    assert all((line["soh_pct"] is not None) or line["why"] for line in days)
    assert days[-1]["capacity_ah"] == pytest.approx(54.0, rel=0.015)
    assert days[-1]["lo90_pct"] < 90.0 < days[-1]["hi90_pct"]
    assert (summary["summary"], summary["basis"], summary["state"]) == (True, "ocv", "ok")


def test_rows_that_jitter_about_ten_seconds_tell_the_same(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loggers keep no exact time. Rows 12 s apart are no silence whose charge nobody counted."""
    even = table(tmp_path / "even.csv", 20)
    header, *rows = even.read_text().splitlines()
    dice = np.random.default_rng(4)
    cells = [row.split(",", 1) for row in rows]
    odd = [f"{int(t_s) + dice.uniform(-2.0, 2.0):.3f},{rest}" for t_s, rest in cells]
    (tmp_path / "odd.csv").write_text("\n".join([header, *odd]) + "\n")
    told, jittered = (lines(capsys, tmp_path / name, "--pack", pack)[-1] for name in ("even.csv", "odd.csv"))
    assert jittered["soh_pct"] == pytest.approx(told["soh_pct"], abs=0.2)
    assert [one["segments"] for one in jittered["estimates"]] == [one["segments"] for one in told["estimates"]]


def test_the_cars_own_count_of_energy_stands_beside(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And never in the capacity: a car that tells it has the same state of health as one that does not."""
    plain = table(tmp_path / "plain.csv", 6)
    header, *rows = plain.read_text().splitlines()
    told = [f"{row},{0.2 * float(row.split(',')[3]) - 1.0:.1f}" for row in rows]
    (tmp_path / "told.csv").write_text("\n".join([f"{header},energy_left_kwh", *told]) + "\n")
    without, beside = (lines(capsys, tmp_path / name, "--pack", pack) for name in ("plain.csv", "told.csv"))
    assert beside[-2].pop("energy_full_kwh") == pytest.approx(19.0, rel=0.01)
    assert beside[-2] == without[-2]
    energy = beside[-1]["energy"]
    assert (energy["method"], energy["from_gids"], energy["readings"]) == ("energy_series/1", False, 24)
    assert abs(energy["energy_full_kwh"] - 19.0) < energy["sigma_kwh"]
    assert without[-1]["energy"]["why"] == "the car told no energy left beside an SoC of 30 % or more"


def test_a_day_knows_nothing_of_the_days_after_it(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An estimate that looks ahead could not be checked by anyone who was there."""
    short = lines(capsys, table(tmp_path / "short.csv", 8), "--pack", pack)
    long = lines(capsys, table(tmp_path / "long.csv", 14), "--pack", pack)
    assert short[:7] == long[:7]


def test_a_table_in_other_clothes_tells_the_same(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spreadsheets turn columns round, add their own, mark the file and end lines as Windows does."""
    plain = table(tmp_path / "car.csv", 8)
    told = lines(capsys, plain, "--pack", pack)
    rows = [[*reversed(row.split(",")), "x"] for row in plain.read_text().splitlines()]
    rows[0][-1] = "note"
    other = tmp_path / "other.csv"
    other.write_bytes(("\ufeff" + "\r\n".join(",".join(row) for row in rows) + "\r\n").encode())
    again = lines(capsys, other, "--pack", pack)
    assert again[:-1] == told[:-1]
    assert again[-1]["ignored_columns"] == ["note"]


def test_a_few_empty_currents_cost_no_swing(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A logger that loses one row in twelve has not lost the charge that flowed meanwhile."""
    path = table(tmp_path / "car.csv", 20)
    rows = [row.split(",") for row in path.read_text().splitlines()]
    for row in rows[7::12]:
        row[1] = ""
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    summary = lines(capsys, path, "--pack", pack)[-1]
    assert (summary["basis"], summary["state"]) == ("ocv", "ok")
    assert summary["capacity_ah"] == pytest.approx(54.0, rel=0.02)


def test_segments_written_are_segments_read(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the box cut can be given to others, and theirs to us; charge is positive into the pack in both."""
    out, given = tmp_path / "out.jsonl", tmp_path / "segments.csv"
    lines(capsys, table(tmp_path / "car.csv", 20), "--pack", pack, "--segments-out", out)
    swings = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(swings) >= 38
    assert all((s["charge_ah"] > 0) == (s["to_soc_pct"] > s["from_soc_pct"]) for s in swings)
    columns = ("from_soc_pct", "to_soc_pct", "charge_ah", "hours")
    given.write_text(",".join(columns) + "\n" + "".join(",".join(str(s[c]) for c in columns) + "\n" for s in swings))
    *read, summary = lines(capsys, "--segments", given, "--pack", pack)
    assert len(read) == len(swings)
    assert summary["capacity_ah"] == pytest.approx(54.0, rel=0.015)


ODD_TABLES = {
    "plain": lambda text: text,
    "unknown": lambda text: re.sub(r",20\n", ",\n", re.sub(r",80,", ",,", text)),
    "two-unknown": lambda text: re.sub(r",\d+,20\n", ",,\n", text, count=3),
    "spaces": lambda text: text.replace(",20\n", ", 20 \n"),
    "blank-is-unknown": lambda text: text.replace(",20\n", ", \n"),
    "of-windows": lambda text: text.replace("\n", "\r\n"),
    "last-line-open": lambda text: text.rstrip("\n"),
    "underscore": lambda text: text.replace(",20\n", ",2_0\n"),
}


@pytest.mark.parametrize("odd", ODD_TABLES)
def test_the_quick_reader_reads_what_the_careful_one_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    """Only one of them can name column and line; which of the two it was must never show in the numbers."""
    path = table(tmp_path / "t.csv", 2)
    path.write_text(ODD_TABLES[odd](path.read_text()), newline="")
    facts = PackFacts("any", Chemistry.LMO, 96, 60.0, "any")

    def read() -> list[Block]:
        return list(read_blocks(path, Layout.OWN, facts, "soc_shown_pct"))

    quick = read()
    monkeypatch.setattr(sample_csv, "_quick", lambda *_: None)
    for one, other in zip(quick, read(), strict=True):
        assert np.array_equal(one.t_s, other.t_s)
        assert one.values.keys() == other.values.keys()
        assert all(np.array_equal(one.values[q], other.values[q], equal_nan=True) for q in one.values)


def test_a_pack_of_the_profiles_goes_by_its_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = lines(capsys, table(tmp_path / "car.csv", 3), "--pack", "leaf-24")[-1]
    assert (last["pack"], last["reference_ah"]) == ("leaf-24", 65.4)
    assert "leaf-24" in refused(capsys, tmp_path / "car.csv", "--pack", "leaf-99", code=2)


def test_people_get_half_points_and_words(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", str(table(tmp_path / "car.csv", 15)), "--pack", str(pack)]) == 0
    assert re.match(
        r"in all: (89\.5|90\.0|90\.5) % \(8\d\.[05] to 9\d\.[05]\), 5\d\.\d Ah, ok$",
        capsys.readouterr().out.splitlines()[-1],
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: no header"),
        ("t_s,pack_current_a\n", "line 1: column pack_voltage_v or cell_voltage_mean_v is missing"),
        ("pack_current_a,pack_voltage_v\n", "line 1: column t_s is missing"),
        ("t_s,pack_current,pack_voltage_v\n", "line 1: column pack_current_a is missing"),
        ("t_s,pack_current_a,pack_voltage_v,temp_c\n", "line 1: no column is called 'temp_c'; is it temp_degc?"),
        ("t_s,t_s,pack_current_a,pack_voltage_v\n", "line 1: column t_s stands there twice"),
        ("t_s,pack_current_a,pack_voltage_v\n1,2,360\n2,x,360\n", "line 3: column pack_current_a: 'x' is no number"),
        ("t_s,pack_current_a,pack_voltage_v\n1,2,360\n2,1\n", "line 3: 2 cells, the header has 3"),
        ("t_s,pack_current_a,pack_voltage_v\n1,2,360\n,1,360\n", "line 3: column t_s: every row needs its time"),
        ("t_s,pack_current_a,pack_voltage_v\n", "no rows below the header"),
    ],
)
def test_a_broken_table_is_named_by_column_and_line(
    text: str, said: str, tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    assert said in refused(capsys, path, "--pack", pack)


def test_a_file_that_is_not_there_or_no_text_is_refused(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "No such file" in refused(capsys, tmp_path / "none.csv", "--pack", pack)
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(b"t_s,pack_current_a,pack_voltage_v\n" * 99)[:-9])
    assert "torn.csv.gz" in refused(capsys, tmp_path / "torn.csv.gz", "--pack", pack)
    (tmp_path / "raw.csv").write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in refused(capsys, tmp_path / "raw.csv", "--pack", pack)
    assert main(["estimate", "--pack", str(pack)]) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rated_ah = 0", "rated_ah: Input should be greater than 0"),
        ("chemistry = 'wood'", "chemistry: Input should be"),
        ("colour = 1", "colour: Extra inputs are not permitted"),
        ("ocv = [[0, 3.0], [0.5, 3.5], [1, 4.1]]", "SoC is in percent"),
        ("ocv = [[0, 4.1], [100, 3.0]]", "SoC must rise and volts may not fall"),
        ("rated_ah", "not TOML"),
    ],
)
def test_a_broken_pack_file_is_named_by_key(
    line: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = line.split(maxsplit=1)[0]
    kept = [row for row in PACK.splitlines() if not row.startswith(f"{key} ")]
    path = tmp_path / "pack.toml"
    path.write_text("\n".join([*kept, line]))
    assert said in refused(capsys, tmp_path / "car.csv", "--pack", path, code=2)


def test_unknown_values_and_steps_of_the_clock_make_no_capacity(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty cells, `nan`, sentinels and a clock that ran back: counted, carried on, never guessed."""
    path = table(tmp_path / "car.csv", 20)
    rows = path.read_text().splitlines()
    for k in range(50, len(rows), 97):
        cells = rows[k].split(",")
        rows[k] = ",".join([cells[0], "nan", cells[2], "1023", ""])
    path.write_text("\n".join(rows[:9000] + rows[8000:]) + "\n")
    summary = lines(capsys, path, "--pack", pack)[-1]
    assert summary["time_breaks"] == 1
    assert summary["out_of_range"] > 100
    assert summary["capacity_ah"] == pytest.approx(54.0, rel=0.02)


def test_the_first_simulated_car_is_told_within_its_interval(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fifth of the file of `make bench-soh`: the promise itself is checked there."""
    with gzip.open(shared / "data/sim/raw_s1.csv.gz", "rt") as whole:
        (tmp_path / "s1.csv").write_text("".join(next(whole) for _ in range(150_000)))
    curve = [line.split(",") for line in (shared / "data/sim/ocv_tables.csv").read_text().splitlines()[1:]]
    ocv = ", ".join(f"[{100 * float(soc):g}, {volts}]" for soc, volts, *_ in curve)
    (tmp_path / "s1.toml").write_text(
        f'chemistry = "lmo"\ncells_in_series = 96\nrated_ah = 66.2\nbms_capacity_start_ah = 66.24\nocv = [{ocv}]\n'
    )
    days = lines(capsys, tmp_path / "s1.csv", "--pack", tmp_path / "s1.toml", "--layout", "sim")[:-1]
    truth = {
        int(day): 100.0 * float(soh)
        for unit, day, soh in (row.split(",") for row in (shared / "data/sim/truth.csv").read_text().splitlines()[1:])
        if unit == "s1"
    }
    met = [line for line in days if line["day"] in truth]
    assert len(met) > 15
    assert all(line["lo90_pct"] <= truth[line["day"]] <= line["hi90_pct"] for line in met)
    assert np.mean([abs(line["soh_pct"] - truth[line["day"]]) for line in met]) < 1.0


def test_a_chemistry_may_be_written_in_capitals(tmp_path: Path) -> None:
    """It is an abbreviation; most people write it so."""
    (tmp_path / "pack.toml").write_text(PACK.replace('"lmo"', '"LMO"'))
    assert read_pack_file(tmp_path / "pack.toml")[0].chemistry is Chemistry.LMO
