"""Signing in, out, and being recognised: the part of `ports.Accounts` that stands at the door.

In:  what people type, tokens they show. Out: sessions; `AccountProblem` where the answer is no. Wrong passwords and
unknown names cost the same. Wrong tries are counted by address and by account. From an address that an account signed
in from lately only the address counts: who guesses from elsewhere cannot lock the right one out.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from packbook.adapters import second_step
from packbook.adapters.passwords import Passwords
from packbook.adapters.second_step import AccountVault
from packbook.adapters.store import accounts as shelf
from packbook.adapters.store.database import Database
from packbook.app.operate import Do
from packbook.clock import now_ms
from packbook.core import password as rules
from packbook.core import sign_in as limits
from packbook.core.accounts import Account, Reach, Visit, Who, login_of
from packbook.core.enrolment import WrongTries
from packbook.core.sign_in import digest_of, network_of, new_token
from packbook.ports.accounts import AccountProblem, Begun, Session

TEXT_MAX: Final = 120  # of names, notes and what a browser calls itself


class SigningIn:
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
            account = await must_be(connection, row["account"])
            kept = await shelf.secrets_of(connection, account.account)
        self._wait(self._by_code, account.account)
        step = None
        if kept["totp"] is not None and typed.strip().replace(" ", "").isdigit():
            secret = self._vault.open(account.account, kept["totp"])
            step = second_step.step_of(secret, typed, now, kept["totp_step"])
        token = new_token()
        by_word = not account.has_password or await self._comes_by_sign_on(account)
        longest_ms = limits.SIGN_ON_MS if by_word else limits.LONGEST_MS
        wish = self._session(account, token, visit, longest_ms, half=False) | {
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
        self, account: str, visit: Visit, by: str, before: bytes | None = None, *, sign_on: bool = False
    ) -> Begun:
        async with self._database.transaction() as connection:
            found = await must_be(connection, account)
        if found.disabled_ms is not None:
            raise AccountProblem("wrong", f"{found.login} is disabled")
        longest_ms = limits.SIGN_ON_MS if sign_on else limits.LONGEST_MS
        half = sign_on and found.has_totp
        return await self._begin(found, visit, half=half, by=by, before=before, longest_ms=longest_ms)

    async def known_as(self, issuer: str, subject: str) -> Account | None:
        async with self._database.transaction() as connection:
            return await shelf.of_identity(connection, issuer, subject)

    async def sign_out(self, digest: bytes, visit: Visit) -> None:
        async with self._database.transaction() as connection:
            row = await shelf.session_of(connection, digest)
            account = None if row is None else await shelf.of_id(connection, row["account"])
        if account is not None:
            wish = {"account": account.account, "only": digest.hex(), "but": None}
            await self._do("session.end", wish | self._by(account.login, visit))

    # --- helpers ------------------------------------------------------------------------------------------------

    async def _begin(
        self,
        account: Account,
        visit: Visit,
        *,
        half: bool,
        by: str,
        before: bytes | None,
        longest_ms: int = limits.LONGEST_MS,
    ) -> Begun:
        token = new_token()
        wish = self._session(account, token, visit, limits.HALF_MS if half else longest_ms, half=half)
        await self._do("session.begin", wish | {"before": None if before is None else before.hex(), "by": by})
        return Begun(token, half, account.language)

    def _session(self, account: Account, token: str, visit: Visit, longest_ms: int, *, half: bool) -> dict[str, object]:
        return {
            "digest": digest_of(token).hex(),
            "account": account.account,
            "half": half,
            "until_ms": now_ms() + longest_ms,
            "device": text_of(visit.device),
            **self._by(account.login, visit),
        }

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


async def must_be(connection: AsyncConnection, account: str | None) -> Account:
    found = None if account is None else await shelf.of_id(connection, account)
    if found is None:
        raise AccountProblem("unknown", "there is no such account")
    return found


def text_of(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).strip()[:TEXT_MAX]
