"""The documents name every address that the pages and the API answer."""

from __future__ import annotations

from pathlib import Path

from packbook.core.rounding import STEPS_PCT
from packbook.web.app import API, FILES, PAGES, V1


def test_every_api_route_is_documented(root: Path) -> None:
    """An undocumented route is one that nobody may rely on."""
    text = (root / "docs/api.md").read_text(encoding="utf-8")
    assert [route.path for route in (*API, *FILES) if f"`{V1}{route.path}`" not in text] == []


def test_every_page_is_documented(root: Path) -> None:
    """Files are described with the API, pages with the views, or with accounts."""
    text = "".join((root / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("api", "views", "accounts"))
    assert [page.path for page in PAGES if not page.path.startswith("/static/") and f"`{page.path}`" not in text] == []


def test_the_rounding_steps_are_the_documented_ones(root: Path) -> None:
    """The table in the document is the rule of the code."""
    text = (root / "docs/views.md").read_text(encoding="utf-8")
    assert STEPS_PCT == ((10.0, 5.0), (5.0, 1.0), (0.0, 0.5))
    assert "| below 5 percent points | 0.5 % |" in text
    assert "| 5 to 10 | 1 % |" in text
    assert "| 10 and more | 5 % |" in text
