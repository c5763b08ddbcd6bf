"""The operator's list of batteries: what a row says, and what may be asked. All of a wish is in its address.

In:  the parameters of an address (names may come more than once), or a `FleetQuery`.
Out: a `FleetQuery`, with the parameters that could not be understood named; the same wish as parameters again.
A wish that cannot be understood narrows nothing and is said so: a list that is silently shorter would mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlencode

from packbook.core.triage import Use

ROWS_PER_PAGE: Final = 50
TEXT_MAX: Final = 100  # characters of a search
PAGE_MAX: Final = 100_000
SILENT_DAYS_MAX: Final = 3650.0
STATES: Final = ("none", "learning", "ok", "stale", "inconsistent", "replaced")

Parameters = Sequence[tuple[str, str]]
T = TypeVar("T")


class Link(StrEnum):
    """How a box stands with the book, as an operator asks for it."""

    ONLINE = "online"
    OFFLINE = "offline"
    REVOKED = "revoked"
    RETIRED = "retired"
    REPLACED = "replaced"


class Column(StrEnum):
    """What the list can show of a battery. All but the name can be left out."""

    BATTERY = "battery"
    SOH = "soh"
    STATE = "state"
    VEHICLE = "vehicle"
    PACK = "pack"
    FAMILY = "family"
    FLEET = "fleet"
    REPORTED = "reported"
    COVERAGE = "coverage"
    ODOMETER = "odometer"
    SEEN = "seen"
    BOX = "box"
    LINK = "link"
    SOFTWARE = "software"
    ALERTS = "alerts"
    GUARANTEE = "guarantee"
    NEXT_USE = "next_use"


USUAL: Final = (
    Column.BATTERY,
    Column.SOH,
    Column.STATE,
    Column.VEHICLE,
    Column.PACK,
    Column.COVERAGE,
    Column.SEEN,
    Column.LINK,
    Column.ALERTS,
    Column.GUARANTEE,
    Column.NEXT_USE,
)


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One battery as the list shows it. `judged_ms` None: it is new, and the book has not looked at it yet."""

    battery: str
    vehicle: str | None = None
    pack: str | None = None
    family: str | None = None  # the profile it is read through
    fleet: str | None = None
    software: str | None = None
    soh_at_ms: int | None = None
    state: str = "none"
    soh_pct: float | None = None
    lo90_pct: float | None = None
    hi90_pct: float | None = None
    soh_reported_pct: float | None = None
    coverage_pct: float | None = None  # of the time since a box watches
    odometer_km: float | None = None
    box: str | None = None
    seen_ms: int | None = None
    online: bool | None = None
    box_state: str | None = None  # what an operator decided; None: never enrolled here
    alerts: int = 0  # open ones
    promise_pct: float | None = None  # the strongest that may be made now; None: none
    promise_years: float | None = None
    next_use: str | None = None  # None: not told by what is known
    lacking: str | None = None  # why there is no forecast
    judged_ms: int | None = None

    @property
    def link(self) -> Link | None:
        """None: it never said whether it is there."""
        if self.box_state in (Link.REVOKED, Link.RETIRED, Link.REPLACED):
            return Link(self.box_state)
        return None if self.online is None else Link.ONLINE if self.online else Link.OFFLINE


@dataclass(frozen=True, slots=True)
class FleetQuery:
    """None and empty: not asked for."""

    q: str = ""  # in battery, vehicle, pack, box
    state: str | None = None
    family: str | None = None
    pack: str | None = None
    fleet: str | None = None
    link: Link | None = None
    next_use: Use | None = None
    soh_min: float | None = None
    soh_max: float | None = None
    coverage_max: float | None = None
    silent_days: float | None = None  # nothing heard for so long
    promised: bool = False  # only those a promise may be made for
    alerted: bool = False
    sort: Column = Column.BATTERY
    falling: bool = False
    page: int = 1
    columns: tuple[Column, ...] = USUAL
    unread: tuple[str, ...] = ()  # parameters that could not be understood

    @property
    def narrowed(self) -> bool:
        """Whether it asks for less than all of them."""
        return any(getattr(self, name) for name in FILTERS) or self.soh_min is not None or self.soh_max is not None


FILTERS: Final = (
    "q",
    "state",
    "family",
    "pack",
    "fleet",
    "link",
    "next_use",
    "soh_min",
    "soh_max",
    "coverage_max",
    "silent_days",
    "promised",
    "alerted",
)


def read_query(parameters: Parameters) -> FleetQuery:
    said: dict[str, str] = {}
    for name, value in parameters:
        if name != "col" and value.strip():
            said.setdefault(name, value.strip())
    unread: list[str] = []

    def take(name: str, read: Callable[[str], T | None], otherwise: T) -> T:
        if name not in said:
            return otherwise
        found = read(said[name])
        if found is None:
            unread.append(name)
            return otherwise
        return found

    sort = said.get("sort", "").lstrip("-")
    columns = _columns([value for name, value in parameters if name == "col"])
    query = FleetQuery(
        q=said.get("q", "")[:TEXT_MAX],
        state=take("state", lambda text: text if text in STATES else None, None),
        family=said.get("family", "")[:TEXT_MAX] or None,
        pack=said.get("pack", "")[:TEXT_MAX] or None,
        fleet=said.get("fleet", "")[:TEXT_MAX] or None,
        link=take("link", lambda text: Link(text) if text in list(Link) else None, None),
        next_use=take("next_use", lambda text: Use(text) if text in list(Use) else None, None),
        soh_min=take("soh_min", lambda text: within(text, 0.0, 200.0), None),
        soh_max=take("soh_max", lambda text: within(text, 0.0, 200.0), None),
        coverage_max=take("coverage_max", lambda text: within(text, 0.0, 100.0), None),
        silent_days=take("silent_days", lambda text: within(text, 0.0, SILENT_DAYS_MAX), None),
        promised=take("promised", _yes, None) or False,
        alerted=take("alerted", _yes, None) or False,
        sort=take("sort", lambda _: Column(sort) if sort in list(Column) else None, Column.BATTERY),
        falling=said.get("sort", "").startswith("-"),
        page=take("page", _page, 1),
        columns=columns or USUAL,
    )
    return replace(query, unread=tuple(unread))


def address_of(query: FleetQuery, **changes: object) -> str:
    """The wish as the query of an address, shortest form. Another filter or order begins at page 1 again."""
    if changes and "page" not in changes:
        changes = {**changes, "page": 1}
    wish = replace(query, **changes)  # type: ignore[arg-type]  # callers name real fields; dataclass checks them
    usual = FleetQuery()
    pairs: list[tuple[str, str]] = []
    for name in (field.name for field in fields(FleetQuery)):
        value = getattr(wish, name)
        if name in ("falling", "unread", "columns") or (value == getattr(usual, name) and name != "sort"):
            continue
        if name == "sort":
            pairs += [] if (value, wish.falling) == (usual.sort, False) else [("sort", "-" * wish.falling + value)]
        else:
            pairs.append((name, "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)))
    if wish.columns != USUAL:
        pairs += [("col", column) for column in wish.columns]
    return urlencode(pairs)


def within(text: str, low: float, high: float) -> float | None:
    """A decimal number, with a point or a comma. None: it is none, or outside."""
    plain = text.strip().replace(",", ".")
    if len(plain) > 16 or not plain.replace(".", "", 1).isascii() or not plain.replace(".", "", 1).isdigit():
        return None
    number = float(plain)
    return number if low <= number <= high else None


def _page(text: str) -> int | None:
    """Pages are counted from 1."""
    number = within(text, 1, PAGE_MAX)
    return int(number) if number is not None and number.is_integer() else None


def _yes(text: str) -> bool | None:
    return True if text in ("yes", "on", "1") else None


def _columns(names: Sequence[str]) -> tuple[Column, ...]:
    """In the list's own order; the name is always one of them."""
    asked = {name for name in names if name in list(Column)}
    return tuple(column for column in Column if column in asked | {Column.BATTERY}) if asked else ()
