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

SIGMA: Final = 0.025  # of the capacity


@dataclass(frozen=True, slots=True)
class BmsValueState:
    capacity_ah: float | None = None
    soh_pct: float | None = None
    at_s: float | None = None
    fresh: bool = False  # said since the last session ended
    n: int = 0  # sessions in which it was said
    evidence: tuple[int, ...] = ()


class BmsValue:
    id: Final = MethodId("bms_value/1")

    def start(self) -> BmsValueState:
        return BmsValueState()

    def watch(self, state: BmsValueState, samples: Samples, pack: PackFacts | None) -> BmsValueState:
        del pack
        said = ~np.isnan(samples.value[:, (Col.CAPACITY_REPORTED_AH, Col.SOH_REPORTED_PCT)])
        if not said.any():
            return state
        return BmsValueState(
            _newest(samples, Col.CAPACITY_REPORTED_AH, state.capacity_ah),
            _newest(samples, Col.SOH_REPORTED_PCT, state.soh_pct),
            float(samples.second[np.flatnonzero(said.any(axis=1))[-1]]),
            fresh=True,
            n=state.n,
            evidence=state.evidence,
        )

    def closed(self, state: BmsValueState, end: SessionEnd, pack: PackFacts | None) -> BmsValueState:
        del pack
        if not state.fresh:
            return state
        evidence = (*state.evidence, end.number)[-EVIDENCE_KEPT:]
        return replace(state, fresh=False, n=state.n + 1, evidence=evidence)

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
        return Estimate(self.id, Basis.BMS_VALUE, capacity_ah, SIGMA * capacity_ah, state.n, state.evidence, state.at_s)

    def _none(self, why: str) -> Estimate:
        return Estimate(self.id, Basis.BMS_VALUE, why=why)


def _newest(samples: Samples, col: Col, before: float | None) -> float | None:
    value = samples.column(col)
    said = value[~np.isnan(value)]
    return float(said[-1]) if said.size else before
