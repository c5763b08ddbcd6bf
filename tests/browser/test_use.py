"""How people go about: by keyboard alone, without script, on paper; and what the scripts add for the rest."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.drive import DESKTOP, PHONE, Complaints, Size, overflow_px, reader, signed_in, tab_through
from browser.fleet import Served
from browser.places import HERE, STOPS, Stop, path_of

SIZES = pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=lambda size: size.name)
LANGUAGES = pytest.mark.parametrize("language", ["en", "ja"])
READ = pytest.mark.parametrize(("role", "stop"), STOPS, ids=[f"{role}-{stop.name}" for role, stop in STOPS])


@pytest.fixture(scope="module")
def readers(browser: Browser, served: Served) -> Callable[[str], Page]:
    """A page of each role's own."""
    return functools.cache(lambda role: signed_in(browser, served, role).new_page())


@pytest.fixture(scope="module")
def plain(browser: Browser, served: Served) -> Callable[[str], Page]:
    """Somebody whose browser runs no script, on a phone."""
    return functools.cache(lambda role: signed_in(browser, served, role, size=PHONE, script=False).new_page())


@READ
def test_the_tab_key_reaches_everything_in_sight(
    readers: Callable[[str], Page], served: Served, role: str, stop: Stop
) -> None:
    """First the way past the navigation, then every link and field in the order of the page, each with its ring."""
    page = readers(role)
    page.goto(path_of(stop, served))
    reached = tab_through(page)
    assert reached[0].startswith("a Skip to content")
    assert [stop for stop in reached if "HIDDEN" in stop or "NO RING" in stop] == []
    one_each = "a[href], button, input:not([type=radio]), select, textarea, summary"  # of radios Tab reaches one
    links = page.locator(one_each).filter(visible=True).count()
    assert len(reached) >= links


def test_the_skip_link_leads_past_the_navigation(readers: Callable[[str], Page]) -> None:
    """Nobody should have to press Tab twenty times on each page."""
    page = readers("owner")
    page.goto(HERE)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


@READ
def test_everything_can_be_read_without_script(
    plain: Callable[[str], Page], served: Served, role: str, stop: Stop
) -> None:
    """Figures, tables and times are on the page when it arrives; nothing waits for a script to say so."""
    page = plain(role)
    page.goto(path_of(stop, served))
    assert page.locator("h1").count() == 1
    assert overflow_px(page) == 0
    for clock in page.locator("time[data-style=moment]").all()[:3]:
        assert "UTC" in clock.inner_text()
    for chart in page.locator("figure.chart").all():
        assert not chart.locator(".plot").is_visible()  # no hole where a picture would be
        assert chart.locator("table tbody tr").count() > 0


@LANGUAGES
@SIZES
def test_an_owner_finds_his_way(browser: Browser, served: Served, language: str, size: Size) -> None:
    """From the list to a battery, its charts drawn, to its charges, and back."""
    context = signed_in(browser, served, "owner", language, size)
    page = context.new_page()
    complaints = Complaints().listen(page)
    page.goto("/")
    page.locator(f'.card a[href="{HERE}"]').click()
    expect(page).to_have_url(f"{served.address}{HERE}")
    drawn = page.locator("figure.chart[data-drawn=yes] canvas")
    expect(drawn.first).to_be_attached()
    assert page.locator("figure.chart:not([data-drawn=yes])").count() == 0
    page.locator(f'main a[href^="{HERE}/sessions"]:not([download])').filter(visible=True).first.click()
    expect(page.locator("tbody tr").filter(visible=True).first).to_be_visible()
    page.locator(".crumbs a").first.click()
    assert complaints.said == []
    context.close()


@LANGUAGES
@SIZES
def test_a_buyer_with_a_link_sees_one_battery(browser: Browser, served: Served, language: str, size: Size) -> None:
    """Its health and what may be taken away; no way into anybody's pages."""
    context = reader(browser, served.address, language, size)
    page = context.new_page()
    complaints = Complaints().listen(page)
    page.goto(f"/s/{served.token}")
    expect(page.locator(".soh-value").first).to_be_visible()
    leads = {link.get_attribute("href") or "" for link in page.locator("a[href]").all()}
    assert {href for href in leads if href == "/" or href.startswith(("/battery", "/fleet", "/api"))} == set()
    with page.expect_download() as download:
        page.locator(f'a.button[href^="/s/{served.token}/sheet"]').click()
    assert download.value.path().read_bytes().startswith(b"%PDF")
    assert complaints.said == []
    context.close()


def test_a_page_asked_for_in_another_language_stays_so(browser: Browser, served: Served) -> None:
    """A choice made once holds on the next page."""
    context = signed_in(browser, served, "owner")
    page = context.new_page()
    page.goto(HERE)
    page.locator(".langs a[lang=ja]").click()
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    page.goto("/")
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    context.close()
