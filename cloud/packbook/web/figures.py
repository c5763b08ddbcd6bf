"""Decide how figures are shown, so that no page claims more than the data support (facts/soh.md §2, §13).

In:  values of `core.history`.
Out: rounded figures with their interval, shares, and sums of the histograms.
A number without an uncertainty is not shown: `shown_soh` answers None and the page gives the reason instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from packbook.core.history import (
    C_RATE_EDGES,
    DEPTH_EDGES_PCT,
    SOC_BANDS_PCT,
    TEMP_EDGES_DEGC,
    SessionRow,
    SohPoint,
    UsageTotals,
)
from packbook.core.rounding import SIGMAS_90, ShownSoh, shown
from packbook.core.told import Told

TEMP_BANDS: Final = len(TEMP_EDGES_DEGC) + 1
SOC_BANDS: Final = len(SOC_BANDS_PCT)
C_RATE_BANDS: Final = len(C_RATE_EDGES) + 1
HIGH_SOC_PCT: Final = 80.0  # full and hot together age a pack most; where the stress map begins to matter
HOT_DEGC: Final = 30.0
HARMFUL_EVENTS: Final = ("cell_low", "cell_high", "pack_hot", "cold_charge", "isolation_fault", "crash")  # facts §10
WATCHED_MIN_KM: Final = 50.0  # odometers count whole kilometres: below, a share would be noise
GENTLE_C_RATE: Final = 0.3  # an AC wall box on a 24 kWh pack

Grid = tuple[tuple[int, ...], ...]
Band = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One labelled figure; `explain` names its plain-words explanation in the catalogue."""

    label: str
    value: str
    detail: str | Told | None = None
    explain: str | None = None
    swatch: str | None = None  # the part of the coverage bar it stands for


def interval_pct(point: SohPoint) -> tuple[float, float] | None:
    """The 90 % interval, as sent or from sigma."""
    if point.lo90_pct is not None and point.hi90_pct is not None:
        return point.lo90_pct, point.hi90_pct
    if point.soh_pct is not None and point.sigma_pct is not None:
        return point.soh_pct - SIGMAS_90 * point.sigma_pct, point.soh_pct + SIGMAS_90 * point.sigma_pct
    return None


def shown_soh(point: SohPoint | None) -> ShownSoh | None:
    if point is None or point.soh_pct is None:
        return None
    interval = interval_pct(point)
    if interval is None:
        return None
    return shown(point.soh_pct, *interval)


def rounded_reported(point: SohPoint | None) -> float | None:
    """The car's own SoH carries no uncertainty at all: whole percent, as its dashboard would."""
    return None if point is None or point.soh_reported_pct is None else float(round(point.soh_reported_pct))


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the battery's life the figures rest on."""

    observed_s: float
    inferred_s: float
    unobserved_s: float
    share: float | None  # 0..1 of the time since the box was fitted; None before any time passed
    observed_km: float
    odometer_km: float | None
    observed_ah: float

    @property
    def inferred_share(self) -> float:
        return self.inferred_s / self.total_s if self.total_s else 0.0

    @property
    def total_s(self) -> float:
        return self.observed_s + self.inferred_s + self.unobserved_s

    @property
    def km_share(self) -> float | None:
        return min(1.0, self.observed_km / self.odometer_km) if self.odometer_km else None


def coverage(usage: UsageTotals | None, point: SohPoint | None) -> Coverage | None:
    """The newest totals know best; before the first of them the newest SoH carries its own."""
    if usage is not None:
        times = (usage.observed_s, usage.inferred_s, usage.unobserved_s)
        km, odometer_km, ah = usage.distance_km, usage.odometer_km, usage.charge_in_ah + usage.charge_out_ah
    elif point is not None:
        times = (point.observed_s, point.inferred_s, point.unobserved_s)
        km, odometer_km, ah = point.observed_km, point.odometer_km, point.observed_ah
    else:
        return None
    total_s = sum(times)
    return Coverage(*times, (times[0] + times[1]) / total_s if total_s else None, km, odometer_km, ah)


@dataclass(frozen=True, slots=True)
class Watched:
    """How much of what the car drove since a day was watched."""

    since_ms: int
    driven_km: float  # by the car's own odometer
    share: float  # 0..1


def watched(series: Sequence[SohPoint], usage: UsageTotals | None) -> Watched | None:
    """Since the first reading that told the odometer; None before enough was driven to say."""
    told = [p for p in series if p.at_ms is not None and p.odometer_km is not None]
    if not told:
        return None
    first, last = told[0], told[-1]
    odometer_km, seen_km = last.odometer_km, last.observed_km
    if usage is not None and usage.odometer_km is not None:
        odometer_km, seen_km = usage.odometer_km, usage.distance_km
    assert first.at_ms is not None
    assert first.odometer_km is not None
    assert odometer_km is not None
    driven_km = odometer_km - first.odometer_km
    if driven_km < WATCHED_MIN_KM:
        return None
    return Watched(first.at_ms, driven_km, min(1.0, max(0.0, seen_km - first.observed_km) / driven_km))


def grid(values: Sequence[int], columns: int) -> Grid:
    """Rows of a row-major histogram."""
    assert len(values) % columns == 0
    return tuple(tuple(values[start : start + columns]) for start in range(0, len(values), columns))


def row_sums(rows: Grid) -> tuple[int, ...]:
    return tuple(sum(row) for row in rows)


def column_sums(rows: Grid) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip(*rows, strict=True))


def open_bands(edges: Sequence[float], *, below: bool) -> tuple[Band, ...]:
    """Bands between edges, open above the last; `below` adds one that is open downwards, else the first starts at 0."""
    first: tuple[Band, ...] = ((None if below else 0.0, edges[0]),)
    return (*first, *itertools.pairwise(edges), (edges[-1], None))


TEMP_BAND_EDGES: Final = open_bands(TEMP_EDGES_DEGC, below=True)
C_RATE_BAND_EDGES: Final = open_bands(C_RATE_EDGES, below=False)
DEPTH_BAND_EDGES: Final[tuple[Band, ...]] = tuple(itertools.pairwise(DEPTH_EDGES_PCT))


def stressed_share(soc_temp: Grid) -> float | None:
    """Share of the known time spent both full (SoC >= 80 %) and hot (>= 30 degC)."""
    total = sum(row_sums(soc_temp))
    stressed = sum(
        seconds
        for (soc_from, _), row in zip(SOC_BANDS_PCT, soc_temp, strict=True)
        for (temp_from, _), seconds in zip(TEMP_BAND_EDGES, row, strict=True)
        if soc_from >= HIGH_SOC_PCT and temp_from is not None and temp_from >= HOT_DEGC
    )
    return stressed / total if total else None


def gentle_share(seconds: Sequence[int]) -> float | None:
    """Share of the time charging that stayed below GENTLE_C_RATE."""
    total = sum(seconds)
    gentle = sum(
        s for (_, high), s in zip(C_RATE_BAND_EDGES, seconds, strict=True) if high is not None and high <= GENTLE_C_RATE
    )
    return gentle / total if total else None


def consumption_kwh_100km(drives: Iterable[SessionRow]) -> float | None:
    """Energy out of the pack less what braking gave back, over the drives whose distance is known."""
    known = [drive for drive in drives if drive.distance_km]
    km = sum(drive.distance_km or 0.0 for drive in known)
    wh = sum(drive.energy_out_wh - drive.energy_in_wh for drive in known)
    return wh / 10.0 / km if km else None
