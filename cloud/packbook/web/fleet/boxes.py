"""Boxes as they are now, and everything of one: how it was, where it sat, what it may do, what was done about it.

A decision about a box (revoke, retire, reinstate, another fleet) is a form with a reason, and is written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlencode

from fastapi import HTTPException, Request, Response

from packbook.clock import now_ms
from packbook.core.enrolment import MS_PER_DAY, BoxState
from packbook.core.fleet_boxes import (
    ENDING_DAYS,
    BoxColumn,
    BoxLife,
    BoxLine,
    BoxQuery,
    Trouble,
    read_box_query,
    troubles,
)
from packbook.core.fleet_table import ROWS_PER_PAGE, Link
from packbook.core.words import Words
from packbook.web.access import doer_of, note_history
from packbook.web.fleet.health_lines import free_gb, health_lines
from packbook.web.fleet.room import (
    DASH,
    Cell,
    Grid,
    Heading,
    Place,
    act_cell,
    battery_cell,
    box_cell,
    csv_answer,
    done,
    fleet_of,
    grid,
    moment,
    note_in,
    number,
    page_address,
    reach_of,
    reason_in,
    text,
    told_at,
)
from packbook.web.fleet.table import link_cell
from packbook.web.render import render, words_for
from packbook.web.tables import event_table

BOXES: Final = "/fleet/boxes"
MEGABYTE: Final = 1_000_000.0
GRAVE: Final = frozenset({Trouble.SILENT, Trouble.NO_KEY, Trouble.CERTIFICATE, Trouble.PROFILE})
DECISIONS: Final = {
    BoxState.ACTIVE: (BoxState.REVOKED, BoxState.RETIRED),
    BoxState.REVOKED: (BoxState.ACTIVE, BoxState.RETIRED),
    BoxState.RETIRED: (BoxState.ACTIVE,),
    BoxState.REPLACED: (),
}
COMMANDS: Final = ("config_applied", "config_refused", "config_undone", "command_done", "command_refused")
COLUMNS: Final = (
    ("box", BoxColumn.BOX),
    ("link", None),
    ("troubles", None),
    ("battery", None),
    ("fleet", BoxColumn.FLEET),
    ("seen", BoxColumn.SEEN),
    ("waiting", BoxColumn.WAITING),
    ("dropped", BoxColumn.DROPPED),
    ("disk", BoxColumn.DISK),
    ("clock", None),
    ("certificate", BoxColumn.CERTIFICATE),
    ("software", BoxColumn.SOFTWARE),
)
CSV_NAMES: Final = (
    "box",
    "battery",
    "vehicle",
    "fleet",
    "link",
    "seen",
    "troubles",
    "oldest_waiting_s",
    "outbox_waiting",
    "dropped_per_million",
    "disk_free_bytes",
    "journal_bytes",
    "clock",
    "cpu_temp_degc",
    "frames_sent",
    "certificate_until",
    "software",
    "config_version",
    "profile",
)

BEAT_NAMES: Final = (
    "outbox_waiting",
    "oldest_waiting_s",
    "frames",
    "frames_dropped",
    "frames_sent",
    "disk_free_bytes",
    "journal_bytes",
    "clock",
    "cpu_temp_degc",
    "uptime_s",
    "software",
    "config_version",
)


async def boxes(request: Request) -> Response:
    t, now, query, fleet = words_for(request), now_ms(), _query_in(request), fleet_of(request)
    page = await fleet.boxes.page(reach_of(request), query, now)
    last = max(1, -(-page.total // ROWS_PER_PAGE))
    place = Place(
        page.number,
        last,
        page_address(request, page.number - 1) if page.number > 1 else None,
        page_address(request, page.number + 1) if page.number < last else None,
    )
    return render(
        request,
        "fleet/boxes.html",
        query=query,
        grid=_grid(t, request, query, page.lines, now),
        total=page.total,
        place=place,
        narrowed=query != BoxQuery(sort=query.sort, falling=query.falling, page=query.page),
        wish=request.url.query,
        fleets=await fleet.boxes.fleets(reach_of(request)),
        links=tuple(Link),
        troubles=tuple(Trouble),
    )


async def boxes_csv(request: Request) -> Response:
    now = now_ms()
    lines = await fleet_of(request).boxes.rows(reach_of(request), _query_in(request), now)
    return csv_answer(CSV_NAMES, (_csv_row(line, now) for line in lines), "boxes.csv")


async def box(request: Request) -> Response:
    t, now, life = words_for(request), now_ms(), await _life(request)
    if life.line.battery is not None:
        await note_history(request, life.line.battery, "page", "box")
    state = None if life.enrolled is None else life.enrolled.state
    told = [event for event in life.events if event.event in COMMANDS]
    return render(
        request,
        "fleet/box.html",
        life=life,
        note=note_in(request, t),
        link=link_cell(t, life.line.box, life.line.link),
        troubles=troubles(life.line, now),
        facts=_facts(t, life),
        beats=_beats(t, life),
        lines=health_lines(t, life),
        installations=_installations(t, life),
        stores=_stores(t, life),
        certificates=_certificates(t, life, now),
        commands=event_table(t, t("fleet.box.commands"), told) if told else None,
        events=event_table(t, t("fleet.box.events"), [e for e in life.events if e.event not in COMMANDS]),
        acts=_acts(t, life),
        decisions=DECISIONS[state] if state is not None else (),
        here=f"{BOXES}/{quote(life.line.box, safe='')}",
        sent=_wanted(life),
    )


async def box_csv(request: Request) -> Response:
    """How it was: a row for each heartbeat that is kept, oldest first."""
    life = await _life(request)
    rows = (
        (told_at(beat.at_ms), *(beat.health.get(name) for name in BEAT_NAMES))
        for beat in sorted(life.beats, key=lambda beat: beat.at_ms)
    )
    return csv_answer(("at", *BEAT_NAMES), rows, f"box-{life.line.box}.csv")


async def decide(request: Request) -> Response:
    """Revoke, retire or reinstate."""
    life, form = await _life(request), await request.form()
    allowed = DECISIONS[life.enrolled.state] if life.enrolled is not None else ()
    state = next((each for each in allowed if each == form.get("state")), None)
    if state is None:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "this cannot be decided about this box")
    wish = {"box": life.line.box, "state": str(state), "why": reason_in(form), "who": doer_of(request)}
    await fleet_of(request).desk.do("box.state", wish)
    return done(f"{BOXES}/{quote(life.line.box, safe='')}", f"box_{state}")


async def transfer(request: Request) -> Response:
    """Into another fleet that who asks sees: nobody gives a box away by mistyping."""
    life, form = await _life(request), await request.form()
    to, reach = str(form.get("fleet", "")), reach_of(request)
    if life.enrolled is None or to not in await fleet_of(request).boxes.fleets(reach):
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "no such fleet; a new one is begun with its first code")
    wish = {"box": life.line.box, "fleet": to, "why": reason_in(form), "who": doer_of(request)}
    await fleet_of(request).desk.do("box.transfer", wish)
    return done(f"{BOXES}/{quote(life.line.box, safe='')}", "box_transferred")


async def _life(request: Request) -> BoxLife:
    life = await fleet_of(request).boxes.one(reach_of(request), request.path_params["box"])
    if life is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return life


def _query_in(request: Request) -> BoxQuery:
    return read_box_query(request.query_params.multi_items())


# --- the list ------------------------------------------------------------------------------------------------------


def _grid(t: Words, request: Request, query: BoxQuery, lines: Sequence[BoxLine], now: int) -> Grid:
    kept = [(k, v) for k, v in request.query_params.multi_items() if k not in ("sort", "page", "lang")]
    headings = []
    for name, column in COLUMNS:
        here = column is not None and query.sort is column
        turned = "-" if here and not query.falling else ""
        address = None if column is None else f"{BOXES}?{urlencode([*kept, ('sort', turned + column)])}"
        way = ("descending" if query.falling else "ascending") if here else None
        headings.append(Heading(t(f"fleet.column.{name}"), address, way, name in ("waiting", "dropped", "disk")))
    return Grid(t("fleet.boxes.title"), tuple(headings), tuple(_row(t, line, now) for line in lines))


def _row(t: Words, line: BoxLine, now: int) -> tuple[Cell, ...]:
    found = troubles(line, now)
    clock = line.health.get("clock")
    return (
        box_cell(line.box),
        link_cell(t, line.box, line.link),
        _troubles_cell(t, found),
        battery_cell(line.battery),
        text(line.fleet),
        moment(line.seen_ms),
        _waiting(t, line),
        number(t, line.dropped_per_million, 0, "ppm"),
        _disk(t, line),
        DASH if clock is None else Cell(t.or_raw("fleet.clock", str(clock))),
        DASH if line.until_ms is None else Cell(t.date(line.until_ms)),
        text(str(line.health.get("software") or "")),
    )


def _troubles_cell(t: Words, found: Sequence[Trouble]) -> Cell:
    if not found:
        return DASH
    grave = any(trouble in GRAVE for trouble in found)
    return Cell(t.joined(t(f"fleet.trouble.{trouble}.name") for trouble in found), tone="bad" if grave else "warn")


def _waiting(t: Words, line: BoxLine) -> Cell:
    waiting_s = line.figure("oldest_waiting_s")
    return DASH if waiting_s is None else Cell(t.span(waiting_s), number=True)


def _disk(t: Words, line: BoxLine) -> Cell:
    return number(t, free_gb(line), 1, "GB")


def _mega(size: float | None) -> float | None:
    return None if size is None else size / MEGABYTE


def _csv_row(line: BoxLine, now: int) -> list[object]:
    told: dict[str, object] = {
        "box": line.box,
        "battery": line.battery,
        "vehicle": line.vehicle,
        "fleet": line.fleet,
        "link": None if line.link is None else line.link.value,
        "seen": told_at(line.seen_ms),
        "troubles": " ".join(troubles(line, now)),
        "dropped_per_million": line.dropped_per_million,
        "certificate_until": told_at(line.until_ms),
        "profile": line.profile,
    }
    return [told[name] if name in told else line.health.get(name) for name in CSV_NAMES]


# --- one box -------------------------------------------------------------------------------------------------------


def _facts(t: Words, life: BoxLife) -> tuple[tuple[str, Cell], ...]:
    """How it is now. What it did not send is left out."""
    line, health = life.line, life.line.health
    cells = (
        ("battery", battery_cell(line.battery)),
        ("vehicle", text(line.vehicle)),
        ("profile", text(" · ".join(filter(None, (line.profile, line.pack))))),
        ("fleet", text(line.fleet)),
        ("seen", moment(line.seen_ms)),
        ("waiting", _waiting(t, line)),
        ("outbox", number(t, line.figure("outbox_waiting"))),
        ("dropped", number(t, line.dropped_per_million, 0, "ppm")),
        ("frames_sent", number(t, line.figure("frames_sent"))),
        ("disk", _disk(t, line)),
        ("journal", number(t, _mega(line.figure("journal_bytes")), 1, "MB")),
        ("uplink", number(t, _mega(line.figure("uplink_bytes")), 2, "MB")),
        ("clock", DASH if not health.get("clock") else Cell(t.or_raw("fleet.clock", str(health["clock"])))),
        ("temperature", number(t, line.figure("cpu_temp_degc"), 0, "°C")),
        ("uptime", DASH if line.figure("uptime_s") is None else Cell(t.span(line.figure("uptime_s")))),
        ("software", text(str(health.get("software") or ""))),
        ("config", number(t, line.figure("config_version")) if line.figure("config_version") else DASH),
        ("unready", number(t, line.unready) if line.unready else DASH),
        ("box_text", text(str(health.get("text") or ""), wide=True)),
    )
    return tuple((t(f"fleet.column.{name}"), cell) for name, cell in cells if cell is not DASH)


def _wanted(life: BoxLife) -> int | None:
    """The newest configuration that was sent to it, by the version that stands in the act."""
    sent = next((act.detail for act in life.acts if act.act == "config sent"), "")
    version = sent.partition(" ")[0]
    return int(version) if version.isdigit() else None


def _beats(t: Words, life: BoxLife) -> Grid:
    names = ("seen", "waiting_count", "dropped", "disk", "clock", "temperature", "software", "config")
    rows = []
    for beat in life.beats:
        line = replace(life.line, health=beat.health)
        rows.append(
            (
                moment(beat.at_ms),
                number(t, line.figure("outbox_waiting")),
                number(t, line.dropped_per_million, 0, "ppm"),
                _disk(t, line),
                text(t.or_raw("fleet.clock", str(beat.health.get("clock") or ""))),
                number(t, line.figure("cpu_temp_degc"), 0, "°C"),
                text(str(beat.health.get("software") or "")),
                number(t, line.figure("config_version")),
            )
        )
    return grid(t, t("fleet.box.beats"), names, rows)


def _installations(t: Words, life: BoxLife) -> Grid:
    rows = (
        (
            moment(each.from_ms),
            battery_cell(each.battery),
            Cell(t.or_raw("battery_source", each.battery_source)),
            text(each.vehicle),
            text(" · ".join(filter(None, (each.profile, each.variant, each.pack)))),
            text(each.software),
        )
        for each in life.installations
    )
    return grid(t, t("fleet.box.installations"), ("from", "battery", "named", "vehicle", "profile", "software"), rows)


def _stores(t: Words, life: BoxLife) -> Grid:
    rows = (
        (
            Cell(store.store, code=True),
            battery_cell(store.battery),
            number(t, store.records),
            Cell(t("fleet.store.disputed"), tone="bad")
            if store.disputed
            else Cell(t("fleet.store.hole"), tone="warn")
            if store.top > store.upto
            else Cell(t("fleet.store.whole"), tone="good"),
            DASH
            if store.agreed is None
            else Cell(t.joined(t.or_raw("fleet.purpose", each) for each in store.agreed.purposes) or "–"),
        )
        for store in life.stores
    )
    return grid(t, t("fleet.box.stores"), ("store", "battery", "records", "chain", "agreed"), rows)


def _certificates(t: Words, life: BoxLife, now: int) -> Grid:
    def state(until_ms: int, revoked_ms: int | None) -> Cell:
        if revoked_ms is not None:
            return Cell(t("fleet.certificate.revoked"), tone="bad")
        if until_ms <= now:
            return Cell(t("fleet.certificate.over"), tone="quiet")
        ending = until_ms - now < ENDING_DAYS * MS_PER_DAY
        return Cell(t("fleet.certificate.counts"), tone="warn" if ending else "good")

    rows = (
        (
            moment(each.issued_ms),
            moment(each.until_ms),
            state(each.until_ms, each.revoked_ms),
            Cell(each.serial, code=True),
        )
        for each in life.certificates
    )
    return grid(t, t("fleet.box.certificates"), ("issued", "until", "state", "serial"), rows)


def _acts(t: Words, life: BoxLife) -> Grid:
    rows = (
        (moment(act.at_ms), Cell(t.or_raw("fleet_act", act.act)), text(act.who), act_cell(t, act.act, act.detail))
        for act in life.acts
    )
    return grid(t, t("fleet.box.acts"), ("at", "act", "who", "detail"), rows)
