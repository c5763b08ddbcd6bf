"""Put the neutral record of one battery together from its history and from what was declared.

In:  a `Life` as the store tells it, declarations in the order they were entered, the fields' rules.
Out: a `Passport`. Values are rounded to their field's resolution, dates cut to the day in UTC, before anyone sees them.
Nothing is invented: what is not known is absent, or is there without a value and with the reason. A vehicle's name or
number, a position or a time of day never enters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from packbook.core.declared import Declared, compared, fact_of, in_force
from packbook.core.derived import derived_facts
from packbook.core.history import (
    C_RATE_EDGES,
    DEPTH_EDGES_PCT,
    SOC_BANDS_PCT,
    TEMP_EDGES_DEGC,
    Battery,
    CellsPoint,
    EventRow,
    SessionRow,
    SohPoint,
    UsageTotals,
)
from packbook.core.passport import Axis, Coverage, Fact, Gap, Histogram, Part, Passport, Source
from packbook.core.passport_ahead import facts_ahead
from packbook.core.prospect import (
    BMS_VALUE,
    DAY_MS,
    HARM_UNTIL_INSPECTED,
    HARM_WHILE_IT_LASTS,
    Lacking,
    Prospect,
)
from packbook.core.rules import FieldRule, Fields

VEHICLE: Final = "vehicle"
EV: Final = "ev"
HARMFUL: Final = (*HARM_UNTIL_INSPECTED, *HARM_WHILE_IT_LASTS)
BREAKS: Final = ("data_lost", "store_begun", "time_back", "battery_changed")
GAPS_MAX: Final = 50  # the newest; the records hold all
EVIDENCE_MAX: Final = 16
REFERENCE_UNKNOWN: Final = "a box that watched did not know the reference capacity"
CONDITION_DECIMALS: Final = 4
ORDER: Final = (Source.MEASURED, Source.VEHICLE, Source.DECLARED)

_SOC: Final = Axis("soc_pct", "%", (*(low for low, _ in SOC_BANDS_PCT), SOC_BANDS_PCT[-1][1]))
_TEMP: Final = Axis("temp_degc", "degC", (None, *TEMP_EDGES_DEGC, None))
_C_RATE: Final = Axis("c_rate", "1", (None, *(-edge for edge in reversed(C_RATE_EDGES)), 0.0, *C_RATE_EDGES, None))
_DEPTH: Final = Axis("depth_pct", "%", DEPTH_EDGES_PCT)


@dataclass(frozen=True, slots=True)
class Life:
    """All that the book shows of one battery."""

    battery: Battery
    points: Sequence[SohPoint] = ()  # oldest first
    usage: UsageTotals | None = None
    sessions: Sequence[SessionRow] = ()  # newest first, some
    events: Sequence[EventRow] = ()  # newest first
    prospect: Prospect | Lacking = Lacking.NO_VALUE
    cells: Sequence[CellsPoint] = ()  # oldest first

    @property
    def newest(self) -> SohPoint | None:
        return self.points[-1] if self.points else self.battery.soh


def passport_of(
    life: Life, fields: Fields, said: Iterable[Declared] = (), *, made_ms: int, rules: Mapping[str, str] | None = None
) -> Passport:
    """`rules`: versions of other rule sets that the record is made under, by family."""
    declared = {name: [fact_of(d) for d in some] for name, some in in_force(said, fields.fields).items()}
    told = [
        *((name, fact) for name, facts in declared.items() for fact in facts),
        *_identity(life),
        *_of_points(life),
        *_of_usage(life),
        *_of_sessions(life),
        *_of_cells(life),
        *_harm(life),
    ]
    told = [(name, _compared(name, fact, life)) for name, fact in told]
    told += derived_facts(_by_field(told, fields), life.usage, made_ms)
    told += facts_ahead(life.prospect, life.newest)
    facts = _by_field(told, fields)
    category = next((f.value for f in facts.get("category", ()) if isinstance(f.value, str)), EV)
    return Passport(
        battery=life.battery.battery,
        category=category,
        made_ms=_day(made_ms),
        rules={**(rules or {}), fields.family: fields.version},
        facts=facts,
        coverage=_coverage(life),
        doubts=tuple(sorted({doubt.kind for doubt in life.battery.doubts})),
    )


def facts_said(said: Iterable[Declared], fields: Fields) -> dict[str, tuple[Fact, ...]]:
    """The declared facts alone, in force and settled as in a record."""
    found = in_force(said, fields.fields)
    return _by_field(((name, fact_of(declared)) for name, some in found.items() for declared in some), fields)


def part_of(passport: Passport, fields: Fields, part: Part) -> dict[str, tuple[Fact, ...]]:
    """The facts of one part, by name."""
    return {name: facts for name, facts in sorted(passport.facts.items()) if fields.fields[name].part is part}


def _by_field(told: Iterable[tuple[str, Fact]], fields: Fields) -> dict[str, tuple[Fact, ...]]:
    """Only fields of this version, settled, the best-founded first."""
    found: dict[str, list[Fact]] = {}
    for name, fact in told:
        rule = fields.fields.get(name)
        if rule is not None:
            found.setdefault(name, []).append(_settled(rule, fact))
    return {name: tuple(sorted(facts, key=lambda f: ORDER.index(f.source))) for name, facts in found.items()}


def _settled(rule: FieldRule, fact: Fact) -> Fact:
    """Rounded, with the field's unit, of the day. What the field cannot hold becomes no value, with the reason."""
    wrong = None if fact.value is None else rule.objection(fact.value)
    value = None if fact.value is None or wrong else rule.rounded(fact.value)
    conditions = {
        name: round(told, CONDITION_DECIMALS) if isinstance(told, float) else told
        for name, told in fact.conditions.items()
    }
    return replace(
        fact,
        value=value,
        unit=rule.unit,
        at_ms=None if fact.at_ms is None else _day(fact.at_ms),
        sigma=None if wrong else _rounded(fact.sigma, rule),
        lo90=None if wrong else _rounded(fact.lo90, rule),
        hi90=None if wrong else _rounded(fact.hi90, rule),
        why=f"what was told cannot be true: {wrong}" if wrong else fact.why,
        conditions=conditions,
    )


def _rounded(value: float | None, rule: FieldRule) -> float | None:
    """An uncertainty is told to a tenth of the unit at least: a sigma of 0.4 Ah is not nothing."""
    decimals = max(rule.decimals, 1) if rule.decimals >= 0 else rule.decimals
    return None if value is None else round(value, decimals) + 0.0


def _day(ms: int) -> int:
    return ms - ms % DAY_MS


def _compared(name: str, fact: Fact, life: Life) -> Fact:
    if name != "soh_declared_pct":
        return fact
    return replace(fact, conditions={**fact.conditions, **compared(fact, life.points)})


def _identity(life: Life) -> Iterable[tuple[str, Fact]]:
    """What the box says of itself and, through its vehicle profile, of the pack."""
    battery = life.battery
    read = battery.battery_source == "read"
    yield (
        "battery_id",
        Fact(
            battery.battery,
            "",
            battery.first_ms,
            Source.VEHICLE if read else Source.DECLARED,
            VEHICLE if read else "operator of the box",
            conditions={"how": battery.battery_source},
        ),
    )
    told = {
        "category": EV,
        "model": battery.pack,
        "chemistry": battery.chemistry,
        "cells_in_series": battery.cells_in_series,
        "rated_energy_kwh": battery.nominal_kwh,
    }
    by = f"vehicle profile {battery.profile}"
    for name, value in told.items():
        if value is not None:
            yield name, Fact(value, "", None, Source.DECLARED, by)


def _of_points(life: Life) -> Iterable[tuple[str, Fact]]:
    point = life.newest
    if point is None:
        return
    ours = _fact_of(point, point.soh_pct, point.why or point.state)
    readings = sum(estimate.n for estimate in point.estimates if estimate.capacity_ah is not None)
    if readings:
        ours = replace(ours, conditions={**ours.conditions, "readings": float(readings)})
    ours = replace(ours, sigma=point.sigma_pct, lo90=point.lo90_pct, hi90=point.hi90_pct)
    yield "soh_capacity_pct", ours
    capacity = _fact_of(point, point.capacity_ah, point.why or _no_capacity(point))
    yield "remaining_capacity_ah", replace(capacity, sigma=point.sigma_ah)
    reported = (("soh_reported_pct", point.soh_reported_pct), ("remaining_capacity_ah", point.capacity_reported_ah))
    for name, value in reported:
        if value is not None:
            yield name, Fact(value, "", point.at_ms, Source.VEHICLE, VEHICLE, evidence=(point.provenance,))
    if point.soce_pct is not None:
        yield "soce_pct", replace(_fact_of(point, point.soce_pct), method=f"{point.method}, energy/1")
    if point.resistance_ohm is not None:
        at: dict[str, float | str] = {"temp_degc": 25.0, "component": "pack"}
        yield "resistance_ohm", replace(_fact_of(point, point.resistance_ohm), method=None, conditions=at)


def _no_capacity(point: SohPoint) -> str:
    """A state of health that is all right may still rest on the car's own percentage, which names no capacity."""
    return point.state if point.soh_pct is None else "the box told a state of health without a capacity"


def _fact_of(point: SohPoint, value: float | None, why: str | None = None) -> Fact:
    """Where the figure rests on the car's own capacity value, the vehicle is its source, not our measurement."""
    conditions: dict[str, float | str] = {"state": point.state}
    if point.basis is not None:
        conditions["basis"] = point.basis
    if point.reference_ah is not None:
        conditions["reference_ah"] = point.reference_ah
    if point.reference_source is not None:
        conditions["reference_source"] = point.reference_source
    return Fact(
        value,
        "",
        point.at_ms,
        Source.VEHICLE if point.basis == BMS_VALUE else Source.MEASURED,
        point.provenance.box,
        method=point.method or None,
        why=why if value is None else None,
        conditions=conditions,
        evidence=(point.provenance,),
    )


def _of_usage(life: Life) -> Iterable[tuple[str, Fact]]:
    usage, battery = life.usage, life.battery
    if usage is None:
        return

    def counted(value: float | Histogram | None, method: str, **conditions: float | str) -> Fact:
        source, by = Source.MEASURED, usage.provenance.box
        evidence = (usage.provenance,)
        return Fact(value, "", usage.at_ms, source, by, method=method, conditions=conditions, evidence=evidence)

    cycles = counted(usage.equivalent_full_cycles, "throughput / (2 x reference capacity)")
    if battery.reference_ah is not None:
        reference: dict[str, float | str] = {
            "reference_ah": battery.reference_ah,
            "reference_source": battery.reference_source or "not named",
        }
        cycles = replace(cycles, conditions=reference)
    if cycles.value is None:
        cycles = replace(cycles, why=REFERENCE_UNKNOWN)
    yield "full_cycles", cycles
    yield "energy_throughput_kwh", counted((usage.energy_in_wh + usage.energy_out_wh) / 1000.0, "sum of |V x I|")
    yield "charge_throughput_ah", counted(usage.charge_in_ah + usage.charge_out_ah, "sum of |I|")
    yield "energy_delivered_kwh", counted(usage.energy_out_wh / 1000.0, "sum of V x I out of the pack")
    yield "charges_ac", counted(usage.charges_ac, "plug-ins seen")
    yield "charges_dc", counted(usage.charges_dc, "plug-ins seen")
    told_by_car = {
        "charges_ac": usage.charge_count_ac_reported,
        "charges_dc": usage.charge_count_dc_reported,
        "odometer_km": usage.odometer_km,
    }
    for name, value in told_by_car.items():
        if value is not None:
            yield name, Fact(value, "", usage.at_ms, Source.VEHICLE, VEHICLE, evidence=(usage.provenance,))
    for name, axes, counts in _histograms(usage):
        if len(counts) == len(axes[0].edges[1:]) * len(axes[1].edges[1:]):
            yield name, counted(Histogram(axes, counts), "time at level" if name.endswith("_s") else "rainflow")


def _histograms(usage: UsageTotals) -> Iterable[tuple[str, tuple[Axis, Axis], tuple[int, ...]]]:
    yield "soc_temp_time_s", (_SOC, _TEMP), usage.soc_temp_s
    yield "c_rate_temp_time_s", (_C_RATE, _TEMP), _rising(usage.c_rate_temp_s)
    yield "depth_counts", (_DEPTH, _SOC), usage.depth_counts


def _rising(cells: tuple[int, ...]) -> tuple[int, ...]:
    """The wire tells bands of charge, then bands of discharge, each from zero; an axis rises."""
    width = len(TEMP_EDGES_DEGC) + 1
    rows = [cells[at : at + width] for at in range(0, len(cells), width)]
    half = len(C_RATE_EDGES) + 1
    return tuple(cell for row in (*reversed(rows[half:]), *rows[:half]) for cell in row)


def _of_sessions(life: Life) -> Iterable[tuple[str, Fact]]:
    charged = next((s for s in life.sessions if s.soc_end_pct is not None), None)
    if charged is not None:
        yield (
            "soc_pct",
            Fact(charged.soc_end_pct, "", _end(charged), Source.VEHICLE, VEHICLE, evidence=(charged.provenance,)),
        )
    warm = next((s for s in life.sessions if s.temp_mean_degc is not None), None)
    if warm is not None:
        span = {"lowest_degc": warm.temp_min_degc, "highest_degc": warm.temp_max_degc}
        conditions: dict[str, float | str] = {name: told for name, told in span.items() if told is not None}
        yield (
            "temp_degc",
            Fact(
                warm.temp_mean_degc,
                "",
                _end(warm),
                Source.MEASURED,
                warm.provenance.box,
                method="mean over the newest session",
                conditions={**conditions, "sensor": "in the pack"},
                evidence=(warm.provenance,),
            ),
        )


def _of_cells(life: Life) -> Iterable[tuple[str, Fact]]:
    """The newest look at the cells, with the conditions under which a spread means something."""
    if not life.cells:
        return
    point = life.cells[-1]
    told = {
        "soc_pct": point.soc_pct,
        "pack_current_a": point.pack_current_a,
        "temp_min_degc": point.temp_min_degc,
        "temp_max_degc": point.temp_max_degc,
        "quiet_s": point.quiet_s,
        "cells": float(point.cells) if point.cells else None,
    }
    conditions: dict[str, float | str] = {name: value for name, value in told.items() if value is not None}
    yield (
        "cell_spread_mv",
        Fact(
            point.spread_mv,
            "",
            point.at_ms,
            Source.MEASURED,
            point.provenance.box,
            method="highest less lowest cell in quiet",
            conditions=conditions,
            evidence=(point.provenance,),
        ),
    )


def _end(session: SessionRow) -> int | None:
    return None if session.start_ms is None else session.start_ms + round(session.duration_s * 1000)


def _harm(life: Life) -> Iterable[tuple[str, Fact]]:
    """Counts of harmful events since the battery is watched; one fact for each kind that happened."""
    usage = life.usage
    if usage is None:
        return
    by = usage.provenance.box
    counts = {
        "deep_discharge_count": ("cell_low", "cell voltage below the chemistry's lower limit"),
        "overcharge_count": ("cell_high", "cell voltage above the chemistry's upper limit"),
    }
    for name, (kind, method) in counts.items():
        found = usage.events.get(kind, 0)
        yield name, Fact(found, "", usage.at_ms, Source.MEASURED, by, method, evidence=(usage.provenance,))
    for kind in HARMFUL:
        found = usage.events.get(kind, 0)
        if found:
            newest = next((event.at_ms for event in life.events if event.event == kind), None)
            seen = tuple(event.provenance for event in life.events if event.event == kind)[:EVIDENCE_MAX]
            yield (
                "negative_event",
                Fact(kind, "", newest, Source.MEASURED, by, conditions={"count": found}, evidence=seen),
            )


def _coverage(life: Life) -> Coverage | None:
    usage, point, battery = life.usage, life.newest, life.battery
    seen = usage or point
    if seen is None:
        return None
    known_s = seen.observed_s + seen.inferred_s + seen.unobserved_s
    span_s = None
    if battery.first_ms is not None and battery.last_ms is not None:
        span_s = (battery.last_ms - battery.first_ms) / 1000.0
    gaps = [event for event in life.events if event.event in BREAKS][:GAPS_MAX]
    odometers = [told.odometer_km for told in (usage, point) if told is not None]
    odometer = next((km for km in odometers if km is not None), None)
    return Coverage(
        since_ms=None if battery.first_ms is None else _day(battery.first_ms),
        until_ms=None if battery.last_ms is None else _day(battery.last_ms),
        observed_s=round(seen.observed_s),
        inferred_s=round(seen.inferred_s),
        unobserved_s=round(seen.unobserved_s),
        observed_ah=round(
            usage.charge_in_ah + usage.charge_out_ah if usage else point.observed_ah if point else 0.0, 1
        ),
        observed_km=round(usage.distance_km if usage else point.observed_km if point else 0.0),
        odometer_km=None if odometer is None else round(odometer),
        unwatched_s=None if span_s is None else round(max(0.0, span_s - known_s)),
        gaps=tuple(Gap(e.event, None if e.at_ms is None else _day(e.at_ms), e.duration_s) for e in gaps),
    )
