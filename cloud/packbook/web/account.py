"""One's own account: password, second step, browsers that are signed in, API keys, language.

In:  forms of whoever is signed in. Out: the page, with what was done or why not; secrets made here are shown once.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from fastapi import Request, Response
from markupsafe import Markup
from starlette.responses import RedirectResponse

from packbook.clock import now_ms
from packbook.core.accounts import SCOPES, May
from packbook.core.password import LENGTH_MIN
from packbook.ports.accounts import AccountProblem
from packbook.web.access import private, who_of
from packbook.web.render import remember_language, render
from packbook.web.routes import Page
from packbook.web.sign_in import accounts_of, field, here_of, status_of, visit_of
from packbook.web.words import LANGUAGES

HERE: Final = "/account"
DONE: Final = ("password", "second_step_off", "sessions", "revoked", "language", "bound", "unbound")
KEY_DAYS: Final = (30, 90, 365)


async def show(request: Request) -> Response:
    return await page_with(request, None, None)


async def password(request: Request) -> Response:
    old, new = await field(request, "old"), await field(request, "new")
    try:
        await accounts_of(request).set_password(who_of(request), old, new, visit_of(request), here_of(request))
    except AccountProblem as problem:
        return await page_with(request, "password", problem)
    return _done("password")


async def offer(request: Request) -> Response:
    made = await accounts_of(request).offer_totp(who_of(request))
    spaced = " ".join(made.secret[at : at + 4] for at in range(0, len(made.secret), 4))
    drawing = Markup(made.drawing)  # noqa: S704 - our own, of an address that segno encoded
    return private(render(request, "account_second_step.html", secret=spaced, sealed=made.sealed, drawing=drawing))


async def second_step_on(request: Request) -> Response:
    accounts, sealed = accounts_of(request), await field(request, "sealed")
    try:
        codes = await accounts.set_totp(
            who_of(request), sealed, await field(request, "code"), visit_of(request), here_of(request)
        )
    except AccountProblem as problem:
        return await page_with(request, "second_step", problem)
    return private(render(request, "account_codes.html", codes=codes))


async def second_step_off(request: Request) -> Response:
    try:
        await accounts_of(request).drop_totp(who_of(request), await field(request, "password"), visit_of(request))
    except AccountProblem as problem:
        return await page_with(request, "second_step", problem)
    return _done("second_step_off")


async def end_sessions(request: Request) -> Response:
    """The one named, or all but this one."""
    only = await field(request, "session")
    await accounts_of(request).end_sessions(who_of(request), visit_of(request), only or None, here_of(request))
    return _done("sessions")


async def new_key(request: Request) -> Response:
    form = await request.form()
    scopes = [str(scope) for scope in form.getlist("scope")]
    days = await field(request, "days")
    try:
        key = await accounts_of(request).new_key(
            who_of(request),
            await field(request, "note"),
            scopes,
            int(days) if days.isdecimal() else 0,
            visit_of(request),
        )
    except AccountProblem as problem:
        return await page_with(request, "keys", problem)
    base = str(request.base_url)
    return private(render(request, "account_key.html", key=key, base=base))


async def revoke_key(request: Request) -> Response:
    try:
        await accounts_of(request).revoke_key(who_of(request), await field(request, "prefix"), visit_of(request))
    except AccountProblem as problem:
        return await page_with(request, "keys", problem)
    return _done("revoked")


async def language(request: Request) -> Response:
    chosen = await field(request, "language")
    if chosen not in LANGUAGES:
        return RedirectResponse(HERE, HTTPStatus.SEE_OTHER)
    await accounts_of(request).set_language(who_of(request), chosen)
    answer = _done("language")
    remember_language(answer, chosen)
    return answer


async def page_with(request: Request, section: str | None, problem: AccountProblem | None) -> Response:
    """`section`: where the problem is said."""
    accounts, who = accounts_of(request), who_of(request)
    status, headers = (200, {}) if problem is None else status_of(problem)
    done = request.query_params.get("done")
    account = await accounts.account(who)
    answer = render(
        request,
        "account.html",
        status=status,
        account=account,
        section=section,
        problem=problem,
        done=done if done in DONE else None,
        sessions=await accounts.sessions(who),
        here=here_of(request),
        recovery_left=await accounts.recovery_left(who) if account.has_totp else 0,
        sign_on=request.app.state.sign_on,
        identities=await accounts.identities(who),
        keys=await accounts.keys(who),
        scopes=[scope for scope, needed in SCOPES.items() if needed <= who.may],
        key_days=KEY_DAYS,
        now=now_ms(),
        length_min=LENGTH_MIN,
        languages=LANGUAGES,
    )
    answer.headers.update(headers)
    return private(answer)


def _done(what: str) -> Response:
    return RedirectResponse(f"{HERE}?done={quote(what)}", HTTPStatus.SEE_OTHER, headers={"Cache-Control": "no-store"})


PAGES: Final = (
    Page(HERE, show, May.SIGNED_IN),
    Page(f"{HERE}/password", password, May.SIGNED_IN, "POST"),
    Page(f"{HERE}/second-step", offer, May.SIGNED_IN, "POST"),
    Page(f"{HERE}/second-step/on", second_step_on, May.SIGNED_IN, "POST"),
    Page(f"{HERE}/second-step/off", second_step_off, May.SIGNED_IN, "POST"),
    Page(f"{HERE}/sessions/end", end_sessions, May.SIGNED_IN, "POST"),
    Page(f"{HERE}/keys/new", new_key, May.SIGNED_IN, "POST"),
    Page(f"{HERE}/keys/revoke", revoke_key, May.SIGNED_IN, "POST"),
    Page(f"{HERE}/language", language, May.SIGNED_IN, "POST"),
)
