"""Fleets invented for examining the forecast: their fading shares no equation with the model that forecasts it.

A battery loses something every month: what forming its cells still costs (dying away), what its use costs (its own
pace, more in warm months), and past its own limit of loss, if it has one, more every month. Readings err by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packbook.core.forecast import FloatArray


@dataclass(frozen=True, slots=True)
class Kind:
    """What the vehicles of a fleet have in common."""

    pace_pct: float  # lost a year by use, at the middle of the fleet
    pace_sd_pct: float = 0.5
    forming_pct: float = 2.5  # lost in the first year or so
    knee_pct: float | None = None  # of loss, at the middle of the fleet, from which it goes faster and faster
    reading_sd_pct: float = 0.3
    age_years: float = 1.0  # at the first reading
    step_pct: float = 0.0  # readings are multiples of this; 0: as they are


KINDS = {
    "slow": Kind(1.0, 0.3),
    "usual": Kind(2.2, 0.6),
    "fast": Kind(6.0, 0.8),
    "kneed": Kind(3.5, 0.6, knee_pct=14.0),
    "noisy": Kind(2.5, 0.6, reading_sd_pct=1.5),
    "whole percents": Kind(2.2, 0.6, step_pct=1.0),
    "old": Kind(2.0, 0.5, age_years=6.0),
}


def invented_fleet(kind: Kind, vehicles: int = 12, months: int = 42, seed: int = 1) -> list[FloatArray]:
    """SoH in percent of every vehicle, one reading a month. Each of shape (months,)."""
    dice = np.random.default_rng(seed)
    return [_vehicle(kind, months, dice) for _ in range(vehicles)]


def _vehicle(kind: Kind, months: int, dice: np.random.Generator) -> FloatArray:
    pace = max(0.2, dice.normal(kind.pace_pct, kind.pace_sd_pct))
    forming = max(0.0, dice.normal(kind.forming_pct, 0.5))
    knee = np.inf if kind.knee_pct is None else dice.normal(kind.knee_pct, 2.0)
    before = round(kind.age_years * 12)
    lost, extra, found = dice.normal(0.0, 0.7), 0.0, []
    for month in range(before + months):
        warmth = 1.0 + 0.4 * np.sin(2.0 * np.pi * month / 12.0)
        extra += 0.02 if lost > knee else 0.0
        lost += pace / 12.0 * warmth * dice.uniform(0.5, 1.5) + forming / 8.0 * np.exp(-month / 8.0) + extra
        if month >= before:
            found.append(100.0 - lost + dice.normal(0.0, kind.reading_sd_pct))
    soh = np.array(found)
    return soh if kind.step_pct == 0.0 else np.round(soh / kind.step_pct) * kind.step_pct
