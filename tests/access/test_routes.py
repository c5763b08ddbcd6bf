"""Every route, every role, both firms: who may comes in, who may not does not, and nothing of another firm is there.

The list of routes is the application's own, so that a route added tomorrow is examined tomorrow.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from itertools import product

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from packbook.adapters.store import access as shelf
from packbook.clock import now_ms
from packbook.core.accounts import GRANTS, May, Role
from packbook.core.share import Link, token_digest
from packbook.testing.scripted_box import ScriptedBox
from packbook.web import app as web_app
from packbook.web import shared
from packbook.web.door import Door

from .firm import HIS, MINE, PEOPLE, THEIRS, Firm

OURS = {MINE, HIS}
BOXES = {name: ScriptedBox(name=name).box for name in ("alfa", "bravo", "charlie")}
# Public by nature: what they show was made for everybody, or needs a link's token.
PUBLIC = re.compile(
    r"/(s|id|01|8004|credentials|static|sign-in|\.well-known|did\.json|healthz|readyz|metrics)\b|/account/invitation/"
)


def routes(app: FastAPI) -> Iterator[tuple[str, str, May]]:
    for route in app.routes:
        assert isinstance(route, Route)
        assert isinstance(route.app, Door), f"{route.path} stands behind no door"
        for method in sorted(route.methods or ()):
            yield route.path, method, route.app.may


def address(path: str, battery: str) -> str:
    box = BOXES["charlie" if battery == THEIRS else "alfa"]
    known = {"battery": battery, "box": box, "store": "c04e1f77a9b23d65", "number": "1", "seq": "1", "report": "triage"}
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: known.get(found[1], "x"), path)


async def ask(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """A live stream is closed as soon as it was let in."""
    async with client.stream(method, path) as answer:
        if answer.status_code != 200 or "event-stream" not in answer.headers.get("content-type", ""):
            await answer.aread()
        return answer


async def test_every_route_names_what_it_asks_for(firm: Firm) -> None:
    """Public is a decision, and only these addresses were decided so."""
    strangers = [path for path, _, may in routes(firm.app) if may is May.ANYBODY and not PUBLIC.match(path)]
    assert set(strangers) <= {
        "/api/v1/openapi.json",
        "/api/v1/batteries/{battery}/passport",  # by a link's token; else it asks itself
        "/sign-out",
        "/api/v1/problems",  # what our errors mean
        "/api/v1/problems/{name}",
        "/glossary",
        "/verify",  # of a file that the browser has
    }


def reading(app: FastAPI) -> list[tuple[str, str, May]]:
    return [one for one in routes(app) if one[1] in ("GET", "HEAD") and "/live" not in one[0]]


async def test_who_may_not_does_not_come_in(firm: Firm) -> None:
    """Each route and method, for nobody and for every role of both firms."""
    for login in (None, *PEOPLE):
        assert await wrongly_answered(firm, login) == [], login


async def wrongly_answered(firm: Firm, login: str | None) -> list[str]:
    role = None if login is None else PEOPLE[login][0]
    may = frozenset({May.ANYBODY}) if role is None else GRANTS[role]
    mine = THEIRS if login is not None and PEOPLE[login][1] == "rival" else MINE
    wrong: list[str] = []
    async with firm.as_(login) as client:
        for path, method, asked in routes(firm.app):
            if asked in may and (method != "GET" or "/live" in path):  # others say no more where he may
                continue
            answer = await ask(client, method, address(path, mine))
            status = answer.status_code
            if asked not in may:
                expected = {401} if path.startswith("/api/") and login is None else {303} if login is None else {403}
            else:
                expected = {200, 303, 304, 307, 404, 409, 422, 503} | ({401} if path.endswith("/passport") else set())
            if status not in expected or (
                status == 303 and asked not in may and "/sign-in" not in answer.headers["location"]
            ):
                wrong.append(f"{method} {path}: {status}, {asked} asked")
    return wrong


async def test_what_is_anothers_does_not_exist(firm: Firm) -> None:
    """A battery or box of another owner or firm answers like one that never was, by any address."""
    for login, foreign in (
        ("owner", HIS),
        ("owner", THEIRS),
        ("admin", THEIRS),
        ("rival", MINE),
        ("rival-owner", MINE),
    ):
        assert await giving_away(firm, login, foreign) == [], (login, foreign)


async def giving_away(firm: Firm, login: str, foreign: str) -> list[str]:
    told: list[str] = []
    async with firm.as_(login) as client:
        for path, method, asked in reading(firm.app):
            if not re.search(r"\{(battery|box)\}", path) or asked not in GRANTS[PEOPLE[login][0]]:
                continue
            if path.startswith("/api") or method == "GET":
                there, never = [(await ask(client, method, address(path, name))) for name in (foreign, "never-was")]
                if "{box}" in path:
                    never = await ask(client, method, path.replace("{box}", "0123456789abcdef"))
                if there.status_code != 404 or there.status_code != never.status_code:
                    told.append(f"{method} {path}: {there.status_code}, {never.status_code}")
    return told


async def test_no_list_names_what_is_anothers(firm: Firm) -> None:
    """Not a name, not a box: in no page and no answer without a battery in its address."""
    for login in PEOPLE:
        assert await named(firm, login) == [], login


async def named(firm: Firm, login: str) -> list[str]:
    role, tenant, batteries = PEOPLE[login]
    ours = set(batteries) if role is Role.OWNER else OURS if tenant == "main" else {THEIRS}
    boxes = {MINE: BOXES["alfa"], HIS: BOXES["bravo"], THEIRS: BOXES["charlie"]}
    hidden = {name for battery, box in boxes.items() if battery not in ours for name in (battery, box)}
    told: list[str] = []
    async with firm.as_(login) as client:
        for path, method, asked in reading(firm.app):
            if "{" in path or method != "GET" or asked not in GRANTS[role]:
                continue
            answer = await client.get(path, follow_redirects=True)
            told += [f"{path}: {name}" for name in hidden if name in answer.text]
        shown = (await client.get("/api/v1/batteries")).json()["batteries"]
    assert {battery["battery"] for battery in shown} == ours
    return told


async def test_checkpoints_and_bundles_stay_within_the_firm(firm: Firm) -> None:
    """What was signed names batteries and boxes, too."""
    async with firm.as_("admin") as ours, firm.as_("owner") as owner, firm.as_("rival") as theirs:
        for client, expected in ((ours, OURS), (owner, {MINE}), (theirs, {THEIRS})):
            points = (await client.get("/api/v1/checkpoints")).json()["checkpoints"]
            assert {point["battery"] for point in points} == expected
            assert (await client.get("/api/v1/checkpoints", params={"battery": "RIVAL-1"})).json()["checkpoints"] == [
                point for point in points if point["battery"] == "RIVAL-1"
            ]
        assert (await theirs.get(f"/api/v1/batteries/{MINE}/bundle")).status_code == 404
        assert (await owner.get(f"/api/v1/batteries/{MINE}/bundle")).status_code == 200


async def test_who_read_it_names_nobody_of_another_firm(firm: Firm) -> None:
    """A list read by the rival's admin held nothing of ours: he stands in no record of ours."""
    async with firm.as_("rival") as theirs, firm.as_("operator") as ours:
        await theirs.get("/api/v1/batteries")
        await ours.get("/api/v1/batteries")
        reads = (await ours.get(f"/api/v1/batteries/{MINE}/reads")).json()["reads"]
    assert {read["account"] for read in reads} == {"operator"}
    assert {read["what"] for read in reads} == {"batteries", "reads"}


async def test_unknown_methods_open_nothing(firm: Firm) -> None:
    """A way round the door would be a door."""
    methods = ("OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW")
    async with firm.browser() as client:
        for method, path in product(
            methods, (f"/api/v1/batteries/{MINE}", f"/battery/{MINE}", "/api/v1/boxes", "/account")
        ):
            answer = await client.request(method, path)
            assert answer.status_code in (303, 401, 405), (method, path)
            assert "Leaf" not in answer.text


async def test_a_head_is_refused_like_a_get(firm: Firm) -> None:
    """Whether a battery is here is itself something to know."""
    async with firm.browser() as client:
        for battery in (MINE, "never-was"):
            assert (await client.head(f"/battery/{battery}")).status_code == 303


async def test_a_share_link_opens_its_battery_whosever_it_is(firm: Firm) -> None:
    """A buyer has no account; he sees this one battery's passport and nothing else."""
    token = secrets.token_urlsafe(32)
    digest = token_digest(token)
    assert digest is not None
    link = Link(digest, THEIRS, "buyer", None, None, None, "", 1, "op", now_ms() + 60_000, None)
    async with firm.database.transaction() as connection:
        await shelf.keep_link(connection, link)
    async with firm.browser(headers={"Authorization": f"Bearer {token}"}) as client:
        assert (await client.get(f"/api/v1/batteries/{THEIRS}/passport")).status_code == 200
        assert (await client.get(f"/api/v1/batteries/{MINE}/passport")).status_code == 404
        assert (await client.get(f"/api/v1/batteries/{THEIRS}")).status_code == 403
    async with firm.browser() as client:
        page = await client.get(f"/s/{token}")
    assert page.status_code == 200
    assert "88" in page.text


def test_a_route_that_no_list_names_ends_the_start() -> None:
    """Whoever adds a route another way cannot forget the door."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_route("/secret", shared.share)
    with pytest.raises(KeyError, match="secret"):
        web_app.stand_doors(app.routes)
