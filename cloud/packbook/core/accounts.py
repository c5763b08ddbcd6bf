"""Who somebody is to this book, and what that lets him do: roles of accounts, permissions, and how far they reach.

In:  what the store knows of an account, a key or a link.
Out: a `Who`. What a role does not name is denied; a battery, box or account outside the reach does not exist.
Roles say what may be *done*; which fields of a passport may be *seen* is the access table's (`core.access`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.access import Reader

FIRST_TENANT: Final = "main"  # of everything that nobody put elsewhere
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


NOBODY: Final = Who(Reader("public"), NOWHERE, frozenset({May.ANYBODY}))
BOOKS_OWN: Final = Who(Reader("operator"), EVERYWHERE, frozenset(May))  # on loopback, while there are no accounts
