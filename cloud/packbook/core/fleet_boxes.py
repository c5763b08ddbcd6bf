"""A box as its operator looks at it: how it is now, what troubles it, how it got here, and how well its profile fits.

In:  what the store holds of boxes, by the names of the wire's health message; the time.
Out: plain values. A figure that a box did not send is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.enrolment import MS_PER_DAY, BoxState, EnrolledBox, Issued
from packbook.core.fleet_table import TEXT_MAX, Link, Parameters, within
from packbook.core.history import Agreement, EventRow, Installation

SILENT_DAYS: Final = 7  # a car may stand for a week; longer, somebody should look
ENDING_DAYS: Final = 14  # of a certificate: boxes renew a month before, so this one has tried in vain for two weeks
WAITING_MAX_S: Final = 86_400.0  # a record that waits longer found no way out on any of a day's drives
DISK_FREE_MIN_BYTES: Final = 256_000_000  # the budget of a box's journal
MISFIT_MIN_PER_MILLION: Final = 1.0  # values that cannot be right; fewer come from a loose wire as well
DROPPED_MAX_PER_MILLION: Final = 100.0  # frames lost; integrals of current suffer from more
MILLION: Final = 1_000_000.0


class Trouble(StrEnum):
    """What an operator should look at. The names are stable: catalogues and CSV use them."""

    SILENT = "silent"
    WAITING = "waiting"
    DROPPED = "dropped"
    DISK = "disk"
    CLOCK = "clock"
    CERTIFICATE = "certificate"
    NO_KEY = "no_key"  # it offers records, and its hello is missing
    PROFILE = "profile"  # cells do not add up to the pack: decoded by a profile that does not fit


class BoxColumn(StrEnum):
    """What the list of boxes can be sorted by."""

    BOX = "box"
    SEEN = "seen"
    FLEET = "fleet"
    WAITING = "waiting"
    DROPPED = "dropped"
    DISK = "disk"
    CERTIFICATE = "certificate"
    SOFTWARE = "software"


@dataclass(frozen=True, slots=True)
class BoxLine:
    box: str
    battery: str | None
    vehicle: str | None
    profile: str | None
    pack: str | None
    fleet: str | None
    state: str | None  # what an operator decided; None: never enrolled here
    seen_ms: int | None
    online: bool | None
    unready: int  # records offered while its key is not on file
    health: Mapping[str, object]  # newest heartbeat; empty: none yet
    until_ms: int | None  # of its newest certificate that counts

    def figure(self, name: str) -> float | None:
        return figure(self.health, name)

    @property
    def link(self) -> Link | None:
        if self.state in (Link.REVOKED, Link.RETIRED, Link.REPLACED):
            return Link(self.state)
        return None if self.online is None else Link.ONLINE if self.online else Link.OFFLINE

    @property
    def dropped_per_million(self) -> float | None:
        return per_million(self.health, "frames_dropped")


def figure(health: Mapping[str, object], name: str) -> float | None:
    value = health.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def per_million(health: Mapping[str, object], name: str) -> float | None:
    """Of the frames that came, those lost included."""
    counted, frames = figure(health, name), figure(health, "frames")
    lost = figure(health, "frames_dropped") or 0.0
    return None if counted is None or not frames else MILLION * counted / (frames + lost)


def troubles(line: BoxLine, now_ms: int) -> tuple[Trouble, ...]:
    """Nothing of a box that may say no more: somebody decided so."""
    if line.state not in (None, BoxState.ACTIVE):
        return ()
    waiting_s, disk = line.figure("oldest_waiting_s"), line.figure("disk_free_bytes")
    found = (
        (Trouble.SILENT, line.seen_ms is None or now_ms - line.seen_ms > SILENT_DAYS * MS_PER_DAY),
        (Trouble.NO_KEY, line.unready > 0),
        (Trouble.WAITING, waiting_s is not None and waiting_s > WAITING_MAX_S),
        (Trouble.DROPPED, (line.dropped_per_million or 0.0) > DROPPED_MAX_PER_MILLION),
        (Trouble.DISK, disk is not None and disk < DISK_FREE_MIN_BYTES),
        (Trouble.CLOCK, line.health.get("clock") == "unset"),
        (Trouble.CERTIFICATE, line.until_ms is not None and line.until_ms - now_ms < ENDING_DAYS * MS_PER_DAY),
        (Trouble.PROFILE, (per_million(line.health, "cells_not_sum") or 0.0) > MISFIT_MIN_PER_MILLION),
    )
    return tuple(trouble for trouble, there in found if there)


@dataclass(frozen=True, slots=True)
class BoxQuery:
    q: str = ""  # in box, battery, vehicle, fleet
    fleet: str | None = None
    link: Link | None = None
    trouble: Trouble | None = None
    sort: BoxColumn = BoxColumn.BOX
    falling: bool = False
    page: int = 1


def read_box_query(parameters: Parameters) -> BoxQuery:
    """What cannot be understood is not asked for."""
    said = {name: value.strip() for name, value in reversed(parameters) if value.strip()}
    sort, page = said.get("sort", ""), within(said.get("page", "1"), 1, 100_000)
    return BoxQuery(
        q=said.get("q", "")[:TEXT_MAX],
        fleet=said.get("fleet", "")[:TEXT_MAX] or None,
        link=next((link for link in Link if link == said.get("link")), None),
        trouble=next((trouble for trouble in Trouble if trouble == said.get("trouble")), None),
        sort=next((column for column in BoxColumn if column == sort.lstrip("-")), BoxColumn.BOX),
        falling=sort.startswith("-"),
        page=int(page) if page is not None else 1,
    )


@dataclass(frozen=True, slots=True)
class Beat:
    """What a box said of itself at a time."""

    at_ms: int
    health: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Act:
    """What was done about a box. `who` None: the box itself, or before names were written down."""

    at_ms: int
    act: str
    who: str | None
    detail: str
    box: str | None = None
    fleet: str | None = None


@dataclass(frozen=True, slots=True)
class StoreLine:
    """One life of a box's database: how far the book holds its chain."""

    store: str
    battery: str | None
    upto: int
    top: int
    records: int
    agreed: Agreement | None
    disputed: bool


@dataclass(frozen=True, slots=True)
class BoxLife:
    """Everything on one box's page. Newest first, all of it."""

    line: BoxLine
    enrolled: EnrolledBox | None
    beats: Sequence[Beat]
    installations: Sequence[Installation]
    stores: Sequence[StoreLine]
    certificates: Sequence[Issued]
    events: Sequence[EventRow]
    acts: Sequence[Act]


@dataclass(frozen=True, slots=True)
class Fit:
    """How well one profile fits the cars it is used in: sums over the newest health of their boxes."""

    profile: str
    variant: str | None
    pack: str | None
    boxes: int
    read: int  # whose battery told its own serial
    provisional: int  # whose battery has no name of its own yet
    counts: Mapping[str, int]  # by the names of DOUBTS, and `frames`
    wrong_profile: int  # boxes that saw another car's data

    def rate(self, name: str) -> float | None:
        """Per million frames."""
        frames = self.counts.get("frames", 0)
        return MILLION * self.counts.get(name, 0) / frames if frames else None

    @property
    def doubtful(self) -> bool:
        return any((self.rate(name) or 0.0) > MISFIT_MIN_PER_MILLION for name in BAD_FIT)


DOUBTS: Final = (
    "frames_unknown",
    "wrong_length",
    "bad_checksum",
    "stuck_counter",
    "unknown_mux",
    "broken_answers",
    "foreign_answers",
    "void_values",
    "implausible_values",
    "cells_not_sum",
)
BAD_FIT: Final = ("implausible_values", "cells_not_sum", "wrong_length", "unknown_mux")  # the car is another
