"""What a sheet says of the future: the fan of the forecast, when thresholds are met, what may be promised, what next.

In:  a `Record`. Out: blocks. Nothing is told without its odds, and a promise that is refused names what it failed on.
"""

from __future__ import annotations

from typing import Final

from packbook.core.formats.sheet.blocks import Block, Stack, Table, Text
from packbook.core.formats.sheet.drawings import Fan
from packbook.core.formats.sheet.pen import BODY, NOTE, STRONG
from packbook.core.formats.sheet.record import Record, condition, reason, said
from packbook.core.formats.writing import number
from packbook.core.passport import Fact
from packbook.core.words import ABSENT

THRESHOLDS: Final = (80, 70)
MONTHS_A_YEAR: Final = 12.0
LABEL_SHARE: Final = 0.16
PROMISES_MAX: Final = 12
TERMS_MAX: Final = 3
SURE_MAX: Final = 0.99
Term = tuple[float, float]  # years and km, whichever comes first; 0: not named


def outlook(record: Record) -> tuple[Block, Block, Block]:
    """Forecast, promises, next use. None of them while the history is in dispute, whatever the record still holds."""
    if record.passport.doubts:
        refused = Text(record.t("prospect.lacking.disputed"), BODY, most=4)
        return refused, refused, refused
    return forecast(record), guarantee(record), next_use(record)


def forecast(record: Record) -> Block:
    t = record.t
    ahead = record.all("forecast_soh_pct")
    points = [point for fact in ahead if (point := _point(fact)) is not None]
    blocks: list[Block] = []
    if points:
        soh = next(iter(record.all("soh_capacity_pct")), None)
        now = None if soh is None or soh.lo90 is None or soh.hi90 is None else number(soh)
        if soh is not None and now is not None:
            points.append((0.0, now, soh.lo90 or now, soh.hi90 or now))
        points.sort()
        words = tuple(
            t("sheet.now") if not months else t("sheet.in_years", n=_years(record, months)) for months, *_ in points
        )
        blocks.append(Fan(tuple(points), tuple(float(pct) for pct in THRESHOLDS), words))
    rows = [row for pct in THRESHOLDS if (row := _passage(record, pct)) is not None]
    if rows:
        head = ("", t("sheet.early"), t("sheet.middle"), t("sheet.late"))
        blocks.append(Table((0.18, 0.265, 0.295, 0.26), head, tuple(rows), strong=frozenset({2}), size=6.5))
    if not blocks:
        why = next((fact.why for fact in ahead if fact.why), None)
        return Text(reason(t, why) if why else t("sheet.no_forecast"), BODY, most=4)
    blocks.append(Text(t("sheet.forecast_note"), NOTE, most=2))
    return Stack(tuple(blocks), gap=4.0)


def _point(fact: Fact) -> tuple[float, float, float, float] | None:
    months, value = condition(fact, "months"), number(fact)
    if months is None or value is None or fact.lo90 is None or fact.hi90 is None:
        return None
    return months, value, fact.lo90, fact.hi90


def _years(record: Record, months: float) -> str:
    years = months / MONTHS_A_YEAR
    return record.t.number(years, 0 if years == int(years) else 1)


def _passage(record: Record, pct: int) -> tuple[str, ...] | None:
    """Early, middle and late: 5, 50 and 95 times in 100 it is below by then."""
    t = record.t
    months, km = record.all(f"months_to_{pct}_pct"), record.all(f"km_to_{pct}_pct")
    if not months and not km:
        return None
    cells = [t("sheet.below", pct=pct)]
    for which in ("lo90", "value", "hi90"):
        told = [_time(record, fact, which) for fact in months[:1]]
        distances = [getattr(fact, which) for fact in km[:1]]
        told += [t.number(distance, 0, "km") for distance in distances if isinstance(distance, int | float)]
        cells.append(t.joined(told) if told else ABSENT)
    return tuple(cells)


def _time(record: Record, fact: Fact, which: str) -> str:
    found = getattr(fact, which)
    if isinstance(found, int | float):
        return record.t("sheet.years", n=record.t.number(found / MONTHS_A_YEAR, 1))
    return record.t("sheet.beyond")


def guarantee(record: Record) -> Block:
    t = record.t
    decisions = record.some("guarantee", PROMISES_MAX)
    made = [fact for fact in decisions if fact.value is not None]
    terms = sorted({_term(fact) for fact in made})[:TERMS_MAX]
    thresholds = sorted({threshold for fact in made if (threshold := condition(fact, "threshold_pct"))}, reverse=True)
    if not terms or not thresholds:
        why = next((fact.why for fact in decisions if fact.why), None)
        return Text(reason(t, why) if why else t("sheet.no_guarantee"), BODY, most=3)
    rows = []
    for threshold in thresholds:
        cells = [_decision(record, made, threshold, term) for term in terms]
        rows.append((t.number(threshold, 0, "%"), *cells))
    wide = (1.0 - LABEL_SHARE) / len(terms)
    head = (t("sheet.at_least"), *(_term_words(record, term) for term in terms))
    blocks: list[Block] = [Table((LABEL_SHARE, *(wide for _ in terms)), head, tuple(rows), most=4, size=6.5)]
    unchecked = {name: None for fact in decisions for name in _names(said(fact, "not_checked"))}
    if unchecked:
        names = t.joined(t.or_raw("condition", f"{name}.name") for name in unchecked)
        blocks.append(Text(t("prospect.not_checked", names=names), NOTE, most=2))
    return Stack(tuple(blocks), gap=2.0)


def _term(fact: Fact) -> Term:
    return condition(fact, "years") or 0.0, condition(fact, "km") or 0.0


def _term_words(record: Record, term: Term) -> str:
    t, (years, km) = record.t, term
    told = t("sheet.in_years_time", n=t.number(years, 0 if years == int(years) else 1))
    return t("sheet.or_km", years=told, km=t.number(km, 0, "km")) if km else told


def _decision(record: Record, made: list[Fact], threshold: float, term: Term) -> str:
    t = record.t
    fact = next((one for one in made if condition(one, "threshold_pct") == threshold and _term(one) == term), None)
    if fact is None:
        return ABSENT
    told = t.or_raw("sheet_guarantee", str(fact.value))
    probability = condition(fact, "probability")
    if probability is not None:
        told = t("sheet.with_odds", decision=told, odds=_odds(record, probability))
    failed = [t.or_raw("condition", f"{name}.name") for name in _names(said(fact, "failed"))]
    return t("sheet.failed", decision=told, names=t.joined(failed)) if failed else told


def _odds(record: Record, probability: float) -> str:
    """No promise is certain, so none is called so."""
    if probability > SURE_MAX:
        return record.t("sheet.over", pct=record.t.number(SURE_MAX * 100.0, 0))
    return record.t.number(probability * 100.0, 0, "%")


def _names(listed: str | None) -> list[str]:
    return [name.strip() for name in (listed or "").split(",") if name.strip()]


def next_use(record: Record) -> Block:
    t = record.t
    fact = record.first("next_use")
    if fact is None:
        return Text(t("sheet.no_next_use"), BODY, most=3)
    use = str(fact.value)
    blocks: list[Block] = [Text(t.or_raw("next_use", f"{use}.name"), STRONG, most=1)]
    refusals = [_refusal(record, refusal) for refusal in (said(fact, "refused") or "").split(";") if refusal.strip()]
    told = [t.or_raw("next_use", f"{use}.text"), *refusals]
    unknown = [t.or_raw("sheet_unknown", name) for name in _names(said(fact, "not_known"))]
    if unknown:
        told.append(t("prospect.not_checked", names=t.joined(unknown)))
    told.append(t("next_use.note"))
    blocks.append(Text(t.joined(told, "sentences"), NOTE, most=5))
    return Stack(tuple(blocks), gap=0.5)


def _refusal(record: Record, refusal: str) -> str:
    t = record.t
    use, _, reasons = refusal.partition(":")
    words = t.joined(t.or_raw("next_use_reason", name) for name in _names(reasons))
    return t("next_use.refused", use=t.or_raw("next_use", f"{use.strip()}.name"), reasons=words)
