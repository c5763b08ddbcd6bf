"""Totals of fleets and municipalities: no group that is shown, and none that can be computed, is too small."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from packbook.__main__ import main
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.ledger import Ledger
from packbook.core.totals import TRAITS, Labels, Member, partitions, release
from packbook.testing.scripted_box import ScriptedBox
from packwire.messages import Consent

KINDS = st.tuples(st.sampled_from("LZ"), st.sampled_from(["Kyoto", "Nara", "Oita"]), st.sampled_from(["2014", "2019"]))


def member(family: str = "leaf-24", municipality: str = "Kyoto", year: str = "2014", **figures: float) -> Member:
    traits = dict(zip(TRAITS, (family, municipality, year), strict=True))
    return Member(traits, **{"soh_pct": 80.0, "km": 1000.0, "energy_kwh": 200.0, **figures})


def rank(rows: Sequence[np.ndarray]) -> int:
    return int(np.linalg.matrix_rank(np.array(rows))) if rows and rows[0].size else 0


def shown_sets(shown: Sequence[Labels]) -> list[np.ndarray]:
    """Each group of each table, and all, as ones and zeros over the batteries."""
    groups = [
        np.array([one == label for one in labels], float) for labels in shown for label in sorted(set(labels), key=str)
    ]
    return [np.ones(len(shown[0])), *groups]


def can_be_computed(shown: Sequence[Labels], least: int) -> tuple[int, ...] | None:
    """A set of fewer than `least` batteries that some combination of the groups rests on; None: there is none.

    By trying them all: a combination that rests on a set is nothing outside of it, and then the rest has lower rank.
    """
    rows = shown_sets(shown)
    whole = rank(rows)
    for some in itertools.combinations(range(len(rows[0])), least - 1):
        if rank([np.delete(row, some) for row in rows]) < whole:
            return some
    return None


@settings(max_examples=60, deadline=None)
@given(kinds=st.lists(KINDS, min_size=4, max_size=15), least=st.integers(2, 4))
def test_no_set_of_totals_lets_a_small_group_be_computed(kinds: list[tuple[str, str, str]], least: int) -> None:
    """Not by one table, not by the total less the rest, not by one table less another, nor by any sum of all three."""
    shown = list(partitions([member(*kind) for kind in kinds], least).values())
    for labels in shown:
        assert min(Counter(labels).values()) >= least
    assert can_be_computed(shown, least) is None


def test_the_check_itself_finds_what_differences_give_away() -> None:
    """Two large groups that differ by two cars: each table is harmless alone, and together they tell those two."""
    families, places = ("L",) * 8 + ("Z",) * 6, ("Kyoto",) * 10 + ("Nara",) * 4
    assert can_be_computed([families], 3) is None
    assert can_be_computed([places], 3) is None
    assert can_be_computed([families, places], 3) == (8, 9)
    shown = partitions([member(f, p) for f, p in zip(families, places, strict=True)], 3)
    assert set(shown["municipality"]) == {None}
    assert set(shown["family"]) == {"L", "Z"}


def test_a_small_group_is_not_the_total_less_the_rest() -> None:
    """Three of Nara would follow from the total and Kyoto: so the next larger group goes with them."""
    members = [member("L", "Kyoto")] * 30 + [member("L", "Oita")] * 12 + [member("L", "Nara")] * 3
    shown = release(members, 10).groups["municipality"]
    assert [(group.name, group.batteries) for group in shown] == [("Kyoto", 30), (None, 15)]


def test_small_groups_that_are_enough_together_are_told_as_others() -> None:
    """Nothing more is hidden than must be."""
    members = [member("L", "Kyoto")] * 30 + [member("L", f"village {n}") for n in range(12)]
    shown = release(members, 10).groups["municipality"]
    assert [(group.name, group.batteries) for group in shown] == [("Kyoto", 30), (None, 12)]


def test_a_fleet_that_is_well_mixed_is_told_in_full() -> None:
    """Hiding must not eat all: with five hundred cars every group of every table stands."""
    dice = random.Random(7)
    members = [
        member(dice.choice("LZE"), f"town {dice.randrange(8)}", str(2014 + dice.randrange(5))) for _ in range(500)
    ]
    shown = release(members, 10).groups
    assert [len(shown[trait]) for trait in TRAITS] == [3, 8, 5]
    assert all(group.name is not None for groups in shown.values() for group in groups)


def test_too_few_batteries_tell_nothing() -> None:
    """Not even how many there are."""
    told = release([member()] * 9, 10)
    assert told.total is None
    assert not any(told.groups.values())


def test_what_is_told_of_a_group() -> None:
    """Quartiles in whole percent, sums in coarse steps: no single battery shows in the last digit."""
    members = [member(soh_pct=70.0 + n, km=1234.0, energy_kwh=77.0, age_years=4.0 + n) for n in range(11)]
    total = release(members, 10).total
    assert total is not None
    assert (total.batteries, total.soh_quartiles_pct) == (11, (72, 75, 78))
    assert (total.km, total.energy_kwh, total.age_median_years) == (13_600, 850, 9.0)
    without = release([*members, member()], 10).total
    assert without is not None
    assert without.age_median_years is None


@pytest.mark.parametrize("count", [1000])
def test_thousands_of_places_are_no_burden(count: int) -> None:
    """A country's fleet on one machine."""
    dice = random.Random(3)
    members = [
        member(f"f{dice.randrange(20)}", f"town {dice.randrange(30)}", str(dice.randrange(9))) for _ in range(count)
    ]
    assert min(group.batteries for groups in release(members).groups.values() for group in groups) >= 10


# --- as an operator asks for them ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen batteries, of which twelve may be told of, in two fleets of two towns."""
    folder = tmp_path_factory.mktemp("fleet")
    boxes = []
    for number in range(14):
        box = ScriptedBox(name=f"box {number}")
        box.hello(f"BAT-{number}", pack="leaf-24" if number < 7 else "leaf-40")
        if number != 0:
            box.say(Consent(purposes=("history", "passport"), text_version="2026-11"))
        box.usage()
        if number != 1:
            box.soh(80.0 + number)
        boxes.append(box)

    async def fill() -> None:
        async with open_writer(f"sqlite:///{folder / 'book.db'}", "test") as database:
            for box in boxes:
                await Ledger(database).take(box.arrivals)
            rows = [
                {
                    "box": box.box,
                    "public_key": box.public_key,
                    "fleet": "kyoto-taxi" if number % 2 else "nara-post",
                    "state": "active",
                    "since_ms": 0,
                    "enrolled_ms": 0,
                }
                for number, box in enumerate(boxes)
            ]
            async with database.transaction() as connection:
                await connection.execute(sa.insert(tables.enrolled_box), rows)

    asyncio.run(fill())
    towns = '[municipalities]\nkyoto-taxi = "Kyoto"\nnara-post = "Nara"\n'
    (folder / "book.toml").write_text(f'database_url = "sqlite:///{folder / "book.db"}"\n{towns}')
    return folder


def do(folder: Path, *words: str) -> int:
    return main(["totals", *words, "--settings", str(folder / "book.toml")])


def test_a_municipality_is_what_the_operator_says_of_a_fleet(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And who did not agree, or has no figures yet, is in none of the sums."""
    assert do(fleet, "--k", "5", "--by", "municipality", "--json") == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["total"]["batteries"] == 12
    assert {group["name"]: group["batteries"] for group in told["by"]["municipality"]} == {"Kyoto": 6, "Nara": 6}
    assert list(told["by"]) == ["municipality"]
    assert "left out: 1 batteries: the owner's consent to passport is missing" in err
    assert "left out: 1 batteries: no state of health or no usage yet" in err


def test_a_table_for_people_says_the_same(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Aligned, with others named."""
    assert do(fleet, "--k", "8") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "batteries"
    assert lines[1].split()[:2] == ["all", "12"]
    assert [line.split()[0] for line in lines[2:]] == ["by", "others", "by", "others", "by", "not"]


def test_a_small_fleet_is_told_nothing_of(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And nobody turns the guard off by asking for groups of one."""
    assert do(fleet, "--k", "13") == 1
    assert "fewer than 13 batteries" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        do(fleet, "--k", "4")
