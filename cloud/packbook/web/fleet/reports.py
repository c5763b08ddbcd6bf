"""Reports to print: a lease's end against its beginning, who may be promised what at which price, the next use of each.

All that is asked stands in the address. A report names what was not seen; it never counts it as kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from fastapi import Request, Response

from packbook.clock import now_ms
from packbook.core.fleet_papers import DAY_MS, day_ms
from packbook.core.fleet_reports import (
    Found,
    Lease,
    Life,
    Return,
    Term,
    Verdict,
    dc_share_pct,
    expected_cost,
    full_hot_pct,
    lease_return,
)
from packbook.core.fleet_row import Judged, Promise
from packbook.core.fleet_table import FleetQuery, FleetRow, within
from packbook.core.history import SohPoint
from packbook.core.prospect import PROMISE_YEARS, THRESHOLDS_PCT
from packbook.core.rounding import shown
from packbook.core.triage import Use
from packbook.core.words import ABSENT, Words
from packbook.web.access import note_history, note_list
from packbook.web.conditions import failed_text
from packbook.web.fleet.room import (
    DASH,
    Cell,
    Grid,
    battery_cell,
    csv_answer,
    fleet_of,
    grid,
    number,
    reach_of,
    text,
    told_at,
)
from packbook.web.fleet.table import query_in, soh_text, state_cell
from packbook.web.render import render, words_for

LIVES_MAX: Final = 50  # whole histories in one report
ROWS_MAX: Final = 500  # of a report on the page; the CSV has all
SEPARATORS: Final = re.compile(r"[\s,;]+")
PRICE_MAX: Final = 1e9
UNITS: Final = {Term.KM: "km", Term.CYCLES: "", Term.HARM: ""}
DIGITS: Final = {Term.CYCLES: 1, Term.SOH: 1, Term.DC_SHARE: 1, Term.FULL_HOT: 1}
TONES: Final = {Verdict.KEPT: "good", Verdict.BROKEN: "bad", Verdict.UNSURE: "warn", Verdict.NOT_SEEN: "quiet"}
TERM_MAX: Final = {Term.KM: 1e7, Term.CYCLES: 1e4, Term.HARM: 1e4}
PERCENT_MAX: Final = 100.0
LEASE_CSV: Final = (
    "battery",
    "vehicle",
    "pack",
    "verdict",
    "start",
    "soh_start_pct",
    "return",
    "soh_return_pct",
    "lo90_pct",
    "hi90_pct",
    "km",
    "coverage_pct",
    "harmful_events",
    "undated_events",
    *(f"{term}_{part}" for term in Term for part in ("limit", "found", "verdict")),
)
GUARANTEE_CSV: Final = (
    "battery",
    "pack",
    "soh_pct",
    "threshold_pct",
    "years",
    "km",
    "probability",
    "offered",
    "failed",
    "not_checked",
    "expected_cost",
)


# --- a lease's end -------------------------------------------------------------------------------------------------


async def lease(request: Request) -> Response:
    t, terms = words_for(request), lease_in(request)
    found = await _returns(request, terms)
    names = ("battery", "vehicle", "verdict", "soh_start", "soh_return", "km", "harmful", "coverage")
    return render(
        request,
        "fleet/lease.html",
        said=request.query_params,
        terms=tuple(Term),
        there=await fleet_of(request).batteries.choices(reach_of(request)),
        asked=bool(request.query_params.get("batteries") or request.query_params.get("fleet")),
        returns=[(each, _return_facts(t, each), _findings(t, each)) for each in found],
        grid=grid(t, t("fleet.lease.title"), names, (_return_cells(t, each) for each in found)),
        most=LIVES_MAX,
        wish=request.url.query,
        made_ms=now_ms(),
        tones=TONES,
        lease=terms,
    )


async def lease_csv(request: Request) -> Response:
    rows = [_return_row(each) for each in await _returns(request, lease_in(request))]
    return csv_answer(LEASE_CSV, rows, "lease-return.csv")


def lease_in(request: Request) -> Lease:
    """What is agreed, as far as it can be understood: an empty field is no limit."""
    said = request.query_params
    until = day_ms(said.get("until", ""))
    limits = [(term, within(said.get(term.value, ""), 0.0, TERM_MAX.get(term, PERCENT_MAX))) for term in Term]
    return Lease(
        from_ms=day_ms(said.get("from", "")),
        until_ms=None if until is None else until + DAY_MS - 1,
        limits=tuple((term, limit) for term, limit in limits if limit is not None),
    )


async def _returns(request: Request, terms: Lease) -> list[Return]:
    """Of the batteries named, or of a fleet; reading each is put on record."""
    said, reach, book = request.query_params, reach_of(request), fleet_of(request).batteries
    names = [name for name in SEPARATORS.split(said.get("batteries", "")) if name]
    fleet = said.get("fleet", "")
    if not names and fleet:
        page = await book.rows(reach, FleetQuery(fleet=fleet), now_ms())
        names = [row.battery for row in page]
    lives: Sequence[Life] = await book.lives(reach, names[:LIVES_MAX]) if names else ()
    for life in lives:
        await note_history(request, life.row.battery, "page", "lease-return")
    return [lease_return(life, terms) for life in lives]


def _return_cells(t: Words, each: Return) -> tuple[Cell, ...]:
    return (
        battery_cell(each.row.battery),
        text(each.row.vehicle),
        Cell(t(f"fleet.verdict.{each.verdict}"), tone=TONES[each.verdict]),
        Cell(_point_text(t, each.at_start), number=True),
        Cell(_point_text(t, each.at_return), number=True),
        number(t, each.km, 0, "km"),
        number(t, sum(count for _, count in each.harmful)),
        number(t, each.coverage_pct, 0, "%"),
    )


def _return_facts(t: Words, each: Return) -> tuple[tuple[str, Cell], ...]:
    usage = each.usage
    harm = (
        t.joined(f"{t.or_raw('event', kind)}: {t.number(count)}" for kind, count in each.harmful)
        if each.harmful
        else t("fleet.lease.no_harm")
    )
    return (
        (t("fleet.column.soh_start"), Cell(_dated_text(t, each.at_start))),
        (t("fleet.column.soh_return"), Cell(_dated_text(t, each.at_return))),
        (t("fleet.lease.years"), number(t, each.years, 1)),
        (t("fleet.column.km"), number(t, each.km, 0, "km")),
        (t("fleet.lease.cycles"), number(t, usage.equivalent_full_cycles if usage else None, 1)),
        (t("fleet.lease.dc_share"), number(t, dc_share_pct(usage), 0, "%")),
        (t("fleet.lease.full_hot"), number(t, full_hot_pct(usage), 1, "%")),
        (t("fleet.column.harmful"), text(harm, wide=True)),
        (t("fleet.column.coverage"), number(t, each.coverage_pct, 0, "%")),
    )


def _findings(t: Words, each: Return) -> Grid:
    rows = (
        (
            Cell(t(f"fleet.term.{finding.term}.name")),
            Cell(t(f"fleet.term.{finding.term}.limit", limit=_of(t, finding.term, finding.limit))),
            DASH if finding.found is None else Cell(_of(t, finding.term, finding.found), number=True),
            Cell(t(f"fleet.verdict.{finding.verdict}"), tone=TONES[finding.verdict]),
        )
        for finding in each.findings
    )
    return grid(t, t("fleet.lease.findings"), ("term", "agreed", "found", "verdict"), rows)


def _of(t: Words, term: Term, value: float) -> str:
    return t.number(value, DIGITS.get(term, 0), UNITS.get(term, "%"))


def _point_text(t: Words, point: SohPoint | None) -> str:
    if point is None or point.soh_pct is None or point.lo90_pct is None or point.hi90_pct is None:
        return ABSENT
    told = shown(point.soh_pct, point.lo90_pct, point.hi90_pct)
    return t("soh.plus_minus", value=t.number(told.value_pct, told.digits), half=t.number(told.half_pct, told.digits))


def _dated_text(t: Words, point: SohPoint | None) -> str:
    said = _point_text(t, point)
    return said if point is None or said == ABSENT else t("fleet.lease.on", value=said, day=t.date(point.at_ms))


def _return_row(each: Return) -> list[object]:
    start, end = each.at_start, each.at_return
    findings: Mapping[Term, Found] = {finding.term: finding for finding in each.findings}
    found: list[object] = []
    for term in Term:
        told = findings.get(term)
        found += [None] * 3 if told is None else [told.limit, told.found, told.verdict.value]
    return [
        each.row.battery,
        each.row.vehicle,
        each.row.pack,
        each.verdict.value,
        told_at(start.at_ms) if start else None,
        start.soh_pct if start else None,
        told_at(end.at_ms) if end else None,
        end.soh_pct if end else None,
        end.lo90_pct if end else None,
        end.hi90_pct if end else None,
        each.km,
        each.coverage_pct,
        sum(count for _, count in each.harmful),
        each.undated,
        *found,
    ]


# --- promises ------------------------------------------------------------------------------------------------------


async def guarantee(request: Request) -> Response:
    t, said = words_for(request), request.query_params
    price, wanted = within(said.get("price", ""), 0.0, PRICE_MAX), _promise_wanted(request)
    rows = await _promises(request)
    offered = [(row, told) for row, told in rows if told is not None and told.offered]
    listed: Sequence[tuple[FleetRow, Promise | None]] = rows if said.get("show") == "all" else offered
    await note_list(request, [row.battery for row, _ in listed[:ROWS_MAX]], "page", "guarantee")
    names = ("battery", "soh", "decision", "probability", "cost", "pack", "against")
    table = grid(t, t("fleet.guarantee.title"), names, (_promise_cells(t, *each, price) for each in listed[:ROWS_MAX]))
    return render(
        request,
        "fleet/guarantee.html",
        said=said,
        wanted=wanted,
        thresholds=THRESHOLDS_PCT,
        years=PROMISE_YEARS,
        there=await fleet_of(request).batteries.choices(reach_of(request)),
        grid=table,
        offered=len(offered),
        total=len(rows),
        cost=None if price is None else sum((expected_cost(told, price) for _, told in offered), 0.0),
        cut=len(listed) > ROWS_MAX,
        most=ROWS_MAX,
        wish=request.url.query,
    )


async def guarantee_csv(request: Request) -> Response:
    price = within(request.query_params.get("price", ""), 0.0, PRICE_MAX)
    rows = await _promises(request)
    await note_list(request, [row.battery for row, _ in rows], "page", "guarantee.csv")
    told = (_promise_row(row, promise, price) for row, promise in rows if promise is not None)
    return csv_answer(GUARANTEE_CSV, told, "guarantee.csv")


def _promise_wanted(request: Request) -> tuple[float, float]:
    """Threshold and years: one of those that the book judges."""
    said = request.query_params
    threshold, years = within(said.get("threshold", ""), 0.0, 100.0), within(said.get("years", ""), 0.0, 100.0)
    return (
        THRESHOLDS_PCT[-1] if threshold is None or threshold not in THRESHOLDS_PCT else threshold,
        PROMISE_YEARS[0] if years is None or years not in PROMISE_YEARS else years,
    )


async def _promises(request: Request) -> list[tuple[FleetRow, Promise | None]]:
    """The surest first; those without a forecast last."""
    threshold, years = _promise_wanted(request)
    found = await fleet_of(request).batteries.judged(reach_of(request), _unsorted(request), now_ms())
    rows = [(row, _promise_of(told, threshold, years)) for row, told in found]
    return sorted(rows, key=lambda each: _surety(each[1]), reverse=True)


def _surety(promise: Promise | None) -> float:
    return -1.0 if promise is None else promise.probability


def _unsorted(request: Request) -> FleetQuery:
    return replace(query_in(request), page=1)


def _promise_of(told: Judged, threshold: float, years: float) -> Promise | None:
    return next((p for p in told.promises if (p.threshold_pct, p.horizon_years) == (threshold, years)), None)


def _promise_cells(t: Words, row: FleetRow, promise: Promise | None, price: float | None) -> tuple[Cell, ...]:
    head = (battery_cell(row.battery), Cell(soh_text(t, row), number=True))
    if promise is None:
        why = t(f"prospect.lacking.{row.lacking}") if row.lacking else ABSENT
        return (*head, Cell(t("prospect.not_offered"), tone="quiet"), DASH, DASH, text(row.pack), Cell(why, wide=True))
    against = [failed_text(t, failed) for failed in promise.failed]
    return (
        *head,
        Cell(t("prospect.offered"), tone="good") if promise.offered else Cell(t("prospect.not_offered"), tone="quiet"),
        number(t, min(99.0, max(1.0, PERCENT_MAX * promise.probability)), 0, "%"),
        number(t, None if price is None else expected_cost(promise, price)),
        text(row.pack),
        Cell(t.joined(against), wide=True) if against else DASH,
    )


def _promise_row(row: FleetRow, promise: Promise, price: float | None) -> list[object]:
    return [
        row.battery,
        row.pack,
        row.soh_pct,
        promise.threshold_pct,
        promise.horizon_years,
        promise.horizon_km,
        round(promise.probability, 4),
        promise.offered,
        " ".join(failed.condition.value for failed in promise.failed),
        " ".join(promise.not_checked),
        None if price is None else round(expected_cost(promise, price), 2),
    ]


# --- next use ------------------------------------------------------------------------------------------------------


async def triage(request: Request) -> Response:
    t, query = words_for(request), _unsorted(request)
    found = await fleet_of(request).batteries.judged(reach_of(request), replace(query, next_use=None), now_ms())
    counts = Counter(told.next_use for _, told in found)
    chosen = [(row, told) for row, told in found if query.next_use in (None, told.next_use)]
    await note_list(request, [row.battery for row, _ in chosen[:ROWS_MAX]], "page", "triage")
    names = ("battery", "soh", "next_use", "state", "pack", "against", "not_known")
    return render(
        request,
        "fleet/triage.html",
        query=query,
        counts=counts,
        uses=tuple(Use),
        there=await fleet_of(request).batteries.choices(reach_of(request)),
        grid=grid(t, t("fleet.triage.title"), names, (_use_cells(t, *each) for each in chosen[:ROWS_MAX])),
        total=len(chosen),
        cut=len(chosen) > ROWS_MAX,
        most=ROWS_MAX,
        wish=request.url.query,
    )


async def triage_csv(request: Request) -> Response:
    found = await fleet_of(request).batteries.judged(reach_of(request), _unsorted(request), now_ms())
    await note_list(request, [row.battery for row, _ in found], "page", "triage.csv")
    rows = (
        (
            row.battery,
            row.pack,
            row.soh_pct,
            told.next_use,
            " ".join(f"{use}:{'+'.join(reasons)}" for use, reasons in (told.refusals or {}).items()),
            " ".join(told.not_known),
            told.lacking,
        )
        for row, told in found
    )
    return csv_answer(("battery", "pack", "soh_pct", "next_use", "refused", "not_known", "lacking"), rows, "triage.csv")


def _use_cells(t: Words, row: FleetRow, told: Judged) -> tuple[Cell, ...]:
    against = [
        f"{t(f'next_use.{use}.name')}: {t.joined(t(f'next_use_reason.{reason}') for reason in reasons)}"
        for use, reasons in (told.refusals or {}).items()
    ]
    why = t(f"prospect.lacking.{told.lacking}") if told.lacking else t.joined(against) if against else None
    unknown = t.joined(t(f"next_use_reason.{reason}") for reason in told.not_known) if told.not_known else None
    return (
        battery_cell(row.battery),
        Cell(soh_text(t, row), number=True),
        DASH if told.next_use is None else Cell(t(f"next_use.{told.next_use}.name")),
        state_cell(t, row),
        text(row.pack),
        text(why, wide=True),
        text(unknown, wide=True),
    )
