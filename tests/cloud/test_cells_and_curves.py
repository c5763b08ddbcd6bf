"""Cells, curves of charges and the car's own count of energy: from signed records to the book's values."""

from __future__ import annotations

from typing import Any

import pytest

from packbook.adapters.store.database import Database
from packbook.adapters.store.histories import SqlHistories
from packbook.adapters.store.ledger import Ledger
from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.facts import Moment, facts_of
from packbook.core.history import CellsPoint, ChargeCurve, EnergyFull, Provenance, UsageTotals
from packbook.core.merge import add_usage
from packbook.testing.scripted_box import SOME_DAY_MS, ScriptedBox
from packwire.messages import Cells, Charge, CurveItem, EnergyItem, Soh, SohState, Usage

PLACE = Provenance("box", "store", 7)


async def test_cells_curve_and_energy_come_back_as_they_were_told(database: Database) -> None:
    """What a view draws must be what the box signed."""
    box = ScriptedBox()
    box.hello()
    box.say(
        Cells(cell_voltage_min_v=3.9, cell_voltage_max_v=3.917, soc_pct=61.5, temps_degc=(17.0, 19.5), quiet_s=7200.0)
    )
    curve = CurveItem(soc_from_pct=10.0, power_kw=(47.1, None, 40.0), temp_degc=(20.0, None, 24.0))
    box.say(Charge(session=1, boot=box.boot, start_mono_ms=box.mono_ms, start_wall_ms=box.wall_ms, curve=curve))
    energy = EnergyItem(method="energy_series/1", energy_full_kwh=21.1, sigma_kwh=0.4, n=12, evidence=(1,), gids=True)
    box.say(Soh(state=SohState.LEARNING, energy=energy))
    box.say(Usage(charges_ac=1, charging_temp_s=(0, 0, 5400)))
    taken = await Ledger(database).take(box.arrivals)
    assert (taken.accepted, taken.quarantined) == (5, {})
    histories = SqlHistories(database)

    (point,) = await histories.cells("BAT-1")
    assert point.at_ms is not None
    assert (point.spread_mv, point.soc_pct, point.temp_min_degc, point.temp_max_degc) == (17.0, 61.5, 17.0, 19.5)
    assert (point.cells, point.lowest_cell, point.quiet_s) == (0, None, 7200.0)
    assert point.provenance == Provenance(box.box, box.store, 2)
    (charge,) = await histories.sessions("BAT-1")
    assert charge.curve == ChargeCurve(10.0, 5.0, (47.1, None, 40.0), (20.0, None, 24.0), shown=False)
    (told,) = await histories.soh_series("BAT-1")
    assert told.energy == EnergyFull("energy_series/1", 21.1, 0.4, 12, (1,), gids=True)
    usage = await histories.usage("BAT-1")
    assert usage is not None
    assert usage.charging_temp_s == (0, 0, 5400, 0, 0, 0, 0, 0, 0)
    battery = await histories.battery("BAT-1")
    assert battery is not None
    assert battery.soh is not None
    assert battery.soh.energy == told.energy


async def test_cells_of_a_battery_out_of_reach_are_not_told(database: Database) -> None:
    """One firm's cells are nothing to another."""
    box = ScriptedBox()
    box.hello()
    box.say(Cells(cell_voltage_min_v=3.9, cell_voltage_max_v=3.917))
    await Ledger(database).take(box.arrivals)
    assert len(await SqlHistories(database).within(EVERYWHERE).cells("BAT-1")) == 1
    assert await SqlHistories(database).within(Reach(tenant="another")).cells("BAT-1") == []
    assert await SqlHistories(database).cells("NOBODY") == []


async def test_one_session_is_found_by_its_record_and_some_by_their_days(database: Database) -> None:
    """Its page has an address for good; a list may be asked for one day."""
    box = ScriptedBox()
    box.hello()
    for number in (1, 2, 3):
        start_ms = SOME_DAY_MS + number * 1000
        box.say(Charge(session=number, boot=box.boot, start_mono_ms=box.mono_ms, start_wall_ms=start_ms))
    await Ledger(database).take(box.arrivals)
    histories = SqlHistories(database)
    newest, middle, _ = await histories.sessions("BAT-1")
    assert await histories.session("BAT-1", middle.provenance) == middle
    assert await histories.session("ANOTHER", middle.provenance) is None
    assert await histories.session("BAT-1", Provenance(box.box, box.store, 99)) is None
    assert await histories.within(Reach(tenant="another")).session("BAT-1", middle.provenance) is None
    assert await histories.sessions("BAT-1", since_ms=SOME_DAY_MS + 2000, until_ms=SOME_DAY_MS + 3000) == [middle]
    assert await histories.sessions("BAT-1", since_ms=SOME_DAY_MS + 2001) == [newest]


def cells(**told: Any) -> CellsPoint | None:
    found = facts_of(Cells(**told), PLACE, Moment("boot", 5, 6), 9)
    values = [fact.value for fact in found]
    assert all(isinstance(value, CellsPoint) for value in values)
    return next((value for value in values if isinstance(value, CellsPoint)), None)


def test_single_cells_tell_which_one_is_weak() -> None:
    """A workshop asks for the number, and a cell that was not read is none."""
    point = cells(voltages_mv=(3701, None, 3688, 3712), soc_pct=40.0)
    assert point is not None
    assert (point.spread_mv, point.cells, point.lowest_cell, point.highest_cell) == (24.0, 3, 3, 4)
    assert (point.cell_voltage_min_v, point.cell_voltage_max_v) == (3.688, 3.712)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"voltages_mv": (3700,)},
        {"voltages_mv": (None, None)},
        {"cell_voltage_min_v": 3.7},
        {"cell_voltage_min_v": 3.8, "cell_voltage_max_v": 3.7},
    ],
    ids=["nothing", "one cell", "void cells", "no highest", "lowest above highest"],
)
def test_what_tells_no_spread_enters_no_history(told: dict[str, Any]) -> None:
    """Zero would look like a perfect pack."""
    assert cells(**told) is None


def totals(**told: Any) -> UsageTotals:
    (fact,) = facts_of(Usage(**told), PLACE, Moment("boot", 5, 6), 9)
    assert isinstance(fact.value, UsageTotals)
    return fact.value


def test_time_of_charges_is_told_only_where_every_box_counts_it() -> None:
    """Half of it would make a battery look spared."""
    counts, counts_not = totals(charges_ac=2, charging_temp_s=(0, 60)), totals(charges_dc=3)
    saw_none = totals(drives=4)
    assert add_usage([counts]) == counts
    merged = {
        name: add_usage(parts)
        for name, parts in {"one": [counts, counts], "old": [counts, counts_not], "none": [counts, saw_none]}.items()
    }
    told = {name: one.charging_temp_s for name, one in merged.items() if one is not None}
    assert told == {"one": (0, 120, *(0,) * 7), "old": (), "none": (0, 60, *(0,) * 7)}
