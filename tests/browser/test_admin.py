"""An administrator's errands from end to end, by keyboard, and those of somebody new.

English on a desktop, Japanese on a phone.
"""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import urlsplit

import pyotp
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from browser.drive import WAYS, Complaints, Size, choose, press, reader, signed_in, write
from browser.fleet import BATTERY, Served
from packbook.web.words import ALL_WORDS

READERS: Final = pytest.mark.parametrize(("language", "size"), WAYS, ids=[f"{way[0]}-{way[1].name}" for way in WAYS])
NEW: Final = "a sentence that nobody guesses"
STEP_S: Final = 30.0  # of a code


@READERS
def test_somebody_is_invited_works_here_and_leaves(browser: Browser, served: Served, language: str, size: Size) -> None:
    """Invitation, password, sign-in, another role, the end: each holds at once, and the trail tells of all of them."""
    words, login = ALL_WORDS[language], f"mio-{language}"
    with (
        signed_in(browser, served, "admin", language, size) as admins,
        reader(browser, served.address, language, size) as theirs,
    ):
        admin, mio = admins.new_page(), theirs.new_page()
        complaints = Complaints().listen(admin).listen(mio)
        mio.goto(_invite(admin, login, "Mio"))
        write(mio, mio.locator("#password"), NEW)
        mio.keyboard.press("Enter")
        expect(mio.locator("p.notice.good")).to_have_text(words("sign_in.password_set"))
        _sign_in(mio, login)
        mio.wait_for_url("**/fleet")
        assert mio.goto("/fleet/enrol").status == 200  # type: ignore[union-attr]  # a new page answers

        his = _row(admin, login)
        choose(admin, his.locator("select[name=role]"), "viewer")
        press(admin, his.locator('form[action="/fleet/users/role"] button'))
        expect(admin.locator("p.notice.good")).to_be_visible()
        assert complaints.said == []
        assert mio.goto("/fleet/enrol").status == 403  # type: ignore[union-attr]
        assert mio.goto("/fleet").status == 200  # type: ignore[union-attr]

        press(admin, _row(admin, login).locator('form[action="/fleet/users/disabled"] button'))
        expect(admin.locator("tbody tr", has_text=login)).to_contain_text(words("users.is_disabled"))
        mio.goto("/fleet")
        assert urlsplit(mio.url).path == "/sign-in"
        _sign_in(mio, login)
        expect(mio.locator("p.notice.bad")).to_be_visible()

        admin.goto("/fleet/audit")
        choose(admin, admin.locator("#f-trail"), "account")
        write(admin, admin.locator("#f-about"), login)
        admin.keyboard.press("Enter")
        admin.wait_for_url(f"**about={login}**")
        acts = admin.locator("tbody tr").all_inner_texts()
        assert len(acts) >= 5, acts


def _invite(page: Page, login: str, name: str) -> str:
    """Gives the path of the link: its address is the book's public one. What was typed outlives a search for ids."""
    page.goto("/fleet/users")
    write(page, page.locator("#login"), login)
    write(page, page.locator("#name"), name)
    choose(page, page.locator("#role-new"), "operator")
    write(page, page.locator("input[name=q]"), BATTERY)
    page.keyboard.press("Enter")
    expect(page.locator("#found code")).to_have_text(BATTERY)
    press(page, page.locator('form[action="/fleet/users/invite"] button'))
    link = page.locator("main pre code")
    expect(link).to_contain_text("/account/invitation/")
    return urlsplit(link.inner_text()).path


def _row(page: Page, login: str) -> Locator:
    """What can be done with this account, unfolded."""
    page.goto("/fleet/users")
    user = page.locator("details.user", has=page.locator("summary", has_text=login))
    press(page, user.locator("summary"))
    return user


def _sign_in(page: Page, login: str) -> None:
    page.goto("/sign-in")
    write(page, page.locator("#login"), login)
    write(page, page.locator("#password"), NEW)
    with page.expect_navigation():
        page.keyboard.press("Enter")


@READERS
def test_somebody_sets_up_a_second_step_and_a_key(browser: Browser, served: Served, language: str, size: Size) -> None:
    """The next sign-in asks for a code; the key reads the API until it is taken back."""
    words, login = ALL_WORDS[language], f"ren-{language}"
    with (
        signed_in(browser, served, "admin", language, size) as admins,
        reader(browser, served.address, language, size) as theirs,
    ):
        admin, ren = admins.new_page(), theirs.new_page()
        complaints = Complaints().listen(ren)
        ren.goto(_invite(admin, login, "Ren"))
        write(ren, ren.locator("#password"), NEW)
        ren.keyboard.press("Enter")
        expect(ren.locator("p.notice.good")).to_have_text(words("sign_in.password_set"))
        _sign_in(ren, login)

        ren.goto("/account")
        press(ren, ren.locator('form[action="/account/second-step"] button'))
        codes = pyotp.TOTP("".join(ren.locator(".qr-frame + p code").inner_text().split()))
        write(ren, ren.locator("#code"), codes.now())
        ren.keyboard.press("Enter")
        expect(ren.locator("main pre code")).to_be_visible()
        recovery = ren.locator("main pre code").inner_text().split()
        assert len(recovery) == len(set(recovery)) > 5
        ren.goto("/account")
        expect(ren.locator("section[aria-labelledby=second-step] .badge")).to_have_text(
            words("account.second_step_is_on")
        )
        press(ren, ren.locator(".menu.account summary"))
        press(ren, ren.locator('form[action="/sign-out"] button'))
        expect(ren.locator("p.notice.good")).to_have_text(words("sign_in.out"))
        _sign_in(ren, login)
        assert urlsplit(ren.url).path == "/sign-in/code"
        write(ren, ren.locator("#code"), codes.at(time.time() + STEP_S))  # the first one was used
        ren.keyboard.press("Enter")
        ren.wait_for_url("**/fleet")

        ren.goto("/account")
        form = ren.locator("details.confirm", has=ren.locator("#note"))
        press(ren, form.locator("summary"))
        write(ren, ren.locator("#note"), "the dealer's own list")
        press(ren, form.locator("button"))
        key = ren.locator("main pre code").first.inner_text()
        bearer = {"Authorization": f"Bearer {key}"}
        with reader(browser, served.address) as programs:
            assert programs.request.get("/api/v1/batteries").status == 401
            answer = programs.request.get("/api/v1/batteries", headers=bearer)
            assert answer.status == 200
            ren.goto("/account")
            press(ren, ren.locator('form[action="/account/keys/revoke"] button'))
            expect(ren.locator("section[aria-labelledby=keys]")).to_contain_text(words("account.key_ended"))
            assert programs.request.get("/api/v1/batteries", headers=bearer).status == 401
        assert complaints.said == []
