"""One's own account, and others' for an admin: `ports.Accounts` over a database that is read here and, where it must
be, written by the running book (see `app.operate`).

In:  who somebody is by now, and what he wants changed. Out: sessions, keys, accounts; `AccountProblem` where the answer
is no. How they came in is `app.signing_in`.
"""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from packbook.adapters import second_step
from packbook.adapters.second_step import AccountVault
from packbook.adapters.store import accounts as shelf
from packbook.adapters.store import open_reader
from packbook.adapters.store.database import Database
from packbook.app.account_acts import ACTS
from packbook.app.operate import Office, OperateError, doing, operate
from packbook.app.signing_in import SigningIn, must_be, text_of
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
from packbook.core.enrolment import MS_PER_DAY
from packbook.core.sign_in import digest_of, new_key, new_token
from packbook.ports.accounts import AccountProblem, Offer
from packbook.settings import Settings

BATTERIES_MAX: Final = 200


class BookAccounts(SigningIn):
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
            return await must_be(connection, who.account)

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
            "note": text_of(note),
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

    # --- one's identities elsewhere -----------------------------------------------------------------------------

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
            "name": text_of(name) or known,
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


WHY: Final = {
    "short": f"a password has at least {rules.LENGTH_MIN} characters; a few words make one",
    "unusable": f"a password has at most {rules.LENGTH_MAX} characters, none of them invisible",
    "common": "this is among the first that anybody would try",
}


def scopes_of(account: Account) -> list[str]:
    """What his keys can be for."""
    return [scope for scope, needed in SCOPES.items() if needed <= account.who().may]


def _tenant(who: Who) -> str:
    """An admin's. Nobody without a tenant administers anything."""
    if who.tenant is None or May.ADMINISTER not in who.may:
        raise AccountProblem("unknown", "not with what this account may do")
    return who.tenant


def accounts_of(office: Office, *, own: bool) -> BookAccounts:
    """`own`: see `app.operate.doing`."""
    settings = office.settings
    vault = AccountVault(settings.accounts_key)
    only = settings.oidc_issuer if settings.oidc_only else None
    return BookAccounts(office.database, doing(office, ACTS, own=own), vault, "Packbook", sign_on_only=only)


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
        yield OperatorsOwn(accounts_of(Office(database, settings), own=False), database, on_the_spot())


def on_the_spot() -> dict[str, object]:
    """Who does it, for the record: a user of this machine."""
    return {"who": f"{getpass.getuser()} (command)", "address": None}
