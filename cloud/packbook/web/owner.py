"""What the owner's page says about one battery: figures chosen, rounded and worded, ready for the template.

In:  head, SoH series, usage, sessions and events of a battery, and the reader's `Words`.
Out: an `OwnerPage`. Where a figure is missing, it holds the reason instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from packbook.core.access import Read
from packbook.core.forecast import LIFE_MAX_YEARS, Passage
from packbook.core.guarantee import Condition, Decision, Failed
from packbook.core.history import Battery, Doubt, EventRow, Provenance, SessionRow, SohPoint, UsageTotals
from packbook.core.prospect import Lacking, Prospect
from packbook.core.rounding import SIGMAS_90, ShownSoh
from packbook.core.triage import Triage
from packbook.core.words import ABSENT, Words
from packbook.web import charts, figures
from packbook.web.charts import Chart, Moment, Table
from packbook.web.tables import event_table, session_table

CHARGES_SHOWN: Final = 8
EVENTS_SHOWN: Final = 20
READS_SHOWN: Final = 20
STATES: Final = ("none", "learning", "ok", "stale", "inconsistent", "replaced")
RULER_LOW_PCT: Final = 50.0  # few packs on the road are below; the ruler then starts at 0
RULER_UNITS: Final = 360.0  # width of the drawing: pixels on a phone


@dataclass(frozen=True, slots=True)
class Ruler:
    """Places on the SoH scale, in drawing units from its left end."""

    lo: float
    hi: float
    value: float
    reported: float | None
    ticks: tuple[tuple[float, str | None], ...]  # place, and the label of a long tick
    units: float = RULER_UNITS

    @property
    def width(self) -> float:
        return max(self.hi - self.lo, 4.0)  # a line too thin to see would look like no interval


@dataclass(frozen=True, slots=True)
class Headline:
    """SoH in one look. `shown` is None where there is no figure; then `state` and `why` carry the reason."""

    state: str
    shown: ShownSoh | None
    reported_pct: float | None
    ruler: Ruler | None
    why: str | None
    at_ms: int | None
    unsure: bool  # a figure came, but without its uncertainty


@dataclass(frozen=True, slots=True)
class Card:
    battery: Battery
    headline: Headline


@dataclass(frozen=True, slots=True)
class Figure:
    """One labelled figure; `explain` names its plain-words explanation in the catalogue."""

    label: str
    value: str
    detail: str | None = None
    explain: str | None = None
    swatch: str | None = None  # the part of the coverage bar it stands for


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


@dataclass(frozen=True, slots=True)
class OwnerPage:
    headline: Headline
    identity: tuple[Figure, ...]
    coverage: figures.Coverage | None
    coverage_figures: tuple[Figure, ...]
    capacity: tuple[Figure, ...]
    estimates: Table | None
    soh: Chart | None
    prospect: ProspectPart
    totals_at_ms: int | None
    charging: tuple[Figure, ...]
    charge_weeks: Chart | None
    charges: Table | None
    driving: tuple[Figure, ...]
    drive_weeks: Chart | None
    stress_figures: tuple[Figure, ...]
    stress: tuple[Chart, ...]
    harmful: tuple[Figure, ...]
    harmful_seen: int
    events: Table | None
    notes: Table | None
    reads: Table | None
    sources: tuple[tuple[str, Provenance], ...]


def card(battery: Battery) -> Card:
    return Card(battery, headline(battery.soh, battery.doubts))


def headline(point: SohPoint | None, doubts: Sequence[Doubt] = ()) -> Headline:
    """The words must fit the figure: without one there is nothing that could be settled or young.

    In dispute no figure stands as if it were settled, whatever the box said of it.
    """
    if point is None:
        return Headline("disputed" if doubts else "none", None, None, None, None, None, unsure=False)
    shown = figures.shown_soh(point)
    reported = figures.rounded_reported(point)
    state = point.state if point.state in STATES else "learning"
    if shown is None and state != "replaced":
        state = "none"
    elif shown is not None and state == "none":
        state = "learning"
    state = "disputed" if doubts else state
    return Headline(
        state,
        shown,
        reported,
        ruler(shown, reported) if shown else None,
        point.why,
        point.at_ms,
        unsure=shown is None and point.soh_pct is not None,
    )


def ruler(shown: ShownSoh, reported_pct: float | None) -> Ruler:
    lowest = min(shown.lo_pct, shown.value_pct if reported_pct is None else reported_pct)
    start = RULER_LOW_PCT if lowest >= RULER_LOW_PCT else 0.0
    long_every = 10 if start else 20

    def place(pct: float) -> float:
        return round((min(max(pct, start), 100.0) - start) / (100.0 - start) * RULER_UNITS, 1)

    step = 1 if start else 2
    ticks = tuple((place(pct), f"{pct}" if pct % long_every == 0 else None) for pct in range(int(start), 101, step))
    return Ruler(
        place(shown.lo_pct),
        place(shown.hi_pct),
        place(shown.value_pct),
        None if reported_pct is None else place(reported_pct),
        ticks,
    )


def build(
    t: Words,
    battery: Battery,
    *,
    series: Sequence[SohPoint],
    prospect: Prospect | Lacking,
    usage: UsageTotals | None,
    charges: Sequence[SessionRow],
    drives: Sequence[SessionRow],
    events: Sequence[EventRow],
    reads: Sequence[Read] = (),
) -> OwnerPage:
    newest = battery.soh or (series[-1] if series else None)
    seen = figures.coverage(usage, newest)
    counts = usage.events if usage else {}
    harmful = [row for row in events if row.event in figures.HARMFUL_EVENTS]
    notes = [row for row in events if row.event not in figures.HARMFUL_EVENTS]
    return OwnerPage(
        headline=headline(newest, battery.doubts),
        identity=_identity(t, battery),
        coverage=seen,
        coverage_figures=_coverage(t, seen) if seen else (),
        capacity=_capacity(t, newest) if newest else (),
        estimates=_estimates(t, newest) if newest and newest.estimates else None,
        soh=charts.soh_chart(t, series, None if isinstance(prospect, Lacking) else prospect),
        prospect=_prospect(t, prospect),
        totals_at_ms=usage.at_ms if usage else None,
        charging=_charging(t, usage) if usage else (),
        charge_weeks=charts.charge_weeks_chart(t, charges),
        charges=session_table(t, charges[:CHARGES_SHOWN], "charge") if charges else None,
        driving=_driving(t, usage, drives) if usage else (),
        drive_weeks=charts.drive_weeks_chart(t, drives),
        stress_figures=_stress_figures(t, usage) if usage else (),
        stress=_stress(t, usage) if usage else (),
        harmful=tuple(
            Figure(t(f"event.{kind}"), t.number(counts.get(kind, 0) if usage else None), t(f"event_meaning.{kind}"))
            for kind in figures.HARMFUL_EVENTS
        ),
        harmful_seen=sum(counts.get(kind, 0) for kind in figures.HARMFUL_EVENTS),
        events=event_table(t, t("events.table"), harmful[:EVENTS_SHOWN]) if harmful else None,
        notes=event_table(t, t("events.notes"), notes[:EVENTS_SHOWN]) if notes else None,
        reads=_reads(t, reads) if reads else None,
        sources=_sources(t, newest, usage, charges),
    )


def _identity(t: Words, battery: Battery) -> tuple[Figure, ...]:
    kwh = t.number(battery.nominal_kwh, 0, "kWh") if battery.nominal_kwh else ABSENT
    cells = t("identity.in_series", n=battery.cells_in_series) if battery.cells_in_series else ABSENT
    source = t.or_raw("battery_source", battery.battery_source)
    return (
        Figure(t("identity.battery"), battery.battery, source),
        Figure(
            t("identity.pack"), battery.pack or ABSENT, " · ".join(filter(None, (battery.profile, battery.variant)))
        ),
        Figure(t("identity.energy"), kwh, t("identity.energy_note")),
        Figure(t("identity.cells"), cells, (battery.chemistry or "").upper() or None),
    )


def _percent(t: Words, share: float | None) -> str:
    """A share as whole percent; a small one is not called nothing."""
    if share is None:
        return ABSENT
    return t("share.under_one") if 0.0 < share < 0.01 else t.number(share * 100.0, 0, "%")


def _coverage(t: Words, seen: figures.Coverage) -> tuple[Figure, ...]:
    parts = (("observed", seen.observed_s), ("inferred", seen.inferred_s), ("unobserved", seen.unobserved_s))
    odometer = None
    if seen.odometer_km:
        odometer = t("coverage.of_odometer", share=_percent(t, seen.km_share), km=t.number(seen.odometer_km))
    return (
        Figure(t("coverage.share"), _percent(t, seen.share), t("coverage.share_note"), "coverage"),
        *(
            Figure(
                t(f"coverage.{part}"),
                t.number(seconds / 3600.0, 0, t("unit.hours")),
                t(f"coverage.{part}_note"),
                swatch=part,
            )
            for part, seconds in parts
        ),
        Figure(t("coverage.km"), t.number(seen.observed_km, 0, "km"), odometer),
        Figure(t("coverage.ah"), t.number(seen.observed_ah, 0, "Ah"), t("coverage.ah_note")),
    )


def _capacity(t: Words, point: SohPoint) -> tuple[Figure, ...]:
    shown = figures.shown_soh(point) is not None and point.capacity_ah is not None
    half = None if point.sigma_ah is None else SIGMAS_90 * point.sigma_ah
    value = ABSENT
    if shown and half is not None:
        value = t("capacity.plus_minus", value=t.number(point.capacity_ah, 1), half=t.number(half, 1))
    reported = []
    if point.capacity_reported_ah is not None:
        reported = [
            Figure(t("capacity.reported"), t.number(point.capacity_reported_ah, 1, "Ah"), t("capacity.reported_note"))
        ]
    basis = t.or_raw("basis", point.basis) if point.basis else ABSENT
    return (
        Figure(t("capacity.now"), value, t("capacity.now_note"), "capacity"),
        Figure(t("capacity.reference"), t.number(point.reference_ah, 1, "Ah"), point.reference_source, "reference"),
        *reported,
        Figure(
            t("capacity.basis"), basis, t("capacity.method", method=point.method) if point.method else None, "basis"
        ),
    )


def _estimates(t: Words, point: SohPoint) -> Table:
    rows = tuple(
        (
            estimate.method,
            t.number(estimate.capacity_ah, 1, "Ah"),
            t.number(None if estimate.sigma_ah is None else SIGMAS_90 * estimate.sigma_ah, 1, "Ah"),
            t.number(estimate.n),
            ", ".join(f"#{session}" for session in estimate.evidence) or ABSENT,
            estimate.why or ABSENT,
        )
        for estimate in point.estimates
    )
    names = ("method", "capacity", "half_interval", "readings", "evidence", "why_none")
    return Table(t("estimates.caption"), tuple(t(f"column.{name}") for name in names), rows, frozenset({4, 5}))


def _prospect(t: Words, prospect: Prospect | Lacking) -> ProspectPart:
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
    detail = t("prospect.between", low=_bound(t, soonest), high=_bound(t, latest))
    if passage.km and passage.km[0] is not None:
        km = passage.km[1]
        reach = t("prospect.beyond_km") if km is None else t.number(round(km, -2), 0, "km")
        detail = t("prospect.with_km", between=detail, km=reach)
    return Figure(t("prospect.below", threshold=t.number(passage.threshold_pct)), _years(t, middle), detail)


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
            t.joined(_failed(t, failed) for failed in p.failed) if p.failed else ABSENT,
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


def _failed(t: Words, failed: Failed) -> str:
    """A condition in plain words, with the figures where they tell the owner more than the words do."""
    scale = 100.0 if failed.condition is Condition.PROBABILITY else 1.0
    digits = 0 if failed.condition in (Condition.PROBABILITY, Condition.EVIDENCE, Condition.RESISTANCE) else 1
    found, asked = (t.number(value * scale, digits) for value in (failed.found, failed.asked))
    return t(f"condition.{failed.condition}.text", found=found, asked=asked)


def _next_use(t: Words, found: Triage) -> Figure:
    return Figure(t("next_use.title"), t(f"next_use.{found.use}.name"), t(f"next_use.{found.use}.text"))


def _charging(t: Words, usage: UsageTotals) -> tuple[Figure, ...]:
    charged = usage.energy_ac_in_wh + usage.energy_dc_in_wh
    car = None
    if usage.charge_count_ac_reported is not None and usage.charge_count_dc_reported is not None:
        car = t(
            "charging.car_count",
            ac=t.number(usage.charge_count_ac_reported),
            dc=t.number(usage.charge_count_dc_reported),
        )
    cycles = t.number(usage.equivalent_full_cycles, 1)
    return (
        Figure(
            t("charging.count"),
            t.number(usage.charges_ac + usage.charges_dc),
            t.count("charging.of_dc", usage.charges_dc),
        ),
        Figure(t("charging.energy"), t.number(charged / 1000.0, 0, "kWh"), t("charging.energy_note")),
        Figure(
            t("charging.dc_share"), _percent(t, usage.energy_dc_in_wh / charged if charged else None), car, "dc_share"
        ),
        Figure(t("charging.cycles"), cycles, t("charging.cycles_note"), "cycles"),
    )


def _driving(t: Words, usage: UsageTotals, drives: Sequence[SessionRow]) -> tuple[Figure, ...]:
    back, out = sum(d.energy_in_wh for d in drives), sum(d.energy_out_wh for d in drives)
    return (
        Figure(t("driving.count"), t.number(usage.drives)),
        Figure(t("driving.distance"), t.number(usage.distance_km, 0, "km")),
        Figure(
            t("driving.consumption"),
            t.number(figures.consumption_kwh_100km(drives), 1, "kWh/100 km"),
            t("driving.consumption_note"),
            "consumption",
        ),
        Figure(t("driving.regained"), _percent(t, back / out if out else None), t("driving.regained_note")),
    )


def _stress_figures(t: Words, usage: UsageTotals) -> tuple[Figure, ...]:
    soc_temp = figures.grid(usage.soc_temp_s, figures.TEMP_BANDS)
    rates = figures.grid(usage.c_rate_temp_s, figures.TEMP_BANDS)
    charging = figures.row_sums(rates)[: figures.C_RATE_BANDS]
    return (
        Figure(
            t("stress.full_hot"), _percent(t, figures.stressed_share(soc_temp)), t("stress.full_hot_note"), "full_hot"
        ),
        Figure(t("stress.gentle"), _percent(t, figures.gentle_share(charging)), t("stress.gentle_note"), "c_rate"),
    )


def _stress(t: Words, usage: UsageTotals) -> tuple[Chart, ...]:
    soc_temp = figures.grid(usage.soc_temp_s, figures.TEMP_BANDS)
    return (
        charts.stress_chart(t, soc_temp),
        charts.temperature_chart(t, soc_temp),
        charts.c_rate_chart(t, figures.grid(usage.c_rate_temp_s, figures.TEMP_BANDS)),
        charts.depth_chart(t, figures.grid(usage.depth_counts, figures.SOC_BANDS)),
    )


def _sources(
    t: Words, point: SohPoint | None, usage: UsageTotals | None, charges: Sequence[SessionRow]
) -> tuple[tuple[str, Provenance], ...]:
    found = (
        (t("check.soh"), point.provenance if point else None),
        (t("check.usage"), usage.provenance if usage else None),
        (t("check.charge"), charges[0].provenance if charges else None),
    )
    return tuple((label, provenance) for label, provenance in found if provenance is not None)


def _reads(t: Words, reads: Sequence[Read]) -> Table:
    """Who looked, the newest first; which fields is for `packbook reads` and the API."""
    names = ("read_at", "reader", "door", "what")
    rows = tuple(
        (
            Moment(read.at_ms, "moment"),
            " · ".join(filter(None, (t.or_raw("reader", read.reader.name), read.reader.link, read.reader.account))),
            t(f"door.{read.door}"),
            read.what,
        )
        for read in reads
    )
    return Table(t("reads.caption"), tuple(t(f"column.{name}") for name in names), rows)
