"""No page claims more than the data support."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packbook.core.history import SOC_BANDS_PCT, TEMP_EDGES_DEGC
from packbook.core.rounding import ShownSoh
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import session_row, soh_point
from packbook.web import figures, headline


def shown(value: float, lo: float, hi: float) -> ShownSoh | None:
    return figures.shown_soh(soh_point(soh_pct=value, lo90_pct=lo, hi90_pct=hi))


def test_a_settled_figure_is_shown_in_half_points() -> None:
    """facts/soh.md §13: display in 0.5 pp steps."""
    assert shown(86.37, 84.27, 88.47) == ShownSoh(86.5, 2.5, 84.0, 88.5, digits=1)


def test_a_wide_figure_is_shown_in_whole_points_and_a_very_wide_one_in_fives() -> None:
    """Never more digits than the interval supports."""
    assert shown(86.37, 79.0, 93.7) == ShownSoh(86.0, 8.0, 79.0, 94.0, digits=0)
    assert shown(86.37, 72.0, 99.0) == ShownSoh(85.0, 15.0, 70.0, 100.0, digits=0)


def test_a_new_battery_above_a_hundred_is_shown_as_a_hundred() -> None:
    """facts/soh.md §2: clip the displayed value, never the stored one."""
    assert shown(102.3, 99.2, 105.4) == ShownSoh(100.0, 3.5, 99.0, 100.0, digits=1)


@pytest.mark.parametrize("missing", [{"soh_pct": None}, {"lo90_pct": None, "sigma_pct": None}])
def test_a_figure_without_its_uncertainty_is_not_shown(missing: dict[str, None]) -> None:
    """A bare number looks exact, and nothing is."""
    assert figures.shown_soh(soh_point(**missing)) is None


def test_the_interval_follows_from_sigma_where_the_ends_are_missing() -> None:
    """Older boxes may send sigma alone."""
    assert figures.interval_pct(soh_point(soh_pct=80.0, sigma_pct=2.0, lo90_pct=None)) == pytest.approx((76.71, 83.29))


@given(st.floats(0, 130), st.floats(0.01, 30), st.floats(0.01, 30))
def test_rounding_never_narrows_the_interval(value: float, below: float, above: float) -> None:
    """An owner who reads our bounds must not be told more than we know."""
    seen = shown(value, value - below, value + above)
    assert seen is not None
    assert seen.lo_pct <= max(0.0, min(100.0, value - below)) + 1e-6
    assert seen.hi_pct >= min(100.0, value + above) - 1e-6
    assert seen.half_pct >= (below + above) / 2 - 1e-6


@given(st.floats(20, 110), st.floats(0.1, 20), st.none() | st.floats(0, 120))
def test_the_ruler_keeps_its_marks_on_the_scale(value: float, half: float, reported: float | None) -> None:
    """A mark drawn outside the picture is a figure nobody sees."""
    seen = shown(value, value - half, value + half)
    assert seen is not None
    ruler = headline.ruler(seen, reported)
    places = [ruler.lo, ruler.value, ruler.hi, *(p for p, _ in ruler.ticks)] + (
        [] if reported is None else [ruler.reported]
    )
    assert all(place is not None and 0.0 <= place <= ruler.units for place in places)
    assert ruler.lo <= ruler.value <= ruler.hi


@pytest.mark.parametrize(
    ("state", "soh_pct", "told"),
    [
        ("ok", 86.0, "ok"),
        ("ok", None, "none"),
        ("learning", None, "none"),
        ("replaced", None, "replaced"),
        ("none", 86.0, "learning"),
        ("from-a-newer-box", 86.0, "learning"),
    ],
)
def test_the_words_fit_the_figure(state: str, soh_pct: float | None, told: str) -> None:
    """ "Settled" beside no figure at all would be nonsense."""
    assert headline.headline(soh_point(state=state, soh_pct=soh_pct)).state == told


def test_bands_touch_each_other_and_leave_no_hole() -> None:
    """A second that falls between two bands would vanish from the page."""
    for bands in (figures.TEMP_BAND_EDGES, figures.C_RATE_BAND_EDGES, figures.DEPTH_BAND_EDGES):
        assert all(low[1] == high[0] for low, high in itertools.pairwise(bands))
    assert len(figures.TEMP_BAND_EDGES) == len(TEMP_EDGES_DEGC) + 1
    assert figures.TEMP_BAND_EDGES[0] == (None, -10.0)
    assert figures.C_RATE_BAND_EDGES[0] == (0.0, 0.1)
    assert figures.C_RATE_BAND_EDGES[-1] == (3.0, None)


async def test_sums_keep_every_second(book: MemoryHistories) -> None:
    """The temperature chart and the stress map show the same hours."""
    usage = await book.usage("leaf-24-0001")
    assert usage is not None
    rows = figures.grid(usage.soc_temp_s, figures.TEMP_BANDS)
    assert len(rows) == len(SOC_BANDS_PCT)
    assert sum(figures.row_sums(rows)) == sum(figures.column_sums(rows)) == sum(usage.soc_temp_s)


def test_full_and_hot_counts_only_what_is_both() -> None:
    """Full at 20 degC, or 35 degC at half charge, is not what the warning is about."""
    cells = [0] * 90
    cells[9 * 9 + 5] = 60  # 90-100 %, 30-40 degC
    cells[9 * 9 + 4] = 20  # 90-100 %, 20-30 degC
    cells[5 * 9 + 5] = 20  # 50-60 %, 30-40 degC
    assert figures.stressed_share(figures.grid(cells, 9)) == pytest.approx(0.6)
    assert figures.stressed_share(figures.grid([0] * 90, 9)) is None


def test_consumption_leaves_out_drives_of_unknown_length() -> None:
    """Energy without its kilometres would make the car look thirsty."""
    known = session_row("drive", energy_out_wh=3000.0, energy_in_wh=500.0, distance_km=20.0)
    lost = session_row("drive", energy_out_wh=9000.0)
    assert figures.consumption_kwh_100km([known, lost]) == pytest.approx(12.5)
    assert figures.consumption_kwh_100km([lost]) is None


def test_coverage_falls_back_on_the_newest_soh() -> None:
    """Coverage is published with every SoH, also before the first daily totals."""
    seen = figures.coverage(None, soh_point(observed_s=60.0, inferred_s=30.0, unobserved_s=10.0, observed_km=5.0))
    assert seen is not None
    assert (seen.share, seen.observed_km, seen.km_share) == (pytest.approx(0.9), 5.0, None)
    assert figures.coverage(None, None) is None
