"""Who comes, and by whose word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from packbook.core.accounts import Account, AccountAct, ApiKey, ExternalIdentity, OpenSession, Role, Visit, Who
from packbook.ports.trouble import PackbookError


class AccountProblem(PackbookError):
    """Not done. `kind` names the words that pages say it with (`account.problem.*`)."""

    def __init__(self, kind: str, text: str, *, wait_s: int | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Session:
    """Of a browser that gave a right password. `half`: the second step is still to come, and it opens nothing."""

    who: Who
    half: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that just began: its token goes to the browser and is kept nowhere."""

    token: str
    half: bool
    language: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """A second step to be set up: into the app, and back with the app's first code."""

    secret: str
    sealed: str  # the same, as only the book can read it: goes through the form
    drawing: str  # SVG


class Accounts(Protocol):
    """Who comes, and what people do about their own account and admins about others' of their tenant.

    Digests are SHA-256 of tokens: the store holds no token. All but the first two raise AccountProblem.
    """

    async def by_session(self, digest: bytes) -> Session | None:
        """None: ended, expired, or never begun. Being asked for keeps a session alive."""

    async def by_key(self, digest: bytes) -> Who | None:
        """None: revoked, expired, or never made."""

    async def exist(self) -> bool:
        """Somebody can sign in."""

    async def sign_in(self, login: str, password: str, visit: Visit, before: bytes | None = None) -> Begun:
        """`before`: the session that this browser had; it ends."""

    async def second_step(self, digest: bytes, typed: str, visit: Visit) -> Begun:
        """The half session becomes a whole one, with another token."""

    async def vouched(
        self, account: str, visit: Visit, by: str, before: bytes | None = None, *, sign_on: bool = False
    ) -> Begun:
        """Signs in whom somebody else identified: `by` goes on record.

        `sign_on`: an identity provider did: a second step that he has here is asked for, and the session is short.
        """

    async def known_as(self, issuer: str, subject: str) -> Account | None:
        """Whoever is known to that issuer by this name."""

    async def identities(self, who: Who) -> Sequence[ExternalIdentity]: ...

    async def prove(self, who: Who, password: str, visit: Visit) -> None:
        """Whoever sits here knows the password, too."""

    async def unbind(self, who: Who, issuer: str, password: str, visit: Visit, here: bytes | None) -> None:
        """From now on that issuer's word opens nothing of his; all other sessions end."""

    async def sign_out(self, digest: bytes, visit: Visit) -> None: ...

    async def invited(self, digest: bytes) -> Account | None: ...

    async def accept(self, digest: bytes, password: str, visit: Visit) -> None:
        """The invited one sets his password. Once."""

    async def account(self, who: Who) -> Account: ...

    async def sessions(self, who: Who) -> Sequence[OpenSession]: ...

    async def end_sessions(self, who: Who, visit: Visit, only: str | None, but: bytes | None) -> None: ...

    async def set_password(self, who: Who, old: str, new: str, visit: Visit, here: bytes | None) -> None:
        """All other sessions end."""

    async def set_language(self, who: Who, language: str) -> None: ...

    async def offer_totp(self, who: Who) -> Offer: ...

    async def set_totp(self, who: Who, sealed: str, typed: str, visit: Visit, here: bytes | None) -> Sequence[str]:
        """Gives the recovery codes, once. All other sessions end."""

    async def drop_totp(self, who: Who, password: str, visit: Visit) -> None: ...

    async def recovery_left(self, who: Who) -> int: ...

    async def keys(self, who: Who) -> Sequence[ApiKey]: ...

    async def new_key(self, who: Who, note: str, scopes: Sequence[str], days: int, visit: Visit) -> str:
        """The key, once."""

    async def revoke_key(self, who: Who, prefix: str, visit: Visit) -> None: ...

    async def others(self, who: Who) -> Sequence[Account]:
        """Of the tenant, for its admin, himself among them."""

    async def acts(self, who: Who, limit: int) -> Sequence[AccountAct]: ...

    async def invite(self, who: Who, login: str, name: str, role: Role, batteries: Sequence[str], visit: Visit) -> str:
        """The token of a link to set a password by; to be handed over, for it is not sent."""

    async def invite_again(self, who: Who, account: str, visit: Visit) -> str: ...

    async def set_role(self, who: Who, account: str, role: Role, batteries: Sequence[str], visit: Visit) -> None: ...

    async def set_disabled(self, who: Who, account: str, disabled: bool, visit: Visit) -> None: ...


@dataclass(frozen=True, slots=True)
class Departure:
    """To an identity provider: where the browser goes, and what it must bring back in a cookie."""

    address: str
    sealed: str


@dataclass(frozen=True, slots=True)
class Homecoming:
    """Back from there. `begun` None: the identity was bound to the account that is signed in already."""

    begun: Begun | None
    onward: str


class SignOn(Protocol):
    """Sign-in by the word of an identity provider. All raise AccountProblem."""

    @property
    def name(self) -> str:
        """On the button."""

    @property
    def issuer(self) -> str: ...

    @property
    def required(self) -> bool:
        """Passwords open nothing of who is bound to the issuer, and nobody unbinds himself."""

    async def depart(self, back: str, onward: str, *, prompt: str | None = None, bind: Who | None = None) -> Departure:
        """`back`: our address that the browser returns to. `bind`: to whose account the identity is to be bound."""

    async def arrive(
        self, sealed: str, told: Mapping[str, str], back: str, who: Who, visit: Visit, before: bytes | None
    ) -> Homecoming:
        """`told`: what the address says that the browser came back with."""

    async def ending(self, back: str) -> str | None:
        """Where to sign out over there, too; None: that is not offered."""
