"""The first half of a sheet: what may not be overlooked, the state of health, how it was found, who else says what.

In:  a `Record`. Out: blocks. Where nothing sure can be said there is no number, and the reason stands in its place.
"""

from __future__ import annotations

from typing import Final

from packbook.core.formats.sheet.blocks import Alarm, Block, Pair, Pairs, Stack, Text
from packbook.core.formats.sheet.drawings import Bar, Opinion, Opinions
from packbook.core.formats.sheet.pen import BODY, Style
from packbook.core.formats.sheet.record import Record, condition, reason, said, since
from packbook.core.formats.writing import number
from packbook.core.passport import Fact, Source
from packbook.core.rounding import ShownSoh, shown
from packbook.core.wording import by_whom
from packbook.core.words import ABSENT

BIG: Final = Style(size=28.0, bold=True)
SURE: Final = "ok"
NO_FIGURE: Final = "none"
DISPUTED: Final = "disputed"
DECLARED_MAX: Final = 3  # diagnoses of others, the newest
SCALE_LOW_PCT: Final = 50.0


def state_of(record: Record) -> str:
    """As the box says; worse where the book knows better, `missing` where there is no such fact at all."""
    if record.passport.doubts:
        return DISPUTED
    facts = record.passport.facts.get("soh_capacity_pct", ())
    if not facts:
        return "missing" if record.passport.coverage is not None or _tells_of_life(record) else "empty"
    if facts[0].value is None:
        return NO_FIGURE
    if rounded(facts[0]) is None:
        return "unsure"
    state = said(facts[0], "state") or SURE
    return "learning" if state == NO_FIGURE else state  # there is one, so it is young


def _tells_of_life(record: Record) -> bool:
    return any(fact.source is not Source.DECLARED for facts in record.passport.facts.values() for fact in facts)


def rounded(fact: Fact) -> ShownSoh | None:
    """None: without its uncertainty no figure is told."""
    value = number(fact)
    if value is None or fact.lo90 is None or fact.hi90 is None:
        return None
    return shown(value, fact.lo90, fact.hi90)


def alarm(record: Record) -> Alarm | None:
    state, t = state_of(record), record.t
    if state == SURE:
        return None
    words = [t.or_raw("sheet_alarm_text", state)]
    soh = next(iter(record.passport.facts.get("soh_capacity_pct", ())), None)
    if state == NO_FIGURE and soh is not None and soh.why:
        words.append(t("sheet.box_says", why=reason(t, soh.why)))
    words += [t(f"sheet_doubt.{kind}") for kind in record.passport.doubts if f"sheet_doubt.{kind}" in t.messages]
    return Alarm(t.or_raw("sheet_alarm", state), t.joined(words, "sentences"))


def headline(record: Record) -> Block:
    t = record.t
    soh = next(iter(record.all("soh_capacity_pct")), None)
    figure = None if soh is None or state_of(record) in (DISPUTED, NO_FIGURE) else rounded(soh)
    if soh is None or figure is None:
        return Stack((Text(ABSENT, BIG), Text(t("sheet.no_figure"), Style(size=8.6, bold=True), most=2)), gap=0.0)
    digits = figure.digits
    low, high = t.number(figure.lo_pct, digits), t.number(figure.hi_pct, digits)
    reference = condition(soh, "reference_ah")
    lines: list[Block] = [
        Text(
            t("sheet.value", value=t.number(figure.value_pct, digits), half=t.number(figure.half_pct, digits)), BIG, 1
        ),
        Bar(figure.value_pct, figure.lo_pct, figure.hi_pct, _start(figure.lo_pct)),
        Text(t("sheet.between", lo=low, hi=high), Style(size=8.6, bold=True), most=2),
    ]
    if reference is not None:
        lines.append(Text(t("sheet.of_reference", ah=t.number(reference, 1)), BODY, most=2))
    return Stack(tuple(lines), gap=0.5)


def method_card(record: Record) -> Block:
    """What the figure rests on: without this it is a number like any other."""
    t = record.t
    soh = next(iter(record.all("soh_capacity_pct")), None)
    if soh is None:
        return Text(t("sheet.no_method"), BODY, most=3)
    basis, readings = said(soh, "basis"), condition(soh, "readings")
    reference, source = condition(soh, "reference_ah"), said(soh, "reference_source")
    capacity = next((fact for fact in record.all("remaining_capacity_ah") if fact.by == soh.by), None)
    now = ABSENT
    if capacity is not None and number(capacity) is not None and state_of(record) != DISPUTED:
        now = t.number(number(capacity), 1, "Ah")
    seen = record.passport.coverage
    return Pairs(
        (
            Pair(t("sheet.method"), soh.method or ABSENT, by_whom(t, soh)),
            Pair(t("sheet.rests_on"), t.or_raw("basis", basis) if basis else ABSENT),
            Pair(t("sheet.readings"), t.number(readings)),
            Pair(t("sheet.watched_since"), since(t, seen.since_ms if seen else None)),
            Pair(t("sheet.reference"), t.number(reference, 1, "Ah" if reference is not None else ""), source),
            Pair(t("sheet.capacity_now"), now),
        ),
        label_share=0.46,
    )


def opinions(record: Record) -> Block:
    """Ours, the car's, the certified energy's, other people's: side by side, never merged."""
    t = record.t
    rows = [
        _ours(record, "soh_capacity_pct", "ours"),
        _told(record, "soh_reported_pct", "car"),
        _ours(record, "soce_pct", "soce"),
        _told(record, "soce_reported_pct", "soce_car"),
        *(_foreign(record, fact) for fact in record.some("soh_declared_pct", DECLARED_MAX)),
    ]
    kept = tuple(row for row in rows if row is not None)
    lowest = min((v for row in kept for v in (row.lo, row.value) if v is not None), default=100.0)
    head = (t("sheet.who"), t("sheet.says"), t("sheet.interval"), t("sheet.to_ours"))
    return Opinions(kept, head, _start(lowest))


def _start(lowest: float) -> float:
    """Of the axis. Few packs on the road are below half."""
    return SCALE_LOW_PCT if lowest >= SCALE_LOW_PCT else 0.0


def _ours(record: Record, field: str, name: str) -> Opinion | None:
    t = record.t
    fact = next(iter(record.all(field)), None)
    label = t(f"sheet_who.{name}")
    if fact is None:
        return Opinion(label, t("sheet.not_in_record"), ABSENT, "", "", None)
    if record.passport.doubts:
        return Opinion(label, t("sheet.in_dispute"), ABSENT, "", "", None)
    figure, value = rounded(fact), number(fact)
    note = _note(record, fact)
    if figure is not None:
        digits = figure.digits
        interval = t("sheet.range", lo=t.number(figure.lo_pct, digits), hi=t.number(figure.hi_pct, digits))
        words = t.number(figure.value_pct, digits, "%")
        return Opinion(label, note, words, interval, "", value, figure.lo_pct, figure.hi_pct)
    if value is None:
        return Opinion(label, reason(t, fact.why) if fact.why else t("sheet.no_figure"), ABSENT, "", "", None)
    if field == "soh_capacity_pct":
        return Opinion(label, t("soh.no_interval"), ABSENT, "", "", None)
    return Opinion(label, note, t.number(value, 0, "%"), t("sheet.no_interval"), "", value)


def _told(record: Record, field: str, name: str) -> Opinion | None:
    """The car tells no uncertainty, so no more than whole percent is repeated of it."""
    t = record.t
    found = record.all(field)
    if not found:
        return (
            Opinion(t(f"sheet_who.{name}"), t("sheet.not_in_record"), ABSENT, "", "", None) if name == "car" else None
        )
    fact = found[0]
    value = number(fact)
    words = t.number(value, 0, "%" if value is not None else "")
    away = _away(record, fact) if field == "soh_reported_pct" else _dispute(record)
    return Opinion(t(f"sheet_who.{name}"), _note(record, fact), words, t("sheet.no_interval"), away, value)


def _away(record: Record, fact: Fact) -> str:
    """From our own figure of the same day: two opinions of one quantity."""
    if record.passport.doubts:
        return _dispute(record)
    ours = next(iter(record.all("soh_capacity_pct")), None)
    known = ours is not None and rounded(ours) is not None and ours.at_ms == fact.at_ms
    told, value = (None if ours is None else number(ours)), number(fact)
    return _points(record, value - told) if known and told is not None and value is not None else ""


def _dispute(record: Record) -> str:
    return record.t("sheet.in_dispute") if record.passport.doubts else ""


def _points(record: Record, away: float) -> str:
    sign = "+" if away > 0 else ""
    return record.t("sheet.points", points=sign + record.t.number(away, 1))


def _foreign(record: Record, fact: Fact) -> Opinion:
    t = record.t
    value, apart = number(fact), condition(fact, "difference_pct")
    note = f"{t('sheet.foreign', by=fact.by, method=fact.method or ABSENT)} · {since(t, fact.at_ms)}"
    away = ""
    if apart is not None and not record.passport.doubts:
        agrees = said(fact, "agrees")
        verdict = t(f"sheet_agrees.{agrees}") if agrees in ("yes", "no") else t("sheet_agrees.unknown")
        away = t("sheet.away", points=_points(record, apart), verdict=verdict)
    interval = t("sheet.no_interval")
    if fact.lo90 is not None and fact.hi90 is not None:
        interval = t("sheet.range", lo=t.number(fact.lo90, 1), hi=t.number(fact.hi90, 1))
    words = t.number(value, 1, "%" if value is not None else "")
    return Opinion(t("sheet_who.foreign"), note, words, interval, away, value, fact.lo90, fact.hi90)


def _note(record: Record, fact: Fact) -> str:
    t = record.t
    told = [by_whom(t, fact)]
    if fact.method:
        told.append(fact.method)
    told.append(since(t, fact.at_ms))
    return " · ".join(told)
