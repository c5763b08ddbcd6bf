"""Behind every chart of every page stand a table and a CSV, and both hold the same numbers."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import httpx
import pytest

from packbook.testing.memory_access import memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.web import app as web_app
from packbook.web.app import PAGES, create_app
from packbook.web.owner.chart_files import TABLES

from .conftest import TABLE
from .fleet.conftest import Open, ca_dir, file_of, opened  # noqa: F401 - fixtures of the fleet's pages

LEAF: Final = "leaf-24-0001"
CHART: Final = 'role="img"'
DATA = re.compile(r'<details class="data">(.*?)</details>', re.DOTALL)
FILE = re.compile(r'<a href="([^"]+\.csv[^"]*)" download')
ROW = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
CELL = re.compile(r"<(th scope=.row.|td)[^>]*>(.*?)</(?:th|td)>", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?")
# Health is shown in steps of its uncertainty, with half the interval beside it, which a CSV has by its ends.
HEALTH: Final = ("/soh.csv", "/compare.csv")
STEP_HALF_PCT: Final = 2.5
WEEKS: Final = ("_weeks.csv",)  # named by the day they begin, in the reader's words


class Row(NamedTuple):
    days: tuple[str, ...]
    numbers: tuple[tuple[float, float], ...]  # with what rounding may have changed


def told(row: str, file: str) -> Row:
    days, numbers = [], []
    for place, (_, cell) in enumerate(CELL.findall(row)):
        days += [at[:10] for at in re.findall(r'datetime="([^"]+)"', cell)]
        text = html.unescape(re.sub(r"<time.*?</time>|<[^>]+>", "", cell))
        if place == 0 and file.endswith(WEEKS):
            continue
        found = NUMBER.findall(text.replace("\N{EN DASH}", " "))
        health = file.partition("?")[0].endswith(HEALTH)
        for number in found[:1] if health else found:
            digits = len(number.partition(".")[2])
            numbers.append((float(number.replace(",", "")), STEP_HALF_PCT if health else 0.5001 * 10.0**-digits))
    return Row(tuple(days), tuple(numbers))


def holds(line: Sequence[str], row: Row) -> bool:
    """All that the row tells stands in this line."""
    figures = [float(edge) for each in line for edge in each.split("..") if re.fullmatch(r"-?[\d.]+(e-?\d+)?", edge)]
    return all(any(each.startswith(day) for each in line) for day in row.days) and all(
        any(abs(value - figure) <= off for figure in figures) for value, off in row.numbers
    )


async def lacking(client: httpx.AsyncClient, path: str) -> tuple[int, list[str]]:
    """How many charts a page has, and what is wrong with what stands behind them."""
    answer = await client.get(path)
    assert answer.status_code == 200, path
    count, wrong = 0, []
    for section in re.findall(r"<section.*?</section>", answer.text, re.DOTALL):
        charts = section.count(CHART)
        count += charts
        files = [(FILE.findall(block), ROW.findall(block)) for block in DATA.findall(section)]
        behind = [(found[0], rows) for found, rows in files if found and len(rows) > 1]
        if len(behind) < charts:
            wrong.append(f"{path}: {charts} charts, {len(behind)} tables with a CSV")
        for file, rows in behind:
            wrong += [f"{path} {file}: {row}" for row in await differing(client, html.unescape(file), rows[1:])]
    return count, wrong


async def differing(client: httpx.AsyncClient, file: str, rows: Sequence[str]) -> list[Row]:
    """Rows of the table that the file does not hold."""
    answer = await client.get(file)
    assert answer.headers["content-type"].startswith("text/csv"), file
    lines = list(csv.reader(io.StringIO(answer.text)))[1:]
    assert len(lines) >= len(rows), file
    shown = [told(row, file) for row in rows]
    assert any(row.numbers for row in shown), file
    return [row for row in shown if not any(holds(line, row) for line in lines)]


BATTERY: Final = "/battery/{battery}"


async def test_every_chart_of_a_battery_has_its_table_and_csv(book: MemoryHistories) -> None:
    """Who cannot see it reads the table, who works with it takes the file; a chart without both is a picture."""
    charge = next(row for row in reversed(book.session_rows[LEAF]) if row.curve is not None).provenance
    here = {"battery": LEAF, "box": charge.box, "store": charge.store, "seq": charge.seq}
    pages = [page.path for page in PAGES if page.method == "GET" and page.path.startswith((BATTERY, "/compare"))]
    counts: dict[str, tuple[int, list[str]]] = {}
    app = create_app(book, access=memory_access(TABLE))
    headers = {"Accept-Language": "en"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://book.test", headers=headers) as client:
        for path in ("/", *(path for path in pages if "{format}" not in path and "." not in path)):
            counts[path] = await lacking(client, path.format(**here))
    assert [wrong for _, all_wrong in counts.values() for wrong in all_wrong] == []
    assert {path: count for path, (count, _) in counts.items() if count} == {
        "/compare": 1,
        BATTERY: 2,  # health, and how much was seen
        f"{BATTERY}/sessions": 1,
        f"{BATTERY}/sessions/{{box}}/{{store}}/{{seq}}": 1,
        f"{BATTERY}/use": 7,
    }


async def test_every_chart_of_a_fleet_has_its_table_and_csv(opened: Open) -> None:  # noqa: F811 - the fixture
    """The operator's too."""
    async with opened("lived") as fleet:
        counts = {page.path: await lacking(fleet.client, page.path) for page in web_app.FLEET_PAGES if plain(page)}
    assert [wrong for _, all_wrong in counts.values() for wrong in all_wrong] == []
    assert {path: count for path, (count, _) in counts.items() if count} == {"/fleet/distribution": 2}


def plain(page: web_app.Page) -> bool:
    return page.method == "GET" and "{" not in page.path and not page.path.endswith(".csv")


@pytest.mark.parametrize("chart", sorted(TABLES))
async def test_a_chart_with_nothing_to_show_has_no_file(client: httpx.AsyncClient, chart: str) -> None:
    """A young battery's page has no link to it; an empty file would look like an answer."""
    assert (await client.get(f"/battery/nobody/charts/{chart}.csv")).status_code == 404
    assert (await client.get(f"/battery/{LEAF}/charts/{chart}.csv")).status_code == 200


async def test_a_chart_that_is_none_has_no_file(client: httpx.AsyncClient) -> None:
    """Nor is a read of it put on record."""
    assert (await client.get(f"/battery/{LEAF}/charts/velocity.csv")).status_code == 404
