"""One battery's life as the book tells it: plain values that views, formats and the API read.

Boxes, cars and owners come and go; everything here is keyed by the battery. Times are UTC milliseconds since 1970,
`None` where the box's clock was never known. Current is positive into the pack, percent is 0..100, unknown is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# Band edges of the usage histograms (facts/soh.md §10); row-major, as the wire carries them.
SOC_BANDS_PCT: Final = tuple((float(low), float(low + 10)) for low in range(0, 100, 10))
TEMP_EDGES_DEGC: Final = (-10.0, 0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0)  # 9 bands: below -10, ..., above 60
C_RATE_EDGES: Final = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0)  # 10 bands charge, then 10 bands discharge
DEPTH_EDGES_PCT: Final = (0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0)  # 7 bands


@dataclass(frozen=True, slots=True)
class Provenance:
    """Which record a value came from, so that anyone can ask for the signed bytes."""

    box: str
    store: str
    seq: int


@dataclass(frozen=True, slots=True)
class Estimate:
    method: str
    capacity_ah: float | None
    sigma_ah: float | None
    n: int
    evidence: tuple[int, ...]
    why: str | None


@dataclass(frozen=True, slots=True)
class EnergyFull:
    """Energy of the full battery by the car's own count. Of its capacity this says nothing."""

    method: str
    energy_full_kwh: float
    sigma_kwh: float
    n: int
    evidence: tuple[int, ...]
    gids: bool  # worked out from gids, whose size nobody publishes


@dataclass(frozen=True, slots=True)
class SohPoint:
    at_ms: int | None
    state: str  # none learning ok stale inconsistent replaced
    why: str | None
    soh_pct: float | None
    sigma_pct: float | None
    lo90_pct: float | None
    hi90_pct: float | None
    capacity_ah: float | None
    sigma_ah: float | None
    reference_ah: float | None
    reference_source: str | None
    basis: str | None
    method: str
    estimates: tuple[Estimate, ...]
    soh_reported_pct: float | None
    capacity_reported_ah: float | None
    observed_s: float
    inferred_s: float
    unobserved_s: float
    observed_ah: float
    observed_km: float
    odometer_km: float | None
    resistance_ohm: float | None  # of the pack, at 25 degC
    provenance: Provenance
    soce_pct: float | None = None  # estimated, not type-approval
    energy: EnergyFull | None = None


@dataclass(frozen=True, slots=True)
class CellsPoint:
    """How far the cells were apart at one quiet moment."""

    at_ms: int | None
    spread_mv: float  # highest less lowest
    cell_voltage_min_v: float
    cell_voltage_max_v: float
    cells: int  # how many were read one by one; 0: the car only told the lowest and the highest
    lowest_cell: int | None  # its number, from 1; None: not told one by one
    highest_cell: int | None
    soc_pct: float | None
    pack_current_a: float | None
    temp_min_degc: float | None
    temp_max_degc: float | None
    quiet_s: float | None  # next to no current for so long before
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class ChargeCurve:
    """How a charge went over the state of charge, in bands of equal width upwards; None where nothing was seen."""

    soc_from_pct: float
    band_pct: float
    power_kw: tuple[float | None, ...]  # into the pack, mean
    temp_degc: tuple[float | None, ...]  # of the pack, mean; () where it was not told
    shown: bool  # over the displayed state of charge, because the car told no other


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A charge, drive or rest. Fields that do not apply to its kind are None."""

    kind: str  # charge drive rest
    session: int
    start_ms: int | None
    duration_s: float
    observed_s: float
    interrupted: bool
    soc_start_pct: float | None
    soc_end_pct: float | None
    soc_shown_start_pct: float | None
    soc_shown_end_pct: float | None
    charge_in_ah: float
    charge_out_ah: float
    energy_in_wh: float
    energy_out_wh: float
    current_max_a: float | None
    current_min_a: float | None
    cell_voltage_min_v: float | None
    cell_voltage_max_v: float | None
    temp_min_degc: float | None
    temp_mean_degc: float | None
    temp_max_degc: float | None
    odometer_end_km: float | None
    charge_kind: str | None  # ac dc unknown
    segments: int | None
    power_max_kw: float | None
    distance_km: float | None
    energy_regenerated_wh: float | None
    provenance: Provenance
    curve: ChargeCurve | None = None  # of a charge


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Life so far. Histograms are full-length, row-major, in seconds (or half cycles)."""

    at_ms: int | None
    observed_s: float
    inferred_s: float
    unobserved_s: float
    charge_in_ah: float
    charge_out_ah: float
    energy_in_wh: float
    energy_out_wh: float
    energy_ac_in_wh: float
    energy_dc_in_wh: float
    equivalent_full_cycles: float | None
    charges_ac: int
    charges_dc: int
    drives: int
    distance_km: float
    odometer_km: float | None
    soc_temp_s: tuple[int, ...]  # 10 x 9
    c_rate_temp_s: tuple[int, ...]  # 20 x 9
    depth_counts: tuple[int, ...]  # 7 x 10
    events: Mapping[str, int]
    charge_count_ac_reported: int | None
    charge_count_dc_reported: int | None
    first_ms: int | None
    provenance: Provenance
    charging_temp_s: tuple[
        int, ...
    ] = ()  # of charges by the plug, 9; () where a box that saw charges does not count it


@dataclass(frozen=True, slots=True)
class EventRow:
    event: str
    at_ms: int | None
    duration_s: float | None
    extreme: float | None
    text: str | None
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Installation:
    """From when a box watched this battery, and through what. Another battery later is another installation."""

    battery: str
    battery_source: str  # read configured provisional
    from_ms: int | None
    vehicle: str | None
    profile: str
    variant: str | None
    pack: str | None
    chemistry: str | None
    cells_in_series: int | None
    nominal_kwh: float | None
    reference_ah: float | None
    reference_source: str | None
    software: str
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the owner agrees to from this record on."""

    purposes: tuple[str, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class BoxRow:
    box: str
    last_seen_ms: int | None  # by the book's clock
    online: bool | None
    records: int
    health: Mapping[str, object]  # newest heartbeat, empty if none


@dataclass(frozen=True, slots=True)
class HeartbeatRow:
    at_ms: int  # by the book's clock
    health: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why what is told of a battery may not be the history of one battery. A person has to find out."""

    kind: str  # two_histories: of one store; two_boxes: one box's key was alive in two places (a copied card)
    box: str
    store: str
    since_ms: int  # by the book's clock
    held_out: int  # records that enter no history meanwhile
    settled: bool  # an operator looked and left them out for good


@dataclass(frozen=True, slots=True)
class Battery:
    """The head of a battery's history."""

    battery: str
    battery_source: str  # read configured provisional
    vehicle: str | None
    profile: str
    variant: str | None
    pack: str | None
    chemistry: str | None
    cells_in_series: int | None
    nominal_kwh: float | None
    reference_ah: float | None
    reference_source: str | None
    software: str
    first_ms: int | None
    last_ms: int | None
    records: int
    sessions: Mapping[str, int]  # how many charges, drives, rests
    boxes: Sequence[str]
    soh: SohPoint | None  # newest
    doubts: tuple[Doubt, ...] = ()  # not empty: no figure of this battery may be shown as if it were sure
