"""Every route of the JSON API, as one list: address, endpoint, answer, what the manual says, who may.

Out: `API` (answers in JSON, by a model) and `FILES` (anything else); `web.openapi` makes the manual of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from packbook.core.accounts import May
from packbook.web import api, api_acts, live, models, shared

V1: Final = "/api/v1"
JSON: Final = "application/json"


class ApiRoute(NamedTuple):
    path: str
    endpoint: Callable[..., Any]
    answer: type[models.Answer]
    summary: str
    description: str
    may: May = May.READ_BATTERY
    problems: tuple[int, ...] = ()  # beside those that any route may have (`web.openapi`)
    method: str = "GET"
    status: int = 200  # when it went well


class FileRoute(NamedTuple):
    path: str
    endpoint: Callable[..., Any]
    media_type: str
    summary: str
    description: str
    may: May = May.READ_BATTERY
    problems: tuple[int, ...] = ()
    headers: Mapping[str, str] = {}  # of its answer, with what they say


# What programs do, and the lists they do it from.
ACTS: Final = (
    ApiRoute(
        "/alerts",
        api_acts.alerts,
        api_acts.AlertsOut,
        "Alerts",
        "What operators are alerted to, newest first: those that are open, or of one state.",
        May.READ_FLEET,
    ),
    ApiRoute(
        "/alerts/{number}/acknowledge",
        api_acts.acknowledge,
        api_acts.AlertOut,
        "Take an alert on",
        "Nobody else need go then. Said again by the same one with the same note, it is done already; 409 where "
        "another took it on, or its cause is gone.",
        May.OPERATE,
        (404, 409),
        "POST",
    ),
    ApiRoute(
        "/batteries/{battery}/links",
        api_acts.links,
        api_acts.LinksOut,
        "Share links",
        "Who may look at this battery without an account, newest first; never the address.",
        May.MANAGE_BATTERY,
    ),
    ApiRoute(
        "/batteries/{battery}/links",
        api_acts.make_link,
        api_acts.LinkMadeOut,
        "Make a share link",
        "Its address stands in this answer alone. 409 where the access table has no such link.",
        May.MANAGE_BATTERY,
        (409,),
        "POST",
        201,
    ),
    ApiRoute(
        "/batteries/{battery}/links/{link}",
        api_acts.revoke_link,
        api_acts.LinkOut,
        "Take a share link back",
        "From now on it opens nothing. One that was taken back stays so.",
        May.MANAGE_BATTERY,
        (),
        "DELETE",
    ),
    ApiRoute(
        "/codes",
        api_acts.codes,
        api_acts.CodesOut,
        "Codes of boxes",
        "One-time codes that boxes enrol with, and what became of each, newest first; never the code.",
        May.OPERATE,
    ),
    ApiRoute(
        "/codes",
        api_acts.make_codes,
        api_acts.CodesMadeOut,
        "Make codes for boxes",
        "The codes stand in this answer alone. 409 for a fleet that is not there, or a box that is not enrolled; 503 "
        "where the book has no authority of its own.",
        May.OPERATE,
        (409,),
        "POST",
        201,
    ),
    ApiRoute(
        "/boxes/{box}/fleet",
        api_acts.set_fleet,
        api_acts.BoxFleetOut,
        "Put a box into another fleet",
        "One that is there already stays. 409 where there is no such fleet, or the box is not enrolled.",
        May.OPERATE,
        (404, 409),
        "PUT",
    ),
)
API: Final = (
    ApiRoute(
        "/batteries",
        api.batteries,
        models.BatteriesOut,
        "All batteries",
        "Batteries within the reach of who asks, each with its newest SoH.",
    ),
    ApiRoute(
        "/batteries/{battery}",
        api.battery,
        models.BatteryOut,
        "One battery",
        "Head of one battery's history: what it is, who watched it, how much is known, its newest SoH.",
    ),
    ApiRoute(
        "/batteries/{battery}/soh",
        api.soh,
        models.SohSeriesOut,
        "SoH over time",
        "Every SoH record, oldest first: the estimate with its interval and, beside it, what the car reports.",
    ),
    ApiRoute(
        "/batteries/{battery}/forecast",
        api.forecast,
        models.ForecastOut,
        "Where it is going",
        "SoH of the next three years with its interval, time and distance to 80 % and 70 %, what may be promised and "
        "what stands against it, and the next use. Null with the reason where the readings do not carry a forecast.",
    ),
    ApiRoute(
        "/batteries/{battery}/sessions",
        api.sessions,
        models.SessionsOut,
        "Charges, drives and rests",
        "Sessions, newest first. Ask on with `next_offset` until it is null.",
    ),
    ApiRoute(
        "/batteries/{battery}/cells",
        api.cells,
        models.CellsSeriesOut,
        "Cell spread over time",
        "How far the cells were apart at quiet moments, oldest first: at most one a day, and one more when it grew.",
    ),
    ApiRoute(
        "/batteries/{battery}/usage",
        api.usage,
        models.UsageOut,
        "Life so far",
        "Totals and histograms with the edges of their bands: time at state of charge x temperature, "
        "at C-rate x temperature, and half cycles by depth.",
    ),
    ApiRoute(
        "/batteries/{battery}/events",
        api.events,
        models.EventsOut,
        "Events",
        "Harmful events and breaks in the record, newest first.",
    ),
    ApiRoute(
        "/batteries/{battery}/reads",
        api.reads,
        models.ReadsOut,
        "Who read it",
        "Who read what of this battery's own life, newest first, with reads of the list of all batteries.",
        May.READ_READS,
    ),
    ApiRoute(
        "/checkpoints",
        api.checkpoints,
        models.CheckpointsOut,
        "What the book signed",
        "The newest checkpoint of every store: keep one, and a history whose end is cut off later gives itself away.",
    ),
    ApiRoute(
        "/boxes",
        api.boxes,
        models.BoxesOut,
        "Boxes",
        "Every box, when it was last heard, and its health.",
        May.READ_FLEET,
    ),
    ApiRoute(
        "/quarantine",
        api.quarantine,
        models.QuarantineOut,
        "Refused messages",
        "How many of the newest messages could not be believed, by reason.",
        May.READ_FLEET,
    ),
    ApiRoute(
        "/problems",
        api.problem_kinds,
        models.ProblemKindsOut,
        "Kinds of problems",
        "Every kind of problem document that this API answers with, and what to do about it.",
        May.ANYBODY,
    ),
    ApiRoute(
        "/problems/{name}",
        api.problem_kind,
        models.ProblemKindOut,
        "One kind of problem",
        "What the `type` of a problem document leads to.",
        May.ANYBODY,
        (404,),
    ),
    *ACTS,
)
FILES: Final = (
    FileRoute(
        "/batteries/{battery}/bundle",
        api.bundle,
        api.BUNDLE_TYPE,
        "Evidence bundle",
        "All signed records of one battery as one file, which `packbook verify` checks without network or settings "
        "(docs/trust.md).",
        headers={"Content-Disposition": "A name for the file"},
    ),
    FileRoute(
        "/batteries/{battery}/passport",
        shared.api_passport,
        JSON,
        "Battery passport",
        "The neutral record as this reader may see it, value and identity apart (docs/passport.md). A share link's "
        "token goes into `Authorization: Bearer`.",
        May.ANYBODY,  # a share link may open it; without one the endpoint asks for READ_BATTERY
        (401, 403, 409, 410, 429),
    ),
    FileRoute(
        "/live",
        live.live,
        live.MEDIA_TYPE,
        "What changes, as it happens",
        "Server-sent events. `ready` begins; `changed` names batteries, and for who may read the fleet boxes and "
        'alerts, that changed: `{"batteries": ["leaf-24-0001"], "boxes": null}`, null for many. What changed about '
        "them is to be asked for. Come back with `Last-Event-ID`; a comment every 15 s shows that the line is there.",
    ),
)
