"""What another's word about somebody amounts to here: which claims count, and what they make him.

In:  claims of an ID token that was checked (`adapters.identity_provider`).
Out: a `Stranger`, and the rule that fits him. An e-mail address that nobody verified is none.
No rule makes an admin, and none touches one: that is decided by people of this book.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from packbook.core.accounts import LOGIN_MAX, Role, login_of
from packbook.core.enrolment import MS_PER_S

FLOW_MS: Final = 10 * 60 * MS_PER_S  # to sign in over there, with a phone to fetch
SUBJECT_MAX: Final = 254  # OpenID Connect Core 1.0 §2 allows 255; one less fits the table's key
ISSUER_MAX: Final = 254  # likewise
LEEWAY_S: Final = 60  # between two clocks that are set by the network
NAME_MAX: Final = 120
SUBJECT_DIGITS: Final = 12

Claims = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Whoever has this value in this claim gets this role in this tenant."""

    claim: str
    value: str
    role: Role
    tenant: str

    def fits(self, claims: Claims) -> bool:
        found = claims.get(self.claim)
        return self.value in found if isinstance(found, (list, tuple)) else found == self.value


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody whom an issuer knows, before this book found out who he is here."""

    issuer: str
    subject: str
    email: str | None  # verified, as logins are compared
    name: str
    claims: Claims

    @property
    def login(self) -> str:
        """To be told by where no verified address is known: nobody else can be called so."""
        if self.email is not None:
            return self.email
        mark = hashlib.sha256(f"{self.issuer} {self.subject}".encode()).hexdigest()[:SUBJECT_DIGITS]
        return f"{mark}@{urlsplit(self.issuer).hostname}"[:LOGIN_MAX]


def stranger_of(issuer: str, claims: Claims) -> Stranger | None:
    """None: these claims name nobody."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_MAX or not subject.isprintable():
        return None
    email = claims.get("email")
    verified = claims.get("email_verified") is True and isinstance(email, str) and "@" in email
    known = login_of(email) if verified and isinstance(email, str) else None
    name = claims.get("name")
    told = "".join(c for c in name if c.isprintable()).strip()[:NAME_MAX] if isinstance(name, str) else ""
    return Stranger(issuer, subject, known, told, claims)


def rule_for(rules: Sequence[RoleRule], stranger: Stranger) -> RoleRule | None:
    """The first that fits."""
    return next((rule for rule in rules if rule.fits(stranger.claims)), None)


def lacking(claims: Claims, rules: Collection[RoleRule]) -> bool:
    """Whether it is worth asking for more than the ID token says."""
    return any(name not in claims for name in {"email", *(rule.claim for rule in rules)})


def is_on_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_private_way(address: str, *, loopback: bool) -> bool:
    """Nobody reads or changes what goes there: TLS, or (`loopback`) it stays on this machine."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and loopback and is_on_loopback(address)
