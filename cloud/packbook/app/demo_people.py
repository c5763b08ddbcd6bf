"""The demo's people: an owner, an operator and an admin of one firm, and somebody of another firm who sees none of it.

In:  the demo's settings and batteries, before the book runs. Out: accounts with passwords drawn anew each time, one
click to look as any of them (`create_app`, `looks`), and a key for each firm for programs.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from packbook.adapters.store import accounts as shelf
from packbook.adapters.store import enrolment, open_reader, open_writer
from packbook.adapters.store.histories import SqlHistories
from packbook.app.account_acts import ACTS
from packbook.app.accounts import BookAccounts, accounts_of, on_the_spot, scopes_of
from packbook.app.enrolment import ACTS as BOX_ACTS
from packbook.app.operate import Office, operate
from packbook.core.accounts import FIRST_TENANT, Account, Role
from packbook.settings import Settings

OTHER: Final = "another-firm"
OTHER_LABEL: Final = "Another firm, made up"
PEOPLE: Final = {
    "owner": (Role.OWNER, FIRST_TENANT),
    "operator": (Role.OPERATOR, FIRST_TENANT),
    "admin": (Role.ADMIN, FIRST_TENANT),
    "other": (Role.ADMIN, OTHER),
}
PASSWORD_BYTES: Final = 12
KEY_DAYS: Final = 2
ASK_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class People:
    looks: dict[str, str]  # account ids by login
    passwords: dict[str, str]
    keys: tuple[str, ...]  # of the firm's admin, and of the other firm's


async def make_people(settings: Settings, owned: Sequence[str]) -> People:
    """`owned`: batteries of the owner. A data folder that is used again has its people already."""
    by = on_the_spot()
    looks: dict[str, str] = {}
    passwords = {login: secrets.token_urlsafe(PASSWORD_BYTES) for login in PEOPLE}
    async with open_writer(settings.database_url.get_secret_value(), settings.collector_name) as database:
        office = Office(database, settings)
        accounts = accounts_of(office, own=True)
        await ACTS["tenant.keep"](office, {"tenant": OTHER, "label": OTHER_LABEL, **by})
        await ACTS["fleet.keep"](office, {"fleet": OTHER, "tenant": OTHER, **by})
        for login, (role, tenant) in PEOPLE.items():
            async with database.transaction() as connection:
                known = await shelf.of_login(connection, login)
            if known is None:
                looks[login] = await accounts.add(login, login.title(), tenant, role, [], by, passwords[login])
            else:
                looks[login] = known.account
                await accounts.put_password(known, passwords[login], by)
        async with database.transaction() as connection:  # not heard of yet, so nobody could name them
            await shelf.set_batteries(connection, looks["owner"], owned)
            admins = [await shelf.of_login(connection, login) for login in ("admin", "other")]
        keys = [await _key_of(accounts, account) for account in admins if account is not None]
    return People(looks, passwords, tuple(keys))


async def _key_of(accounts: BookAccounts, account: Account) -> str:
    return await accounts.key_for(
        account, "the demo's progress, and yours", scopes_of(account), KEY_DAYS, on_the_spot()
    )


async def give_away(settings: Settings, battery: str) -> None:
    """Its box is the other firm's, from as soon as the book has heard of it."""
    boxes: Sequence[str] = ()
    while not boxes:
        await asyncio.sleep(ASK_EVERY_S)
        boxes = await _boxes_of(settings, battery)
    for box in boxes:
        if not await _is_enrolled(settings, box):
            await operate(settings, BOX_ACTS, "box.adopt", {"box": box, "fleet": OTHER})


async def _boxes_of(settings: Settings, battery: str) -> Sequence[str]:
    async with open_reader(settings.database_url.get_secret_value()) as database:
        known = await SqlHistories(database).battery(battery)
    return () if known is None else known.boxes


async def _is_enrolled(settings: Settings, box: str) -> bool:
    async with open_reader(settings.database_url.get_secret_value()) as database, database.transaction() as connection:
        return await enrolment.box_of(connection, box) is not None
