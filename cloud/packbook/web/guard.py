"""Headers that every answer carries, and answers for requests that went wrong.

Pages get a page, programs get problem details (RFC 9457). Of our own mistakes
nothing is shown but that there was one.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from packbook.ports import PackbookError
from packbook.web import models
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
TITLES: Final = {
    401: "Not signed in",
    403: "Not for this reader",
    404: "Not found",
    405: "Method not allowed",
    409: "Not enough for this format",
    410: "No longer open",
    413: "Too large",
    422: "The request cannot be understood",
    429: "Too many tries",
    500: "A mistake of ours",
    503: "The book cannot be read now",
}
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


async def on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _wrong(request, error.status_code, str(error.detail), kind=getattr(error, "kind", None))
    response.headers.update(error.headers or {})
    return response


async def on_bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors: list[dict[str, object]] = [
        {"where": ".".join(str(part) for part in found["loc"]), "why": found["msg"]} for found in error.errors()
    ]
    return _wrong(request, 422, "; ".join(f"{e['where']}: {e['why']}" for e in errors), errors)


async def on_trouble(request: Request, error: Exception) -> Response:
    """Expected trouble (a locked database): say so and ask to come again."""
    assert isinstance(error, PackbookError)
    response = _wrong(request, 503, str(error) if request.url.path.startswith(API) else "")
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
    errors: list[dict[str, object]] | None = None,
    *,
    kind: str | None = None,
) -> Response:
    """`kind`: of the words on the page; None: the status has its own."""
    if request.url.path.startswith(API):
        problem = models.Problem(
            title=TITLES.get(status, "The request failed"),
            status=status,
            detail=detail,
            instance=request.url.path,
            errors=errors,
        )
        return Response(
            problem.model_dump_json(exclude_none=True),
            status,
            media_type="application/problem+json",
            headers={"Cache-Control": "no-store"},
        )
    kind = kind or (str(status) if status in TITLES else "other")
    outside = request.url.path.startswith(OUTSIDE)
    return render(request, "error.html", status=status, code=status, kind=kind, outside=outside)
