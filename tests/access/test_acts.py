"""What programs do by a key: as far as its scopes, its owner's role and his reach go, and under his login."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
import sqlalchemy as sa

from packbook.adapters.store import tables

from .firm import HIS, MINE, THEIRS, Firm, post
from .test_routes import BOXES

LINK = {"role": "buyer", "days": 7, "note": "the yard"}
TAKEN = {"note": "I call the depot"}


@asynccontextmanager
async def program(firm: Firm, login: str, scopes: Sequence[str]) -> AsyncIterator[httpx.AsyncClient]:
    """With a key that this person made."""
    async with firm.as_(login) as client:
        made = await post(client, "/account/keys/new", "/account", note="x", scope=list(scopes), days="1")
    key = made.text.split("<code>")[1].split("</code>")[0]
    async with firm.browser(headers={"Authorization": f"Bearer {key}"}) as client:
        yield client


@pytest.fixture
async def alerts(firm: Firm) -> dict[str, int]:
    """One about each firm's box, by its name."""
    same = {"kind": "box_silent", "severity": "warning", "state": "raised", "figure": 9.0, "detail": {}, "rules": "1"}
    rows = [same | {"subject": box, "box": box, "since_ms": 1, "raised_ms": 2} for box in BOXES.values()]
    async with firm.database.transaction() as connection:
        await connection.execute(sa.insert(tables.alert), rows)
        found = (await connection.execute(sa.select(tables.alert.c.id, tables.alert.c.box))).all()
    return {name: next(row.id for row in found if row.box == box) for name, box in BOXES.items()}


async def test_a_link_is_made_opened_and_taken_back(firm: Firm) -> None:
    """By the owner's program; what it made stands under his login, and its address nowhere again."""
    here = f"/api/v1/batteries/{MINE}/links"
    async with program(firm, "owner", ["write:share"]) as client, firm.browser() as buyer:
        made = await client.post(here, json=LINK)
        path = made.json()["address"].removeprefix("http://book.test")
        opens = await buyer.get(path)
        listed = await client.get(here)
        ended = [await client.delete(f"{here}/{made.json()['id']}") for _ in range(2)]
        closed = await buyer.get(path)
        unknown = await client.delete(f"{here}/{'0' * 16}")
        odd = await client.post(here, json=LINK | {"role": "operator"})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert (opens.status_code, closed.status_code) == (200, 410)
    (link,) = listed.json()["links"]
    assert (link["state"], link["reads"], link["made_by"], link["note"]) == ("opens", 1, "owner", "the yard")
    assert path.rpartition("/")[2] not in listed.text
    assert [(answer.status_code, answer.json()["state"]) for answer in ended] == [(200, "revoked")] * 2
    assert (unknown.status_code, odd.status_code) == (404, 409)


async def test_a_key_does_only_what_its_scope_says(firm: Firm, alerts: dict[str, int]) -> None:
    """A key for a report that is stolen must not open the gates."""
    asked = (
        ("write:share", "POST", f"/api/v1/batteries/{MINE}/links", LINK, 201),
        ("write:operate", "POST", f"/api/v1/alerts/{alerts['alfa']}/acknowledge", TAKEN, 200),
        ("write:operate", "POST", "/api/v1/codes", {"fleet": "taxis"}, 503),  # this book has no authority
        ("write:operate", "PUT", f"/api/v1/boxes/{BOXES['alfa']}/fleet", {"fleet": "taxis", "why": "x"}, 200),
    )
    for scope in ("read:batteries", "read:fleet", "write:share", "write:operate"):
        async with program(firm, "operator", [scope]) as client:
            for needed, method, path, wish, status in asked:
                answer = await client.request(method, path, json=wish)
                assert answer.status_code == (status if scope == needed else 403), (scope, method, path)


async def test_nothing_of_anothers_can_be_touched(firm: Firm, alerts: dict[str, int]) -> None:
    """Another firm's battery, box and alert, and a neighbour's battery, answer as if they were not there."""
    async with program(firm, "operator", ["write:share", "write:operate"]) as client:
        answers = [
            await client.post(f"/api/v1/batteries/{THEIRS}/links", json=LINK),
            await client.post(f"/api/v1/alerts/{alerts['charlie']}/acknowledge", json=TAKEN),
            await client.put(f"/api/v1/boxes/{BOXES['charlie']}/fleet", json={"fleet": "taxis", "why": "mine now"}),
        ]
        given = await client.put(f"/api/v1/boxes/{BOXES['alfa']}/fleet", json={"fleet": "rivals", "why": "a gift"})
        listed = (await client.get("/api/v1/codes")).json()["codes"]
    async with program(firm, "owner", ["write:share"]) as client:
        answers.append(await client.post(f"/api/v1/batteries/{HIS}/links", json=LINK))
    async with firm.database.transaction() as connection:
        state = await connection.scalar(sa.select(tables.alert.c.state).where(tables.alert.c.id == alerts["charlie"]))
        links = await connection.scalar(sa.select(sa.func.count()).select_from(tables.share_link))
    assert [answer.status_code for answer in answers] == [404] * 4
    assert (given.status_code, listed) == (409, [])
    assert state == "raised"
    assert links == 0


async def test_a_browser_that_signed_in_shows_the_forms_token(firm: Firm, alerts: dict[str, int]) -> None:
    """Else another site could act by the API instead of the pages."""
    to = f"/api/v1/alerts/{alerts['alfa']}/acknowledge"
    async with firm.as_("operator") as client:
        refused = await client.post(to, json=TAKEN, headers={"Origin": "https://evil.test"})
        bare = await client.post(to, json=TAKEN)
    assert (refused.status_code, bare.status_code) == (403, 403)
