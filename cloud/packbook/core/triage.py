"""Where a battery could serve next: in a car, in small mobility, in a stationary store, or as raw material.

In:  SoH now with its 90 % interval, the outlook's passages, and what is known of harm, knee and resistance.
Out: the first use whose every requirement holds, what ruled out the uses before it, and what was not known.
The limits are common practice, not law: they are named constants, and a workshop's inspection comes before any re-use.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.forecast import Passage


class Use(StrEnum):
    CAR = "car"
    SMALL_MOBILITY = "small_mobility"
    STATIONARY = "stationary"
    RECYCLE = "recycle"


class Reason(StrEnum):
    """A requirement that is not met. The names are stable: catalogues and programs use them."""

    HARM = "harm"  # a harmful event: no use before an inspection
    LOW = "low"  # the interval reaches below what the use needs
    SHORT = "short"  # it may be too low too soon
    KNEE = "knee"  # fading faster than before
    RESISTANCE = "resistance"  # power is going


# 70 % is where car warranties end (UN GTR 22: 8 years or 160 000 km); two years are worth a transplant.
CAR_SOH_MIN_PCT: Final = 70.0
CAR_YEARS_MIN: Final = 2.0
# Scooters and carts draw high rates for their size: they need power more than range.
SMALL_SOH_MIN_PCT: Final = 60.0
# A house draws a tenth of what a car does; below half the cells differ too much to be worth the cabinet.
STATIONARY_SOH_MIN_PCT: Final = 50.0
RESISTANCE_GROWTH_MAX_PCT: Final = 30.0  # a year; the limit of guarantees, facts/soh.md §12


@dataclass(frozen=True, slots=True)
class Standing:
    """What triage looks at. None: not known, and then not held against the battery but named."""

    soh_lo90_pct: float
    to_car_minimum: Passage  # below CAR_SOH_MIN_PCT
    knee: bool | None
    harmful_open: bool | None
    resistance_growth_pct: float | None  # a year


@dataclass(frozen=True, slots=True)
class Refusal:
    use: Use
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Triage:
    use: Use
    refusals: tuple[Refusal, ...]  # of every use before it, best first
    not_known: tuple[Reason, ...]


def triage(standing: Standing) -> Triage:
    refusals: list[Refusal] = []
    chosen = Use.RECYCLE
    for use in (Use.CAR, Use.SMALL_MOBILITY, Use.STATIONARY):
        reasons = _against(use, standing)
        if not reasons:
            chosen = use
            break
        refusals.append(Refusal(use, reasons))
    asked = (
        (Reason.HARM, standing.harmful_open),
        (Reason.KNEE, standing.knee),
        (Reason.RESISTANCE, standing.resistance_growth_pct),
    )
    return Triage(chosen, tuple(refusals), tuple(reason for reason, known in asked if known is None))


def _against(use: Use, standing: Standing) -> tuple[Reason, ...]:
    """A stationary store is gentle and watched: a knee or a grown resistance does not rule it out."""
    floor = {
        Use.CAR: CAR_SOH_MIN_PCT,
        Use.SMALL_MOBILITY: SMALL_SOH_MIN_PCT,
        Use.STATIONARY: STATIONARY_SOH_MIN_PCT,
    }[use]
    mobile = use is not Use.STATIONARY
    soonest = standing.to_car_minimum.years[0]
    growth = standing.resistance_growth_pct
    found = (
        (Reason.HARM, bool(standing.harmful_open)),
        (Reason.LOW, standing.soh_lo90_pct < floor),
        (Reason.SHORT, use is Use.CAR and soonest is not None and soonest < CAR_YEARS_MIN),
        (Reason.KNEE, mobile and bool(standing.knee)),
        (Reason.RESISTANCE, mobile and growth is not None and growth > RESISTANCE_GROWTH_MAX_PCT),
    )
    return tuple(reason for reason, holds in found if holds)
