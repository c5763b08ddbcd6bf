"""Cookies and the token of forms: what ties a browser's requests together.

In:  a request. Out: the session's token, the forms' token, cookies on an answer.
Every form of a page carries `csrf`: an HMAC under a secret that lies in a cookie no script can read, the session's or,
before anybody signed in, one of its own. So another site can neither make a form of ours nor know the token of one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.exceptions import HTTPException

from packbook.core.enrolment import MS_PER_S
from packbook.core.sign_on import FLOW_MS

TOKEN_BYTES: Final = 32
SESSION: Final = "packbook_session"
FORM: Final = "packbook_form"
TRIP: Final = "packbook_trip"
TRIP_S: Final = FLOW_MS // MS_PER_S
FIELD: Final = "csrf"
HEADER: Final = "x-csrf-token"
FORM_BYTES_MAX: Final = 1_048_576
FORM_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
PURPOSE: Final = b"packbook/csrf/1"
HOST_PREFIX: Final = "__Host-"  # RFC 6265bis: no other host can set it, and it goes over TLS alone
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class StaleForm(HTTPException):
    """A form that no page of ours made for this browser."""

    kind = "form"

    def __init__(self) -> None:
        super().__init__(403, "this form was not made by a page of this book for this browser")


def session_token(request: Request) -> str | None:
    return request.cookies.get(_name(request, SESSION))


def keep_session(request: Request, answer: Response, token: str) -> None:
    """Until the browser closes it or the book ends it: how long it counts is the book's to say."""
    _set(request, answer, SESSION, token)


def drop_session(request: Request, answer: Response) -> None:
    _drop(request, answer, SESSION)


def trip_of(request: Request) -> str:
    """What a browser took along to an identity provider; empty: it never went."""
    return request.cookies.get(_name(request, TRIP), "")


def keep_trip(request: Request, answer: Response, sealed: str) -> None:
    """`SameSite=Lax`: the way back begins on another site, and is a plain link."""
    _set(request, answer, TRIP, sealed, TRIP_S)


def drop_trip(request: Request, answer: Response) -> None:
    _drop(request, answer, TRIP)


def csrf_token(request: Request) -> str:
    """For the forms of the page that is being made; `keep_form_secret` must follow when it is."""
    secret = form_secret(request)
    if secret is None:
        secret = request.state.form_secret = secrets.token_urlsafe(TOKEN_BYTES)
    return _token(secret)


def keep_form_secret(request: Request, answer: Response) -> None:
    made: str | None = getattr(request.state, "form_secret", None)
    if made is not None:
        _set(request, answer, FORM, made)


async def check_form(request: Request) -> None:
    """Raises StaleForm. Reads the form where the token is not in a header."""
    if _from_elsewhere(request):
        raise StaleForm
    shown: object = request.headers.get(HEADER)
    if shown is None and request.headers.get("content-type", "").partition(";")[0] in FORM_TYPES:
        shown = (await request.form()).get(FIELD)
    secret = form_secret(request)
    if secret is None or not isinstance(shown, str):
        raise StaleForm
    if not hmac.compare_digest(shown.encode(), _token(secret).encode()):
        raise StaleForm


def is_a_program(request: Request) -> bool:
    """Browsers say where a request comes from."""
    return "sec-fetch-site" not in request.headers and "origin" not in request.headers


def _from_elsewhere(request: Request) -> bool:
    """As browsers say it. Our referrer policy turns `Origin` of our own forms into `null`: then the token decides."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin not in (None, "null") and urlsplit(origin).netloc != request.headers.get("host")


def form_secret(request: Request) -> str | None:
    """What ties this browser's forms to it. None: it has no secret yet."""
    made: str | None = getattr(request.state, "form_secret", None)
    return session_token(request) or request.cookies.get(_name(request, FORM)) or made


def _token(secret: str) -> str:
    return hmac.new(secret.encode(), PURPOSE, hashlib.sha256).hexdigest()


def _name(request: Request, name: str) -> str:
    return HOST_PREFIX + name if request.url.scheme == "https" else name


def _set(request: Request, answer: Response, name: str, value: str, max_age_s: int | None = None) -> None:
    secure = request.url.scheme == "https"
    answer.set_cookie(_name(request, name), value, max_age_s, path="/", secure=secure, httponly=True, samesite="lax")


def _drop(request: Request, answer: Response, name: str) -> None:
    secure = request.url.scheme == "https"
    answer.delete_cookie(_name(request, name), path="/", secure=secure, httponly=True, samesite="lax")
