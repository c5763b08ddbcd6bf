"""Weigh the methods' estimates into one capacity SoH with its interval, or say why there is none.

In:  estimates, the pack's facts, what the car reports.
Out: `SohValue`. States as in facts/soh.md §13; percent of the reference capacity.
Refuses: a percentage without a reference; an interval made narrow by the car's own opinion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from packbox.core.packs import Chemistry, PackFacts
from packbox.core.soh.method import RATED_NOW, RATED_SIGMA, Basis, Estimate, MethodId

WEIGHER: Final = MethodId("weigh/1")
GAIN_FLOOR: Final = 0.008  # of the capacity: gain error of a current sensor that is known (facts/soh.md §6)
GAIN_FLOOR_UNKNOWN: Final = 0.015  # of one that nobody knows (facts/soh.md §6)
GAIN_FLOOR_FLAT: Final = 0.018  # where the chemistry's curve is flat: few anchors, all near the ends
GAIN_FLOOR_BMS: Final = GAIN_FLOOR_UNKNOWN  # beside the BMS's SoC: its sensor, which nobody calibrated
SCALE_BMS: Final = 0.02  # of the capacity: the BMS divides by a capacity of its own, which is off by as much
ASK_BMS_ABOVE: Final = 0.02  # of the capacity: above this sigma of ours the BMS's opinion counts (§6: 0.8 x 2.5 %)
Z90: Final = 1.645
Z99: Final = 2.576
LEARNING_HALF_WIDTH_PCT: Final = 5.0
LEARNING_N: Final = 10
SOH_MIN_PCT, SOH_MAX_PCT = 40.0, 115.0  # outside: the facts and the pack do not belong together
SOH_ALONE_MIN_PCT: Final = 55.0  # where the car itself says nothing: half the current looks like half the pack
OWN_APART: Final = 0.6  # of the larger: no car's own value errs by so much, but a scale of the current may
STALE_S: Final = 90 * 86_400.0

Doubt: TypeAlias = tuple[float, str | None]  # sigma in Ah, and why


class SohStatus(StrEnum):
    NONE = "none"
    LEARNING = "learning"
    OK = "ok"
    STALE = "stale"
    INCONSISTENT = "inconsistent"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class SohValue:
    """Capacity SoH. Without a reference there is a capacity but no percentage; without readings there is neither."""

    state: SohStatus
    why: str | None = None
    soh_pct: float | None = None
    sigma_pct: float | None = None
    lo90_pct: float | None = None
    hi90_pct: float | None = None
    capacity_ah: float | None = None
    sigma_ah: float | None = None
    reference_ah: float | None = None
    reference_source: str | None = None
    basis: Basis | None = None
    method: MethodId = WEIGHER


def weigh(estimates: Sequence[Estimate], pack: PackFacts | None, reported_pct: float | None, at_s: float) -> SohValue:
    reference_ah = pack.reference_ah if pack is not None else None
    source = pack.reference_source if pack is not None else None
    contradictions = [e.why for e in estimates if e.contradicted and e.why]
    if contradictions:
        return SohValue(SohStatus.NONE, contradictions[0], reference_ah=reference_ah, reference_source=source)
    measured = _narrowest([e for e in estimates if e.basis is not Basis.BMS_VALUE], pack)
    reported = _narrowest([e for e in estimates if e.basis is Basis.BMS_VALUE], pack)
    if measured is None and reported is None:
        reasons = "; ".join(e.why for e in estimates if e.why) or "no method has looked at this pack yet"
        return SohValue(SohStatus.NONE, reasons, reference_ah=reference_ah, reference_source=source)
    if measured is not None and reported is not None and _apart(measured, reported) > 1.0 - OWN_APART:
        odd = f"{_ah(measured)} measured, {_ah(reported)} by the car's own account: is the current's scale wrong?"
        return SohValue(SohStatus.NONE, odd, reference_ah=reference_ah, reference_source=source)
    capacity_ah, sigma_ah, basis = _combined(measured, reported)
    doubt_ah, doubt = max(
        _doubt(measured, estimates, pack), _scale_doubt(measured, reported, pack), key=lambda one: one[0]
    )
    sigma_ah = max(sigma_ah, doubt_ah)
    sigma_ah = math.hypot(sigma_ah, _floor(basis, pack) * capacity_ah)
    if reference_ah is None:
        unnamed = "no reference capacity is known for this pack, so its capacity cannot be a percentage"
        return SohValue(SohStatus.NONE, unnamed, capacity_ah=capacity_ah, sigma_ah=sigma_ah, basis=basis)
    soh_pct, sigma_pct = 100.0 * capacity_ah / reference_ah, 100.0 * sigma_ah / reference_ah
    if not (SOH_MIN_PCT if reported is not None else SOH_ALONE_MIN_PCT) <= soh_pct <= SOH_MAX_PCT:
        odd = f"{capacity_ah:.1f} Ah of {reference_ah:g} Ah is no health a pack can have: is it another pack?"
        return SohValue(SohStatus.NONE, odd, reference_ah=reference_ah, reference_source=source)
    state, why = _status(measured, soh_pct, sigma_pct, reported_pct, at_s)
    why = doubt if state is SohStatus.LEARNING and doubt else why
    return SohValue(
        state,
        why,
        soh_pct,
        sigma_pct,
        soh_pct - Z90 * sigma_pct,
        soh_pct + Z90 * sigma_pct,
        capacity_ah,
        sigma_ah,
        reference_ah,
        source,
        basis,
    )


def _narrowest(estimates: Sequence[Estimate], pack: PackFacts | None) -> Estimate | None:
    """The surest once its floor is added."""

    def sigma_share(one: Estimate) -> float:
        assert one.sigma_ah is not None
        assert one.capacity_ah is not None
        return math.hypot(one.sigma_ah / one.capacity_ah, _floor(one.basis, pack))

    return min((e for e in estimates if e.sigma_ah is not None), key=sigma_share, default=None)


def _floor(basis: Basis, pack: PackFacts | None) -> float:
    """What no number of readings takes away, as a share of the capacity."""
    if basis is not Basis.OCV:
        return math.hypot(GAIN_FLOOR_BMS, SCALE_BMS) if basis is Basis.BMS_SOC else GAIN_FLOOR_BMS
    known_pct = None if pack is None else pack.current_gain_sigma_pct
    gain = GAIN_FLOOR_UNKNOWN if known_pct is None else max(GAIN_FLOOR, known_pct / 100.0)
    return max(gain, GAIN_FLOOR_FLAT) if pack is not None and pack.chemistry is Chemistry.LFP else gain


def _apart(one: Estimate, other: Estimate) -> float:
    """As a share of the larger."""
    assert one.capacity_ah is not None
    assert other.capacity_ah is not None
    return abs(one.capacity_ah - other.capacity_ah) / max(one.capacity_ah, other.capacity_ah)


def _ah(one: Estimate) -> str:
    return f"{one.capacity_ah:.1f} Ah"


def _doubt(measured: Estimate | None, estimates: Sequence[Estimate], pack: PackFacts | None) -> Doubt:
    """Where measurements exclude each other one is wrong, and nobody knows which: the interval must hold them all."""
    doubt_ah, why = 0.0, None
    if measured is None or measured.capacity_ah is None or measured.sigma_ah is None:
        return doubt_ah, why
    for other in estimates:
        if other.basis in (measured.basis, Basis.BMS_VALUE) or other.capacity_ah is None or other.sigma_ah is None:
            continue
        floors_ah = [_floor(one.basis, pack) * (one.capacity_ah or 0.0) for one in (measured, other)]
        sigma_ah = math.hypot(measured.sigma_ah, other.sigma_ah, *floors_ah)
        distance_ah = abs(measured.capacity_ah - other.capacity_ah)
        if distance_ah > Z99 * sigma_ah and distance_ah / Z90 > doubt_ah:
            doubt_ah = distance_ah / Z90
            why = f"{measured.method} tells {_ah(measured)} and {other.method} {_ah(other)}: one of them is wrong"
    return doubt_ah, why


def _scale_doubt(measured: Estimate | None, reported: Estimate | None, pack: PackFacts | None) -> Doubt:
    """A current that reads a third too low looks like a worn pack: the only word against it is what a pack held before.

    That is what the car told once, when watching began, or what packs of this rating hold. Where the car goes on
    telling its own value, `_status` compares.
    """
    if measured is None or measured.capacity_ah is None or measured.sigma_ah is None:
        return 0.0, None
    if reported is None:
        rated_ah = None if pack is None else pack.rated_ah or pack.reference_ah
        if rated_ah is None:
            return 0.0, None
        before_ah, sigma_ah, now_ah = RATED_NOW * rated_ah, RATED_SIGMA * rated_ah, measured.capacity_ah
        words = f"packs of this rating hold {before_ah:.1f} Ah, and the car tells no capacity"
    elif reported.n == 0 and reported.capacity_ah is not None and reported.sigma_ah is not None and measured.first_ah:
        before_ah, sigma_ah, now_ah = reported.capacity_ah, reported.sigma_ah, measured.first_ah
        words = f"the car told {_ah(reported)} when watching began"
    else:
        return 0.0, None
    floor_ah = _floor(measured.basis, pack) * measured.capacity_ah
    if abs(now_ah - before_ah) <= Z99 * math.hypot(measured.sigma_ah, sigma_ah, floor_ah):
        return 0.0, None
    why = f"{_ah(measured)} measured, but {words}: is the scale of the current right?"
    return abs(measured.capacity_ah - before_ah) / Z90 + sigma_ah, why


def _combined(measured: Estimate | None, reported: Estimate | None) -> tuple[float, float, Basis]:
    """Capacity, sigma before the gain floor, and what it rests on."""
    one = measured or reported
    assert one is not None
    assert one.capacity_ah is not None
    assert one.sigma_ah is not None
    if (
        measured is None
        or reported is None
        or measured.basis is Basis.OCV
        or one.sigma_ah <= ASK_BMS_ABOVE * one.capacity_ah
    ):
        return one.capacity_ah, one.sigma_ah, one.basis
    assert reported.capacity_ah is not None
    assert reported.sigma_ah is not None
    weight = reported.sigma_ah**2 / (one.sigma_ah**2 + reported.sigma_ah**2)  # of what we measured
    capacity_ah = weight * one.capacity_ah + (1.0 - weight) * reported.capacity_ah
    # Both stem from the same car, so agreeing makes neither surer; and if they exclude each other the mean is neither.
    sigma_ah = min(one.sigma_ah, reported.sigma_ah)
    distance_ah = abs(one.capacity_ah - reported.capacity_ah)
    if distance_ah > Z99 * math.hypot(one.sigma_ah, reported.sigma_ah):
        sigma_ah = max(sigma_ah, distance_ah / Z90)
    return capacity_ah, sigma_ah, one.basis if weight >= 0.5 else reported.basis


def _status(
    measured: Estimate | None, soh_pct: float, sigma_pct: float, reported_pct: float | None, at_s: float
) -> tuple[SohStatus, str | None]:
    if measured is None:
        return SohStatus.LEARNING, "only the car's own value so far: nothing measured yet"
    if measured.restarted:
        return SohStatus.REPLACED, "readings no longer fitted the old capacity: counting began anew"
    if measured.newest_s is not None and at_s - measured.newest_s > STALE_S:
        return SohStatus.STALE, f"no usable charge for {(at_s - measured.newest_s) / 86_400:.0f} days"
    if measured.n < LEARNING_N:
        return SohStatus.LEARNING, f"{measured.n} of {LEARNING_N} readings taken"
    if Z90 * sigma_pct > LEARNING_HALF_WIDTH_PCT:
        return SohStatus.LEARNING, f"the interval is still wider than {LEARNING_HALF_WIDTH_PCT:g} points either way"
    if reported_pct is not None and abs(reported_pct - soh_pct) > Z99 * sigma_pct:
        return SohStatus.INCONSISTENT, f"the car reports {reported_pct:.1f} %, outside our 99 % interval"
    return SohStatus.OK, None
