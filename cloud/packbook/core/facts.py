"""What a record says, in the book's own values: sessions, readings, totals, events, and when.

In:  a message of the wire, where its record stands, when it was made.
Out: `Fact`s. Kinds that no view shows yet say nothing; a later version reads them out of the ledger.
Refuses histograms longer than this version knows bands for. A calendar time that cannot be right is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from packbook.core.history import (
    C_RATE_EDGES,
    DEPTH_EDGES_PCT,
    SOC_BANDS_PCT,
    TEMP_EDGES_DEGC,
    Agreement,
    CellsPoint,
    ChargeCurve,
    EnergyFull,
    Estimate,
    EventRow,
    Installation,
    Provenance,
    SessionRow,
    SohPoint,
    UsageTotals,
)
from packwire.codec import Body
from packwire.consent import Purpose
from packwire.errors import Malformed
from packwire.messages import (
    Cells,
    Charge,
    Consent,
    Drive,
    Event,
    EventKind,
    Hello,
    Message,
    Rest,
    Session,
    Soh,
    Usage,
)

CALENDAR_MS: Final = (1_262_304_000_000, 4_102_444_800_000)  # 2010..2100: outside, a box's clock was never set

_TEMP_BANDS: Final = len(TEMP_EDGES_DEGC) + 1
SOC_TEMP_CELLS: Final = len(SOC_BANDS_PCT) * _TEMP_BANDS
C_RATE_TEMP_CELLS: Final = 2 * (len(C_RATE_EDGES) + 1) * _TEMP_BANDS
DEPTH_CELLS: Final = (len(DEPTH_EDGES_PCT) - 1) * len(SOC_BANDS_PCT)


@dataclass(frozen=True, slots=True)
class Moment:
    """When, by the box's clocks. `wall_ms` is None until the clock was set since boot."""

    boot: str
    mono_ms: int
    wall_ms: int | None


@dataclass(frozen=True, slots=True)
class ClockAnchor:
    """At this monotonic time of this boot the calendar said this."""

    boot: str
    mono_ms: int
    wall_ms: int


Value: TypeAlias = Installation | SessionRow | SohPoint | CellsPoint | UsageTotals | EventRow | ClockAnchor | Agreement


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing a record says, and when."""

    moment: Moment
    value: Value


def facts_of(message: Message, place: Provenance, moment: Moment, latest_ms: int) -> tuple[Fact, ...]:
    """Translate a message into the book's own values. Kinds that no view shows yet say nothing (the ledger has them).

    `latest_ms`: calendar times after it are a wrong clock's. Raises Malformed when a histogram is longer than this
    version knows bands for.
    """
    match message:
        case Hello():
            return (Fact(moment, _installation(message, place, moment)),)
        case Session():
            return (_session(message, place, latest_ms),)
        case Usage():
            return (Fact(moment, _usage(message, place, moment, latest_ms)),)
        case Soh():
            return (Fact(moment, _soh(message, place, moment)),)
        case Cells():
            point = _cells(message, place, moment)
            return () if point is None else (Fact(moment, point),)
        case Event():
            return _event(message, place, moment, latest_ms)
        case Consent():
            known = tuple(purpose for purpose in message.purposes if purpose in frozenset(Purpose))
            return (Fact(moment, Agreement(known, place)),)
        case _:
            return ()


ValueT = TypeVar("ValueT")


def _like(target: type[ValueT], message: Body, **given: object) -> ValueT:
    """A value of `target`: fields of the same name come from the message, the rest is given."""
    fields: tuple[str, ...] = target.__dataclass_fields__.keys()  # type: ignore[attr-defined]  # dataclasses have it
    taken = {name: getattr(message, name) for name in fields if name not in given}
    return target(**taken, **given)


def _installation(hello: Hello, place: Provenance, moment: Moment) -> Installation:
    return _like(Installation, hello, from_ms=moment.wall_ms, provenance=place)


def _session(session: Session, place: Provenance, latest_ms: int) -> Fact:
    moment = Moment(session.boot, session.start_mono_ms, calendar(session.start_wall_ms, latest_ms))
    charge = session if isinstance(session, Charge) else None
    drive = session if isinstance(session, Drive) else None
    row = _like(
        SessionRow,
        session,
        kind=_SESSION_KIND[type(session)],
        start_ms=moment.wall_ms,
        charge_kind=charge.charge_kind.value if charge else None,
        segments=charge.segments if charge else None,
        power_max_kw=charge.power_max_kw if charge else None,
        distance_km=drive.distance_km if drive else None,
        energy_regenerated_wh=drive.energy_regenerated_wh if drive else None,
        provenance=place,
        curve=_like(ChargeCurve, charge.curve) if charge and charge.curve else None,
    )
    return Fact(moment, row)


_SESSION_KIND: Final[Mapping[type[Session], str]] = {Charge: "charge", Drive: "drive", Rest: "rest"}


def _usage(usage: Usage, place: Provenance, moment: Moment, latest_ms: int) -> UsageTotals:
    return _like(
        UsageTotals,
        usage,
        at_ms=moment.wall_ms,
        soc_temp_s=_full(usage.soc_temp_s, SOC_TEMP_CELLS, "soc_temp_s"),
        c_rate_temp_s=_full(usage.c_rate_temp_s, C_RATE_TEMP_CELLS, "c_rate_temp_s"),
        depth_counts=_full(usage.depth_counts, DEPTH_CELLS, "depth_counts"),
        events=dict(usage.events),
        first_ms=calendar(usage.first_wall_ms, latest_ms),
        provenance=place,
        charging_temp_s=_full(usage.charging_temp_s, _TEMP_BANDS, "charging_temp_s") if usage.charging_temp_s else (),
    )


def _full(counts: Sequence[int], cells: int, name: str) -> tuple[int, ...]:
    if len(counts) > cells:
        raise Malformed(f"Usage.{name}: {len(counts)} cells, this side knows {cells}")
    return (*counts, *([0] * (cells - len(counts))))


def _soh(soh: Soh, place: Provenance, moment: Moment) -> SohPoint:
    return _like(
        SohPoint,
        soh,
        at_ms=moment.wall_ms,
        state=soh.state.value,
        estimates=tuple(_like(Estimate, estimate) for estimate in soh.estimates),
        provenance=place,
        energy=None if soh.energy is None else _like(EnergyFull, soh.energy),
    )


def _cells(cells: Cells, place: Provenance, moment: Moment) -> CellsPoint | None:
    """None where it tells no spread: fewer than two cells and no extremes, or a lowest one above the highest."""
    known = [(mv, number) for number, mv in enumerate(cells.voltages_mv, 1) if mv is not None]
    low_v, high_v = cells.cell_voltage_min_v, cells.cell_voltage_max_v
    if len(known) > 1:
        told = [mv / 1000.0 for mv, _ in known]
        low_v = min(told) if low_v is None else min(low_v, *told)
        high_v = max(told) if high_v is None else max(high_v, *told)
    if low_v is None or high_v is None or high_v < low_v:
        return None
    return _like(
        CellsPoint,
        cells,
        at_ms=moment.wall_ms,
        spread_mv=round((high_v - low_v) * 1000.0, 1),
        cell_voltage_min_v=low_v,
        cell_voltage_max_v=high_v,
        cells=len(known),
        lowest_cell=min(known)[1] if len(known) > 1 else None,
        highest_cell=max(known)[1] if len(known) > 1 else None,
        temp_min_degc=min(cells.temps_degc, default=None),
        temp_max_degc=max(cells.temps_degc, default=None),
        provenance=place,
    )


def _event(event: Event, place: Provenance, sealed_at: Moment, latest_ms: int) -> tuple[Fact, ...]:
    moment = Moment(
        event.boot or sealed_at.boot,
        sealed_at.mono_ms if event.mono_ms is None else event.mono_ms,
        calendar(event.wall_ms, latest_ms) if event.wall_ms is not None else _carried(sealed_at, event),
    )
    row = EventRow(event.event.value, moment.wall_ms, event.duration_s, event.extreme, event.text, place)
    if event.event is not EventKind.CLOCK_SET or moment.wall_ms is None:
        return (Fact(moment, row),)
    return Fact(moment, row), Fact(moment, ClockAnchor(moment.boot, moment.mono_ms, moment.wall_ms))


def _carried(sealed_at: Moment, event: Event) -> int | None:
    """The calendar at the event, carried over from when its record was made, within one boot."""
    if sealed_at.wall_ms is None or event.boot not in (None, sealed_at.boot):
        return None
    return sealed_at.wall_ms - (sealed_at.mono_ms - (sealed_at.mono_ms if event.mono_ms is None else event.mono_ms))


def calendar(wall_ms: int | None, latest_ms: int) -> int | None:
    """A calendar time, or None where the box's clock cannot have been right."""
    low_ms, high_ms = CALENDAR_MS
    return wall_ms if wall_ms is not None and low_ms <= wall_ms < high_ms and wall_ms <= latest_ms else None
