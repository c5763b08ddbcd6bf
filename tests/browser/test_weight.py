"""A first visit is light: most readers stand in a car park with a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from browser.fleet import Served
from browser.places import STOPS, Stop, path_of
from browser.weight import first_visit

FIRST_MAX_BYTES = 200_000
READ = pytest.mark.parametrize(("role", "stop"), STOPS, ids=[f"{role}-{stop.name}" for role, stop in STOPS])


@READ
def test_a_first_visit_fits_the_budget(browser: Browser, served: Served, role: str, stop: Stop) -> None:
    """Page, style and scripts as sent, compressed; not the charts' library, which one visit keeps for good."""
    assert 0 < first_visit(browser, served, role, path_of(stop, served)).without_charts_bytes <= FIRST_MAX_BYTES
