"""Headers that every answer carries, and answers for requests that went wrong.

Pages get a page, programs get problem details (RFC 9457). Of our own mistakes
nothing is shown but that there was one.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from packbook.ports.trouble import PackbookError
from packbook.web import models, problems
from packbook.web.nav import OUTSIDE
from packbook.web.render import render

API: Final = "/api/"
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
TOLD_ON_PAGES: Final = frozenset({403, 404, 405, 409, 410, 422, 429, 500, 503})  # have words of their own
ASKED_BY_HEAD: Final = "packbook.head"  # in the scope: for who would otherwise never come to an end
RETRY_AFTER_S: Final = 5  # a locked database is free again within seconds


class SecureHeaders:
    """ASGI middleware: adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, send_secured if scope["type"] == "http" else send)


class HeadAsGet:
    """ASGI middleware: HEAD is answered as GET would be, without the body (RFC 9110 §9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET", ASKED_BY_HEAD: True}, receive, send_head)


async def on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _wrong(request, error.status_code, str(error.detail), kind=getattr(error, "kind", None))
    response.headers.update(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(_methods_here(request))
    return response


def _methods_here(request: Request) -> list[str]:
    """Of all routes with this address: the one that refused knows its own alone."""
    here = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in here for method in route.methods})


async def on_bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = tuple(
        models.FaultOut(where=".".join(str(part) for part in found["loc"]), why=found["msg"])
        for found in error.errors()
    )
    return _wrong(request, 422, "; ".join(f"{fault.where}: {fault.why}" for fault in faults), faults)


async def on_trouble(request: Request, error: Exception) -> Response:
    """Expected trouble (a locked database): say so and ask to come again."""
    assert isinstance(error, PackbookError)
    response = _wrong(request, 503, str(error) if request.url.path.startswith(API) else "")
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


async def too_many(request: Request) -> Response:
    """More wait already than will be answered in time."""
    response = _wrong(request, 503, "too many requests wait; come again")
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


async def on_mistake(request: Request, _error: Exception) -> Response:
    """Our own mistake. This answer is made outside all middleware, so it brings its headers itself."""
    response = _wrong(request, 500, "the server met a condition it was not written for; its log tells more")
    response.headers.update(HEADERS)
    return response


def _wrong(
    request: Request,
    status: int,
    detail: str,
    errors: tuple[models.FaultOut, ...] | None = None,
    *,
    kind: str | None = None,
) -> Response:
    """`kind`: of the words on the page; None: the status has its own."""
    if request.url.path.startswith(API):
        problem = models.Problem(
            type=problems.problem_type(status),
            title=problems.PROBLEMS.get(status, problems.OTHER).title,
            status=status,
            detail=detail,
            instance=request.url.path,
            errors=errors,
        )
        return Response(
            problem.model_dump_json(exclude_none=True),
            status,
            media_type=problems.MEDIA_TYPE,
            headers={"Cache-Control": "no-store"},
        )
    kind = kind or (str(status) if status in TOLD_ON_PAGES else "other")
    outside = request.url.path.startswith(OUTSIDE)
    return render(request, "error.html", status=status, code=status, kind=kind, outside=outside)
