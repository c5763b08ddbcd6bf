"""The methods side by side: each sees everything, none sees another, `weigh` hears them all.

Resistance and energy stand beside the capacity: they have names of their own and never change it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from packbox.core.packs import PackFacts
from packbox.core.sample import Samples
from packbox.core.soh import resistance, rest_bands
from packbox.core.soh.bms_value import BmsValue, BmsValueState
from packbox.core.soh.charge_ratio import ChargeRatio, ChargeRatioState
from packbox.core.soh.energy import soce_pct
from packbox.core.soh.full_span import FullSpan, FullSpanState
from packbox.core.soh.method import Estimate, Method, SessionEnd
from packbox.core.soh.resistance import ResistanceState
from packbox.core.soh.rest_bands import RestBands, RestBandsState
from packbox.core.soh.weigh import SohValue, weigh

REST_BANDS: Final[Method[RestBandsState]] = RestBands()
CHARGE_RATIO: Final[Method[ChargeRatioState]] = ChargeRatio()
BMS_VALUE: Final[Method[BmsValueState]] = BmsValue()
FULL_SPAN: Final[Method[FullSpanState]] = FullSpan()


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that is said of a pack's health. Quantities of different names are never mixed."""

    soh: SohValue
    estimates: tuple[Estimate, ...]
    soce_pct: float | None  # estimated, not type-approval
    soce_why: str | None
    r25_ohm: float | None
    r25_why: str | None
    r25_growth_pct: float | None  # since it was first told
    change_pct: float | None  # of the SoH since the first 90 days: errors of the scale cancel in it


@dataclass(frozen=True, slots=True, eq=False)
class PanelState:
    charge_ratio: ChargeRatioState
    bms_value: BmsValueState
    rest_bands: RestBandsState = field(default_factory=RestBandsState)  # came later: older snapshots have none
    full_span: FullSpanState = field(default_factory=FullSpanState)
    resistance: ResistanceState = field(default_factory=ResistanceState)

    @property
    def readings(self) -> int:
        """How many have been taken: tells whether a session gave one."""
        return self.rest_bands.n + self.charge_ratio.n + self.full_span.n


def start() -> PanelState:
    return PanelState(
        CHARGE_RATIO.start(), BMS_VALUE.start(), REST_BANDS.start(), FULL_SPAN.start(), resistance.start()
    )


def watch(state: PanelState, samples: Samples, pack: PackFacts | None) -> PanelState:
    return PanelState(
        CHARGE_RATIO.watch(state.charge_ratio, samples, pack),
        BMS_VALUE.watch(state.bms_value, samples, pack),
        REST_BANDS.watch(state.rest_bands, samples, pack),
        FULL_SPAN.watch(state.full_span, samples, pack),
        resistance.watch(state.resistance, samples, pack),
    )


def closed(state: PanelState, end: SessionEnd, pack: PackFacts | None) -> PanelState:
    return PanelState(
        CHARGE_RATIO.closed(state.charge_ratio, end, pack),
        BMS_VALUE.closed(state.bms_value, end, pack),
        REST_BANDS.closed(state.rest_bands, end, pack),
        FULL_SPAN.closed(state.full_span, end, pack),
        state.resistance,
    )


def estimates(state: PanelState, at_s: float, pack: PackFacts | None) -> tuple[Estimate, ...]:
    return (
        CHARGE_RATIO.estimate(state.charge_ratio, at_s, pack),
        BMS_VALUE.estimate(state.bms_value, at_s, pack),
        REST_BANDS.estimate(state.rest_bands, at_s, pack),
        FULL_SPAN.estimate(state.full_span, at_s, pack),
    )


def verdict(state: PanelState, at_s: float, pack: PackFacts | None, soh_reported_pct: float | None = None) -> Verdict:
    """What can be said now. The SoH that the car reports is compared, never mixed in."""
    told = estimates(state, at_s, pack)
    soh = weigh(told, pack, soh_reported_pct if soh_reported_pct is not None else _reported(state, pack), at_s)
    ohm, ohm_why = resistance.ohm25(state.resistance, pack)
    first_ohm = state.resistance.first_ohm
    grown_pct = None if ohm is None or first_ohm is None else 100.0 * (ohm / first_ohm - 1.0)
    soce, soce_why = None, "no state of health to start from"
    if soh.soh_pct is not None and pack is not None:
        soce = soce_pct(soh.soh_pct, pack, None if grown_pct is None else 1.0 + grown_pct / 100.0)
        soce_why = "the mean voltage of this chemistry is not known" if soce is None else ""
    change_ah = rest_bands.change_ah(state.rest_bands, at_s)
    change_pct = None if change_ah is None or not soh.reference_ah else 100.0 * change_ah / soh.reference_ah
    return Verdict(soh, told, soce, soce_why or None, ohm, ohm_why, grown_pct, change_pct)


def _reported(state: PanelState, pack: PackFacts | None) -> float | None:
    """What the car last said, in percent."""
    own = state.bms_value
    if own.soh_pct is not None or own.capacity_ah is None or pack is None or pack.reference_ah is None:
        return own.soh_pct
    return 100.0 * own.capacity_ah / pack.reference_ah
