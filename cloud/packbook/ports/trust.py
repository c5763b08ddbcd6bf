"""Keys, certificates, evidence and credentials: what others check us by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from packbook.core.accounts import EVERYWHERE, Reach


class Enrolment(Protocol):
    """Where boxes get their certificates. Certificates and requests are DER."""

    @property
    def authorities(self) -> Sequence[bytes]:
        """Root first, then those that issue."""

    @property
    def addresses(self) -> Mapping[str, object]:
        """What a box is told besides: where its broker is."""

    async def enrol(self, request: bytes, code: str, address: str) -> bytes:
        """A certificate for a one-time code. Raises BadRequest, NoCertificate, StoreError or AuthorityError."""

    async def renew(self, request: bytes, shown: bytes | None, address: str) -> bytes:
        """The next certificate of a box that shows its present one, or whose present one has run out."""


class Signer(Protocol):
    """Holds the book's key: a file today, a secure element behind the same port later."""

    @property
    def public_key(self) -> bytes:
        """Raw 32-byte Ed25519 public key."""

    def sign(self, data: bytes) -> bytes:
        """Raw 64-byte Ed25519 signature."""


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """The book's signed word that it held records 1..`upto` of a store."""

    box: str
    store: str
    upto: int
    battery: str  # of record `upto`
    at_ms: int
    signed: bytes


class Evidence(Protocol):
    """What a stranger may take away to check a history without us."""

    @property
    def book_key(self) -> bytes:
        """Raw Ed25519 public key that checkpoints and bundles are signed with."""

    async def bundle(self, battery: str) -> bytes | None:
        """One file with everything about this battery. None: not in this book. Raises PackbookError."""

    async def checkpoints(
        self, battery: str | None = None, reach: Reach = EVERYWHERE, limit: int | None = None, offset: int = 0
    ) -> Sequence[SignedCheckpoint]:
        """The newest of every store, of one battery or all within the reach, by box and store. `limit` None: all."""


class Credentials(Protocol):
    """What others need to check the credentials that this book signed. All of it is public."""

    def did_document(self) -> bytes | None:
        """None: the book has no public address."""

    async def status_list(self, number: int) -> bytes | None:
        """A signed list of revocations. None: there is no such list. Raises PackbookError."""

    def schema(self) -> bytes: ...
