"""Values that follow from other facts of the same record: fades, increases, time outside the idle range, age.

In:  facts by field, settled; the usage with its histograms; when the record is made.
Out: more facts. Each carries the source of what it rests on, its method, and what it was compared with; one that cannot
be worked out says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from packbook.core.declared import day_ms
from packbook.core.history import TEMP_EDGES_DEGC, UsageTotals
from packbook.core.passport import Fact, Source
from packbook.core.prospect import YEAR_MS

Facts = Mapping[str, tuple[Fact, ...]]
BOOK: Final = "book"
FULL_PCT: Final = 100.0
BY_PLUG: Final = "a box that saw charges does not count them by temperature"


def derived_facts(facts: Facts, usage: UsageTotals | None, made_ms: int) -> list[tuple[str, Fact]]:
    return [
        *_capacity_fade(facts),
        *_from_start(facts, "resistance_ohm", "resistance_start_ohm", "resistance_increase_pct", sign=1.0),
        *_from_start(facts, "remaining_power_w", "power_start_w", "power_fade_pct", sign=-1.0),
        *_from_start(
            facts,
            "round_trip_efficiency_pct",
            "round_trip_efficiency_start_pct",
            "round_trip_efficiency_fade_pct",
            sign=-1.0,
        ),
        *_remaining_energy(facts),
        *_outside_idle_range(facts, usage),
        *_age(facts, made_ms),
    ]


def _first(facts: Facts, name: str) -> Fact | None:
    return next((fact for fact in facts.get(name, ()) if fact.value is not None), None)


def _number(fact: Fact | None) -> float | None:
    return float(fact.value) if fact is not None and isinstance(fact.value, int | float) else None


def _capacity_fade(facts: Facts) -> Iterable[tuple[str, Fact]]:
    soh = next(iter(facts.get("soh_capacity_pct", ())), None)
    pct = _number(soh)
    if soh is None:
        return
    fade = replace(
        soh,
        value=None if pct is None else FULL_PCT - pct,
        method="100 - soh_capacity_pct",
        lo90=None if soh.hi90 is None else FULL_PCT - soh.hi90,
        hi90=None if soh.lo90 is None else FULL_PCT - soh.lo90,
    )
    yield "capacity_fade_pct", fade


def _from_start(facts: Facts, now: str, start: str, name: str, *, sign: float) -> Iterable[tuple[str, Fact]]:
    """Change in percent of what it was when new; positive is worse."""
    fact, first = _first(facts, now), _first(facts, start)
    value, was = _number(fact), _number(first)
    if fact is None or value is None:
        yield name, Fact(None, "", None, Source.MEASURED, BOOK, why=f"{now} is not known")
        return
    if first is None or not was:
        yield name, replace(fact, value=None, sigma=None, lo90=None, hi90=None, why=f"{start} is not declared")
        return
    low, high = sorted((_change(fact.lo90, was, sign), _change(fact.hi90, was, sign)), key=lambda v: v or 0.0)
    yield (
        name,
        replace(
            fact,
            value=_change(value, was, sign),
            method=f"({now} - {start}) / {start}" if sign > 0 else f"1 - {now} / {start}",
            sigma=None if fact.sigma is None else FULL_PCT * fact.sigma / was,
            lo90=low,
            hi90=high,
            conditions={**fact.conditions, start: was, "start_by": first.by},
        ),
    )


def _change(value: float | None, was: float, sign: float) -> float | None:
    return None if value is None else sign * FULL_PCT * (value - was) / was


def _remaining_energy(facts: Facts) -> Iterable[tuple[str, Fact]]:
    soce, certified = _first(facts, "soce_pct"), _first(facts, "certified_energy_kwh")
    pct, kwh = _number(soce), _number(certified)
    if soce is None or pct is None:
        return
    if certified is None or kwh is None:
        yield "remaining_energy_kwh", replace(soce, value=None, why="certified_energy_kwh is not declared")
        return
    conditions = {**soce.conditions, "certified_energy_kwh": kwh, "certified_by": certified.by}
    method = "soce_pct x certified_energy_kwh"
    yield "remaining_energy_kwh", replace(soce, value=pct / FULL_PCT * kwh, method=method, conditions=conditions)


def _outside_idle_range(facts: Facts, usage: UsageTotals | None) -> Iterable[tuple[str, Fact]]:
    """Time in the temperature bands that lie wholly beyond the battery's own limits."""
    bands = len(TEMP_EDGES_DEGC) + 1
    if usage is None or len(usage.soc_temp_s) % bands or not usage.soc_temp_s:
        return
    by_band = [sum(usage.soc_temp_s[band::bands]) for band in range(bands)]
    common = Fact(None, "", usage.at_ms, Source.MEASURED, usage.provenance.box, evidence=(usage.provenance,))
    charging = usage.charging_temp_s or ((0,) * bands if not usage.charges_ac + usage.charges_dc else ())
    for name, limit_name in (("time_hot_s", "idle_temp_max_degc"), ("time_cold_s", "idle_temp_min_degc")):
        limit, hot = _number(_first(facts, limit_name)), name == "time_hot_s"
        yield name, _beyond(common, by_band, limit_name, limit, hot=hot)
        while_charging = f"{name.removesuffix('_s')}_charging_s"
        if len(charging) == bands:
            yield while_charging, _beyond(common, charging, limit_name, limit, hot=hot)
        else:
            yield while_charging, replace(common, why=BY_PLUG)


def _beyond(common: Fact, by_band: Sequence[int], limit_name: str, limit: float | None, *, hot: bool) -> Fact:
    if limit is None:
        return replace(common, why=f"{limit_name} is not declared")
    if limit not in TEMP_EDGES_DEGC:
        edges = ", ".join(f"{edge:g}" for edge in TEMP_EDGES_DEGC)
        why = f"the limit {limit:g} degC is no edge of the temperature bands ({edges}): their time cannot be split"
        return replace(common, why=why)
    at = TEMP_EDGES_DEGC.index(limit) + 1
    seconds = sum(by_band[at:] if hot else by_band[:at])
    return replace(common, value=seconds, method="time at temperature, summed", conditions={limit_name: limit})


def _age(facts: Facts, made_ms: int) -> Iterable[tuple[str, Fact]]:
    made_on = _first(facts, "made_on")
    made_on_ms = None if made_on is None else day_ms(str(made_on.value))
    if made_on is None or made_on_ms is None:
        return
    method = f"since {made_on.value}"
    yield "age_years", replace(made_on, value=max(0, made_ms - made_on_ms) / YEAR_MS, at_ms=made_ms, method=method)
