"""Share links: who holds the address may see one battery as one reader, for a while.

In:  a token of 256 random bits, or its digest. Out: a `Link` and whether it still opens.
The book keeps the digest alone: whoever reads its database cannot open a link, and looking a digest up takes as long
for a near miss as for any other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.access import AccessTable, Reader

TOKEN_BYTES: Final = 32
TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # TOKEN_BYTES in base64url
NOTE_MAX: Final = 80
READS_MAX: Final = 1_000_000
ID_DIGITS: Final = 16  # of the digest; tells one link from another and opens nothing


class Ended(StrEnum):
    REVOKED = "revoked"
    EXPIRED = "expired"
    USED_UP = "used_up"


@dataclass(frozen=True, slots=True)
class Link:
    """`fields`, `formats` None: all that the role may have. `reads_max` None: as often as wanted."""

    digest: bytes
    battery: str
    role: str
    purpose: str | None
    fields: tuple[str, ...] | None
    formats: tuple[str, ...] | None
    note: str
    made_ms: int
    made_by: str
    expires_ms: int
    reads_max: int | None
    reads: int = 0
    revoked_ms: int | None = None

    @property
    def id(self) -> str:
        return self.digest.hex()[:ID_DIGITS]

    @property
    def reader(self) -> Reader:
        fields = None if self.fields is None else frozenset(self.fields)
        return Reader(self.role, self.purpose, fields, link=self.id)

    def ended(self, now_ms: int) -> Ended | None:
        """None: it opens."""
        if self.revoked_ms is not None:
            return Ended.REVOKED
        if now_ms >= self.expires_ms:
            return Ended.EXPIRED
        return Ended.USED_UP if self.reads_max is not None and self.reads >= self.reads_max else None


def unfit(table: AccessTable, link: Link, formats: Collection[str]) -> str | None:
    """Why no such link may be made; None: it may. `formats`: those that there are."""
    reader = link.reader
    grant = table.grant(reader)
    if grant is None or not grant.by_link:
        known = ", ".join(sorted(name for name, one in table.grants.items() if one.by_link))
        return f"{reader.name}: no link can be made for it; links can be for {known}"
    for field in link.fields or ():
        if not table.may_see(reader, field):
            return f"fields: {field} is nothing that {reader.name} may see"
    for name in link.formats or ():
        if name not in formats:
            return f"formats: there is no format {name}; there are {', '.join(formats)}"
    if len(link.note) > NOTE_MAX or not link.note.isprintable():
        return f"note: at most {NOTE_MAX} printable characters"
    return None


def token_digest(token: str) -> bytes | None:
    """None: that is no token of ours."""
    return hashlib.sha256(token.encode()).digest() if TOKEN.fullmatch(token) else None
