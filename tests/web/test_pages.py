"""The pages: everything readable without JavaScript, in both languages, whatever the batteries are called."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from packbook.core.history import Battery, Doubt, EventRow, Provenance, SessionRow, SohPoint
from packbook.ports.histories import Quarantined
from packbook.ports.trouble import StoreError
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import battery_head, session_row, soh_point
from packbook.web import guard
from packbook.web.words import ALL_WORDS, LANGUAGES

from .conftest import Visit

LEAF = "/battery/leaf-24-0001"
ROOMS = ("", "/sessions", "/use", "/trust", "/share", "/consents", "/export")
ONE_SESSION = f"{LEAF}/sessions/7f3a90c2d1e85b46/c04e1f77a9b23d65"
PAGES = (
    "/",
    *(f"{LEAF}{room}" for room in ROOMS),
    f"{LEAF}/sessions?kind=charge&from=2026-11-01&to=2026-11-20",
    f"{ONE_SESSION}/6",
    *(f"/battery/env200-24-0102{room}" for room in ("", "/use")),
    *(f"/battery/imiev-16-0007{room}" for room in ROOMS),
    "/compare",
    "/glossary",
    "/verify",
    "/no/such/page",
)


async def rooms(client: httpx.AsyncClient, battery: str, language: str = "en") -> str:
    """All pages of one battery, one behind the other."""
    return "".join([await page(client, f"{battery}{room}", language) for room in ROOMS])


async def page(client: httpx.AsyncClient, path: str, language: str = "en") -> str:
    answer = await client.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 200, path
    return answer.text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_whole_in_each_language(client: httpx.AsyncClient, path: str, language: str) -> None:
    """One heading, one language, a way to the other, labels on every picture and scopes on every heading cell."""
    text = (await client.get(path, headers={"Accept-Language": language})).text
    other = next(code for code in LANGUAGES if code != language)
    assert f'<html lang="{language}">' in text
    assert f'hreflang="{other}"' in text
    assert text.count("<h1") == 1
    assert 'href="#content"' in text
    assert len(re.findall(r"<th\b", text)) == len(re.findall(r"<th scope=", text))
    assert len(re.findall(r'role="img"', text)) == len(re.findall(r'role="img"[^>]* aria-label="[^"]+', text))
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    live = re.findall(r'data-live="([^"]+)"', text)
    assert len(live) == len(set(live))


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_needs_the_net_or_bends_the_content_policy(client: httpx.AsyncClient, path: str) -> None:
    """No CDN, no inline script, no inline style: the policy forbids them, so they would not even work."""
    text = (await client.get(path)).text
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", text)
    assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert set(re.findall(r"<script([^>]*)>", text)) <= {
        *re.findall(r"<script( src=\"/static/[^\"]+\" defer(?: data-library=\"/static/[^\"]+\")?)>", text),
        *re.findall(r"<script( type=\"application/json\" data-live=\"[^\"]+\")>", text),
    }


async def test_the_list_shows_each_battery_with_its_interval(client: httpx.AsyncClient) -> None:
    """Health without its uncertainty is half the truth; a battery without a figure says so in words."""
    text = await page(client, "/")
    assert "85.5" in text
    assert "± 2.5" in text
    assert "No figure yet" in text
    assert "between 83.0 and 88.0 percent" in text
    assert "1 message was refused" in text


async def test_an_empty_book_says_what_happens_next(at: Visit) -> None:
    """The first thing a new operator sees must not look broken."""
    async with at(MemoryHistories()) as client:
        text = await page(client, "/")
        assert "No battery has reported yet" in text
        assert "No box has connected yet." in text
        assert "今" not in text
        assert "まだ電池の記録がありません" in await page(client, "/", "ja")


async def test_the_owner_reads_all_figures_without_javascript(client: httpx.AsyncClient) -> None:
    """Health, interval, car's own figure, coverage, capacity with its source, sessions, events and records."""
    text = await rooms(client, LEAF)
    for figure in (
        "90 % interval 83.0–88.0 %",
        "The car itself says 85 %",
        "Life seen",
        "65.4 Ah",
        "battery system&#39;s 100 %",
        "charge_count/1",
        "no open-circuit curve is known for this pack",
        "Fast-charge share",
        "kWh/100 km",
        "Battery too hot",
        "55.6 °C",
        "Ed25519",
        "7f3a90c2d1e85b46",
    ):
        assert figure in text, figure


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_explanation_stands_beside_its_figure(client: httpx.AsyncClient, language: str) -> None:
    """Owners are no engineers: what a figure means is on the page, in plain words."""
    text = html.unescape(await rooms(client, LEAF, language))
    messages = ALL_WORDS[language].messages
    assert [k for k, m in messages.items() if k.startswith("explain.") and m not in text] == []


async def test_every_column_heading_is_used(client: httpx.AsyncClient) -> None:
    """Headings are asked for by computed keys, which the search for unused words cannot follow."""
    kinds = (f"{LEAF}/sessions{kind}" for kind in ("", "?kind=charge", "?kind=drive"))
    paths = (*(f"{LEAF}{room}" for room in ROOMS), *kinds, f"{ONE_SESSION}/6", "/compare")
    text = html.unescape("".join([await page(client, path) for path in paths]))
    headings = {key: m for key, m in ALL_WORDS["en"].messages.items() if key.startswith("column.")}
    assert [key for key, message in headings.items() if f">{message}</th>" not in text] == []


async def test_every_chart_has_a_table_with_the_same_figures(client: httpx.AsyncClient) -> None:
    """Who cannot see the picture, or has no script, reads the table."""
    text = await page(client, LEAF) + await page(client, f"{LEAF}/use")
    charts = re.findall(r'<figure class="chart" id="chart-(\w+)".*?</figure>', text, re.DOTALL)
    assert charts == ["soh", "charge_weeks", "drive_weeks", "stress", "temperature", "c_rate", "depth"]
    for match in re.finditer(r'<figure class="chart" id="chart-(\w+)".*?</figure>', text, re.DOTALL):
        spec = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', match[0], re.DOTALL)[1])
        rows = match[0].count("<tr>") - 1
        assert rows == len(spec.get("points") or spec.get("categories") or spec["y"]), match[1]


async def test_a_battery_without_a_figure_gives_the_reason_and_what_helps(client: httpx.AsyncClient) -> None:
    """No number is better than a wrong one, if the reader learns why and what to do."""
    text = await page(client, "/battery/imiev-16-0007") + await page(client, "/battery/imiev-16-0007/use")
    assert "No figure yet" in text
    assert "no charge or drive has moved 10.0 Ah in one go yet; the most was 2.4 Ah" in text
    assert "One long charge helps most" in text
    assert "% ±" not in text
    assert re.search(r'Crash signal</dt>\s*<dd[^>]*><span class="value">–</span>', text)  # not counted yet is not 0


@pytest.mark.parametrize("state", ["learning", "stale", "inconsistent", "replaced"])
@pytest.mark.parametrize("language", LANGUAGES)
async def test_each_state_is_told_in_words(at: Visit, state: str, language: str) -> None:
    """A state that only a developer understands helps no owner."""
    book = MemoryHistories()
    book.add(battery_head("b1"), [soh_point(state=state)])
    messages = ALL_WORDS[language].messages
    async with at(book) as client:
        text = html.unescape(await page(client, "/battery/b1", language))
    assert all(messages[f"state.{state}.{part}"] in text for part in ("name", "text", "help"))


async def test_a_figure_without_its_uncertainty_is_withheld_and_said(at: Visit) -> None:
    """facts/soh.md: every estimate carries its sigma; one that does not is not ours to show."""
    book = MemoryHistories()
    book.add(battery_head("b1"), [soh_point(state="ok", soh_pct=91.7, sigma_pct=None, lo90_pct=None, hi90_pct=None)])
    async with at(book) as client:
        text = await page(client, "/battery/b1")
    assert "91.7" not in text
    assert "A figure arrived without its uncertainty" in text


async def test_a_battery_that_only_said_hello_has_a_page(at: Visit) -> None:
    """Between hello and the first summary lies a day in which owners look most often."""
    book = MemoryHistories()
    book.add(battery_head("b1", vehicle=None, pack=None, chemistry=None, nominal_kwh=None, cells_in_series=None))
    async with at(book) as client:
        for path in ("/", "/battery/b1", "/battery/b1/sessions", "/battery/b1/soh.csv", "/battery/b1/sessions.csv"):
            assert (await client.get(path)).status_code == 200


async def test_unknown_dates_say_so_and_stay_out_of_the_chart(at: Visit) -> None:
    """A box without a clock must not draw its charges in 1970."""
    book = MemoryHistories()
    rows = [session_row("charge", 1, start_ms=None, energy_in_wh=9000.0), session_row("charge", 2, energy_in_wh=4000.0)]
    book.add(battery_head("b1"), [soh_point(1, at_ms=None), soh_point(2)], rows)
    async with at(book) as client:
        text = await rooms(client, "/battery/b1")
    assert "date unknown" in text
    assert text.count("1 entry without a known date is not drawn.") == 3
    assert "1970" not in text


HOSTILE = "\"><script>alert('x')</script><img src=x onerror=alert(1)>{{7*7}}"


async def test_hostile_names_stay_text(at: Visit, book: MemoryHistories) -> None:
    """Names come from boxes and operators; a page must not run them, in markup, attributes or chart data."""
    name = "<script>alert(1)<b>"  # no slash: the rest of it must survive as one path segment
    source = Provenance("<b>box</b>", "<b>store</b>", 1)
    hostile = MemoryHistories()
    head = battery_head(
        name, vehicle=HOSTILE, pack=HOSTILE, chemistry=HOSTILE, software=HOSTILE, reference_source=HOSTILE
    )
    point = soh_point(
        why=HOSTILE, reference_source=HOSTILE, basis=HOSTILE, method=HOSTILE, state=HOSTILE, provenance=source
    )
    usage = replace(book.totals["leaf-24-0001"], events={HOSTILE: 1})
    row = session_row("charge", charge_kind=HOSTILE, provenance=source)
    event = EventRow(HOSTILE, 0, 1.0, 1.0, HOSTILE, source)
    hostile.add(head, [point], [row], usage, [event, replace(event, event="crash")])
    hostile.refused.append(Quarantined(1, 0, HOSTILE, HOSTILE, b"<script>"))
    async with at(hostile) as client:
        for path in ("/", f"/battery/{name}", *(f"/battery/{name}{room}" for room in ROOMS)):
            text = await page(client, path)
            assert "alert(1)" in html.unescape(text)
            found = Tags(text)
            assert "img" not in found.names
            assert all({"src", "type"} & names for tag, names in found.attributes if tag == "script")
            assert not any("onerror" in names for _, names in found.attributes)
            assert "<b>box" not in text
            assert "{{7*7}}" in text


class Tags(HTMLParser):
    """The elements that a browser would make of a page, with the names of their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, set[str]]] = []
        self.feed(text)
        self.names = {tag for tag, _ in self.attributes}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, {name for name, _ in attrs}))


async def test_an_unknown_battery_gets_a_friendly_404(client: httpx.AsyncClient) -> None:
    """Links grow old; the page says what may have happened and leads on."""
    answer = await client.get("/battery/never-seen")
    assert answer.status_code == 404
    assert "Not in this book" in answer.text
    assert 'href="/"' in answer.text
    for path in ("/battery/never-seen/sessions", "/battery/never-seen/soh.csv", "/battery/never-seen/sessions.csv"):
        assert (await client.get(path)).status_code == 404


async def test_the_language_switch_keeps_the_page_and_is_remembered(client: httpx.AsyncClient) -> None:
    """Changing the language must not lose the reader's place."""
    text = await page(client, f"{LEAF}/sessions?kind=drive&page=2")
    address = html.unescape(re.search(r'hreflang="ja" href="([^"]+)"', text)[1])
    assert httpx.URL(address).path == f"{LEAF}/sessions"
    assert dict(httpx.URL(address).params) == {"kind": "drive", "page": "2", "lang": "ja"}
    answer = await client.get(address)
    assert "走行" in answer.text
    assert "SameSite=lax" in answer.headers["set-cookie"]
    assert '<html lang="ja">' in (await client.get("/", headers={"Accept-Language": "en"})).text


@pytest.mark.parametrize("asked", ["0", "-1", "x", "²", "9" * 5000, "1e3"])
async def test_a_silly_page_number_means_the_first(client: httpx.AsyncClient, asked: str) -> None:
    """Addresses are edited by hand and cut by mail programs."""
    assert "Page 1" in await page(client, f"{LEAF}/sessions?page={asked}")


async def test_pages_of_sessions_lead_to_the_oldest_and_end(client: httpx.AsyncClient, book: MemoryHistories) -> None:
    """Every charge can be reached by following Older."""
    seen, path = [], f"{LEAF}/sessions?kind=charge"
    while path:
        text = await page(client, path)
        listed = text[text.index('id="list"') :]
        seen += re.findall(r'<th scope="row"><a href="[^"]+"><time datetime="([^"]+)"', listed)
        older = re.search(r'rel="next" href="([^"]+)"', text)
        path = html.unescape(older[1]) if older else ""
    assert len(seen) == len(set(seen)) == book.heads["leaf-24-0001"].sessions["charge"]
    assert seen == sorted(seen, reverse=True)


async def test_csv_holds_every_session_unrounded_with_its_record(
    client: httpx.AsyncClient, book: MemoryHistories
) -> None:
    """Owners take their data with them: nothing cut, nothing rounded, each row traceable."""
    rows = list(csv.DictReader(io.StringIO((await client.get(f"{LEAF}/sessions.csv")).text)))
    kept = list(reversed(book.session_rows["leaf-24-0001"]))
    assert [int(row["seq"]) for row in rows] == [row.provenance.seq for row in kept]
    assert [float(row["energy_in_wh"]) for row in rows] == [row.energy_in_wh for row in kept]
    assert {row["box"] for row in rows} == {"7f3a90c2d1e85b46"}
    answer = await client.get(f"{LEAF}/soh.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="leaf-24-0001-soh.csv"'
    assert len(list(csv.DictReader(io.StringIO(answer.text)))) == len(book.points["leaf-24-0001"])


async def test_a_spreadsheet_cannot_be_made_to_run_a_name(at: Visit) -> None:
    """A cell that begins like a formula is one to a spreadsheet; negative figures stay figures."""
    book = MemoryHistories()
    row = session_row("charge", charge_kind='=HYPERLINK("http://x")', current_min_a=-12.5)
    book.add(battery_head("b1"), [], [row])
    async with at(book) as client:
        found = next(csv.DictReader(io.StringIO((await client.get("/battery/b1/sessions.csv")).text)))
        assert (await client.get("/battery/b1/sessions.csv?kind=nap")).status_code == 422
    assert found["charge_kind"] == '\'=HYPERLINK("http://x")'
    assert found["current_min_a"] == "-12.5"


async def test_rows_that_shift_while_we_read_are_counted_once(at: Visit) -> None:
    """New records push older ones into the next chunk; a charge listed twice would be a charge invented."""

    class Growing(MemoryHistories):
        async def sessions(self, battery: str, *asked: Any, **more: Any) -> list[SessionRow]:
            rows = list(await super().sessions(battery, *asked, **more))
            self.session_rows[battery].append(session_row("charge", len(self.session_rows[battery]) + 1))
            return rows

    book = Growing()
    book.add(battery_head("b1"), [], [session_row("charge", n + 1) for n in range(1200)])
    async with at(book) as client:
        rows = list(csv.DictReader(io.StringIO((await client.get("/battery/b1/sessions.csv")).text)))
    assert len({row["seq"] for row in rows}) == len(rows) == 1200


async def test_a_long_history_is_thinned_in_the_chart_but_not_in_the_files(at: Visit) -> None:
    """Ten years of daily figures: the chart stays quick, the newest is always drawn, CSV has all."""
    points = [soh_point(n + 1, at_ms=n * 86_400_000, soh_pct=99.0 - n / 200) for n in range(3650)]
    book = MemoryHistories()
    book.add(battery_head("b1"), points)
    async with at(book) as client:
        text = await page(client, "/battery/b1")
        rows = (await client.get("/battery/b1/soh.csv")).text.count("\n") - 1
    spec = json.loads(re.search(r'data-live="spec-soh">(.*?)</script>', text, re.DOTALL)[1])
    assert 300 <= len(spec["points"]) <= 400
    assert spec["points"][-1]["at"] == points[-1].at_ms
    assert rows == 3650


async def test_every_answer_carries_the_guarding_headers(client: httpx.AsyncClient) -> None:
    """Also the answers that went wrong."""
    for path in (*PAGES, "/static/style.css", "/static/none.css", "/api/v1/batteries", "/api/v1/nope"):
        headers = (await client.get(path)).headers
        assert {name: headers.get(name) for name in guard.HEADERS} == guard.HEADERS, path
    assert "unsafe" not in guard.HEADERS["Content-Security-Policy"]


class Broken(MemoryHistories):
    """A book whose database is gone (`StoreError`) or whose code is wrong (any other error)."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def batteries(self, limit: int | None = None, offset: int = 0) -> Sequence[Battery]:
        raise self.error


async def test_a_database_that_does_not_answer_is_said_calmly(at: Visit) -> None:
    """Expected trouble: try again in a few seconds, nothing is lost."""
    async with at(Broken(StoreError("database is locked: book.sqlite"))) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "cannot be read now" in answer.text
        assert "book.sqlite" not in answer.text
        problem = await client.get("/api/v1/batteries")
        assert (problem.status_code, problem.json()["status"]) == (503, 503)


async def test_our_own_mistake_tells_nothing_of_the_inside(at: Visit) -> None:
    """A trace on a page is a map for burglars; the log has it."""
    async with at(Broken(RuntimeError("secret path /srv/book"))) as client:
        for path in ("/", "/api/v1/batteries"):
            answer = await client.get(path)
            assert answer.status_code == 500
            assert "secret" not in answer.text
            assert {name: answer.headers.get(name) for name in guard.HEADERS} == guard.HEADERS


async def test_static_files_are_cached_for_good_only_under_their_digest(client: httpx.AsyncClient) -> None:
    """A new version must never meet an old style sheet."""
    address = re.search(r'rel="stylesheet" href="([^"]+)"', await page(client, "/"))[1]
    digest = await client.get(address)
    assert digest.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert digest.headers["content-encoding"] == "gzip"
    plain = await client.get("/static/style.css", headers={"Accept-Encoding": "identity"})
    assert plain.headers["cache-control"] == "public, no-cache"
    assert plain.content == digest.content
    again = await client.get("/static/style.css", headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e/app.py", "..%2fapp.py", "vendor/package-lock.json", ""])
async def test_only_shipped_files_are_static(client: httpx.AsyncClient, name: str) -> None:
    """Nothing beside style, scripts, icon and licences leaves by this door."""
    assert (await client.get(f"/static/{name}")).status_code == 404


async def test_pages_are_private_and_sent_compressed(client: httpx.AsyncClient) -> None:
    """One battery's history belongs in no shared cache; 20 kB suit a phone."""
    answer = await client.get(LEAF)
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["content-encoding"] == "gzip"
    assert {"Accept-Language", "Cookie", "Accept-Encoding"} <= {v.strip() for v in answer.headers["vary"].split(",")}
    assert answer.num_bytes_downloaded < 25_000
    assert (await client.head(LEAF)).status_code == 200
    assert (await client.post(LEAF)).status_code == 405


async def test_times_are_utc_for_machines_and_readable_for_people(
    client: httpx.AsyncClient, book: MemoryHistories
) -> None:
    """The browser turns the machine-readable UTC into its own zone; without script the UTC text stands."""
    newest: SohPoint = book.points["leaf-24-0001"][-1]
    assert newest.at_ms is not None
    assert re.search(
        r'<time datetime="2026-11-28T\d\d:\d\d:\d\dZ" data-style="date">28 Nov 2026</time>', await page(client, LEAF)
    )
    assert "2026年11月28日" in await page(client, LEAF, "ja")


# --- in dispute -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_number_in_dispute_never_looks_clean(at: Visit, book: MemoryHistories, language: str) -> None:
    """Whoever reads the figure, on a list, on the page or by program, reads the doubt beside it."""
    t = ALL_WORDS[language]
    doubts = (
        Doubt("two_histories", "7f3a90c2d1e85b46", "c04e1f77a9b23d65", 1_790_000_000_000, 3, settled=False),
        Doubt("two_boxes", "7f3a90c2d1e85b46", "aa4e1f77a9b23d65", 1_790_000_000_000, 0, settled=True),
    )
    doubted = replace(book, heads={**book.heads, "leaf-24-0001": replace(book.heads["leaf-24-0001"], doubts=doubts)})
    async with at(doubted) as client:
        home = await page(client, "/", language)
        whole = html.unescape(await page(client, LEAF, language))
        sessions = await page(client, f"{LEAF}/sessions", language)
        answer = (await client.get("/api/v1/batteries/leaf-24-0001")).json()
        forecast = (await client.get("/api/v1/batteries/leaf-24-0001/forecast")).json()
    assert f'state-disputed">{t("state.disputed.name")}<' in home
    assert home.count("state-ok") == 0
    for said in (
        t("doubt.title"),
        t("doubt.two_histories", box=doubts[0].box, store=doubts[0].store),
        t("doubt.two_boxes", box=doubts[1].box, store=doubts[1].store),
        t.count("doubt.held_out", 3),
        t("doubt.settled"),
        t("state.disputed.help"),
        t("prospect.lacking.disputed"),
    ):
        assert said in whole
    assert "85.5" in whole
    assert 'id="promises"' not in whole
    assert 'data-live="promises"' not in whole
    assert t("doubt.title") in sessions
    assert [(doubt["kind"], doubt["held_out"], doubt["settled"]) for doubt in answer["doubts"]] == [
        ("two_histories", 3, False),
        ("two_boxes", 0, True),
    ]
    assert (forecast["why"], forecast["forecast"]) == ("disputed", None)


async def test_a_battery_without_doubts_says_nothing_of_them(client: httpx.AsyncClient) -> None:
    """A warning that always stands there is read by nobody."""
    assert ALL_WORDS["en"]("doubt.title") not in await page(client, LEAF)
    assert (await client.get("/api/v1/batteries/leaf-24-0001")).json()["doubts"] == []
