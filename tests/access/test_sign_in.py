"""Coming in and going out, as a browser does it: nobody but the right one, and he always."""

from __future__ import annotations

import asyncio
import time

import httpx
import pyotp
import pytest
import sqlalchemy as sa

from packbook.adapters.store import accounts as shelf
from packbook.adapters.store import open_reader
from packbook.adapters.store.account_tables import account, sign_in_session
from packbook.app.account_acts import ACTS
from packbook.app.accounts import accounts_of
from packbook.app.operate import Office, operators_door
from packbook.core.accounts import EVERYWHERE, Visit, Who
from packbook.core.sign_in import ACCOUNT_TRIES_MAX, ADDRESS_TRIES_MAX, digest_of
from packbook.ports.accounts import AccountProblem

from .firm import MINE, PASSWORD, Firm, post, sign_in, token_of

HERE = Visit("192.0.2.7", "a test")


async def who_is(firm: Firm, login: str) -> Who:
    begun = await firm.accounts.vouched(firm.ids[login], HERE, "in a test")
    session = await firm.accounts.by_session(digest_of(begun.token))
    assert session is not None
    return session.who


async def test_a_password_opens_the_page_that_was_asked_for(firm: Firm) -> None:
    """Whoever followed a link to a battery wants to see that battery, not a first page."""
    async with firm.browser() as client:
        asked = await client.get(f"/battery/{MINE}?lang=en")
        assert asked.status_code == 303
        assert asked.headers["location"] == f"/sign-in?next=/battery/{MINE}%3Flang%3Den"
        answer = await sign_in(client, "owner", next=f"/battery/{MINE}?lang=en")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/battery/{MINE}?lang=en")
        assert (await client.get(f"/battery/{MINE}")).status_code == 200


async def test_a_session_is_a_secret_that_only_the_browser_has(firm: Firm) -> None:
    """Whoever reads the database cannot become anybody."""
    async with firm.browser() as client:
        answer = await sign_in(client, "owner")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    token = answer.cookies["packbook_session"]
    async with firm.database.transaction() as connection:
        kept = (await connection.scalars(sa.select(sign_in_session.c.digest))).all()
    assert kept == [digest_of(token)]
    assert len(token) == 43


async def test_over_tls_the_cookie_is_bound_to_host_and_tls(firm: Firm) -> None:
    """No neighbour under the same domain can plant a session, and none goes over the wire in the clear."""
    async with firm.browser(base_url="https://book.test") as client:
        answer = await sign_in(client, "owner")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-packbook_session=")
    assert all(part in cookie for part in ("Secure", "Path=/", "HttpOnly"))
    assert "Domain" not in cookie


async def test_signing_in_makes_another_session_and_ends_the_one_before(firm: Firm) -> None:
    """A token planted before sign-in must not become a signed-in one."""
    async with firm.browser() as client:
        await sign_in(client, "owner")
        first = client.cookies["packbook_session"]
        await client.get("/account")
        begun = await firm.accounts.sign_in("owner", PASSWORD, HERE, digest_of(first))
        assert begun.token != first
        assert await firm.accounts.by_session(digest_of(first)) is None


async def test_signing_out_ends_it_in_the_book_too(firm: Firm) -> None:
    """A copied cookie is worth nothing after that."""
    async with firm.browser() as client:
        await sign_in(client, "owner")
        token = client.cookies["packbook_session"]
        assert (await post(client, "/sign-out", "/account")).status_code == 303
        assert await firm.accounts.by_session(digest_of(token)) is None


async def test_one_is_never_sent_elsewhere(firm: Firm) -> None:
    """A link to our sign-in page must not end on somebody else's copy of it."""
    strange = ["https://evil.test/", "//evil.test", "/\\evil.test", "\\\\evil.test", "javascript:1", "/sign-in"]
    for to in strange:
        async with firm.browser() as client:
            assert (await sign_in(client, "owner", next=to)).headers["location"] == "/"


async def test_an_unknown_name_and_a_wrong_password_read_the_same(firm: Firm) -> None:
    """Nobody learns here who has an account."""
    async with firm.browser() as client:
        wrong = await sign_in(client, "owner", "not the right password")
        unknown = await sign_in(client, "ghost", "not the right password")
    assert wrong.status_code == unknown.status_code == 422
    assert wrong.text.replace("owner", "ghost") == unknown.text


async def test_an_unknown_name_costs_as_much_as_a_wrong_password(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time would tell, too: a hash is computed either way."""
    seen: list[str] = []

    def verify(kept: str, _password: str) -> bool:
        seen.append(kept)
        return False

    monkeypatch.setattr(firm.accounts._passwords, "_verify", verify)
    for login in ("owner", "ghost"):
        with pytest.raises(AccountProblem):
            await firm.accounts.sign_in(login, "not the right password", HERE)
    assert len(seen) == 2


async def test_wrong_tries_make_one_address_wait(firm: Firm) -> None:
    """Guessing from one place ends after ten tries in ten minutes."""
    async with firm.browser() as client:
        for _ in range(ADDRESS_TRIES_MAX):
            await sign_in(client, "owner", "not the right password")
        answer = await sign_in(client, "owner")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 600


async def test_guesses_from_everywhere_never_shut_the_right_one_out(firm: Firm) -> None:
    """From where he signed in before he comes in at any time; and after ten minutes from anywhere."""
    home = Visit("198.51.100.4", "")
    await firm.accounts.sign_in("owner", PASSWORD, home)
    for number in range(ACCOUNT_TRIES_MAX + 1):
        with pytest.raises(AccountProblem):
            await firm.accounts.sign_in("owner", "not the right password", Visit(f"203.0.113.{number}", ""))
    with pytest.raises(AccountProblem, match="wait") as elsewhere:
        await firm.accounts.sign_in("owner", PASSWORD, Visit("203.0.113.99", ""))
    assert elsewhere.value.kind == "wait"
    assert not (await firm.accounts.sign_in("owner", PASSWORD, home)).half


async def test_a_network_of_ipv6_is_one_address(firm: Firm) -> None:
    """One customer has 2^64 addresses and must not have as many tries."""
    for number in range(ADDRESS_TRIES_MAX):
        with pytest.raises(AccountProblem):
            await firm.accounts.sign_in("owner", "not the right one", Visit(f"2001:db8::{number + 1}", ""))
    with pytest.raises(AccountProblem, match="wait"):
        await firm.accounts.sign_in("owner", PASSWORD, Visit("2001:db8::ffff", ""))


async def test_sessions_end_by_themselves(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A week without use, or a month in any case."""
    begun = await firm.accounts.sign_in("owner", PASSWORD, HERE)
    digest = digest_of(begun.token)
    assert await firm.accounts.by_session(digest) is not None
    for column, days in (("seen_ms", 8), ("until_ms", 31)):
        async with firm.database.transaction() as connection:
            table = sign_in_session
            row = (await connection.execute(sa.select(table))).mappings().one()
            past = row[column] - days * 86_400_000
            await connection.execute(sa.update(table).values({column: past}))
        assert await firm.accounts.by_session(digest) is None
        async with firm.database.transaction() as connection:
            await connection.execute(sa.update(table).values({column: row[column]}))
    assert await firm.accounts.by_session(digest) is not None


async def test_use_keeps_a_session_alive_and_is_rarely_written(firm: Firm) -> None:
    """A page that polls every few seconds must not write a row each time."""
    begun = await firm.accounts.sign_in("owner", PASSWORD, HERE)
    table = sign_in_session
    async with firm.database.transaction() as connection:
        await connection.execute(sa.update(table).values(seen_ms=table.c.seen_ms - 3_600_000))
        before = await connection.scalar(sa.select(table.c.seen_ms))
    await firm.accounts.by_session(digest_of(begun.token))
    async with firm.database.transaction() as connection:
        touched = await connection.scalar(sa.select(table.c.seen_ms))
    await firm.accounts.by_session(digest_of(begun.token))
    async with firm.database.transaction() as connection:
        again = await connection.scalar(sa.select(table.c.seen_ms))
    assert before is not None
    assert touched > before
    assert again == touched


async def test_a_disabled_account_is_out_at_once(firm: Firm) -> None:
    """Whoever left the firm sees nothing from that moment, in no open browser."""
    async with firm.as_("operator") as client, firm.as_("admin") as admin:
        assert (await client.get("/account")).status_code == 200
        await post(admin, "/fleet/users/disabled", "/fleet/users", account=firm.ids["operator"], disabled="yes")
        assert (await client.get("/account")).status_code == 303
        with pytest.raises(AccountProblem):
            await firm.accounts.sign_in("operator", PASSWORD, HERE)


async def test_a_new_password_ends_all_other_sessions(firm: Firm) -> None:
    """Whoever had the old one is out."""
    async with firm.as_("owner") as here, firm.as_("owner") as there:
        fields = {"old": PASSWORD, "new": "another seven long sentences"}
        assert (await post(here, "/account/password", "/account", **fields)).headers[
            "location"
        ] == "/account?done=password"
        assert (await here.get("/account")).status_code == 200
        assert (await there.get("/account")).status_code == 303


async def test_one_ends_ones_own_sessions_and_nobody_elses(firm: Firm) -> None:
    """A browser in a hotel is signed out from home."""
    async with firm.as_("owner") as here, firm.as_("owner") as there, firm.as_("operator") as other:
        who = (await firm.accounts.by_session(digest_of(there.cookies["packbook_session"]))).who
        named = digest_of(there.cookies["packbook_session"]).hex()[:16]
        foreign = digest_of(other.cookies["packbook_session"]).hex()[:16]
        await post(here, "/account/sessions/end", "/account", session=foreign)
        assert (await other.get("/account")).status_code == 200
        await post(here, "/account/sessions/end", "/account", session=named)
        assert (await there.get("/account")).status_code == 303
        assert len(await firm.accounts.sessions(who)) == 1


async def test_old_hashes_are_made_anew_at_sign_in(firm: Firm) -> None:
    """Stronger parameters reach everybody who comes."""
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=16, parallelism=1).hash(PASSWORD)
    async with firm.database.transaction() as connection:
        await shelf.change(connection, firm.ids["owner"], password=weak)
    await firm.accounts.sign_in("owner", PASSWORD, HERE)
    async with firm.database.transaction() as connection:
        fresh = await connection.scalar(sa.select(account.c.password).where(account.c.login == "owner"))
    assert "m=8" in fresh


async def test_an_invitation_sets_a_password_once(firm: Firm) -> None:
    """A link that lies in a mailbox must not open anything a second time."""
    async with firm.as_("admin") as admin, firm.browser() as client:
        page = await post(
            admin,
            "/fleet/users/invite",
            "/fleet/users",
            login="New@Example.org",
            name="N",
            role="owner",
            batteries=MINE,
        )
        link = page.text.split("<code>")[1].split("</code>")[0].removeprefix("http://book.test")
        chosen = {"password": "seven quiet lanterns above"}
        assert (await post(client, link, link, password="short")).status_code == 422
        assert (await post(client, link, link, **chosen)).headers["location"] == "/sign-in?done=password"
        assert (await client.get(link)).status_code == 404
        assert (await sign_in(client, "new@example.ORG", chosen["password"])).status_code == 303
        assert (await client.get(f"/battery/{MINE}")).status_code == 200


async def test_the_second_step_stands_between_password_and_pages(firm: Firm) -> None:
    """A password alone opens nothing any more; a code opens once; a recovery code too."""
    async with firm.as_("owner") as client:
        offer = await post(client, "/account/second-step", "/account")
        secret = offer.text.split("<code>")[1].split("</code>")[0].replace(" ", "")
        sealed = offer.text.split('name="sealed" value="')[1].split('"')[0]
        code = pyotp.TOTP(secret).now()
        wrong = await post(
            client,
            "/account/second-step/on",
            "/account",
            sealed=sealed,
            code="000000" if code != "000000" else "111111",
        )
        assert wrong.status_code == 422
        kept = await post(client, "/account/second-step/on", "/account", sealed=sealed, code=code)
        recovery = kept.text.split("<code>")[1].split("</code>")[0].split()
        assert len(recovery) == 10
    async with firm.browser() as client:
        answer = await sign_in(client, "owner", next="/account")
        assert answer.headers["location"] == "/sign-in/code?next=/account"
        assert (await client.get("/account")).status_code == 303
        again = await post(client, "/sign-in/code", "/sign-in/code", code=code)
        assert again.status_code == 422, "the code that set it up was used"
        later = pyotp.TOTP(secret).at(time.time() + 30)
        entered = await post(client, "/sign-in/code", "/sign-in/code", code=later, next="/account")
        assert entered.headers["location"] == "/account"
        assert (await client.get("/account")).status_code == 200
    for tries, expected in ((1, 303), (2, 422)):
        async with firm.browser() as client:
            await sign_in(client, "owner")
            used = await post(client, "/sign-in/code", "/sign-in/code", code=recovery[0].upper())
            assert used.status_code == expected, tries


async def test_of_two_that_show_one_code_one_comes_in(firm: Firm) -> None:
    """Whoever looked over a shoulder is too late."""
    who = await who_is(firm, "owner")
    offer = await firm.accounts.offer_totp(who)
    app = pyotp.TOTP(offer.secret)
    await firm.accounts.set_totp(who, offer.sealed, app.now(), HERE, None)
    halves = [await firm.accounts.sign_in("owner", PASSWORD, HERE) for _ in range(2)]
    later = app.at(time.time() + 30)
    found = await asyncio.gather(
        *(firm.accounts.second_step(digest_of(half.token), later, HERE) for half in halves),
        return_exceptions=True,
    )
    assert sorted(isinstance(one, AccountProblem) for one in found) == [False, True]


async def test_what_the_database_holds_opens_no_second_step(firm: Firm) -> None:
    """Its backup alone is worth nothing: the secret is sealed by a key that lies elsewhere."""
    who = await who_is(firm, "owner")
    offer = await firm.accounts.offer_totp(who)
    await firm.accounts.set_totp(who, offer.sealed, pyotp.TOTP(offer.secret).now(), HERE, None)
    async with firm.database.transaction() as connection:
        sealed = await connection.scalar(sa.select(account.c.totp).where(account.c.login == "owner"))
    assert offer.secret.encode() not in sealed
    other = await who_is(firm, "operator")
    with pytest.raises(AccountProblem):  # sealed for one account, useless for another
        await firm.accounts.set_totp(other, sealed.hex(), pyotp.TOTP(offer.secret).now(), HERE, None)


async def test_every_act_is_on_record_without_addresses(firm: Firm) -> None:
    """Who signed in and who failed, when, and from how many places; not from where."""
    async with firm.browser(address="198.51.100.77") as client:
        await sign_in(client, "owner", "not the right password")
        await sign_in(client, "owner")
    async with firm.database.transaction() as connection:
        acts = await shelf.acts(connection, EVERYWHERE, 2)
    assert [(act.act, act.who, act.tenant) for act in acts] == [
        ("signed in", "owner", "main"),
        ("sign-in failed", "owner", "main"),
    ]
    assert acts[0].address == acts[1].address
    assert "198" not in (acts[0].address or "198")


async def test_a_book_that_nobody_can_sign_in_to_says_how(firm: Firm) -> None:
    """The first thing that an operator meets after switching accounts on."""
    async with firm.database.transaction() as connection:
        await connection.execute(sa.update(account).values(password=None))
    async with firm.browser() as client:
        assert "packbook user add" in (await client.get("/sign-in")).text


async def test_one_click_is_a_demos_alone(firm: Firm) -> None:
    """No setting can open it."""
    async with firm.browser() as client:
        token = await token_of(client, "/sign-in")
        assert "/sign-in/as/" not in (await client.get("/sign-in")).text
        answer = await client.post("/sign-in/as/admin", data={"csrf": token})
        assert answer.status_code == 404
        assert isinstance(answer, httpx.Response)


async def test_pages_beside_a_running_book_have_it_write(firm: Firm) -> None:
    """A SQLite file has one writer: sessions and wrong tries are kept there, the pages are shown here."""
    settings = firm.settings
    office = Office(firm.database, settings)
    async with (
        operators_door(office, {name: act for name, act in ACTS.items() if name.startswith(("account", "session"))}),
        open_reader(settings.database_url.get_secret_value()) as reader,
    ):
        beside = accounts_of(Office(reader, settings), own=False)
        with pytest.raises(AccountProblem, match="do not belong"):
            await beside.sign_in("owner", "not the right password", HERE)
        begun = await beside.sign_in("owner", PASSWORD, HERE)
        session = await beside.by_session(digest_of(begun.token))
        assert session is not None
        await beside.sign_out(digest_of(begun.token), HERE)
        assert await beside.by_session(digest_of(begun.token)) is None
