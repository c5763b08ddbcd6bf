"""The methods side by side: each sees everything, none sees another, `weigh` hears them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from packbox.core.packs import PackFacts
from packbox.core.sample import Samples
from packbox.core.soh.bms_value import BmsValue, BmsValueState
from packbox.core.soh.charge_ratio import ChargeRatio, ChargeRatioState
from packbox.core.soh.method import Estimate, Method, SessionEnd

CHARGE_RATIO: Final[Method[ChargeRatioState]] = ChargeRatio()
BMS_VALUE: Final[Method[BmsValueState]] = BmsValue()


@dataclass(frozen=True, slots=True, eq=False)
class PanelState:
    charge_ratio: ChargeRatioState
    bms_value: BmsValueState

    @property
    def readings(self) -> int:
        """How many have been taken: tells whether a session gave one."""
        return self.charge_ratio.n


def start() -> PanelState:
    return PanelState(CHARGE_RATIO.start(), BMS_VALUE.start())


def watch(state: PanelState, samples: Samples, pack: PackFacts | None) -> PanelState:
    return PanelState(
        CHARGE_RATIO.watch(state.charge_ratio, samples, pack), BMS_VALUE.watch(state.bms_value, samples, pack)
    )


def closed(state: PanelState, end: SessionEnd, pack: PackFacts | None) -> PanelState:
    return PanelState(CHARGE_RATIO.closed(state.charge_ratio, end, pack), BMS_VALUE.closed(state.bms_value, end, pack))


def estimates(state: PanelState, at_s: float, pack: PackFacts | None) -> tuple[Estimate, ...]:
    return (
        CHARGE_RATIO.estimate(state.charge_ratio, at_s, pack),
        BMS_VALUE.estimate(state.bms_value, at_s, pack),
    )
