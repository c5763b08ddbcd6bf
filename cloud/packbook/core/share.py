"""Share links: who holds the address may see one battery as one reader, for a while.

In:  a token of 256 random bits, or its digest. Out: a `Link` and whether it still opens.
The book keeps the digest alone: whoever reads its database cannot open a link, and looking a digest up takes as long
for a near miss as for any other.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.access import Reader

TOKEN_BYTES: Final = 32
TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # TOKEN_BYTES in base64url
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


def token_digest(token: str) -> bytes | None:
    """None: that is no token of ours."""
    return hashlib.sha256(token.encode()).digest() if TOKEN.fullmatch(token) else None
