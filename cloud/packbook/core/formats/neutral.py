"""The record itself as JSON: every value with unit, time, source, method, uncertainty, evidence, in two parts.

In:  a passport, the fields' rules. Out: `parts`: for each part its canonical bytes (JCS, RFC 8785), to be signed apart.
Times are UTC days. Numbers were rounded when the record was made; canonical bytes are the same for the same record.
"""

from __future__ import annotations

from typing import Any, Final

import rfc8785

from packbook.core.formats import writing
from packbook.core.history import Provenance
from packbook.core.passport import Axis, Coverage, Fact, Histogram, Part, Passport
from packbook.core.passport_of import part_of
from packbook.core.rules import Fields

FORM: Final = "packbook-passport/1"


def parts(passport: Passport, fields: Fields) -> dict[Part, bytes]:
    """Each stands alone: it names the battery, the day and the rules."""
    return {part: rfc8785.dumps(_part(passport, fields, part)) for part in Part}


def _part(passport: Passport, fields: Fields, part: Part) -> dict[str, Any]:
    told: dict[str, Any] = {
        "form": FORM,
        "part": part.value,
        "battery": passport.battery,
        "category": passport.category,
        "as_of": day(passport.made_ms),
        "rules": dict(passport.rules),
        "facts": {name: [fact_told(f) for f in facts] for name, facts in part_of(passport, fields, part).items()},
    }
    if part is Part.VALUE and passport.coverage is not None:
        told["coverage"] = coverage_told(passport.coverage)
    if part is Part.VALUE and passport.doubts:
        told["doubts"] = list(passport.doubts)
    return told


def fact_told(fact: Fact) -> dict[str, Any]:
    value = _histogram(fact.value) if isinstance(fact.value, Histogram) else fact.value
    told: dict[str, Any] = {
        "value": value,
        "unit": fact.unit,
        "on": day(fact.at_ms),
        "source": fact.source.value,
        "by": fact.by,
        "method": fact.method,
        "sigma": fact.sigma,
        "lo90": fact.lo90,
        "hi90": fact.hi90,
        "why": fact.why,
        "conditions": dict(fact.conditions),
        "evidence": [_record(place) for place in fact.evidence],
    }
    return {name: said for name, said in told.items() if name in ("value", "unit") or said not in (None, {}, [])}


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {"axes": [_axis(axis) for axis in histogram.axes], "counts": list(histogram.counts)}


def _axis(axis: Axis) -> dict[str, Any]:
    return {"name": axis.name, "unit": axis.unit, "edges": list(axis.edges)}


def _record(place: Provenance) -> str:
    return f"{place.box}/{place.store}/{place.seq}"


def coverage_told(coverage: Coverage) -> dict[str, Any]:
    return {
        "since": day(coverage.since_ms),
        "until": day(coverage.until_ms),
        "observed_s": coverage.observed_s,
        "inferred_s": coverage.inferred_s,
        "unobserved_s": coverage.unobserved_s,
        "unwatched_s": coverage.unwatched_s,
        "observed_ah": coverage.observed_ah,
        "observed_km": coverage.observed_km,
        "odometer_km": coverage.odometer_km,
        "gaps": [{"kind": g.kind, "on": day(g.at_ms), "duration_s": g.duration_s} for g in coverage.gaps],
    }


def day(ms: int | None) -> str | None:
    return None if ms is None else writing.day(ms)
