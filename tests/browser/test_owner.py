"""An owner's errands from end to end, by keyboard, and the buyer's whom he lets look.

English on a desktop, Japanese on a phone.
"""

from __future__ import annotations

import io
import zipfile
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.drive import DESKTOP, WAYS, Complaints, Size, choose, press, reach, reader, signed_in, write
from browser.fleet import BATTERY, OTHER, PUBLIC, Served
from browser.places import HERE
from packbook.web.words import ALL_WORDS

READERS: Final = pytest.mark.parametrize(("language", "size"), WAYS, ids=[f"{way[0]}-{way[1].name}" for way in WAYS])


@READERS
def test_an_owner_looks_at_one_charge(browser: Browser, served: Served, language: str, size: Size) -> None:
    """From his batteries to one, its charts drawn; to its charges, of this month alone; into one of them, and back."""
    with signed_in(browser, served, "owner", language, size) as context:
        page = context.new_page()
        complaints = Complaints().listen(page)
        page.goto("/")
        press(page, page.locator(f'.card a[href="{HERE}"]'))
        page.wait_for_url(f"**{HERE}")
        expect(page.locator("figure.chart[data-drawn=yes] canvas").first).to_be_attached()
        assert page.locator("figure.chart:not([data-drawn=yes])").count() == 0
        press(page, page.locator(f'.tabs a[href="{HERE}/sessions"]'))
        page.wait_for_url(f"**{HERE}/sessions")
        press(page, page.locator(f'.chips a[href="{HERE}/sessions?kind=charge"]'))
        page.wait_for_url("**kind=charge")
        rows = page.locator("#list tbody tr")
        expect(rows.first).to_be_visible()
        press(page, rows.locator("a").first)
        page.wait_for_url(f"**{HERE}/sessions/*/*/*")
        expect(page.locator("h1")).to_be_visible()
        assert page.locator("dl.figures .value").count() > 3
        page.go_back()
        page.wait_for_url("**kind=charge")
        assert complaints.said == []


@READERS
def test_a_buyer_looks_until_the_owner_ends_it(browser: Browser, served: Served, language: str, size: Size) -> None:
    """A link is made, opened by somebody without an account, checked in the browser, taken as PDF, and taken back."""
    words, note = ALL_WORDS[language], f"the yard, {language}"
    with (
        signed_in(browser, served, "owner", language, size) as owners,
        reader(browser, served.address, language, size) as buyers,
    ):
        owner, buyer = owners.new_page(), buyers.new_page()
        complaints = Complaints().listen(owner).listen(buyer)
        link = _share(owner, note)
        buyer.goto(link)
        expect(buyer.locator(".soh-value").first).to_be_visible()
        leads = {each.get_attribute("href") or "" for each in buyer.locator("a[href]").all()}
        assert {href for href in leads if href == "/" or href.startswith(("/battery", "/fleet", "/api"))} == set()
        press(buyer, buyer.locator("[data-verify-fetch]"))
        said = buyer.locator("[data-verify-said]")
        expect(said).to_have_attribute("data-outcome", "good")
        expect(said).to_contain_text(words("verify.said.good"))
        assert said.locator("h3", has_text=words("verify.said.proven")).locator("+ ul li").count() > 0
        with buyer.expect_download() as download:
            press(buyer, buyer.locator(f'a.button[href^="{link}/sheet"]'))
        assert download.value.path().read_bytes().startswith(b"%PDF")
        assert complaints.said == []

        mine = owner.locator("#links li", has_text=note)
        owner.goto(f"{HERE}/share")
        press(owner, mine.locator("summary"))
        press(owner, mine.locator("button"))
        expect(mine).to_contain_text(words("links.state.revoked"))
        answer = buyer.reload()
        assert answer is not None
        assert answer.status == 410
        expect(buyer.locator("main")).to_contain_text(words("error.410.text"))


def _share(page: Page, note: str) -> str:
    """By the form. Gives the link's path: its address is the book's public one."""
    page.goto(f"{HERE}/share")
    choose(page, page.locator("#days"), "7")
    write(page, page.locator("#note"), note)
    page.keyboard.press("Enter")
    expect(page.locator("#made img.qr")).to_be_visible()
    address = page.locator("#made textarea").input_value()
    assert address.startswith(f"{PUBLIC}/s/")
    return address.removeprefix(PUBLIC)


@READERS
def test_an_owner_compares_agrees_and_takes_everything_home(
    browser: Browser, served: Served, language: str, size: Size
) -> None:
    """Two cars in one picture; what he agreed to and how he changes it; one file with all there is."""
    words = ALL_WORDS[language]
    with signed_in(browser, served, "owner", language, size) as context:
        page = context.new_page()
        complaints = Complaints().listen(page)
        page.goto("/compare")
        choose(page, page.locator("select").nth(0), BATTERY)
        choose(page, page.locator("select").nth(1), OTHER)
        press(page, page.locator("form.filters button"))
        page.wait_for_url("**battery=**")
        assert page.locator("figure.duo path.line").count() >= 2
        for battery in (BATTERY, OTHER):
            expect(page.locator(f'.links a[href="/battery/{battery}"]')).to_be_visible()

        page.goto(f"{HERE}/consents")
        expect(page.locator("main")).to_contain_text(words("consents.shown"))
        expect(page.locator("#change pre")).to_contain_text("packbox consent withdraw")

        page.goto(f"{HERE}/export")
        with page.expect_download() as download:
            press(page, page.locator("#everything a.button"))
        with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as whole:
            assert whole.testzip() is None
            kinds = {name.rsplit(".", 1)[-1] for name in whole.namelist()}
        assert kinds >= {"csv", "json", "pdf"}
        assert complaints.said == []


def test_a_page_asked_for_in_another_language_stays_so(browser: Browser, served: Served) -> None:
    """A choice made once holds on the next page."""
    with signed_in(browser, served, "owner", size=DESKTOP) as context:
        page = context.new_page()
        page.goto(HERE)
        press(page, reach(page, page.locator(".langs a[lang=ja]")))
        expect(page.locator("html")).to_have_attribute("lang", "ja")
        page.goto("/")
        expect(page.locator("html")).to_have_attribute("lang", "ja")
