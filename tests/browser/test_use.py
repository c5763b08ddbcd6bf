"""Pages for those whose browser runs no script, and the way past the navigation."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page

from browser.drive import PHONE, overflow_px, signed_in
from browser.fleet import Served
from browser.places import HERE, STOPS, Stop, path_of

READ = pytest.mark.parametrize(("role", "stop"), STOPS, ids=[f"{role}-{stop.name}" for role, stop in STOPS])


@pytest.fixture(scope="module")
def plain(browser: Browser, served: Served) -> Callable[[str], Page]:
    """Somebody whose browser runs no script, on a phone."""
    return functools.cache(lambda role: signed_in(browser, served, role, size=PHONE, script=False).new_page())


def test_the_skip_link_leads_past_the_navigation(browser: Browser, served: Served) -> None:
    """Nobody should have to press Tab twenty times on each page."""
    with signed_in(browser, served, "owner") as context:
        page = context.new_page()
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
