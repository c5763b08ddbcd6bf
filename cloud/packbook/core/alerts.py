"""Alerts for operators: when one is raised, acknowledged and cleared, by rules that are data.

In:  what is wrong now (`Sighting`s of one kind), and the alerts of that kind that stand.
Out: the alerts that change. Nothing changes twice for one cause, and nothing flaps: an alert is raised at one figure
and cleared at a milder one, and only after the cause has been gone for a while.
A rule file says the figures (`adapters.rules`, family `alerts`); this module says what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Final, TypeAlias

MS_PER_S: Final = 1000
DETAIL_CHARS_MAX: Final = 200


class Kind(StrEnum):
    """What may be wrong. Stable: rules, words, metrics and receivers use the names."""

    BOX_SILENT = "box_silent"
    COVERAGE_FALLING = "coverage_falling"
    CLOCK_BAD = "clock_bad"
    DISK_WORN = "disk_worn"
    CAN_DROPS = "can_drops"
    CHAIN_BROKEN = "chain_broken"
    HARMFUL_EVENT = "harmful_event"
    RAPID_FADE = "rapid_fade"
    CERTIFICATE_ENDING = "certificate_ending"
    QUARANTINE_GROWING = "quarantine_growing"


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class State(StrEnum):
    PENDING = "pending"  # seen, but not for long enough: nobody is told
    RAISED = "raised"
    ACKNOWLEDGED = "acknowledged"  # somebody has taken it on; stays so until it clears
    CLEARED = "cleared"


OPEN: Final = (State.RAISED, State.ACKNOWLEDGED)
TOLD: Final = (State.RAISED, State.CLEARED)  # what receivers hear of; who acknowledged knows already


@dataclass(frozen=True, slots=True)
class AlertQuery:
    """Which alerts somebody wants to see; None: of any."""

    states: tuple[State, ...] = OPEN
    kind: Kind | None = None
    severity: Severity | None = None
    box: str | None = None
    battery: str | None = None
    limit: int = 100
    offset: int = 0


OPEN_ONES: Final = AlertQuery()

Detail: TypeAlias = str | int | float | None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A cause that is there now, at least as bad as what would clear it."""

    subject: str  # unlike all others of its kind
    figure: float  # in the unit of the rule's limits
    box: str | None = None
    store: str | None = None
    battery: str | None = None
    detail: Mapping[str, Detail] = field(default_factory=dict)  # for the words


@dataclass(frozen=True, slots=True)
class Alert:
    kind: Kind
    severity: Severity
    state: State
    subject: str
    figure: float  # when it was raised
    since_ms: int  # when the cause was seen first
    rules: str  # version that raised it
    id: int | None = None  # None: not kept yet
    box: str | None = None
    store: str | None = None
    battery: str | None = None
    detail: Mapping[str, Detail] = field(default_factory=dict)
    raised_ms: int | None = None
    calm_ms: int | None = None  # since when the cause has been gone
    acknowledged_ms: int | None = None
    acknowledged_by: str | None = None
    note: str | None = None
    cleared_ms: int | None = None


# --- rules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What all kinds have. Fields of a kind's own limits are named `raise_...` and `clear_...`, with the unit."""

    severity: Severity
    reason: str  # why these figures
    source: str = "own"
    enabled: bool = True
    every_s: int = 60  # how often it is looked for
    hold_s: int = 0  # the cause must last this long before anybody is told
    calm_s: int = 0  # and be gone this long before it counts as gone

    def __post_init__(self) -> None:
        for name, value in _numbers(self):
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name}: expected a number of 0 or more, not {value:g}")
        if self.every_s < 1:
            raise ValueError("every_s: expected 1 or more")
        if not self.reason.strip():
            raise ValueError("reason: say why these figures")

    @property
    def band(self) -> tuple[float, float]:
        """Raised at the first, cleared beyond the second. The first above the second: more is worse."""
        named = dict(_numbers(self))
        return _only(named, "raise_"), _only(named, "clear_")

    def raises(self, figure: float) -> bool:
        raise_at, clear_at = self.band
        return figure <= raise_at if raise_at < clear_at else figure >= raise_at

    def stands(self, figure: float) -> bool:
        """Not yet mild enough to clear."""
        raise_at, clear_at = self.band
        return figure < clear_at if raise_at < clear_at else figure > clear_at


def _numbers(rule: Rule) -> list[tuple[str, float]]:
    return [
        (item.name, value)
        for item in fields(rule)
        if isinstance(value := getattr(rule, item.name), int | float) and not isinstance(value, bool)
    ]


def _only(named: Mapping[str, float], prefix: str) -> float:
    return next(value for name, value in named.items() if name.startswith(prefix))


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxSilent(Rule):
    raise_silent_days: float
    clear_silent_days: float

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _more_is_worse(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageFalling(Rule):
    raise_drop_pct: float  # percentage points below what it was before the span
    clear_drop_pct: float
    span_days: float

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _more_is_worse(self)
        _more_than_none(self, "span_days")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockBad(Rule):
    raise_unset_h: float  # running with a clock that nobody set
    clear_unset_h: float
    wrong_within_days: float  # notes of a clock that contradicted itself

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _more_is_worse(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskWorn(Rule):
    raise_free_mb: float
    clear_free_mb: float
    events: tuple[str, ...]  # that tell of a disk that lost something
    events_within_days: float

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _less_is_worse(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanDrops(Rule):
    raise_dropped_pct: float
    clear_dropped_pct: float
    frames_min: float  # with fewer a share says nothing

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _more_is_worse(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainBroken(Rule):
    @property
    def band(self) -> tuple[float, float]:
        return 1.0, 0.0  # disputed or not: there is nothing between


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmfulEvent(Rule):
    raise_events: float  # of one kind within the days
    clear_events: float
    within_days: float
    events: tuple[str, ...]

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _more_is_worse(self)
        _more_than_none(self, "within_days")


@dataclass(frozen=True, slots=True, kw_only=True)
class RapidFade(Rule):
    raise_fade_pct_per_year: float  # at least so much is lost, with 95 % of certainty
    clear_fade_pct_per_year: float
    span_days: float  # between the two readings compared, at least

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _more_is_worse(self)
        _more_than_none(self, "span_days")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateEnding(Rule):
    raise_left_days: float
    clear_left_days: float
    life_share_max_pct: float  # a certificate of a week is not always alarming

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _less_is_worse(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineGrowing(Rule):
    raise_messages: float
    clear_messages: float
    within_h: float

    def __post_init__(self) -> None:
        Rule.__post_init__(self)
        _more_is_worse(self)
        _more_than_none(self, "within_h")


def _more_is_worse(rule: Rule) -> None:
    raise_at, clear_at = rule.band
    if raise_at <= clear_at:
        raise ValueError(f"it is cleared at {clear_at:g} and raised at {raise_at:g}: the second must be the greater")


def _less_is_worse(rule: Rule) -> None:
    raise_at, clear_at = rule.band
    if raise_at >= clear_at:
        raise ValueError(f"it is cleared at {clear_at:g} and raised at {raise_at:g}: the second must be the smaller")


def _more_than_none(rule: Rule, name: str) -> None:
    if dict(_numbers(rule))[name] <= 0:
        raise ValueError(f"{name}: expected more than 0")


@dataclass(frozen=True, slots=True)
class AlertRules:
    """All of one version."""

    family: str
    version: str
    keep_cleared_days: int
    box_silent: BoxSilent
    coverage_falling: CoverageFalling
    clock_bad: ClockBad
    disk_worn: DiskWorn
    can_drops: CanDrops
    chain_broken: ChainBroken
    harmful_event: HarmfulEvent
    rapid_fade: RapidFade
    certificate_ending: CertificateEnding
    quarantine_growing: QuarantineGrowing

    def rule(self, kind: Kind) -> Rule:
        found: Rule = getattr(self, kind.value)
        return found


# --- steps --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Steps:
    """What a pass over one kind changes."""

    changed: tuple[Alert, ...] = ()
    forgotten: tuple[Alert, ...] = ()  # pending ones whose cause passed: nobody ever heard of them


def step(
    kind: Kind, rule: Rule, version: str, standing: Sequence[Alert], seen: Sequence[Sighting], now_ms: int
) -> Steps:
    """`standing`: all alerts of this kind that are not cleared. `seen`: what is at least bad enough to keep one."""
    by_subject = {sighting.subject: sighting for sighting in seen if rule.enabled and rule.stands(sighting.figure)}
    known = {alert.subject for alert in standing}
    fresh = [_begun(kind, rule, version, s, now_ms) for s in by_subject.values() if s.subject not in known]
    changed, forgotten = [alert for alert in fresh if alert is not None], []
    for alert in standing:
        after = _moved(alert, rule, by_subject.get(alert.subject), now_ms)
        if after is None:
            forgotten.append(alert)
        elif after != alert:
            changed.append(after)
    return Steps(tuple(changed), tuple(forgotten))


def _begun(kind: Kind, rule: Rule, version: str, sighting: Sighting, now_ms: int) -> Alert | None:
    if not rule.raises(sighting.figure):
        return None
    at_once = rule.hold_s == 0
    return Alert(
        kind,
        rule.severity,
        State.RAISED if at_once else State.PENDING,
        sighting.subject,
        sighting.figure,
        now_ms,
        version,
        box=sighting.box,
        store=sighting.store,
        battery=sighting.battery,
        detail=sighting.detail,
        raised_ms=now_ms if at_once else None,
    )


def _moved(alert: Alert, rule: Rule, sighting: Sighting | None, now_ms: int) -> Alert | None:
    """None: forget it."""
    if alert.state is State.PENDING:
        if sighting is None or not rule.raises(sighting.figure):
            return None
        if now_ms - alert.since_ms < rule.hold_s * MS_PER_S:
            return alert
        return replace(alert, state=State.RAISED, raised_ms=now_ms, figure=sighting.figure, detail=sighting.detail)
    if sighting is not None:
        return replace(alert, calm_ms=None)
    calm_ms = now_ms if alert.calm_ms is None else alert.calm_ms
    if now_ms - calm_ms < rule.calm_s * MS_PER_S:
        return replace(alert, calm_ms=calm_ms)
    return replace(alert, state=State.CLEARED, calm_ms=calm_ms, cleared_ms=now_ms)


# --- figures ------------------------------------------------------------------------------------------------------

SIGMAS_95_ONE_SIDED: Final = 1.645
YEAR_MS: Final = 365.25 * 86_400_000


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What two SoH records of one battery are compared by."""

    at_ms: int
    soh_pct: float | None
    sigma_pct: float | None
    measured_as: tuple[str | float | None, ...]  # method, basis, reference: another one is another quantity
    seen_s: float
    total_s: float
    observed_km: float
    odometer_km: float | None


def fade_pct_per_year(before: Glimpse, after: Glimpse) -> float | None:
    """At least so fast is it fading, with 95 % of certainty. None: the two cannot be compared."""
    years = (after.at_ms - before.at_ms) / YEAR_MS
    values = (before.soh_pct, after.soh_pct, before.sigma_pct, after.sigma_pct)
    if years <= 0 or before.measured_as != after.measured_as or None in values:
        return None
    soh_before, soh_after, sigma_before, sigma_after = (float(value or 0.0) for value in values)
    return (soh_before - soh_after - SIGMAS_95_ONE_SIDED * math.hypot(sigma_before, sigma_after)) / years


def coverage_drop_pct(before: Glimpse, after: Glimpse) -> float | None:
    """Percentage points: what was seen since `before`, against what had been seen until then; of time or of km.

    The greater of both: a box that sleeps through drives loses kilometres, one without power loses time.
    """
    drops = [
        _share_drop(before.seen_s, before.total_s, after.seen_s, after.total_s),
        None
        if before.odometer_km is None or after.odometer_km is None
        else _share_drop(before.observed_km, before.odometer_km, after.observed_km, after.odometer_km),
    ]
    known = [drop for drop in drops if drop is not None]
    return max(known) if known else None


def _share_drop(part_before: float, all_before: float, part_after: float, all_after: float) -> float | None:
    if all_before <= 0 or all_after <= all_before:
        return None
    before = min(1.0, part_before / all_before)
    since = min(1.0, max(0.0, (part_after - part_before) / (all_after - all_before)))
    return 100.0 * (before - since)
