"""Say where a battery's health is going, how sure that is, and when it passes a threshold.

In:  a `Course`: readings of SoH over age, oldest first; and what other vehicles taught (`AgeingModel`).
Out: mean and standard deviation at any later age, and the first passage below a threshold as 5/50/95 points.
The model (facts/soh.md §12): SoH = b0 + b1 t + b2 sqrt(t) + d(t), t in years since manufacture, d a wander that forgets
(Ornstein-Uhlenbeck). Conditioning on all readings at once gives what a Kalman filter gives, quicker for few readings.
It sees no knee that is not in the readings or in the other vehicles; `core.guarantee` refuses where one shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SIGMAS_90: Final = 1.645  # half-width of the central 90 % of a normal distribution; also its one-sided 95 %
# The sensor's gain error, which no number of readings averages out (facts/soh.md §6, §12).
PERSISTENT_SD_PCT: Final = 0.8
LIFE_MAX_YEARS: Final = 15.0  # beyond it a number would be invention (facts/soh.md §12)
PATHS: Final = 2000  # drawn for first passages: the 5 % point then rests on a hundred of them
READINGS_MIN: Final = 6  # of a vehicle to learn from: half a year
AGE_INFERRED_MAX_YEARS: Final = 12.0
MONTHS_A_YEAR: Final = 12.0
MILEAGE_SPAN_MIN_YEARS: Final = 1.0 / 6.0  # over less, one holiday trip would be taken for a habit
KM_A_YEAR_MIN: Final = 100.0  # a car that stands has no pace to go by

FACTOR_AT_YEARS: Final = (0.25, 0.75, 1.25)  # ahead; the middles of the half years that forecasts are judged over


@dataclass(frozen=True, slots=True, eq=False)
class AgeingModel:
    """How batteries of a kind age. Coefficients b0, b1, b2 in percent, percent a year, percent a root year."""

    mean: FloatArray  # (3,)
    spread: FloatArray  # (3, 3), covariance between vehicles
    wander_sd_pct: float
    wander_tau_years: float
    reading_sd_pct: float
    factor: tuple[float, ...]  # conformal, at FACTOR_AT_YEARS ahead: the model's sd times this covers what it says
    factor_low: tuple[float, ...]  # the same for the lower side alone, where knees break promises
    vehicles: int  # learned from; 0: published prior
    version: str = ""  # by which a forecast can be recomputed; none for what a table taught just now


PRIOR_SD: Final = (1.5, 1.2, 2.5)
# Private car of unknown model (facts/soh.md §12); 1.3 is the factor to use without a fleet.
PRIOR: Final = AgeingModel(
    np.array([100.0, -1.5, -3.5]),
    np.diag(np.square(PRIOR_SD)),
    0.9,
    0.6,
    0.3,
    (1.3,) * 3,
    (1.3,) * 3,
    vehicles=0,
    version="prior/1",
)
# An age read off the SoH itself is worth less than a documented one: b0 must give way to it.
LEVEL_SD_AGE_INFERRED_PCT: Final = 3.0

# A battery may be unlike what the model knows, and its readings rougher: each step away must raise the log-likelihood.
SPREAD_FACTORS: Final = (1.0, 2.0, 3.0)
READING_SD_ROUGH_PCT: Final = (1.0, 2.0)
STEP_COST: Final = 0.5
OUTLIER_AMONG: Final = 5  # readings to a reading that may be set aside
OUTLIER_SIGMAS: Final = 5.0
MEDIAN_OF_NORMAL: Final = 0.6745  # of |x|, in standard deviations
RISE_MIN_PCT: Final = 6.0  # a battery management that learned anew gained 10 and more (facts/soh.md §14)
RISE_READINGS_MIN: Final = 2  # after it; one alone may be an outlier


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Readings of one battery. `years`: age at each, rising, shape (n,), n >= 1; `soh_pct`: shape (n,)."""

    years: FloatArray
    soh_pct: FloatArray
    age_documented: bool
    extra_sd_pct: FloatArray | None = None  # (n,), by which a reading is less sure than the newest; None: alike
    persistent_sd_pct: float = PERSISTENT_SD_PCT  # error that all readings share

    def __post_init__(self) -> None:
        assert self.years.shape == self.soh_pct.shape
        assert self.years.size
        assert self.years[0] >= 0.0
        assert np.all(np.diff(self.years) > 0)

    def until(self, years: float) -> Course:
        kept = self.years <= years
        extra = None if self.extra_sd_pct is None else self.extra_sd_pct[kept]
        return replace(self, years=self.years[kept], soh_pct=self.soh_pct[kept], extra_sd_pct=extra)


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What is believed at the newest reading: state (b0, b1, b2, d), and the model that carries it on."""

    model: AgeingModel
    years: float
    state: FloatArray  # (4,)
    covariance: FloatArray  # (4, 4)
    persistent_sd_pct: float


@dataclass(frozen=True, slots=True)
class Passage:
    """First time below a threshold, from the newest reading: 5, 50, 95 % points. None: beyond LIFE_MAX_YEARS."""

    threshold_pct: float
    years: tuple[float | None, float | None, float | None]
    km: tuple[float | None, float | None, float | None] | None  # None: no odometer to go by


@dataclass(frozen=True, slots=True)
class Mileage:
    """Distance a year from the odometer, with its standard error."""

    km_a_year: float
    sd_km_a_year: float


def age_inferred_years(soh_pct: float) -> float:
    """The age at which the prior's mean path stands at this SoH: for batteries whose manufacture nobody wrote down."""
    level, slope, root = PRIOR.mean
    lost_pct = max(0.0, level - soh_pct)
    root_years = (root + np.sqrt(root * root + 4.0 * -slope * lost_pct)) / (2.0 * -slope)
    return float(min(root_years * root_years, AGE_INFERRED_MAX_YEARS))


def course(
    years_since_first: Sequence[float], soh_pct: Sequence[float], age_at_first_years: float | None = None
) -> Course:
    """From the last rise on, if there is one. Without a documented age it is inferred from the first three readings,
    against the noise of one; what came with a rise may be another pack of another age."""
    first = since_rise(soh_pct)
    age = age_at_first_years
    if first:
        since_first = [years - years_since_first[first] for years in years_since_first[first:]]
        return course(since_first, soh_pct[first:])
    if age is None:
        age = age_inferred_years(float(np.median(soh_pct[:3])))
    return Course(np.asarray(years_since_first) + age, np.asarray(soh_pct, float), age_at_first_years is not None)


def since_rise(soh_pct: Sequence[float]) -> int:
    """Index of the first reading after the last rise that stays; 0 if there is none.

    No ageing rises so far: the figure was learned anew, or the pack exchanged. What was before is another story. A fall
    is none: it may be a pack that fails, and to forget what was before would hide that.
    """
    for n in range(len(soh_pct) - RISE_READINGS_MIN, 0, -1):
        before, after = float(np.median(soh_pct[max(0, n - 3) : n])), float(np.median(soh_pct[n : n + 3]))
        if min(after - before, soh_pct[n] - soh_pct[n - 1]) >= RISE_MIN_PCT:
            return n
    return 0


def outlook(seen: Course, model: AgeingModel = PRIOR) -> Outlook:
    """Condition the model on all readings, or on a less certain one if they ask for it."""
    kept = _without_outliers(seen, model)
    known, best = _conditioned(kept, model)
    if seen.years.size < READINGS_MIN:
        return known
    # A fleet knows how far its vehicles differ; the prior of all cars knows that less well.
    spreads = (1.0,) if model.vehicles else SPREAD_FACTORS
    readings_sd = (model.reading_sd_pct, *(sd for sd in READING_SD_ROUGH_PCT if sd > model.reading_sd_pct))
    for (wider, spread), (rougher, reading_sd) in product(enumerate(spreads), enumerate(readings_sd)):
        tried = replace(model, spread=model.spread * spread**2, reading_sd_pct=reading_sd)
        candidate, likelihood = _conditioned(kept, tried)
        if likelihood - STEP_COST * (wider + rougher) > best:
            known, best = candidate, likelihood - STEP_COST * (wider + rougher)
    return known


def _without_outliers(seen: Course, model: AgeingModel) -> Course:
    """A reading far from what all others say of it keeps its place but loses its weight; at most one in five."""
    extra = np.zeros(seen.years.size) if seen.extra_sd_pct is None else seen.extra_sd_pct.copy()
    kept = replace(seen, extra_sd_pct=extra)
    for _ in range(seen.years.size // OUTLIER_AMONG):
        covariance, rest = _marginal(kept, model)
        precision = np.linalg.inv(covariance)
        own = precision.diagonal()
        missed_pct = precision @ rest / own  # the reading less what the others say of it, own**-0.5 being its sd
        surprise = np.abs(missed_pct) * np.sqrt(own)
        worst = int(surprise.argmax())
        if surprise[worst] <= OUTLIER_SIGMAS * max(1.0, float(np.median(surprise)) / MEDIAN_OF_NORMAL):
            break
        extra[worst] = 3.0 * abs(float(missed_pct[worst]))
    return kept


def _marginal(seen: Course, model: AgeingModel) -> tuple[FloatArray, FloatArray]:
    """Covariance of the readings before they are known, and what they differ from the model's mean by."""
    shapes = shapes_at(seen.years)
    noise = noise_of(seen, model.wander_sd_pct, model.wander_tau_years, model.reading_sd_pct)
    return shapes @ _spread(seen, model) @ shapes.T + noise, seen.soh_pct - shapes @ model.mean


def _spread(seen: Course, model: AgeingModel) -> FloatArray:
    if model.vehicles or seen.age_documented:
        return model.spread
    spread = model.spread.copy()
    spread[0, 0] = max(float(spread[0, 0]), LEVEL_SD_AGE_INFERRED_PCT**2)
    return spread


def _conditioned(seen: Course, model: AgeingModel) -> tuple[Outlook, float]:
    """The outlook, and the log-likelihood of the readings."""
    spread = _spread(seen, model)
    covariance, rest = _marginal(seen, model)
    wander_now = model.wander_sd_pct**2 * np.exp((seen.years - seen.years[-1]) / model.wander_tau_years)
    prior = np.zeros((4, 4))
    prior[:3, :3] = spread
    prior[3, 3] = model.wander_sd_pct**2
    shared = np.vstack([spread @ shapes_at(seen.years).T, wander_now])  # covariance of state and readings, (4, n)
    gain = np.linalg.solve(covariance, shared.T).T
    state = np.append(model.mean, 0.0) + gain @ rest
    known = Outlook(model, float(seen.years[-1]), state, prior - gain @ shared.T, seen.persistent_sd_pct)
    return known, log_density(rest, covariance)


def predict(known: Outlook, years: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation (before any factor) at these ages, not before the newest reading. Shapes (m,)."""
    kept = np.exp((known.years - years) / known.model.wander_tau_years)
    shapes = np.column_stack([shapes_at(years), kept])
    wandered = known.model.wander_sd_pct**2 * (1.0 - kept * kept)
    variance = np.einsum("ij,jk,ik->i", shapes, known.covariance, shapes) + wandered + known.persistent_sd_pct**2
    return shapes @ known.state, np.sqrt(variance)


def interval90(known: Outlook, years: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and half-width of the calibrated 90 % interval at these ages."""
    mean, sd = predict(known, years)
    own = factor_ahead(known.model.factor, years - known.years) ** 2 * (sd**2 - known.persistent_sd_pct**2)
    return mean, SIGMAS_90 * np.sqrt(own + known.persistent_sd_pct**2)


def factor_ahead(factor: Sequence[float], ahead_years: FloatArray) -> FloatArray:
    """A model's factor for forecasts so far ahead; beyond what was judged, that of the farthest."""
    widened: FloatArray = np.interp(ahead_years, FACTOR_AT_YEARS, factor)
    return widened


def mileage(years: Sequence[float], odometer_km: Sequence[float]) -> Mileage | None:
    """Regression over the last twelve months; None with fewer than three readings, or a car that stood or ran back."""
    at, km = np.asarray(years, float), np.asarray(odometer_km, float)
    recent = at >= at.max(initial=0.0) - 1.0
    at, km = at[recent], km[recent]
    if at.size < 3 or np.ptp(at) < MILEAGE_SPAN_MIN_YEARS:
        return None
    centred = at - at.mean()
    spread = float(centred @ centred)
    slope = float(centred @ km) / spread
    rest = km - km.mean() - slope * centred
    error = float(np.sqrt(rest @ rest / (at.size - 2) / spread))
    return Mileage(slope, error) if slope >= KM_A_YEAR_MIN else None


def reached_years(driven: Mileage, km: float) -> float:
    """When so much is driven at the latest, at the 95 % point: a promise up to there must hold for the slow driver."""
    return km / max(driven.km_a_year - SIGMAS_90 * driven.sd_km_a_year, KM_A_YEAR_MIN)


def passages(known: Outlook, thresholds_pct: Sequence[float], driven: Mileage | None = None) -> tuple[Passage, ...]:
    """Draw paths month by month and see when each is first below; always the same paths for the same battery."""
    dice = np.random.default_rng(12)  # any fixed number: asked twice, the book must say the same
    months = np.arange(1, round(LIFE_MAX_YEARS * MONTHS_A_YEAR) + 1)
    model, wide = known.model, max(*known.model.factor, 1.0)
    starts = dice.multivariate_normal(
        known.state, known.covariance * wide**2, PATHS, check_valid="ignore", method="eigh"
    )
    starts[:, 0] += dice.normal(0.0, known.persistent_sd_pct * wide, PATHS)
    kept = np.exp(-1.0 / MONTHS_A_YEAR / model.wander_tau_years)
    step_sd = model.wander_sd_pct * wide * np.sqrt(1.0 - kept * kept)
    wander = np.empty((PATHS, months.size + 1))
    wander[:, 0] = starts[:, 3]
    for month in months:
        wander[:, month] = kept * wander[:, month - 1] + dice.normal(0.0, step_sd, PATHS)
    ages = known.years + np.append(0, months) / MONTHS_A_YEAR
    paths = starts[:, :3] @ shapes_at(ages).T + wander
    rates = np.maximum(dice.normal(driven.km_a_year, driven.sd_km_a_year, PATHS), KM_A_YEAR_MIN) if driven else None
    found = []
    for threshold in thresholds_pct:
        below = paths < threshold
        years = np.where(below.any(axis=1), below.argmax(axis=1) / MONTHS_A_YEAR, np.inf)
        found.append(Passage(threshold, _points(years), None if rates is None else _points(years * rates)))
    return tuple(found)


def _points(values: FloatArray) -> tuple[float | None, float | None, float | None]:
    """5, 50 and 95 % points; of values that may be infinite, so no interpolation between two of them."""
    low, middle, high = (float(np.quantile(values, share, method="higher")) for share in (0.05, 0.50, 0.95))

    def said(value: float) -> float | None:
        return None if np.isinf(value) else value

    return said(low), said(middle), said(high)


def shapes_at(years: FloatArray) -> FloatArray:
    """What a unit of each coefficient adds at these ages. Shape (n, 3)."""
    return np.column_stack([np.ones_like(years), years, np.sqrt(years)])


def noise_of(seen: Course, wander_sd_pct: float, tau_years: float, reading_sd_pct: float) -> FloatArray:
    """Covariance of what is not the three coefficients: the wander, and each reading's own error. Shape (n, n)."""
    apart = np.abs(seen.years[:, None] - seen.years[None, :])
    own = np.full(seen.years.size, reading_sd_pct**2)
    if seen.extra_sd_pct is not None:
        own += seen.extra_sd_pct**2
    noise: FloatArray = wander_sd_pct**2 * np.exp(-apart / tau_years) + np.diag(own)
    return noise


def log_density(rest: FloatArray, covariance: FloatArray) -> float:
    _, log_det = np.linalg.slogdet(covariance)
    return float(-0.5 * (log_det + rest @ np.linalg.solve(covariance, rest)))
