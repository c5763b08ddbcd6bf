"""What views and the API may ask of batteries and boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from packbook.core.accounts import Reach
from packbook.core.fleet import FleetModel
from packbook.core.history import (
    Battery,
    BoxRow,
    CellsPoint,
    EventRow,
    HeartbeatRow,
    Provenance,
    SessionRow,
    SohPoint,
    UsageTotals,
)
from packbook.core.live import Look


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that could not be believed, kept with the reason."""

    id: int
    received_ms: int
    topic: str
    reason: str
    payload: bytes


class Histories(Protocol):
    """Read side of the store: what views and the API may ask. An unknown battery gives None or an empty list."""

    def within(self, reach: Reach) -> Histories:
        """The same questions, answered as if nothing outside the reach existed."""

    async def batteries(self, limit: int | None = None, offset: int = 0) -> Sequence[Battery]:
        """In the order of their ids. `limit` None: all."""

    async def battery(self, battery: str) -> Battery | None: ...

    async def has(self, battery: str) -> bool:
        """Whether `battery` would find it, for who needs nothing of its head."""

    async def version(self, battery: str) -> str | None:
        """Another one whenever something of this battery's history changed, or what its fleet taught. None: unknown."""

    async def soh_series(self, battery: str, limit: int | None = None, offset: int = 0) -> Sequence[SohPoint]:
        """Oldest first. `limit` None: all."""

    async def sessions(
        self,
        battery: str,
        kind: str | None = None,
        limit: int = 200,
        offset: int = 0,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> Sequence[SessionRow]:
        """Newest first. `kind`: charge, drive, rest or None for all.

        `since_ms`, `until_ms`: only those that began from then on, and before then; then no undated ones.
        """

    async def session(self, battery: str, source: Provenance) -> SessionRow | None:
        """The one that this record tells of."""

    async def usage(self, battery: str) -> UsageTotals | None:
        """Newest totals, the stores of all boxes of this battery added up."""

    async def events(self, battery: str, limit: int = 100, offset: int = 0) -> Sequence[EventRow]:
        """Newest first."""

    async def cells(self, battery: str, limit: int | None = None, offset: int = 0) -> Sequence[CellsPoint]:
        """How far the cells were apart in quiet. Oldest first, at most two a day. `limit` None: all."""

    async def fleet_model(self, family: str) -> FleetModel | None:
        """What batteries with this pack taught last; None: too few of them, or not learned yet."""

    async def purposes(self, battery: str) -> Mapping[str, Sequence[str] | None]:
        """What the owner agreed to, by the stores whose word counts now; for `core.consent.may_leave`."""

    async def boxes(self, limit: int | None = None, offset: int = 0) -> Sequence[BoxRow]:
        """In the order of their ids. `limit` None: all."""

    async def heartbeats(self, box: str, since_ms: int) -> Sequence[HeartbeatRow]:
        """The last of each hour, oldest first, as far back as they are kept."""

    async def quarantine(self, limit: int = 100) -> Sequence[Quarantined]:
        """Newest first."""


class Watch(Protocol):
    """Whether something changed: asked about once a second while somebody listens, so it reads little."""

    async def look(self) -> Look:
        """All of the book as it is now. Raises StoreError."""
