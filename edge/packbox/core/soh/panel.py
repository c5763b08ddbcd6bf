"""The methods side by side: each sees everything, none sees another, `weigh` hears them all.

Resistance and energies stand beside the capacity: they have names of their own and never change it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np

from packbox.core.frames import BoolArray
from packbox.core.packs import PackFacts
from packbox.core.sample import Samples
from packbox.core.soh import charge_ratio, energy_series, full_span, resistance, rest_bands, screen
from packbox.core.soh.bms_value import BmsValue, BmsValueState
from packbox.core.soh.charge_ratio import ChargeRatio, ChargeRatioState
from packbox.core.soh.energy import soce_pct
from packbox.core.soh.energy_series import EnergyFull, EnergySeriesState
from packbox.core.soh.full_span import FullSpan, FullSpanState
from packbox.core.soh.method import Basis, Estimate, Method, Reading, SessionEnd, State
from packbox.core.soh.reading import BmsSaid, EnergyLeft, SocLeg, SpanCharged
from packbox.core.soh.resistance import ResistanceState
from packbox.core.soh.rest_bands import RestBands, RestReading
from packbox.core.soh.rest_state import RestBandsState
from packbox.core.soh.screen import ScreenState
from packbox.core.soh.weigh import SohValue, weigh

REST_BANDS: Final[Method[RestBandsState, RestReading]] = RestBands()
CHARGE_RATIO: Final[Method[ChargeRatioState, SocLeg]] = ChargeRatio()
BMS_VALUE: Final[Method[BmsValueState, BmsSaid]] = BmsValue()
FULL_SPAN: Final[Method[FullSpanState, SpanCharged]] = FullSpan()


@dataclass(frozen=True, slots=True)
class Readings:
    """What one session gave, by method, in the order of use. Whoever has them all can `use` them again."""

    number: int  # since the pack is watched, from 1: none may be left out
    end: SessionEnd
    charge_ratio: tuple[SocLeg, ...] = ()
    bms_value: tuple[BmsSaid, ...] = ()
    rest_bands: tuple[RestReading, ...] = ()
    full_span: tuple[SpanCharged, ...] = ()
    energy: tuple[EnergyLeft, ...] = ()
    refused: str | None = None  # why nothing counted with this current stands, until the next readings


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
    energy: EnergyFull  # what the car itself counts
    change_pct: float | None  # of the SoH since the first 90 days: errors of the scale cancel in it


@dataclass(frozen=True, slots=True, eq=False)
class PanelState:
    charge_ratio: ChargeRatioState
    bms_value: BmsValueState
    rest_bands: RestBandsState = field(default_factory=RestBandsState)  # came later: older snapshots have none
    full_span: FullSpanState = field(default_factory=FullSpanState)
    resistance: ResistanceState = field(default_factory=ResistanceState)
    told: int = 1  # `Readings` so far; older snapshots have used some that nobody was told
    screen: ScreenState = field(default_factory=ScreenState)
    energy: EnergySeriesState = field(default_factory=EnergySeriesState)
    refused: str | None = None  # as the newest `Readings` told

    @property
    def readings(self) -> int:
        """How many have been taken: tells whether a session gave one."""
        return self.rest_bands.n + self.charge_ratio.n + self.full_span.n


def start() -> PanelState:
    return PanelState(
        CHARGE_RATIO.start(), BMS_VALUE.start(), REST_BANDS.start(), FULL_SPAN.start(), resistance.start(), told=0
    )


def watch(state: PanelState, samples: Samples, pack: PackFacts | None) -> PanelState:
    seen, false = screen.watch(state.screen, samples, pack)
    return replace(
        _count(state, samples, false, pack),
        bms_value=BMS_VALUE.watch(state.bms_value, samples, pack),
        rest_bands=REST_BANDS.watch(state.rest_bands, samples, pack),
        resistance=resistance.watch(state.resistance, samples, pack),
        screen=seen,
        energy=energy_series.watch(state.energy, samples),
    )


def _count(state: PanelState, samples: Samples, false: BoolArray, pack: PackFacts | None) -> PanelState:
    """Methods that count charge along the car's own SoC begin anew after rows that cannot be true."""
    ratio, span = state.charge_ratio, state.full_span
    bounds = [0, *(np.flatnonzero(false[1:] != false[:-1]) + 1).tolist(), len(samples)]
    for low, high in pairwise(bounds):
        ratio_before, span_before = ratio, span
        ratio = CHARGE_RATIO.watch(ratio, samples.cut(low, high), pack)
        span = FULL_SPAN.watch(span, samples.cut(low, high), pack)
        if false[low]:
            ratio, span = charge_ratio.forget(ratio, ratio_before), full_span.forget(span, span_before)
    return replace(state, charge_ratio=ratio, full_span=span)


def closed(state: PanelState, end: SessionEnd, pack: PackFacts | None) -> tuple[PanelState, Readings | None]:
    """A session ended: take what it gave, use it, and hand it out so that it can be told."""
    ratio, legs = CHARGE_RATIO.take(state.charge_ratio, pack)
    bms_value, said = BMS_VALUE.take(state.bms_value, pack)
    rest, rests = REST_BANDS.take(state.rest_bands, pack)
    span, spans = FULL_SPAN.take(state.full_span, pack)
    energy, left = energy_series.take(state.energy)
    state = replace(state, charge_ratio=ratio, bms_value=bms_value, rest_bands=rest, full_span=span, energy=energy)
    refused = screen.why_not(state.screen)
    if not (legs or said or rests or spans or left) and refused == state.refused:
        return state, None
    readings = Readings(state.told + 1, end, legs, said, rests, spans, left, refused)
    return use(state, readings, pack), readings


def use(state: PanelState, readings: Readings, pack: PackFacts | None) -> PanelState:
    """Conclude from the readings of one session. With the readings from the wire this is how anybody does it again."""
    end, energy = readings.end, state.energy
    for reading in readings.energy:
        energy = energy_series.use(energy, reading, end)
    return PanelState(
        _used(CHARGE_RATIO, state.charge_ratio, readings.charge_ratio, end, pack),
        _used(BMS_VALUE, state.bms_value, readings.bms_value, end, pack),
        _used(REST_BANDS, state.rest_bands, readings.rest_bands, end, pack),
        _used(FULL_SPAN, state.full_span, readings.full_span, end, pack),
        state.resistance,
        readings.number,
        state.screen,
        energy,
        readings.refused,
    )


def _used(
    method: Method[State, Reading], state: State, readings: tuple[Reading, ...], end: SessionEnd, pack: PackFacts | None
) -> State:
    for reading in readings:
        state = method.use(state, reading, end, pack)
    return state


def estimates(state: PanelState, at_s: float, pack: PackFacts | None) -> tuple[Estimate, ...]:
    told = (
        CHARGE_RATIO.estimate(state.charge_ratio, at_s, pack),
        BMS_VALUE.estimate(state.bms_value, at_s, pack),
        REST_BANDS.estimate(state.rest_bands, at_s, pack),
        FULL_SPAN.estimate(state.full_span, at_s, pack),
    )
    if state.refused is None:
        return told
    why = screen.WORDS.get(state.refused, state.refused)
    return tuple(
        one if one.basis is Basis.BMS_VALUE or one.contradicted else Estimate(one.method, one.basis, why=why)
        for one in told
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
    energy = energy_series.estimate(state.energy, at_s)
    return Verdict(soh, told, soce, soce_why or None, ohm, ohm_why, grown_pct, energy, change_pct)


def _reported(state: PanelState, pack: PackFacts | None) -> float | None:
    """What the car last said, in percent."""
    own = state.bms_value
    if own.soh_pct is not None or own.capacity_ah is None or pack is None or pack.reference_ah is None:
        return own.soh_pct
    return 100.0 * own.capacity_ah / pack.reference_ah
