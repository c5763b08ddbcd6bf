"""A book with nine believable months in it: for tests, screenshots and work on the pages.

A 24 kWh Leaf driven from March to November, a young battery and one that has said nothing yet. The figures come from
plain formulas, not dice: the same every time.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter
from dataclasses import replace
from typing import Final

from packbook.core.history import (
    C_RATE_EDGES,
    DEPTH_EDGES_PCT,
    SOC_BANDS_PCT,
    TEMP_EDGES_DEGC,
    BoxRow,
    CellsPoint,
    ChargeCurve,
    EnergyFull,
    Estimate,
    EventRow,
    Provenance,
    SessionRow,
    SohPoint,
    UsageTotals,
)
from packbook.ports.histories import Quarantined
from packbook.testing.memory_histories import MemoryHistories
from packbook.testing.rows import (
    BOX,
    FIRST_DAY,
    HOUR_S,
    REFERENCE_AH,
    STORE,
    battery_head,
    ms_of,
    session_row,
    soh_point,
)

DAY_MS: Final = 86_400_000
DAYS: Final = 275
PACK_V: Final = 365.0
YOUNG_BOX: Final = "21c95d0e77ab3f18"
SILENT_BOX: Final = "0b55e6a14c9d2780"
CELLS_SEQ: Final = 100_000


def lived_in() -> MemoryHistories:
    """A book with a lived-in Leaf, a young battery, and one that is silent so far."""
    book = MemoryHistories()
    leaf = _Life()
    for day in range(DAYS):
        leaf.live(day)
    last_ms = leaf.sessions[-1].start_ms
    book.add(battery_head(last_ms=last_ms), leaf.points, leaf.sessions, leaf.usage(), leaf.events, leaf.cells)
    young = _Life(box=YOUNG_BOX)
    for day in range(DAYS - 9, DAYS):
        young.live(day)
    points = [replace(p, state="learning", why="4 of 10 readings taken") for p in young.points]
    points = [
        replace(p, sigma_pct=4.4, lo90_pct=(p.soh_pct or 0) - 7.2, hi90_pct=(p.soh_pct or 0) + 7.2) for p in points
    ]
    head = battery_head("env200-24-0102", vehicle="e-NV200 delivery van", variant="env200", boxes=(YOUNG_BOX,))
    book.add(replace(head, last_ms=last_ms), points, young.sessions, young.usage(), cells=young.cells)
    silent = soh_point(
        state="none",
        why="no charge or drive has moved 10.0 Ah in one go yet; the most was 2.4 Ah",
        soh_pct=None,
        sigma_pct=None,
        lo90_pct=None,
        hi90_pct=None,
        capacity_ah=None,
        sigma_ah=None,
        basis=None,
        reference_ah=50.0,
        reference_source="rated capacity, facts/soh.md section 3",
        provenance=Provenance(SILENT_BOX, STORE, 2),
    )
    head = battery_head(
        "imiev-16-0007",
        vehicle="i-MiEV",
        profile="mitsubishi-imiev",
        variant=None,
        pack="imiev-16",
        boxes=(SILENT_BOX,),
    )
    facts = {"cells_in_series": 88, "nominal_kwh": 16.0, "reference_ah": 50.0, "battery_source": "provisional"}
    book.add(replace(head, **facts), [silent])  # type: ignore[arg-type]  # as above
    last_seen_ms = ms_of(FIRST_DAY + datetime.timedelta(days=DAYS))
    for box, online in ((BOX, True), (YOUNG_BOX, True), (SILENT_BOX, False)):
        health: dict[str, object] = {"frames": 48_211_340, "frames_dropped": 0, "frames_sent": 0, "clock": "set"}
        book.box_rows.append(
            BoxRow(box, last_seen_ms, online, sum(box in h.boxes for h in book.heads.values()), health)
        )
    book.refused.append(
        Quarantined(1, last_seen_ms, f"pb/v1/{YOUNG_BOX}/soh", "the signature does not fit the box's key", b"\x00")
    )
    return book


class _Life:
    """A Leaf's days: a commute, an AC charge most evenings, a fast charge on some weekends."""

    def __init__(self, box: str = BOX) -> None:
        self.box = box
        self.points: list[SohPoint] = []
        self.sessions: list[SessionRow] = []
        self.events: list[EventRow] = []
        self.cells: list[CellsPoint] = []
        self.charging_temp_s = [0] * (len(TEMP_EDGES_DEGC) + 1)
        self.soc_temp_s = [0] * (len(SOC_BANDS_PCT) * (len(TEMP_EDGES_DEGC) + 1))
        self.c_rate_temp_s = [0] * (2 * (len(C_RATE_EDGES) + 1) * (len(TEMP_EDGES_DEGC) + 1))
        self.depth_counts = [0] * ((len(DEPTH_EDGES_PCT) - 1) * len(SOC_BANDS_PCT))
        self.seq = 1
        self.soc_pct = 86.0
        self.odometer_km = 58_310.0
        self.now = FIRST_DAY
        self.first = FIRST_DAY
        self.segments = 0

    def live(self, day: int) -> None:
        if not self.sessions:
            self.first = FIRST_DAY + datetime.timedelta(days=day)
        weekend = day % 7 in (6, 0)
        outdoor_degc = 15.0 + 12.5 * math.sin((day - 55) / 365.0 * 2 * math.pi) + 3.0 * _wobble(day)
        capacity_ah = self._capacity_ah(day)
        morning = FIRST_DAY + datetime.timedelta(days=day, hours=7 + 0.3 * _wobble(day + 11))
        km = (21.0 if weekend else 13.5) + 6.0 * _wobble(3 * day)
        if self.sessions:
            self._rest_until(morning, outdoor_degc)
            self._look_at_cells(day, outdoor_degc)
        self._drive(morning, km, capacity_ah, outdoor_degc + 4.0)
        if weekend and day % 3 == 0:
            self._charge(morning + datetime.timedelta(hours=4), "dc", 80.0, capacity_ah, outdoor_degc + 9.0)
        self._drive(morning + datetime.timedelta(hours=10.5), km + 2.0, capacity_ah, outdoor_degc + 4.0)
        if self.soc_pct < 62.0 or day % 5 == 4:
            self._charge(
                morning + datetime.timedelta(hours=12),
                "ac",
                100.0 if day % 9 == 0 else 90.0,
                capacity_ah,
                outdoor_degc + 5.0,
            )
        if day == 148:
            self._event("pack_hot", 55.6, 840.0, "56 degC after two fast charges in one afternoon")
        if day == 201:
            self._event("clock_set", 120.0, None, None)
        if day % 3 == 2:
            self._estimate(day, capacity_ah)

    @staticmethod
    def _capacity_ah(day: int) -> float:
        """3.1 % a year from 88 % (facts/soh.md §3), a little faster in the hot months."""
        years = day / 365.0
        return REFERENCE_AH * (0.881 - 0.031 * years - 0.006 * (1 - math.cos(2 * math.pi * years)) / 2)

    def _drive(self, start: datetime.datetime, km: float, capacity_ah: float, temp_degc: float) -> None:
        self._rest_until(start, temp_degc - 4.0)
        out_wh = km * (148.0 + 0.22 * (temp_degc - 24.0) ** 2 + 9.0 * _wobble(self.seq))
        back_wh = out_wh * 0.17
        swing_pct = (out_wh - back_wh) / PACK_V / capacity_ah * 100.0
        duration_s = km / 34.0 * HOUR_S
        self.odometer_km += km
        self._close(
            "drive",
            start,
            duration_s,
            -swing_pct,
            temp_degc,
            charge_in_ah=back_wh / PACK_V,
            charge_out_ah=out_wh / PACK_V,
            energy_in_wh=back_wh,
            energy_out_wh=out_wh,
            current_max_a=62.0 + 8.0 * _wobble(self.seq),
            current_min_a=-168.0 - 22.0 * _wobble(self.seq + 5),
            cell_voltage_min_v=3.55 + self.soc_pct / 400.0,
            cell_voltage_max_v=3.80 + self.soc_pct / 420.0,
            distance_km=km,
            energy_regenerated_wh=back_wh,
        )
        for band, share in enumerate((0.16, 0.22, 0.20, 0.22, 0.13, 0.04, 0.02, 0.01)):
            self._tally(self.c_rate_temp_s, 10 + band, temp_degc, duration_s * share)

    def _charge(self, start: datetime.datetime, kind: str, to_pct: float, capacity_ah: float, temp_degc: float) -> None:
        if to_pct - self.soc_pct < (18.0 if kind == "dc" else 4.0):
            return
        self._rest_until(start, temp_degc - 5.0)
        in_ah = (to_pct - self.soc_pct) / 100.0 * capacity_ah
        in_wh = in_ah * PACK_V * 1.02
        power_kw = 38.0 if kind == "dc" else 5.9
        duration_s = in_wh / 1000.0 / (power_kw * 0.82) * HOUR_S
        interrupted = self.seq % 97 == 0
        self._close(
            "charge",
            start,
            duration_s,
            to_pct - self.soc_pct,
            temp_degc + (7.0 if kind == "dc" else 0.0),
            interrupted=interrupted,
            charge_in_ah=in_ah,
            energy_in_wh=in_wh,
            current_max_a=power_kw * 1000.0 / PACK_V,
            current_min_a=-0.6,
            cell_voltage_min_v=3.62,
            cell_voltage_max_v=4.11,
            charge_kind=kind,
            segments=2 if interrupted else 1,
            power_max_kw=power_kw + 0.6 * _wobble(self.seq),
            curve=self._curve(kind, to_pct, power_kw, temp_degc),
        )
        self._tally(self.charging_temp_s, 0, temp_degc, duration_s)
        self.segments += 1
        for band, share in ((8, 0.5), (7, 0.3), (6, 0.2)) if kind == "dc" else ((2, 0.86), (1, 0.1), (0, 0.04)):
            self._tally(self.c_rate_temp_s, band, temp_degc, duration_s * share)

    def _curve(self, kind: str, to_pct: float, power_kw: float, temp_degc: float) -> ChargeCurve:
        """Full power, then less and less: from half way on at a fast charger, near the end at home."""
        width_pct = 5.0
        first, last = int(self.soc_pct // width_pct), math.ceil(to_pct / width_pct)
        knee_pct, end_share = (50.0, 0.35) if kind == "dc" else (92.0, 0.45)
        fill = [
            min(1.0, max(0.0, (width_pct * band + 2.5 - knee_pct) / (100.0 - knee_pct))) for band in range(first, last)
        ]
        warmer_degc = (9.0 if kind == "dc" else 2.0) / max(1, len(fill) - 1)
        return ChargeCurve(
            width_pct * first,
            width_pct,
            tuple(round(power_kw * (1.0 - (1.0 - end_share) * share), 1) for share in fill),
            tuple(float(round(temp_degc + warmer_degc * k)) for k in range(len(fill))),
            shown=False,
        )

    def _look_at_cells(self, day: int, temp_degc: float) -> None:
        """In the morning, before the first drive. Numbered apart: a record more would change every figure after it."""
        spread_mv = round(13.0 + 0.02 * day + 4.0 * abs(_wobble(day + 7)) + max(0.0, 45.0 - self.soc_pct) * 0.6)
        low_v = round(3.42 + 0.0062 * self.soc_pct, 3)
        self.cells.append(
            CellsPoint(
                at_ms=ms_of(self.now),
                spread_mv=float(spread_mv),
                cell_voltage_min_v=low_v,
                cell_voltage_max_v=round(low_v + spread_mv / 1000.0, 3),
                cells=96,
                lowest_cell=41,
                highest_cell=7 + day % 3,
                soc_pct=round(self.soc_pct, 1),
                pack_current_a=-0.4,
                temp_min_degc=round(temp_degc - 0.5, 1),
                temp_max_degc=round(temp_degc + 1.0, 1),
                quiet_s=30_600.0,
                provenance=Provenance(self.box, STORE, CELLS_SEQ + day),
            )
        )

    def _rest_until(self, until: datetime.datetime, temp_degc: float) -> None:
        rest_s = (until - self.now).total_seconds() if self.sessions else 0.0
        if rest_s > 0:
            self._close("rest", self.now, rest_s, 0.0, temp_degc, observed_s=min(rest_s, 900.0))

    def _close(
        self,
        kind: str,
        start: datetime.datetime,
        duration_s: float,
        swing_pct: float,
        temp_degc: float,
        **known: object,
    ) -> None:
        self.seq += 1
        soc_end_pct = max(4.0, self.soc_pct + swing_pct)
        row = session_row(
            kind,
            len(self.sessions) + 1,
            start_ms=ms_of(start),
            duration_s=duration_s,
            soc_start_pct=self.soc_pct,
            soc_end_pct=soc_end_pct,
            temp_min_degc=temp_degc - 1.5,
            temp_mean_degc=temp_degc,
            temp_max_degc=temp_degc + 2.0,
            odometer_end_km=self.odometer_km,
            provenance=self._provenance(),
        )
        self.sessions.append(replace(row, **({"observed_s": duration_s} | known)))  # type: ignore[arg-type]  # as above
        middle_pct = (self.soc_pct + soc_end_pct) / 2
        self._tally(self.soc_temp_s, min(9, int(middle_pct // 10)), temp_degc, duration_s)
        depth = sum(abs(swing_pct) >= edge for edge in DEPTH_EDGES_PCT) - 1
        if abs(swing_pct) > 1.0:
            self.depth_counts[min(depth, 6) * 10 + min(9, int(middle_pct // 10))] += 1
        self.soc_pct = soc_end_pct
        self.now = start + datetime.timedelta(seconds=duration_s)

    @staticmethod
    def _tally(cells: list[int], row: int, temp_degc: float, seconds: float) -> None:
        band = sum(temp_degc >= edge for edge in TEMP_EDGES_DEGC)
        cells[row * (len(TEMP_EDGES_DEGC) + 1) + band] += round(seconds)

    def _event(self, event: str, extreme: float, duration_s: float | None, text: str | None) -> None:
        self.seq += 1
        self.events.append(EventRow(event, ms_of(self.now), duration_s, extreme, text, self._provenance()))

    def _estimate(self, day: int, capacity_ah: float) -> None:
        """The interval narrows as charges come in, down to the current sensor's gain floor (facts/soh.md §6)."""
        self.seq += 1
        sigma_pct = math.hypot(1.15, 4.6 / math.sqrt(1 + self.segments / 6))
        soh_pct = capacity_ah / REFERENCE_AH * 100 + 0.30 * sigma_pct * _wobble(day + 40)
        observed = sum(row.observed_s for row in self.sessions)
        whole = sum(row.duration_s for row in self.sessions)
        ah = round(soh_pct * REFERENCE_AH / 100, 3)
        evidence = tuple(row.session for row in self.sessions if row.kind == "charge")[-8:]
        learning = sigma_pct * 1.645 > 5.0 or self.segments < 10
        self.points.append(
            soh_point(
                at_ms=ms_of(self.now),
                state="learning" if learning else "ok",
                why=f"{self.segments} of 10 readings taken" if learning else None,
                soh_pct=round(soh_pct, 2),
                sigma_pct=round(sigma_pct, 2),
                lo90_pct=round(soh_pct - 1.645 * sigma_pct, 2),
                hi90_pct=round(soh_pct + 1.645 * sigma_pct, 2),
                capacity_ah=ah,
                sigma_ah=round(sigma_pct * REFERENCE_AH / 100, 3),
                estimates=(
                    Estimate("charge_count/1", ah, round(0.72 * sigma_pct, 3), self.segments, evidence, None),
                    Estimate(
                        "bms_value/1", round(capacity_ah * 0.985, 3), 1.5, len(self.points) + 1, evidence[-1:], None
                    ),
                    Estimate("ocv_bands/1", None, None, 0, (), "no open-circuit curve is known for this pack"),
                ),
                soh_reported_pct=math.floor((0.985 * capacity_ah / REFERENCE_AH * 100 + 0.9) * 4) / 4,
                capacity_reported_ah=round(capacity_ah * 0.985, 2),
                observed_s=observed,
                inferred_s=whole - observed,
                unobserved_s=whole * 0.013,
                observed_ah=sum(row.charge_in_ah + row.charge_out_ah for row in self.sessions),
                observed_km=sum(row.distance_km or 0.0 for row in self.sessions),
                odometer_km=round(self.odometer_km),
                provenance=self._provenance(),
                energy=EnergyFull(
                    "energy_series/1",
                    round(capacity_ah * PACK_V * 1.01 / 1000.0, 2),
                    0.9,
                    self.segments,
                    evidence,
                    gids=True,
                ),
            )
        )

    def _provenance(self) -> Provenance:
        return Provenance(self.box, STORE, self.seq)

    def usage(self) -> UsageTotals:
        charges = [row for row in self.sessions if row.kind == "charge"]
        drives = [row for row in self.sessions if row.kind == "drive"]
        in_ah, out_ah = (sum(getattr(row, name) for row in self.sessions) for name in ("charge_in_ah", "charge_out_ah"))
        observed, whole = (sum(getattr(row, name) for row in self.sessions) for name in ("observed_s", "duration_s"))
        by_kind = {kind: [row.energy_in_wh for row in charges if row.charge_kind == kind] for kind in ("ac", "dc")}
        self.seq += 1
        return UsageTotals(
            at_ms=ms_of(self.now),
            observed_s=observed,
            inferred_s=whole - observed,
            unobserved_s=round(whole * 0.013),
            charge_in_ah=in_ah,
            charge_out_ah=out_ah,
            energy_in_wh=sum(row.energy_in_wh for row in self.sessions),
            energy_out_wh=sum(row.energy_out_wh for row in self.sessions),
            energy_ac_in_wh=sum(by_kind["ac"]),
            energy_dc_in_wh=sum(by_kind["dc"]),
            equivalent_full_cycles=(in_ah + out_ah) / (2 * REFERENCE_AH),
            charges_ac=len(by_kind["ac"]),
            charges_dc=len(by_kind["dc"]),
            drives=len(drives),
            distance_km=sum(row.distance_km or 0.0 for row in drives),
            odometer_km=round(self.odometer_km),
            soc_temp_s=tuple(self.soc_temp_s),
            c_rate_temp_s=tuple(self.c_rate_temp_s),
            depth_counts=tuple(self.depth_counts),
            events=dict(Counter(event.event for event in self.events)),
            charge_count_ac_reported=1_204,
            charge_count_dc_reported=96,
            first_ms=ms_of(self.first),
            provenance=self._provenance(),
            charging_temp_s=tuple(self.charging_temp_s),
        )


def _wobble(n: int) -> float:
    """Values in -1..1 that look irregular: three waves whose periods have nothing in common."""
    return (math.sin(n * 0.7301) + math.sin(n * 2.2357) + math.sin(n * 0.1931)) / 3.0
