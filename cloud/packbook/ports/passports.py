"""Passports, the formats they leave in, and who may open them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from packbook.core.access import Read
from packbook.core.ouranos import PartEntry
from packbook.core.passport import Fact, Passport
from packbook.core.share import Ended, Link


class Passports(Protocol):
    """The neutral record of each battery, put together when asked for."""

    async def passport(self, battery: str) -> Passport | None:
        """None: not in this book. Raises PackbookError."""

    async def said(self, battery: str) -> Mapping[str, tuple[Fact, ...]]:
        """What people declared and signed of it, by field: less than a passport, and at once. Raises PackbookError."""


class PartsRegister(Protocol):
    """A platform where batteries are registered as parts and given a trace id."""

    async def register(self, entry: PartEntry) -> str:
        """The trace id; the same when asked again. Raises PackbookError."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a format for people is made: in which language, and which page it leads back to (a path, or an address)."""

    language: str = "en"
    page: str | None = None


PLAIN: Final = Manner()


class Exports(Protocol):
    """The formats that a passport leaves in, each made from a record already cut down to what its reader may see."""

    @property
    def suffixes(self) -> Mapping[str, str]:
        """Of the file, by the format's name."""

    async def make(self, name: str, passport: Passport, manner: Manner = PLAIN) -> bytes:
        """`name`: one of `suffixes`. Raises NotMade."""


class Gate(Protocol):
    """Share links, the names batteries are found by, and the record of who read what of one battery's own life."""

    async def link(self, digest: bytes) -> Link | None:
        """As it stands; it is not opened by that."""

    async def open(self, digest: bytes, read: Read) -> Ended | None:
        """Counted and put on record together, or neither. Else why it does not open. Raises PackbookError."""

    async def note(self, reads: Sequence[Read]) -> None:
        """Put on record. Raises PackbookError: then what was asked for must not be shown."""

    async def named(self, key: str) -> str | None:
        """The battery that has this identifier (`core.identifiers`), the one that got it last. None: none of ours."""

    async def reads(self, battery: str, limit: int, offset: int = 0) -> Sequence[Read]:
        """Newest first."""

    async def links_of(self, battery: str) -> Sequence[Link]:
        """All that were made for this battery, newest first."""

    async def keep_link(self, link: Link) -> None:
        """Raises PackbookError."""

    async def revoke_link(self, battery: str, link_id: str) -> None:
        """From now on it opens nothing. Raises PackbookError, also if this battery has no such link."""
