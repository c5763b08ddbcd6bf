"""Read a page as its reader does: running text, without code and without what says that it is in another language."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Final

SILENT: Final = frozenset({"script", "style", "code", "pre"})
EMPTY: Final = frozenset({"br", "img", "input", "link", "meta", "path", "rect", "circle", "line", "wbr", "hr"})
SPOKEN: Final = ("aria-label", "title", "alt", "placeholder")
ENGLISH: Final = re.compile(r"[A-Za-z][\w'’/.-]*(?:[ ,:;]+[A-Za-z][\w'’/.-]*){2,}")  # three words or more
# Bodies, systems and standards go by these names in Japanese as well.
NAMES: Final = ("packbox consent", "Home Assistant", "GS1 Digital Link", "PDF", "CSV", "JSON")


class Page(HTMLParser):
    def __init__(self, language: str) -> None:
        super().__init__()
        self.language = language
        self.open: list[tuple[str, bool]] = []  # tags, and whether what is in them counts
        self.texts: list[str] = []

    @property
    def counts(self) -> bool:
        return self.open[-1][1] if self.open else True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        counts = self.counts and tag not in SILENT and told.get("lang") in (None, self.language)
        if counts:
            self.texts += [text for name in SPOKEN if (text := told.get(name))]
        if tag not in EMPTY:
            self.open.append((tag, counts))

    def handle_endtag(self, tag: str) -> None:
        while tag not in EMPTY and self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.counts:
            self.texts.append(data)


def english_in(text: str, names: Iterable[str]) -> set[str]:
    """Runs of three English words or more on a Japanese page. `names`: of things and people; they are no words."""
    page = Page("ja")
    page.feed(text)
    found = set()
    for said in page.texts:
        for name in sorted((*names, *NAMES), key=len, reverse=True):
            said = said.replace(name, "–")
        found.update(ENGLISH.findall(said))
    return found
