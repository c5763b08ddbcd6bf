"""Learn from a fleet how its batteries age, and how far such forecasts may be believed.

In:  the courses of vehicles of one kind.
Out: an `AgeingModel` with its conformal factors; the published prior where the fleet is too small.
Ridge fits of every vehicle, each shrunk towards the fleet; wander and reading error by marginal likelihood. Then each
vehicle is forecast by the others, and the intervals are widened until they hold what came (facts/soh.md §12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import Final

import numpy as np

from packbook.core.forecast import (
    PRIOR,
    PRIOR_SD,
    READINGS_MIN,
    SIGMAS_90,
    AgeingModel,
    Course,
    FloatArray,
    log_density,
    noise_of,
    outlook,
    predict,
    shapes_at,
)

FLEET_MIN: Final = 4  # vehicles; fewer say too little about how vehicles differ
# What learning may choose from: marginal likelihood is flat between neighbours.
WANDER_SD_PCT: Final = (0.3, 0.6, 0.9, 1.2, 1.6, 2.2)
WANDER_TAU_YEARS: Final = (0.15, 0.3, 0.6, 1.2)
READING_SD_PCT: Final = (0.3, 1.0)
PASSES: Final = 20  # of mean and spread over the fleet; the estimate stands still after about ten
SPREAD_PRIOR_WEIGHT: Final = 2.0  # vehicles' worth of belief that vehicles differ half as much as models do

CALIBRATE_EVERY_YEARS: Final = 0.25
CALIBRATE_AHEAD_YEARS: Final = (0.5, 1.0, 1.5)  # a forecast is judged over the next year and a half, in three parts
CALIBRATE_ERRORS_MIN: Final = 12  # for a part to have a factor of its own


def learn(fleet: Sequence[Course]) -> AgeingModel:
    """The ageing of this fleet, with its conformal factor; the published prior where the fleet is too small."""
    usable = [seen for seen in fleet if seen.years.size >= READINGS_MIN]
    if len(usable) < FLEET_MIN:
        return PRIOR
    fitted = max(
        (_fit(usable, *choice) for choice in product(WANDER_SD_PCT, WANDER_TAU_YEARS, READING_SD_PCT)),
        key=lambda fit: fit[0],
    )[1]
    return _calibrated(usable, fitted)


def _fit(
    fleet: Sequence[Course], wander_sd_pct: float, tau_years: float, reading_sd_pct: float
) -> tuple[float, AgeingModel]:
    """Mean and spread of the vehicles' ridge fits (each shrunk towards the fleet), and the likelihood of it all."""
    noises = [noise_of(seen, wander_sd_pct, tau_years, reading_sd_pct) for seen in fleet]
    inverses = [np.linalg.inv(noise) for noise in noises]
    shapes = [shapes_at(seen.years) for seen in fleet]
    weight = np.array([x.T @ inverse @ x for x, inverse in zip(shapes, inverses, strict=True)])  # (v, 3, 3)
    pull = np.array([x.T @ inverse @ s.soh_pct for x, inverse, s in zip(shapes, inverses, fleet, strict=True)])
    believed = SPREAD_PRIOR_WEIGHT * np.diag(np.square(np.array(PRIOR_SD) / 2.0))
    mean, spread = _pooled(weight, pull), PRIOR.spread
    for _ in range(PASSES):
        stiffness = np.linalg.inv(spread)
        errors = np.linalg.inv(weight + stiffness)
        fits = np.einsum("vij,vj->vi", errors, pull + stiffness @ mean)
        mean = fits.mean(axis=0)
        apart = fits - mean
        spread = (errors.sum(axis=0) + apart.T @ apart + believed) / (len(fleet) + SPREAD_PRIOR_WEIGHT)
    likelihood = sum(
        _log_likelihood(seen, x, noise, mean, spread) for seen, x, noise in zip(fleet, shapes, noises, strict=True)
    )
    return likelihood, AgeingModel(
        mean, spread, wander_sd_pct, tau_years, reading_sd_pct, PRIOR.factor, PRIOR.factor_low, len(fleet)
    )


def _pooled(weight: FloatArray, pull: FloatArray) -> FloatArray:
    """One curve through all vehicles, held by the prior where the fleet's ages do not tell the coefficients apart."""
    stiffness = np.linalg.inv(PRIOR.spread)
    pooled: FloatArray = np.linalg.solve(weight.sum(axis=0) + stiffness, pull.sum(axis=0) + stiffness @ PRIOR.mean)
    return pooled


def _log_likelihood(seen: Course, shapes: FloatArray, noise: FloatArray, mean: FloatArray, spread: FloatArray) -> float:
    return log_density(seen.soh_pct - shapes @ mean, shapes @ spread @ shapes.T + noise)


def _calibrated(fleet: Sequence[Course], fitted: AgeingModel) -> AgeingModel:
    """Forecast each vehicle from several ages with what the others teach, and widen until the errors fit."""
    errors = np.array([error for left_out in range(len(fleet)) for error in _errors_of(fleet, left_out, fitted)])
    if len(errors) < 2 * len(fleet):  # records too short to judge a forecast by
        return fitted
    ahead, missed = errors.T
    parts = [missed[(ahead > last) & (ahead <= until)] for last, until in pairwise((0.0, *CALIBRATE_AHEAD_YEARS))]
    return replace(fitted, factor=_factors([np.abs(part) for part in parts], 0.90), factor_low=_factors(parts, 0.95))


def _factors(parts: Sequence[FloatArray], share: float) -> tuple[float, ...]:
    """One factor for each part of the way ahead, never falling with distance."""
    known = np.concatenate(parts)
    own = [part if part.size >= CALIBRATE_ERRORS_MIN else known for part in parts]
    factors = np.array([np.quantile(part, share) for part in own]) / SIGMAS_90
    return tuple(np.maximum.accumulate(factors).tolist())


def _errors_of(fleet: Sequence[Course], left_out: int, fitted: AgeingModel) -> list[tuple[float, float]]:
    """(years ahead, (forecast - truth) / sd) of one vehicle, from every quarter year on."""
    own = fleet[left_out]
    others = [*fleet[:left_out], *fleet[left_out + 1 :]]
    model = _fit(others, fitted.wander_sd_pct, fitted.wander_tau_years, fitted.reading_sd_pct)[1]
    found: list[tuple[float, float]] = []
    for start in np.arange(own.years[0] + 2 * CALIBRATE_EVERY_YEARS, own.years[-1], CALIBRATE_EVERY_YEARS):
        seen = replace(own.until(start), persistent_sd_pct=0.0)
        ahead = (own.years > start) & (own.years <= start + CALIBRATE_AHEAD_YEARS[-1])
        if ahead.any():
            mean, sd = predict(outlook(seen, model), own.years[ahead])
            found.extend(zip(own.years[ahead] - start, (mean - own.soh_pct[ahead]) / sd, strict=True))
    return found
