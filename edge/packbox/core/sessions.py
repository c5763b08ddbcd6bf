"""Say in words and units what a cut-out piece of the line was.

In:  a `Cut` of `core.segment` and the stamp of its start. Out: `Session`. Unknown is None.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from packbox.core.charging import curve_of
from packbox.core.outcome import ChargeKind, Session
from packbox.core.sample import Col, Sum, known
from packbox.core.segment import Cut, Phase
from packbox.core.stamp import Stamp
from packbox.core.stretch import Stretch

DC_ABOVE_KW: Final = 11.0  # facts/soh.md §10, where the car does not say
SPEED_COVER_MIN: Final = 0.9  # of the awake time, for a distance from speed


def session_of(cut: Cut, start: Stamp) -> Session:
    s = cut.stretch
    moved = s.after - s.before

    def first(col: Col) -> float | None:
        return known(s.first[col])

    def last(col: Col) -> float | None:
        return known(s.last[col])

    warm_s = moved[Sum.TEMP_KNOWN_S]
    charging, driving = cut.phase is Phase.CHARGING, cut.phase is Phase.DRIVING
    return Session(
        number=cut.number,
        kind=cut.phase.value,
        start=start,
        duration_s=float(s.duration_s),
        observed_s=min(float(moved[Sum.OBSERVED_S]), float(s.duration_s)),
        unseen_s=float(max(0.0, s.duration_s - moved[Sum.AWAKE_S])),
        interrupted=cut.interrupted,
        charge_in_ah=float(moved[Sum.CHARGE_IN_AH]),
        charge_out_ah=float(moved[Sum.CHARGE_OUT_AH]),
        energy_in_wh=float(moved[Sum.ENERGY_IN_WH]),
        energy_out_wh=float(moved[Sum.ENERGY_OUT_WH]),
        soc_start_pct=first(Col.SOC_PCT),
        soc_end_pct=last(Col.SOC_PCT),
        soc_shown_start_pct=first(Col.SOC_SHOWN_PCT),
        soc_shown_end_pct=last(Col.SOC_SHOWN_PCT),
        current_max_a=known(s.high[Col.CURRENT_HIGH_A]),
        current_min_a=known(s.low[Col.CURRENT_LOW_A]),
        pack_voltage_start_v=first(Col.VOLTAGE_V),
        pack_voltage_end_v=last(Col.VOLTAGE_V),
        cell_voltage_min_v=known(s.low[Col.CELL_LOW_V]),
        cell_voltage_max_v=known(s.high[Col.CELL_HIGH_V]),
        temp_min_degc=known(np.fmin(s.low[Col.TEMP_LOW_DEGC], s.low[Col.TEMP_DEGC])),
        temp_mean_degc=float(moved[Sum.TEMP_DEGC_S] / warm_s) if warm_s else None,
        temp_max_degc=known(np.fmax(s.high[Col.TEMP_HIGH_DEGC], s.high[Col.TEMP_DEGC])),
        ambient_temp_degc=last(Col.AMBIENT_DEGC),
        odometer_start_km=first(Col.ODOMETER_KM),
        odometer_end_km=last(Col.ODOMETER_KM),
        soh_reported_pct=last(Col.SOH_REPORTED_PCT),
        capacity_reported_ah=last(Col.CAPACITY_REPORTED_AH),
        charge_kind=_charge_kind(s) if charging else None,
        segments=cut.segments if charging else None,
        power_max_kw=known(s.high[Col.POWER_KW]) if charging else None,
        distance_km=_distance_km(s) if driving else None,
        speed_max_kmh=known(s.high[Col.SPEED_KMH]) if driving else None,
        energy_regenerated_wh=float(moved[Sum.ENERGY_IN_WH]) if driving else None,
        curve=curve_of(s.charged) if charging else None,
    )


def _charge_kind(s: Stretch) -> ChargeKind:
    said, power_kw = s.high[Col.CHARGE_KIND], s.high[Col.POWER_KW]
    if said == 2 or power_kw > DC_ABOVE_KW:
        return ChargeKind.DC
    return ChargeKind.AC if said == 1 or power_kw <= DC_ABOVE_KW else ChargeKind.UNKNOWN


def _distance_km(s: Stretch) -> float | None:
    """From the speed where that was known nearly all the time, because odometers count whole kilometres."""
    moved = s.after - s.before
    driven_km = known(s.last[Col.ODOMETER_KM] - s.first[Col.ODOMETER_KM])
    covered = moved[Sum.SPEED_KNOWN_S] >= SPEED_COVER_MIN * s.duration_s
    if covered and moved[Sum.SPEED_KNOWN_S] > 0:
        return float(moved[Sum.DISTANCE_KM])
    return driven_km
