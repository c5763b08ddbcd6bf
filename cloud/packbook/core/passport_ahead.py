"""What the record says of the future: forecast, times and distances to the thresholds, promises, next use.

In:  a `Prospect`, or why there is none, and the newest reading. Out: facts, all the book's own work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from packbook.core.derived import BOOK
from packbook.core.forecast import LIFE_MAX_YEARS, MONTHS_A_YEAR
from packbook.core.guarantee import Decision
from packbook.core.history import SohPoint
from packbook.core.passport import Fact, Source, Value
from packbook.core.prospect import Lacking, Prospect

TOLD_MONTHS: Final = (12, 24, 36)
SURE_MAX: Final = 0.999  # beyond, the figure would claim to know more than the model does
WHY: Final = {
    Lacking.NO_VALUE: "no dated state of health with its uncertainty to go on from",
    Lacking.TOO_FEW: "too few months of readings for a forecast",
    Lacking.DISPUTED: "the history is in dispute",
}
BEYOND: Final = f"beyond {LIFE_MAX_YEARS:g} years"


def facts_ahead(prospect: Prospect | Lacking, newest: SohPoint | None) -> list[tuple[str, Fact]]:
    if newest is None:
        return []
    evidence = (newest.provenance,)
    if isinstance(prospect, Lacking):
        why = WHY[prospect]
        return [("forecast_soh_pct", Fact(None, "", None, Source.MEASURED, BOOK, why=why, evidence=evidence))]
    method = f"forecast/{prospect.model_version}"

    def fact(value: Value | None, **more: float | str) -> Fact:
        return Fact(value, "", prospect.from_ms, Source.MEASURED, BOOK, method, conditions=more, evidence=evidence)

    return [
        *_months(prospect, method, evidence_of=newest),
        *_passages(prospect, method, evidence_of=newest),
        *(("guarantee", fact("offered" if d.offered else "not offered", **_promise(d))) for d in prospect.promises),
        ("next_use", fact(prospect.next_use.use.value, **_against(prospect))),
    ]


def _months(prospect: Prospect, method: str, evidence_of: SohPoint) -> Iterable[tuple[str, Fact]]:
    taught = {"vehicles_learned_from": float(prospect.vehicles), "readings": float(prospect.readings)}
    for ahead in TOLD_MONTHS:
        if ahead < len(prospect.months):
            month = prospect.months[ahead]
            yield (
                "forecast_soh_pct",
                Fact(
                    month.soh_pct,
                    "",
                    prospect.from_ms,
                    Source.MEASURED,
                    BOOK,
                    method,
                    lo90=month.lo90_pct,
                    hi90=month.hi90_pct,
                    conditions={"months": float(ahead), **taught},
                    evidence=(evidence_of.provenance,),
                ),
            )


def _passages(prospect: Prospect, method: str, evidence_of: SohPoint) -> Iterable[tuple[str, Fact]]:
    for passage in prospect.passages:
        months = tuple(None if years is None else years * MONTHS_A_YEAR for years in passage.years)
        told = {"months": months, "km": passage.km}
        for unit, points in told.items():
            if points is None:
                continue
            low, middle, high = points
            yield (
                f"{unit}_to_{passage.threshold_pct:g}_pct",
                Fact(
                    middle,
                    "",
                    prospect.from_ms,
                    Source.MEASURED,
                    BOOK,
                    method,
                    lo90=low,
                    hi90=high,
                    why=BEYOND if middle is None else None,
                    conditions={} if high is not None else {"latest": BEYOND},
                    evidence=(evidence_of.provenance,),
                ),
            )


def _promise(decision: Decision) -> dict[str, float | str]:
    told: dict[str, float | str] = {
        "threshold_pct": decision.threshold_pct,
        "years": decision.horizon_years,
        "probability": min(decision.probability, SURE_MAX),
    }
    if decision.horizon_km is not None:
        told["km"] = decision.horizon_km
    if decision.failed:
        told["failed"] = ", ".join(failed.condition.value for failed in decision.failed)
    if decision.not_checked:
        told["not_checked"] = ", ".join(condition.value for condition in decision.not_checked)
    return told


def _against(prospect: Prospect) -> dict[str, float | str]:
    refused = "; ".join(
        f"{refusal.use}: {', '.join(reason.value for reason in refusal.reasons)}"
        for refusal in prospect.next_use.refusals
    )
    not_known = ", ".join(reason.value for reason in prospect.next_use.not_known)
    return {name: told for name, told in (("refused", refused), ("not_known", not_known)) if told}
