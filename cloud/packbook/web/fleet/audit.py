"""Who did what: reads, enrolment, quarantine and accounts as one list, filtered, and as CSV."""

from __future__ import annotations

from typing import Final

from fastapi import Request, Response

from packbook.core.access import ALL_BATTERIES
from packbook.core.fleet_papers import (
    PAGE_MAX,
    ROWS_PER_PAGE,
    AuditQuery,
    AuditRow,
    Trail,
    read_audit_query,
)
from packbook.core.words import Words
from packbook.web.fleet.room import (
    Cell,
    act_cell,
    csv_answer,
    fleet_of,
    grid,
    moment,
    place_of,
    reach_of,
    text,
    told_at,
)
from packbook.web.render import render, words_for

CSV_ROWS_MAX: Final = 100_000
CSV_NAMES: Final = ("at", "trail", "act", "who", "about", "detail")


async def audit(request: Request) -> Response:
    t, query = words_for(request), read_audit_query(request.query_params.multi_items())
    rows = await fleet_of(request).papers.audit(reach_of(request), query, ROWS_PER_PAGE + 1)
    names = ("at", "trail", "act", "who", "about", "detail")
    return render(
        request,
        "fleet/audit.html",
        query=query,
        narrowed=query != AuditQuery(page=query.page),
        said=request.query_params,
        wish=request.url.query,
        grid=grid(t, t("fleet.audit.title"), names, (_cells(t, row) for row in rows[:ROWS_PER_PAGE])),
        place=place_of(request, more=len(rows) > ROWS_PER_PAGE and query.page < PAGE_MAX),
        trails=tuple(Trail),
    )


async def audit_csv(request: Request) -> Response:
    query = read_audit_query([pair for pair in request.query_params.multi_items() if pair[0] != "page"])
    rows = await fleet_of(request).papers.audit(reach_of(request), query, CSV_ROWS_MAX)
    told = ((told_at(row.at_ms), row.trail.value, row.act, row.who, row.about, row.detail) for row in rows)
    return csv_answer(CSV_NAMES, told, "audit.csv")


def _cells(t: Words, row: AuditRow) -> tuple[Cell, ...]:
    read = row.trail is Trail.READ
    return (
        moment(row.at_ms),
        Cell(t(f"fleet.trail.{row.trail}"), tone="quiet"),
        Cell(row.act if read else t.or_raw("fleet_act", row.act)),
        text(row.who),
        text(_about(t, row.about)),
        text(t.or_raw("door", row.detail), wide=True) if read else act_cell(t, row.act, row.detail),
    )


def _about(t: Words, about: str | None) -> str | None:
    if about is None or not about.startswith(ALL_BATTERIES):
        return about
    tenant = about.removeprefix(ALL_BATTERIES)
    return t("fleet.audit.every", tenant=tenant) if tenant else t("fleet.audit.whole")
