"""The book's face: pages for people and an API for programs, all routes in one list.

In:  a `Histories` (the store, or `packbook.testing.memory_histories`), and an `Evidence` where there is a signing key.
Out: an ASGI application. It changes nothing; who reads a battery's own life is put on record first (`web.access`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Route

from packbook.core.accounts import May
from packbook.ports import Accounts, Credentials, Evidence, Histories, PackbookError
from packbook.web import account, api, credentials, guard, models, pages, shared, sign_in, users
from packbook.web.access import Access
from packbook.web.assets import Assets, static_file
from packbook.web.door import Door
from packbook.web.routes import Page

V1: Final = "/api/v1"
Problems = dict[int | str, dict[str, Any]]


class ApiRoute(NamedTuple):
    path: str
    endpoint: Callable[..., Any]
    answer: type[models.Answer]
    summary: str
    description: str
    may: May = May.READ_BATTERY

    @property
    def asks(self) -> bool:
        """It names a battery, in its path or as a parameter, and may be asked wrongly."""
        return "{battery}" in self.path or self.endpoint is api.checkpoints


class FileRoute(NamedTuple):
    path: str
    endpoint: Callable[..., Any]
    summary: str
    description: str
    may: May = May.READ_BATTERY


PAGES: Final = (
    Page("/", pages.home, May.READ_BATTERY),
    Page("/battery/{battery}", pages.owner, May.READ_BATTERY),
    Page("/battery/{battery}/sessions", pages.sessions, May.READ_BATTERY),
    Page("/battery/{battery}/sessions.csv", pages.sessions_csv, May.READ_BATTERY),
    Page("/battery/{battery}/soh.csv", pages.soh_csv, May.READ_BATTERY),
    Page("/battery/{battery}/sheet.pdf", shared.owner_sheet, May.READ_BATTERY),
    Page("/s/{token}", shared.share),
    Page("/s/{token}/{format}", shared.share_file),
    Page("/id/{name:path}", shared.identifier),
    Page("/01/{rest:path}", shared.identifier),
    Page("/8004/{rest:path}", shared.identifier),
    Page("/.well-known/did.json", credentials.did_document),
    Page("/did.json", credentials.did_document),  # where the public address has a folder
    Page("/credentials/status/{number:int}", credentials.status_list),
    Page("/credentials/schema/credential-1.schema.json", credentials.schema),
    Page("/static/{name:path}", static_file),
    *sign_in.PAGES,
    *account.PAGES,
    *users.PAGES,
)

API: Final = (
    ApiRoute(
        "/batteries",
        api.batteries,
        models.BatteriesOut,
        "All batteries",
        "Every battery of the book with its newest SoH.",
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
)
FILES: Final = (
    FileRoute(
        "/batteries/{battery}/bundle",
        api.bundle,
        "Evidence bundle",
        "All signed records of one battery as one file, which `packbook verify` checks without network or settings.",
    ),
    FileRoute(
        "/batteries/{battery}/passport",
        shared.api_passport,
        "Battery passport",
        "The neutral record as this reader may see it, value and identity apart. A share link's token goes into "
        "`Authorization: Bearer`.",
        May.ANYBODY,  # a share link may open it; without one the endpoint asks for READ_BATTERY
    ),
)
DESCRIPTION: Final = (
    "Battery usage histories. Units end the field names; current is positive into the pack, percent is 0..100, times "
    "are UTC milliseconds since 1970, unknown is null. Answers carry an ETag: poll with If-None-Match."
)


def _problem(description: str) -> dict[str, Any]:
    schema = models.Problem.model_json_schema()
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


COMMON_PROBLEMS: Final[Problems] = {503: _problem("The book cannot be read now; ask again")}
BATTERY_PROBLEMS: Final[Problems] = {
    403: _problem("Not for this reader"),
    404: _problem("Not in this book"),
    422: _problem("A parameter is out of its range"),
}


FILE_ANSWERS: Final[dict[Callable[..., Any], Problems]] = {
    api.bundle: {200: {"description": "A bundle (docs/trust.md)", "content": {api.BUNDLE_TYPE: {}}}},
    shared.api_passport: {200: {"description": "A record (docs/passport.md)", "content": {shared.JSON: {}}}},
}


def create_app(
    histories: Histories,
    evidence: Evidence | None = None,
    *,
    access: Access | None = None,
    signed: Credentials | None = None,
    accounts: Accounts | None = None,
    looks: Mapping[str, str] | None = None,
    title: str = "Packbook",
) -> FastAPI:
    """`evidence` None: this book has no signing key at hand, and says so where it would need one.

    `access` None: nobody could put on record who reads, so nothing of a battery's own life is shown.
    `signed` None: this book signs no credentials.
    `accounts` None: whoever gets here owns the book, as on loopback.
    `looks`: of a demo alone: accounts by the word on a button that signs in as them.
    """
    app = FastAPI(
        title=title,
        version="1",
        description=DESCRIPTION,
        openapi_url=f"{V1}/openapi.json",
        docs_url=None,  # their pages load scripts from a CDN
        redoc_url=None,
    )
    app.state.histories = histories
    app.state.evidence = evidence
    app.state.access = access
    app.state.credentials = signed
    app.state.accounts = accounts
    app.state.looks = looks or {}
    app.state.title = title
    app.state.assets = Assets.shipped()
    app.state.pages = {page.path: page.may for page in PAGES if page.method == "GET"}
    if accounts is None:  # there is nobody to show
        for page in (*account.PAGES, *users.PAGES):
            app.state.pages.pop(page.path, None)
    for page in PAGES:
        app.add_route(page.path, page.endpoint, methods=[page.method], include_in_schema=False)
    for route in API:
        problems = COMMON_PROBLEMS | (BATTERY_PROBLEMS if route.asks else {})
        app.add_api_route(
            V1 + route.path,
            route.endpoint,
            response_model=route.answer,
            summary=route.summary,
            description=route.description,
            responses=problems,
            name=route.endpoint.__name__,
        )
    for file in FILES:
        app.add_api_route(
            V1 + file.path,
            file.endpoint,
            response_class=Response,
            summary=file.summary,
            description=file.description,
            responses=COMMON_PROBLEMS | BATTERY_PROBLEMS | FILE_ANSWERS[file.endpoint],
            name=file.endpoint.__name__,
        )
    stand_doors(app)
    app.add_exception_handler(HTTPException, guard.on_http_error)
    app.add_exception_handler(RequestValidationError, guard.on_bad_request)
    app.add_exception_handler(PackbookError, guard.on_trouble)
    app.add_exception_handler(Exception, guard.on_mistake)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    app.add_middleware(guard.SecureHeaders)
    return app


def stand_doors(app: FastAPI) -> None:
    """Before every route. One that no list names has no business here, and ends the start."""
    may = {(page.path, page.method): page.may for page in PAGES}
    may |= {(V1 + route.path, "GET"): route.may for route in (*API, *FILES)}
    may[f"{V1}/openapi.json", "GET"] = May.ANYBODY
    for route in app.routes:
        assert isinstance(route, Route)
        (method,) = (route.methods or set()) - {"HEAD"}
        route.app = Door(route.app, may[route.path, method])
