"""How one battery is used: charging, driving by energy, where it spends its time, and what harmed it.

In:  totals, charges, drives and events of a battery, and the reader's `Words`.
Out: the page; `build` chooses and words the figures. Drives are told by energy; there is no place or speed to tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response

from packbook.core.history import CellsPoint, EventRow, SessionRow, UsageTotals
from packbook.core.words import Words
from packbook.web import charts, csv_files, figures
from packbook.web.access import histories
from packbook.web.charts import Chart, Table
from packbook.web.figures import Figure
from packbook.web.owner.frame import (
    SESSIONS_ON_PAGE,
    all_sessions,
    battery_of,
    download,
    kept_room,
    unread_battery_of,
)
from packbook.web.owner.spread import Spread, spread
from packbook.web.render import render, words_for
from packbook.web.tables import event_table, percent

EVENTS_SHOWN: Final = 20
EVENTS_MAX: Final = 10_000  # of the CSV


@dataclass(frozen=True, slots=True)
class Use:
    totals_at_ms: int | None
    charging: tuple[Figure, ...]
    charge_weeks: Chart | None
    driving: tuple[Figure, ...]
    drive_weeks: Chart | None
    stress_figures: tuple[Figure, ...]
    stress: tuple[Chart, ...]
    cells: Spread | None
    harmful: tuple[Figure, ...]
    harmful_seen: int
    observed_s: float
    events: Table | None
    notes: Table | None


async def use(request: Request) -> Response:
    book, battery = histories(request), await unread_battery_of(request, "use")
    name = battery.battery

    async def make() -> Mapping[str, object]:
        page = build(
            words_for(request),
            usage=await book.usage(name),
            charges=await all_sessions(book, name, "charge", SESSIONS_ON_PAGE),
            drives=await all_sessions(book, name, "drive", SESSIONS_ON_PAGE),
            events=await book.events(name),
            cells=await book.cells(name),
        )
        return {"page": page, "battery": battery}

    room = await kept_room(request, "owner/use_room.html", make)
    return render(request, "owner/use.html", room=room, battery=battery)


async def cells_csv(request: Request) -> Response:
    book, battery = histories(request), await battery_of(request, "cells.csv")
    return download(csv_files.cells_csv(await book.cells(battery.battery)), f"{battery.battery}-cells.csv")


async def events_csv(request: Request) -> Response:
    book, battery = histories(request), await battery_of(request, "events.csv")
    return download(
        csv_files.events_csv(await book.events(battery.battery, EVENTS_MAX)), f"{battery.battery}-events.csv"
    )


def build(
    t: Words,
    *,
    usage: UsageTotals | None,
    charges: Sequence[SessionRow],
    drives: Sequence[SessionRow],
    events: Sequence[EventRow],
    cells: Sequence[CellsPoint] = (),
) -> Use:
    counts = usage.events if usage else {}
    harmful = [row for row in events if row.event in figures.HARMFUL_EVENTS]
    notes = [row for row in events if row.event not in figures.HARMFUL_EVENTS]
    return Use(
        totals_at_ms=usage.at_ms if usage else None,
        charging=_charging(t, usage) if usage else (),
        charge_weeks=charts.charge_weeks_chart(t, charges),
        driving=_driving(t, usage, drives) if usage else (),
        drive_weeks=charts.drive_weeks_chart(t, drives),
        stress_figures=_stress_figures(t, usage) if usage else (),
        stress=stress_charts(t, usage) if usage else (),
        cells=spread(t, cells),
        harmful=tuple(
            Figure(t(f"event.{kind}"), t.number(counts.get(kind, 0) if usage else None), t(f"event_meaning.{kind}"))
            for kind in figures.HARMFUL_EVENTS
        ),
        harmful_seen=sum(counts.get(kind, 0) for kind in figures.HARMFUL_EVENTS),
        observed_s=usage.observed_s if usage else 0.0,
        events=event_table(t, t("events.table"), harmful[:EVENTS_SHOWN]) if harmful else None,
        notes=event_table(t, t("events.notes"), notes[:EVENTS_SHOWN]) if notes else None,
    )


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
            t("charging.dc_share"), percent(t, usage.energy_dc_in_wh / charged if charged else None), car, "dc_share"
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
        Figure(t("driving.regained"), percent(t, back / out if out else None), t("driving.regained_note")),
    )


def _stress_figures(t: Words, usage: UsageTotals) -> tuple[Figure, ...]:
    soc_temp = figures.grid(usage.soc_temp_s, figures.TEMP_BANDS)
    rates = figures.grid(usage.c_rate_temp_s, figures.TEMP_BANDS)
    charging = figures.row_sums(rates)[: figures.C_RATE_BANDS]
    return (
        Figure(
            t("stress.full_hot"), percent(t, figures.stressed_share(soc_temp)), t("stress.full_hot_note"), "full_hot"
        ),
        Figure(t("stress.gentle"), percent(t, figures.gentle_share(charging)), t("stress.gentle_note"), "c_rate"),
    )


def stress_charts(t: Words, usage: UsageTotals) -> tuple[Chart, ...]:
    soc_temp = figures.grid(usage.soc_temp_s, figures.TEMP_BANDS)
    return (
        charts.stress_chart(t, soc_temp),
        charts.temperature_chart(t, soc_temp),
        charts.c_rate_chart(t, figures.grid(usage.c_rate_temp_s, figures.TEMP_BANDS)),
        charts.depth_chart(t, figures.grid(usage.depth_counts, figures.SOC_BANDS)),
    )
