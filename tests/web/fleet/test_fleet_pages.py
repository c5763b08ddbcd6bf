"""The operator's pages: whole in both languages, for an empty fleet, one box and thousands, without script."""

from __future__ import annotations

import csv
import io
import re

import pytest

from packbook.adapters.store.access import note_reads
from packbook.core.access import Read, Reader
from packbook.web.access import all_of
from packbook.web.fleet import PAGES
from packbook.web.words import LANGUAGES

from .conftest import NOW_MS, Open

LISTED = (
    "/fleet",
    "/fleet/distribution",
    "/fleet/boxes",
    "/fleet/enrol",
    "/fleet/reports/lease-return",
    "/fleet/reports/guarantee",
    "/fleet/reports/triage",
    "/fleet/profile-fit",
    "/fleet/quarantine",
    "/fleet/audit",
)
BOX = "/fleet/boxes/7f3a90c2d1e85b46"
WHOLE = (
    *LISTED,
    BOX,
    "/fleet/quarantine/1",
    "/fleet?state=ok&sort=-soh&col=soh&col=box&soh_min=x",
    "/fleet/reports/lease-return?batteries=leaf-24-0001&soh=80&harm=0&km=20000&from=2026-03-01",
    "/fleet/reports/guarantee?show=all&price=9000",
)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_is_whole_in_each_language(opened: Open, language: str) -> None:
    """One heading, one language, a label on every field, a scope on every heading cell, and no id twice."""
    async with opened("lived") as fleet:
        for path in WHOLE:
            text = await fleet.text(path, language)
            assert f'<html lang="{language}">' in text, path
            assert text.count("<h1") == 1, path
            assert len(re.findall(r"<th\b", text)) == len(re.findall(r"<th scope=", text)), path
            ids = re.findall(r'\bid="([^"]+)"', text)
            assert len(ids) == len(set(ids)), (path, sorted(i for i in ids if ids.count(i) > 1))
            labelled = set(re.findall(r'<label for="([^"]+)"', text))
            named = re.findall(
                r"<(?:input|select)\b(?![^>]*type=\"(?:hidden|checkbox|radio)\")[^>]*\bid=\"([^\"]+)\"", text
            )
            assert set(named) <= labelled, path


@pytest.mark.parametrize("fleet_name", ["empty", "one", "crowd"])
async def test_every_list_opens_however_large_the_fleet_is(opened: Open, fleet_name: str) -> None:
    """An operator's first day has no box, and a later one thousands."""
    async with opened(fleet_name) as fleet:
        for path in LISTED:
            assert "<h1" in await fleet.text(path), path


async def test_no_page_bends_the_content_policy(opened: Open) -> None:
    """No inline script, no inline style, nothing from elsewhere: the policy forbids them, so they would not work."""
    async with opened("lived") as fleet:
        for path in WHOLE:
            text = await fleet.text(path)
            assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text), path
            assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text), path


async def test_an_empty_fleet_says_what_to_do_first(opened: Open) -> None:
    """An empty table teaches nobody anything."""
    async with opened("empty") as fleet:
        assert "/fleet/enrol" in await fleet.text("/fleet")
        assert "Nothing waits in quarantine" in await fleet.text("/fleet/quarantine")


async def test_the_csv_is_exactly_what_is_filtered(opened: Open) -> None:
    """Whoever sends the link and whoever sends the file must speak of the same batteries."""
    wish = "soh_max=80&pack=leaf-40&sort=soh"
    async with opened("crowd") as fleet:
        rows = list(csv.DictReader(io.StringIO(await fleet.text(f"/fleet.csv?{wish}"))))
        page = await fleet.text(f"/fleet?{wish}")
    health = [float(row["soh_pct"]) for row in rows]
    assert {row["pack"] for row in rows} == {"leaf-40"}
    assert health == sorted(health)
    assert health[-1] <= 80.0
    assert f"{len(rows)} batteries" in page
    assert re.findall(r'href="/battery/([^"]+)"', page) == [row["battery"] for row in rows[:50]]


async def test_a_boxs_heartbeats_are_a_file(opened: Open) -> None:
    """The lines on the page are small; whoever looks for a cause needs the figures behind them."""
    async with opened("lived") as fleet:
        rows = list(csv.DictReader(io.StringIO(await fleet.text(f"{BOX}/health.csv"))))
        page = await fleet.text(BOX)
    assert f'href="{BOX}/health.csv"' in page
    (row,) = rows
    assert (row["at"], row["frames"], row["clock"]) == ("2026-12-01T00:00:00Z", "48211340", "set")


async def test_the_audit_says_in_words_that_a_whole_list_was_read(opened: Open) -> None:
    """Who reads it should not have to know how the book writes "every battery of this firm"."""
    async with opened("lived") as fleet:
        async with fleet.database.transaction() as connection:
            reads = [Read(NOW_MS, all_of(tenant), Reader("operator"), "page", "fleet") for tenant in (None, "acme")]
            await note_reads(connection, reads)
        page = await fleet.text("/fleet/audit?trail=read")
    assert "all batteries of acme" in page
    assert "all batteries<" in page


async def test_pages_of_the_list_do_not_overlap_and_end_with_the_last(opened: Open) -> None:
    """Equal figures must not put one battery on two pages; beyond the last page stands the last."""
    async with opened("crowd") as fleet:
        names: list[str] = []
        for number in (1, 2, 40, 41):
            text = await fleet.text(f"/fleet?sort=-state&page={number}")
            names += re.findall(r'href="/battery/([^"]+)"', text)
    assert len(names) == 200
    assert len(set(names)) == 150


async def test_what_cannot_be_understood_is_said_and_narrows_nothing(opened: Open) -> None:
    """A list that is silently shorter, or longer, than asked for misleads."""
    async with opened("crowd") as fleet:
        text = await fleet.text("/fleet?soh_min=abc&state=fine&page=-3")
    assert "soh_min, state" in text or "state, soh_min" in text
    assert "2,000 batteries" in text


async def test_a_battery_is_shown_with_its_interval_and_what_may_be_promised(opened: Open) -> None:
    """The figures of the list are those of the battery's own page, worked out by the same code."""
    async with opened("lived") as fleet:
        text = await fleet.text("/fleet")
        own = await fleet.text("/battery/leaf-24-0001")
    assert "85.5 % ± 2.5" in text
    assert "85.5" in own
    assert "No figure yet" in text


def test_no_page_of_operators_is_open_to_everybody() -> None:
    """A fleet's list is a business secret; doing something asks for more than looking."""
    assert {page.may.value for page in PAGES} == {"read_fleet", "operate", "administer"}
    assert {page.may.value for page in PAGES if page.method == "POST"} == {"operate"}
