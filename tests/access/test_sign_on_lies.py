"""What an identity provider, or somebody between, might say that must open nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from packbook.adapters.store import accounts as shelf
from packbook.clock import now_ms
from packbook.core.accounts import ExternalIdentity, Role
from packbook.core.sign_on import LEEWAY_S, RoleRule, is_private_way, stranger_of
from packbook.settings import Settings

from .firm import PASSWORD, Firm, sign_in
from .providers import Liar, joined, lied_to, lying

DAY_S = 86_400
LIES: list[dict[str, Any]] = [
    {"nonce": "of another way"},
    {"nonce": None},
    {"aud": "another client"},
    {"aud": None},
    {"aud": ["packbook", "another client"]},
    {"aud": ["packbook", "another client"], "azp": "another client"},
    {"azp": "another client"},
    {"iss": "https://other.example"},
    {"iss": None},
    {"exp": 1_700_000_000},
    {"exp": None},
    {"exp": "soon"},
    {"iat": 4_000_000_000, "exp": 4_000_000_060},
    {"nbf": 4_000_000_000},
    {"at_hash": "of another token"},
    {"sub": None},
    {"sub": ""},
    {"sub": ["liar"]},
    {"sub": "x" * 300},
]


@pytest.fixture
def liar() -> Iterator[Liar]:
    with lying() as running:
        yield running


@pytest.fixture
async def firm(firm_file: Path, tmp_path: Path, liar: Liar) -> AsyncIterator[Firm]:
    async with joined(firm_file, tmp_path, **liar.settings) as opened:
        async with opened.database.transaction() as connection:
            identity = ExternalIdentity(liar.issuer, "liar", 1, mapped=False)
            await shelf.add_identity(connection, opened.ids["operator"], identity)
        yield opened


async def opened_by(firm: Firm, liar: Liar, address: str = "192.0.2.7", **back: str) -> httpx.Response:
    """What came of it; nobody is signed in unless it is a 303."""
    async with firm.browser(address=address) as client:
        answer = await lied_to(client, liar, **back)
        signed_in = (await client.get("/account")).status_code == 200
    assert signed_in == (answer.status_code == 303)
    return answer


async def test_the_liar_is_believed_when_it_tells_the_truth(firm: Firm, liar: Liar) -> None:
    """So that what follows fails for its lies alone; and the secret goes in the header, where it is a plain one."""
    now_s = now_ms() // 1000
    for truth in ({}, {"exp": now_s - LEEWAY_S // 2, "iat": now_s - DAY_S}, {"iat": now_s + LEEWAY_S // 2}):
        liar.claims = truth
        assert (await opened_by(firm, liar)).status_code == 303, truth
    assert any(asked.startswith("Basic ") for asked in liar.asked)


async def test_a_token_that_is_not_for_this_way_opens_nothing(firm: Firm, liar: Liar) -> None:
    """Of another sitting, another program, another issuer, another time, or of nobody."""
    for number, lie in enumerate(LIES):
        liar.claims = lie
        answer = await opened_by(firm, liar, address=f"192.0.2.{number}")  # where its wrong tries count
        assert (answer.status_code, "cannot be trusted" in answer.text) == (422, True), lie


async def test_a_token_that_others_could_have_made_opens_nothing(firm: Firm, liar: Liar) -> None:
    """Unsigned, signed under our own secret or under the public key as if it were one, or by a stranger's key."""
    forged = [b"", b"plain-secret", liar.key.as_pem(private=False), RSAKey.generate_key(2048, {"kid": "one"})]
    for liar.signs in forged:
        answer = await opened_by(firm, liar)
        assert (answer.status_code, "cannot be trusted" in answer.text) == (422, True), liar.signs


async def test_new_keys_are_asked_for_once(firm: Firm, liar: Liar) -> None:
    """A key that nobody published stays unknown; the ones that are known are asked for once an hour."""
    for _ in range(2):
        await opened_by(firm, liar)
    assert liar.asked.count("jwks") == 1
    liar.key = RSAKey.generate_key(2048, {"kid": "two"})
    assert (await opened_by(firm, liar)).status_code == 303
    assert liar.asked.count("jwks") == 2


async def test_the_answer_of_another_issuer_is_not_shown_to_this_one(firm: Firm, liar: Liar) -> None:
    """Mixed up by an attacker, our code would go to the wrong one (RFC 9207)."""
    assert (await opened_by(firm, liar, iss="https://other.example")).status_code == 422
    assert (await opened_by(firm, liar, iss=liar.issuer)).status_code == 303


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example"},
        {"token_endpoint": "http://192.0.2.1/token"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"end_session_endpoint": "http://192.0.2.1/out"},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
async def test_metadata_that_lead_elsewhere_lead_nowhere(firm: Firm, liar: Liar, metadata: dict[str, Any]) -> None:
    """Nobody is sent to, and no secret goes to, an address that the issuer cannot mean."""
    liar.metadata = metadata
    async with firm.browser() as client:
        answer = await client.get("/sign-in/oidc")
    assert answer.status_code == 422
    assert "location" not in answer.headers


async def test_a_provider_that_is_away_leaves_the_passwords(firm_file: Path, tmp_path: Path, liar: Liar) -> None:
    """It says so, and whoever has a password works on; it opens again when the provider is back."""
    async with joined(firm_file, tmp_path, **liar.settings) as firm, firm.browser() as client:
        liar.status = 503
        for way in ("/sign-in/oidc", "/sign-in/oidc/end"):
            answer = await client.get(way)
            assert answer.status_code == 503
            assert "does not answer" in answer.text
        liar.status = 200
        assert (await client.get("/sign-in/oidc")).status_code == 303
        assert (await client.get("/sign-in/oidc/end")).headers["location"] == "/sign-in", "it offers no signing out"
        assert (await sign_in(client, "owner")).status_code == 303
    gone = {**liar.settings, "oidc_issuer": "http://127.0.0.1:9"}  # discard: nobody listens
    async with joined(firm_file, tmp_path, **gone) as firm, firm.browser() as client:
        assert (await client.get("/sign-in/oidc")).status_code == 503
        assert (await sign_in(client, "owner", PASSWORD)).status_code == 303


async def test_ways_back_are_guessed_a_few_times_only(firm: Firm, liar: Liar) -> None:
    """Each would cost the provider a request of ours."""
    liar.claims = {"nonce": "wrong"}
    async with firm.browser() as client:
        statuses = {(await lied_to(client, liar)).status_code for _ in range(11)}
    assert statuses == {422, 429}


async def test_a_way_back_ends_after_ten_minutes(firm: Firm, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that was left on the provider's page overnight begins again."""
    async with firm.browser() as client:
        away = await client.get("/sign-in/oidc")
        state = httpx.URL(away.headers["location"]).params["state"]
        later = now_ms() + 11 * 60_000
        monkeypatch.setattr("packbook.app.sign_on.now_ms", lambda: later)
        answer = await client.get("/sign-in/oidc/callback", params={"code": "any", "state": state})
    assert answer.status_code == 422
    assert "Begin again" in answer.text


async def test_without_a_provider_there_is_no_such_way(firm_file: Path, tmp_path: Path) -> None:
    """No button, no page."""
    async with joined(firm_file, tmp_path) as firm, firm.browser() as client:
        assert "/sign-in/oidc" not in (await client.get("/sign-in")).text
        for way in ("", "/callback", "/end"):
            assert (await client.get(f"/sign-in/oidc{way}")).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"oidc_issuer": "http://idp.example"}, "https://"),
        ({"oidc_issuer": "https://idp.example?x=1"}, "https://HOST"),
        ({"oidc_client_id": None}, "go together"),
        ({"accounts": "off"}, "accounts"),
        ({"oidc_scopes": "email"}, "openid"),
        ({"oidc_accounts": "mapped"}, "oidc_roles"),
        ({"oidc_roles": [{"claim": "g", "value": "v", "role": "viewer"}]}, "mapped"),
        ({"oidc_roles": [{"claim": "g", "value": "v", "role": "admin"}]}, "role"),
        ({"oidc_issuer": None, "oidc_client_id": None, "oidc_only": True}, "need oidc_issuer"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_half_a_setting_ends_the_start(wrong: dict[str, Any], reason: str) -> None:
    """An admin by rule, or a provider over plain HTTP, is not found out in production."""
    right = {"accounts": "on", "oidc_issuer": "https://idp.example/realms/x", "oidc_client_id": "book"}
    Settings(**right)
    with pytest.raises(ValueError, match=reason):
        Settings(**(right | wrong))


def test_what_claims_amount_to() -> None:
    """Values of any shape come from over there."""
    rule = RoleRule("groups", "ops", Role.OPERATOR, "main")
    fitting: list[object] = ["ops", ["x", "ops"]]
    assert all(rule.fits({"groups": told}) for told in fitting)
    strange: list[object] = ["opsx", ["opsx"], None, 7, {"ops": True}, [["ops"]]]
    assert not any(rule.fits({"groups": told}) for told in strange)
    assert stranger_of("https://i", {}) is None
    found = stranger_of("https://i.example", {"sub": "s", "email": "A@b.c", "email_verified": "true", "name": "\x00 N"})
    assert found is not None
    assert (found.email, found.name) == (None, "N"), "a word is no verification"
    assert found.login.endswith("@i.example")
    assert is_private_way("http://[::1]:8/", loopback=True)
    assert not is_private_way("http://localhost.evil.test/", loopback=True)
    assert not is_private_way("https://", loopback=True)
