"""Forecast, guarantee, triage and the prospect of a battery, against check values and invented courses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from packbook.core.forecast import (
    PRIOR,
    Course,
    Mileage,
    Passage,
    age_inferred_years,
    course,
    interval90,
    mileage,
    outlook,
    passages,
    predict,
    reached_years,
    since_rise,
)
from packbook.core.guarantee import Condition, Evidence, decide, knee_ratio, probability_above
from packbook.core.history import EventRow, Provenance, SohPoint
from packbook.core.learning import learn
from packbook.core.prospect import DAY_MS, Lacking, Prospect, forecast_of
from packbook.core.triage import Reason, Standing, Use, triage
from packbook.testing.rows import soh_point

from .invented_fleet import KINDS, invented_fleet

CHECKED = Course(np.array([3.5, 3.75, 4.0, 4.25]), np.array([86.0, 85.2, 84.6, 83.8]), age_documented=True)
GOOD = Evidence(half_width_pct=1.5, segments=60, bms_readings=None, harmful_open=False, resistance_growth_pct=4.0)


def fading(
    per_year_pct: float, *, months: int = 30, start_pct: float = 97.0, age: float | None = 1.0, wobble: float = 0.2
) -> Course:
    """A battery losing about so much a year, with readings that wobble a little."""
    at = np.arange(months) / 12
    soh = start_pct - per_year_pct * at + wobble * np.sin(7.0 * np.arange(months))
    return course(at.tolist(), soh.tolist(), age)


def test_the_published_check_values_come_out() -> None:
    """facts/soh.md §12: a stranger's implementation must give the same digits."""
    known = outlook(CHECKED)
    assert np.round(known.state / 100.0, 5).tolist() == [0.99902, -0.01791, -0.04087, -0.00052]
    mean, sd = predict(known, np.array([5.0, 7.25]))
    assert np.round(mean / 100.0, 4).tolist() == [0.8179, 0.7591]
    assert np.round(sd / 100.0, 4).tolist() == [0.0144, 0.0243]
    assert round(probability_above(known, 70.0, 7.25), 4) == 0.9693
    assert round(probability_above(known, 75.0, 7.25), 4) == 0.6134


def test_a_filter_that_takes_one_reading_at_a_time_agrees() -> None:
    """The facts describe a Kalman filter; conditioning on all readings at once must be the same thing."""
    state, spread = np.array([100.0, -1.5, -3.5, 0.0]), np.diag([1.5, 1.2, 2.5, 0.9]) ** 2.0
    last = CHECKED.years[0]
    for years, soh in zip(CHECKED.years, CHECKED.soh_pct, strict=True):
        kept = np.exp((last - years) / 0.6)
        step = np.diag([1.0, 1.0, 1.0, kept])
        state, spread = step @ state, step @ spread @ step
        spread[3, 3] += 0.81 * (1 - kept**2)
        shape = np.array([1.0, years, np.sqrt(years), 1.0])
        gain = spread @ shape / (shape @ spread @ shape + 0.09)
        state = state + gain * (soh - shape @ state)
        spread, last = spread - np.outer(gain, shape @ spread), years
    known = outlook(CHECKED)
    assert known.state == pytest.approx(state)
    assert known.covariance == pytest.approx(spread)


def test_the_interval_widens_with_time() -> None:
    """The future is less known than the present; a fan that narrows would be a lie."""
    known = outlook(fading(2.0))
    _, half = interval90(known, known.years + np.arange(1, 61) / 12)
    assert np.all(np.diff(half) > 0)


def test_a_battery_whose_age_nobody_knows_is_as_old_as_it_looks() -> None:
    """The square root is steep at birth: a worn battery taken for a new one would be forecast to fall off a cliff."""
    assert age_inferred_years(100.0) == 0.0
    assert age_inferred_years(103.0) == 0.0
    assert age_inferred_years(100.0 - 1.5 * 4 - 3.5 * 2) == pytest.approx(4.0)
    assert age_inferred_years(20.0) == 12.0


def test_a_fleet_teaches_its_own_pace() -> None:
    """Taxis fade three times as fast as the prior; a fleet of them must say so."""
    fleet = [fading(6.0 + 0.2 * n, start_pct=93.0, age=None) for n in range(8)]
    model = learn(fleet)
    assert model.vehicles == 8
    young = course([n / 12 for n in range(9)], [93.0 - 6.5 * n / 12 for n in range(9)])
    later = np.array([young.years[-1] + 1.0])
    truth_pct = 93.0 - 6.5 * (8 / 12 + 1.0)
    taught, published = (float(predict(outlook(young, m), later)[0][0]) for m in (model, PRIOR))
    assert abs(taught - truth_pct) < 0.5 < abs(published - truth_pct)


def test_three_vehicles_are_not_a_fleet() -> None:
    """Too few to know how vehicles differ: the published prior with its wide factor stands."""
    assert learn([fading(6.0)] * 3) is PRIOR
    assert learn([fading(6.0, months=5)] * 10) is PRIOR


def test_a_fleet_that_surprises_widens_its_own_intervals() -> None:
    """The conformal factor is measured on vehicles the model had not seen."""
    calm = [fading(3.0, start_pct=95.0 + 0.2 * n) for n in range(8)]
    cliffs = [
        replace(seen, soh_pct=seen.soh_pct - 9.0 * np.maximum(0.0, seen.years - 2.2 - 0.1 * n) ** 2)
        for n, seen in enumerate(calm)
    ]
    assert min(learn(cliffs).factor_low) > 1.5 > max(learn(calm).factor_low)


def test_the_way_ahead_has_a_factor_for_each_part() -> None:
    """A model that is good for next month and poor for next year must say so, not be middling for both."""
    at = (np.arange(42) / 12).tolist()
    kneed = [course(at, soh.tolist()) for soh in invented_fleet(KINDS["kneed"])]
    near, middle, far = learn(kneed).factor
    assert near <= middle <= far
    assert near < far


def test_one_mad_reading_changes_little() -> None:
    """A typing error of 10 pp must not bend the forecast of three years."""
    sound = fading(2.0)
    for at in (14, len(sound.years) - 1):
        mad = replace(sound, soh_pct=sound.soh_pct - 10.0 * (np.arange(sound.years.size) == at))
        ahead = sound.years[-1:] + 1.0
        assert predict(outlook(mad), ahead)[0] == pytest.approx(predict(outlook(sound), ahead)[0], abs=0.6)


def test_a_rise_that_stays_begins_a_new_course() -> None:
    """A figure learned anew, or an exchanged pack: what was before says nothing of the pace after it."""
    at = [n / 12 for n in range(24)]
    soh = [84.0 - 0.3 * n for n in range(12)] + [97.0 - 0.1 * n for n in range(12)]
    assert since_rise(soh) == 12
    assert course(at, soh, 5.0).years.size == 12
    assert not course(at, soh, 5.0).age_documented
    assert since_rise(soh[:13]) == 0  # one reading alone may be an outlier
    assert since_rise([95.0 - 0.6 * n for n in range(24)]) == 0


def test_a_fall_is_not_forgotten() -> None:
    """A pack that lost ten points at once may be failing: no new course hides that, and nothing is promised."""
    fallen = replace(SOUND, soh_pct=SOUND.soh_pct - 10.0 * (SOUND.years > SOUND.years[-4]))
    assert since_rise(fallen.soh_pct.tolist()) == 0
    decision = decide(fallen, outlook(fallen), GOOD, 70.0, 1.0)
    assert Condition.KNEE in [failed.condition for failed in decision.failed]


def test_a_battery_unlike_the_prior_is_believed() -> None:
    """A car that fades three times as fast as private cars do must widen what is thought possible, and be followed."""
    fast = fading(7.0, months=18, age=1.0)
    far = fast.years[-1:] + 1.0
    known = outlook(fast)
    assert known.model.spread[1, 1] > PRIOR.spread[1, 1]
    truth_pct = 97.0 - 7.0 * (far[0] - 1.0)
    mean, half = interval90(known, far)
    assert abs(mean[0] - truth_pct) < half[0]
    assert outlook(CHECKED).model == PRIOR


def test_rough_readings_widen_the_forecast() -> None:
    """Readings that scatter by two points must not be forecast to a few tenths."""
    ahead = np.array([4.0])
    calm, rough = (interval90(outlook(fading(2.0, wobble=wobble)), ahead)[1][0] for wobble in (0.2, 3.0))
    assert rough > calm + 0.3


def test_learning_again_gives_the_same_model() -> None:
    """Asked twice, the book says the same."""
    fleet = [fading(2.0 + 0.3 * n) for n in range(5)]
    once, again = learn(fleet), learn(fleet)
    assert np.array_equal(once.mean, again.mean)
    assert (once.factor, once.factor_low) == (again.factor, again.factor_low)
    known = outlook(fleet[0], once)
    assert passages(known, (80.0,)) == passages(known, (80.0,))


def test_passages_are_in_order_and_say_beyond() -> None:
    """Soonest, middle, latest; and no number where there is no knowing."""
    known = outlook(fading(1.5, age=2.0))
    eighty, seventy, ten = passages(known, (80.0, 70.0, 10.0))
    assert eighty.years[0] < eighty.years[1]
    assert eighty.years[1] < (seventy.years[1] or np.inf)
    assert ten.years == (None, None, None)
    assert passages(known, (99.0,))[0].years == (0.0, 0.0, 0.0)


def test_kilometres_follow_from_the_odometer() -> None:
    """An owner thinks in kilometres; a car that stands has no pace to go by."""
    at = [n / 12 for n in range(24)]
    pace = mileage(at, [20_000 + 800 * min(n, 11) + 1200 * max(n - 11, 0) for n in range(24)])
    assert pace is not None
    assert pace.km_a_year == pytest.approx(14_400, rel=0.01)  # of the last year alone
    assert mileage(at[:2], [0.0, 1.0]) is None
    assert mileage(at, [500.0] * 24) is None
    assert mileage([0.0] * 5, [0.0, 1.0, 2.0, 3.0, 4.0]) is None
    assert mileage([], []) is None
    known = outlook(fading(2.5))
    steady = passages(known, (80.0,), Mileage(10_000.0, 1.0))[0]
    assert steady.km is not None
    assert steady.km[1] == pytest.approx(steady.years[1] * 10_000.0, rel=0.01)


def test_a_sound_battery_gets_its_promise() -> None:
    """A rule that never promises would be safe and useless."""
    seen = fading(2.0)
    decision = decide(seen, outlook(seen), GOOD, 75.0, 2.0)
    assert decision.offered
    assert decision.probability > 0.95
    assert decision.not_checked == ()


def test_what_is_not_known_is_named_and_not_held_against_it() -> None:
    """A table of months says nothing of segments, harm or resistance."""
    seen = fading(2.0)
    decision = decide(seen, outlook(seen), Evidence(), 75.0, 2.0)
    assert decision.offered
    assert decision.not_checked == (Condition.EVIDENCE, Condition.HARM, Condition.RESISTANCE)


SOUND = fading(2.0)
YOUNG = fading(2.0, months=4)
LOW = fading(2.0, start_pct=79.0)
KNEE = replace(SOUND, soh_pct=SOUND.soh_pct - 8.0 * np.maximum(0.0, SOUND.years - 2.9))


@pytest.mark.parametrize(
    ("seen", "evidence", "threshold_pct", "horizon_years", "missing"),
    [
        (YOUNG, GOOD, 75.0, 0.4, Condition.LOGGED),
        (SOUND, replace(GOOD, segments=39), 75.0, 1.0, Condition.EVIDENCE),
        (SOUND, replace(GOOD, bms_readings=19), 75.0, 1.0, Condition.EVIDENCE),
        (SOUND, replace(GOOD, half_width_pct=3.1), 75.0, 1.0, Condition.INTERVAL),
        (SOUND, GOOD, 50.0, 3.1, Condition.HORIZON),
        (SOUND, replace(GOOD, harmful_open=True), 75.0, 1.0, Condition.HARM),
        (SOUND, replace(GOOD, resistance_growth_pct=31.0), 75.0, 1.0, Condition.RESISTANCE),
        (LOW, GOOD, 60.0, 1.0, Condition.LOW_PACK),
        (KNEE, GOOD, 60.0, 1.0, Condition.KNEE),
    ],
)
def test_one_failed_condition_is_enough_and_is_named(
    seen: Course, evidence: Evidence, threshold_pct: float, horizon_years: float, missing: Condition
) -> None:
    """A promise the rule forbids is not made smaller, it is not made; and the owner learns why."""
    decision = decide(seen, outlook(seen), evidence, threshold_pct, horizon_years)
    assert not decision.offered
    assert [failed.condition for failed in decision.failed] == [missing]


def test_a_promise_ends_with_years_or_kilometres_whichever_comes_first() -> None:
    """A warranty says 8 years or 160 000 km: who drives much is promised less time, who drives little no more of it."""
    known = outlook(SOUND)
    much, little = Mileage(60_000.0, 2_000.0), Mileage(5_000.0, 500.0)
    asked = decide(SOUND, known, GOOD, 75.0, 2.0, 40_000.0, much)
    assert asked.judged_years == reached_years(much, 40_000.0) == pytest.approx(40_000 / (60_000 - 1.645 * 2_000))
    assert asked.probability == decide(SOUND, known, GOOD, 75.0, asked.judged_years).probability
    for driven in (little, None):
        late = decide(SOUND, known, GOOD, 75.0, 2.0, 40_000.0, driven)
        assert (late.judged_years, late.horizon_km) == (2.0, 40_000.0 if driven else None)


def test_a_threshold_too_near_fails_on_margin_and_probability() -> None:
    """All that stands against a promise is said at once."""
    decision = decide(SOUND, outlook(SOUND), GOOD, 91.0, 1.0)
    assert [failed.condition for failed in decision.failed] == [Condition.MARGIN, Condition.PROBABILITY]


def test_a_short_record_carries_a_short_promise() -> None:
    """At most twice the documented age ahead: where the age is only inferred, twice the record."""
    seen = fading(2.0, months=7, age=None)
    failed = decide(seen, outlook(seen), GOOD, 70.0, 1.5).failed
    assert [(f.condition, f.asked) for f in failed] == [(Condition.HORIZON, pytest.approx(1.0))]


def test_noise_is_no_knee() -> None:
    """Two flat slopes can differ by any factor; only a difference that readings can tell counts."""
    flat = fading(0.3, wobble=0.1)
    assert knee_ratio(flat) == 1.0
    assert knee_ratio(YOUNG) is None
    assert (knee_ratio(KNEE) or 0.0) > 2.0


def standing(**changes: object) -> Standing:
    later = Passage(70.0, (4.0, 7.0, None), None)
    return replace(Standing(82.0, later, knee=False, harmful_open=False, resistance_growth_pct=5.0), **changes)  # type: ignore[arg-type]  # callers name real fields


@pytest.mark.parametrize(
    ("found", "use", "reasons"),
    [
        (standing(), Use.CAR, []),
        (standing(to_car_minimum=Passage(70.0, (1.9, 4.0, 8.0), None)), Use.SMALL_MOBILITY, [(Reason.SHORT,)]),
        (standing(soh_lo90_pct=66.0), Use.SMALL_MOBILITY, [(Reason.LOW,)]),
        (standing(knee=True), Use.STATIONARY, [(Reason.KNEE,), (Reason.KNEE,)]),
        (standing(resistance_growth_pct=40.0), Use.STATIONARY, [(Reason.RESISTANCE,), (Reason.RESISTANCE,)]),
        (standing(soh_lo90_pct=45.0), Use.RECYCLE, [(Reason.LOW,)] * 3),
        (standing(harmful_open=True), Use.RECYCLE, [(Reason.HARM,)] * 3),
    ],
)
def test_the_next_use_is_the_best_whose_requirements_hold(
    found: Standing, use: Use, reasons: list[tuple[Reason, ...]]
) -> None:
    """And every better use says why not."""
    told = triage(found)
    assert told.use is use
    assert [refusal.reasons for refusal in told.refusals] == reasons


def test_triage_names_what_it_did_not_know() -> None:
    """Unknown is not fine, and not a fault either."""
    assert triage(standing(harmful_open=None, knee=None)).not_known == (Reason.HARM, Reason.KNEE)


def points(months: int, **changes: object) -> list[SohPoint]:
    return [
        soh_point(
            n + 1,
            **{
                "at_ms": n * 30 * DAY_MS,
                "soh_pct": 92.0 - 0.2 * n,
                "sigma_pct": 1.0,
                "lo90_pct": 90.4 - 0.2 * n,
                "hi90_pct": 93.6 - 0.2 * n,
                "odometer_km": 30_000.0 + 1_000.0 * n,
            }
            | changes,
        )
        for n in range(months)
    ]


def test_a_history_without_figures_has_no_forecast_and_a_reason() -> None:
    """No value, no number."""
    assert forecast_of([]) is Lacking.NO_VALUE
    assert forecast_of(points(12, soh_pct=None)) is Lacking.NO_VALUE
    assert forecast_of(points(12, sigma_pct=None)) is Lacking.NO_VALUE
    assert forecast_of(points(12, at_ms=None)) is Lacking.NO_VALUE
    assert forecast_of(points(2)) is Lacking.TOO_FEW


def test_the_forecast_of_a_battery_begins_at_its_newest_reading() -> None:
    """The fan must open where the line ends."""
    found = forecast_of(points(18))
    assert isinstance(found, Prospect)
    assert (found.from_ms, found.readings) == (17 * 30 * DAY_MS, 18)
    assert found.months[0].at_ms == found.from_ms
    assert found.months[0].soh_pct == pytest.approx(92.0 - 0.2 * 17, abs=0.5)
    assert len(found.months) == 37
    assert [passage.threshold_pct for passage in found.passages] == [80.0, 70.0]
    assert found.passages[0].km is not None


def test_more_readings_a_month_say_no_more() -> None:
    """Daily figures are the same charges told again: they must not narrow the interval."""
    monthly = points(18)
    between = [replace(p, at_ms=p.at_ms - 3 * DAY_MS, odometer_km=None) for p in monthly[1:]]
    assert forecast_of(sorted([*monthly, *between], key=lambda p: p.at_ms)) == forecast_of(monthly)


def test_an_unsure_figure_makes_an_unsure_forecast() -> None:
    """An error that all readings share does not average out."""
    sure, unsure = forecast_of(points(18)), forecast_of(points(18, sigma_pct=3.0))
    assert isinstance(sure, Prospect)
    assert isinstance(unsure, Prospect)
    width = [found.months[12].hi90_pct - found.months[12].lo90_pct for found in (sure, unsure)]
    assert width[1] > width[0] + 4.0


@pytest.mark.parametrize(("a_year_pct", "fails"), [(5.0, False), (45.0, True)])
def test_growing_resistance_forbids_promises(a_year_pct: float, fails: bool) -> None:
    """Power goes before capacity does; what the box tells of it is judged, and no longer named as unknown."""
    history = [replace(p, resistance_ohm=0.1 * (1 + a_year_pct / 1200 * n)) for n, p in enumerate(points(18))]
    found = forecast_of(history)
    assert isinstance(found, Prospect)
    for promise in found.promises:
        assert Condition.RESISTANCE not in promise.not_checked
        assert (Condition.RESISTANCE in [failed.condition for failed in promise.failed]) is fails
    assert (found.next_use.use is Use.STATIONARY) is fails


def test_resistance_of_a_season_is_no_growth() -> None:
    """Five months, or a week's worth of steps, tell winter from autumn and nothing of ageing."""
    short = [replace(p, resistance_ohm=0.1 * (1 + 0.05 * n)) for n, p in enumerate(points(5))]
    found = forecast_of(short)
    assert isinstance(found, Prospect)
    assert Condition.RESISTANCE in found.promises[0].not_checked


def test_a_rise_in_the_book_begins_a_new_course_too() -> None:
    """A battery management that learned anew gained ten points over night (facts/soh.md §14)."""
    history = [replace(p, soh_pct=p.soh_pct + 10.0) if n >= 12 else p for n, p in enumerate(points(20)) if p.soh_pct]
    found = forecast_of(history, made_ms=-2 * 365 * DAY_MS)
    assert isinstance(found, Prospect)
    assert (found.readings, found.age_documented) == (8, False)


def test_a_replaced_battery_starts_afresh() -> None:
    """What was before the exchange is another battery's life."""
    history = [*points(12), soh_point(13, at_ms=12 * 30 * DAY_MS, state="replaced"), *points(14)[13:]]
    assert forecast_of(history) is Lacking.TOO_FEW


@pytest.mark.parametrize(
    ("event", "duration_s", "open_"),
    [("crash", 1.0, True), ("pack_hot", 60.0, False), ("pack_hot", None, True), ("clock_set", None, False)],
)
def test_an_open_harmful_event_forbids_promises(event: str, duration_s: float | None, open_: bool) -> None:
    """A crash stands until somebody has looked; heat is over when it is over."""
    row = EventRow(event, 0, duration_s, None, None, Provenance("b", "s", 1))
    found = forecast_of(points(18), [row])
    assert isinstance(found, Prospect)
    harmed = [Condition.HARM in [f.condition for f in promise.failed] for promise in found.promises]
    assert harmed == [open_] * 6
