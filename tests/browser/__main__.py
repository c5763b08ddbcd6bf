"""Pictures of every page in both languages, sizes and schemes: `make screens`, then open build/screens/index.html.

In:  a folder to write to; perhaps names of pages, to take only those again; perhaps a folder for README's pictures.
Out: <folder>/<page>-<language>-<size>-<scheme>.png and an index. Exit code 1 where a page complained on its console.
"""

from __future__ import annotations

import argparse
import html
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page

from browser.drive import DESKTOP, PHONE, SCHEMES, Complaints, Size, chromium, look, signed_in
from browser.fleet import Served, demo_like
from browser.places import STOPS, Stop, path_of

LANGUAGES: Final = ("en", "ja")
SIZES: Final = (PHONE, DESKTOP)
MOST_PX: Final = 6000  # of height: past that nobody looks
README: Final = {
    "overview": ("owner.png", ""),
    "fleet": ("fleet.png", "?sort=-alerts"),  # else it begins with cars of one kind
}  # pictures of which pages, in English, light, on a desktop
HEAD: Final = """<!doctype html><meta charset="utf-8"><title>Pages</title>
<style>
body { font: 14px sans-serif }
td, th { padding: 6px; text-align: left; vertical-align: top }
img { width: 220px }
</style>
"""
README_SIZE: Final = Size("readme", 1280, 860)


def main() -> int:
    parser = argparse.ArgumentParser(prog="screens", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/screens"))
    parser.add_argument("--readme", type=Path, help="folder for the pictures that README shows")
    parser.add_argument("pages", nargs="*", help="names of pages (all)")
    args = parser.parse_args()
    stops = [(role, stop) for role, stop in STOPS if not args.pages or stop.name in args.pages]
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, demo_like(Path(folder)) as served, chromium() as browser:
        said = [line for language in LANGUAGES for line in _walk(browser, served, stops, language, args.out)]
        if args.readme is not None:
            _readme(browser, served, args.readme)
    (args.out / "index.html").write_text(_index(stops), encoding="utf-8")
    print(f"{args.out / 'index.html'}: {len(stops)} pages, {len(said)} complaints", *said, sep="\n")
    return 1 if said else 0


def _walk(browser: Browser, served: Served, stops: list[tuple[str, Stop]], language: str, out: Path) -> Iterator[str]:
    pages = {role: signed_in(browser, served, role, language).new_page() for role in {role for role, _ in stops}}
    for role, stop in stops:
        page = pages[role]
        complaints = Complaints().listen(page)
        page.goto(path_of(stop, served))
        for size in SIZES:
            for scheme in SCHEMES:
                look(page, size, scheme)
                _settle(page)
                page.screenshot(path=out / _name(stop, language, size, scheme), full_page=_height(page) <= MOST_PX)
        yield from (line for line in complaints.said if stop.status == 200)


def _readme(browser: Browser, served: Served, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for role, stop in ((role, stop) for role, stop in STOPS if stop.name in README):
        page = signed_in(browser, served, role, size=README_SIZE).new_page()
        name, asked = README[stop.name]
        page.goto(path_of(stop, served) + asked)
        _settle(page)
        page.screenshot(path=folder / name)


def _settle(page: Page) -> None:
    """Charts follow a new size after 120 ms (charts.js)."""
    page.wait_for_timeout(250)


def _height(page: Page) -> int:
    height: int = page.evaluate("document.documentElement.scrollHeight")
    return height


def _name(stop: Stop, language: str, size: Size, scheme: str) -> str:
    return f"{stop.name}-{language}-{size.name}-{scheme}.png"


def _index(stops: list[tuple[str, Stop]]) -> str:
    """A table of all pictures: a row for each page, a column for each way to see it."""
    ways = [(language, size, scheme) for language in LANGUAGES for size in SIZES for scheme in SCHEMES]
    head = "".join(f"<th>{language} {size.name} {scheme}</th>" for language, size, scheme in ways)
    rows = "".join(
        f"<tr><th>{role}<br>{stop.name}<br><code>{html.escape(stop.path)}</code></th>"
        + "".join(
            f'<td><a href="{name}"><img loading="lazy" alt="" src="{name}"></a></td>'
            for name in (_name(stop, *way) for way in ways)
        )
        + "</tr>"
        for role, stop in stops
    )
    return f"{HEAD}<table><tr><th></th>{head}</tr>{rows}</table>\n"


if __name__ == "__main__":
    sys.exit(main())
