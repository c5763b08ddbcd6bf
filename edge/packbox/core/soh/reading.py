"""What methods read: the few numbers that an estimate rests on, as exact as they are sent and no more.

A method *takes* readings when a session ends and then *uses* them. What it used is sent, so that anybody can use the
same readings again and come to the same estimate; therefore every number is rounded to the steps of the wire here,
before it is used. Charge is positive into the pack.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

# Steps per unit. The wire has the same: a test holds both together.
STEPS: Final = {
    "from_soc_pct": 100,
    "to_soc_pct": 100,
    "charge_in_ah": 100,
    "counted_h": 100,
    "soc_sigma_pct": 1000,
    "charge_sigma_ah": 1000,
    "lean_pct_per_v": 10,
    "charge_ah": 100,
    "soc_change_pct": 100,
    "capacity_ah": 1000,
    "soh_pct": 1000,
    "apart_pct": 100,
    "soh_reported_pct": 100,
    "energy_left_kwh": 1000,
    "soc_pct": 100,
}


@dataclass(frozen=True, slots=True)
class RestSwing:
    """Of `rest_bands`: charge counted between two rests, and the SoC that the rest voltages told."""

    at_s: int  # of the later rest
    from_soc_pct: float
    to_soc_pct: float
    charge_in_ah: float  # net
    counted_h: float  # with the sensor counted
    soc_sigma_pct: float  # of both ends together
    charge_sigma_ah: float
    lean_pct_per_v: float  # what a volt of hysteresis adds to the fall of the SoC


@dataclass(frozen=True, slots=True)
class RestsSeen:
    """Of `rest_bands`: how often what was seen so far. Sent whole, because it is small and never shrinks."""

    visits: tuple[int, ...]  # rests by SoC, lowest first
    off_curve: int = 0
    stuck_n: int = 0
    apart_n: int = 0
    apart_pct: float = 0.0  # rest voltages and the car's own SoC


@dataclass(frozen=True, slots=True)
class CapacityTold:
    """Of `rest_bands`: the capacity that the car reports, asked for at most weekly."""

    at_s: int
    capacity_ah: float


@dataclass(frozen=True, slots=True)
class SocLeg:
    """Of `charge_ratio`: charge counted between two steps of the SoC."""

    charge_ah: float
    soc_change_pct: float
    charge_sigma_ah: float
    soc_sigma_pct: float
    bms: bool  # the battery management's own SoC, not the displayed one


@dataclass(frozen=True, slots=True)
class SpanCharged:
    """Of `full_span`: a charge over nearly the whole scale."""

    charge_ah: float
    soc_change_pct: float


@dataclass(frozen=True, slots=True)
class BmsSaid:
    """Of `bms_value`: what the car's own battery management said last."""

    at_s: int
    capacity_ah: float | None
    soh_pct: float | None


@dataclass(frozen=True, slots=True)
class EnergyLeft:
    """Of `energy_series`: the energy that the car said was left, and its SoC then."""

    energy_left_kwh: float
    soc_pct: float
    gids: bool  # told in gids
    bms: bool  # the battery management's own SoC, not the displayed one


ReadingT = TypeVar("ReadingT", RestSwing, RestsSeen, CapacityTold, SocLeg, SpanCharged, BmsSaid, EnergyLeft)


def as_sent(reading: ReadingT) -> ReadingT:
    """The same reading in steps of the wire."""
    values = {f.name: getattr(reading, f.name) for f in fields(reading) if f.name in STEPS}
    sent: dict[str, Any] = {name: in_steps(name, value) for name, value in values.items() if value is not None}
    return replace(reading, **sent)


def in_steps(name: str, value: float) -> float:
    return round(value * STEPS[name]) / STEPS[name]
