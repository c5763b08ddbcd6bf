"""Charge cycles by depth: against the `rainflow` package, and while they happen."""

from __future__ import annotations

import numpy as np
import pytest
import rainflow as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from packbox.core import rainflow
from packbox.core.rainflow import DEPTH_EDGES_PCT, SWING_MIN_PCT

# Steps of 2 % are above the swing that is ignored, so that the oracle and we see the same turning points.
series = st.lists(st.integers(0, 50).map(lambda k: 2.0 * k), min_size=3, max_size=80)  # the oracle wants three points


def expected(soc: list[float]) -> np.ndarray:
    """The oracle's cycles in our bins."""
    counts = np.zeros((7, 10), int)
    for depth, mean, count, _, _ in oracle.extract_cycles(soc):
        if depth == 0:  # of a flat line
            continue
        row = np.searchsorted(DEPTH_EDGES_PCT[1:-1], depth, side="right")
        counts[row, min(int(mean // 10), 9)] += round(2 * count)
    return counts


@settings(max_examples=300, deadline=None)
@given(series)
def test_cycles_are_those_of_the_rainflow_package(soc: list[float]) -> None:
    """An independent implementation of ASTM E1049 counts the same."""
    assert rainflow.counted(rainflow.feed(rainflow.start(), np.array(soc))).tolist() == expected(soc).tolist()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 100).map(lambda x: round(x, 1)), min_size=1, max_size=120), st.data())
def test_counting_while_it_happens_is_counting_at_the_end(soc: list[float], data: st.DataObject) -> None:
    """Cut anywhere, the state is the same."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(soc)), max_size=10)))
    whole = rainflow.feed(rainflow.start(), np.array(soc))
    state = rainflow.start()
    for low, high in zip([0, *cuts], [*cuts, len(soc)], strict=True):
        if high > low:
            state = rainflow.feed(state, np.array(soc[low:high]))
    assert (state.turns, state.tip, state.rising) == (whole.turns, whole.tip, whole.rising)
    assert state.counts.tolist() == whole.counts.tolist()


def test_a_commute_is_one_full_cycle_a_day() -> None:
    """80 to 50 and back, five days, is five cycles of 30 % around 65 %; the last stays open as a half."""
    soc = np.array([80, 50] * 5 + [80], float)
    counts = rainflow.counted(rainflow.feed(rainflow.start(), soc))
    assert counts.sum() == 10
    assert counts[3, 6] == 10


def test_noise_below_one_percent_is_no_cycle() -> None:
    soc = 60 + 0.4 * np.tile([0.0, 1.0], 500)
    assert rainflow.counted(rainflow.feed(rainflow.start(), soc)).sum() == 0
    assert SWING_MIN_PCT == 1.0


def test_the_state_stays_small_whatever_happens() -> None:
    """A year of driving must not grow what is written every ten seconds."""
    soc = np.random.default_rng(1).uniform(0, 100, 200_000)
    assert len(rainflow.feed(rainflow.start(), soc).turns) < 200


@pytest.mark.parametrize("soc", [-1.0, 106.0])
def test_soc_beyond_the_scale_falls_into_the_outer_bands(soc: float) -> None:
    """Cars say 102 %."""
    counts = rainflow.counted(rainflow.feed(rainflow.start(), np.array([soc, 50.0])))
    assert counts.sum() == 1
