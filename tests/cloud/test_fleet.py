"""What the book learns from its own batteries: enough of them, the same each time, kept by version."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from packbook.__main__ import main
from packbook.adapters.store import fleets, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.app.learn import learn_fleets
from packbook.core.fleet import TEACHERS_MAX, TEACHERS_MIN, evenly, learn_family, model_of, numbers_of
from packbook.core.forecast import PRIOR
from packbook.core.history import Installation, SohPoint
from packbook.core.prospect import BMS_VALUE, DAY_MS, Prospect, forecast_of
from packbook.testing.rows import soh_point

from .invented_fleet import KINDS, invented_fleet

PACK = "leaf-24"


def histories(batteries: int, kind: str = "fast", months: int = 18) -> list[list[SohPoint]]:
    return [
        [
            soh_point(n + 1, at_ms=n * 30 * DAY_MS, soh_pct=float(soh), sigma_pct=1.0, lo90_pct=None, hi90_pct=None)
            for n, soh in enumerate(course)
        ]
        for course in invented_fleet(KINDS[kind], batteries, months)
    ]


def test_a_family_teaches_only_when_no_single_battery_can_be_guessed() -> None:
    """A model of three cars would tell the neighbours of those three."""
    assert learn_family(PACK, histories(TEACHERS_MIN - 1)) is None
    assert learn_family(PACK, [*histories(TEACHERS_MIN - 1), histories(1, months=4)[0]]) is None
    learned = learn_family(PACK, histories(TEACHERS_MIN))
    assert learned is not None
    assert (learned.model.vehicles, learned.newest_ms) == (TEACHERS_MIN, 17 * 30 * DAY_MS)


def test_the_cars_own_figures_teach_nothing() -> None:
    """What a car says of itself and what was measured are two quantities; they are never mixed."""
    told = [[replace(point, basis=BMS_VALUE) for point in points] for points in histories(TEACHERS_MIN)]
    assert learn_family(PACK, told) is None


def test_the_same_histories_give_the_same_version_and_others_another() -> None:
    """A forecast names its model; anyone with the histories must come to that name again."""
    once, again = (learn_family(PACK, histories(TEACHERS_MIN)) for _ in range(2))
    other = learn_family(PACK, histories(TEACHERS_MIN, months=19))
    assert once is not None
    assert again is not None
    assert other is not None
    assert once.model.version == again.model.version != other.model.version
    assert once.model.version.startswith("fleet/1-")


def test_a_stored_model_forecasts_as_the_learned_one_did() -> None:
    """The numbers in the database are the model, not a picture of it."""
    learned = learn_family(PACK, histories(TEACHERS_MIN))
    assert learned is not None
    stored = model_of(json.loads(json.dumps(numbers_of(learned.model))))
    points = histories(1, months=12)[0]
    one, two = forecast_of(points, model=learned.model), forecast_of(points, model=stored)
    assert one == two
    assert isinstance(one, Prospect)
    assert (one.model_version, one.vehicles) == (learned.model.version, TEACHERS_MIN)
    prior = forecast_of(points)
    assert isinstance(prior, Prospect)
    assert prior.model_version == PRIOR.version


def test_a_battery_is_forecast_better_by_its_own_kind() -> None:
    """The reason for all this: taxis are not private cars."""
    learned = learn_family(PACK, histories(12))
    assert learned is not None
    truth = histories(13)[12]
    missed = []
    for model in (learned.model, PRIOR):
        found = forecast_of(truth[:8], model=model)
        assert isinstance(found, Prospect)
        missed.append(abs(found.months[10].soh_pct - (truth[17].soh_pct or 0.0)))
    assert missed[0] < missed[1]


def test_of_many_batteries_some_teach_spread_over_all() -> None:
    """Learning from a thousand takes minutes and says no more."""
    assert evenly(range(3), TEACHERS_MAX) == range(3)
    assert len(evenly(range(1000), TEACHERS_MAX)) <= TEACHERS_MAX
    assert evenly(range(1000), TEACHERS_MAX)[-1] > 900
    assert evenly([], TEACHERS_MAX) == []


async def fill(database: Database, told: list[list[SohPoint]], pack: str | None) -> None:
    """Batteries as their records would have left them."""
    for number, points in enumerate(told):
        battery = f"{pack}-{number:04d}"
        moment = {
            "box": battery[-16:],
            "store": "0" * 16,
            "battery": battery,
            "boot": "0" * 16,
            "mono_ms": 0,
            "wall_ms": 0,
        }
        facts = {field.name: None for field in fields(Installation)} | {
            "battery_source": "configured",
            "profile": "leaf",
            "software": "1",
            "pack": pack,
        }
        columns = {name: value for name, value in facts.items() if name in tables.installation.c}
        rows = [
            {field.name: getattr(point, field.name) for field in fields(SohPoint) if field.name != "provenance"}
            | moment
            | {"seq": point.provenance.seq, "estimates": []}
            for point in points
        ]
        async with database.transaction() as connection:
            installed = columns | moment | {"seq": 1, "hello_seq": 1}
            await connection.execute(sa.insert(tables.installation), [installed])
            await connection.execute(sa.insert(tables.soh_point), rows)


async def test_the_book_learns_keeps_and_finds_again(database: Database) -> None:
    """Once a day, whatever the database; an unknown pack and a rare one stay with the prior."""
    await fill(database, histories(TEACHERS_MIN), PACK)
    await fill(database, histories(3, "slow"), "rare-1")
    (learned,) = await learn_fleets(database)
    book = SqlHistories(database)
    found = await book.fleet_model(PACK)
    assert found is not None
    assert (found.family, found.newest_ms) == (PACK, learned.newest_ms)
    assert found.model.version == learned.model.version
    assert np.array_equal(found.model.spread, learned.model.spread)
    assert await book.fleet_model("rare-1") is None
    (again,) = await learn_fleets(database)
    assert again.model.version == learned.model.version
    async with database.transaction() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.fleet_model)) == 1


async def test_earlier_versions_stay(database: Database) -> None:
    """A forecast printed last year must be recomputable this year."""
    old, new = learn_family(PACK, histories(8)), learn_family(PACK, histories(9))
    assert old is not None
    assert new is not None
    await fleets.keep(database, old, 1)
    await fleets.keep(database, new, 2)
    assert (await fleets.newest(database, PACK) or old).model.version == new.model.version
    async with database.transaction() as connection:
        kept = set(await connection.scalars(sa.select(tables.fleet_model.c.version)))
    assert kept == {old.model.version, new.model.version}


def test_the_command_says_what_was_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that nothing was, where there is too little."""
    monkeypatch.setenv("PACKBOOK_DATABASE_URL", f"sqlite:///{tmp_path / 'book.db'}")
    assert main(["learn"]) == 0
    assert "the published prior stands" in capsys.readouterr().out
