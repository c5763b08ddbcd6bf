"""The book's face: pages for people and an API for programs, all routes in one list.

In:  a `Histories` (the store, or `packbook.testing.memory_histories`), and an `Evidence` where there is a signing key.
Out: an ASGI application. It changes nothing; who reads a battery's own life is put on record first (`web.access`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from packbook.core.accounts import May
from packbook.ports.accounts import Accounts, SignOn
from packbook.ports.histories import Histories, Watch
from packbook.ports.taking import Condition
from packbook.ports.trouble import PackbookError
from packbook.ports.trust import Credentials, Evidence
from packbook.web import account, credentials, guard, ops, owner, shared, sign_in, single_sign_on, users
from packbook.web.access import Access
from packbook.web.admission import Admission
from packbook.web.api_routes import API, FILES, JSON, V1
from packbook.web.assets import Assets, static_file
from packbook.web.current import Kept, Unchanged, on_unchanged
from packbook.web.door import Door
from packbook.web.fleet import PAGES as FLEET_PAGES
from packbook.web.fleet.room import Fleet
from packbook.web.live import Hub, LookThrough
from packbook.web.openapi import acceptable, manual
from packbook.web.routes import Page

PAGES: Final = (
    *owner.PAGES,
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
    *single_sign_on.PAGES,
    *account.PAGES,
    *users.PAGES,
    *FLEET_PAGES,
    *ops.PAGES,
)


def create_app(
    histories: Histories,
    evidence: Evidence | None = None,
    *,
    access: Access | None = None,
    signed: Credentials | None = None,
    accounts: Accounts | None = None,
    sign_on: SignOn | None = None,
    fleet: Fleet | None = None,
    watch: Watch | None = None,
    looks: Mapping[str, str] | None = None,
    condition: Condition | None = None,
    title: str = "Packbook",
) -> FastAPI:
    """`evidence` None: this book has no signing key at hand, and says so where it would need one.

    `access` None: nobody could put on record who reads, so nothing of a battery's own life is shown.
    `signed` None: this book signs no credentials.
    `accounts` None: whoever gets here owns the book, as on loopback. `fleet` None: no operator's pages.
    `sign_on` None: there is no identity provider.
    `condition` None: no process is around it that could be unready.
    `watch` None: whether something changed is seen by reading all heads, as a small book can afford.
    `looks`: of a demo alone: accounts by the word on a button that signs in as them.
    """
    app = FastAPI(
        title=title,
        version="1",
        openapi_url=f"{V1}/openapi.json",
        docs_url=None,  # their pages load scripts from a CDN
        redoc_url=None,
    )
    app.state.histories = histories
    app.state.evidence = evidence
    app.state.access = access
    app.state.credentials = signed
    app.state.accounts = accounts
    app.state.sign_on = sign_on
    app.state.fleet = fleet
    app.state.looks = looks or {}
    app.state.condition = condition
    app.state.kept = Kept()
    app.state.title = title
    app.state.assets = Assets.shipped()
    app.state.live = Hub(watch or LookThrough(histories))
    app.state.pages = {page.path: page.may for page in PAGES if page.method == "GET"}
    if accounts is None:  # there is nobody to show
        for page in (*account.PAGES, *users.PAGES):
            app.state.pages.pop(page.path, None)
    for page in PAGES:
        app.add_route(page.path, page.endpoint, methods=[page.method], include_in_schema=False)
    stand_doors(app.routes)
    app.router.routes.extend(api_routes())
    app.openapi = partial(manual, app)  # type: ignore[method-assign]  # how FastAPI lets one write it oneself
    app.add_exception_handler(HTTPException, guard.on_http_error)
    app.add_exception_handler(RequestValidationError, guard.on_bad_request)
    app.add_exception_handler(PackbookError, guard.on_trouble)
    app.add_exception_handler(Unchanged, on_unchanged)
    app.add_exception_handler(Exception, guard.on_mistake)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    app.add_middleware(Admission, refuse=guard.too_many)
    app.add_middleware(guard.SecureHeaders)
    app.add_middleware(guard.HeadAsGet)
    return app


@cache
def api_routes() -> tuple[BaseRoute, ...]:
    """FastAPI takes long to work out what each asks and answers: once for all applications of a process."""
    router = APIRouter()
    for route in API:
        router.add_api_route(
            V1 + route.path,
            route.endpoint,
            methods=[route.method],
            status_code=route.status,
            response_model=route.answer,
            dependencies=[acceptable(JSON)],
            summary=route.summary,
            description=route.description,
            name=route.endpoint.__name__,
        )
    for file in FILES:
        router.add_api_route(
            V1 + file.path,
            file.endpoint,
            response_class=Response,
            dependencies=[acceptable(file.media_type)],
            summary=file.summary,
            description=file.description,
            name=file.endpoint.__name__,
        )
    stand_doors(router.routes)
    return tuple(router.routes)


def stand_doors(routes: Iterable[BaseRoute]) -> None:
    """Before every one of these. One that no list names has no business here, and ends the start."""
    may = {(page.path, page.method): page.may for page in PAGES}
    may |= {(V1 + route.path, route.method): route.may for route in API}
    may |= {(V1 + file.path, "GET"): file.may for file in FILES}
    may[f"{V1}/openapi.json", "GET"] = May.ANYBODY
    for route in routes:
        assert isinstance(route, Route)
        (method,) = (route.methods or set()) - {"HEAD"}
        route.app = Door(route.app, may[route.path, method])
