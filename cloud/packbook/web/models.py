"""What the JSON API answers, with units. Names and meaning follow `core.history`; fields are only ever added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from packbook.core.access import Read
from packbook.core.history import SOC_BANDS_PCT, UsageTotals
from packbook.ports.trust import SignedCheckpoint
from packbook.web import figures

AtMs = Annotated[
    int | None, Field(description="UTC milliseconds since 1970; null where the box's clock was never known")
]


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class ProvenanceOut(Answer):
    """The signed record that a value came from."""

    box: str = Field(description="The box that saw it")
    store: str = Field(description="One life of one box database; a replaced SD card begins a new store")
    seq: int = Field(description="Number of the record within the store, from 1")


class EstimateOut(Answer):
    """One method's opinion."""

    method: str = Field(description="Method id and version, for example ocv_bands/1")
    capacity_ah: float | None = Field(description="Ah; null: `why` says what is missing")
    sigma_ah: float | None = Field(description="One standard deviation, Ah")
    n: int = Field(description="Readings it rests on")
    evidence: tuple[int, ...] = Field(description="Numbers of the sessions it rests on, within the store")
    why: str | None = Field(description="Why there is no value, in the box's words")


class EnergyFullOut(Answer):
    """Energy of the full battery as the car itself counts it. It says nothing of the capacity in Ah."""

    method: str = Field(description="Method id and version")
    energy_full_kwh: float = Field(description="kWh from empty to full, by the car's own count")
    sigma_kwh: float = Field(description="One standard deviation, kWh")
    n: int = Field(description="Readings it rests on")
    evidence: tuple[int, ...] = Field(description="Numbers of the sessions it rests on, within the store")
    gids: bool = Field(description="Worked out from gids, a unit of Nissan's whose size nobody publishes")


class SohOut(Answer):
    """State of health by capacity, with its uncertainty, and beside it what the car reports about itself."""

    at_ms: AtMs
    state: str = Field(description="none, learning, ok, stale, inconsistent or replaced")
    why: str | None = Field(description="Reason for the state, in the box's words")
    soh_pct: float | None = Field(description="Capacity now as percent of the reference capacity, unrounded")
    sigma_pct: float | None = Field(description="One standard deviation, percent points")
    lo90_pct: float | None = Field(description="Lower end of the 90 % interval, percent")
    hi90_pct: float | None = Field(description="Upper end of the 90 % interval, percent")
    capacity_ah: float | None = Field(description="Estimated capacity, Ah")
    sigma_ah: float | None = Field(description="One standard deviation of the capacity, Ah")
    reference_ah: float | None = Field(description="The capacity that counts as 100 %, Ah")
    reference_source: str | None = Field(description="Where the reference comes from")
    basis: str | None = Field(description="What anchors it: ocv, bms-soc or bms-value")
    method: str = Field(description="What weighed the estimates: id and version")
    estimates: tuple[EstimateOut, ...] = Field(description="The opinions that were weighed")
    soce_pct: float | None = Field(None, description="State of certified energy, estimated; not type-approval")
    soh_reported_pct: float | None = Field(
        description="The car's own SoH, percent: a different quantity, shown beside ours"
    )
    capacity_reported_ah: float | None = Field(description="The car's own capacity figure, Ah")
    observed_s: float = Field(description="Coverage: seconds with the pack current known")
    inferred_s: float = Field(description="Coverage: seconds parked, last values held")
    unobserved_s: float = Field(description="Coverage: seconds awake without known current")
    observed_ah: float = Field(description="Coverage: charge counted, Ah")
    observed_km: float = Field(description="Coverage: distance seen, km")
    odometer_km: float | None = Field(description="The car's own odometer, km")
    resistance_ohm: float | None = Field(description="Of the pack at 25 degC, ohm")
    energy: EnergyFullOut | None = Field(None, description="The car's own count of energy; null: it tells none")
    provenance: ProvenanceOut


class DoubtOut(Answer):
    """Why this may not be the history of one battery."""

    kind: str = Field(
        description="two_histories: of one store; two_boxes: one box's key was alive in two places (a copied card)"
    )
    box: str
    store: str
    since_ms: int = Field(description="UTC milliseconds since 1970, by the book's clock")
    held_out: int = Field(description="Records that enter no history meanwhile")
    settled: bool = Field(description="An operator looked and left those records out for good")


class BatteryOut(Answer):
    """Head of one battery's history."""

    battery: str = Field(description="Id of the battery: pack serial, configured name or provisional id")
    battery_source: str = Field(description="read, configured or provisional")
    vehicle: str | None = Field(description="The operator's name for the car; never a VIN")
    profile: str = Field(description="Vehicle profile that decoded the data")
    variant: str | None = Field(description="Variant within the profile")
    pack: str | None = Field(description="Pack type within the profile")
    chemistry: str | None = Field(description="Cell chemistry, as the profile states it")
    cells_in_series: int | None = Field(description="Cells or cell groups in series")
    nominal_kwh: float | None = Field(description="Nominal energy when new, kWh")
    reference_ah: float | None = Field(description="The capacity that counts as 100 %, Ah")
    reference_source: str | None = Field(description="Where the reference comes from")
    software: str = Field(description="Software of the newest record's box")
    first_ms: AtMs
    last_ms: AtMs
    records: int = Field(description="Verified records of this battery in the ledger")
    sessions: dict[str, int] = Field(description="How many sessions of each kind: charge, drive, rest")
    boxes: tuple[str, ...] = Field(description="Boxes that watched this battery")
    soh: SohOut | None = Field(description="Newest SoH; null before the first")
    doubts: tuple[DoubtOut, ...] = Field(
        description="Not empty: the history is in dispute, and so is every figure here"
    )


class PartOut(Answer):
    """A part of a list. What arrives meanwhile may push the rest on: tell items apart by what they are."""

    limit: int = Field(description="At most this many were asked for")
    offset: int = Field(description="This many of the first were left out")
    next_offset: int | None = Field(description="Ask with this offset for those that follow; null: these were the last")


class BatteriesOut(PartOut):
    batteries: tuple[BatteryOut, ...] = Field(description="In the order of their ids")


class SohSeriesOut(PartOut):
    battery: str
    points: tuple[SohOut, ...] = Field(description="Oldest first")


class CellsOut(Answer):
    """How far the cells were apart at one quiet moment."""

    at_ms: AtMs
    spread_mv: float = Field(description="Highest less lowest cell, mV")
    cell_voltage_min_v: float = Field(description="Lowest cell, V")
    cell_voltage_max_v: float = Field(description="Highest cell, V")
    cells: int = Field(description="How many were read one by one; 0: the car only told the lowest and the highest")
    lowest_cell: int | None = Field(description="Number of the lowest, from 1; null: not read one by one")
    highest_cell: int | None = Field(description="Number of the highest")
    soc_pct: float | None = Field(description="State of charge then, percent: cells drift apart near empty and full")
    pack_current_a: float | None = Field(description="Pack current then, A")
    temp_min_degc: float | None = Field(description="Coldest place of the pack then, degC")
    temp_max_degc: float | None = Field(description="Hottest place of the pack then, degC")
    quiet_s: float | None = Field(description="Seconds without noteworthy current before it; null: not told")
    provenance: ProvenanceOut


class CellsSeriesOut(PartOut):
    battery: str
    points: tuple[CellsOut, ...] = Field(description="Oldest first")


class ChargeCurveOut(Answer):
    """Mean power and temperature over the state of charge, in bands upwards; null where nothing was seen."""

    soc_from_pct: float = Field(description="Lower edge of the first band, percent")
    band_pct: float = Field(description="Width of each band, percent points")
    power_kw: tuple[float | None, ...] = Field(description="Into the pack, kW")
    temp_degc: tuple[float | None, ...] = Field(description="Of the pack, degC; empty: not told")
    shown: bool = Field(description="Over the displayed state of charge, because the car told no other")


class SessionOut(Answer):
    """A charge, drive or rest. Fields that do not apply to its kind, and unknown ones, are null."""

    kind: str = Field(description="charge, drive or rest")
    session: int = Field(description="Number within the store, from 1")
    start_ms: AtMs
    duration_s: float = Field(description="Seconds")
    observed_s: float = Field(description="Seconds of it with the pack current known")
    interrupted: bool = Field(description="A power cut, gap or clock break lies inside")
    soc_start_pct: float | None = Field(description="Battery system's state of charge at the start, percent")
    soc_end_pct: float | None = Field(description="The same at the end, percent")
    soc_shown_start_pct: float | None = Field(description="State of charge the dashboard shows at the start, percent")
    soc_shown_end_pct: float | None = Field(description="The same at the end, percent")
    charge_in_ah: float = Field(description="Charge into the pack, Ah")
    charge_out_ah: float = Field(description="Charge out of the pack, Ah")
    energy_in_wh: float = Field(description="Energy into the pack, Wh")
    energy_out_wh: float = Field(description="Energy out of the pack, Wh")
    current_max_a: float | None = Field(description="Most positive pack current (hardest charge), A; positive is in")
    current_min_a: float | None = Field(description="Most negative pack current (hardest discharge), A")
    cell_voltage_min_v: float | None = Field(description="Lowest cell, V")
    cell_voltage_max_v: float | None = Field(description="Highest cell, V")
    temp_min_degc: float | None = Field(description="Coldest pack temperature, degC")
    temp_mean_degc: float | None = Field(description="Mean pack temperature, degC")
    temp_max_degc: float | None = Field(description="Hottest pack temperature, degC")
    odometer_end_km: float | None = Field(description="The car's odometer at the end, km")
    charge_kind: str | None = Field(description="Charges: ac, dc or unknown")
    segments: int | None = Field(description="Charges: how often current flowed within one plug-in")
    power_max_kw: float | None = Field(description="Charges: highest power into the pack, kW")
    distance_km: float | None = Field(description="Drives: km")
    energy_regenerated_wh: float | None = Field(description="Drives: energy won back by braking, Wh")
    curve: ChargeCurveOut | None = Field(None, description="Charges: power over state of charge, where that moved")
    provenance: ProvenanceOut


class SessionsOut(PartOut):
    battery: str
    kind: str | None = Field(description="The filter asked for; null: all kinds")
    sessions: tuple[SessionOut, ...] = Field(description="Newest first")


class BandOut(Answer):
    """low <= value < high; null means open on that side."""

    low: float | None
    high: float | None


class HistogramOut(Answer):
    """`values[row][column]`, with the bands of both axes."""

    unit: str = Field(description="Unit of the values")
    row_quantity: str
    rows: tuple[BandOut, ...]
    column_quantity: str
    columns: tuple[BandOut, ...]
    values: tuple[tuple[int, ...], ...]


class UsageOut(Answer):
    """Life of the battery so far, the stores of all its boxes added up."""

    battery: str
    at_ms: AtMs
    first_ms: AtMs
    observed_s: float = Field(description="Seconds with the pack current known")
    inferred_s: float = Field(description="Seconds parked, last values held")
    unobserved_s: float = Field(description="Seconds awake without known current")
    charge_in_ah: float = Field(description="Ah")
    charge_out_ah: float = Field(description="Ah")
    energy_in_wh: float = Field(description="Wh")
    energy_out_wh: float = Field(description="Wh")
    energy_ac_in_wh: float = Field(description="Of energy in: AC charging, Wh")
    energy_dc_in_wh: float = Field(description="Of energy in: DC fast charging, Wh")
    equivalent_full_cycles: float | None = Field(description="(Ah in + Ah out) / (2 x reference Ah)")
    charges_ac: int
    charges_dc: int
    drives: int
    distance_km: float = Field(description="km seen")
    odometer_km: float | None = Field(description="The car's own odometer, km")
    charge_count_ac_reported: int | None = Field(description="The car's own count of AC charges")
    charge_count_dc_reported: int | None = Field(description="The car's own count of DC charges")
    events: dict[str, int] = Field(description="How often each kind of event happened")
    soc_temperature: HistogramOut = Field(description="Time at state of charge x pack temperature")
    charge_rate_temperature: HistogramOut = Field(description="Time at C-rate x pack temperature while charging")
    discharge_rate_temperature: HistogramOut = Field(description="Time at C-rate x pack temperature while discharging")
    cycle_depth: HistogramOut = Field(description="Rainflow half cycles by depth x mean state of charge")
    charging_temp_s: tuple[int, ...] = Field(
        (), description="Seconds of charges by the plug, in the temperature bands above; empty: not counted"
    )
    provenance: ProvenanceOut

    @classmethod
    def of(cls, battery: str, usage: UsageTotals) -> UsageOut:
        rates = figures.grid(usage.c_rate_temp_s, figures.TEMP_BANDS)
        plain = {name: getattr(usage, name) for name in cls.model_fields if hasattr(usage, name)}
        return cls.model_validate(
            plain
            | {
                "battery": battery,
                "soc_temperature": _histogram(
                    "s",
                    ("soc_pct", SOC_BANDS_PCT),
                    ("temp_degc", figures.TEMP_BAND_EDGES),
                    figures.grid(usage.soc_temp_s, figures.TEMP_BANDS),
                ),
                "charge_rate_temperature": _histogram(
                    "s",
                    ("c_rate", figures.C_RATE_BAND_EDGES),
                    ("temp_degc", figures.TEMP_BAND_EDGES),
                    rates[: figures.C_RATE_BANDS],
                ),
                "discharge_rate_temperature": _histogram(
                    "s",
                    ("c_rate", figures.C_RATE_BAND_EDGES),
                    ("temp_degc", figures.TEMP_BAND_EDGES),
                    rates[figures.C_RATE_BANDS :],
                ),
                "cycle_depth": _histogram(
                    "half cycles",
                    ("depth_pct", figures.DEPTH_BAND_EDGES),
                    ("soc_mean_pct", SOC_BANDS_PCT),
                    figures.grid(usage.depth_counts, figures.SOC_BANDS),
                ),
            }
        )


def _histogram(
    unit: str,
    rows: tuple[str, tuple[figures.Band, ...]],
    columns: tuple[str, tuple[figures.Band, ...]],
    values: figures.Grid,
) -> HistogramOut:
    return HistogramOut(
        unit=unit,
        row_quantity=rows[0],
        rows=tuple(BandOut(low=low, high=high) for low, high in rows[1]),
        column_quantity=columns[0],
        columns=tuple(BandOut(low=low, high=high) for low, high in columns[1]),
        values=values,
    )


class EventOut(Answer):
    event: str = Field(description="Kind of event (docs/wire.md)")
    at_ms: AtMs
    duration_s: float | None = Field(description="Seconds")
    extreme: float | None = Field(description="Worst value, in the unit of the kind (docs/wire.md)")
    text: str | None = Field(description="The box's words")
    provenance: ProvenanceOut


class EventsOut(PartOut):
    battery: str
    events: tuple[EventOut, ...] = Field(description="Newest first")


class MonthAheadOut(Answer):
    at_ms: int = Field(description="UTC milliseconds since 1970")
    soh_pct: float = Field(description="Expected SoH, percent")
    lo90_pct: float = Field(description="Lower end of the 90 % interval, percent")
    hi90_pct: float = Field(description="Upper end of the 90 % interval, percent")


class PassageOut(Answer):
    """When SoH is first below a threshold, from the newest reading: 5, 50 and 95 % points; null: beyond 15 years."""

    threshold_pct: float = Field(description="SoH, percent")
    years: tuple[float | None, float | None, float | None]
    km: tuple[float | None, float | None, float | None] | None = Field(description="null: no odometer to go by")


class FailedOut(Answer):
    """A condition of the guarantee rule that does not hold (docs/forecast.md)."""

    condition: str
    found: float
    asked: float


class PromiseOut(Answer):
    """May it be promised that SoH is at least the threshold then? Only if no condition failed."""

    threshold_pct: float = Field(description="SoH promised, percent")
    horizon_years: float = Field(description="From the newest reading")
    horizon_km: float | None = Field(description="Or after so many km, whichever comes first; null: years alone")
    judged_years: float = Field(description="Which of them comes first, at the pace of the slowest year likely")
    probability: float
    offered: bool
    failed: tuple[FailedOut, ...]
    not_checked: tuple[str, ...] = Field(description="Conditions that nothing is known about")
    bms_based: bool = Field(description="Rests on the car's own capacity figure")


class RefusalOut(Answer):
    use: str
    reasons: tuple[str, ...] = Field(description="harm, low, short, knee, resistance (docs/forecast.md)")


class NextUseOut(Answer):
    use: str = Field(description="car, small_mobility, stationary or recycle")
    refusals: tuple[RefusalOut, ...] = Field(description="What rules out the uses before it")
    not_known: tuple[str, ...]


class ProspectOut(Answer):
    from_ms: int = Field(description="The newest reading, UTC milliseconds since 1970")
    readings: int = Field(description="Months with a reading that it rests on")
    age_years: float
    age_documented: bool = Field(description="false: inferred from the first readings")
    vehicles: int = Field(description="Vehicles that taught the model; 0: published prior")
    model_version: str = Field(description="The model's version: with it the forecast can be recomputed")
    months: tuple[MonthAheadOut, ...] = Field(description="Month by month; the first is the newest reading itself")
    passages: tuple[PassageOut, ...]
    promises: tuple[PromiseOut, ...]
    next_use: NextUseOut


class ForecastOut(Answer):
    """Where the health of a battery is going. The model sees no knee that the readings do not show."""

    battery: str
    why: str | None = Field(description="Why there is none: no_value, too_few or disputed; null: there is one")
    forecast: ProspectOut | None


class BoxOut(Answer):
    box: str
    last_seen_ms: int | None = Field(description="UTC milliseconds since 1970, by the book's clock")
    online: bool | None = Field(description="null: not known")
    records: int = Field(description="Verified records of this box in the ledger")
    health: dict[str, object] = Field(description="Newest heartbeat (docs/wire.md, health); empty before the first")


class BoxesOut(PartOut):
    boxes: tuple[BoxOut, ...] = Field(description="In the order of their ids")


class QuarantineOut(Answer):
    """Messages that could not be believed. Their bytes stay in the book; `packbook doctor` shows them."""

    counted: int = Field(description="Newest messages looked at, at most 500")
    complete: bool = Field(description="false: older ones exist that are not counted here")
    reasons: dict[str, int] = Field(description="How many for each reason")
    newest_ms: int | None = Field(description="UTC milliseconds since 1970, by the book's clock")


class FaultOut(Answer):
    """One parameter that cannot be used."""

    where: str = Field(description="query.NAME, path.NAME or body.NAME")
    why: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="Its kind: an address of this book that explains it")
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path asked for")
    errors: tuple[FaultOut, ...] | None = Field(default=None, description="422: which parameter, and why")


class ProblemKindOut(Answer):
    """A kind of problem, as `type` of a problem document names it."""

    type: str = Field(description="The address of this explanation")
    status: int = Field(description="HTTP status it comes with")
    title: str
    meaning: str = Field(description="What it means, and what to do about it")


class ProblemKindsOut(Answer):
    problems: tuple[ProblemKindOut, ...]


class CheckpointOut(Answer):
    """The book's signed word that it held a store's records up to one of them."""

    box: str
    store: str
    upto: int = Field(description="Number of the newest record that was held")
    battery: str = Field(description="Whose record that one is")
    at_ms: AtMs
    signed: str = Field(description="The checkpoint itself, hexadecimal (docs/trust.md)")


class ReadOut(Answer):
    """One read of a battery's own life."""

    at_ms: int = Field(description="When")
    role: str = Field(description="As whom: a role of the access table")
    purpose: str | None = Field(description="Of a legitimate interest")
    link: str | None = Field(description="Id of the share link, if it was one")
    account: str | None = Field(description="Who, where there was an account")
    door: str = Field(description="page, api, link or export")
    what: str = Field(description="Which page, resource or format")
    fields: tuple[str, ...] = Field(description="Individual fields of a record; none for the history itself")

    @classmethod
    def of(cls, read: Read) -> ReadOut:
        who = read.reader
        return cls(
            at_ms=read.at_ms,
            role=who.role,
            purpose=who.purpose,
            link=who.link,
            account=who.account,
            door=read.door,
            what=read.what,
            fields=read.fields,
        )


class ReadsOut(PartOut):
    battery: str = Field(description="Id of the battery")
    reads: tuple[ReadOut, ...] = Field(description="Newest first")


class CheckpointsOut(PartOut):
    book_key: str = Field(description="Ed25519 key that signed them, hexadecimal: for `packbook verify --trust`")
    checkpoints: tuple[CheckpointOut, ...]

    @classmethod
    def of(cls, book_key: bytes, points: Iterable[SignedCheckpoint], place: Mapping[str, Any]) -> CheckpointsOut:
        """`place`: where in the list these are, as the fields of `PartOut`."""
        shown = [
            CheckpointOut(
                box=point.box,
                store=point.store,
                upto=point.upto,
                battery=point.battery,
                at_ms=point.at_ms,
                signed=point.signed.hex(),
            )
            for point in points
        ]
        return cls(book_key=book_key.hex(), checkpoints=tuple(shown), **place)
