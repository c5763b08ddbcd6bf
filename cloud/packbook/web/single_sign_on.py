"""Sign-in through an identity provider: the way there, the way back, and out again; binding one's account to it.

In:  a link that is followed, or a browser that comes back. Out: the browser is sent on, with a session at last.
Browsers let no form lead to another site (our Content-Security-Policy), so the way there is a link. It needs no form's
token: it changes nothing here, and only the browser that set out can come back (`SignOn.arrive`).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import HTTPException, Request, Response

from packbook.core.accounts import May
from packbook.ports.accounts import AccountProblem, SignOn
from packbook.web.access import private, who_of
from packbook.web.account import HERE as ACCOUNT
from packbook.web.account import page_with
from packbook.web.door import SIGN_IN
from packbook.web.render import render
from packbook.web.routes import Page
from packbook.web.session import drop_trip, keep_trip, trip_of
from packbook.web.sign_in import accounts_of, come_in, field, form, go_to, here_of, onward_of, visit_of

START: Final = f"{SIGN_IN}/oidc"
BACK: Final = f"{START}/callback"
END: Final = f"{START}/end"
PROMPTS: Final = ("login", "select_account")
TOLD_MAX: Final = 4096  # characters of one value that comes back


def sign_on_of(request: Request) -> SignOn:
    accounts_of(request)
    sign_on: SignOn | None = request.app.state.sign_on
    if sign_on is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this book has no identity provider")
    return sign_on


async def start(request: Request) -> Response:
    onward = onward_of(request.query_params.get("next"))
    sign_on = sign_on_of(request)
    if who_of(request).account is not None:
        return go_to(onward)
    asked = request.query_params.get("prompt")
    try:
        away = await sign_on.depart(_address(request, BACK), onward, prompt=asked if asked in PROMPTS else None)
    except AccountProblem as problem:
        return await form(request, onward, "", problem)
    answer = go_to(away.address)
    keep_trip(request, answer, away.sealed)
    return answer


async def callback(request: Request) -> Response:
    """Whatever came of it, the way is over."""
    answer = await _back(request)
    drop_trip(request, answer)
    return answer


async def _back(request: Request) -> Response:
    sign_on, who = sign_on_of(request), who_of(request)
    told = {name: value[:TOLD_MAX] for name, value in request.query_params.items()}
    try:
        home = await sign_on.arrive(
            trip_of(request), told, _address(request, BACK), who, visit_of(request), here_of(request)
        )
    except AccountProblem as problem:
        if who.account is not None:
            return await page_with(request, "identity", problem)
        return await form(request, None, "", problem)
    if home.begun is None:
        return go_to(home.onward)
    return come_in(request, home.begun, home.onward)


async def end(request: Request) -> Response:
    """Over there, too. Where that is not offered, or does not answer, the browser stays here."""
    try:
        address = await sign_on_of(request).ending(_address(request, SIGN_IN))
    except AccountProblem as problem:
        return await form(request, None, "", problem)
    return go_to(address or SIGN_IN)


async def bind(request: Request) -> Response:
    """With the password: a browser that was left open, or led here, binds nobody's account to another's identity."""
    sign_on, who = sign_on_of(request), who_of(request)
    try:
        await accounts_of(request).prove(who, await field(request, "password"), visit_of(request))
        away = await sign_on.depart(_address(request, BACK), f"{ACCOUNT}?done=bound", prompt="login", bind=who)
    except AccountProblem as problem:
        return await page_with(request, "identity", problem)
    answer = private(render(request, "account_bind.html", sign_on=sign_on, address=away.address))
    keep_trip(request, answer, away.sealed)
    return answer


async def unbind(request: Request) -> Response:
    issuer, password = await field(request, "issuer"), await field(request, "password")
    try:
        await accounts_of(request).unbind(who_of(request), issuer, password, visit_of(request), here_of(request))
    except AccountProblem as problem:
        return await page_with(request, "identity", problem)
    return go_to(f"{ACCOUNT}?done=unbound")


def _address(request: Request, path: str) -> str:
    """Ours as this browser sees it, for there its cookie is. The provider knows where it may send browsers."""
    return str(request.base_url).rstrip("/") + path


PAGES: Final = (
    Page(START, start),
    Page(BACK, callback),
    Page(END, end),
    Page(f"{ACCOUNT}/identity/bind", bind, May.SIGNED_IN, "POST"),
    Page(f"{ACCOUNT}/identity/unbind", unbind, May.SIGNED_IN, "POST"),
)
