"""What scripts add to pages that are complete without them: pictures of the figures, the reader's own time, news."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from browser.drive import DESKTOP, PHONE, Complaints, look, reader
from browser.fleet import serving
from packbook.adapters.rules import RuleBook
from packbook.app.access import access_rules
from packbook.core.history import Battery
from packbook.testing.lived_in import lived_in
from packbook.testing.memory_access import memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.web.app import create_app

BATTERY = "/battery/leaf-24-0001"


@pytest.fixture(scope="module")
def book() -> MemoryHistories:
    return lived_in()


@pytest.fixture(scope="module")
def address(book: MemoryHistories) -> Iterator[str]:
    with serving(create_app(book, access=memory_access(access_rules(RuleBook())))) as address:
        yield address


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_chart_is_drawn_without_complaint(browser: Browser, address: str, language: str) -> None:
    """The policy forbids inline script and style: a chart library that used them would say so on the console."""
    page = reader(browser, address, language).new_page()
    complaints = Complaints().listen(page)
    page.goto(BATTERY)
    charts = page.locator("figure.chart")
    expect(charts.first).to_have_attribute("data-drawn", "yes")
    assert charts.count() > 0
    assert page.locator("figure.chart[data-drawn=yes] canvas").count() >= charts.count()
    look(page, PHONE, "dark")
    for canvas in page.locator("figure.chart canvas").all():
        expect(canvas).to_have_css("width", re.compile(r"^[123]?\d?\d(\.\d+)?px$"))  # below 400
    assert complaints.said == []
    page.context.close()


def test_without_the_chart_library_the_tables_open(browser: Browser, address: str) -> None:
    """A proxy in a workshop drops the big file: the figures are still there, and nothing is blank."""
    page = reader(browser, address).new_page()
    page.route("**/echarts*", lambda route: route.abort())
    page.goto(BATTERY)
    expect(page.locator("figure.chart table").first).to_be_visible()
    assert page.locator(".plot").filter(visible=True).count() == 0
    page.context.close()


def test_times_are_told_in_the_browsers_zone(browser: Browser, address: str) -> None:
    """Stored in UTC, read in Tokyo."""
    page = reader(browser, address, "ja").new_page()
    page.goto("/")
    expect(page.locator('time[datetime="2026-12-01T00:00:00Z"]').first).to_have_text("2026/12/01 9:00")
    page.context.close()


def test_a_page_that_is_open_follows_its_battery(browser: Browser, book: MemoryHistories) -> None:
    """Whoever watches while records arrive sees them without a click, and keeps what he opened."""

    class Growing(MemoryHistories):
        asked = 0

        async def version(self, battery: str) -> str | None:
            self.asked += 1
            return str(self.asked)

        async def battery(self, battery: str) -> Battery | None:
            head = await book.battery(battery)
            return head and replace(head, records=head.records + self.asked)

    growing = Growing(**{each.name: getattr(book, each.name) for each in fields(MemoryHistories)})
    with serving(create_app(growing, access=memory_access(access_rules(RuleBook())))) as address:
        page = reader(browser, address).new_page()
        complaints = Complaints().listen(page)
        page.goto(BATTERY)
        lead, explained = page.locator("[data-live=lead]"), page.locator("details.explain").first
        before = lead.inner_text()
        explained.locator("summary").click()
        expect(lead).not_to_have_text(before)
        expect(explained).to_have_attribute("open", "")
        assert complaints.said == []
        page.context.close()


def test_the_owners_page_prints_on_paper(browser: Browser, address: str, tmp_path: Path) -> None:
    """White paper, black letters, no buttons, and the charts as wide as the sheet."""
    page = reader(browser, address, size=DESKTOP).new_page()
    page.goto(BATTERY)
    expect(page.locator("figure.chart").first).to_have_attribute("data-drawn", "yes")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("button, .button, nav").filter(visible=True).count() == 0
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 30_000
    page.context.close()
