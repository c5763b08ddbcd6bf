"""Passports nobody would expect: any field may be missing, absurd, dateless, of another unit, or told by anybody."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from packbook.core.passport import Fact, Histogram, Passport, Source, Value
from passport.records import LAST_MS, MADE_MS, RULES, rich

UNITS: Final = ("%", "Ah", "kWh", "s", "km", "degC", "W", "1", "month", "year", "%/month")
DAYS_MS: Final = st.integers(min_value=946_684_800_000, max_value=LAST_MS)  # since the year 2000
NUMBERS: Final = st.one_of(
    st.floats(-10, 110), st.floats(), st.integers(-5, 10**7), st.just(0), st.just(-0.0), st.booleans()
)
TEXTS: Final = st.one_of(
    st.text(max_size=40), st.sampled_from(["did:web:example.com:b", "gs1:https://id.example/x", ""])
)


def histograms(like: Histogram) -> st.SearchStrategy[Histogram]:
    counts = st.lists(st.integers(0, 10**6), min_size=len(like.counts), max_size=len(like.counts))
    return counts.map(lambda some: Histogram(like.axes, tuple(some)))


def values(like: Value) -> st.SearchStrategy[Value | None]:
    if isinstance(like, Histogram):
        return st.just(like) | histograms(like) | st.none()
    return st.just(like) | (TEXTS if isinstance(like, str) else NUMBERS) | st.none()


@st.composite
def facts(draw: st.DrawFn, like: Fact) -> Fact:
    assert like.value is not None
    value = draw(values(like.value))
    return Fact(
        value,
        draw(st.just(like.unit) | st.sampled_from(UNITS)),
        draw(st.just(like.at_ms) | DAYS_MS | st.none()),
        draw(st.sampled_from(Source)),
        draw(st.sampled_from(["box-7", "vehicle", "Workshop 福岡"])),
        why="not yet" if value is None else None,
        conditions=draw(st.sampled_from([like.conditions, {}, {"soc_pct": 50.0}, {"soc_pct": "half"}, {"count": 2.0}])),
    )


@st.composite
def passports(draw: st.DrawFn) -> Passport:
    known = rich()
    strange = draw(st.sets(st.sampled_from(sorted(known.facts)), max_size=12))
    held = {name: tuple(draw(st.lists(facts(known.facts[name][0]), max_size=2))) for name in sorted(strange)}
    usual = set(draw(st.sampled_from([tuple(known.facts), tuple(known.facts), ("soc_pct", "full_cycles"), ()])))
    held = {name: known.facts[name] for name in known.facts if name in usual} | held
    battery = draw(st.sampled_from(["62A-000417", "provisional-3f9a", "電池 7"]))
    return Passport(battery, "ev", MADE_MS, RULES, held, draw(st.sampled_from([known.coverage, None])))
