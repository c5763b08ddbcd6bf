"""What operators are alerted to: those that are open, or any, with a way to take one on and say what one will do."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException, Request, Response

from packbook.clock import now_ms
from packbook.core.alerts import OPEN, Alert, AlertQuery, Kind, Severity, State
from packbook.core.fleet_papers import ROWS_PER_PAGE
from packbook.core.fleet_table import FleetQuery
from packbook.core.words_of_alerts import alert_advice, alert_severity, alert_state, alert_text, alert_title
from packbook.web.access import doer_of
from packbook.web.fleet.room import done, fleet_of, note_in, page_in, place_of, reach_of, reason_in
from packbook.web.render import render, words_for

ALERTS: Final = "/fleet/alerts"
TONES: Final = {Severity.INFO: "quiet", Severity.WARNING: "warn", Severity.CRITICAL: "bad"}
SHOWN: Final = (*OPEN, State.CLEARED)


async def alerts(request: Request) -> Response:
    t, said, port, reach = words_for(request), request.query_params, fleet_of(request).alerts, reach_of(request)
    kind = next((each for each in Kind if each == said.get("kind")), None)
    severity = next((each for each in Severity if each == said.get("severity")), None)
    state = next((each for each in SHOWN if each == said.get("state")), None)
    wish = AlertQuery(
        OPEN if state is None else (state,),
        kind,
        severity,
        said.get("box") or None,
        said.get("battery") or None,
        limit=ROWS_PER_PAGE + 1,
        offset=(page_in(request) - 1) * ROWS_PER_PAGE,
    )
    found = list(await port.list(reach, wish))
    if wish.battery is not None and wish.box is None:  # and what is of the box that watches it
        watching = await _box_of(request, wish.battery)
        of_box = () if watching is None else await port.list(reach, replace(wish, battery=None, box=watching))
        found += [alert for alert in of_box if alert.battery is None]
    counts = await port.counts(reach)
    by_severity = {each: sum(n for (_, s, _), n in counts.items() if s is each) for each in Severity}
    return render(
        request,
        "fleet/alerts.html",
        note=note_in(request, t),
        kinds=tuple(Kind),
        severities=tuple(Severity),
        states=SHOWN,
        kind=kind,
        severity=severity,
        state=state,
        said=said,
        narrowed=any(said.get(name) for name in ("kind", "severity", "state", "box", "battery")),
        counts=by_severity,
        total=sum(by_severity.values()),
        alerts=[_told(request, alert) for alert in found[:ROWS_PER_PAGE]],
        place=place_of(request, more=len(found) > ROWS_PER_PAGE),
        tones=TONES,
    )


async def acknowledge(request: Request) -> Response:
    form = await request.form()
    number: int = request.path_params["number"]
    port, reach = fleet_of(request).alerts, reach_of(request)
    if await port.acknowledge(number, doer_of(request), reason_in(form), reach) is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return done(ALERTS, "alert_taken")


async def _box_of(request: Request, battery: str) -> str | None:
    rows = await fleet_of(request).batteries.rows(reach_of(request), FleetQuery(q=battery), now_ms())
    return next((row.box for row in rows if row.battery == battery), None)


def _told(request: Request, alert: Alert) -> dict[str, object]:
    t = words_for(request)
    return {
        "alert": alert,
        "title": alert_title(t, alert),
        "text": alert_text(t, alert),
        "advice": alert_advice(t, alert),
        "severity": alert_severity(t, alert),
        "state": alert_state(t, alert),
        "takable": alert.state is State.RAISED,
    }
