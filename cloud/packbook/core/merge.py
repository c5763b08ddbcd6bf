"""Several boxes, or several stores of one box, watched one battery: their usage adds up.

In:  the newest cumulative totals of each installation, newest last.
Out: one `UsageTotals`. Sums where a sum has a meaning; the car's own counters come from the newest that has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from packbook.core.history import UsageTotals

_T = TypeVar("_T")


def add_usage(parts: Sequence[UsageTotals]) -> UsageTotals | None:
    """The whole. None for no parts. Provenance and date are those of the newest part."""
    if not parts:
        return None
    newest = parts[-1]
    return replace(
        newest,
        observed_s=sum(p.observed_s for p in parts),
        inferred_s=sum(p.inferred_s for p in parts),
        unobserved_s=sum(p.unobserved_s for p in parts),
        charge_in_ah=sum(p.charge_in_ah for p in parts),
        charge_out_ah=sum(p.charge_out_ah for p in parts),
        energy_in_wh=sum(p.energy_in_wh for p in parts),
        energy_out_wh=sum(p.energy_out_wh for p in parts),
        energy_ac_in_wh=sum(p.energy_ac_in_wh for p in parts),
        energy_dc_in_wh=sum(p.energy_dc_in_wh for p in parts),
        equivalent_full_cycles=_sum_known(p.equivalent_full_cycles for p in parts),
        charges_ac=sum(p.charges_ac for p in parts),
        charges_dc=sum(p.charges_dc for p in parts),
        drives=sum(p.drives for p in parts),
        distance_km=sum(p.distance_km for p in parts),
        odometer_km=_newest_known(p.odometer_km for p in parts),
        soc_temp_s=_add_cells([p.soc_temp_s for p in parts]),
        c_rate_temp_s=_add_cells([p.c_rate_temp_s for p in parts]),
        depth_counts=_add_cells([p.depth_counts for p in parts]),
        events=_add_counts(parts),
        charge_count_ac_reported=_newest_known(p.charge_count_ac_reported for p in parts),
        charge_count_dc_reported=_newest_known(p.charge_count_dc_reported for p in parts),
        charging_temp_s=_add_told([p.charging_temp_s for p in parts if p.charges_ac or p.charges_dc]),
        first_ms=min((p.first_ms for p in parts if p.first_ms is not None), default=None),
    )


def _sum_known(values: Iterable[float | None]) -> float | None:
    """A part that is unknown makes the sum unknown: a smaller figure would flatter the battery."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _newest_known(values: Iterable[_T | None]) -> _T | None:
    known = [value for value in values if value is not None]
    return known[-1] if known else None


def _add_cells(histograms: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*histograms, strict=True)))


def _add_told(histograms: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Where one of them counts nothing, their sum would be too small, so it is not told."""
    return _add_cells(histograms) if all(histograms) else ()


def _add_counts(parts: Sequence[UsageTotals]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part.events)
    return dict(sorted(total.items()))
