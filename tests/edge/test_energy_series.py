"""The car's own count of energy, carried to a full pack: beside the capacity, never in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from packbox.core import sample as sampling
from packbox.core.sample import Samples
from packbox.core.signals import Decoded, Signal
from packbox.core.soh import energy_series
from packbox.core.soh.energy_series import GID_KWH, SETTLED_N, EnergyFull, EnergySeriesState
from packbox.core.soh.method import SessionEnd
from packbox.core.soh.reading import EnergyLeft, as_sent
from packbox.core.stamp import NS_PER_S

FULL_GID, EMPTY_GID = 244.0, -31.0  # of a real Leaf of 2013 in 2017


def samples(**told: Sequence[float]) -> Samples:
    """Values second by second, by the names of quantities; NaN is not told."""
    n = len(next(iter(told.values())))
    second = np.arange(1, n + 1)
    signals = {}
    for name, values in told.items():
        value = np.array(values, np.float64)
        known = ~np.isnan(value)
        signals[name] = Signal(second[known] * NS_PER_S, value[known])
    return sampling.sample(sampling.start(), second, Decoded(signals))[1]


def gids(soc: np.ndarray, full: float = FULL_GID) -> np.ndarray:
    """As the car says them: whole ones."""
    return np.rint(EMPTY_GID + (full - EMPTY_GID) * soc / 100.0)


def drive(state: EnergySeriesState, number: int, begin: float, end: float, full: float = FULL_GID) -> EnergySeriesState:
    soc = np.linspace(begin, end, 60)
    state = energy_series.watch(state, samples(soc_bms_pct=soc, energy_left_gid=gids(soc, full)))
    return close(state, number)


def close(state: EnergySeriesState, number: int) -> EnergySeriesState:
    state, readings = energy_series.take(state)
    for reading in readings:
        state = energy_series.use(state, reading, SessionEnd(number, 86_400 * number))
    return state


def told(state: EnergySeriesState, at_s: float = 0.0) -> tuple[float, float]:
    said = energy_series.estimate(state, at_s)
    assert said.energy_full_kwh is not None
    assert said.sigma_kwh is not None
    return said.energy_full_kwh, said.sigma_kwh


def test_without_a_count_of_energy_it_says_so() -> None:
    """Most cars tell none, and nobody may take that for an empty pack."""
    state = close(energy_series.watch(EnergySeriesState(), samples(soc_bms_pct=[80.0, 79.0])), 1)
    assert energy_series.estimate(state, 0.0) == EnergyFull(
        why="the car told no energy left beside an SoC of 30 % or more"
    )


def test_where_on_the_scale_a_car_is_used_does_not_change_its_energy() -> None:
    """A quotient of gids and SoC reads 15 % less at 40 % than when full: a pack would seem to age by commuting."""
    state = EnergySeriesState()
    for number in range(1, 40):
        state = drive(state, number, 95.0, 40.0) if number % 2 else drive(state, number, 70.0, 35.0)
    full_kwh, sigma_kwh = told(state, 40 * 86_400.0)
    assert full_kwh == pytest.approx(FULL_GID * GID_KWH, rel=0.005)
    assert 0.029 < sigma_kwh / full_kwh < 0.04


def test_a_single_look_is_wide_enough_for_what_it_cannot_know() -> None:
    """One glance at 50 %: the empty end may be anywhere."""
    full_kwh, sigma_kwh = told(drive(EnergySeriesState(), 1, 51.0, 50.0))
    assert abs(full_kwh - FULL_GID * GID_KWH) < 1.645 * sigma_kwh


def test_ageing_is_followed() -> None:
    state = EnergySeriesState()
    for number in range(1, 800):
        state = drive(state, number, 95.0, 40.0, FULL_GID * (1.0 - 0.06 * number / 800))
    assert told(state, 800 * 86_400.0)[0] == pytest.approx(0.94 * FULL_GID * GID_KWH, rel=0.01)


def test_one_absurd_count_moves_nothing_and_a_lasting_one_is_believed() -> None:
    """A torn value is no ageing; a workshop's new software, or another pack, is no mistake for ever."""
    state = EnergySeriesState()
    for number in range(1, SETTLED_N + 5):
        state = drive(state, number, 95.0, 40.0)
    before_kwh = told(state)[0]
    state = drive(state, 20, 95.0, 93.0, 2.0 * FULL_GID)
    assert told(state)[0] == before_kwh
    for number in range(21, 60):
        state = drive(state, number, 95.0, 40.0, 1.4 * FULL_GID)
    assert told(state)[0] == pytest.approx(1.4 * FULL_GID * GID_KWH, rel=0.01)


def test_kilowatt_hours_take_the_place_of_gids() -> None:
    """Nobody publishes how large a gid is; a car that tells both is read by the better one, from the first on."""
    soc = np.linspace(90.0, 60.0, 30)
    kwh = np.where(np.arange(30) < 10, np.nan, 0.2 * soc)
    state = drive(EnergySeriesState(), 1, 95.0, 40.0)
    state = close(
        energy_series.watch(state, samples(soc_bms_pct=soc, energy_left_gid=gids(soc), energy_left_kwh=kwh)), 2
    )
    assert energy_series.estimate(state, 0.0).gids is False
    assert told(state)[0] == pytest.approx(20.0, rel=0.005)
    assert energy_series.estimate(state, 0.0).evidence == (2,)


@pytest.mark.parametrize(
    "row",
    [
        {"soc_bms_pct": 25.0},
        {"energy_left_gid": 0.0},
        {"pack_temp_mean_degc": 4.0},
    ],
)
def test_what_is_no_reading(row: dict[str, float]) -> None:
    """The bent end of the scale, an empty count, a pack that the cold keeps from giving what it holds."""
    honest = {"soc_bms_pct": 60.0, "energy_left_gid": 134.0, "pack_temp_mean_degc": 20.0}
    good = energy_series.take(energy_series.watch(EnergySeriesState(), samples(**{k: [v] for k, v in honest.items()})))
    bad = energy_series.watch(EnergySeriesState(), samples(**{k: [v] for k, v in (honest | row).items()}))
    assert good[1] == (as_sent(EnergyLeft(134 * GID_KWH, 60.0, gids=True, bms=True)),)
    assert energy_series.take(bad)[1] == ()


def test_how_samples_are_cut_into_calls_does_not_matter() -> None:
    """A box that restarts at any row says the same."""
    soc = np.array([np.nan, 70.0, 69.0, 71.0, 71.0, 60.0, 60.0, 33.0, 20.0, 40.0])
    shown = soc + 3.0
    kwh = np.array([np.nan, np.nan, np.nan, 14.2, 14.3, 12.0, 12.1, 6.6, 4.0, 8.0])
    whole = samples(soc_bms_pct=soc, soc_shown_pct=shown, energy_left_gid=gids(shown), energy_left_kwh=kwh)
    once = energy_series.watch(EnergySeriesState(), whole)
    for cut in range(1, len(whole)):
        twice = energy_series.watch(EnergySeriesState(), whole.cut(0, cut))
        assert energy_series.watch(twice, whole.cut(cut, len(whole))) == once
    assert [reading.soc_pct for reading in energy_series.take(once)[1]] == [33.0, 71.0]


def test_a_count_of_something_else_gives_no_value() -> None:
    """A count of the energy drawn instead of that left, for example."""
    state = EnergySeriesState()
    for number in range(1, 30):
        for soc_pct in (90.0, 40.0):
            reading = EnergyLeft(25.0 * (1.02 - soc_pct / 100.0), soc_pct, gids=False, bms=True)
            state = energy_series.use(state, reading, SessionEnd(number, number))
    assert energy_series.estimate(state, 0.0) == EnergyFull(why="the energy left does not go with the SoC")
