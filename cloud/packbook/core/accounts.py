"""Who somebody is to this book, and what that lets him do: roles of accounts, permissions, and how far they reach.

In:  what the store knows of an account, a key or a link.
Out: a `Who`. What a role does not name is denied; a battery, box or account outside the reach does not exist.
Roles say what may be *done*; which fields of a passport may be *seen* is the access table's (`core.access`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.access import Reader

FIRST_TENANT: Final = "main"  # of everything that nobody put elsewhere


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
    READ_FLEET = "read_fleet"
    OPERATE = "operate"  # boxes, alerts, quarantine, declarations
    ADMINISTER = "administer"  # accounts, keys, audit log


GRANTS: Final[Mapping[Role, frozenset[May]]] = {
    Role.OWNER: frozenset({May.ANYBODY, May.SIGNED_IN, May.READ_BATTERY, May.MANAGE_BATTERY}),
    Role.VIEWER: frozenset({May.ANYBODY, May.SIGNED_IN, May.READ_BATTERY, May.READ_FLEET}),
    Role.OPERATOR: frozenset(May) - {May.ADMINISTER},
    Role.ADMIN: frozenset(May),
}


@dataclass(frozen=True, slots=True)
class Reach:
    """How far somebody sees. `tenant` None: the whole book. `batteries` None: all of the tenant's."""

    tenant: str | None
    batteries: frozenset[str] | None = None


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


NOBODY: Final = Who(Reader("public"), NOWHERE, frozenset({May.ANYBODY}))
BOOKS_OWN: Final = Who(Reader("operator"), EVERYWHERE, frozenset(May))  # on loopback, while there are no accounts
