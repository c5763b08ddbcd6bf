"""Every page, looked at by a machine: axe, the console, the width of a small phone, the weight on a slow line."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page
from starlette.routing import Match, Route

from browser.drive import DESKTOP, NARROWEST, PHONE, Complaints, look, overflow_px, signed_in, violations
from browser.fleet import Served
from browser.places import DOWNLOADS, FILES, STOPS, Stop, path_of
from packbook.testing.memory_histories import MemoryHistories
from packbook.web.app import PAGES, create_app

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


@SEEN
def test_everybody_can_use_it(readers: Callable[[str, str], Page], served: Served, role: str, stop: Stop) -> None:
    """WCAG 2.2 AA by axe in both schemes and sizes, no sideways scrolling at 360 px, nothing on the console."""
    page = readers(role, "en")
    complaints = Complaints().listen(page)
    answer = page.goto(path_of(stop, served))
    assert answer is not None
    assert answer.status == stop.status
    found: dict[str, list[str]] = {}
    look(page, DESKTOP, "light")
    found["desktop, light"] = violations(page)
    look(page, scheme="dark")
    found["desktop, dark"] = violations(page, ("color-contrast",))
    look(page, PHONE)
    found["phone, dark"] = violations(page)
    look(page, NARROWEST, "light")
    found["phone, light"] = violations(page, ("color-contrast", "target-size"))
    assert {where: what for where, what in found.items() if what} == {}
    assert overflow_px(page) == 0
    assert [said for said in complaints.said if "404" not in said or stop.status != 404] == []


@SEEN
def test_it_is_as_usable_in_japanese(
    readers: Callable[[str, str], Page], served: Served, role: str, stop: Stop
) -> None:
    """Longer or shorter words, other letters: nothing sticks out, nothing stays English by mistake."""
    page = readers(role, "ja")
    complaints = Complaints().listen(page)
    page.goto(path_of(stop, served))
    assert page.locator("html").get_attribute("lang") == "ja"
    look(page, NARROWEST)
    assert overflow_px(page) == 0
    assert violations(page, ("color-contrast", "target-size", "label", "link-name", "button-name")) == []
    assert [said for said in complaints.said if "404" not in said or stop.status != 404] == []
