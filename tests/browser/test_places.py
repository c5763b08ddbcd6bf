"""Every page, looked at by a machine: axe, the console, the width of a small phone, the weight on the line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from playwright.sync_api import Browser, Page
from starlette.routing import Match, Route

from browser.drive import (
    DESKTOP,
    NARROWEST,
    OF_LOOKS,
    PHONE,
    Complaints,
    look,
    overflow_px,
    signed_in,
    tab_through,
    violations,
)
from browser.fleet import Served
from browser.places import DOWNLOADS, FILES, STOPS, Stop, path_of
from browser.weight import Scales, without_charts_bytes
from packbook.testing.memory_histories import MemoryHistories
from packbook.web.app import PAGES, create_app

FIRST_MAX_BYTES: Final = 200_000
ONE_EACH: Final = (
    "a[href], button, input:not([type=radio], [type=hidden]), select, textarea, summary"  # of radios Tab reaches one
)
SEEN = pytest.mark.parametrize(("role", "stop"), STOPS, ids=[f"{role}-{stop.name}" for role, stop in STOPS])


def test_every_page_is_visited() -> None:
    """A page that nobody looks at is the one that breaks."""
    routes = [route for route in create_app(MemoryHistories()).routes if isinstance(route, Route)]

    def route_of(path: str) -> str:
        scope = {
            "type": "http",
            "path": path.format(token="t", invitation="i", box="b", session="b/s/1").split("?", maxsplit=1)[0],
            "method": "GET",
            "headers": [],
        }
        return next((route.path for route in routes if route.matches(scope)[0] == Match.FULL), "")

    pages = {page.path for page in PAGES if page.method == "GET" and not page.path.endswith(DOWNLOADS)} - FILES
    assert pages - {route_of(stop.path) for _, stop in STOPS} == set()
    assert {page.path for page in PAGES} >= FILES


@pytest.fixture(scope="module")
def readers(browser: Browser, served: Served) -> Callable[[str, str], Page]:
    """A page of each role's own in either language, used for every stop."""
    return functools.cache(lambda role, language: signed_in(browser, served, role, language).new_page())


@pytest.fixture(scope="module")
def scales() -> Callable[[Page], Scales]:
    return functools.cache(Scales)


@SEEN
def test_everybody_can_use_it(
    readers: Callable[[str, str], Page], scales: Callable[[Page], Scales], served: Served, role: str, stop: Stop
) -> None:
    """In English on a light desktop: WCAG 2.2 AA by axe, nothing on the console, no sideways scrolling at 360 px.

    By the Tab key: first the way past the navigation, then every link and field in sight, each with its ring.
    And light on its way, for somebody who was never here: page, style and scripts as sent, compressed. Not the charts'
    library, which one visit keeps for good.
    """
    page = readers(role, "en")
    with _uncomplaining(page, stop), scales(page).weighing() as sent:
        look(page, DESKTOP, "light")
        answer = page.goto(path_of(stop, served), wait_until="load")
        assert answer is not None
        assert answer.status == stop.status
        assert violations(page) == []
        reached = tab_through(page)
        assert reached[0].startswith("a Skip to content")
        assert [each for each in reached if "HIDDEN" in each or "NO RING" in each] == []
        assert len(reached) >= page.locator(ONE_EACH).filter(visible=True).count()
        look(page, NARROWEST)
        assert overflow_px(page) == 0
    assert 0 < without_charts_bytes(sent) <= FIRST_MAX_BYTES


@SEEN
def test_it_is_as_usable_in_japanese(
    readers: Callable[[str, str], Page], served: Served, role: str, stop: Stop
) -> None:
    """On a dark phone, by the rules that this touches: longer or shorter words, other letters, other colours."""
    page = readers(role, "ja")
    with _uncomplaining(page, stop):
        look(page, PHONE, "dark")
        page.goto(path_of(stop, served))
        assert page.locator("html").get_attribute("lang") == "ja"
        assert violations(page, OF_LOOKS) == []
        look(page, NARROWEST)
        assert overflow_px(page) == 0


@contextmanager
def _uncomplaining(page: Page, stop: Stop) -> Iterator[None]:
    with Complaints().listening(page) as complaints:
        yield
    assert [said for said in complaints.said if "404" not in said or stop.status != 404] == []
