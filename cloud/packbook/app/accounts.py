"""Signing in and what follows: `ports.Accounts` over a database that is read here and, where it must be, written by
the running book (see `app.operate`).

In:  what people type, tokens they show, who they are by now.
Out: sessions, keys, accounts; `AccountProblem` where the answer is no. Wrong passwords and unknown names cost the same.
Wrong tries are counted by address and by account. From an address that an account signed in from lately only the
address counts: who guesses from elsewhere cannot lock the right one out.
"""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters import second_step
from packbook.adapters.passwords import Passwords
from packbook.adapters.second_step import AccountVault
from packbook.adapters.store import accounts as shelf
from packbook.adapters.store import open_reader
from packbook.adapters.store.database import Database
from packbook.app.account_acts import ACTS
from packbook.app.operate import Office, OperateError, operate
from packbook.clock import now_ms
from packbook.core import password as rules
from packbook.core import sign_in as limits
from packbook.core.accounts import (
    SCOPES,
    Account,
    AccountAct,
    ApiKey,
    ExternalIdentity,
    May,
    OpenSession,
    Reach,
    Role,
    Visit,
    Who,
    login_of,
)
from packbook.core.enrolment import MS_PER_DAY, WrongTries
from packbook.core.sign_in import digest_of, network_of, new_key, new_token
from packbook.ports import AccountProblem, Begun, Offer, Session
from packbook.settings import Settings

Do = Callable[[str, Mapping[str, Any]], Awaitable[Any]]

TEXT_MAX: Final = 120  # of names, notes and what a browser calls itself
BATTERIES_MAX: Final = 200


class BookAccounts:
    def __init__(
        self,
        database: Database,
        do: Do,
        vault: AccountVault,
        book: str,
        passwords: Passwords | None = None,
        sign_on_only: str | None = None,
    ) -> None:
        """`book`: as authenticator apps show it. `sign_on_only`: the issuer whose people come in by its word alone."""
        self._database = database
        self._do = do
        self._vault = vault
        self._book = book
        self._passwords = passwords or Passwords()
        self._sign_on_only = sign_on_only
        self._by_address = WrongTries(limits.ADDRESS_TRIES_MAX)
        self._by_login = WrongTries(limits.ACCOUNT_TRIES_MAX)
        self._by_code = WrongTries(limits.CODE_TRIES_MAX)

    # --- who comes ----------------------------------------------------------------------------------------------

    async def by_session(self, digest: bytes) -> Session | None:
        now = now_ms()
        async with self._database.transaction() as connection:
            row = await shelf.session_of(connection, digest)
            account = None if row is None else await shelf.of_id(connection, row["account"])
        if row is None or account is None or account.disabled_ms is not None:
            return None
        if now >= row["until_ms"] or now - row["seen_ms"] >= limits.IDLE_MS:
            return None
        if now - row["seen_ms"] >= limits.TOUCH_EVERY_MS:
            await self._do("session.touch", {"digest": digest.hex()})
        return Session(account.who(), row["half"])

    async def by_key(self, digest: bytes) -> Who | None:
        now = now_ms()
        async with self._database.transaction() as connection:
            row = await shelf.key_of(connection, digest)
            account = None if row is None else await shelf.of_id(connection, row["account"])
        if row is None or account is None or account.disabled_ms is not None or row["revoked_ms"] is not None:
            return None
        if row["expires_ms"] is not None and now >= row["expires_ms"]:
            return None
        if now - (row["used_ms"] or 0) >= limits.TOUCH_EVERY_MS:
            await self._do("key.touch", {"prefix": row["prefix"]})
        return account.who(scopes=row["scopes"].split(), key=row["prefix"])

    async def exist(self) -> bool:
        async with self._database.transaction() as connection:
            return any(one.has_password for one in await shelf.all_of(connection, Reach(None)))

    # --- signing in ---------------------------------------------------------------------------------------------

    async def sign_in(self, login: str, password: str, visit: Visit, before: bytes | None = None) -> Begun:
        known = login_of(login) or ""
        async with self._database.transaction() as connection:
            account = await shelf.of_login(connection, known)
            kept = None if account is None else (await shelf.secrets_of(connection, account.account))["password"]
            familiar = account is not None and await shelf.is_familiar(
                connection, account.account, self._address(visit), now_ms()
            )
        self._wait(self._by_address, network_of(visit.address))
        if not familiar:
            self._wait(self._by_login, known)
        right = await self._passwords.belongs(password[: rules.LENGTH_MAX + 1], kept)
        if account is None or not right or account.disabled_ms is not None:
            self._by_address.count(network_of(visit.address), now_ms())
            if not familiar:
                self._by_login.count(known, now_ms())
            await self._failed(account, visit, "wrong password" if account is not None else "unknown name")
            raise AccountProblem("wrong", "name and password do not belong together")
        if await self._comes_by_sign_on(account):
            await self._failed(account, visit, "a password, where the issuer's word is asked for")
            raise AccountProblem("elsewhere", "this account signs in through its identity provider")
        if kept is not None and self._passwords.is_old(kept):
            fresh = await self._passwords.hash(password)
            await self._do("account.rehash", {"account": account.account, "password": fresh})
        return await self._begin(account, visit, half=account.has_totp, by="with a password", before=before)

    async def _comes_by_sign_on(self, account: Account) -> bool:
        if self._sign_on_only is None:
            return False
        async with self._database.transaction() as connection:
            known = await shelf.identities_of(connection, account.account)
        return any(one.issuer == self._sign_on_only for one in known)

    async def second_step(self, digest: bytes, typed: str, visit: Visit) -> Begun:
        now = now_ms()
        async with self._database.transaction() as connection:
            row = await shelf.session_of(connection, digest)
            if row is None or not row["half"] or now >= row["until_ms"]:
                raise AccountProblem("expired", "that took too long: begin again with the password")
            account = await _must_be(connection, row["account"])
            kept = await shelf.secrets_of(connection, account.account)
        self._wait(self._by_code, account.account)
        step = None
        if kept["totp"] is not None and typed.strip().replace(" ", "").isdigit():
            secret = self._vault.open(account.account, kept["totp"])
            step = second_step.step_of(secret, typed, now, kept["totp_step"])
        token = new_token()
        wish = self._session(account, token, visit, half=False) | {
            "before": digest.hex(),
            "step": step,
            "recovery": second_step.recovery_digest(account.account, typed).hex(),
        }
        if account.disabled_ms is not None or not await self._do("session.whole", wish):
            self._by_code.count(account.account, now)
            await self._failed(account, visit, "wrong second step")
            raise AccountProblem("code", "this code is wrong or was used")
        return Begun(token, half=False, language=account.language)

    async def vouched(
        self, account: str, visit: Visit, by: str, before: bytes | None = None, *, second_step: bool = False
    ) -> Begun:
        async with self._database.transaction() as connection:
            found = await _must_be(connection, account)
        if found.disabled_ms is not None:
            raise AccountProblem("wrong", f"{found.login} is disabled")
        return await self._begin(found, visit, half=second_step and found.has_totp, by=by, before=before)

    async def known_as(self, issuer: str, subject: str) -> Account | None:
        async with self._database.transaction() as connection:
            return await shelf.of_identity(connection, issuer, subject)

    async def identities(self, who: Who) -> Sequence[ExternalIdentity]:
        async with self._database.transaction() as connection:
            return await shelf.identities_of(connection, who.account or "")

    async def prove(self, who: Who, password: str, visit: Visit) -> None:
        await self._proven(who, password, visit)

    async def unbind(self, who: Who, issuer: str, password: str, visit: Visit, here: bytes | None) -> None:
        if issuer == self._sign_on_only:
            raise AccountProblem("elsewhere", "in this book nobody unbinds himself")
        account = await self._proven(who, password, visit)
        wish = {"account": account.account, "issuer": issuer, "here": None if here is None else here.hex()}
        await self._do("identity.unbind", wish | self._by(account.login, visit))

    async def sign_out(self, digest: bytes, visit: Visit) -> None:
        async with self._database.transaction() as connection:
            row = await shelf.session_of(connection, digest)
            account = None if row is None else await shelf.of_id(connection, row["account"])
        if account is not None:
            wish = {"account": account.account, "only": digest.hex(), "but": None}
            await self._do("session.end", wish | self._by(account.login, visit))

    # --- invitations --------------------------------------------------------------------------------------------

    async def invited(self, digest: bytes) -> Account | None:
        async with self._database.transaction() as connection:
            found = await shelf.invited(connection, digest, now_ms())
        return None if found is None or found.disabled_ms is not None else found

    async def accept(self, digest: bytes, password: str, visit: Visit) -> None:
        account = await self.invited(digest)
        if account is None:
            raise AccountProblem("invitation", "this link was used or is too old")
        await self._keep_password(account, password, account.login, visit, digest, None)

    # --- one's own ----------------------------------------------------------------------------------------------

    async def account(self, who: Who) -> Account:
        async with self._database.transaction() as connection:
            return await _must_be(connection, who.account)

    async def sessions(self, who: Who) -> Sequence[OpenSession]:
        now = now_ms()
        async with self._database.transaction() as connection:
            found = await shelf.sessions_of(connection, who.account or "")
        return [one for one in found if now < one.until_ms and now - one.seen_ms < limits.IDLE_MS]

    async def end_sessions(self, who: Who, visit: Visit, only: str | None, but: bytes | None) -> None:
        account = await self.account(who)
        wish = {"account": account.account, "only": only, "but": None if but is None else but.hex()}
        await self._do("session.end", wish | self._by(account.login, visit))

    async def set_password(self, who: Who, old: str, new: str, visit: Visit, here: bytes | None) -> None:
        account = await self._proven(who, old, visit)
        await self._keep_password(account, new, account.login, visit, None, here)

    async def set_language(self, who: Who, language: str) -> None:
        await self._do("account.language", {"account": who.account, "language": language})

    async def offer_totp(self, who: Who) -> Offer:
        account = await self.account(who)
        secret = second_step.new_secret()
        drawing = second_step.drawing(second_step.app_address(secret, account.login, self._book))
        return Offer(secret, self._vault.seal(account.account, secret).hex(), drawing)

    async def set_totp(self, who: Who, sealed: str, typed: str, visit: Visit, here: bytes | None) -> Sequence[str]:
        account = await self.account(who)
        try:
            secret = self._vault.open(account.account, bytes.fromhex(sealed))
        except (second_step.VaultError, ValueError) as problem:
            raise AccountProblem("code", "this form is not ours") from problem
        self._wait(self._by_code, account.account)
        step = second_step.step_of(secret, typed, now_ms(), None)
        if step is None:
            self._by_code.count(account.account, now_ms())
            raise AccountProblem("code", "this is not the app's code of now")
        codes = second_step.recovery_codes()
        digests = [second_step.recovery_digest(account.account, code).hex() for code in codes]
        await self._keep_totp(account, visit, sealed, step, digests, here)
        return codes

    async def drop_totp(self, who: Who, password: str, visit: Visit) -> None:
        account = await self._proven(who, password, visit)
        await self._keep_totp(account, visit, None, None, [], None)

    async def recovery_left(self, who: Who) -> int:
        async with self._database.transaction() as connection:
            return await shelf.recovery_left(connection, who.account or "")

    async def keys(self, who: Who) -> Sequence[ApiKey]:
        async with self._database.transaction() as connection:
            return await shelf.keys_of(connection, [who.account or ""])

    async def new_key(self, who: Who, note: str, scopes: Sequence[str], days: int, visit: Visit) -> str:
        account = await self.account(who)
        return await self.key_for(account, note, scopes, days, self._by(account.login, visit))

    async def key_for(
        self, account: Account, note: str, scopes: Sequence[str], days: int, by: Mapping[str, object]
    ) -> str:
        may = account.who().may
        wanted = sorted(set(scopes))
        if not wanted or any(scope not in SCOPES or not SCOPES[scope] <= may for scope in wanted):
            raise AccountProblem(
                "scope", f"{account.login} may have keys for {', '.join(scopes_of(account)) or 'nothing'}"
            )
        if not 1 <= days <= 3650:
            raise AccountProblem("unusable", "a key is valid for 1 to 3650 days")
        prefix, key = new_key()
        wish = {
            "prefix": prefix,
            "account": account.account,
            "note": _text(note),
            "scopes": " ".join(wanted),
            "expires_ms": now_ms() + days * MS_PER_DAY,
            "digest": digest_of(key).hex(),
        }
        await self._do("key.new", wish | dict(by))
        return key

    async def revoke_key(self, who: Who, prefix: str, visit: Visit) -> None:
        if prefix not in {key.prefix for key in await self.keys(who)}:
            raise AccountProblem("unknown", "there is no such key")
        account = await self.account(who)
        await self._do("key.revoke", {"prefix": prefix} | self._by(account.login, visit))

    # --- others' ------------------------------------------------------------------------------------------------

    async def others(self, who: Who) -> Sequence[Account]:
        async with self._database.transaction() as connection:
            return await shelf.all_of(connection, Reach(_tenant(who)))

    async def acts(self, who: Who, limit: int) -> Sequence[AccountAct]:
        async with self._database.transaction() as connection:
            return await shelf.acts(connection, Reach(_tenant(who)), limit)

    async def invite(self, who: Who, login: str, name: str, role: Role, batteries: Sequence[str], visit: Visit) -> str:
        me = await self.account(who)
        return await self.add(login, name, me.tenant, role, batteries, self._by(me.login, visit))

    async def invite_again(self, who: Who, account: str, visit: Visit) -> str:
        me, other = await self._mine(who, account)
        return await self.invitation(other, self._by(me.login, visit))

    async def set_role(self, who: Who, account: str, role: Role, batteries: Sequence[str], visit: Visit) -> None:
        me, other = await self._mine(who, account)
        named = await self.usable(other.tenant, role, batteries)
        wish = {"account": other.account, "role": str(role), "batteries": named}
        await self._decide("account.role", wish | self._by(me.login, visit))

    async def set_disabled(self, who: Who, account: str, disabled: bool, visit: Visit) -> None:
        me, other = await self._mine(who, account)
        await self._decide(
            "account.disable", {"account": other.account, "disabled": disabled} | self._by(me.login, visit)
        )

    async def add(
        self,
        login: str,
        name: str,
        tenant: str,
        role: Role,
        batteries: Sequence[str],
        by: Mapping[str, object],
        password: str | None = None,
    ) -> str:
        """The token of an invitation; with a `password` the account's id."""
        known = login_of(login)
        if known is None:
            raise AccountProblem("login", f"{login!r}: not usable as a name to sign in with")
        async with self._database.transaction() as connection:
            if await shelf.of_login(connection, known) is not None:
                raise AccountProblem("taken", f"{known}: there is such an account")
        named = await self.usable(tenant, role, batteries)
        token = new_token()
        kept = None if password is None else await self._new_hash(password, known, name)
        wish = {
            "login": known,
            "name": _text(name) or known,
            "tenant": tenant,
            "role": str(role),
            "batteries": named,
            "password": kept,
            "invitation": None if kept is not None else digest_of(token).hex(),
            "expires_ms": now_ms() + limits.INVITATION_MS,
        }
        made: str = await self._decide("account.add", wish | dict(by))
        return token if kept is None else made

    async def invitation(self, account: Account, by: Mapping[str, object]) -> str:
        """The token of a link to set a new password by; earlier ones open nothing any more."""
        token = new_token()
        wish = {"account": account.account, "invitation": digest_of(token).hex()}
        await self._do("account.invite", wish | {"expires_ms": now_ms() + limits.INVITATION_MS} | dict(by))
        return token

    async def put_password(self, account: Account, password: str, by: Mapping[str, object]) -> None:
        """On an operator's word."""
        kept = await self._new_hash(password, account.login, account.name)
        wish = {"account": account.account, "password": kept, "invitation": None, "here": None}
        await self._do("account.password", wish | dict(by))

    async def usable(self, tenant: str, role: Role, batteries: Sequence[str]) -> list[str]:
        """Batteries are named for owners alone, and only the tenant's own."""
        if role is not Role.OWNER:
            return []
        async with self._database.transaction() as connection:
            known = set(await shelf.batteries_of(connection, tenant))
        named = sorted(set(batteries))
        strange = [battery for battery in named if battery not in known]
        if strange or len(named) > BATTERIES_MAX:
            raise AccountProblem("batteries", f"{', '.join(strange) or 'too many batteries'}: not of this tenant")
        return named

    async def _mine(self, who: Who, account: str) -> tuple[Account, Account]:
        """The admin, and another account of his tenant."""
        me = await self.account(who)
        async with self._database.transaction() as connection:
            other = await shelf.of_id(connection, account)
        if other is None or other.tenant != _tenant(who):
            raise AccountProblem("unknown", "there is no such account")
        return me, other

    async def _decide(self, act: str, wish: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        try:
            return await self._do(act, wish)
        except OperateError as problem:
            raise AccountProblem("refused", str(problem)) from problem

    # --- helpers ------------------------------------------------------------------------------------------------

    async def _begin(self, account: Account, visit: Visit, *, half: bool, by: str, before: bytes | None) -> Begun:
        token = new_token()
        wish = self._session(account, token, visit, half=half)
        await self._do("session.begin", wish | {"before": None if before is None else before.hex(), "by": by})
        return Begun(token, half, account.language)

    def _session(self, account: Account, token: str, visit: Visit, *, half: bool) -> dict[str, object]:
        return {
            "digest": digest_of(token).hex(),
            "account": account.account,
            "half": half,
            "until_ms": now_ms() + (limits.HALF_MS if half else limits.LONGEST_MS),
            "device": _text(visit.device),
            **self._by(account.login, visit),
        }

    async def _proven(self, who: Who, password: str, visit: Visit) -> Account:
        """Whoever sits here knows the password, too. Raises AccountProblem."""
        account = await self.account(who)
        self._wait(self._by_code, account.account)
        async with self._database.transaction() as connection:
            kept = (await shelf.secrets_of(connection, account.account))["password"]
        if not await self._passwords.belongs(password[: rules.LENGTH_MAX + 1], kept):
            self._by_code.count(account.account, now_ms())
            await self._failed(account, visit, "wrong password while signed in")
            raise AccountProblem("password", "this is not the present password")
        return account

    async def _new_hash(self, password: str, *names: str) -> str:
        why = rules.refused(password, *names)
        if why is not None:
            raise AccountProblem(why, WHY[why])
        return await self._passwords.hash(password)

    async def _keep_password(
        self, account: Account, password: str, by: str, visit: Visit, invitation: bytes | None, here: bytes | None
    ) -> None:
        wish = {
            "account": account.account,
            "password": await self._new_hash(password, account.login, account.name),
            "invitation": None if invitation is None else invitation.hex(),
            "here": None if here is None else here.hex(),
        }
        if not await self._do("account.password", wish | self._by(by, visit)):
            raise AccountProblem("invitation", "this link was used meanwhile")

    async def _keep_totp(
        self,
        account: Account,
        visit: Visit,
        sealed: str | None,
        step: int | None,
        recovery: Sequence[str],
        here: bytes | None,
    ) -> None:
        wish = {"account": account.account, "sealed": sealed, "step": step, "recovery": list(recovery)}
        wish["here"] = None if here is None else here.hex()
        await self._do("account.totp", wish | self._by(account.login, visit))

    async def _failed(self, account: Account | None, visit: Visit, why: str) -> None:
        wish = {"account": None if account is None else account.account, "why": why}
        await self._do("account.failed", wish | self._by("" if account is None else account.login, visit))

    def _by(self, who: str, visit: Visit) -> dict[str, object]:
        return {"who": who, "address": self._address(visit)}

    def _address(self, visit: Visit) -> str:
        return self._vault.address(network_of(visit.address))

    def _wait(self, tries: WrongTries, of: str) -> None:
        wait_ms = tries.wait_ms(of, now_ms())
        if wait_ms > 0:
            raise AccountProblem("wait", "too many wrong tries; wait", wait_s=wait_ms // 1000 + 1)


WHY: Final = {
    "short": f"a password has at least {rules.LENGTH_MIN} characters; a few words make one",
    "unusable": f"a password has at most {rules.LENGTH_MAX} characters, none of them invisible",
    "common": "this is among the first that anybody would try",
}


def scopes_of(account: Account) -> list[str]:
    """What his keys can be for."""
    return [scope for scope, needed in SCOPES.items() if needed <= account.who().may]


async def _must_be(connection: AsyncConnection, account: str | None) -> Account:
    found = None if account is None else await shelf.of_id(connection, account)
    if found is None:
        raise AccountProblem("unknown", "there is no such account")
    return found


def _tenant(who: Who) -> str:
    """An admin's. Nobody without a tenant administers anything."""
    if who.tenant is None or May.ADMINISTER not in who.may:
        raise AccountProblem("unknown", "not with what this account may do")
    return who.tenant


def _text(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).strip()[:TEXT_MAX]


def doing(office: Office, *, own: bool) -> Do:
    """How acts are done. `own`: this process may write the database; else the one that writes it is asked to."""
    if not own and office.database.is_sqlite:
        return partial(operate, office.settings, ACTS)

    async def do(act: str, wish: Mapping[str, Any]) -> object:
        return await ACTS[act](office, wish)

    return do


def own_accounts(office: Office) -> BookAccounts:
    """For a process that may write the database."""
    return _accounts(office, own=True)


def accounts_beside(settings: Settings, database: Database) -> BookAccounts:
    """For a process that reads it beside the one that writes."""
    return _accounts(Office(database, settings), own=False)


def _accounts(office: Office, *, own: bool) -> BookAccounts:
    settings = office.settings
    vault = AccountVault(settings.accounts_key)
    only = settings.oidc_issuer if settings.oidc_only else None
    return BookAccounts(office.database, doing(office, own=own), vault, "Packbook", sign_on_only=only)


@dataclass(frozen=True, slots=True)
class OperatorsOwn:
    """Accounts as whoever runs the book works with them."""

    accounts: BookAccounts
    database: Database
    by: dict[str, object]


@asynccontextmanager
async def operators_accounts(settings: Settings) -> AsyncIterator[OperatorsOwn]:
    """For commands, beside a running book or without one; an empty database gets its schema. Raises PackbookError."""
    await operate(settings, ACTS, "tenant.list", {})
    async with open_reader(settings.database_url.get_secret_value()) as database:
        yield OperatorsOwn(accounts_beside(settings, database), database, on_the_spot())


def on_the_spot() -> dict[str, object]:
    """Who does it, for the record: a user of this machine."""
    return {"who": f"{getpass.getuser()} (command)", "address": None}
