"""Signals become one row a second, and charge and energy are counted between."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packbox.core import sample as sampling
from packbox.core.sample import Col, Samples, SampleState, Sum
from packbox.core.signals import Decoded, Signal
from packbox.core.stamp import NS_PER_S

Points = Mapping[str, list[tuple[float, float]]]  # quantity -> (seconds, value)


def take(points: Points, state: SampleState | None = None) -> tuple[SampleState, Samples]:
    """Samples of hand-made signals."""
    signals = {
        name: Signal(np.array([round(s * NS_PER_S) for s, _ in said], np.int64), np.array([v for _, v in said], float))
        for name, said in points.items()
    }
    seconds = np.unique(np.concatenate([s.mono_ns // NS_PER_S for s in signals.values()]))
    return sampling.sample(state or sampling.start(), seconds, Decoded(signals))


def moved(samples: Samples, what: Sum) -> float:
    return float(samples.total[-1, what] - samples.total[0, what])


def test_a_second_holds_mean_extremes_and_last_values() -> None:
    _, samples = take(
        {
            "pack_current_a": [(5.0, -10.0), (5.4, -30.0), (5.8, 4.0)],
            "soc_bms_pct": [(5.1, 60.5), (5.9, 60.4)],
            "cell_voltage_min_v": [(5.0, 3.61), (5.5, 3.58)],
        }
    )
    one = samples.at(0)
    assert (one.second, one.current_a, one.current_low_a, one.current_high_a) == (5, -12.0, -30.0, 4.0)
    assert (one.soc_pct, one.cell_low_v) == (60.4, 3.58)
    assert (one.voltage_v, one.speed_kmh, one.temp_degc) == (None, None, None)


def test_charge_is_the_area_under_the_current_at_its_own_rate() -> None:
    """A 100 Hz acceleration must not be lost in one-second means."""
    t = np.arange(0, 60, 0.01)
    amps = -200 * np.sin(t / 5) ** 2
    _, samples = take({"pack_current_a": list(zip(t.tolist(), amps.tolist(), strict=True))})
    assert moved(samples, Sum.CHARGE_OUT_AH) == pytest.approx(-np.trapezoid(amps, t) / 3600, rel=1e-12)
    assert moved(samples, Sum.CHARGE_IN_AH) == 0.0


def test_a_step_through_zero_is_split_at_zero() -> None:
    """Charge in and out are kept apart also within one step: regeneration would vanish otherwise."""
    _, samples = take({"pack_current_a": [(0.0, -10.0), (4.0, 30.0)]})
    assert moved(samples, Sum.CHARGE_OUT_AH) == pytest.approx(10 * 1 / 2 / 3600)
    assert moved(samples, Sum.CHARGE_IN_AH) == pytest.approx(30 * 3 / 2 / 3600)


def test_energy_uses_the_newest_voltage() -> None:
    _, samples = take(
        {"pack_current_a": [(k, 10.0) for k in range(11)], "pack_voltage_v": [(0.0, 400.0), (5.0, 380.0)]}
    )
    five_s = 5 / 3600
    assert moved(samples, Sum.ENERGY_IN_WH) == pytest.approx(10 * (400 * 4 + 390 + 380 * 5) / 3600, rel=1e-9)
    assert moved(samples, Sum.OBSERVED_S) == pytest.approx(10)
    assert five_s > 0


def test_without_voltage_charge_moves_and_energy_is_not_made_up() -> None:
    _, samples = take({"pack_current_a": [(0.0, 10.0), (1.0, 10.0)]})
    assert moved(samples, Sum.CHARGE_IN_AH) == pytest.approx(10 / 3600)
    assert moved(samples, Sum.ENERGY_IN_WH) == 0.0


@pytest.mark.parametrize(("pause_s", "expected_s"), [(9.0, 9.0), (10.0, 10.0), (10.5, 0.0)])
def test_nothing_is_integrated_over_more_than_ten_seconds(pause_s: float, expected_s: float) -> None:
    """Unseen charge is not made up."""
    _, samples = take({"pack_current_a": [(0.0, 36.0), (pause_s, 36.0)]})
    assert moved(samples, Sum.OBSERVED_S) == expected_s
    assert moved(samples, Sum.CHARGE_IN_AH) == pytest.approx(36 * expected_s / 3600)


def test_a_slow_bus_is_awake_and_a_silent_one_is_not() -> None:
    _, samples = take({"soc_bms_pct": [(0.0, 50.0), (5.0, 50.0), (30.0, 50.0)]})
    assert samples.span_s.tolist() == [1, 5, 1]
    assert samples.gap_s.tolist() == [0, 0, 24]
    assert moved(samples, Sum.AWAKE_S) == 7


@pytest.mark.parametrize(
    ("quantity", "col", "hold_s"),
    [("speed_kmh", Col.SPEED_KMH, 10), ("soc_bms_pct", Col.SOC_PCT, 120), ("pack_temp_mean_degc", Col.TEMP_DEGC, 600)],
)
def test_a_value_is_held_as_long_as_its_source_may_be_silent(quantity: str, col: Col, hold_s: int) -> None:
    """Polled values come rarely; a value too old is unknown, not last month's."""
    _, samples = take({quantity: [(0.0, 7.0)], "aux_voltage_v": [(hold_s - 1.0, 12.0), (float(hold_s), 12.0)]})
    assert samples.column(col)[1] == 7.0
    assert np.isnan(samples.column(col)[2])


def test_a_broken_clock_stops_counting_and_forgets() -> None:
    state, _ = take({"pack_current_a": [(0.0, 36.0), (1.0, 36.0)], "soc_bms_pct": [(0.0, 50.0)]})
    _, samples = take({"pack_current_a": [(2.0, 36.0)]}, sampling.after_break(state, forget=True))
    assert moved(samples, Sum.CHARGE_IN_AH) == 0.0
    assert (samples.broken.tolist(), samples.at(0).soc_pct) == ([True], None)


def test_temperature_is_the_middle_where_the_car_tells_only_extremes() -> None:
    _, samples = take({"pack_temp_min_degc": [(0.0, 10.0)], "pack_temp_max_degc": [(0.0, 14.0)]})
    assert samples.at(0).temp_degc == 12.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pack_current_a", "pack_voltage_v", "soc_bms_pct"]), st.floats(0, 40), st.floats(-400, 400)
        ),
        min_size=2,
        max_size=60,
    ),
    st.integers(1, 40),
)
def test_rows_do_not_depend_on_how_seconds_are_handed_over(said: list[tuple[str, float, float]], cut_s: int) -> None:
    """Float by float: the signed history rests on it."""
    said = sorted(said, key=lambda one: one[1])
    points: dict[str, list[tuple[float, float]]] = {}
    halves: tuple[dict[str, list[tuple[float, float]]], ...] = ({}, {})
    for name, at_s, value in said:
        points.setdefault(name, []).append((at_s, value))
        halves[int(at_s) >= cut_s].setdefault(name, []).append((at_s, value))
    if not all(halves):
        return

    _, whole = take(points)
    state, first = take(halves[0])
    _, second = take(halves[1], state)

    assert np.array_equal(whole.value, np.vstack((first.value, second.value)), equal_nan=True)
    assert np.array_equal(whole.total, np.vstack((first.total, second.total[1:])))
    assert np.array_equal(whole.gap_s, np.concatenate((first.gap_s, second.gap_s)))
