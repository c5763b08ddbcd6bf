"""Signing in through an identity provider that others wrote: the whole way there and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from playwright.sync_api import expect

from browser.drive import CHROMIUM, chromium, reader
from browser.fleet import serving
from packbook.adapters.store import accounts as shelf
from packbook.clock import now_ms
from packbook.core.accounts import EVERYWHERE, Account, Role
from packbook.core.sign_in import digest_of

from .firm import BASE, MINE, PASSWORD, VISIT, Firm, post, sign_in
from .providers import CLIENT, Provider, come_back, joined, provider_running, walk

MAIL = "kim@main.example"
MAPPED = {
    "oidc_accounts": "mapped",
    "oidc_roles": [
        {"claim": "groups", "value": "book-operators", "role": "operator"},
        {"claim": "groups", "value": "book-readers", "role": "viewer"},
        {"claim": "groups", "value": "rival-readers", "role": "viewer", "tenant": "rival"},
    ],
}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with provider_running() as running:
        yield running


@pytest.fixture
async def firm(firm_file: Path, tmp_path: Path, provider: Provider) -> AsyncIterator[Firm]:
    async with joined(firm_file, tmp_path, **provider.settings) as opened:
        yield opened


@pytest.fixture
async def mapping(firm_file: Path, tmp_path: Path, provider: Provider) -> AsyncIterator[Firm]:
    async with joined(firm_file, tmp_path, **provider.settings, **MAPPED) as opened:
        yield opened


async def invite(firm: Firm, login: str = MAIL, role: Role = Role.OPERATOR) -> str:
    """The invitation's token."""
    return await firm.accounts.add(login, "Kim", "main", role, [], {"who": "tests", "address": None})


async def account_of(firm: Firm, login: str) -> Account | None:
    async with firm.database.transaction() as connection:
        return await shelf.of_login(connection, login)


async def last_acts(firm: Firm, number: int) -> list[tuple[str, str]]:
    async with firm.database.transaction() as connection:
        return [(act.act, act.detail) for act in await shelf.acts(connection, EVERYWHERE, number)]


async def test_an_invited_one_comes_in_and_is_bound(firm: Firm, provider: Provider) -> None:
    """By his verified address once; the page he asked for opens; the record says through whom."""
    token = await invite(firm)
    provider.is_("kim-1", email=MAIL.upper(), email_verified=True)
    async with firm.browser() as client:
        answer = await walk(client, f"/sign-in/oidc?next=/battery/{MINE}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/battery/{MINE}")
        assert (await client.get(f"/battery/{MINE}")).status_code == 200
        assert "Kite" in (await client.get("/account")).text
    assert await last_acts(firm, 2) == [
        ("signed in", f"through {provider.issuer}"),
        ("identity bound", provider.issuer),
    ]
    assert await firm.accounts.invited(digest_of(token)) is None, "the link to set a password opens nothing any more"


async def test_the_word_of_another_holds_for_a_day(
    firm: Firm, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was let go over there is out here by then, however often he looks in."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    async with firm.browser() as client:
        await walk(client)
        for hours, status in ((23, 200), (24, 303)):
            later = now_ms() + hours * 3_600_000
            monkeypatch.setattr("packbook.app.signing_in.now_ms", lambda later=later: later)
            assert (await client.get("/account")).status_code == status


async def test_after_that_only_the_subject_counts(firm: Firm, provider: Provider) -> None:
    """Another address of the same one is the same one; the same address of another one is another one."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    async with firm.browser() as client:
        assert (await walk(client)).status_code == 303
    provider.is_("kim-1", email="renamed@main.example", email_verified=False)
    async with firm.browser() as client:
        assert (await walk(client)).status_code == 303
    provider.is_("kim-2", email=MAIL, email_verified=True)
    async with firm.browser() as client:
        answer = await walk(client)
        assert answer.status_code == 403
        assert "no account here" in answer.text
        assert (await client.get("/account")).status_code == 303


@pytest.mark.parametrize("claims", [{"email": MAIL}, {"email": MAIL, "email_verified": False}, {"email": "x@y.z"}, {}])
async def test_an_address_that_nobody_verified_is_none(
    firm: Firm, provider: Provider, claims: dict[str, object]
) -> None:
    """Else whoever writes an admin's address into his profile would be the admin."""
    await invite(firm, role=Role.ADMIN)
    provider.is_("mallory", **claims)
    async with firm.browser() as client:
        assert (await walk(client)).status_code == 403
        assert (await client.get("/account")).status_code == 303


async def test_a_disabled_account_stays_outside(firm: Firm, provider: Provider) -> None:
    """Before it was bound, and after."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    found = await account_of(firm, MAIL)
    assert found is not None
    for disabled in (True, False, True):
        async with firm.database.transaction() as connection:
            await shelf.change(connection, found.account, disabled_ms=1 if disabled else None)
        async with firm.browser() as client:
            assert (await walk(client)).status_code == (403 if disabled else 303)


async def test_who_has_a_password_shows_it_before_he_is_bound(firm: Firm, provider: Provider) -> None:
    """The issuer's word alone takes over nobody who is here already, an admin least of all."""
    await firm.accounts.add(MAIL, "Kim", "main", Role.ADMIN, [], {"who": "tests", "address": None}, PASSWORD)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    async with firm.browser() as client:
        refused = await walk(client)
        assert refused.status_code == 422
        assert "has a password" in refused.text
        await sign_in(client, MAIL)
        wrong = await post(client, "/account/identity/bind", "/account", password="not the right password")
        assert wrong.status_code == 422
        page = await post(client, "/account/identity/bind", "/account", password=PASSWORD)
        away = page.text.split('<a class="button" href="')[1].split('"')[0].replace("&amp;", "&")
        bound = await client.get(await come_back(away))
        assert bound.headers["location"] == "/account?done=bound"
        assert "Kite" in (await client.get("/account?done=bound")).text
    async with firm.browser() as client:
        assert (await walk(client)).status_code == 303
        no = await post(client, "/account/identity/unbind", "/account", issuer=provider.issuer, password="wrong one")
        assert no.status_code == 422
        await post(client, "/account/identity/unbind", "/account", issuer=provider.issuer, password=PASSWORD)
        assert "Connected to" not in (await client.get("/account")).text
    async with firm.browser() as client:
        assert (await walk(client)).status_code == 422


async def test_a_second_step_of_ones_own_is_asked_for(firm: Firm, provider: Provider) -> None:
    """Whoever set one up here did not set it up for some of the ways in."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    async with firm.browser() as client:
        await walk(client)
        offer = await post(client, "/account/second-step", "/account")
        secret = offer.text.split("<code>")[1].split("</code>")[0].replace(" ", "")
        sealed = offer.text.split('name="sealed" value="')[1].split('"')[0]
        code = pyotp.TOTP(secret).now()
        assert (await post(client, "/account/second-step/on", "/account", sealed=sealed, code=code)).status_code == 200
    async with firm.browser() as client:
        assert (await walk(client)).headers["location"].startswith("/sign-in/code")
        assert (await client.get("/account")).status_code == 303


async def test_the_way_back_is_for_the_browser_that_set_out(firm: Firm, provider: Provider) -> None:
    """Nobody is signed in to another's account by a link, and no way back leads in twice."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    async with firm.browser() as thief, firm.browser(address="198.51.100.9") as victim:
        back = await come_back((await thief.get("/sign-in/oidc")).headers["location"])
        assert (await victim.get(back)).status_code == 422, "it never set out"
        await victim.get("/sign-in/oidc")
        assert (await victim.get(back)).status_code == 422, "it set out on another way"
        assert (await victim.get("/account")).status_code == 303
        trip = thief.cookies["packbook_trip"]
        assert (await thief.get(back)).status_code == 303
        assert "packbook_trip" not in thief.cookies
    async with firm.browser() as again:
        again.cookies.set("packbook_trip", trip)
        assert (await again.get(back)).status_code == 422
    async with firm.browser() as restarted:  # a book that forgot which ways were used: the provider did not
        del firm.app
        restarted.cookies.set("packbook_trip", trip)
        assert (await restarted.get(back)).status_code == 422


async def test_what_goes_there_is_bound_to_this_way_alone(firm: Firm) -> None:
    """State, nonce and a challenge whose answer never left the book; no two alike."""
    seen: set[str] = set()
    async with firm.browser() as client:
        for _ in range(2):
            answer = await client.get("/sign-in/oidc?prompt=login")
            told = {name: v[0] for name, v in parse_qs(urlsplit(answer.headers["location"]).query).items()}
            assert told["code_challenge_method"] == "S256"
            assert told["client_id"] == CLIENT
            assert told["prompt"] == "login"
            assert told["scope"] == "openid email profile"
            assert told["redirect_uri"] == f"{BASE}/sign-in/oidc/callback"
            seen |= {told["state"], told["nonce"], told["code_challenge"]}
            cookie = answer.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=lax" in cookie
            assert not any(secret in cookie for secret in seen)
        assert "prompt" not in (await client.get("/sign-in/oidc?prompt=none")).headers["location"]
    assert len(seen) == 6
    async with firm.browser(base_url="https://book.test") as client:
        assert (await client.get("/sign-in/oidc")).headers["set-cookie"].startswith("__Host-packbook_trip=")


async def test_nobody_is_sent_elsewhere_after_it(firm: Firm, provider: Provider) -> None:
    """`next` leads to a page of ours, or to the first one."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    for to in ("https://evil.test/", "//evil.test", "/%5Cevil.test", "/sign-in/oidc"):
        async with firm.browser() as client:
            assert (await walk(client, f"/sign-in/oidc?next={to}")).headers["location"] == "/"


async def test_a_session_planted_before_ends(firm: Firm, provider: Provider) -> None:
    """As with a password: who comes in gets another token, and the one before opens nothing."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    async with firm.browser() as client:
        await walk(client)
        first = client.cookies["packbook_session"]
        back = await come_back(await _set_out_signed_in(firm, client))
        await client.get(back)
        assert client.cookies["packbook_session"] != first
        assert await firm.accounts.by_session(digest_of(first)) is None


async def _set_out_signed_in(firm: Firm, client: object) -> str:
    """In another tab, before the first one came back."""
    away = await firm.app.state.sign_on.depart(f"{BASE}/sign-in/oidc/callback", "/")
    client.cookies.set("packbook_trip", away.sealed)  # type: ignore[attr-defined]  # httpx's
    return str(away.address)


async def test_whoever_changed_his_mind_is_told_so(firm: Firm, provider: Provider) -> None:
    """No account was chosen there: nothing is wrong, and the password is offered."""
    provider.is_("nobody")
    async with firm.browser() as client:
        answer = await walk(client)
        assert answer.status_code == 422
        assert "Nobody was signed in there" in answer.text
        assert 'name="password"' in answer.text


async def test_keys_are_changed_over_there_without_anybody_noticing(firm: Firm, provider: Provider) -> None:
    """Providers change their keys when they like."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    for kid in ("second", "third"):
        async with firm.browser() as client:
            assert (await walk(client)).status_code == 303
        provider.rotate(kid)
    async with firm.browser() as client:
        assert (await walk(client)).status_code == 303


async def test_one_signs_out_over_there_too(firm: Firm, provider: Provider) -> None:
    """Else the next one at this desk is signed in by a click."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    async with firm.browser() as client:
        await walk(client)
        out = await post(client, "/sign-out", "/account")
        page = (await client.get(out.headers["location"])).text
        assert 'href="/sign-in/oidc/end"' in page
        assert "prompt=login" in page
        there = (await client.get("/sign-in/oidc/end")).headers["location"]
    told = parse_qs(urlsplit(there).query)
    assert there.startswith(f"{provider.issuer}/session/end?")
    assert told == {"client_id": [CLIENT], "post_logout_redirect_uri": [f"{BASE}/sign-in"]}


async def test_rules_make_accounts_and_lead_them(mapping: Firm, provider: Provider) -> None:
    """Groups decided over there: a role here, another one tomorrow, and none when nothing fits any more."""
    for groups, role in ((["book-readers"], Role.VIEWER), (["x", "book-operators"], Role.OPERATOR), ([], None)):
        provider.is_("lou-1", email="lou@main.example", email_verified=True, name="Lou", groups=groups)
        async with mapping.browser() as client:
            assert (await walk(client)).status_code == (403 if role is None else 303)
        found = await account_of(mapping, "lou@main.example")
        assert found is not None
        assert (found.name, found.tenant) == ("Lou", "main")
        assert found.role is (role or Role.OPERATOR)
    provider.is_("lou-1", groups=["rival-readers"])
    async with mapping.browser() as client:
        assert (await walk(client)).status_code == 403, "nobody is moved to another firm by a group"


async def test_no_rule_makes_or_changes_an_admin(mapping: Firm, provider: Provider) -> None:
    """Whom people here made an admin stays one, whatever his groups are; and nobody else becomes one."""
    provider.is_("lou-1", groups=["book-readers"], name="Lou")
    async with mapping.browser() as client:
        await walk(client)
    found = await mapping.accounts.known_as(provider.issuer, "lou-1")
    assert found is not None
    assert found.login.endswith("@127.0.0.1"), "nobody verified an address"
    async with mapping.database.transaction() as connection:
        await shelf.change(connection, found.account, role="admin")
    async with mapping.browser() as client:
        assert (await walk(client)).status_code == 303
    again = await mapping.accounts.known_as(provider.issuer, "lou-1")
    assert again is not None
    assert again.role is Role.ADMIN


async def test_a_rule_takes_over_no_account_that_is_here(mapping: Firm, provider: Provider) -> None:
    """An account by that name keeps its own role, and its password goes before."""
    await mapping.accounts.add(MAIL, "Kim", "main", Role.VIEWER, [], {"who": "tests", "address": None}, PASSWORD)
    provider.is_("kim-1", email=MAIL, email_verified=True, groups=["book-operators"])
    async with mapping.browser() as client:
        assert (await walk(client)).status_code == 422
    found = await account_of(mapping, MAIL)
    assert found is not None
    assert found.role is Role.VIEWER


async def test_passwords_can_be_switched_off_for_who_is_bound(
    firm_file: Path, tmp_path: Path, provider: Provider
) -> None:
    """Whoever leaves the firm is out when the provider says so; he cannot undo it himself; others' passwords open."""
    async with joined(firm_file, tmp_path, **provider.settings, oidc_only=True) as firm:
        async with firm.database.transaction() as connection:
            kept = (await shelf.secrets_of(connection, firm.ids["owner"]))["password"]
        await invite(firm)
        provider.is_("kim-1", email=MAIL, email_verified=True)
        async with firm.browser() as client:
            await walk(client)
            found = await account_of(firm, MAIL)
            assert found is not None
            async with firm.database.transaction() as connection:
                await shelf.change(connection, found.account, password=kept)
            form = {"issuer": provider.issuer, "password": PASSWORD}
            assert (await post(client, "/account/identity/unbind", "/account", **form)).status_code == 403
        async with firm.browser() as client:
            assert (await sign_in(client, MAIL, "not the right password")).status_code == 422
            refused = await sign_in(client, MAIL)
            assert refused.status_code == 403
            assert "identity provider" in refused.text
            assert (await sign_in(client, "owner")).status_code == 303


async def test_one_issuer_one_identity_of_an_account(firm: Firm, provider: Provider) -> None:
    """Two who bind at once: the second is told, and nothing is overwritten."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    async with firm.browser() as client:
        await walk(client)
    begun = await firm.accounts.vouched(firm.ids["owner"], VISIT, "in a test")
    async with firm.browser() as client:
        client.cookies.set("packbook_session", begun.token)
        page = await post(client, "/account/identity/bind", "/account", password=PASSWORD)
        away = page.text.split('<a class="button" href="')[1].split('"')[0].replace("&amp;", "&")
        answer = await client.get(await come_back(away))
        assert answer.status_code == 422
        assert "connected already" in answer.text
    assert [one.subject for one in await _identities(firm, firm.ids["owner"])] == []


async def _identities(firm: Firm, account: str) -> list[object]:
    async with firm.database.transaction() as connection:
        return list(await shelf.identities_of(connection, account))


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here: tests/needs.sh installs it")
async def test_a_browser_goes_there_and_comes_back(firm: Firm, provider: Provider) -> None:
    """Only a browser keeps to cookies' sites and to our Content-Security-Policy."""
    await invite(firm)
    provider.is_("kim-1", email=MAIL, email_verified=True)
    with serving(firm.app) as address:
        provider.sends_back_to(address)
        await asyncio.to_thread(_browse, address)


def _browse(address: str) -> None:
    with chromium() as browser, reader(browser, address) as context:
        page = context.new_page()
        page.goto(f"/battery/{MINE}")
        page.get_by_role("link", name="Sign in through Kite").click()
        page.wait_for_url(f"{address}/battery/{MINE}")
        page.goto("/account")
        expect(page.get_by_text("Connected to Kite")).to_be_visible()
        cookies = {cookie.get("name"): cookie for cookie in context.cookies()}
        assert (cookies["packbook_session"].get("sameSite"), cookies["packbook_session"].get("httpOnly")) == (
            "Lax",
            True,
        )
        assert "packbook_trip" not in cookies
