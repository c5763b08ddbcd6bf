"""From capacity to energy: what UN GTR 22 calls the state of certified energy, as an estimate and no type-approval.

In:  capacity SoH, the pack's facts, how much the resistance grew. Out: SOCE in percent.
A grown resistance takes voltage, so the energy falls a little more than the charge (facts/soh.md §8).
"""

from __future__ import annotations

from typing import Final

from packbox.core.ocv import curve_of
from packbox.core.packs import Chemistry, PackFacts

MEAN_V: Final = {Chemistry.LMO: 3.85, Chemistry.NMC: 3.68, Chemistry.NCA: 3.68, Chemistry.LFP: 3.27}
LOAD_C: Final = 0.25  # mean load of a WLTP-like drive
DROP_V: Final = LOAD_C * 0.101  # of a new cell: 1.2 * R30s, 1.53 mOhm at 66.2 Ah, scaled with the capacity


def soce_pct(soh_pct: float, pack: PackFacts, resistance_ratio: float | None) -> float | None:
    """None where the mean voltage is not known. A resistance never measured counts as new."""
    curve = curve_of(pack.ocv)
    mean_v = MEAN_V.get(pack.chemistry) if curve is None else curve.mean_v
    if mean_v is None:
        return None
    return soh_pct * (mean_v - DROP_V * (resistance_ratio or 1.0)) / (mean_v - DROP_V)
