"""Pages without an account: share links that open, end and are counted, labels that lead to model data; reads noted."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from markupsafe import escape

from packbook.clock import now_ms
from packbook.core.access import ALL_BATTERIES, Read, Reader
from packbook.core.formats.sheet.code import code_of
from packbook.core.identifiers import asked_key, filed_key
from packbook.core.passport import Fact, Passport, Source
from packbook.core.share import Ended, Link, token_digest
from packbook.ports.passports import Manner
from packbook.ports.trouble import NotMade
from packbook.testing.memory_access import MemoryGate, MemoryPassports, PlainExports, memory_access
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import battery_head
from packbook.web.access import VISIT_MS, Trail
from packbook.web.app import V1, create_app
from packbook.web.words import ALL_WORDS
from passport.records import URI, rich

from .conftest import TABLE

BATTERY = "62A-000417"
HOUR_MS = 3_600_000
YES = {"b/1": ("history", "passport")}


@dataclass
class Book:
    app: FastAPI
    gate: MemoryGate
    histories: MemoryHistories
    client: httpx.AsyncClient

    def link(self, **more: Any) -> str:
        """A link's token."""
        token = secrets.token_urlsafe(32)
        digest = token_digest(token)
        assert digest is not None
        now = now_ms()
        link = Link(digest, BATTERY, "buyer", None, None, None, "", now, "operator", now + HOUR_MS, None)
        self.gate.links[digest] = replace(link, **more)
        return token

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture
async def book() -> AsyncIterator[Book]:
    gate = MemoryGate(
        names={key: BATTERY for text in (f"gs1:{URI}", "did:did:web:example.com:b:7") if (key := filed_key(text))}
    )
    histories = MemoryHistories(heads={BATTERY: battery_head(BATTERY)}, agreed={BATTERY: YES})
    app = create_app(histories, access=memory_access(TABLE, gate, {BATTERY: rich()}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://book.test") as client:
        yield Book(app, gate, histories, client)


async def test_a_link_shows_what_its_reader_may_see(book: Book) -> None:
    """The buyer sees how healthy the battery is; its composition is for recyclers."""
    page = await book.get(f"/s/{book.link()}")
    assert page.status_code == 200
    assert ">88.5<" in page.text
    assert "Example Cells K.K. 62A" in page.text
    assert "DOC-2024-0815" in page.text
    assert "7.1 kg" not in page.text


async def test_a_link_is_kept_by_nobody(book: Book) -> None:
    """The address is the key: no cache, no referrer, no search engine may keep it."""
    headers = (await book.get(f"/s/{book.link()}")).headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-robots-tag"] == "noindex, nofollow"


async def test_a_shared_page_leads_nowhere_else(book: Book) -> None:
    """Its reader has one battery, not the operator's pages."""
    page = (await book.get(f"/s/{book.link()}")).text
    assert 'href="/"' not in page
    assert "/api/" not in page
    assert "/battery/" not in page


@pytest.mark.parametrize(
    ("change", "word"),
    [({"revoked_ms": 1}, "revoked"), ({"expires_ms": 1}, "expired"), ({"reads_max": 1, "reads": 1}, "used_up")],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_link_that_ended_opens_nothing(book: Book, change: dict[str, Any], word: str) -> None:
    """Whoever holds the right address is told that it ended, in words; nothing of the battery."""
    token = book.link(**change)
    (link,) = book.gate.links.values()
    assert link.ended(now_ms()) == Ended(word)
    for path in (f"/s/{token}", f"/s/{token}/neutral"):
        page = await book.get(path, accept_language="ja")
        assert page.status_code == 410
        assert "このリンクは使えません" in page.text
        assert "62A" not in page.text
        assert page.headers["cache-control"] == "no-store"
    assert book.gate.noted == []


async def test_a_link_opens_as_often_as_it_may(book: Book) -> None:
    """Pages and files count alike."""
    token = book.link(reads_max=2)
    answers = [(await book.get(f"/s/{token}{end}")).status_code for end in ("", "/neutral", "", "/neutral")]
    assert answers == [200, 200, 410, 410]


async def test_a_guess_gets_what_a_wrong_address_gets_and_many_get_slowed(book: Book) -> None:
    """Nothing tells a near miss from nonsense; the right address still opens for others behind the same proxy."""
    right = book.link()
    guesses = [await book.get(f"/s/{secrets.token_urlsafe(32)}") for _ in range(5)]
    guesses += [await book.get(f"/s/{text}") for text in ("x", right[:-1], right + "A", "%00", "ü" * 43)]
    assert {guess.status_code for guess in guesses} == {404}
    assert all("Not in this book" in guess.text for guess in guesses)
    slowed = await book.get(f"/s/{secrets.token_urlsafe(32)}")
    assert slowed.status_code == 429
    assert 0 < int(slowed.headers["retry-after"]) <= 600
    assert (await book.get(f"/s/{right}")).status_code == 200


async def test_a_file_by_link_holds_what_the_page_holds(book: Book) -> None:
    """The same cut, whatever the shape; and only the formats that the link was made for."""
    answer = await book.get(f"/s/{book.link(role='interest', purpose='recycling')}/neutral")
    assert answer.json()["facts"]["lithium_kg"] == [7.1]
    assert "odometer_km" not in answer.json()["facts"]
    assert (await book.get(f"/s/{book.link(formats=('idta',))}/neutral")).status_code == 404
    assert (await book.get(f"/s/{book.link()}/nonsense")).status_code == 404


async def test_a_format_that_cannot_be_made_is_said_so_and_not_counted(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link may show too little for it: that is nobody's trouble, and no read."""

    async def make(self: PlainExports, name: str, passport: Passport, manner: Manner) -> bytes:
        raise NotMade("nothing was made: it needs soc_pct")

    monkeypatch.setattr(PlainExports, "make", make)
    answer = await book.get(f"/s/{book.link(reads_max=1)}/neutral")
    assert answer.status_code == 409
    assert "This format cannot be made" in answer.text
    assert [link.reads for link in book.gate.links.values()] == [0]


async def test_a_link_narrowed_to_fields_shows_these(book: Book) -> None:
    """The owner may give away one number."""
    answer = await book.get(f"/s/{book.link(fields=('soh_capacity_pct',))}/neutral")
    assert answer.json()["facts"] == {"soh_capacity_pct": [88.42]}


async def test_a_link_for_a_role_that_was_taken_out_of_the_table_ends(book: Book) -> None:
    """What a role may see is decided today, not when the link was made."""
    assert (await book.get(f"/s/{book.link(role='operator')}")).status_code == 410
    assert (await book.get(f"/s/{book.link(role='auditor')}")).status_code == 410


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_without_consent_a_link_shows_the_model_and_says_why(book: Book, language: str) -> None:
    """The link alone is no consent; the reader must not think that the battery has no history."""
    book.histories.agreed[BATTERY] = {"b/1": ("history",)}
    page = (await book.get(f"/s/{book.link()}?lang={language}")).text
    assert {"en": "The owner has not agreed", "ja": "所有者が同意していない"}[language] in page
    assert "88.5" not in page
    assert "Example Cells K.K." in page


async def test_programs_send_the_token_and_never_put_it_into_an_address(book: Book) -> None:
    """An address stands in logs; a header does not."""
    token = book.link()
    answer = await book.get(f"{V1}/batteries/{BATTERY}/passport", authorization=f"Bearer {token}")
    assert answer.json()["facts"]["soh_capacity_pct"] == [88.42]
    assert answer.headers["cache-control"] == "no-store"
    other = await book.get(f"{V1}/batteries/another/passport", authorization=f"Bearer {token}")
    assert other.status_code == 404
    assert (await book.get(f"{V1}/batteries/{BATTERY}/passport", authorization="Bearer no")).status_code == 404


async def test_a_link_does_not_open_the_history_behind_the_passport(book: Book) -> None:
    """Sessions have times of day: they are the owner's, whatever the link."""
    token = book.link()
    for path in ("", "/soh", "/sessions", "/usage", "/events", "/bundle"):
        answer = await book.get(f"{V1}/batteries/{BATTERY}{path}", authorization=f"Bearer {token}")
        assert answer.status_code == 403, path
    assert (await book.get(f"/battery/{BATTERY}", authorization=f"Bearer {token}")).status_code == 403


# --- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"/id/{BATTERY}",
        "/id/01/09506000134352/21/62A-000417",
        "/01/09506000134352/21/62A-000417",
        "/01/09506000134352/10/LOT7/21/62A-000417?linkType=all",
        "/id/https%3A%2F%2Fanother.example%2F01%2F09506000134352%2F21%2F62A-000417",
        "/id/did:web:example.com:b:7",
    ],
)
async def test_every_name_of_a_battery_leads_to_the_same_model_data(book: Book, path: str) -> None:
    """A label is read by anybody: it shows the model, says what else there is, and nothing of this one battery."""
    page = await book.get(path)
    assert page.status_code == 200
    assert "Example Cells K.K. 62A" in page.text
    assert "Data of this one battery" in page.text
    assert "88.5" not in page.text
    assert "soh-value" not in page.text
    data = (await book.get(path, accept="application/json")).json()
    assert data["facts"].keys() <= {name for name in TABLE.tiers if TABLE.may_see(Reader("public"), name)}
    assert book.gate.noted == []


async def test_a_label_and_a_link_together_show_more(book: Book) -> None:
    """The program that scanned the label sends the token that the owner gave."""
    answer = await book.get(f"/id/{BATTERY}", authorization=f"Bearer {book.link()}")
    assert "soh_capacity_pct" in answer.json()["facts"]


@pytest.mark.parametrize(
    "path", ["/id/nobody", "/01/09506000134352", "/01/09506000134353/21/X", "/id/", "/id/%00", "/8004/X", "/01/x"]
)
async def test_a_name_that_is_none_of_ours_is_said_so(book: Book, path: str) -> None:
    """Also a GTIN without a serial: it names a model, of which there are thousands."""
    assert (await book.get(path)).status_code == 404


def test_names_are_filed_by_what_they_name() -> None:
    """Host, folder and batch of a GS1 link say nothing about which battery it is; other names count as spelled."""
    key = "/01/09506000134352/21/a%2Fb"
    assert filed_key("gs1:https://x.example/some/01/09506000134352/10/L/21/a%2Fb?x=1") == key
    assert asked_key("01/09506000134352/21/a%2Fb") == key
    assert filed_key("gs1:https://x.example/01/09506000134352") is None
    assert filed_key("iec61406:https://x.example/?M=1&S=2") == asked_key("https://x.example/?M=1&S=2")
    assert filed_key("gbt34014:001PB240000003B3C0221953") == "001PB240000003B3C0221953"
    assert filed_key("no scheme") is None
    assert asked_key("a" * 301) is None


# --- the record of reads --------------------------------------------------------------------------------------------


async def test_every_door_to_one_batterys_life_is_noted(book: Book) -> None:
    """Who read what, when, and as whom: page, resource, link and file, each once per visit."""
    token = book.link(role="interest", purpose="energy_services")
    for path in ("/", f"/battery/{BATTERY}", f"/battery/{BATTERY}/soh.csv", f"{V1}/batteries/{BATTERY}/soh"):
        assert (await book.get(path)).status_code == 200
        await book.get(path)
    for path in (f"/s/{token}", f"/s/{token}/neutral", f"{V1}/batteries/{BATTERY}/passport"):
        assert (await book.get(path)).status_code == 200
    doors = [(read.battery, read.reader.name, read.door, read.what) for read in book.gate.noted]
    assert doors == [
        (ALL_BATTERIES, "operator", "page", "batteries"),
        (BATTERY, "operator", "page", "battery"),
        (BATTERY, "operator", "page", "soh.csv"),
        (BATTERY, "operator", "api", "soh"),
        (BATTERY, "interest/energy_services", "link", "page"),
        (BATTERY, "interest/energy_services", "link", "neutral"),
        (BATTERY, "operator", "api", "neutral"),
    ]
    (link,) = book.gate.links.values()
    assert book.gate.noted[4].reader.link == link.id
    assert "soh_capacity_pct" in book.gate.noted[4].fields
    assert "odometer_km" not in book.gate.noted[4].fields
    assert token not in json.dumps([repr(read) for read in book.gate.noted])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/battery/{BATTERY}",
        f"/battery/{BATTERY}/sessions",
        f"{V1}/batteries",
        f"{V1}/batteries/{BATTERY}/usage",
        f"{V1}/batteries/{BATTERY}/passport",
        "/s/TOKEN",
        "/s/TOKEN/neutral",
    ],
)
async def test_what_cannot_be_noted_is_not_shown(book: Book, path: str) -> None:
    """A full disk must not open a door that nobody watches."""
    token = book.link()
    book.gate.broken = True
    answer = await book.get(path.replace("TOKEN", token))
    assert answer.status_code == 503
    assert "88." not in answer.text
    assert "Example Cells" not in answer.text
    assert (await book.get(f"/id/{BATTERY}")).status_code == 200


async def test_a_book_without_a_gate_shows_no_batterys_life(book: Book) -> None:
    """Forgetting to wire it must close the pages, not open them."""
    transport = httpx.ASGITransport(create_app(book.histories), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://book.test") as client:
        answers = [await client.get(path) for path in ("/", f"/battery/{BATTERY}", f"/id/{BATTERY}", "/s/x")]
    assert [answer.status_code for answer in answers] == [503, 503, 503, 503]


class SlowGate(MemoryGate):
    """Counts transactions; the first takes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions: list[int] = []
        self.go = asyncio.Event()

    async def note(self, reads: Sequence[Read]) -> None:
        await self.go.wait()
        self.transactions.append(len(reads))
        await super().note(reads)


def a_read(what: str, at_ms: int = 0) -> Read:
    return Read(at_ms, BATTERY, Reader("operator"), "page", what)


async def test_reads_that_come_together_share_a_transaction() -> None:
    """A busy page server must not wait for the disk once per reader."""
    gate = SlowGate()
    trail = Trail(gate)
    async with asyncio.TaskGroup() as readers:
        for number in range(50):
            readers.create_task(trail.note(a_read(f"page {number}")))
        await asyncio.sleep(0)
        gate.go.set()
    assert len(gate.noted) == 50
    assert len(gate.transactions) <= 2


async def test_a_visit_is_noted_once_and_the_next_one_again() -> None:
    """A page asks every four seconds whether something changed."""
    gate = MemoryGate()
    trail = Trail(gate)
    for at_ms in (0, 4000, VISIT_MS - 1, VISIT_MS):
        await trail.note(a_read("page", at_ms))
    assert [read.at_ms for read in gate.noted] == [0, VISIT_MS]


async def test_a_reader_who_leaves_early_takes_nobody_along() -> None:
    """Whoever waits in the same batch is written by the next."""
    gate = SlowGate()
    trail = Trail(gate)
    leaving = asyncio.create_task(trail.note(a_read("a")))
    staying = asyncio.create_task(trail.note(a_read("b")))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    gate.go.set()
    await staying
    assert "b" in [read.what for read in gate.noted]


# --- the condition sheet --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_a_buyer_takes_the_sheet_in_his_language(book: Book, language: str) -> None:
    """It leads back to his own page, whose code is that of the sheet; taking it is a read."""
    token = book.link()
    page = await book.get(f"/s/{token}?lang={language}")
    assert f'href="/s/{token}/sheet?lang={language}"' in page.text
    assert code_of(TABLE.redact(rich(), Reader("buyer")).passport) in page.text
    sheet = await book.get(f"/s/{token}/sheet?lang={language}")
    assert sheet.headers["content-type"] == "application/pdf"
    assert sheet.headers["cache-control"] == "no-store"
    assert sheet.headers["content-disposition"] == f'attachment; filename="{BATTERY}.sheet.pdf"'
    assert sheet.json()["manner"] == {"language": language, "page": f"/s/{token}"}
    assert [read.what for read in book.gate.noted] == ["page", "sheet"]


async def test_a_link_without_the_sheet_shows_no_button(book: Book) -> None:
    """What a link does not allow is not offered."""
    token = book.link(formats=("neutral",))
    assert "/sheet" not in (await book.get(f"/s/{token}")).text
    assert (await book.get(f"/s/{token}/sheet")).status_code == 404


async def test_the_owners_page_has_the_sheet_and_its_read_is_on_record(book: Book) -> None:
    """He hands it on as paper: who took it stands in the book."""
    path = f"/battery/{BATTERY}/sheet.pdf"
    assert f'href="{path}?lang=ja"' in (await book.get(f"/battery/{BATTERY}?lang=ja")).text
    sheet = await book.get(f"{path}?lang=ja")
    assert sheet.json()["manner"] == {"language": "ja", "page": None}
    assert (book.gate.noted[-1].door, book.gate.noted[-1].what) == ("page", "sheet")
    assert "soh_capacity_pct" in book.gate.noted[-1].fields
    assert (await book.get("/battery/never-seen/sheet.pdf")).status_code == 404


async def test_no_sheet_without_a_note_without_consent_or_by_a_links_token(book: Book) -> None:
    """A read that cannot be put on record is refused; so is one that the owner did not agree to."""
    path = f"/battery/{BATTERY}/sheet.pdf"
    assert (await book.get(path, authorization=f"Bearer {book.link()}")).status_code == 403
    book.gate.broken = True
    assert (await book.get(path)).status_code == 503
    book.gate.broken = False
    book.histories.agreed.clear()
    assert (await book.get(path)).status_code == 403
    assert book.gate.noted == []


async def test_a_shared_page_of_a_disputed_history_says_so_above_its_figures(book: Book) -> None:
    """A buyer must not learn of it after he has bought."""
    passports = book.app.state.access.passports
    passports.kept = {BATTERY: replace(rich(), doubts=("two_histories",))}
    page = (await book.get(f"/s/{book.link()}")).text
    t = ALL_WORDS["en"]
    assert page.index(escape(t("doubt.title"))) < page.index(">88.5<")
    assert escape(t("sheet_doubt.two_histories")) in page
    assert escape(t("doubt.title")) not in (await book.get(f"/id/{BATTERY}")).text


HANDED = Fact(
    "Example Cars", "1", 1_780_000_000_000, Source.DECLARED, "Private owner", "custody/1", conditions={"role": "dealer"}
)


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ("Taken over by", "as dealer", "declared by Private owner")), ("ja", ("役割：販売店",))],
)
async def test_status_and_hands_are_on_the_owners_page_and_on_a_buyers(
    book: Book, language: str, words: tuple[str, ...]
) -> None:
    """Whoever buys asks first what it counts as and who had it; a repairer needs neither name."""
    facts = {**rich().facts, "custody": (HANDED,)}
    passports = {BATTERY: replace(rich(), facts=facts)}
    book.app.state.access.passports = MemoryPassports(passports)
    buyer, repairer = book.link(), book.link(role="interest", purpose="repair")
    for address in (f"/battery/{BATTERY}/trust?lang={language}", f"/s/{buyer}?lang={language}"):
        page = (await book.client.get(address)).text
        assert all(word in page for word in (*words, "Example Cars")), address
    assert "Example Cars" not in (await book.client.get(f"/s/{repairer}?lang={language}")).text
