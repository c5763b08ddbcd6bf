"""What changes something comes from a page of ours, made for this browser; programs show a key instead."""

from __future__ import annotations

import httpx
import pytest
import sqlalchemy as sa

from packbook.adapters.rules import RuleBook
from packbook.adapters.store import tables
from packbook.app.access import access_rules
from packbook.core.accounts import SCOPES
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_access import memory_access
from packbook.web import app as web_app
from packbook.web import users
from packbook.web.session import FORM_BYTES_MAX

from .firm import BASE, HIS, MINE, PASSWORD, THEIRS, Firm, post, token_of

FIELDS = {"language": "ja"}


async def test_a_form_without_its_token_changes_nothing(firm: Firm) -> None:
    """Another site can make a browser send a form, not a token it cannot read."""
    async with firm.as_("owner") as client, firm.as_("operator") as other:
        token = await token_of(client, "/account")
        foreign = await token_of(other, "/account")
        for shown in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": token[:-1]}, {"csrf": "é" * 64}):
            answer = await client.post("/account/language", data=FIELDS | shown)
            assert answer.status_code == 403, shown
            assert "out of date" in answer.text
        assert (await client.post("/account/language", data=FIELDS | {"csrf": token})).status_code == 303
        assert (await client.post("/account/language", data=FIELDS, headers={"X-CSRF-Token": token})).status_code == 303


async def test_a_form_that_comes_from_elsewhere_changes_nothing(firm: Firm) -> None:
    """Should a token ever leak, the browser still tells where the form stood."""
    cases = [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303),
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": BASE}, 303),
        ({"Origin": "null"}, 303),  # our own forms in old browsers, for our referrer policy; the token decides
    ]
    async with firm.as_("owner") as client:
        token = await token_of(client, "/account")
        for headers, status in cases:
            answer = await client.post("/account/language", data=FIELDS | {"csrf": token}, headers=headers)
            assert answer.status_code == status, headers


async def test_signing_in_needs_the_token_too(firm: Firm) -> None:
    """Nobody is signed in to another's account unawares."""
    async with firm.browser() as client:
        assert (await client.post("/sign-in", data={"login": "owner", "password": PASSWORD})).status_code == 403
        assert (await client.post("/sign-in/as/owner")).status_code == 403


async def test_a_form_that_would_fill_the_memory_is_refused(firm: Firm) -> None:
    """Before it is read as a form, and signed in or not."""
    async with firm.browser() as client:
        answer = await client.post("/sign-in", data={"login": "x" * (FORM_BYTES_MAX + 1)})
    assert answer.status_code == 413


async def test_a_fragment_is_not_replaced_by_the_sign_in_page(firm: Firm) -> None:
    """When a session ran out, htmx is told to go there with the whole page."""
    async with firm.browser() as client:
        answer = await client.get(f"/battery/{MINE}", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in")


async def test_a_key_reads_what_its_scopes_say_within_its_owners_reach(firm: Firm) -> None:
    """An owner's key opens his battery, not his neighbour's, and not the fleet."""
    async with firm.as_("owner") as client:
        page = await post(client, "/account/keys/new", "/account", note="cron", scope="read:batteries", days="30")
        key = page.text.split("<code>")[1].split("</code>")[0]
    async with firm.browser(headers={"Authorization": f"Bearer {key}"}) as program:
        assert (await program.get(f"/api/v1/batteries/{MINE}")).status_code == 200
        assert (await program.get(f"/api/v1/batteries/{MINE}/passport")).status_code == 200
        assert (await program.get(f"/api/v1/batteries/{HIS}")).status_code == 404
        assert (await program.get(f"/api/v1/batteries/{MINE}/reads")).status_code == 403
        assert (await program.get("/api/v1/boxes")).status_code == 403
        assert (await program.get("/account")).status_code == 401, "keys open no pages"
    async with firm.as_("owner") as client:
        shown = (await client.get("/account")).text
        assert key not in shown
        assert key[:12] in shown
        await post(client, "/account/keys/revoke", "/account", prefix=key[4:12])
    async with firm.browser(headers={"Authorization": f"Bearer {key}"}) as program:
        answer = await program.get(f"/api/v1/batteries/{MINE}")
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


async def test_nobody_makes_a_key_that_may_more_than_he(firm: Firm) -> None:
    """Else the key would be the way round the role."""
    async with firm.as_("owner") as client:
        for scope in ("read:fleet", "write:operate", "administer", ""):
            answer = await post(client, "/account/keys/new", "/account", note="x", scope=scope, days="30")
            assert answer.status_code == 422, scope
    assert not any("administer" in needed for needed in SCOPES.values())


async def test_a_key_shrinks_with_its_owners_role(firm: Firm) -> None:
    """Whoever is made a viewer reads on, and works no more, with the keys he has."""
    async with firm.as_("operator") as client:
        made = await post(
            client, "/account/keys/new", "/account", note="x", scope=["read:fleet", "read:reads"], days="1"
        )
    key = made.text.split("<code>")[1].split("</code>")[0]
    async with firm.as_("admin") as admin:
        await post(
            admin, "/fleet/users/role", "/fleet/users", account=firm.ids["operator"], role="owner", batteries=MINE
        )
    async with firm.browser(headers={"Authorization": f"Bearer {key}"}) as program:
        assert (await program.get("/api/v1/boxes")).status_code == 403
        assert (await program.get(f"/api/v1/batteries/{MINE}")).status_code == 403, "not what the key is for"


async def test_an_admin_decides_within_his_firm_alone(firm: Firm) -> None:
    """Another firm's accounts answer as if they were not there, and its batteries cannot be given away."""
    async with firm.as_("rival") as client:
        page = (await client.get("/fleet/users")).text
        assert firm.ids["owner"] not in page
        for to, fields in (
            ("disabled", {"disabled": "yes"}),
            ("role", {"role": "viewer"}),
            ("link", {}),
        ):
            answer = await post(client, f"/fleet/users/{to}", "/fleet/users", account=firm.ids["owner"], **fields)
            assert answer.status_code == 422
        answer = await post(
            client, "/fleet/users/invite", "/fleet/users", login="spy", name="", role="owner", batteries=MINE
        )
        assert answer.status_code == 422
    async with firm.as_("owner") as client:
        assert (await client.get("/account")).status_code == 200


async def test_ids_of_batteries_are_searched_for(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet has thousands: the page lists none unasked, and of a search the first; never another firm's."""
    monkeypatch.setattr(users, "FOUND_MAX", 1)
    async with firm.as_("admin") as client:
        unasked = (await client.get("/fleet/users")).text
        some = (await client.get("/fleet/users?q=main")).text
        theirs = (await client.get(f"/fleet/users?q={THEIRS}")).text
    assert HIS not in unasked
    assert "Shown: 1 of 2" in some
    assert some.count(f"<code>{MINE}</code>") + some.count(f"<code>{HIS}</code>") == 1
    assert "Shown: 0 of 0" in theirs


async def test_the_last_admin_stays(firm: Firm) -> None:
    """A firm that locked itself out could only be helped at the machine."""
    async with firm.as_("admin") as client:
        me = firm.ids["admin"]
        for to, fields in (("disabled", {"disabled": "yes"}), ("role", {"role": "viewer"})):
            answer = await post(client, f"/fleet/users/{to}", "/fleet/users", account=me, **fields)
            assert answer.status_code == 422
        assert (await client.get("/fleet/users")).status_code == 200


async def test_without_accounts_everything_is_as_it_was() -> None:
    """On loopback, whoever is there owns the book; there is nothing to sign in to."""
    access = memory_access(access_rules(RuleBook()))
    transport = httpx.ASGITransport(web_app.create_app(lived_in(), access=access))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        assert (await client.get("/api/v1/batteries")).status_code == 200
        for path in ("/sign-in", "/account", "/fleet/users"):
            assert (await client.get(path)).status_code == 404
        page = (await client.get("/", follow_redirects=True)).text
        assert "/account" not in page
        assert "/fleet/users" not in page


async def test_acts_are_put_down_to_the_login(firm: Firm) -> None:
    """Anybody may be called as somebody else; a login there is once."""
    async with firm.as_("operator") as client:
        await post(client, "/fleet/enrol/drop", "/fleet/enrol", fleet="taxis")
        made = {"reader": "buyer", "days": "7", "note": "the yard", "part": "health"}
        await post(client, f"/battery/{MINE}/share", f"/battery/{MINE}/share", **made)
    async with firm.as_("admin") as admin:
        listed = (await admin.get("/fleet/audit.csv?trail=enrol")).text
    async with firm.database.transaction() as connection:
        maker = await connection.scalar(sa.select(tables.share_link.c.made_by))
    assert "operator" in listed
    assert "Operator" not in listed
    assert maker == "operator"
