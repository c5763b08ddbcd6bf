"""The owner's rooms: what they say in each state, what they make and take back, and what they give away."""

from __future__ import annotations

import html
import io
import re
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from packbook.core.access import Read
from packbook.core.history import Doubt, SohPoint
from packbook.core.share import token_digest
from packbook.ports.trust import SignedCheckpoint
from packbook.testing.memory_access import MemoryGate, memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import BOX, STORE, battery_head, session_row, soh_point
from packbook.web.app import create_app
from packbook.web.owner import calendar, spread, trend
from packbook.web.session import FIELD
from packbook.web.words import ALL_WORDS, LANGUAGES
from passport.records import rich

from .conftest import TABLE, Visit

LEAF = "leaf-24-0001"
HERE = f"/battery/{LEAF}"
YES = {"b/1": ("history", "passport")}
DAY_MS = 86_400_000
EN = ALL_WORDS["en"]


class OneBundle:
    """An `Evidence` with something to take away."""

    book_key = bytes(32)

    async def bundle(self, battery: str) -> bytes | None:
        return b"\xd2bundle" if battery == LEAF else None

    async def checkpoints(self, *_: object) -> list[SignedCheckpoint]:
        return []


@dataclass
class Rooms:
    gate: MemoryGate
    client: httpx.AsyncClient

    async def page(self, path: str, language: str = "en") -> str:
        answer = await self.client.get(path, headers={"Accept-Language": language})
        assert answer.status_code == 200, path
        return html.unescape(answer.text)

    async def send(self, path: str, **said: Any) -> httpx.Response:
        """A form of that page, with its token."""
        page = await self.client.get(path.removesuffix("/revoke"))
        found = re.search(rf'name="{FIELD}" value="([^"]+)"', page.text)
        assert found
        return await self.client.post(path, data={FIELD: found[1], **said}, headers={"Origin": "http://book.test"})


@pytest.fixture
async def rooms(book: MemoryHistories) -> AsyncIterator[Rooms]:
    gate = MemoryGate()
    kept = {LEAF: replace(rich(), battery=LEAF)}
    agreed = replace(book, agreed={LEAF: YES})
    app = create_app(agreed, OneBundle(), access=memory_access(TABLE, gate, kept))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://book.test") as client:
        yield Rooms(gate, client)


async def test_the_overview_says_what_changed_and_leads_to_the_evidence(rooms: Rooms) -> None:
    """ "Why?" is answered by sessions that open."""
    text = await rooms.page(HERE)
    changes = text[text.index('id="changes"') : text.index('id="advice"')]
    assert changes.count("within the uncertainty") >= 2
    assert "counted charge" in changes
    addresses = re.findall(r'href="(/battery/[^"]+/sessions/[^"]+)"', changes)
    assert addresses
    assert "names this session as evidence" in await rooms.page(addresses[-1])


@pytest.mark.parametrize("language", LANGUAGES)
async def test_advice_stands_with_its_figure_and_reason(rooms: Rooms, language: str) -> None:
    """The hot afternoon of the lived-in Leaf, and nothing else."""
    text = await rooms.page(HERE, language)
    t = ALL_WORDS[language]
    assert t.count("advice.pack_hot.text", 1) in text
    assert t("advice.pack_hot.reason") in text
    assert text.count('<details class="explain"><summary>' + t("advice.why")) == 1


async def test_coverage_is_told_in_kilometres(rooms: Rooms) -> None:
    """By the car's own odometer, from the day it was first told."""
    assert re.search(r"Seen 100 % of the [\d,]+ km it drove since 3 Mar 2026", await rooms.page(HERE))


@pytest.mark.parametrize("state", ["none", "learning", "stale", "inconsistent", "replaced"])
@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_state_has_whole_pages(at: Visit, state: str, language: str) -> None:
    """Empty, young, old or contradictory: each page stands and says what it has."""
    bare = {"soh_pct": None, "sigma_pct": None, "lo90_pct": None, "hi90_pct": None, "capacity_ah": None}
    book = MemoryHistories()
    book.add(battery_head("b1"), [soh_point(state=state, **(bare if state == "none" else {}))])
    async with at(book) as client:
        for room in ("", "/sessions", "/use", "/trust", "/share", "/consents", "/export"):
            answer = await client.get(f"/battery/b1{room}", headers={"Accept-Language": language})
            assert answer.status_code == 200, room
        overview = html.unescape((await client.get("/battery/b1", headers={"Accept-Language": language})).text)
    t = ALL_WORDS[language]
    assert t(f"state.{state}.help") in overview
    assert t("changes.none") in overview


async def test_in_dispute_nothing_is_compared_or_advised(at: Visit, book: MemoryHistories) -> None:
    """Two histories in one would make a change of their own."""
    doubt = Doubt("two_boxes", BOX, STORE, 0, 1, settled=False)
    disputed = replace(book, heads={LEAF: replace(book.heads[LEAF], doubts=(doubt,))})
    async with at(disputed) as client:
        text = html.unescape((await client.get(HERE, headers={"Accept-Language": "en"})).text)
    assert EN("changes.none") in text
    assert EN.count("advice.pack_hot.text", 1) not in text
    assert EN("prospect.lacking.disputed") in text


async def test_a_book_without_a_key_says_what_cannot_be_checked(at: Visit) -> None:
    """A button that can only fail is no button."""
    book = MemoryHistories()
    book.add(battery_head("b1"))
    async with at(book) as client:
        trust, export = [(await client.get(f"/battery/b1/{room}")).text for room in ("trust", "export")]
    assert EN("trust.no_key") in html.unescape(trust)
    assert "data-verify-fetch" not in trust
    assert "/bundle" not in export


async def test_trust_offers_the_check_of_the_bundle(rooms: Rooms) -> None:
    """And says that the page that checks comes from the server that is checked."""
    text = await rooms.page(f"{HERE}/trust")
    assert f'data-verify-fetch="/api/v1/batteries/{LEAF}/bundle"' in text
    assert EN("verify.how_text") in text
    assert EN("trust.limit_box") in text


async def test_a_session_has_its_page_and_its_curve(rooms: Rooms) -> None:
    """Every figure of the record, what it means, and where it stands."""
    listing = await rooms.page(f"{HERE}/sessions?kind=charge")
    address = re.findall(r'<th scope="row"><a href="([^"]+)"', listing[listing.index('id="list"') :])[0]
    text = await rooms.page(address)
    assert "<h1>Charge</h1>" in text
    assert 'id="chart-curve"' in text
    assert "Highest cell voltage" in text
    assert STORE in text
    lines = (await rooms.client.get(f"{address}/curve.csv")).text.splitlines()
    assert lines[0] == "soc_from_pct,soc_to_pct,power_kw,temp_degc"
    assert len(lines) > 2


@pytest.mark.parametrize(
    "place", ["b/s/1", f"{BOX}/{STORE}/0", f"{BOX}/{STORE}/x", f"{BOX}/{STORE}/²", f"{BOX}/{STORE}/{'9' * 400}"]
)
async def test_a_session_that_is_none_is_not_found(rooms: Rooms, place: str) -> None:
    """Addresses are edited by hand."""
    assert (await rooms.client.get(f"{HERE}/sessions/{place}")).status_code == 404


async def test_the_list_is_filtered_by_days_and_nonsense_is_no_filter(rooms: Rooms) -> None:
    """Both ends are included; the calendar leads to single days."""
    day = await rooms.page(f"{HERE}/sessions?from=2026-11-20&to=2026-11-20")
    listed = day[day.index('id="list"') :]
    assert set(re.findall(r'<time datetime="(\d{4}-\d\d-\d\d)', listed)) == {"2026-11-20"}
    whole = await rooms.page(f"{HERE}/sessions?from=2026-13-77&to=yesterday")
    assert 'class="calendar"' in whole
    row = re.search(r'href="(/battery/[^"]+\?kind=charge&from=[^"]+)"', whole)
    assert row
    assert "Charges, newest first" in await rooms.page(row[1])


async def test_a_link_is_made_shown_once_and_taken_back(rooms: Rooms) -> None:
    """The buyer's way in: the address works, is told once, and ends when the owner says so."""
    parts = ["state", "use", "harm", "coverage"]
    made = await rooms.send(f"{HERE}/share", reader="buyer", days="7", reads="3", note="Ms A", part=parts)
    assert made.status_code == 200
    assert made.headers["cache-control"] == "no-store"
    address = re.search(r"http://book\.test(/s/[\w-]{43})", made.text)
    assert address
    assert "data:image/svg+xml" in made.text
    (link,) = rooms.gate.links.values()
    assert link.digest == token_digest(address[1].removeprefix("/s/"))
    assert (link.role, link.reads_max, link.note) == ("buyer", 3, "Ms A")
    assert link.fields is not None
    assert "soh_capacity_pct" in link.fields
    assert "model" not in link.fields
    buyers = await rooms.page(address[1])
    assert ">88.5<" in buyers
    assert "Example Cells" not in buyers
    listing = await rooms.page(f"{HERE}/share")
    assert address[1] not in listing
    assert "1 of 3" in listing
    ended = await rooms.send(f"{HERE}/share/revoke", id=link.id)
    assert (ended.status_code, ended.headers["location"]) == (303, f"{HERE}/share")
    assert (await rooms.client.get(address[1])).status_code == 410
    assert "taken back" in await rooms.page(f"{HERE}/share")


async def test_all_parts_ticked_means_whatever_the_reader_may_see(rooms: Rooms) -> None:
    """Also a field that comes with next year's rules."""
    listing = await rooms.page(f"{HERE}/share")
    every = re.findall(r'name="part" value="(\w+)"', listing)
    await rooms.send(f"{HERE}/share", reader="interest/recycling", days="14", reads="", note="", part=every)
    (link,) = rooms.gate.links.values()
    assert (link.role, link.purpose, link.fields, link.reads_max) == ("interest", "recycling", None, None)


@pytest.mark.parametrize(
    "said",
    [
        {"reader": "operator"},
        {"reader": "buyer/repair"},
        {"reader": "nobody"},
        {"days": "0"},
        {"days": "²"},
        {"days": "9999"},
        {"reads": "0"},
        {"reads": "-1"},
        {"reads": "many"},
        {"note": "x" * 81},
        {"note": "a\x07b"},
    ],
    ids=str,
)
async def test_a_form_that_is_not_ours_makes_no_link(rooms: Rooms, said: dict[str, str]) -> None:
    """Links for the operator's own role, for ever, or with a bell in them."""
    answer = await rooms.send(f"{HERE}/share", **({"reader": "buyer", "days": "7", "reads": "", "note": ""} | said))
    assert answer.status_code == 422
    assert EN("links.wrong") in html.unescape(answer.text)
    assert rooms.gate.links == {}


async def test_no_form_counts_without_its_token_and_no_other_battery_is_touched(rooms: Rooms) -> None:
    """Another site's form, another battery's link."""
    said = {"reader": "buyer", "days": "7", "reads": "", "note": ""}
    assert (await rooms.client.post(f"{HERE}/share", data=said)).status_code == 403
    assert rooms.gate.links == {}
    await rooms.send(f"{HERE}/share", **said)
    (link,) = rooms.gate.links.values()
    await rooms.send("/battery/env200-24-0102/share/revoke", id=link.id)
    assert rooms.gate.links[link.digest].revoked_ms is None


async def test_consents_are_told_and_no_button_changes_them(at: Visit, book: MemoryHistories) -> None:
    """They are signed records of the box; the page says how they are changed there."""
    said = {"box-1/a": ("history", "passport"), "box-2/b": None}
    async with at(replace(book, agreed={LEAF: said})) as client:
        text = html.unescape((await client.get(f"{HERE}/consents", headers={"Accept-Language": "en"})).text)
    assert "agreed in part" in text
    assert "box-2/b" in text
    assert EN("consents.undecided") in text
    assert EN("consents.not_shown") in text
    assert "packbox consent withdraw passport" in text
    assert "<form" not in text[text.index("<main") :]


async def test_without_consent_sharing_and_export_say_what_is_missing(at: Visit, book: MemoryHistories) -> None:
    """Before a link is sent that shows nothing."""
    async with at(book) as client:
        share, export = [html.unescape((await client.get(f"{HERE}/{room}")).text) for room in ("share", "export")]
    assert EN("links.no_consent") in share
    assert EN("export.no_consent_text") in export
    assert f"{HERE}/export/neutral" not in export


async def test_everything_comes_in_one_file_and_is_put_on_record(rooms: Rooms) -> None:
    """Bundle, record, sheet, tables, and a note of what could not be made."""
    answer = await rooms.client.get(f"{HERE}/everything.zip", headers={"Accept-Language": "en"})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = set(archive.namelist())
        assert archive.read(f"{LEAF}.packbook") == b"\xd2bundle"
        assert b"packbook verify" in archive.read("README.txt")
    ends = ("-soh.csv", "-sessions.csv", "-events.csv", ".packbook", ".json", ".sheet.pdf")
    assert names == {"README.txt", *(f"{LEAF}{end}" for end in ends)}
    noted: list[Read] = rooms.gate.noted
    assert [read.what for read in noted if read.fields] == ["neutral", "sheet"]


async def test_what_a_reader_may_not_have_is_left_out_of_the_zip_and_said(at: Visit) -> None:
    """No key, no consent: the owner's tables come all the same."""
    book = MemoryHistories(heads={LEAF: battery_head(LEAF)})
    app_book = memory_access(TABLE, MemoryGate(), {LEAF: replace(rich(), battery=LEAF)})
    transport = httpx.ASGITransport(create_app(book, access=app_book), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://book.test") as client:
        answer = await client.get(f"{HERE}/everything.zip")
        assert (await client.get(f"{HERE}/export/neutral")).status_code == 403
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert len(archive.namelist()) == 4
        told = archive.read("README.txt").decode()
    assert EN("export.no_key") in told
    assert EN("export.no_consent") in told


async def test_each_format_can_be_taken(rooms: Rooms) -> None:
    """As far as who asks may see it, and put on record."""
    answer = await rooms.client.get(f"{HERE}/export/neutral")
    assert answer.json()["battery"] == LEAF
    assert rooms.gate.noted[-1].what == "neutral"
    assert (await rooms.client.get(f"{HERE}/export/nonsense")).status_code == 404
    assert (await rooms.client.get("/battery/none-such/export/neutral")).status_code == 404


async def test_two_batteries_stand_side_by_side(rooms: Rooms) -> None:
    """On one scale; what one of them lacks is a dash."""
    text = await rooms.page(f"/compare?battery={LEAF}&battery=imiev-16-0007")
    assert "85.5 % ± 2.5" in text
    assert EN("compare.no_line") in text
    assert (await rooms.client.get("/compare?battery=none-such")).status_code == 404


async def test_one_battery_is_not_compared(at: Visit) -> None:
    """With whom?"""
    book = MemoryHistories()
    book.add(battery_head("b1"))
    async with at(book) as client:
        assert (await client.get("/compare")).headers["location"] == "/"


def test_a_trend_draws_what_is_sure_and_no_more_points_than_it_can_show() -> None:
    """Twenty years of daily figures fit into a card."""
    series: list[SohPoint] = [soh_point(n + 1, at_ms=n * DAY_MS, soh_pct=90 - n / 400) for n in range(2000)]
    found = trend.trend([*series, soh_point(9999, at_ms=None), soh_point(9998, sigma_pct=None, lo90_pct=None)])
    assert found is not None
    assert found.line.count("L") < trend.POINTS_MAX
    assert found.last.at_ms == 1999 * DAY_MS
    assert found.last.at_ms - found.first.at_ms <= trend.YEAR_MS
    assert trend.trend(series[:1]) is None
    assert trend.trend([]) is None


def test_the_calendar_has_a_field_for_each_day_and_a_row_for_each_day_with_a_charge() -> None:
    """A day without a charge is part of the habit."""
    charges = [
        session_row("charge", 1, start_ms=3 * DAY_MS, energy_in_wh=10_000.0, charge_kind="dc"),
        session_row("charge", 2, start_ms=3 * DAY_MS + 5, energy_in_wh=2_000.0),
        session_row("charge", 3, start_ms=9 * DAY_MS, energy_in_wh=0.0),
        session_row("charge", 4, start_ms=None, energy_in_wh=3_000.0),
    ]
    found = calendar.calendar(EN, charges, "/here")
    assert found is not None
    assert [row[1] for row in found.table.rows] == ["1", "2"]
    assert found.undated == 1
    assert {field.shade for field in found.fields} == {0, 1, 4}
    assert [field.fast for field in found.fields].count(True) == 1
    assert calendar.calendar(EN, charges[3:], "/here") is None
    years = [session_row("charge", n, start_ms=n * 30 * DAY_MS) for n in range(80)]
    long = calendar.calendar(EN, years, "/here")
    assert long is not None
    assert len(long.fields) <= calendar.WEEKS * 7


def test_cells_are_compared_only_where_that_tells_something(book: MemoryHistories) -> None:
    """Every pack's cells part near empty."""
    cells = book.cell_rows[LEAF]
    near_empty = [replace(point, soc_pct=4.0, spread_mv=400.0) for point in cells]
    assert spread.spread_mv(near_empty) is None
    assert spread.spread(EN, near_empty) is None
    found = spread.spread(EN, [*cells, *near_empty])
    assert found is not None
    assert found.now_mv < 100.0
