"""The record as rows: one a fact, and of a histogram one a band, with unit, source, method and uncertainty beside it.

In:  a record. Out: `Row`s, fields in order of their names, facts in the record's order.
A fact without a value has its reason in `why`: a reader of tables would take a missing row for a forgotten one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from packbook.core.formats import LeftOut
from packbook.core.formats.writing import day
from packbook.core.passport import Axis, Fact, Histogram, Passport

LEFT_OUT = (LeftOut("coverage", "a table of facts has no place for how much of the battery's life was watched"),)


@dataclass(frozen=True, slots=True)
class Row:
    battery: str
    field: str
    value: float | None = None
    text: str | None = None  # of a field that is no number
    unit: str = ""
    band: str | None = None  # of a histogram: "soc_pct 20..30; temp_degc ..-10"
    day: str | None = None  # in UTC, when it was last found to be so
    source: str = ""
    by: str = ""
    method: str | None = None
    sigma: float | None = None
    lo90: float | None = None
    hi90: float | None = None
    conditions: str | None = None  # JSON
    records: str | None = None  # BOX/STORE/SEQ of the signed records behind it
    why: str | None = None  # there is no value


def rows(passport: Passport) -> Iterator[Row]:
    for name, facts in sorted(passport.facts.items()):
        for fact in facts:
            yield from _rows(passport.battery, name, fact)


def _rows(battery: str, name: str, fact: Fact) -> Iterator[Row]:
    row = Row(
        battery=battery,
        field=name,
        unit=fact.unit,
        day=None if fact.at_ms is None else day(fact.at_ms),
        source=fact.source.value,
        by=fact.by,
        method=fact.method,
        sigma=fact.sigma,
        lo90=fact.lo90,
        hi90=fact.hi90,
        conditions=_conditions(fact.conditions),
        records=" ".join(f"{one.box}/{one.store}/{one.seq}" for one in fact.evidence) or None,
        why=fact.why,
    )
    if isinstance(fact.value, Histogram):
        for band, count in zip(_bands(fact.value.axes), fact.value.counts, strict=True):
            yield replace(row, value=float(count), band=band)
    elif isinstance(fact.value, str):
        yield replace(row, text=fact.value)
    else:
        yield replace(row, value=None if fact.value is None else float(fact.value))


def _conditions(conditions: Mapping[str, float | str]) -> str | None:
    return json.dumps(dict(conditions), sort_keys=True, ensure_ascii=False) if conditions else None


def _bands(axes: Sequence[Axis]) -> Iterator[str]:
    spans = [
        [f"{axis.name} {_edge(low)}..{_edge(high)}" for low, high in zip(axis.edges, axis.edges[1:], strict=False)]
        for axis in axes
    ]
    return ("; ".join(band) for band in product(*spans))  # row-major: the last axis runs fastest


def _edge(edge: float | None) -> str:
    return "" if edge is None else f"{edge:g}"
