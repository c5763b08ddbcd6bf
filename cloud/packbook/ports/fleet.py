"""Operators' views: batteries, boxes, papers, alerts, and what is done from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from packbook.core.accounts import EVERYWHERE, Reach
from packbook.core.alerts import OPEN_ONES, Alert, AlertQuery, Kind, Severity, State
from packbook.core.fleet_boxes import BoxLife, BoxLine, BoxQuery, Fit
from packbook.core.fleet_papers import AuditQuery, AuditRow, CodeLine, MessageDetail, MessageQuery, Messages
from packbook.core.fleet_reports import Life
from packbook.core.fleet_row import Judged
from packbook.core.fleet_table import FleetQuery, FleetRow
from packbook.core.labels import Label


@dataclass(frozen=True, slots=True)
class FleetPage:
    """One page of the list; `number` is the page given, which may be the last one before that asked for."""

    rows: tuple[FleetRow, ...]
    total: int
    number: int


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to filter by."""

    families: tuple[str, ...]
    packs: tuple[str, ...]
    fleets: tuple[str, ...]


class FleetList(Protocol):
    """The operator's list of batteries. A fixed number of questions to the store, however many batteries there are."""

    async def page(self, reach: Reach, query: FleetQuery, now_ms: int) -> FleetPage: ...

    async def rows(self, reach: Reach, query: FleetQuery, now_ms: int) -> Sequence[FleetRow]:
        """All that the wish leaves, in its order, whatever page it names."""

    async def figures(
        self, reach: Reach, query: FleetQuery, now_ms: int
    ) -> Sequence[tuple[float | None, float | None]]:
        """SoH and coverage in percent, of all that the wish leaves."""

    async def judged(self, reach: Reach, query: FleetQuery, now_ms: int) -> Sequence[tuple[FleetRow, Judged]]:
        """With what the book makes of each; without those that it has not looked at yet."""

    async def choices(self, reach: Reach) -> Choices: ...

    async def lives(self, reach: Reach, batteries: Sequence[str]) -> Sequence[Life]:
        """In the order asked for. What lies outside the reach is left out."""


@dataclass(frozen=True, slots=True)
class BoxPage:
    lines: tuple[BoxLine, ...]
    total: int
    number: int


class FleetBoxes(Protocol):
    """Boxes, the codes they enrol with, and how well their profiles fit."""

    async def page(self, reach: Reach, query: BoxQuery, now_ms: int) -> BoxPage: ...

    async def rows(self, reach: Reach, query: BoxQuery, now_ms: int) -> Sequence[BoxLine]:
        """All that the wish leaves, in its order, whatever page it names."""

    async def fleets(self, reach: Reach) -> Sequence[str]: ...

    async def one(self, reach: Reach, box: str) -> BoxLife | None:
        """None: not in this book, or outside the reach."""

    async def codes(self, reach: Reach, limit: int, offset: int) -> Sequence[CodeLine]:
        """Newest first."""

    async def fits(self, reach: Reach) -> Sequence[Fit]:
        """The profile with the most boxes first."""


class FleetPapers(Protocol):
    """What was refused, and who did what."""

    async def messages(self, reach: Reach, query: MessageQuery) -> Messages: ...

    async def message(self, reach: Reach, number: int) -> MessageDetail | None:
        """None: not in this book, or outside the reach."""

    async def sees_store(self, reach: Reach, box: str, store: str) -> bool: ...

    async def audit(self, reach: Reach, query: AuditQuery, limit: int) -> Sequence[AuditRow]:
        """Newest first, from the query's page on."""


class FleetDesk(Protocol):
    """What operators do, by acts of the running book; and what only it can read."""

    @property
    def why_no_codes(self) -> str | None:
        """Why no codes can be made here, by the setting that lacks. None: they can."""

    async def do(self, act: str, wish: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """One of `app.acts`. Raises PackbookError: then it was not done."""

    async def new_codes(self, count: int, fleet: str, days: float, replaces: str | None, who: str) -> Sequence[Label]:
        """Kept by their digests alone: this answer is the only one that holds them. Raises PackbookError."""

    def label(self, code: str, fleet: str, expires_ms: int) -> Label:
        """Of a code that was made before, to print it again. Raises PackbookError for what is no code."""

    def opened(self, payload: bytes) -> Mapping[str, Any] | str:
        """A record's envelope and what it says, by name, not believed; or why it cannot be opened."""


class Alerts(Protocol):
    """What operators are alerted to, as far as somebody's reach goes (docs/alerts.md)."""

    async def list(self, reach: Reach, query: AlertQuery = OPEN_ONES) -> Sequence[Alert]:
        """Newest first. Raises StoreError."""

    async def acknowledge(self, number: int, who: str, note: str, reach: Reach = EVERYWHERE) -> Alert | None:
        """As it stands then; the first who did stays. None: no such alert within the reach. Raises PackbookError."""

    async def counts(self, reach: Reach) -> Mapping[tuple[Kind, Severity, State], int]:
        """Of those that are open. Raises StoreError."""
