"""Coming in and going out: name and password, the second step, an invitation's link.

In:  forms. Out: a session in a cookie and the page that was asked for, or the form again with what was wrong.
The address to go on to is always one of ours.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from fastapi import HTTPException, Request, Response
from starlette.responses import RedirectResponse

from packbook.core.accounts import Visit
from packbook.core.password import LENGTH_MIN
from packbook.core.sign_in import device_of, digest_of
from packbook.ports.accounts import AccountProblem, Accounts, Begun, SignOn
from packbook.web.access import private, who_of
from packbook.web.door import SIGN_IN
from packbook.web.render import remember_language, render
from packbook.web.routes import Page
from packbook.web.session import drop_session, keep_session, session_token
from packbook.web.words import LANGUAGES

CODE: Final = f"{SIGN_IN}/code"
STATUSES: Final = {"oidc_away": 503, "oidc_unknown": 403, "elsewhere": 403}
DONE: Final = ("password", "out")


def accounts_of(request: Request) -> Accounts:
    accounts: Accounts | None = request.app.state.accounts
    if accounts is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this book has no accounts")
    return accounts


def visit_of(request: Request) -> Visit:
    address = request.client.host if request.client is not None else "unknown"
    return Visit(address, device_of(request.headers.get("user-agent", "")))


def here_of(request: Request) -> bytes | None:
    """Digest of this browser's session."""
    token = session_token(request)
    return None if token is None else digest_of(token)


async def field(request: Request, name: str) -> str:
    value = (await request.form()).get(name)
    return value if isinstance(value, str) else ""


def status_of(problem: AccountProblem) -> tuple[int, dict[str, str]]:
    if problem.wait_s is None:
        return STATUSES.get(problem.kind, HTTPStatus.UNPROCESSABLE_ENTITY), {}
    return HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(problem.wait_s)}


async def ask(request: Request) -> Response:
    if who_of(request).account is not None:
        return go_to(onward_of(request.query_params.get("next")))
    return await form(request, request.query_params.get("next"), "", None)


async def enter(request: Request) -> Response:
    accounts, onward, login = accounts_of(request), await field(request, "next"), await field(request, "login")
    password = await field(request, "password")
    try:
        begun = await accounts.sign_in(login, password, visit_of(request), here_of(request))
    except AccountProblem as problem:
        return await form(request, onward, login, problem)
    return come_in(request, begun, onward)


async def look_as(request: Request) -> Response:
    """In a demo alone, which shows itself to whoever started it."""
    account = request.app.state.looks.get(request.path_params["look"])
    if account is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return come_in(request, await accounts_of(request).vouched(account, visit_of(request), "in the demo"), None)


async def ask_code(request: Request) -> Response:
    return _code_form(request, request.query_params.get("next"), None)


async def enter_code(request: Request) -> Response:
    accounts, here, onward = accounts_of(request), here_of(request), await field(request, "next")
    if here is None:
        return go_to(SIGN_IN)
    try:
        begun = await accounts.second_step(here, await field(request, "code"), visit_of(request))
    except AccountProblem as problem:
        return go_to(SIGN_IN) if problem.kind == "expired" else _code_form(request, onward, problem)
    return come_in(request, begun, onward)


async def leave(request: Request) -> Response:
    accounts, here = accounts_of(request), here_of(request)
    if here is not None:
        await accounts.sign_out(here, visit_of(request))
    answer = go_to(f"{SIGN_IN}?done=out")
    drop_session(request, answer)
    answer.headers["Clear-Site-Data"] = '"cache"'  # what he looked at is not shown by "back" any more
    return answer


async def ask_password(request: Request) -> Response:
    return await _invitation(request, None)


async def accept(request: Request) -> Response:
    digest = digest_of(request.path_params["token"])
    try:
        await accounts_of(request).accept(digest, await field(request, "password"), visit_of(request))
    except AccountProblem as problem:
        return await _invitation(request, problem)
    return go_to(f"{SIGN_IN}?done=password")


async def form(request: Request, onward: str | None, login: str, problem: AccountProblem | None) -> Response:
    accounts, done = accounts_of(request), request.query_params.get("done")
    sign_on: SignOn | None = request.app.state.sign_on
    status, headers = (200, {}) if problem is None else status_of(problem)
    answer = render(
        request,
        "sign_in.html",
        status=status,
        onward=onward_of(onward),
        login=login,
        problem=problem,
        done=done if done in DONE else None,
        looks=list(request.app.state.looks),
        sign_on=sign_on,
        none_yet=sign_on is None and not await accounts.exist(),
    )
    answer.headers.update(headers)
    return private(answer)


def _code_form(request: Request, onward: str | None, problem: AccountProblem | None) -> Response:
    accounts_of(request)
    status, headers = (200, {}) if problem is None else status_of(problem)
    answer = render(request, "sign_in_code.html", status=status, onward=onward_of(onward), problem=problem)
    answer.headers.update(headers)
    return private(answer)


async def _invitation(request: Request, problem: AccountProblem | None) -> Response:
    account = await accounts_of(request).invited(digest_of(request.path_params["token"]))
    if account is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this link was used or is too old")
    status = 200 if problem is None else HTTPStatus.UNPROCESSABLE_ENTITY
    return private(
        render(request, "invitation.html", status=status, account=account, problem=problem, length_min=LENGTH_MIN)
    )


def come_in(request: Request, begun: Begun, onward: str | None) -> Response:
    to = onward_of(onward)
    answer = go_to(f"{CODE}?next={quote(to)}" if begun.half else to)
    keep_session(request, answer, begun.token)
    if begun.language is not None and begun.language in LANGUAGES:
        remember_language(answer, begun.language)
    return answer


def go_to(address: str) -> Response:
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, headers={"Cache-Control": "no-store"})


def onward_of(address: str | None) -> str:
    """A page of ours, or the first one. Browsers take a backslash for a slash, and skip what is not printable."""
    parts = urlsplit(address or "/")
    ours = not parts.scheme and not parts.netloc and parts.path.startswith("/") and not parts.path.startswith("//")
    usable = address is not None and ours and address.isprintable() and "\\" not in address
    return address if usable and address is not None and not parts.path.startswith(SIGN_IN) else "/"


PAGES: Final = (
    Page(SIGN_IN, ask),
    Page(SIGN_IN, enter, method="POST"),
    Page(CODE, ask_code),
    Page(CODE, enter_code, method="POST"),
    Page(f"{SIGN_IN}/as/{{look}}", look_as, method="POST"),
    Page("/sign-out", leave, method="POST"),
    Page("/account/invitation/{token}", ask_password),
    Page("/account/invitation/{token}", accept, method="POST"),
)
