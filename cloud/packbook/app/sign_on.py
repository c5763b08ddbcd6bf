"""Sign-in by an identity provider's word: `ports.SignOn` over `adapters.identity_provider` and the book's accounts.

In:  browsers that go there and come back; claims that were checked.
Out: a session of the account that is meant; or AccountProblem.
A subject of the issuer is bound to one account, and after that only the subject counts. Before it, a verified e-mail
address finds an account that was invited and has no password yet; whoever has a password shows it first, so that the
issuer's word alone takes over nobody. Rules (`oidc_roles`) may make accounts, and lead those they made.
What a browser must bring back is sealed in its cookie: nothing is kept here for who never returns.
"""

from __future__ import annotations

import hmac
import json
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from packbook.adapters.identity_provider import IdentityProvider, Relying, Trip
from packbook.adapters.second_step import AccountVault, VaultError
from packbook.adapters.store import accounts as shelf
from packbook.app.account_acts import ACTS
from packbook.app.accounts import BookAccounts
from packbook.app.operate import Do, Office, OperateError, doing
from packbook.clock import now_ms
from packbook.core import sign_in as limits
from packbook.core.accounts import Account, ExternalIdentity, Role, Visit, Who
from packbook.core.enrolment import WrongTries
from packbook.core.sign_in import network_of, new_token
from packbook.core.sign_on import FLOW_MS, RoleRule, Stranger, lacking, rule_for, stranger_of
from packbook.ports.accounts import AccountProblem, Begun, Departure, Homecoming
from packbook.ports.trouble import PackbookError

PURPOSE: Final = "sign-on"  # what the cookie is sealed for; account ids are hex digits
USED_MAX: Final = 10_000  # trips that are remembered as over
ONWARD_MAX: Final = 1024  # characters, so that the cookie stays a cookie


class BookSignOn:
    def __init__(self, office: Office, do: Do, accounts: BookAccounts, provider: IdentityProvider) -> None:
        settings = office.settings
        self._settings = settings
        self._database = office.database
        self._do = do
        self._accounts = accounts
        self._provider = provider
        self._vault = AccountVault(settings.accounts_key)
        self._rules = [RoleRule(**rule.model_dump()) for rule in settings.oidc_roles]
        self._used: OrderedDict[str, None] = OrderedDict()
        self._by_address = WrongTries(limits.ADDRESS_TRIES_MAX)

    @property
    def name(self) -> str:
        return self._settings.oidc_name

    @property
    def issuer(self) -> str:
        return self._provider.issuer

    @property
    def required(self) -> bool:
        return self._settings.oidc_only

    async def depart(self, back: str, onward: str, *, prompt: str | None = None, bind: Who | None = None) -> Departure:
        trip = Trip(new_token(), new_token(), new_token(), back)
        address = await self._provider.there(trip, prompt)
        kept = {
            "trip": asdict(trip),
            "onward": onward if len(onward) <= ONWARD_MAX else "/",
            "bind": None if bind is None else bind.account,
            "until_ms": now_ms() + FLOW_MS,
        }
        return Departure(address, self._vault.seal(PURPOSE, json.dumps(kept)).hex())

    async def arrive(
        self, sealed: str, told: Mapping[str, str], back: str, who: Who, visit: Visit, before: bytes | None
    ) -> Homecoming:
        self._wait(visit)
        try:
            return await self._arrived(sealed, told, back, who, visit, before)
        except AccountProblem as problem:
            if problem.kind not in ("oidc_away", "oidc_denied"):
                self._by_address.count(network_of(visit.address), now_ms())
            raise

    async def ending(self, back: str) -> str | None:
        return await self._provider.ending(back)

    async def _arrived(
        self, sealed: str, told: Mapping[str, str], back: str, who: Who, visit: Visit, before: bytes | None
    ) -> Homecoming:
        kept = self._opened(sealed)
        trip = Trip(**kept["trip"])
        if trip.back != back or not hmac.compare_digest(told.get("state", "").encode(), trip.state.encode()):
            raise AccountProblem("oidc_expired", "this way back was not begun by this browser")
        self._use_up(trip.state)
        await self._provider.check_sender(told.get("iss"))
        if "error" in told or not told.get("code"):
            raise AccountProblem("oidc_denied", f"{self.issuer}: did not sign anybody in")
        claims = await self._provider.claims(told["code"], trip, partial(lacking, rules=self._rules))
        stranger = stranger_of(self.issuer, claims)
        if stranger is None:
            raise AccountProblem("oidc_wrong", f"{self.issuer}: these claims name nobody")
        if kept["bind"] is not None:
            await self._bind_own(stranger, kept["bind"], who, visit)
            return Homecoming(None, kept["onward"])
        return Homecoming(await self._come_in(stranger, visit, before), kept["onward"])

    def _opened(self, sealed: str) -> dict[str, Any]:
        """What the browser took along. Raises AccountProblem."""
        try:
            kept: dict[str, Any] = json.loads(self._vault.open(PURPOSE, bytes.fromhex(sealed)))
        except (VaultError, ValueError) as problem:
            raise AccountProblem("oidc_expired", "this way back was not begun by this browser") from problem
        if now_ms() >= kept["until_ms"]:
            raise AccountProblem("oidc_expired", "that took too long")
        return kept

    def _use_up(self, state: str) -> None:
        """Each way there leads back once. Whoever restarts the book in between has the provider's word for that."""
        if state in self._used:
            raise AccountProblem("oidc_expired", "this way back was used")
        self._used[state] = None
        while len(self._used) > USED_MAX:
            self._used.popitem(last=False)

    # --- who it is ----------------------------------------------------------------------------------------------

    async def _come_in(self, stranger: Stranger, visit: Visit, before: bytes | None) -> Begun:
        account = await self._accounts.known_as(stranger.issuer, stranger.subject)
        if account is None:
            account = await self._first_time(stranger, visit)
        elif account.disabled_ms is None:
            await self._follow_rules(account, stranger, visit)
        if account.disabled_ms is not None:
            await self._failed(account, visit, "disabled")
            raise AccountProblem("oidc_unknown", f"{account.login} is disabled")
        by = f"through {stranger.issuer}"
        return await self._accounts.vouched(account.account, visit, by, before, sign_on=True)

    async def _first_time(self, stranger: Stranger, visit: Visit) -> Account:
        """Bound now, or made by a rule and bound. Raises AccountProblem."""
        async with self._database.transaction() as connection:
            account = None if stranger.email is None else await shelf.of_login(connection, stranger.email)
            known = [] if account is None else await shelf.identities_of(connection, account.account)
        if account is None:
            return await self._made_by_rule(stranger, visit)
        if account.disabled_ms is not None or any(one.issuer == stranger.issuer for one in known):
            # An address that was given to somebody else over there is not his account here.
            await self._failed(account, visit, "another subject, or disabled")
            raise AccountProblem("oidc_unknown", "there is no account here for this identity")
        if account.has_password:
            await self._failed(account, visit, "has a password and was not bound with it")
            raise AccountProblem("oidc_bind_first", f"{account.login}: sign in with the password, and bind it then")
        await self._bind(stranger, account, visit, proven=False)
        return account

    async def _made_by_rule(self, stranger: Stranger, visit: Visit) -> Account:
        rule = rule_for(self._rules, stranger)
        if rule is None:
            await self._failed(None, visit, f"unknown to us: a subject of {stranger.issuer}")
            raise AccountProblem("oidc_unknown", "there is no account here for this identity")
        wish = {"login": stranger.login, "name": stranger.name or stranger.login, "tenant": rule.tenant}
        wish |= {"role": str(rule.role), "issuer": stranger.issuer, "subject": stranger.subject}
        await self._decide("identity.map", wish | self._by(stranger.login, visit))
        account = await self._accounts.known_as(stranger.issuer, stranger.subject)
        assert account is not None
        return account

    async def _follow_rules(self, account: Account, stranger: Stranger, visit: Visit) -> None:
        """Of accounts that a rule made, while there are rules. Whom none fits any more stays outside.

        Raises AccountProblem.
        """
        async with self._database.transaction() as connection:
            known = await shelf.identities_of(connection, account.account)
        if not self._rules or account.role is Role.ADMIN or not _is_mapped(known, stranger):
            return
        rule = rule_for(self._rules, stranger)
        if rule is None or rule.tenant != account.tenant:
            await self._failed(account, visit, "no rule gives this account a role now")
            raise AccountProblem("oidc_unknown", f"{account.login}: no rule gives a role now")
        if rule.role is not account.role:
            wish = {"account": account.account, "role": str(rule.role)}
            await self._decide("identity.follow", wish | self._by(account.login, visit))

    async def _bind_own(self, stranger: Stranger, to: str, who: Who, visit: Visit) -> None:
        """To whoever is signed in, and showed his password when he left."""
        if who.account != to:
            raise AccountProblem("oidc_expired", "somebody else is signed in by now")
        account = await self._accounts.account(who)
        await self._bind(stranger, account, visit, proven=True)

    async def _bind(self, stranger: Stranger, account: Account, visit: Visit, *, proven: bool) -> None:
        wish = {"account": account.account, "issuer": stranger.issuer, "subject": stranger.subject, "proven": proven}
        await self._decide("identity.bind", wish | self._by(account.login, visit))

    # --- helpers ------------------------------------------------------------------------------------------------

    async def _decide(self, act: str, wish: Mapping[str, Any]) -> None:
        try:
            await self._do(act, wish)
        except OperateError as problem:
            raise AccountProblem("oidc_taken", str(problem)) from problem

    async def _failed(self, account: Account | None, visit: Visit, why: str) -> None:
        wish = {"account": None if account is None else account.account, "why": f"{why} ({self.issuer})"}
        await self._do("account.failed", wish | self._by("" if account is None else account.login, visit))

    def _by(self, who: str, visit: Visit) -> dict[str, object]:
        return {"who": who, "address": self._vault.address(network_of(visit.address))}

    def _wait(self, visit: Visit) -> None:
        wait_ms = self._by_address.wait_ms(network_of(visit.address), now_ms())
        if wait_ms > 0:
            raise AccountProblem("wait", "too many wrong tries; wait", wait_s=wait_ms // 1000 + 1)


def _is_mapped(known: Sequence[ExternalIdentity], stranger: Stranger) -> bool:
    return any(one.mapped and (one.issuer, one.subject) == (stranger.issuer, stranger.subject) for one in known)


class SignOnError(PackbookError):
    """The identity provider cannot be asked as it is set. Nobody can sign in through it; passwords still open."""


def sign_on_for(office: Office, accounts: BookAccounts, *, own: bool) -> BookSignOn | None:
    """None: there is no identity provider. `own`: see `app.operate.doing`. Raises SignOnError."""
    settings = office.settings
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    secret = None if settings.oidc_client_secret is None else settings.oidc_client_secret.get_secret_value()
    relying = Relying(settings.oidc_issuer, settings.oidc_client_id, secret, settings.oidc_scopes)
    try:
        context = ssl.create_default_context(cafile=settings.oidc_ca_file)
    except OSError as problem:  # ssl's own errors are among these
        raise SignOnError(f"oidc_ca_file: {settings.oidc_ca_file}: cannot be used: {problem}") from problem
    return BookSignOn(office, doing(office, ACTS, own=own), accounts, IdentityProvider(relying, context))
