"""The Verify button in a real browser: what it says of an honest file, of a changed one, and without WebCrypto."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.drive import reader
from browser.fleet import serving
from bundles import BOOK, BOOK_KEY, by_book, lived
from packbook.adapters.rules import RuleBook
from packbook.app.access import access_rules
from packbook.app.export_neutral import signed
from packbook.clock import now_ms
from packbook.core.passport import Passport
from packbook.core.share import Link, token_digest
from packbook.ports.passports import PLAIN, Manner
from packbook.ports.trust import SignedCheckpoint
from packbook.testing.memory_access import MemoryGate, PlainExports, memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import battery_head
from packbook.web.app import create_app
from packbook.web.words import ALL_WORDS
from packwire.bundle import decode_bundle
from passport.records import rich

BATTERY: Final = "BAT-1"
TOKEN: Final = "v" * 43
BUNDLE: Final = by_book(lived())
HOUR_MS: Final = 3_600_000
EN: Final = ALL_WORDS["en"]


class _Signer:
    public_key = BOOK_KEY

    def sign(self, data: bytes) -> bytes:
        return BOOK.sign(data)


class SignedExports(PlainExports):
    """The record as the book signs it."""

    async def make(self, name: str, passport: Passport, manner: Manner = PLAIN) -> bytes:
        if name == "neutral":
            return signed(passport, RuleBook(), _Signer()).data
        return await super().make(name, passport, manner)


class OneBundle:
    book_key = BOOK_KEY

    async def bundle(self, battery: str) -> bytes | None:
        return BUNDLE if battery == BATTERY else None

    async def checkpoints(self, *_: object) -> list[SignedCheckpoint]:
        return []


@pytest.fixture(scope="module")
def book() -> Iterator[str]:
    digest = token_digest(TOKEN)
    assert digest is not None
    now = now_ms()
    link = Link(digest, BATTERY, "buyer", None, None, None, "", now, "operator", now + HOUR_MS, None)
    histories = MemoryHistories(heads={BATTERY: battery_head(BATTERY)}, agreed={BATTERY: {"b/1": ("passport",)}})
    access = memory_access(
        access_rules(RuleBook()), MemoryGate(links={digest: link}), {BATTERY: replace(rich(), battery=BATTERY)}
    )
    access.exports = SignedExports()
    with serving(create_app(histories, OneBundle(), access=access)) as address:
        yield address


@pytest.fixture
def page(browser: Browser, book: str) -> Iterator[Page]:
    with reader(browser, book) as context:
        yield context.new_page()


def outcome(page: Page) -> str:
    said = page.locator("[data-verify-said]")
    expect(said).to_have_attribute("data-outcome", "good" if said.locator(".good").count() else "bad")
    return said.inner_text()


def check(page: Page) -> str:
    page.click("[data-verify-fetch]")
    page.wait_for_selector("[data-outcome]")
    return outcome(page)


def test_an_owner_checks_his_whole_history(page: Page) -> None:
    """One press; what is proven, claimed and left out is told apart."""
    page.goto(f"/battery/{BATTERY}/trust")
    said = check(page)
    assert EN("verify.said.good") in said
    assert "records 1 to 17, none missing, none changed" in said
    assert EN("verify.said.m_numbers") in said


def test_a_changed_byte_is_named_with_its_record_and_place(page: Page, tmp_path: Path) -> None:
    """The file that somebody was given: it stays in the browser, and the first wrong record is named."""
    piece = decode_bundle(BUNDLE).stores[0].records[6]
    data = bytearray(BUNDLE)
    data[piece.at + len(piece.data) - 1] ^= 1  # in the signature of record 7
    file = tmp_path / "given.packbook"
    file.write_bytes(data)
    page.goto("/verify")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))  # the icon may come late
    page.set_input_files("[data-verify-file]", file)
    page.wait_for_selector("[data-outcome='bad']")
    said = outcome(page)
    store = decode_bundle(BUNDLE).stores[0].store
    assert said.startswith(f"{EN('verify.said.bad')} {EN('verify.said.f_signature', seq=7, store=store)}")
    assert f"byte {piece.at} of the file" in said
    assert [url for url in asked if "/static/icon" not in url] == []


def test_a_buyer_checks_the_record_behind_his_page(page: Page) -> None:
    """He has no history; the page says that, and that its figures are those that were signed."""
    page.goto(f"/s/{TOKEN}")
    said = check(page)
    assert EN("verify.said.good") in said
    assert "both have the code" in said
    assert EN("verify.said.m_history") in said


def test_a_page_that_shows_other_figures_than_were_signed_is_found_out(page: Page) -> None:
    """Newer data, or a page that was changed on its way."""
    page.goto(f"/s/{TOKEN}")
    page.evaluate("document.querySelector('[data-verify-code]').dataset.verifyCode = '0000 0000 0000 0000'")
    assert EN("verify.said.bad") in check(page)


def test_without_webcrypto_the_command_is_named(page: Page) -> None:
    """An old browser, or a plain http address: no false comfort and no riddle."""
    page.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    page.goto(f"/battery/{BATTERY}/trust")
    page.click("[data-verify-fetch]")
    said = page.locator("[data-verify-said]")
    expect(said).to_contain_text("packbook verify FILE")
    assert page.locator("[data-outcome]").count() == 0


def test_what_cannot_be_fetched_or_read_is_not_judged(page: Page, tmp_path: Path) -> None:
    """A broken line is no forgery, a picture no battery."""
    page.route("**/bundle", lambda route: route.fulfill(status=503))
    page.goto(f"/battery/{BATTERY}/trust")
    page.click("[data-verify-fetch]")
    said = page.locator("[data-verify-said]")
    expect(said).to_contain_text("could not be fetched (503)")
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG" + secrets.token_bytes(20))
    page.set_input_files("[data-verify-file]", picture)
    expect(said).to_contain_text(EN("verify.said.unknown"))
