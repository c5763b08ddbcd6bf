"""What is kept of an answer never reaches anybody whom it was not made for, and is never old."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from packbook.adapters.rules import RuleBook
from packbook.app.access import access_rules
from packbook.core.accounts import BOOKS_OWN, Reach
from packbook.core.history import EventRow, Provenance
from packbook.testing.memory_access import memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import battery_head, session_row, soh_point
from packbook.web import door
from packbook.web.app import create_app
from packbook.web.current import Kept

PAGES = ("/battery/b1", "/battery/b1/use", "/battery/b1/sessions")
RESOURCES = tuple(f"/api/v1/batteries/b1{part}" for part in ("", "/soh", "/sessions", "/events", "/cells", "/forecast"))


class Counted(MemoryHistories):
    """How often the long lists were asked for."""

    asked = 0

    async def soh_series(self, *asked: object, **more: object) -> list[object]:  # type: ignore[override]  # as asked
        Counted.asked += 1
        return list(await super().soh_series(*asked, **more))  # type: ignore[arg-type]  # as asked


@pytest.fixture
def book() -> MemoryHistories:
    book = MemoryHistories()
    book.add(battery_head("b1"), [soh_point(1, soh_pct=91.0)], [session_row("charge", 1)])
    return book


def client_of(book: MemoryHistories) -> httpx.AsyncClient:
    app = create_app(book, access=memory_access(access_rules(RuleBook())))
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://book.test", headers={"Accept-Language": "en"}
    )


@pytest.mark.parametrize("path", [*PAGES, *RESOURCES])
async def test_an_unchanged_answer_is_not_made_again_and_a_changed_one_is(book: MemoryHistories, path: str) -> None:
    """Every kind of record makes a new version; nothing of the old one is shown after it."""
    async with client_of(book) as client:
        tag = (await client.get(path)).headers["etag"]
        for change in (
            lambda: book.points["b1"].append(soh_point(2, soh_pct=90.0)),
            lambda: book.session_rows["b1"].append(session_row("charge", 2)),
            lambda: book.event_rows["b1"].append(EventRow("crash", 1, None, None, None, Provenance("b", "s", 3))),
        ):
            same = await client.get(path, headers={"If-None-Match": tag})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
            change()
            now = await client.get(path, headers={"If-None-Match": tag})
            assert now.status_code == 200
            assert now.headers["etag"] != tag
            tag = now.headers["etag"]


async def test_languages_do_not_mix(book: MemoryHistories) -> None:
    """A page kept in English is not shown to who reads Japanese, nor is he told that he has it."""
    async with client_of(book) as client:
        english = await client.get("/battery/b1")
        japanese = await client.get(
            "/battery/b1", headers={"Accept-Language": "ja", "If-None-Match": english.headers["etag"]}
        )
    assert japanese.status_code == 200
    assert "健全度" in japanese.text
    assert "健全度" not in english.text


async def test_a_reader_is_told_unchanged_only_of_what_he_was_shown(
    book: MemoryHistories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's tag opens nothing, and what is kept is not shown beyond its reach, not even as 304."""
    who = BOOKS_OWN

    async def who_comes(_request: object) -> object:
        return who

    monkeypatch.setattr(door, "who_comes", who_comes)
    async with client_of(book) as client:
        for path in (*PAGES, *RESOURCES):
            who = BOOKS_OWN
            tag = (await client.get(path)).headers["etag"]
            who = replace(BOOKS_OWN, account="a2", name="Aoi")
            other = await client.get(path, headers={"If-None-Match": tag})
            assert (other.status_code, other.headers.get("etag") != tag) == (200, True)
            who = replace(BOOKS_OWN, reach=Reach("elsewhere", None))
            assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 404
            who = replace(BOOKS_OWN, may=frozenset())
            assert (await client.get(path, headers={"If-None-Match": tag})).status_code in (401, 403)


async def test_batteries_do_not_mix(book: MemoryHistories) -> None:
    """Two with histories that look alike each keep their own page."""
    book.add(battery_head("b2", vehicle="The other"), [soh_point(1, soh_pct=71.0)], [session_row("charge", 1)])
    async with client_of(book) as client:
        for _ in range(2):
            first, second = (await client.get("/battery/b1")).text, (await client.get("/battery/b2")).text
            assert "/battery/b2" not in first
            assert "/battery/b1" not in second
            assert "The other" in second


async def test_what_all_readers_share_is_made_once() -> None:
    """Two hundred who look at one battery cost one reading of its history."""
    book = Counted()
    book.add(battery_head("b1"), [soh_point(1)])
    async with client_of(book) as client:
        await client.get("/battery/b1")
        before = Counted.asked
        for _ in range(5):
            await client.get("/battery/b1")
            await client.get("/api/v1/batteries/b1/forecast")
    assert Counted.asked == before


async def test_a_304_is_put_on_record_too(book: MemoryHistories) -> None:
    """Whoever asks whether something changed has read."""
    access = memory_access(access_rules(RuleBook()))
    app = create_app(book, access=access)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://book.test") as client:
        tag = (await client.get("/api/v1/batteries/b1/soh")).headers["etag"]
        access.trail._visits.clear()  # as if ten minutes had gone by
        before = len(await access.gate.reads("b1", 100, 0))
        assert (await client.get("/api/v1/batteries/b1/soh", headers={"If-None-Match": tag})).status_code == 304
        assert len(await access.gate.reads("b1", 100, 0)) == before + 1


async def test_no_more_is_kept_than_agreed() -> None:
    """The part that was longest not asked for goes; one that is asked for stays."""
    kept = Kept(most=2)

    async def make() -> str:
        return "made"

    for name in ("one", "two", "one", "three"):
        await kept.part((name,), make)
    assert len(kept) == 2

    async def again() -> str:
        return "made again"

    assert await kept.part(("one",), again) == "made"
    assert await kept.part(("two",), again) == "made again"
