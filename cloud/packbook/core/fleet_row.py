"""What the book makes of one battery for the operator's list, worked out once when something new is known of it.

In:  the newest SoH, the usage or SoH that tells coverage, and the prospect or the reason why there is none.
Out: a `Judged`, plain enough to be kept in one row. Forecasts cost milliseconds: a list of thousands cannot make them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from packbook.core.guarantee import Condition, Decision, Failed
from packbook.core.history import SohPoint, UsageTotals
from packbook.core.prospect import Lacking, Prospect

FULL_PCT: Final = 100.0


@dataclass(frozen=True, slots=True)
class Promise:
    """One "at least so much then", and what stands against it. The names are those of `guarantee.Decision`."""

    threshold_pct: float
    horizon_years: float
    horizon_km: float | None
    probability: float
    failed: tuple[Failed, ...]
    not_checked: tuple[str, ...]

    @property
    def offered(self) -> bool:
        return not self.failed


@dataclass(frozen=True, slots=True)
class Judged:
    """`lacking`: why there is no forecast; then there are no promises and no next use."""

    lacking: str | None = None
    promises: tuple[Promise, ...] = ()
    next_use: str | None = None
    refusals: Mapping[str, tuple[str, ...]] | None = None  # use -> reasons, best use first
    not_known: tuple[str, ...] = ()

    @property
    def strongest(self) -> Promise | None:
        """The promise that says most: highest SoH, then longest."""
        offered = [promise for promise in self.promises if promise.offered]
        return max(offered, key=lambda promise: (promise.threshold_pct, promise.horizon_years), default=None)


def judged(found: Prospect | Lacking) -> Judged:
    if isinstance(found, Lacking):
        return Judged(lacking=found.value)
    use = found.next_use
    return Judged(
        promises=tuple(_promise(decision) for decision in found.promises),
        next_use=use.use.value,
        refusals={refusal.use.value: tuple(reason.value for reason in refusal.reasons) for refusal in use.refusals},
        not_known=tuple(reason.value for reason in use.not_known),
    )


def _promise(made: Decision) -> Promise:
    return Promise(
        made.threshold_pct, made.horizon_years, made.horizon_km, made.probability, made.failed, made.not_checked
    )


def as_json(told: Judged) -> dict[str, Any]:
    """Infinite figures (a knee out of nothing) have no JSON: they are told as None."""
    said = asdict(told)
    for promise in said["promises"]:
        for failed in promise["failed"]:
            failed["found"] = failed["found"] if abs(failed["found"]) != float("inf") else None
    return said


def from_json(said: Mapping[str, Any]) -> Judged:
    return Judged(
        lacking=said["lacking"],
        promises=tuple(
            Promise(
                **{
                    **promise,
                    "failed": tuple(_failed(failed) for failed in promise["failed"]),
                    "not_checked": tuple(promise["not_checked"]),
                }
            )
            for promise in said["promises"]
        ),
        next_use=said["next_use"],
        refusals={use: tuple(reasons) for use, reasons in (said["refusals"] or {}).items()},
        not_known=tuple(said["not_known"]),
    )


def _failed(said: Mapping[str, Any]) -> Failed:
    found = float("inf") if said["found"] is None else said["found"]
    return Failed(Condition(said["condition"]), found, said["asked"])


def coverage_pct(usage: Sequence[UsageTotals], newest: SohPoint | None) -> float | None:
    """Share of the time since a box watches that was seen or followed from what was seen."""
    told: Sequence[UsageTotals | SohPoint] = usage or ([newest] if newest is not None else [])
    known_s = sum(part.observed_s + part.inferred_s for part in told)
    total_s = known_s + sum(part.unobserved_s for part in told)
    return FULL_PCT * known_s / total_s if total_s > 0.0 else None
