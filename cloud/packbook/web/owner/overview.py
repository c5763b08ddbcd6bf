"""Overview of one battery: how healthy, how sure, what changed and why, what helps, what comes next.

In:  its head, SoH series, totals, events and sessions, and the reader's `Words`.
Out: the page; `build` chooses and words the figures. Where one is missing, it holds the reason instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response

from packbook.core.advice import COUNTED, Advice, Rule, advise
from packbook.core.changes import Change, Changes, Moved, changes_of
from packbook.core.history import Battery, CellsPoint, EnergyFull, SessionRow, SohPoint, UsageTotals
from packbook.core.prospect import Lacking, Prospect
from packbook.core.rounding import SIGMAS_90
from packbook.core.words import ABSENT, Words
from packbook.web import charts, csv_files, figures
from packbook.web.access import histories
from packbook.web.api import prospect_of
from packbook.web.charts import Chart, Moment, Table
from packbook.web.figures import Figure
from packbook.web.headline import Headline, headline
from packbook.web.owner import ahead
from packbook.web.owner.frame import battery_of, download, kept_room, unread_battery_of
from packbook.web.owner.spread import spread_mv
from packbook.web.render import render, words_for
from packbook.web.tables import percent, session_path

NEWEST_SESSIONS: Final = 200  # among them are those that the newest estimates rest on


@dataclass(frozen=True, slots=True)
class Counsel:
    """A piece of advice in words."""

    rule: Rule
    title: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pull:
    """What one method did to the figure, and the sessions that it read since."""

    text: str
    sessions: tuple[tuple[str, str | None], ...]  # number, and the address of its page where it is known


@dataclass(frozen=True, slots=True)
class News:
    """What changed. `table` None: there is nothing to compare with."""

    table: Table | None
    pulls: tuple[Pull, ...]
    pulled_since_ms: int | None
    stopped: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    headline: Headline
    identity: tuple[Figure, ...]
    watched: str | None
    coverage: figures.Coverage | None
    coverage_figures: tuple[Figure, ...]
    coverage_table: Table | None
    capacity: tuple[Figure, ...]
    estimates: Table | None
    soh: Chart | None
    news: News | None
    advice: tuple[Counsel, ...]
    prospect: ahead.ProspectPart


async def overview(request: Request) -> Response:
    book, battery = histories(request), await unread_battery_of(request, "battery")
    name = battery.battery

    async def make() -> Mapping[str, object]:
        page = build(
            words_for(request),
            battery,
            series=await book.soh_series(name),
            prospect=await prospect_of(request, book, battery),
            usage=await book.usage(name),
            sessions=await book.sessions(name, None, NEWEST_SESSIONS),
            cells=await book.cells(name),
        )
        return {"page": page, "battery": battery}

    room = await kept_room(request, "owner/overview_room.html", make)
    return render(request, "owner/overview.html", room=room, battery=battery)


async def soh_csv(request: Request) -> Response:
    book, battery = histories(request), await battery_of(request, "soh.csv")
    return download(csv_files.soh_csv(await book.soh_series(battery.battery)), f"{battery.battery}-soh.csv")


def build(
    t: Words,
    battery: Battery,
    *,
    series: Sequence[SohPoint],
    prospect: Prospect | Lacking,
    usage: UsageTotals | None,
    sessions: Sequence[SessionRow] = (),
    cells: Sequence[CellsPoint] = (),
) -> Overview:
    newest = battery.soh or (series[-1] if series else None)
    seen = figures.coverage(usage, newest)
    driven = figures.watched(series, usage)
    changed = None if battery.doubts else changes_of(series)
    counsel = (
        ()
        if battery.doubts
        else advise(
            usage,
            newest,
            chemistry=battery.chemistry,
            km_share=driven.share if driven else None,
            spread_mv=spread_mv(cells),
        )
    )
    return Overview(
        headline=headline(newest, battery.doubts),
        identity=_identity(t, battery),
        watched=_watched(t, driven),
        coverage=seen,
        coverage_figures=_coverage(t, seen) if seen else (),
        coverage_table=charts.coverage_table(t, seen) if seen else None,
        capacity=_capacity(t, newest) if newest else (),
        estimates=_estimates(t, newest) if newest and newest.estimates else None,
        soh=charts.soh_chart(t, series, None if isinstance(prospect, Lacking) else prospect),
        news=_news(t, battery.battery, changed, sessions) if changed else None,
        advice=tuple(_counsel(t, one) for one in counsel),
        prospect=ahead.told(t, prospect),
    )


def _watched(t: Words, driven: figures.Watched | None) -> str | None:
    if driven is None:
        return None
    km = t.number(driven.driven_km, 0, "km")
    return t("coverage.watched", share=percent(t, driven.share), km=km, day=t.date(driven.since_ms))


def _counsel(t: Words, advice: Advice) -> Counsel:
    """The figure that called for it stands in the text, and what is behind it in the reason."""
    if advice.rule in COUNTED:
        text = t.count(f"advice.{advice.rule}.text", round(advice.figure))
    elif advice.rule in (Rule.BALANCE, Rule.FULL_SPAN):
        text = t(f"advice.{advice.rule}.text", figure=t.number(advice.figure, 0 if advice.rule is Rule.BALANCE else 1))
    else:
        text = t(f"advice.{advice.rule}.text", figure=percent(t, advice.figure))
    return Counsel(advice.rule, t(f"advice.{advice.rule}.title"), text, t(f"advice.{advice.rule}.reason"))


def _news(t: Words, battery: str, changed: Changes, sessions: Sequence[SessionRow]) -> News:
    names = ("compared", "then", "difference", "meaning")
    table = Table(
        t("changes.title"),
        tuple(t(f"column.{name}") for name in names),
        tuple(_change(t, change) for change in changed.changes),
        frozenset({3}),
    )
    source = changed.now.provenance
    paths = {
        row.session: session_path(battery, row.provenance)
        for row in sessions
        if (row.provenance.box, row.provenance.store) == (source.box, source.store)
    }
    return News(
        table if changed.changes else None,
        tuple(_pull(t, moved, paths) for moved in changed.moved),
        changed.moved_since.at_ms if changed.moved_since else None,
        t(f"changes.stopped.{changed.stopped}") if changed.stopped else None,
    )


def _change(t: Words, change: Change) -> tuple[str | Moment, ...]:
    sign = "+" if change.diff_pct > 0 else ""
    difference = t("changes.points", diff=sign + t.number(change.diff_pct, 1), half=t.number(change.half_pct, 1))
    then = t("changes.then", value=charts.interval_text(t, change.before), day=t.date(change.before.at_ms))
    return t(f"changes.since.{change.since}"), then, difference, t(f"changes.verdict.{change.verdict}")


def _pull(t: Words, moved: Moved, paths: Mapping[int, str]) -> Pull:
    method = t.or_raw("method", moved.method.partition("/")[0])
    then, now = (t.number(ah, 1, "Ah") for ah in (moved.before_ah, moved.now_ah))
    readings = t.count("changes.readings", moved.readings)
    if moved.now_ah is None:
        text = t("changes.ended", method=method, then=then)
    elif moved.before_ah is None:
        text = t("changes.began", method=method, now=now, readings=readings)
    else:
        text = t("changes.moved", method=method, then=then, now=now, readings=readings)
    return Pull(text, tuple((f"#{number}", paths.get(number)) for number in moved.sessions))


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


def _coverage(t: Words, seen: figures.Coverage) -> tuple[Figure, ...]:
    parts = (("observed", seen.observed_s), ("inferred", seen.inferred_s), ("unobserved", seen.unobserved_s))
    odometer = None
    if seen.odometer_km:
        odometer = t("coverage.of_odometer", share=percent(t, seen.km_share), km=t.number(seen.odometer_km))
    return (
        Figure(t("coverage.share"), percent(t, seen.share), t("coverage.share_note"), "coverage"),
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
    energy = [_energy(t, point.energy)] if point.energy is not None else []
    basis = t.or_raw("basis", point.basis) if point.basis else ABSENT
    source = t.told(point.reference_source) if point.reference_source else None
    return (
        Figure(t("capacity.now"), value, t("capacity.now_note"), "capacity"),
        Figure(t("capacity.reference"), t.number(point.reference_ah, 1, "Ah"), source, "reference"),
        *reported,
        *energy,
        Figure(
            t("capacity.basis"), basis, t("capacity.method", method=point.method) if point.method else None, "basis"
        ),
    )


def _energy(t: Words, energy: EnergyFull) -> Figure:
    """By the car's own count, which says nothing of the capacity: it stands apart."""
    half = t.number(SIGMAS_90 * energy.sigma_kwh, 1)
    value = t("capacity.energy_value", value=t.number(energy.energy_full_kwh, 1), half=half)
    return Figure(t("capacity.energy"), value, t("capacity.energy_gids") if energy.gids else t("capacity.energy_note"))


def _estimates(t: Words, point: SohPoint) -> Table:
    rows = tuple(
        (
            estimate.method,
            t.number(estimate.capacity_ah, 1, "Ah"),
            t.number(None if estimate.sigma_ah is None else SIGMAS_90 * estimate.sigma_ah, 1, "Ah"),
            t.number(estimate.n),
            ", ".join(f"#{session}" for session in estimate.evidence) or ABSENT,
            t.told(estimate.why) if estimate.why else ABSENT,
        )
        for estimate in point.estimates
    )
    names = ("method", "capacity", "half_interval", "readings", "evidence", "why_none")
    return Table(t("estimates.caption"), tuple(t(f"column.{name}") for name in names), rows, frozenset({4, 5}))
