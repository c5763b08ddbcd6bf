"""An operator's errands from end to end, by keyboard: English on a desktop, Japanese on a phone."""

from __future__ import annotations

import csv
import io
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.drive import WAYS, Complaints, Size, choose, press, reach, signed_in, tick, write
from browser.fleet import BATTERY, CROWD, OTHER, Served
from packbook.core.fleet_table import ROWS_PER_PAGE
from packbook.testing.filled_fleet import PACKS
from packbook.web.words import ALL_WORDS

READERS: Final = pytest.mark.parametrize(("language", "size"), WAYS, ids=[f"{way[0]}-{way[1].name}" for way in WAYS])
LIST: Final = "#fleet-list"


@READERS
def test_the_fleet_is_searched_sorted_and_paged(browser: Browser, served: Served, language: str, size: Size) -> None:
    """Only the list is exchanged, the address follows, the way back works, and the file holds what the list shows."""
    words = ALL_WORDS[language]
    with signed_in(browser, served, "operator", language, size) as context:
        page = context.new_page()
        complaints = Complaints().listen(page)
        page.goto("/fleet")
        _mark(page)
        every = CROWD + 3
        expect(page.locator("#found")).to_have_text(words.count("fleet.found", every))
        press(page, page.locator(f"{LIST} a[rel=next]"))
        expect(page.locator(f"{LIST} tbody tr")).to_have_count(every - ROWS_PER_PAGE)
        assert _asked(page)["page"] == ["2"]

        write(page, page.locator("#f-q"), "Taxi")
        page.keyboard.press("Enter")
        expect(page.locator(f"{LIST} tbody tr")).to_have_count(_of_crowd("Taxi"))
        assert _asked(page)["q"] == ["Taxi"]
        choose(page, page.locator("#f-state"), "ok")
        press(page, page.locator("#fleet-filter button.button"))
        page.wait_for_url("**state=ok**")
        press(page, page.locator(f'{LIST} th a[href*="sort=-soh"], {LIST} th a[href*="sort=soh"]').first)
        expect(page.locator(f"{LIST} th[aria-sort]", has=page.locator('a[href*="soh"]'))).to_be_attached()
        shown = page.locator(f"{LIST} tbody th a")
        names = [(each.get_attribute("href") or "").rsplit("/", 1)[-1] for each in shown.all()]
        assert 0 < len(names) <= _of_crowd("Taxi")
        with page.expect_download() as download:
            press(page, page.locator(f'{LIST} a[href^="/fleet.csv"]'))
        rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
        assert [row["battery"] for row in rows] == names

        columns = page.locator("#fleet-filter details.more", has=page.locator("input[name=col]")).last
        press(page, columns.locator("> summary"))
        heads = page.locator(f"{LIST} thead th").count()
        tick(page, columns.locator("input[name=col]:checked").first)
        press(page, page.locator("#fleet-filter button.button"))
        expect(page.locator(f"{LIST} thead th")).to_have_count(heads - 1)
        assert _kept(page)
        page.go_back()
        expect(page.locator(f"{LIST} thead th")).to_have_count(heads)
        assert complaints.said == []


def _mark(page: Page) -> None:
    """On what a new page would bring anew."""
    page.evaluate("document.querySelector('header.top').dataset.mark = 'old'")


def _kept(page: Page) -> bool:
    return page.locator("header.top[data-mark=old]").count() == 1


def _asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def _of_crowd(cars: str) -> int:
    return sum(pack.cars == cars for pack in (PACKS[number % len(PACKS)] for number in range(CROWD)))


@READERS
def test_an_alert_is_taken_with_a_note(browser: Browser, served: Served, language: str, size: Size) -> None:
    """Who looks after it stands with it, and the list of open ones is one shorter."""
    words, note = ALL_WORDS[language], f"called the yard, {language}"
    with signed_in(browser, served, "operator", language, size) as context:
        page = context.new_page()
        complaints = Complaints().listen(page)
        page.goto("/fleet/alerts")
        form = page.locator("section.panel", has=page.locator("details.confirm")).first
        press(page, form.locator("summary"))
        write(page, form.locator("input[name=why]"), note)
        page.keyboard.press("Enter")
        expect(page.locator("p.notice.good")).to_be_visible()
        choose(page, page.locator("#f-state"), "acknowledged")
        press(page, page.locator("form.filters button.button"))
        page.wait_for_url("**state=acknowledged**")
        expect(page.locator("section.panel", has_text=note)).to_contain_text(words("fleet.alerts.by", who="operator"))
        assert complaints.said == []


@READERS
def test_a_box_tells_its_past_and_new_ones_get_labels(
    browser: Browser, served: Served, language: str, size: Size
) -> None:
    """From the list to one box and its health over days; codes for two more, each with its picture, told once."""
    words = ALL_WORDS[language]
    with signed_in(browser, served, "operator", language, size) as context:
        page = context.new_page()
        complaints = Complaints().listen(page)
        page.goto("/fleet/boxes")
        write(page, page.locator("#f-q"), served.box)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**q={served.box}**")
        press(page, page.locator(f'tbody a[href="/fleet/boxes/{served.box}"]').first)
        expect(page.locator("h1")).to_have_text(words("fleet.box.title", box=served.box))
        assert page.locator("section[aria-labelledby=beats] tbody tr").count() > 10

        page.goto("/fleet/enrol")
        write(page, page.locator("#f-count"), "2")
        write(page, page.locator("#f-fleet"), "lease")
        page.keyboard.press("Escape")  # the suggestions
        press(page, page.locator('form[action="/fleet/enrol/codes"] button'))
        labels = page.locator("li.label")
        expect(labels).to_have_count(2)
        assert len({label.locator(".label-words code").inner_text() for label in labels.all()}) == 2
        with page.expect_download() as download:
            press(page, page.locator("button[value=pdf]"))
        assert download.value.path().read_bytes().startswith(b"%PDF")
        assert complaints.said == []


@READERS
def test_a_refused_message_is_looked_into_and_dropped(
    browser: Browser, served: Served, language: str, size: Size
) -> None:
    """Its bytes are shown, not believed; why it goes is asked for, and stands with it."""
    words, why = ALL_WORDS[language], f"noise of a workbench, {language}"
    with signed_in(browser, served, "operator", language, size) as context:
        page = context.new_page()
        complaints = Complaints().listen(page)
        page.goto("/fleet/quarantine")
        press(page, page.locator("tbody tr a").first)
        page.wait_for_url("**/fleet/quarantine/*")
        expect(page.locator("pre.hex")).to_be_visible()
        act = page.locator("details.confirm", has=page.locator("input[value=drop]"))
        press(page, act.locator("summary"))
        write(page, act.locator("input[name=why]"), why)
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_contain_text(words("fleet.fate.dropped"))
        expect(page.locator("section[aria-labelledby=acts]")).to_contain_text(why)
        assert page.locator("details.confirm").count() == 0
        assert complaints.said == []


@READERS
def test_cars_come_back_from_a_lease(browser: Browser, served: Served, language: str, size: Size) -> None:
    """Two batteries against the contract's limits: a verdict each, and the same in a file."""
    with signed_in(browser, served, "operator", language, size) as context:
        page = context.new_page()
        complaints = Complaints().listen(page)
        page.goto("/fleet/reports/lease-return")
        write(page, page.locator("#f-batteries"), f"{BATTERY}, {OTHER}")
        soh = page.locator("fieldset.limits input").first
        reach(page, soh)
        page.keyboard.insert_text("70")
        page.keyboard.press("Enter")
        sheets = page.locator("section.sheet")
        expect(sheets).to_have_count(2)
        assert sheets.locator("h2 .badge").count() == 2
        with page.expect_download() as download:
            press(page, page.locator('a[href^="/fleet/reports/lease-return.csv"]'))
        rows = csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig")))
        assert {row["battery"] for row in rows} == {BATTERY, OTHER}
        assert complaints.said == []
