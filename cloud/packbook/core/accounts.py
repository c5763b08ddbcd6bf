"""Who somebody is to this book, and what that lets him do: roles of accounts, permissions, and how far they reach.

In:  what the store knows of an account, a key or a link.
Out: a `Who`. What a role does not name is denied; a battery, box or account outside the reach does not exist.
Roles say what may be *done*; which fields of a passport may be *seen* is the access table's (`core.access`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.access import Reader

FIRST_TENANT: Final = "main"  # of everything that nobody put elsewhere
ID_DIGITS: Final = 16
LOGIN_MAX: Final = 254  # of an e-mail address: RFC 5321 §4.5.3.1.3 less its brackets
KEY: Final = re.compile(r"pbk_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")  # an API key: a prefix to tell it by, 256 random bits


class Role(StrEnum):
    """Of an account, in one tenant."""

    OWNER = "owner"  # of the batteries named in the account
    VIEWER = "viewer"  # reads the tenant's fleet
    OPERATOR = "operator"  # and works with it
    ADMIN = "admin"  # and decides who else does


class May(StrEnum):
    """What a route asks for."""

    ANYBODY = "anybody"  # public, or opened by a share link
    SIGNED_IN = "signed_in"
    READ_BATTERY = "read_battery"  # histories of batteries within the reach
    MANAGE_BATTERY = "manage_battery"  # consents, share links, names
    READ_READS = "read_reads"  # who read batteries within the reach
    READ_FLEET = "read_fleet"
    OPERATE = "operate"  # boxes, alerts, quarantine, declarations
    ADMINISTER = "administer"  # accounts, keys, audit log


GRANTS: Final[Mapping[Role, frozenset[May]]] = {
    Role.OWNER: frozenset({May.ANYBODY, May.SIGNED_IN, May.READ_BATTERY, May.MANAGE_BATTERY, May.READ_READS}),
    Role.VIEWER: frozenset({May.ANYBODY, May.SIGNED_IN, May.READ_BATTERY, May.READ_FLEET}),
    Role.OPERATOR: frozenset(May) - {May.ADMINISTER},
    Role.ADMIN: frozenset(May),
}


@dataclass(frozen=True, slots=True)
class Reach:
    """How far somebody sees. `tenant` None: the whole book. `batteries` None: all of the tenant's."""

    tenant: str | None
    batteries: frozenset[str] | None = None

    def narrowed(self, other: Reach) -> Reach:
        """What lies within both."""
        if None not in (self.tenant, other.tenant) and self.tenant != other.tenant:
            return NOWHERE
        named = [reach.batteries for reach in (self, other) if reach.batteries is not None]
        return Reach(self.tenant or other.tenant, frozenset.intersection(*named) if named else None)


NOWHERE: Final = Reach(None, frozenset())
EVERYWHERE: Final = Reach(None)


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks, decided once for each request."""

    reader: Reader  # as the access table knows him, and as reads are put on record
    reach: Reach
    may: frozenset[May]
    account: str | None = None  # id; None: nobody signed in, a link, or a book without accounts
    name: str | None = None  # to greet him by
    role: Role | None = None
    key: str | None = None  # prefix of the API key he came with; None: a session, or none of both

    @property
    def tenant(self) -> str | None:
        return self.reach.tenant


@dataclass(frozen=True, slots=True)
class Account:
    """As the store has it; its secrets stay there."""

    account: str  # id
    login: str
    name: str
    tenant: str
    role: Role
    language: str | None
    made_ms: int
    disabled_ms: int | None
    has_password: bool
    has_totp: bool
    is_bound: bool = False  # to an identity provider, which may open it too
    batteries: frozenset[str] = frozenset()  # of an owner

    @property
    def reach(self) -> Reach:
        return Reach(self.tenant, self.batteries if self.role is Role.OWNER else None)

    def who(self, *, scopes: Collection[str] | None = None, key: str | None = None) -> Who:
        """`scopes`: of the API key he came with, which never does more than he may himself."""
        may = GRANTS[self.role]
        if scopes is not None:
            may &= frozenset({May.ANYBODY}).union(*(SCOPES.get(scope, frozenset()) for scope in scopes))
        reader = Reader("owner" if self.role is Role.OWNER else "operator", account=self.login)
        return Who(reader, self.reach, may, self.account, self.name, self.role, key)


# What API keys can be for. None administers accounts, and none opens pages.
SCOPES: Final[Mapping[str, frozenset[May]]] = {
    "read:batteries": frozenset({May.READ_BATTERY}),
    "read:reads": frozenset({May.READ_READS}),
    "read:fleet": frozenset({May.READ_FLEET}),
    "write:share": frozenset({May.MANAGE_BATTERY}),
    "write:operate": frozenset({May.OPERATE}),
}


@dataclass(frozen=True, slots=True)
class Visit:
    """Where a request came from. `address`: of the client, as told by a trusted proxy where there is one."""

    address: str
    device: str  # core.sign_in.device_of


@dataclass(frozen=True, slots=True)
class OpenSession:
    """One browser that is signed in."""

    digest: bytes
    made_ms: int
    seen_ms: int
    until_ms: int
    device: str
    address: str  # keyed hash

    @property
    def id(self) -> str:
        return self.digest.hex()[:ID_DIGITS]


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """Who an account is to an identity provider."""

    issuer: str
    subject: str
    since_ms: int
    mapped: bool  # the account was made by a rule, and its role follows the rules


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is shown of a key: never the key."""

    prefix: str
    account: str
    note: str
    scopes: tuple[str, ...]
    made_ms: int
    expires_ms: int | None
    used_ms: int | None
    revoked_ms: int | None

    def opens(self, now_ms: int) -> bool:
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)


@dataclass(frozen=True, slots=True)
class AccountAct:
    """For the record: what was done about an account, and by whom."""

    at_ms: int
    act: str
    tenant: str | None
    account: str | None
    who: str
    address: str | None  # keyed hash
    detail: str


def login_of(text: str) -> str | None:
    """A name or e-mail address as it is compared: two spellings of one are one. None: not usable as one."""
    login = unicodedata.normalize("NFKC", text).strip().casefold()
    usable = 2 <= len(login) <= LOGIN_MAX and login.isprintable() and not any(c.isspace() for c in login)
    return login if usable else None


NOBODY: Final = Who(Reader("public"), NOWHERE, frozenset({May.ANYBODY}))
BOOKS_OWN: Final = Who(Reader("operator"), EVERYWHERE, frozenset(May))  # on loopback, while there are no accounts
