"""A book of two firms, with people of every role, and clients that are signed in as them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI

from packbook.adapters.passwords import Passwords
from packbook.adapters.second_step import AccountVault
from packbook.adapters.store import accounts as shelf
from packbook.adapters.store import enrolment, open_writer
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.app.account_acts import ACTS
from packbook.app.accounts import BookAccounts
from packbook.app.evidence import BookEvidence, book_evidence
from packbook.app.operate import Office
from packbook.app.pages import pages_over
from packbook.core.accounts import EVERYWHERE, Role, Visit
from packbook.core.enrolment import BoxState, EnrolledBox
from packbook.settings import Settings
from packbook.testing.scripted_box import ScriptedBox
from packwire.messages import Consent

VISIT = Visit("192.0.2.7", "a test")
BASE = "http://book.test"
PASSWORD = "violet harbour ninth otter"
MINE, HIS, THEIRS = "MAIN-1", "MAIN-2", "RIVAL-1"  # of the owner; of the same firm; of another firm
BY: Mapping[str, object] = {"who": "tests", "address": None}
PEOPLE = {
    "owner": (Role.OWNER, "main", (MINE,)),
    "viewer": (Role.VIEWER, "main", ()),
    "operator": (Role.OPERATOR, "main", ()),
    "admin": (Role.ADMIN, "main", ()),
    "rival": (Role.ADMIN, "rival", ()),
    "rival-owner": (Role.OWNER, "rival", (THEIRS,)),
}


@dataclass
class Firm:
    """The book, its people's ids, and the pages."""

    database: Database
    settings: Settings
    accounts: BookAccounts
    evidence: BookEvidence
    ids: dict[str, str] = field(default_factory=dict)

    @cached_property
    def app(self) -> FastAPI:
        """Only for tests that ask for it: FastAPI takes half a second to put it together."""
        app = pages_over(self.settings, self.database, self.evidence, own=True)
        app.state.accounts = self.accounts  # the same ones, that hash quickly
        return app

    @asynccontextmanager
    async def browser(self, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(
            self.app, raise_app_exceptions=False, client=(more.pop("address", "192.0.2.7"), 5)
        )
        more = {"base_url": BASE, "headers": {"Accept-Language": "en"}, **more}
        async with httpx.AsyncClient(transport=transport, **more) as client:
            yield client

    @asynccontextmanager
    async def as_(self, login: str | None) -> AsyncIterator[httpx.AsyncClient]:
        """Signed in, without the page; None: nobody. Each from an address of his own, where his wrong tries count."""
        async with self.browser(address=f"{login} sits here") as client:
            if login is None:
                yield client
                return
            begun = await self.accounts.vouched(self.ids[login], VISIT, "in a test")
            client.cookies.set("packbook_session", begun.token)
            yield client


def quick() -> Passwords:
    """Hashing for tests: what is tested is not how long it takes."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


async def token_of(client: httpx.AsyncClient, page: str) -> str:
    """The forms' token, as a browser finds it on the page."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await client.get(page)).text)
    assert found is not None, page
    return found[1]


async def post(client: httpx.AsyncClient, to: str, page: str, **fields: Any) -> httpx.Response:
    """A form of `page`, sent as a browser sends it."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    return await client.post(to, data={"csrf": await token_of(client, page), **fields}, headers=headers)


async def sign_in(client: httpx.AsyncClient, login: str, password: str = PASSWORD, **more: str) -> httpx.Response:
    return await post(client, "/sign-in", "/sign-in", login=login, password=password, **more)


@asynccontextmanager
async def a_firm(url: str, folder: Path, **more: Any) -> AsyncIterator[Firm]:
    """`more`: settings besides those that every one of these books has."""
    files = {"accounts_key_file": folder / "accounts.key", "book_key_file": folder / "book.pem"}
    settings = Settings(database_url=url, accounts="on", **files, **more)
    async with open_writer(url, "test") as database:
        office = Office(database, settings)

        async def do(act: str, wish: Mapping[str, Any]) -> object:
            return await ACTS[act](office, json.loads(json.dumps(wish)))  # as it would go over the socket

        vault = AccountVault(settings.accounts_key)
        only = settings.oidc_issuer if settings.oidc_only else None
        accounts = BookAccounts(database, do, vault, "Packbook", quick(), only)
        evidence = book_evidence(settings, database)
        firm = Firm(database, settings, accounts, evidence)
        if not await accounts.exist():
            await _two_firms(firm, do)
            await evidence.sign_heads()
        async with database.transaction() as connection:
            firm.ids = {one.login: one.account for one in await shelf.all_of(connection, EVERYWHERE)}
        yield firm


async def _two_firms(firm: Firm, do: Any) -> None:
    await do("tenant.keep", {"tenant": "rival", "label": "Rival Ltd", **BY})
    await do("fleet.keep", {"fleet": "rivals", "tenant": "rival", **BY})
    for name, battery, fleet in (("alfa", MINE, "taxis"), ("bravo", HIS, "taxis"), ("charlie", THEIRS, "rivals")):
        box = speaking(name, battery)
        async with firm.database.transaction() as connection:
            enrolled = EnrolledBox(box.box, box.public_key, fleet, BoxState.ACTIVE, 1, 1)
            await enrolment.keep_box(connection, enrolled)
        await Ledger(firm.database).take(box.arrivals)
    kept = await quick().hash(PASSWORD)
    for login, (role, tenant, batteries) in PEOPLE.items():
        wish = {
            "login": login,
            "name": login.title(),
            "tenant": tenant,
            "role": str(role),
            "batteries": list(batteries),
        }
        await do("account.add", {**wish, "password": kept, "invitation": None, "expires_ms": 0, **BY})


def speaking(name: str, battery: str) -> ScriptedBox:
    box = ScriptedBox(name=name)
    box.hello(battery)
    box.say(Consent(purposes=("history", "passport"), text_version="2026-11"))
    box.charge()
    box.drive()
    box.soh()
    box.usage()
    return box
