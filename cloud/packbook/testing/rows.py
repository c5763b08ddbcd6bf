"""Single rows of a history, believable and changeable by field, for tests that need one of a kind."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Final

from packbook.core.history import (
    Battery,
    Provenance,
    SessionRow,
    SohPoint,
)

HOUR_S: Final = 3600.0
FIRST_DAY: Final = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
REFERENCE_AH: Final = 65.4  # what a 24 kWh Leaf's battery system calls 100 % (facts/soh.md §3)
BOX: Final = "7f3a90c2d1e85b46"
STORE: Final = "c04e1f77a9b23d65"


def battery_head(battery: str = "leaf-24-0001", **changes: object) -> Battery:
    """A battery that has just said hello."""
    first_ms = ms_of(FIRST_DAY)
    head = Battery(
        battery=battery,
        battery_source="configured",
        vehicle="Leaf, demo car 1",
        profile="nissan-leaf",
        variant="aze0",
        pack="leaf-24",
        chemistry="LMO",
        cells_in_series=96,
        nominal_kwh=24.0,
        reference_ah=REFERENCE_AH,
        reference_source="battery system's 100 %, facts/soh.md section 3",
        software="packbox 0.1.0",
        first_ms=first_ms,
        last_ms=first_ms,
        records=1,
        sessions={},
        boxes=(BOX,),
        soh=None,
    )
    return replace(head, **changes)  # type: ignore[arg-type]  # callers name real fields; dataclass checks them


def soh_point(seq: int = 1, **changes: object) -> SohPoint:
    """A young estimate: a value, wide."""
    point = SohPoint(
        at_ms=ms_of(FIRST_DAY),
        state="learning",
        why=None,
        soh_pct=88.0,
        sigma_pct=4.0,
        lo90_pct=81.4,
        hi90_pct=94.6,
        capacity_ah=57.55,
        sigma_ah=2.6,
        reference_ah=REFERENCE_AH,
        reference_source="battery system's 100 %, facts/soh.md section 3",
        basis="bms-soc",
        method="weigh/1",
        estimates=(),
        soh_reported_pct=None,
        capacity_reported_ah=None,
        observed_s=0.0,
        inferred_s=0.0,
        unobserved_s=0.0,
        observed_ah=0.0,
        observed_km=0.0,
        odometer_km=None,
        resistance_ohm=None,
        provenance=Provenance(BOX, STORE, seq),
    )
    return replace(point, **changes)  # type: ignore[arg-type]  # as above


def session_row(kind: str = "charge", session: int = 1, **changes: object) -> SessionRow:
    """A session of which only the frame is known."""
    row = SessionRow(
        kind=kind,
        session=session,
        start_ms=ms_of(FIRST_DAY),
        duration_s=HOUR_S,
        observed_s=HOUR_S,
        interrupted=False,
        soc_start_pct=None,
        soc_end_pct=None,
        soc_shown_start_pct=None,
        soc_shown_end_pct=None,
        charge_in_ah=0.0,
        charge_out_ah=0.0,
        energy_in_wh=0.0,
        energy_out_wh=0.0,
        current_max_a=None,
        current_min_a=None,
        cell_voltage_min_v=None,
        cell_voltage_max_v=None,
        temp_min_degc=None,
        temp_mean_degc=None,
        temp_max_degc=None,
        odometer_end_km=None,
        charge_kind="unknown" if kind == "charge" else None,
        segments=1 if kind == "charge" else None,
        power_max_kw=None,
        distance_km=None,
        energy_regenerated_wh=None,
        provenance=Provenance(BOX, STORE, session),
    )
    return replace(row, **changes)  # type: ignore[arg-type]  # as above


def ms_of(at: datetime.datetime) -> int:
    return int(at.timestamp() * 1000)
