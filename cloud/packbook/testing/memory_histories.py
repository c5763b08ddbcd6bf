"""A `Histories` in memory. It keeps the promises of the protocol: order, filters, limits, None for unknown."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from packbook.core.accounts import EVERYWHERE, FIRST_TENANT, Reach
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
from packbook.ports.histories import Quarantined


@dataclass(slots=True)
class MemoryHistories:
    """Everything the book knows, in lists. Lists of a battery are kept oldest first, as records arrive."""

    heads: dict[str, Battery] = field(default_factory=dict)
    points: dict[str, list[SohPoint]] = field(default_factory=dict)
    session_rows: dict[str, list[SessionRow]] = field(default_factory=dict)
    totals: dict[str, UsageTotals] = field(default_factory=dict)
    event_rows: dict[str, list[EventRow]] = field(default_factory=dict)
    cell_rows: dict[str, list[CellsPoint]] = field(default_factory=dict)
    box_rows: list[BoxRow] = field(default_factory=list)
    refused: list[Quarantined] = field(default_factory=list)
    fleets: dict[str, FleetModel] = field(default_factory=dict)
    agreed: dict[str, dict[str, tuple[str, ...] | None]] = field(default_factory=dict)
    beats: dict[str, list[HeartbeatRow]] = field(default_factory=dict)  # of boxes, oldest first
    tenants: dict[str, str] = field(default_factory=dict)  # of batteries and boxes that are not the first one's

    def within(self, reach: Reach) -> MemoryHistories:
        if reach == EVERYWHERE:
            return self
        seen = {name for name in self.heads if self._is_within(name, name, reach)}
        watching = {box for name in seen for box in self.heads[name].boxes}
        return MemoryHistories(
            heads={name: head for name, head in self.heads.items() if name in seen},
            points={name: found for name, found in self.points.items() if name in seen},
            session_rows={name: found for name, found in self.session_rows.items() if name in seen},
            totals={name: found for name, found in self.totals.items() if name in seen},
            event_rows={name: found for name, found in self.event_rows.items() if name in seen},
            cell_rows={name: found for name, found in self.cell_rows.items() if name in seen},
            box_rows=[row for row in self.box_rows if row.box in watching or self._is_within(row.box, None, reach)],
            refused=self.refused if self._is_within("", None, reach) else [],
            beats=self.beats,
            fleets=self.fleets,
            agreed={name: found for name, found in self.agreed.items() if name in seen},
            tenants=self.tenants,
        )

    def _is_within(self, name: str, battery: str | None, reach: Reach) -> bool:
        return reach.tenant in (None, self.tenants.get(name, FIRST_TENANT)) and (
            reach.batteries is None or battery in reach.batteries
        )

    def add(
        self,
        head: Battery,
        points: Sequence[SohPoint] = (),
        sessions: Sequence[SessionRow] = (),
        usage: UsageTotals | None = None,
        events: Sequence[EventRow] = (),
        cells: Sequence[CellsPoint] = (),
    ) -> None:
        """A battery with all that is known of it; head counts and newest SoH follow from the lists."""
        counts = Counter(row.kind for row in sessions)
        records = len(points) + len(sessions) + len(events) + len(cells) + (usage is not None) + 1
        newest = points[-1] if points else head.soh
        self.heads[head.battery] = replace(head, records=records, sessions=dict(counts), soh=newest)
        self.points[head.battery] = list(points)
        self.session_rows[head.battery] = list(sessions)
        self.event_rows[head.battery] = list(events)
        self.cell_rows[head.battery] = list(cells)
        if usage is not None:
            self.totals[head.battery] = usage

    async def batteries(self, limit: int | None = None, offset: int = 0) -> Sequence[Battery]:
        return [self.heads[name] for name in sorted(self.heads)][offset:][:limit]

    async def battery(self, battery: str) -> Battery | None:
        return self.heads.get(battery)

    async def has(self, battery: str) -> bool:
        return battery in self.heads

    async def version(self, battery: str) -> str | None:
        """Of what was added, replaced or taken away; a value changed in the middle of a list is not looked for."""
        head = self.heads.get(battery)
        if head is None:
            return None
        lists = (self.points, self.session_rows, self.event_rows, self.cell_rows)
        ends = [(len(rows), rows[:1], rows[-1:]) for rows in (kept.get(battery, []) for kept in lists)]
        told = (head, ends, self.totals.get(battery), self.agreed.get(battery), self.fleets.get(head.pack or ""))
        return hashlib.sha256(repr(told).encode()).hexdigest()

    async def soh_series(self, battery: str, limit: int | None = None, offset: int = 0) -> Sequence[SohPoint]:
        return self.points.get(battery, [])[offset:][:limit]

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
        newest_first = [
            row
            for row in reversed(self.session_rows.get(battery, []))
            if kind in (None, row.kind)
            and (since_ms is None or (row.start_ms is not None and row.start_ms >= since_ms))
            and (until_ms is None or (row.start_ms is not None and row.start_ms < until_ms))
        ]
        return newest_first[offset : offset + limit]

    async def session(self, battery: str, source: Provenance) -> SessionRow | None:
        return next((row for row in self.session_rows.get(battery, []) if row.provenance == source), None)

    async def usage(self, battery: str) -> UsageTotals | None:
        return self.totals.get(battery)

    async def events(self, battery: str, limit: int = 100, offset: int = 0) -> Sequence[EventRow]:
        return list(reversed(self.event_rows.get(battery, [])))[offset:][:limit]

    async def cells(self, battery: str, limit: int | None = None, offset: int = 0) -> Sequence[CellsPoint]:
        return list(self.cell_rows.get(battery, []))[offset:][:limit]

    async def fleet_model(self, family: str) -> FleetModel | None:
        return self.fleets.get(family)

    async def purposes(self, battery: str) -> Mapping[str, Sequence[str] | None]:
        return self.agreed.get(battery, {})

    async def boxes(self, limit: int | None = None, offset: int = 0) -> Sequence[BoxRow]:
        return sorted(self.box_rows, key=lambda row: row.box)[offset:][:limit]

    async def heartbeats(self, box: str, since_ms: int) -> Sequence[HeartbeatRow]:
        known = {row.box for row in self.box_rows}
        return [beat for beat in self.beats.get(box, ()) if box in known and beat.at_ms >= since_ms]

    async def quarantine(self, limit: int = 100) -> Sequence[Quarantined]:
        return list(reversed(self.refused))[:limit]
