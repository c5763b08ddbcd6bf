"""The life of a battery on a sheet: how much of it was seen, what it did, how hot and full it stood, what harmed it.

In:  a `Record`. Out: blocks. What is not in the record is said to be absent, never to be nothing.
"""

from __future__ import annotations

from typing import Final

from packbook.core.formats.sheet.blocks import Block, Pair, Pairs, Stack, Text
from packbook.core.formats.sheet.drawings import HeatMap, Shares
from packbook.core.formats.sheet.pen import BODY, NOTE, STRONG, Style
from packbook.core.formats.sheet.record import Record, condition, share, since
from packbook.core.formats.writing import number
from packbook.core.passport import Axis, Coverage, Fact, Histogram, Source
from packbook.core.wording import value_text
from packbook.core.words import ABSENT, Words

GAPS_TOLD: Final = 2
EVENTS_MAX: Final = 6  # as many kinds as there are
ACCIDENTS_MAX: Final = 2
FULL_PCT: Final = 80.0  # full and hot together age a battery most
HOT_DEGC: Final = 30.0
OBSERVED, INFERRED, UNSEEN = 0.25, 0.68, 1.0  # greys of the bar
SECONDS_AN_HOUR: Final = 3600.0


def coverage(record: Record) -> Block:
    t, seen = record.t, record.passport.coverage
    if seen is None:
        return Text(t("sheet.no_coverage"), BODY, most=4)
    span = t("sheet.span", since=since(t, seen.since_ms), until=since(t, seen.until_ms))
    unseen_s = seen.unobserved_s + (seen.unwatched_s or 0.0)
    whole_s = seen.observed_s + seen.inferred_s + unseen_s
    blocks: list[Block] = [Text(span, STRONG, most=2)]
    if whole_s > 0.0:
        parts = (seen.observed_s / whole_s, seen.inferred_s / whole_s, unseen_s / whole_s)
        blocks.append(Shares(tuple(zip(parts, (OBSERVED, INFERRED, UNSEEN), strict=True))))
        names = ("measured", "parked", "unseen")
        shares = [share(t, part) for part in parts]
        shares[0] = t("sheet.share_hours", share=shares[0], hours=t.number(seen.observed_s / SECONDS_AN_HOUR))
        told = [t(f"sheet.seen_{name}", share=part) for name, part in zip(names, shares, strict=True)]
        blocks.append(Text(t.joined(told), NOTE, most=2))
    rows = [
        Pair(t("coverage.km"), t.number(seen.observed_km, 0, "km"), _of_odometer(record, seen)),
        Pair(t("sheet.gaps"), t.count("sheet.gap_count", len(seen.gaps)), _newest_gaps(t, seen)),
    ]
    return Stack((*blocks, Pairs(tuple(rows), 0.42)), gap=2.0)


def _of_odometer(record: Record, seen: Coverage) -> str | None:
    t = record.t
    km = record.number("odometer_km") or seen.odometer_km
    if not km:
        return None
    return t("coverage.of_odometer", share=share(t, min(1.0, seen.observed_km / km)), km=t.number(km))


def _newest_gaps(t: Words, seen: Coverage) -> str | None:
    told = [f"{t.or_raw('event', gap.kind)} {since(t, gap.at_ms)}" for gap in seen.gaps[:GAPS_TOLD]]
    return t.joined(told) if told else None


def use(record: Record) -> Block:
    t = record.t
    rows = [
        Pair(t("sheet.charges"), _charges(record, Source.MEASURED), _charges_of_car(record)),
        Pair(t("field.full_cycles"), _value(record, "full_cycles"), _reference(record)),
        Pair(t("field.energy_throughput_kwh"), _value(record, "energy_throughput_kwh")),
        Pair(t("field.energy_delivered_kwh"), _value(record, "energy_delivered_kwh")),
        Pair(t("field.charge_throughput_ah"), _value(record, "charge_throughput_ah")),
    ]
    return Pairs(tuple(rows), 0.45)


def _charges(record: Record, source: Source) -> str:
    ac, dc = (record.number(f"charges_{kind}", source) for kind in ("ac", "dc"))
    return (
        ABSENT if ac is None and dc is None else record.t("sheet.ac_dc", ac=record.t.number(ac), dc=record.t.number(dc))
    )


def _charges_of_car(record: Record) -> str | None:
    told = _charges(record, Source.VEHICLE)
    return None if told == ABSENT else record.t("sheet.car_counts", told=told)


def _reference(record: Record) -> str | None:
    fact = record.first("full_cycles")
    ah = None if fact is None else condition(fact, "reference_ah")
    return None if ah is None else record.t("sheet.cycles_of", ah=record.t.number(ah, 1))


def _value(record: Record, field: str) -> str:
    fact = record.first(field)
    return ABSENT if fact is None else value_text(record.t, fact)


def stress(record: Record) -> Block:
    t = record.t
    fact = record.first("soc_temp_time_s")
    if fact is None or not isinstance(fact.value, Histogram) or not sum(fact.value.counts):
        return Text(t("sheet.no_stress"), BODY, most=3)
    soc, temp = fact.value.axes
    width = len(temp.edges) - 1
    whole = sum(fact.value.counts)
    rows = [
        tuple(100.0 * count / whole for count in fact.value.counts[at : at + width])
        for at in range(0, len(fact.value.counts), width)
    ]
    hot = sum(
        part
        for low, row in zip(soc.edges, rows, strict=False)
        for edge, part in zip(temp.edges, row, strict=False)
        if low is not None and low >= FULL_PCT and edge is not None and edge >= HOT_DEGC
    )
    return Stack(
        (
            HeatMap(
                tuple(reversed(rows)),
                tuple(reversed(_edges(t, soc))),
                tuple(_edges(t, temp)),
                t("sheet.stress_rows"),
                t("sheet.stress_columns"),
                t("sheet.stress_tiny"),
            ),
            Text(t("sheet.full_hot", share=share(t, hot / 100.0)), NOTE, most=2),
        ),
        gap=0.0,
    )


def _edges(t: Words, axis: Axis) -> list[str]:
    return ["" if edge is None else t.number(edge, 0 if edge == int(edge) else 1) for edge in axis.edges]


def harm(record: Record) -> Block:
    t = record.t
    counted = [
        Pair(t(f"field.{name}"), value_text(t, fact))
        for name in ("deep_discharge_count", "overcharge_count")
        if (fact := record.first(name)) is not None
    ]
    events = [
        Pair(t.or_raw("event", str(fact.value)), _times(t, fact))
        for fact in record.some("negative_event", EVENTS_MAX)
        if fact.value is not None
    ]
    accidents = [
        Pair(t("field.accident"), f"{fact.value} · {since(t, fact.at_ms)}")
        for fact in record.some("accident", ACCIDENTS_MAX)
        if fact.value is not None
    ]
    rows = (*counted, *events, *accidents)
    blocks: list[Block] = [Pairs(rows, 0.45)] if rows else []
    if not events:
        blocks.append(Text(t("sheet.no_events") if counted else t("sheet.events_unknown"), Style(size=6.6), most=3))
    return Stack(tuple(blocks), gap=2.0)


def _times(t: Words, fact: Fact) -> str:
    times = t("condition_of.count", value=t.number(condition(fact, "count")))
    return times if fact.at_ms is None else t("sheet.newest", times=times, day=since(t, fact.at_ms))


def cells(record: Record) -> Block:
    """How even the cells are, the pack's resistance, how long it was out of its range: a row for what is known."""
    t = record.t
    resistance, rise = record.first("resistance_ohm"), record.number("resistance_increase_pct")
    risen = None if rise is None else t("sheet.risen", pct=t.number(rise, 0))
    rows = [Pair(t("field.cell_spread_mv"), _value(record, "cell_spread_mv"))]
    if resistance is not None and number(resistance) is not None:
        milliohm = t.number((number(resistance) or 0.0) * 1000.0, 0, "mΩ")
        rows.append(Pair(t("sheet.resistance"), milliohm, risen))
    hot, cold = (record.first(f"time_{name}_s") for name in ("hot", "cold"))
    for name, fact in (("hot", hot), ("cold", cold)):
        if fact is not None:
            rows.append(Pair(t(f"field.time_{name}_s"), value_text(t, fact)))
    return Pairs(tuple(rows), 0.45)
