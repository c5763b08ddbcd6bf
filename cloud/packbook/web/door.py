"""The one place where it is decided whether a request comes in: every route of pages and API stands behind a `Door`.

In:  a request, what its route asks for (`May`), and the `Accounts`; without accounts whoever is here owns the book.
Out: the endpoint's answer, with `request.state.who` set; or the sign-in page, 401 or 403.
Anything that is not a plain read needs the forms' token besides (`web.session`), but for programs with a key, which no
other site can make them send.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from packbook.core.accounts import BOOKS_OWN, KEY, NOBODY, May, Who
from packbook.core.share import token_digest
from packbook.ports.accounts import Accounts
from packbook.wall import walled
from packbook.web.session import FORM_BYTES_MAX, SAFE, check_form, is_a_program, session_token

API: Final = "/api/"
SIGN_IN: Final = "/sign-in"
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="packbook"', "Cache-Control": "no-store"}


class Door:
    def __init__(self, app: ASGIApp, may: May) -> None:
        self.app = app
        self.may = may

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        who = request.state.who = await who_comes(request)
        if self.may not in who.may:
            await _refusal(request, who)(scope, receive, send)
            return
        if request.method not in SAFE:
            body = await _body(request)
            receive = _again(body, receive)
            if who.key is None and not _is_local_program(request):
                await check_form(Request(scope, _again(body, receive)))
        with walled(None if self.may is May.ANYBODY else who.reach.tenant):
            await self.app(scope, receive, send)


async def who_comes(request: Request) -> Who:
    """Decided anew each time. Raises HTTPException for a key that opens nothing."""
    accounts: Accounts | None = request.app.state.accounts
    if accounts is None:
        return BOOKS_OWN
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":  # a share link's token is nobody's: it opens what it opens
        return await _key_holder(accounts, request, shown.strip()) if KEY.fullmatch(shown.strip()) else NOBODY
    token = session_token(request)
    digest = None if token is None else token_digest(token)
    session = None if digest is None else await accounts.by_session(digest)
    if session is None or session.half:
        return NOBODY
    return session.who


async def _key_holder(accounts: Accounts, request: Request, key: str) -> Who:
    """Keys are for programs: they open no page."""
    who = await accounts.by_key(hashlib.sha256(key.encode()).digest())
    if who is None or not request.url.path.startswith(API):
        raise HTTPException(HTTPStatus.UNAUTHORIZED, "this key opens nothing here", headers=CHALLENGE)
    return who


def _refusal(request: Request, who: Who) -> Response:
    """Whoever is known may not; whoever is not may sign in first. Raises HTTPException."""
    if who.account is not None or request.app.state.accounts is None:
        raise HTTPException(HTTPStatus.FORBIDDEN, "not with what this account may do")
    if request.url.path.startswith(API):
        if request.headers.get("authorization", "").lower().startswith("bearer "):
            raise HTTPException(HTTPStatus.FORBIDDEN, "a share link opens the passport, not the history behind it")
        raise HTTPException(HTTPStatus.UNAUTHORIZED, "sign in, or send a key", headers=CHALLENGE)
    address = SIGN_IN
    if request.method in SAFE:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        address = f"{SIGN_IN}?next={quote(here)}"
    if "hx-request" in request.headers:  # a fragment's place is no place for the sign-in page
        return Response(
            status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": SIGN_IN, "Cache-Control": "no-store"}
        )
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, headers={"Cache-Control": "no-store"})


def _is_local_program(request: Request) -> bool:
    """On loopback without accounts a program may use the API as it is; a browser has to show that it is our page."""
    return request.app.state.accounts is None and request.url.path.startswith(API) and is_a_program(request)


async def _body(request: Request) -> bytes:
    """Whole, so that form and endpoint can both read it. Raises HTTPException."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {FORM_BYTES_MAX} bytes")
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
