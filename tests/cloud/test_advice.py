"""Advice follows from one battery's data: the figure that called for it is there, and without data there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from packbook.core.advice import ADVICE_MAX, KNOWN_MIN_S, Advice, Rule, advise
from packbook.core.history import SOC_BANDS_PCT, TEMP_EDGES_DEGC, Provenance, UsageTotals
from packbook.core.rounding import shown
from packbook.testing.lived_in import lived_in
from packbook.testing.rows import soh_point

TEMPS = len(TEMP_EDGES_DEGC) + 1
CALM = 4 * TEMPS + 3  # 40 to 50 %, 10 to 20 degC
FULL_WARM = 8 * TEMPS + 5  # 80 to 90 %, 30 to 40 degC
VERY_FULL = 9 * TEMPS + 3
HOT = 3 * TEMPS + 6


def used(**seconds_in: int) -> UsageTotals:
    """A year of totals; where its time was spent by name of the field, the rest of it calm."""
    fields = {"full_warm": FULL_WARM, "very_full": VERY_FULL, "hot": HOT}
    spent = [0] * (len(SOC_BANDS_PCT) * TEMPS)
    for name, seconds in seconds_in.items():
        spent[fields[name]] += seconds
    spent[CALM] = 10_000_000 - sum(spent)
    return replace(BLANK, soc_temp_s=tuple(spent))


BLANK = UsageTotals(
    at_ms=0,
    observed_s=1_000_000.0,
    inferred_s=9_000_000.0,
    unobserved_s=0.0,
    charge_in_ah=0.0,
    charge_out_ah=0.0,
    energy_in_wh=0.0,
    energy_out_wh=0.0,
    energy_ac_in_wh=1_000_000.0,
    energy_dc_in_wh=0.0,
    equivalent_full_cycles=None,
    charges_ac=50,
    charges_dc=0,
    drives=0,
    distance_km=0.0,
    odometer_km=None,
    soc_temp_s=(0,) * (len(SOC_BANDS_PCT) * TEMPS),
    c_rate_temp_s=(),
    depth_counts=(),
    events={},
    charge_count_ac_reported=None,
    charge_count_dc_reported=None,
    first_ms=None,
    provenance=Provenance("b", "s", 1),
)


def rules(*found: Advice) -> list[Rule]:
    return [one.rule for one in found]


def test_a_battery_that_is_treated_well_hears_nothing() -> None:
    """Advice that everybody gets is read by nobody."""
    assert advise(used(), soh_point(state="ok", sigma_pct=1.5), km_share=0.97, spread_mv=12.0) == ()


def test_nothing_is_advised_without_data() -> None:
    """The first day supports no opinion on habits."""
    assert advise(None, None) == ()
    young = tuple(round(value * 0.9 * KNOWN_MIN_S / 10_000_000) for value in used(full_warm=9_000_000).soc_temp_s)
    assert advise(replace(BLANK, soc_temp_s=young), None) == ()
    assert advise(BLANK, None) == ()


@pytest.mark.parametrize(
    ("usage", "rule", "figure"),
    [
        (used(full_warm=600_000), Rule.FULL_HOT, 0.06),
        (used(hot=400_000), Rule.HOT, 0.04),
        (used(very_full=4_000_000), Rule.VERY_FULL, 0.4),
        (replace(used(), energy_dc_in_wh=3_000_000.0), Rule.FAST, 0.75),
        (replace(used(), events={"cold_charge": 3}), Rule.COLD_CHARGE, 3.0),
        (replace(used(), events={"cell_low": 1}), Rule.CELL_LOW, 1.0),
        (replace(used(), events={"pack_hot": 2}), Rule.PACK_HOT, 2.0),
        (replace(used(), unobserved_s=500_000.0), Rule.COVERAGE, pytest.approx(2 / 3)),
    ],
    ids=lambda value: str(value) if isinstance(value, Rule) else "",
)
def test_each_rule_speaks_with_the_figure_that_called_for_it(usage: UsageTotals, rule: Rule, figure: float) -> None:
    """An owner who is told why can judge it himself."""
    assert [(one.rule, one.figure) for one in advise(usage, None)] == [(rule, figure)]


def test_cells_and_certainty_have_rules_of_their_own() -> None:
    """They need no totals."""
    assert rules(*advise(None, soh_point(sigma_pct=3.0), spread_mv=71.0)) == [Rule.BALANCE, Rule.FULL_SPAN]
    assert rules(*advise(used(), None, km_share=0.6)) == [Rule.COVERAGE]


def test_the_advice_names_the_interval_that_the_page_shows_above_it() -> None:
    """Two figures for one doubt, 3.3 here and 3.5 there, are two doubts to a reader."""
    (advice,) = advise(None, soh_point(soh_pct=85.4, sigma_pct=2.0, lo90_pct=82.11, hi90_pct=88.69))
    assert (advice.rule, advice.figure) == (Rule.FULL_SPAN, shown(85.4, 82.11, 88.69).half_pct)


def test_a_flat_cell_is_not_told_to_stay_below_full() -> None:
    """LFP: its voltage says little about its charge, and it wants to be full now and then."""
    usage = used(very_full=5_000_000)
    assert rules(*advise(usage, None, chemistry="LFP")) == []
    assert rules(*advise(usage, None, chemistry="NMC")) == [Rule.VERY_FULL]


def test_few_charges_are_no_habit() -> None:
    """Two fast charges on the way home from the dealer."""
    assert (
        advise(replace(used(), charges_ac=0, charges_dc=4, energy_ac_in_wh=0.0, energy_dc_in_wh=90_000.0), None) == ()
    )


def test_at_most_five_pieces_and_harm_comes_first() -> None:
    """Who is told ten things does none."""
    usage = replace(
        used(full_warm=1_000_000, hot=500_000, very_full=4_000_000),
        energy_dc_in_wh=9_000_000.0,
        events={"cold_charge": 1, "pack_hot": 1, "cell_low": 1},
    )
    found = advise(usage, soh_point(sigma_pct=4.0), spread_mv=90.0)
    assert len(found) == ADVICE_MAX
    assert rules(*found)[:3] == [Rule.CELL_LOW, Rule.COLD_CHARGE, Rule.PACK_HOT]


def test_the_lived_in_leaf_is_told_of_its_hot_afternoon() -> None:
    """From whole histories: one event above 55 degC, and nothing invented beside it."""
    book = lived_in()
    found = advise(book.totals["leaf-24-0001"], book.points["leaf-24-0001"][-1], chemistry="LMO", km_share=1.0)
    assert rules(*found) == [Rule.PACK_HOT]
