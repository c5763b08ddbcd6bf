"""What comes next, in words: the forecast, what may be promised, and the next use.

In:  a `Prospect`, or why there is none. Out: a `ProspectPart`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packbook.core.forecast import LIFE_MAX_YEARS, Passage
from packbook.core.guarantee import Decision
from packbook.core.prospect import Lacking, Prospect
from packbook.core.triage import Triage
from packbook.core.words import ABSENT, Words
from packbook.web import charts
from packbook.web.charts import Table
from packbook.web.conditions import failed_text
from packbook.web.figures import Figure


@dataclass(frozen=True, slots=True)
class ProspectPart:
    """The forecast in words. `lacking`: why there is none, and then the rest is empty."""

    lacking: str | None
    basis: str | None = None
    months: Table | None = None
    passages: tuple[Figure, ...] = ()
    promises: Table | None = None
    not_checked: str | None = None
    next_use: Figure | None = None
    refusals: tuple[str, ...] = ()


def told(t: Words, prospect: Prospect | Lacking) -> ProspectPart:
    if isinstance(prospect, Lacking):
        return ProspectPart(t(f"prospect.lacking.{prospect}"))
    taught = t.count("prospect.fleet", prospect.vehicles) if prospect.vehicles else t("prospect.prior")
    age = "documented" if prospect.age_documented else "inferred"
    not_checked = {name: None for promise in prospect.promises for name in promise.not_checked}
    return ProspectPart(
        None,
        basis=t.joined(
            (
                t.count("prospect.readings", prospect.readings),
                taught,
                t(f"prospect.age_{age}", years=t.number(prospect.age_years, 1)),
                t("prospect.model", version=prospect.model_version),
            ),
            "sentences",
        ),
        months=charts.ahead_table(t, prospect),
        passages=tuple(_passage(t, passage) for passage in prospect.passages),
        promises=_promises(t, prospect.promises),
        not_checked=t.joined(t(f"condition.{name}.name") for name in not_checked) if not_checked else None,
        next_use=_next_use(t, prospect.next_use),
        refusals=tuple(
            t(
                "next_use.refused",
                use=t(f"next_use.{refusal.use}.name"),
                reasons=t.joined(t(f"next_use_reason.{reason}") for reason in refusal.reasons),
            )
            for refusal in prospect.next_use.refusals
        ),
    )


def _passage(t: Words, passage: Passage) -> Figure:
    """The middle, and from when to when it may come. The unlikely ends are part of the figure."""
    soonest, middle, latest = passage.years
    name = t("prospect.below", threshold=t.number(passage.threshold_pct))
    if latest == 0.0:
        return Figure(name, t("prospect.now"))
    detail = t("prospect.between", low=_bound(t, soonest), high=_bound(t, latest))
    if passage.km and passage.km[0] is not None:
        km = passage.km[1]
        reach = t("prospect.beyond_km") if km is None else t.number(round(km, -2), 0, "km")
        detail = t("prospect.with_km", between=detail, km=reach)
    return Figure(name, _years(t, middle), detail)


def _years(t: Words, years: float | None) -> str:
    if years is None:
        return t("prospect.beyond", years=t.number(LIFE_MAX_YEARS))
    return t("prospect.now") if years == 0.0 else t("prospect.years", years=t.number(years, 1))


def _bound(t: Words, years: float | None) -> str:
    return t("prospect.over", years=t.number(LIFE_MAX_YEARS)) if years is None else t.number(years, 1)


def _promises(t: Words, promises: Sequence[Decision]) -> Table:
    rows = tuple(
        (
            _promise(t, p),
            _probability(t, p.probability),
            t("prospect.offered") if p.offered else t("prospect.not_offered"),
            t.joined(failed_text(t, failed) for failed in p.failed) if p.failed else ABSENT,
        )
        for p in promises
    )
    names = ("promise", "probability", "decision", "against")
    return Table(t("prospect.promises"), tuple(t(f"column.{name}") for name in names), rows, frozenset({3}))


def _promise(t: Words, asked: Decision) -> str:
    threshold, years = t.number(asked.threshold_pct), t.number(asked.horizon_years)
    if asked.horizon_km is None:
        return t("prospect.promise", threshold=threshold, years=years)
    return t("prospect.promise_km", threshold=threshold, years=years, km=t.number(asked.horizon_km, 0, "km"))


def _probability(t: Words, probability: float) -> str:
    """Never certain, never impossible."""
    return t.number(min(99.0, max(1.0, probability * 100.0)), 0, "%")


def _next_use(t: Words, found: Triage) -> Figure:
    return Figure(t("next_use.title"), t(f"next_use.{found.use}.name"), t(f"next_use.{found.use}.text"))
