"""Who else has an account: an admin invites, gives roles and batteries, disables.

In:  forms of an admin. Out: the list of his tenant's accounts; the link of an invitation is shown once, to hand over.
Ids of batteries are searched for (`?q=`): a fleet has thousands.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple

from fastapi import Request, Response
from starlette.responses import RedirectResponse

from packbook.clock import now_ms
from packbook.core.accounts import May, Role
from packbook.core.fleet_table import FleetQuery, read_query
from packbook.ports.accounts import AccountProblem
from packbook.web.access import private, who_of
from packbook.web.fleet.room import fleet_of, reach_of
from packbook.web.render import render
from packbook.web.routes import Page
from packbook.web.sign_in import accounts_of, field, status_of, visit_of

HERE: Final = "/fleet/users"
INVITATION: Final = "account/invitation/"
FOUND_MAX: Final = 20  # of a search for batteries: nobody reads further, he types more
DONE: Final = ("role", "disabled", "enabled")


class Found(NamedTuple):
    """Batteries that are called like that: ids and vehicles, the first of so many."""

    shown: tuple[tuple[str, str | None], ...]
    total: int


async def show(request: Request) -> Response:
    return await _page(request, None)


async def invite(request: Request) -> Response:
    try:
        token = await accounts_of(request).invite(
            who_of(request),
            await field(request, "login"),
            await field(request, "name"),
            await _role(request),
            await _batteries(request),
            visit_of(request),
        )
    except AccountProblem as problem:
        return await _page(request, problem)
    return _link(request, token)


async def invite_again(request: Request) -> Response:
    try:
        token = await accounts_of(request).invite_again(
            who_of(request), await field(request, "account"), visit_of(request)
        )
    except AccountProblem as problem:
        return await _page(request, problem)
    return _link(request, token)


async def set_role(request: Request) -> Response:
    try:
        await accounts_of(request).set_role(
            who_of(request),
            await field(request, "account"),
            await _role(request),
            await _batteries(request),
            visit_of(request),
        )
    except AccountProblem as problem:
        return await _page(request, problem)
    return _done("role")


async def set_disabled(request: Request) -> Response:
    disabled = await field(request, "disabled") == "yes"
    account = await field(request, "account")
    try:
        await accounts_of(request).set_disabled(who_of(request), account, disabled, visit_of(request))
    except AccountProblem as problem:
        return await _page(request, problem)
    return _done("disabled" if disabled else "enabled")


async def _page(request: Request, problem: AccountProblem | None) -> Response:
    status, headers = (200, {}) if problem is None else status_of(problem)
    done = request.query_params.get("done")
    query = read_query([("q", request.query_params.get("q", ""))])
    answer = render(
        request,
        "users.html",
        status=status,
        accounts=await accounts_of(request).others(who_of(request)),
        roles=list(Role),
        q=query.q,
        found=await _found(request, query) if query.q else None,
        problem=problem,
        done=done if done in DONE else None,
    )
    answer.headers.update(headers)
    return private(answer)


async def _found(request: Request, query: FleetQuery) -> Found:
    page = await fleet_of(request).batteries.page(reach_of(request), query, now_ms())
    return Found(tuple((row.battery, row.vehicle) for row in page.rows[:FOUND_MAX]), page.total)


def _link(request: Request, token: str) -> Response:
    return private(render(request, "users_link.html", link=f"{request.base_url}{INVITATION}{token}"))


async def _role(request: Request) -> Role:
    """Raises AccountProblem."""
    try:
        return Role(await field(request, "role"))
    except ValueError as problem:
        raise AccountProblem("refused", "there is no such role") from problem


async def _batteries(request: Request) -> list[str]:
    """A line, or a word, each: names of batteries hold no spaces."""
    return (await field(request, "batteries")).split()


def _done(what: str) -> Response:
    return RedirectResponse(f"{HERE}?done={what}", HTTPStatus.SEE_OTHER, headers={"Cache-Control": "no-store"})


PAGES: Final = (
    Page(HERE, show, May.ADMINISTER),
    Page(f"{HERE}/invite", invite, May.ADMINISTER, "POST"),
    Page(f"{HERE}/link", invite_again, May.ADMINISTER, "POST"),
    Page(f"{HERE}/role", set_role, May.ADMINISTER, "POST"),
    Page(f"{HERE}/disabled", set_disabled, May.ADMINISTER, "POST"),
)
