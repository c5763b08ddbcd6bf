"""What a page says of a passport that was cut down to its reader: facts in groups, worded and rounded.

In:  a `Cut`, and the reader's `Words`.
Out: a `PassportPage`. What is withheld is named by group of readers, never by what the battery has.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from packbook.core import rounding
from packbook.core.access import Cut
from packbook.core.passport import Coverage, Fact, Histogram, Passport, Source
from packbook.core.rules import Tier
from packbook.core.told import Piece, Told
from packbook.core.wording import DIGITS, by_whom, value_text
from packbook.core.words import ABSENT, Words
from packbook.web.charts import Table, band_text
from packbook.web.figures import Figure
from packbook.web.headline import Headline, ruler

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "state": (
        "status",
        "custody",
        "exported_to",
        "returned_to",
        "soh_capacity_pct",
        "soh_reported_pct",
        "soh_declared_pct",
        "soce_pct",
        "soce_reported_pct",
        "socr_reported_pct",
        "remaining_capacity_ah",
        "remaining_energy_kwh",
        "capacity_fade_pct",
        "soc_pct",
        "temp_degc",
        "cell_spread_mv",
        "age_years",
        "in_service_on",
    ),
    "power": (
        "remaining_power_w",
        "power_fade_pct",
        "round_trip_efficiency_pct",
        "round_trip_efficiency_fade_pct",
        "resistance_ohm",
        "resistance_increase_pct",
        "self_discharge_pct_per_month",
    ),
    "use": (
        "full_cycles",
        "energy_throughput_kwh",
        "charge_throughput_ah",
        "energy_delivered_kwh",
        "charges_ac",
        "charges_dc",
        "odometer_km",
        "virtual_distance_km",
        "time_hot_s",
        "time_cold_s",
        "time_hot_charging_s",
        "time_cold_charging_s",
        "soc_temp_time_s",
        "c_rate_temp_time_s",
        "depth_counts",
    ),
    "harm": ("deep_discharge_count", "overcharge_count", "negative_event", "accident"),
    "ahead": (
        "forecast_soh_pct",
        "months_to_80_pct",
        "months_to_70_pct",
        "km_to_80_pct",
        "km_to_70_pct",
        "guarantee",
        "next_use",
    ),
}
HOLDERS: Final = ("status", "custody", "passport_id", "passport_before_id", "exported_to", "returned_to")
CHEMISTRY: Final = "chemistry"  # a code: LMO, NMC
REST: Final = "model"  # all other fields
TOLD: Final = (
    "soc_pct",
    "temp_degc",
    "count",
    "months",
    "role",
    "closed_on",
    "recycled_on",
    "document",
)  # conditions that people need beside a value
SAID_OFTEN: Final = 4  # figures that say the same of themselves: once is enough then


@dataclass(frozen=True, slots=True)
class Section:
    """`note`: what most figures would say beside themselves, said once."""

    name: str
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PassportPage:
    headline: Headline | None  # None: this reader is not shown how healthy it is
    sections: tuple[Section, ...]
    coverage: tuple[Figure, ...]
    withheld: tuple[tuple[Tier, tuple[str, ...]], ...]  # names of fields in words
    why: str | None


def build(t: Words, cut: Cut) -> PassportPage:
    passport = cut.passport
    placed = {name for names in SECTIONS.values() for name in names}
    rest = tuple(name for name in passport.facts if name not in placed)
    groups = {**SECTIONS, REST: rest}
    sections = (section(t, name, names, passport) for name, names in groups.items())
    withheld = {tier: tuple(t.or_raw("field", one.field) for one in cut.withheld if one.tier is tier) for tier in Tier}
    return PassportPage(
        headline=headline(passport),
        sections=tuple(one for one in sections if one.figures or one.tables),
        coverage=_coverage(t, passport.coverage) if passport.coverage else (),
        withheld=tuple((tier, names) for tier, names in withheld.items() if names),
        why=t("shared.no_consent") if cut.why is not None else None,
    )


def headline(passport: Passport) -> Headline | None:
    """Our own estimate with its interval; the car's word stands beside it."""
    facts = passport.facts.get("soh_capacity_pct", ())
    if not facts:
        return None
    best = facts[0]
    reported = passport.first("soh_reported_pct")
    shown = None
    if isinstance(best.value, int | float) and best.lo90 is not None and best.hi90 is not None:
        shown = rounding.shown(float(best.value), best.lo90, best.hi90)
    told = round(reported.value) if reported is not None and isinstance(reported.value, int | float) else None
    return Headline(
        "ok" if shown else "none",
        shown,
        told,
        ruler(shown, told) if shown else None,
        best.why,
        best.at_ms,
        unsure=shown is None and best.value is not None,
    )


def figures_of(t: Words, names: Sequence[str], facts: Mapping[str, Sequence[Fact]]) -> tuple[Figure, ...]:
    """Of these fields, in their order."""
    return tuple(_figure(t, name, fact) for name in names for fact in facts.get(name, ()))


def section(t: Words, name: str, fields: Sequence[str], passport: Passport) -> Section:
    found = [(field, fact) for field in fields for fact in passport.facts.get(field, ())]
    figures = tuple(_figure(t, field, fact) for field, fact in found if not isinstance(fact.value, Histogram))
    tables = tuple(_table(t, field, fact.value) for field, fact in found if isinstance(fact.value, Histogram))
    common, times = Counter(figure.detail for figure in figures).most_common(1)[0] if figures else (None, 0)
    if common is None or times < SAID_OFTEN:
        return Section(name, figures, tables)
    bare = tuple(replace(figure, detail=None) if figure.detail == common else figure for figure in figures)
    return Section(name, bare, tables, t("shared.unless_said", note=str(common)))


def _figure(t: Words, field: str, fact: Fact) -> Figure:
    details = [by_whom(t, fact) if fact.source is Source.DECLARED else t(f"fact.{fact.source}")]
    if fact.lo90 is not None and fact.hi90 is not None and fact.value is not None:
        digits = DIGITS.get(fact.unit, 0)
        details.append(t("fact.interval", lo=t.number(fact.lo90, digits), hi=t.number(fact.hi90, digits)))
    if fact.at_ms is not None:
        details.append(t.date(fact.at_ms))
    details += [t(f"condition_of.{name}", value=_plain(t, name, value)) for name, value in _told(fact)]
    why = t.told(fact.why).pieces if fact.value is None and fact.why else ()
    told = Told((Piece(" · ".join([*details, ""] if why else details), None), *why))
    value = value_text(t, fact)
    return Figure(t.or_raw("field", field), value.upper() if field == CHEMISTRY else value, told)


def _told(fact: Fact) -> list[tuple[str, float | str]]:
    return [(name, fact.conditions[name]) for name in TOLD if name in fact.conditions]


def _plain(t: Words, name: str, value: float | str) -> str:
    if name == "role":
        return t.or_raw("custody_role", str(value))
    return value if isinstance(value, str) else t.number(value, 0 if value == int(value) else 1)


def _table(t: Words, field: str, histogram: Histogram) -> Table:
    """Rows are bands of the first axis, columns of the second; shares of the whole, because seconds say nothing."""
    whole = sum(histogram.counts) or 1
    first, *others = histogram.axes
    names = [_bands(t, axis.edges) for axis in histogram.axes]
    columns = names[1] if others else [t("shared.share")]
    rows = []
    for number, band in enumerate(names[0]):
        counts = histogram.counts[number * len(columns) : (number + 1) * len(columns)]
        rows.append((band, *(t.number(100.0 * count / whole, 1, "%") if count else ABSENT for count in counts)))
    axes = " × ".join(t.or_raw("axis", axis.name) for axis in (first, *others))
    return Table(t("shared.share_of", name=t.or_raw("field", field)), (axes, *columns), tuple(rows))


def _bands(t: Words, edges: Sequence[float | None]) -> list[str]:
    return [band_text(t, band) for band in itertools.pairwise(edges)]


def _coverage(t: Words, seen: Coverage) -> tuple[Figure, ...]:
    parts = (("observed", seen.observed_s), ("inferred", seen.inferred_s), ("unobserved", seen.unobserved_s))
    return (
        Figure(t("shared.since"), t.date(seen.since_ms), t("shared.until", day=t.date(seen.until_ms))),
        *(
            Figure(t(f"coverage.{part}"), t.number(seconds / 3600.0, 0, t("unit.hours")), t(f"coverage.{part}_note"))
            for part, seconds in parts
        ),
        Figure(t("coverage.km"), t.number(seen.observed_km, 0, "km")),
        Figure(t("coverage.ah"), t.number(seen.observed_ah, 0, "Ah"), t("coverage.ah_note")),
    )
