"""How messages come into the ledger, and how that is watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from packbook.core.intake import Arrival, Reading


@dataclass(frozen=True, slots=True)
class Holding:
    """What the book holds of one store, committed: 1..`upto`, and `beyond`, rising, past a hole.

    `head`: digest of record `upto`; a box that has another one there knows that its store has two histories.
    `resend_from`: the book misses records from here on, perhaps such as it held once.
    """

    box: str
    store: str
    upto: int
    beyond: tuple[int, ...]
    head: bytes | None = None
    resend_from: int | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one batch of messages. All of it is on disk."""

    holdings: tuple[Holding, ...]  # of every store that a believed record named, duplicates included
    accepted: int
    duplicates: int
    unready: int
    quarantined: Mapping[str, int]  # reason -> how many


class Incoming(Protocol):
    """One message of a box, on its way into the ledger."""

    @property
    def topic(self) -> str:
        """The MQTT topic that the box published it on."""

    @property
    def payload(self) -> bytes: ...

    @property
    def qos(self) -> int:
        """0: it may be dropped where there are too many."""

    def acknowledge(self) -> None:
        """To whoever handed it over, once it is on disk. Else it comes again."""

    def pause(self) -> None:
        """No more for now: the inbox is full."""


class Source(Protocol):
    """Where messages of boxes come from, in place of a subscription at the broker."""

    @property
    def connected(self) -> bool: ...

    async def run(self, take: Callable[[Incoming], None]) -> None:
        """Until cancelled; trouble is waited out."""

    def resume(self) -> None:
        """There is room again."""


class Observer(Protocol):
    """Is told what the collector does. Must be quick, and never raises."""

    def committed(self, batch: Sequence[Arrival], taken: Taken) -> None:
        """All of it is on disk and acknowledged."""


class Unobserved:
    """Nobody looks."""

    def committed(self, batch: Sequence[Arrival], taken: Taken) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this process can do its work now; `checks`: each part, with a word for what is wrong. No secrets."""

    ready: bool
    checks: Mapping[str, str]


class Condition(Protocol):
    """How this process is, for programs that watch it."""

    async def readiness(self) -> Readiness: ...

    async def metrics(self) -> tuple[bytes, str]:
        """In Prometheus' format, and its content type."""


class Ledger(Protocol):
    """Write side of the store."""

    async def read(self, arrivals: Sequence[Arrival]) -> Sequence[Reading]:
        """What these are, while a batch before may still be on its way. Nothing is kept. Raises StoreError."""

    async def keep(self, readings: Sequence[Reading]) -> Taken:
        """Everything in one transaction. Raises StoreError: then nothing was kept and nothing may be acknowledged."""
