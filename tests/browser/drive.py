"""Chromium as readers use it: sizes, schemes, languages, with and without script, and what it had to say.

Debian's own (tests/needs.sh), driven by Playwright. Whatever a page complains of on its console fails who looks on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

from browser.fleet import PASSWORD, PEOPLE, Served

CHROMIUM: Final = shutil.which("chromium")
AXE: Final = Path(__file__).parents[1] / "js/node_modules/axe-core/axe.min.js"
PATIENCE_MS: Final = 20_000  # a loaded machine; nobody waits that long elsewhere
ZONE: Final = "Asia/Tokyo"
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
# What may fail in another language, size or scheme where the same page passed in one: colours, room, names, languages.
OF_LOOKS: Final = (
    *("color-contrast", "link-in-text-block", "target-size", "scrollable-region-focusable", "meta-viewport"),
    *("button-name", "input-button-name", "link-name", "summary-name", "label", "label-title-only", "select-name"),
    *("aria-command-name", "aria-input-field-name", "aria-toggle-field-name", "aria-tooltip-name", "aria-dialog-name"),
    *("image-alt", "role-img-alt", "svg-img-alt", "empty-heading", "empty-table-header", "document-title"),
    *("html-has-lang", "html-lang-valid", "valid-lang", "aria-hidden-focus", "bypass", "heading-order"),
)
LOCALES: Final = {"en": "en-GB", "ja": "ja-JP"}


@dataclass(frozen=True)
class Size:
    name: str
    width: int
    height: int


PHONE: Final = Size("phone", 390, 844)
DESKTOP: Final = Size("desktop", 1280, 900)
NARROWEST: Final = Size("narrowest", 360, 740)
SCHEMES: Final = ("light", "dark")
WAYS: Final = (("en", DESKTOP), ("ja", PHONE))  # each language and each size once


@contextmanager
def chromium() -> Iterator[Browser]:
    assert CHROMIUM
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        arguments = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def reader(
    browser: Browser,
    address: str,
    language: str = "en",
    size: Size = DESKTOP,
    *,
    script: bool = True,
    state: Any = None,
    **more: Any,
) -> BrowserContext:
    """Somebody with cookies of his own. `state`: those of another, who signed in before."""
    context = browser.new_context(
        base_url=address,
        locale=LOCALES[language],
        timezone_id=ZONE,
        viewport={"width": size.width, "height": size.height},
        java_script_enabled=script,
        storage_state=state,
        reduced_motion="reduce",
        **more,
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


def signed_in(
    browser: Browser, served: Served, role: str, language: str = "en", size: Size = DESKTOP, **more: Any
) -> BrowserContext:
    """Somebody of this role; a role without an account comes as he is."""
    if role in PEOPLE and role not in served.states:
        context = reader(browser, served.address)
        page = context.new_page()
        sign_in(page, role)
        served.states[role] = context.storage_state()
        context.close()
    return reader(browser, served.address, language, size, state=served.states.get(role), **more)


def sign_in(page: Page, role: str) -> None:
    """By the form, as people do."""
    page.goto("/sign-in")
    page.locator("input[name=login]").fill(role)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("input[name=password]").press("Enter")
    page.wait_for_url(lambda url: "/sign-in" not in url)


@dataclass
class Complaints:
    """What a page said on its console, and what it asked for in vain."""

    said: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> Complaints:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.said.append(f"{page.url}: {error}"))
        page.on("requestfailed", self._failed)
        return self

    @contextmanager
    def listening(self, page: Page) -> Iterator[Complaints]:
        """For a while: the page is used for other things before and after."""
        heard = {"console": self._console, "requestfailed": self._failed, "pageerror": self._error}
        for event, hear in heard.items():
            page.on(event, hear)  # type: ignore[call-overload]  # which takes one literal name each
        yield self
        for event, hear in heard.items():
            page.remove_listener(event, hear)

    def _error(self, error: Error) -> None:
        self.said.append(str(error))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.said.append(f"{message.location.get('url')}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by the page itself, when it is left or a file is saved
            self.said.append(f"{request.url}: {request.failure}")


def look(page: Page, size: Size | None = None, scheme: str | None = None) -> None:
    """Turn the page the reader's way, and wait until its charts follow."""
    if size is not None:
        page.set_viewport_size({"width": size.width, "height": size.height})
    if scheme is not None:
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")


def overflow_px(page: Page) -> int:
    """How far the page reaches beyond the right edge of the window."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide


def violations(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe finds against WCAG 2.2 AA; all rules, or these alone."""
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    only: dict[str, Any] = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": list(TAGS)}
    found: list[str] = page.evaluate(
        """async (only) => {
            const { violations } = await axe.run(document, { runOnly: only, resultTypes: ["violations"] });
            return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target} ${n.failureSummary}`));
        }""",
        only,
    )
    return found


def reach(page: Page, target: Locator) -> Locator:
    """Where the Tab key leads on every page (test_places.py walks there); what follows is done by keys alone."""
    target.focus()
    assert target.evaluate("e => e === document.activeElement && e.checkVisibility()"), f"{target} takes no focus"
    return target


def press(page: Page, target: Locator) -> None:
    """A link, a button, a summary."""
    reach(page, target)
    page.keyboard.press("Enter")


def write(page: Page, target: Locator, text: str) -> None:
    """Into a field, in place of what is there."""
    reach(page, target)
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def choose(page: Page, target: Locator, value: str) -> None:
    """From a list, by its arrow keys."""
    reach(page, target)
    steps: int = target.evaluate("(e, v) => [...e.options].findIndex((o) => o.value === v) - e.selectedIndex", value)
    for _ in range(abs(steps)):
        page.keyboard.press("ArrowDown" if steps > 0 else "ArrowUp")
    expect(target).to_have_value(value)


def tick(page: Page, target: Locator) -> None:
    reach(page, target)
    page.keyboard.press("Space")


# Writes down what gets the focus, and null where it leaves the page.
NOTE_FOCUS: Final = """() => {
    document.activeElement?.blur();
    window.reached = [];
    document.addEventListener("focusin", ({ target: e }) => {
        const box = e.getBoundingClientRect();
        const visible = box.width >= 1 && box.height >= 1 && e.checkVisibility();
        // Within a date field Chromium moves on its own, and rings its parts itself.
        const rings = (each) => each && getComputedStyle(each).outlineStyle !== "none";
        const outlined = e.type === "date" || rings(e) || rings(e.closest(".card"));
        const name = (e.getAttribute("aria-label") ?? e.textContent).trim().replace(/\\s+/g, " ").slice(0, 60);
        const said = `${e.tagName.toLowerCase()} ${name}${visible ? "" : " HIDDEN"}${outlined ? "" : " NO RING"}`;
        window.reached.push(said);
    });
    document.addEventListener("focusout", ({ relatedTarget }) => {
        if (relatedTarget === null && window.reached.length) window.reached.push(null);
    });
}"""
AT_ONCE: Final = 10  # steps before it is asked where they led


def tab_through(page: Page, most: int = 400) -> list[str]:
    """What the Tab key reaches, in order; HIDDEN where it cannot be seen, NO RING where it does not show its focus."""
    seen: list[str] = []
    page.evaluate(NOTE_FOCUS)
    while len(seen) < most:
        for _ in range(AT_ONCE):
            page.keyboard.down("Tab")  # held, it repeats
        page.keyboard.up("Tab")
        seen = page.evaluate("window.reached")
        if None in seen:
            return seen[: seen.index(None)]
    return seen
