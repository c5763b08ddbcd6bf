"""Capacity as the car's own battery management reports it: in Ah, or as a share of the reference.

In:  the reported values in the samples.
Out: an estimate with the sigma that such opinions have shown (facts/soh.md §6: biased and slow).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from packbox.core.packs import PackFacts
from packbox.core.sample import Col, Samples
from packbox.core.soh.method import EVIDENCE_KEPT, Basis, Estimate, MethodId, SessionEnd
from packbox.core.soh.reading import BmsSaid, as_sent

SIGMA: Final = 0.025  # of the capacity
JUMP_MIN: Final = 0.04  # of it: no ageing, but a reset or a new opinion, and nobody knows which of the two was right
HALF_WIDTH: Final = 1.645  # sigmas to the ends of the 90 % interval


@dataclass(frozen=True, slots=True)
class BmsValueState:
    heard: BmsSaid | None = None  # since the last session ended
    # What was concluded
    capacity_ah: float | None = None
    soh_pct: float | None = None
    at_s: float | None = None
    n: int = 0  # sessions in which it was said
    jumped: float = 0.0  # largest jump so far, as a share
    evidence: tuple[int, ...] = ()


class BmsValue:
    id: Final = MethodId("bms_value/1")

    def start(self) -> BmsValueState:
        return BmsValueState()

    def watch(self, state: BmsValueState, samples: Samples, pack: PackFacts | None) -> BmsValueState:
        del pack
        said = ~np.isnan(samples.value[:, Col.SOH_REPORTED_PCT : Col.CAPACITY_REPORTED_AH + 1])  # side by side
        if not said.any():
            return state
        before = state.heard or BmsSaid(0, None, None)
        heard = BmsSaid(
            int(samples.second[np.flatnonzero(said.any(axis=1))[-1]]),
            _newest(samples, Col.CAPACITY_REPORTED_AH, before.capacity_ah),
            _newest(samples, Col.SOH_REPORTED_PCT, before.soh_pct),
        )
        return replace(state, heard=heard)

    def take(self, state: BmsValueState, pack: PackFacts | None) -> tuple[BmsValueState, tuple[BmsSaid, ...]]:
        del pack
        if state.heard is None:
            return state, ()
        return replace(state, heard=None), (as_sent(state.heard),)

    def use(self, state: BmsValueState, reading: BmsSaid, end: SessionEnd, pack: PackFacts | None) -> BmsValueState:
        del pack
        jumped = max(_change(state.capacity_ah, reading.capacity_ah), _change(state.soh_pct, reading.soh_pct))
        return replace(
            state,
            jumped=jumped if jumped > max(JUMP_MIN, state.jumped) else state.jumped,
            capacity_ah=state.capacity_ah if reading.capacity_ah is None else reading.capacity_ah,
            soh_pct=state.soh_pct if reading.soh_pct is None else reading.soh_pct,
            at_s=float(reading.at_s),
            n=state.n + 1,
            evidence=(*state.evidence, end.number)[-EVIDENCE_KEPT:],
        )

    def estimate(self, state: BmsValueState, at_s: float, pack: PackFacts | None) -> Estimate:
        del at_s
        reference_ah = pack.reference_ah if pack is not None else None
        started_ah = pack.capacity_start_ah if pack is not None else None
        if state.capacity_ah is not None:
            capacity_ah = state.capacity_ah
        elif state.soh_pct is None and started_ah is not None:
            capacity_ah = started_ah  # told once, before watching began
        elif state.soh_pct is None:
            return self._none("the car reports neither capacity nor state of health")
        elif reference_ah is None:
            return self._none(f"the car reports {state.soh_pct:g} % health, but of what is not known for this pack")
        else:
            capacity_ah = state.soh_pct / 100.0 * reference_ah
        sigma_ah = max(SIGMA, state.jumped / HALF_WIDTH) * capacity_ah
        return Estimate(self.id, Basis.BMS_VALUE, capacity_ah, sigma_ah, state.n, state.evidence, state.at_s)

    def _none(self, why: str) -> Estimate:
        return Estimate(self.id, Basis.BMS_VALUE, why=why)


def _change(before: float | None, after: float | None) -> float:
    """As a share of what it was."""
    return abs(after - before) / before if before and after is not None else 0.0


def _newest(samples: Samples, col: Col, before: float | None) -> float | None:
    value = samples.column(col)
    said = value[~np.isnan(value)]
    return float(said[-1]) if said.size else before
