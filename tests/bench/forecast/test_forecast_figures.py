"""How good forecast and guarantee are on batteries they have not seen: the figures of docs/forecast.md.

The fleet: 14 taxis, 29 months (Deng et al. 2023, ../shared/data), SoH = capacity / 145 Ah rated; each forecast learns
from the other thirteen alone. The laboratory: cells cycled down through their knees (Zhu et al. 2022), ten cycles as a
month; each half of the cells learns from the other half. Only months that were measured are judged.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from packbook.__main__ import main
from packbook.adapters.soh_table import read_table
from packbook.core.forecast import PRIOR, AgeingModel, Course, course, outlook
from packbook.core.guarantee import Evidence, decide
from packbook.core.learning import learn

RATED_AH = 145.0
JULY_2020 = "2020-07"
OTHER_ORIGINS = ("2019-10", "2020-01", "2020-04", "2020-07", "2020-10", "2021-01", "2021-04")
AHEAD_YEARS = 16 / 12
SLACK_YEARS = 0.01
THRESHOLDS_PCT = (70.0, 75.0, 80.0)
ORIGINS_YEARS = tuple(months / 12 for months in (6, 9, 12, 15, 18, 21, 24))
CYCLES_A_MONTH = 10.0


@pytest.fixture(scope="module")
def fleet_csv(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fleet in the form that the command reads."""
    path = tmp_path_factory.mktemp("fleet") / "fleet.csv"
    with (shared / "data/fleet20_monthly/capacity_monthly.csv").open() as source, path.open("w") as out:
        out.write("unit,month,soh_pct\n")
        for row in csv.DictReader(source):
            out.write(f"{row['vehicle']},{row['month']},{float(row['cap_ah']) / RATED_AH * 100:.3f}\n")
    return path


@pytest.fixture(scope="module")
def cells(shared: Path) -> Mapping[str, Course]:
    """Laboratory cells with at least a year of such months; new at the first reading."""
    raw: dict[str, list[tuple[float, float]]] = {}
    with gzip.open(shared / "data/lab_fade/ul_capacity_vs_cycle.csv.gz", "rt") as source:
        for row in csv.DictReader(source):
            raw.setdefault(f"{row['chem']} {row['cell']}", []).append((float(row["cycle"]), float(row["cap_mah"])))
    found = {}
    for name, readings in raw.items():
        cycles, capacity = np.array(readings).T
        months = np.arange(int((cycles[-1] - cycles[0]) / CYCLES_A_MONTH) + 1)
        soh = np.interp(months * CYCLES_A_MONTH, cycles - cycles[0], capacity / capacity[0] * 100)
        if months.size > 12:
            found[name] = course((months / 12).tolist(), soh.tolist(), 0.0)
    return found


@dataclass
class Promises:
    asked: int = 0
    given: int = 0
    broken: int = 0

    def __str__(self) -> str:
        share = self.broken / self.given * 100 if self.given else 0.0
        return f"asked {self.asked}, given {self.given / self.asked:.0%}, broken {self.broken} ({share:.2f} %)"


def promised(
    courses: Mapping[str, Course],
    models: Callable[[str], AgeingModel],
    origins_years: Iterable[float],
    thresholds_pct: Callable[[float], Iterable[float]],
) -> Promises:
    """Ask for every threshold in every month of the next sixteen, from every origin; then look what became of it."""
    count = Promises()
    for name, own in courses.items():
        for origin in origins_years:
            start = own.years[0] + origin + SLACK_YEARS
            seen = own.until(start)
            known = outlook(seen, models(name))
            ahead = (own.years > start) & (own.years <= start + AHEAD_YEARS)
            for threshold in thresholds_pct(float(seen.soh_pct[-1])):
                for years, soh in zip(own.years[ahead], own.soh_pct[ahead], strict=True):
                    given = decide(seen, known, Evidence(), threshold, float(years - seen.years[-1])).offered
                    count.asked += 1
                    count.given += given
                    count.broken += given and bool(soh < threshold)
    return count


def fixed(_now_pct: float) -> Iterable[float]:
    return THRESHOLDS_PCT


def below_now(now_pct: float) -> Iterable[float]:
    """Asked as close to today's value as a customer might: harder than fixed floors."""
    return (now_pct - margin for margin in (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0))


def forecast(fleet_csv: Path, *options: str, at: str = JULY_2020) -> list[dict[str, object]]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["forecast", "--csv", str(fleet_csv), "--at", at, "--months", "16", *options]) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


def months_apart(later: str, earlier: str) -> int:
    return (int(later[:4]) - int(earlier[:4])) * 12 + int(later[5:]) - int(earlier[5:])


def judged(fleet_csv: Path, lines: list[dict[str, object]], at: str) -> list[tuple[int, float, bool]]:
    """For every month that was measured: how far ahead, the error in percent points, and whether it was inside."""
    with fleet_csv.open() as source:
        truth = {(row["unit"], row["month"]): float(row["soh_pct"]) for row in csv.DictReader(source)}
    known = [(line, truth[key]) for line in lines if (key := (line["unit"], line["month"])) in truth]
    return [
        (months_apart(line["month"], at), abs(line["soh_pct"] - soh), line["lo90_pct"] <= soh <= line["hi90_pct"])
        for line, soh in known
    ]


def errors(fleet_csv: Path, lines: list[dict[str, object]]) -> tuple[float, float]:
    """Mean absolute error in percent points, and the share of truths inside the 90 % interval."""
    found = judged(fleet_csv, lines, JULY_2020)
    return float(np.mean([missed for _, missed, _ in found])), float(np.mean([inside for _, _, inside in found]))


def test_the_fleet_is_forecast_from_july_2020(fleet_csv: Path) -> None:
    """1 to 16 months ahead, leave one vehicle out: MAE at most 1.6 pp (aim 1.3), coverage 80 to 97 %."""
    mae, inside = errors(fleet_csv, forecast(fleet_csv, "--learn", str(fleet_csv)))
    alone, alone_inside = errors(fleet_csv, forecast(fleet_csv))
    print(f"\nfleet, learning from the others: MAE {mae:.2f} pp, 90 % interval covers {inside:.0%}")
    print(f"fleet, published prior alone:    MAE {alone:.2f} pp, 90 % interval covers {alone_inside:.0%}")
    assert mae <= 1.3
    assert 0.80 <= inside <= 0.97


def test_intervals_are_honest_near_and_far(fleet_csv: Path) -> None:
    """Right on average may be too wide for next month and too narrow for next year: each half year is judged alone."""
    found: list[tuple[int, float, bool]] = []
    for at in OTHER_ORIGINS:
        one = judged(fleet_csv, forecast(fleet_csv, "--learn", str(fleet_csv), at=at), at)
        mae, inside = np.mean([missed for _, missed, _ in one]), np.mean([hit for _, _, hit in one])
        print(f"\nfleet, from {at}: {len(one)} months, MAE {mae:.2f} pp, covers {inside:.0%}", end="")
        found += one
    print(f"\nfleet, all of these: MAE {np.mean([missed for _, missed, _ in found]):.2f} pp", end="")
    for low, high in ((1, 3), (4, 6), (7, 12), (13, 16)):
        part = [(missed, hit) for ahead, missed, hit in found if low <= ahead <= high]
        mae, inside = np.mean(part, axis=0)
        print(f"\nfleet, {low} to {high} months ahead: MAE {mae:.2f} pp, covers {inside:.0%}", end="")
        assert 0.80 <= inside <= 0.97
    print()


def test_the_fleets_guarantees_hold(fleet_csv: Path) -> None:
    """At most 5 % broken with at least 25 % given (aim: 1 % and 35 %)."""
    fleet = {name: unit.course() for name, unit in read_table(fleet_csv).items()}
    models = {name: learn([seen for other, seen in fleet.items() if other != name]) for name in fleet}
    for title, origins, thresholds in (
        ("fleet, July 2020, 70/75/80 %", (1.0,), fixed),
        ("fleet, July 2020, 3-12 pp below now", (1.0,), below_now),
        ("fleet, seven origins, 70/75/80 %", ORIGINS_YEARS, fixed),
        ("fleet, seven origins, 3-12 pp below now", ORIGINS_YEARS, below_now),
    ):
        count = promised(fleet, models.__getitem__, origins, thresholds)
        print(f"\n{title}: {count}", end="")
        assert count.broken <= 0.01 * count.given
        assert count.given >= 0.35 * count.asked


def test_knees_are_not_promised_away(cells: Mapping[str, Course]) -> None:
    """Cells that fall off a cliff: refusals and the conformal factor keep broken promises rare there too."""
    names = list(cells)
    taught = {first: learn([cells[name] for name in names[first::2]]) for first in (0, 1)}
    models = {name: taught[1 - n % 2] for n, name in enumerate(names)}
    for title, model in (("other half", models.__getitem__), ("prior alone", lambda _: PRIOR)):
        for asked, thresholds in (("70/75/80 %", fixed), ("3-12 pp below now", below_now)):
            count = promised(cells, model, ORIGINS_YEARS, thresholds)
            print(f"\nlaboratory, {title}, {asked}: {count}", end="")
            assert count.broken <= 0.05 * count.given
    print()
