"""For programs that watch this process: is it alive, is it ready, and its figures. No account, and no secrets.

In:  a `Condition`. Out: JSON, and text in Prometheus' format.
Alive says that the event loop turns: who restarts us asks that. Ready says that the work can be done: who sends us
requests asks that. Figures are on the door for metrics alone, which is for programs of our own network.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request, Response
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from packbook.ports.taking import Condition, Readiness
from packbook.web.routes import Page

UNAVAILABLE: Final = 503
FRESH: Final = {"Cache-Control": "no-store"}
UNKNOWN: Final = Readiness(ready=True, checks={})  # an application without a process around it, as in tests


async def healthz(_request: Request) -> Response:
    return JSONResponse({"alive": True}, headers=FRESH)


async def readyz(request: Request) -> Response:
    condition: Condition | None = request.app.state.condition
    found = UNKNOWN if condition is None else await condition.readiness()
    told = {"ready": found.ready, "checks": dict(found.checks)}
    return JSONResponse(told, status_code=200 if found.ready else UNAVAILABLE, headers=FRESH)


async def metrics(request: Request) -> Response:
    condition: Condition = request.app.state.condition
    text, content_type = await condition.metrics()
    return Response(text, headers=FRESH | {"Content-Type": content_type})


PAGES: Final = (Page("/healthz", healthz), Page("/readyz", readyz))


def create_ops_app(condition: Condition) -> Starlette:
    """The door for metrics, which has the others as well: a collector has no pages."""
    app = Starlette(routes=[*(Route(page.path, page.endpoint) for page in PAGES), Route("/metrics", metrics)])
    app.state.condition = condition
    return app
