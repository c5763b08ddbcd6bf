"""What changed in a battery's state of health since earlier readings, and whether that is more than its uncertainty.

In:  SoH points, oldest first.
Out: `Changes`: the newest figure against the one before, a month ago, and the first 90 days; which methods moved it.
Readings of another battery, another reference or another basis are not compared: those are other scales.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.history import Estimate, SohPoint
from packbook.core.rounding import SIGMAS_90

DAY_MS: Final = 86_400_000
MONTH_MS: Final = 30 * DAY_MS
START_MS: Final = 90 * DAY_MS  # "change since commissioning" is against the first 90 days (facts/soh.md §6)
SHARED_PART: Final = 1 / 3  # of the absolute sigma stays in a difference, the errors of scale cancel (facts/soh.md §6)
MOVED_MIN_AH: Final = 0.05  # less is the rounding of the wire


class Since(StrEnum):
    """Compared with what. The names are stable: the pages' catalogues use them."""

    PREVIOUS = "previous"
    MONTH = "month"
    START = "start"


class Verdict(StrEnum):
    WITHIN = "within"  # the uncertainty: nothing is known to have changed
    FALLEN = "fallen"
    RISEN = "risen"


class Break(StrEnum):
    """Why nothing older is compared."""

    REPLACED = "replaced"
    REFERENCE = "reference"
    BASIS = "basis"


@dataclass(frozen=True, slots=True)
class Change:
    since: Since
    before: SohPoint
    diff_pct: float
    half_pct: float  # of the 90 % interval of the difference

    @property
    def verdict(self) -> Verdict:
        if abs(self.diff_pct) <= self.half_pct:
            return Verdict.WITHIN
        return Verdict.RISEN if self.diff_pct > 0 else Verdict.FALLEN


@dataclass(frozen=True, slots=True)
class Moved:
    """One method's opinion then and now. None: it had none."""

    method: str
    before_ah: float | None
    now_ah: float | None
    readings: int  # more than then
    sessions: tuple[int, ...]  # numbers of those that are new among its evidence


@dataclass(frozen=True, slots=True)
class Changes:
    now: SohPoint
    changes: tuple[Change, ...]
    moved: tuple[Moved, ...]  # since the month before, or the oldest reading compared; what weighs most first
    moved_since: SohPoint | None
    stopped: Break | None


def changes_of(points: Sequence[SohPoint]) -> Changes | None:
    """None: there is no dated figure with its uncertainty yet."""
    usable = [p for p in points if p.at_ms is not None and p.soh_pct is not None and p.sigma_pct is not None]
    if not usable:
        return None
    usable.sort(key=_at)
    now = usable[-1]
    earlier, stopped = _comparable(usable)
    compared: dict[Since, SohPoint] = {}
    if earlier:
        compared[Since.PREVIOUS] = earlier[-1]
        month = [p for p in earlier if _at(now) - _at(p) >= MONTH_MS]
        if month:
            compared[Since.MONTH] = month[-1]
        start = [p for p in earlier if _at(p) - _at(earlier[0]) <= START_MS]
        if _at(now) - _at(start[-1]) >= MONTH_MS:
            compared[Since.START] = start[-1]
    base = compared.get(Since.MONTH, earlier[0] if earlier else None)
    return Changes(
        now,
        tuple(_change(since, before, now) for since, before in compared.items()),
        () if base is None else _moved(base, now),
        base,
        stopped,
    )


def _at(point: SohPoint) -> int:
    assert point.at_ms is not None
    return point.at_ms


def _comparable(usable: Sequence[SohPoint]) -> tuple[Sequence[SohPoint], Break | None]:
    """The readings before the newest that are of the same scale, oldest first, and what ended them."""
    now, begin = usable[-1], len(usable) - 1
    while begin > 0:
        later, before = usable[begin], usable[begin - 1]
        if later.state == "replaced":
            return usable[begin:-1], Break.REPLACED
        if before.reference_ah != now.reference_ah:
            return usable[begin:-1], Break.REFERENCE
        if before.basis != now.basis:
            return usable[begin:-1], Break.BASIS
        begin -= 1
    return usable[:-1], None


def _change(since: Since, before: SohPoint, now: SohPoint) -> Change:
    """What both readings share is in both; what the earlier one had more of is its own noise."""
    assert before.soh_pct is not None
    assert now.soh_pct is not None
    assert before.sigma_pct is not None
    assert now.sigma_pct is not None
    own = math.sqrt(max(0.0, before.sigma_pct**2 - now.sigma_pct**2))
    sigma = math.hypot(SHARED_PART * now.sigma_pct, own)
    return Change(since, before, now.soh_pct - before.soh_pct, SIGMAS_90 * sigma)


def _moved(before: SohPoint, now: SohPoint) -> tuple[Moved, ...]:
    then = {estimate.method: estimate for estimate in before.estimates}
    weighed = [(_pull(then.get(e.method), e), _move(then.get(e.method), e)) for e in now.estimates]
    return tuple(move for _, move in sorted(weighed, key=lambda one: -one[0]) if _counts(move))


def _move(before: Estimate | None, now: Estimate) -> Moved:
    return Moved(
        now.method,
        None if before is None else before.capacity_ah,
        now.capacity_ah,
        max(0, now.n - (0 if before is None else before.n)),
        tuple(session for session in now.evidence if before is None or session not in before.evidence),
    )


def _pull(before: Estimate | None, now: Estimate) -> float:
    """How hard it pulled at the weighed figure: its move, by its certainty."""
    if now.capacity_ah is None or not now.sigma_ah:
        return 0.0
    moved = 0.0 if before is None or before.capacity_ah is None else now.capacity_ah - before.capacity_ah
    return (abs(moved) + MOVED_MIN_AH) / now.sigma_ah**2


def _counts(move: Moved) -> bool:
    if (move.before_ah is None) != (move.now_ah is None):
        return True
    shift = 0.0 if move.before_ah is None or move.now_ah is None else abs(move.now_ah - move.before_ah)
    return shift >= MOVED_MIN_AH or (move.now_ah is not None and move.readings > 0)
