"""Every message body that box and book exchange, version 1. Fields are only ever added, with defaults.

Units end the names. Current and power are positive into the pack. Percent is 0..100. A field that the box does
not know is `None` and is not sent. Times: `wall_ms` is UTC since 1970 by the box's clock when that was set,
`mono_ms` counts from the boot named beside it (clock anchors in `Event` date the rest later).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from packwire.cbor import MAX_WHOLE
from packwire.codec import Body, Wire
from packwire.ids import BATTERY_ID, HEX_ID, BatteryId, BootId

SCHEMA: Final = 1

Count = Annotated[int, Meta(ge=0, le=MAX_WHOLE)]
Text = Annotated[str, Meta(max_length=200, pattern=r"\A[^\x00]*\Z")]  # NUL has no place in a database's text
Boot = Annotated[BootId, Meta(pattern=rf"\A{HEX_ID.pattern}\Z")]


class Kind(IntEnum):
    """Message kinds that travel as sealed records. Numbers are never used again."""

    HELLO = 1
    CHARGE = 2
    DRIVE = 3
    REST = 4
    USAGE = 5
    SOH = 6
    CELLS = 7
    EVENT = 8
    HEALTH = 9
    READING = 10
    CONSENT = 11
    LOG = 12


class Message(Body, frozen=True, kw_only=True):
    KIND: ClassVar[Kind]


class ChargeKind(StrEnum):
    AC = "ac"
    DC = "dc"
    UNKNOWN = "unknown"


class SohState(StrEnum):
    """facts/soh.md §13. `NONE`: nothing to say yet, `why` tells."""

    NONE = "none"
    LEARNING = "learning"
    OK = "ok"
    STALE = "stale"
    INCONSISTENT = "inconsistent"
    REPLACED = "replaced"


class EventKind(StrEnum):
    CLOCK_SET = "clock_set"  # anchor: (boot, mono_ms) of the event is `wall_ms`, +- `extreme` ms
    TIME_BACK = "time_back"  # the source's time ran back; a new boot begins
    STORE_BEGUN = "store_begun"  # first record of a store after another was lost or set aside
    BATTERY_CHANGED = "battery_changed"  # serial changed, counter fell, SoH jumped: history forks here
    CELL_LOW = "cell_low"
    CELL_HIGH = "cell_high"
    PACK_HOT = "pack_hot"
    COLD_CHARGE = "cold_charge"
    ISOLATION_FAULT = "isolation_fault"
    CRASH = "crash"
    SOC_JUMP = "soc_jump"
    WRONG_PROFILE = "wrong_profile"
    DATA_LOST = "data_lost"  # journal trouble, evicted rows; `text` names what
    CONFIG_APPLIED = "config_applied"  # in force from here on; `text`: version and what it sets
    CONFIG_REFUSED = "config_refused"  # `text`: why; what was in force stays
    CONFIG_UNDONE = "config_undone"  # with it the book was not reached: the one before is in force again
    COMMAND_DONE = "command_done"  # `text`: id, command, what came of it
    COMMAND_REFUSED = "command_refused"


# What `Event.extreme` counts in; kinds that are not here send none.
EXTREME_UNIT: Final[dict[EventKind, str]] = {
    EventKind.CLOCK_SET: "ms",
    EventKind.TIME_BACK: "ms",
    EventKind.CELL_LOW: "V",
    EventKind.CELL_HIGH: "V",
    EventKind.PACK_HOT: "°C",
    EventKind.COLD_CHARGE: "°C",
    EventKind.SOC_JUMP: "%",
}


class Hello(Message, frozen=True, kw_only=True):
    """Who speaks, for which battery, with which software and profile. First record of a store, and at any change."""

    KIND: ClassVar = Kind.HELLO
    public_key: Annotated[bytes, Wire(0), Meta(min_length=32, max_length=32)]
    battery: Annotated[BatteryId, Wire(1), Meta(pattern=rf"\A{BATTERY_ID.pattern}\Z")]
    battery_source: Annotated[Text, Wire(2)] = "provisional"  # read | configured | provisional
    vehicle: Annotated[Text | None, Wire(3)] = None  # the operator's own name for the car; never a VIN
    software: Annotated[Text, Wire(4)] = ""
    profile: Annotated[Text, Wire(5)] = ""
    profile_digest: Annotated[bytes, Wire(6), Meta(max_length=32)] = b""
    variant: Annotated[Text | None, Wire(7)] = None
    pack: Annotated[Text | None, Wire(8)] = None  # pack facts id within the profile
    reference_ah: Annotated[float | None, Wire(9, per=100)] = None
    reference_source: Annotated[Text | None, Wire(10)] = None
    cells_in_series: Annotated[Count | None, Wire(11)] = None
    chemistry: Annotated[Text | None, Wire(12)] = None
    nominal_kwh: Annotated[float | None, Wire(13, per=100)] = None
    # The rest of the pack's facts, so that anyone can work SoH out again from the records alone.
    rated_ah: Annotated[float | None, Wire(14, per=100)] = None
    ocv: Annotated[tuple[tuple[float, float], ...], Wire(15, per=10_000), Meta(max_length=128)] = ()  # SoC in %, volts
    current_gain_sigma_pct: Annotated[float | None, Wire(16, per=10_000)] = None
    resistance_slope_k: Annotated[float | None, Wire(17, per=100)] = None
    capacity_start_ah: Annotated[float | None, Wire(18, per=1000)] = None
    packs_before: Annotated[Count, Wire(20)] = (
        0  # that this store saw go: with each more, counts and readings begin anew
    )


class Session(Message, frozen=True, kw_only=True):
    """What drive, charge and rest have in common."""

    session: Annotated[Count, Wire(0)]  # number within the store, from 1
    boot: Annotated[Boot, Wire(1)]
    start_mono_ms: Annotated[int, Wire(2)]
    start_wall_ms: Annotated[int | None, Wire(3)] = None
    duration_s: Annotated[float, Wire(4, per=10), Meta(ge=0)] = 0.0
    observed_s: Annotated[float, Wire(5, per=10), Meta(ge=0)] = 0.0  # with pack current known
    interrupted: Annotated[bool, Wire(6)] = False  # power cut, gap or clock break inside
    soc_start_pct: Annotated[float | None, Wire(7, per=10)] = None  # BMS SoC
    soc_end_pct: Annotated[float | None, Wire(8, per=10)] = None
    soc_shown_start_pct: Annotated[float | None, Wire(9, per=10)] = None
    soc_shown_end_pct: Annotated[float | None, Wire(10, per=10)] = None
    charge_in_ah: Annotated[float, Wire(11, per=1000), Meta(ge=0)] = 0.0
    charge_out_ah: Annotated[float, Wire(12, per=1000), Meta(ge=0)] = 0.0
    energy_in_wh: Annotated[float, Wire(13, per=1), Meta(ge=0)] = 0.0
    energy_out_wh: Annotated[float, Wire(14, per=1), Meta(ge=0)] = 0.0
    current_max_a: Annotated[float | None, Wire(15, per=10)] = None  # most positive: hardest charge
    current_min_a: Annotated[float | None, Wire(16, per=10)] = None  # most negative: hardest discharge
    pack_voltage_start_v: Annotated[float | None, Wire(17, per=10)] = None
    pack_voltage_end_v: Annotated[float | None, Wire(18, per=10)] = None
    cell_voltage_min_v: Annotated[float | None, Wire(19, per=1000)] = None
    cell_voltage_max_v: Annotated[float | None, Wire(20, per=1000)] = None
    temp_min_degc: Annotated[float | None, Wire(21, per=10)] = None
    temp_mean_degc: Annotated[float | None, Wire(22, per=10)] = None
    temp_max_degc: Annotated[float | None, Wire(23, per=10)] = None
    ambient_temp_degc: Annotated[float | None, Wire(24, per=10)] = None
    odometer_start_km: Annotated[float | None, Wire(25, per=10)] = None
    odometer_end_km: Annotated[float | None, Wire(26, per=10)] = None
    soh_reported_pct: Annotated[float | None, Wire(27, per=100)] = None
    capacity_reported_ah: Annotated[float | None, Wire(28, per=100)] = None


class CurveItem(Body, frozen=True, kw_only=True):
    """How a charge went, over SoC and not over time. Lists begin with the band from `soc_from_pct` on, upwards."""

    soc_from_pct: Annotated[float, Wire(0, per=1), Meta(ge=0)] = 0.0
    band_pct: Annotated[float, Wire(1, per=1), Meta(ge=0)] = 5.0  # width of each
    power_kw: Annotated[tuple[float | None, ...], Wire(2, per=10), Meta(max_length=24)] = ()  # into the pack, mean
    temp_degc: Annotated[tuple[float | None, ...], Wire(3, per=1), Meta(max_length=24)] = ()  # of the pack, mean
    shown: Annotated[bool, Wire(4)] = False  # over the displayed SoC: the car told no other


class Charge(Session, frozen=True, kw_only=True):
    KIND: ClassVar = Kind.CHARGE
    charge_kind: Annotated[ChargeKind, Wire(40)] = ChargeKind.UNKNOWN
    segments: Annotated[Count, Wire(41)] = 1  # solar surplus makes dozens in one plug-in
    power_max_kw: Annotated[float | None, Wire(42, per=10)] = None
    curve: Annotated[CurveItem | None, Wire(43)] = None  # absent: the SoC hardly moved, or was not told


class Drive(Session, frozen=True, kw_only=True):
    KIND: ClassVar = Kind.DRIVE
    distance_km: Annotated[float | None, Wire(40, per=10)] = None
    speed_max_kmh: Annotated[float | None, Wire(41, per=1)] = None
    energy_regenerated_wh: Annotated[float, Wire(42, per=1), Meta(ge=0)] = 0.0


class Rest(Session, frozen=True, kw_only=True):
    KIND: ClassVar = Kind.REST
    unseen_s: Annotated[float, Wire(40, per=1), Meta(ge=0)] = 0.0  # asleep: inferred, not observed


class Usage(Message, frozen=True, kw_only=True):
    """Life so far of one battery as one store saw it; cumulative, so a lost one costs nothing."""

    KIND: ClassVar = Kind.USAGE
    observed_s: Annotated[float, Wire(0, per=1), Meta(ge=0)] = 0.0
    inferred_s: Annotated[float, Wire(1, per=1), Meta(ge=0)] = 0.0  # parked: last values held
    unobserved_s: Annotated[float, Wire(2, per=1), Meta(ge=0)] = 0.0  # awake, yet no current known
    charge_in_ah: Annotated[float, Wire(3, per=100), Meta(ge=0)] = 0.0
    charge_out_ah: Annotated[float, Wire(4, per=100), Meta(ge=0)] = 0.0
    energy_in_wh: Annotated[float, Wire(5, per=1), Meta(ge=0)] = 0.0
    energy_out_wh: Annotated[float, Wire(6, per=1), Meta(ge=0)] = 0.0
    energy_ac_in_wh: Annotated[float, Wire(7, per=1), Meta(ge=0)] = 0.0
    energy_dc_in_wh: Annotated[float, Wire(8, per=1), Meta(ge=0)] = 0.0
    equivalent_full_cycles: Annotated[float | None, Wire(9, per=1000)] = None  # (in + out) / (2 x reference)
    charges_ac: Annotated[Count, Wire(10)] = 0
    charges_dc: Annotated[Count, Wire(11)] = 0
    drives: Annotated[Count, Wire(12)] = 0
    distance_km: Annotated[float, Wire(13, per=10), Meta(ge=0)] = 0.0
    odometer_km: Annotated[float | None, Wire(14, per=10)] = None
    soc_temp_s: Annotated[tuple[int, ...], Wire(15, counts=True)] = ()  # 10 SoC bands x 9 temperature bands, row = SoC
    c_rate_temp_s: Annotated[tuple[int, ...], Wire(16, counts=True)] = ()  # 20 C-rate bands x 9 temperature bands
    depth_counts: Annotated[tuple[int, ...], Wire(17, counts=True)] = ()  # half cycles: 7 depths x 10 mean-SoC bands
    arrhenius_s: Annotated[float, Wire(18, per=1), Meta(ge=0)] = 0.0  # temperature- and SoC-weighted age
    # Event kind, how often so far.
    events: Annotated[tuple[tuple[Text, Count], ...], Wire(19), Meta(max_length=64)] = ()
    charge_count_ac_reported: Annotated[Count | None, Wire(20)] = None  # the car's own counters
    charge_count_dc_reported: Annotated[Count | None, Wire(21)] = None
    first_wall_ms: Annotated[int | None, Wire(22)] = None
    charging_temp_s: Annotated[tuple[int, ...], Wire(23, counts=True)] = ()  # charges by the plug: temperature bands


class EstimateItem(Body, frozen=True, kw_only=True):
    """One method's opinion. No capacity: `why` says what is missing."""

    method: Annotated[Text, Wire(0)]  # id/version, for example "bms_value/1"
    capacity_ah: Annotated[float | None, Wire(1, per=1000)] = None
    sigma_ah: Annotated[float | None, Wire(2, per=1000)] = None
    n: Annotated[Count, Wire(3)] = 0  # readings it rests on
    evidence: Annotated[tuple[Count, ...], Wire(4), Meta(max_length=16)] = ()  # newest session numbers, at most 16
    why: Annotated[Text | None, Wire(5)] = None


class EnergyItem(Body, frozen=True, kw_only=True):
    """Energy of the full pack by the car's own count (kWh or gids). Of a capacity it says nothing."""

    method: Annotated[Text, Wire(0)]  # id/version
    energy_full_kwh: Annotated[float, Wire(1, per=1000), Meta(ge=0)]
    sigma_kwh: Annotated[float, Wire(2, per=1000), Meta(ge=0)]
    n: Annotated[Count, Wire(3)] = 0  # readings it rests on
    evidence: Annotated[tuple[Count, ...], Wire(4), Meta(max_length=16)] = ()  # newest session numbers, at most 16
    gids: Annotated[bool, Wire(5)] = False  # worked out from gids, whose size nobody publishes


class Soh(Message, frozen=True, kw_only=True):
    """Capacity SoH with its uncertainty. What the car reports stands beside it and is never mixed into it silently."""

    KIND: ClassVar = Kind.SOH
    state: Annotated[SohState, Wire(0)] = SohState.NONE
    why: Annotated[Text | None, Wire(1)] = None
    soh_pct: Annotated[float | None, Wire(2, per=100)] = None
    sigma_pct: Annotated[float | None, Wire(3, per=100)] = None
    lo90_pct: Annotated[float | None, Wire(4, per=100)] = None
    hi90_pct: Annotated[float | None, Wire(5, per=100)] = None
    capacity_ah: Annotated[float | None, Wire(6, per=1000)] = None
    sigma_ah: Annotated[float | None, Wire(7, per=1000)] = None
    reference_ah: Annotated[float | None, Wire(8, per=100)] = None
    reference_source: Annotated[Text | None, Wire(9)] = None
    basis: Annotated[Text | None, Wire(10)] = None  # ocv | bms-soc | bms-value
    method: Annotated[Text, Wire(11)] = ""  # what weighed the estimates: id/version
    estimates: Annotated[tuple[EstimateItem, ...], Wire(12), Meta(max_length=32)] = ()
    soh_reported_pct: Annotated[float | None, Wire(13, per=100)] = None
    capacity_reported_ah: Annotated[float | None, Wire(14, per=1000)] = None
    observed_s: Annotated[float, Wire(15, per=1)] = 0.0  # coverage: how much of its life we saw
    inferred_s: Annotated[float, Wire(16, per=1)] = 0.0
    unobserved_s: Annotated[float, Wire(17, per=1)] = 0.0
    observed_ah: Annotated[float, Wire(18, per=10)] = 0.0
    observed_km: Annotated[float, Wire(19, per=10)] = 0.0
    odometer_km: Annotated[float | None, Wire(20, per=10)] = None
    soce_pct: Annotated[float | None, Wire(21, per=100)] = None  # estimated SOCE, not type-approval
    resistance_ohm: Annotated[float | None, Wire(22, per=100_000)] = None  # pack, 25 degC
    line_s: Annotated[Count | None, Wire(23)] = None  # second of the line that `Reading` counts on
    energy: Annotated[EnergyItem | None, Wire(24)] = None  # what the car itself counts; absent: it tells none


class SwingItem(Body, frozen=True, kw_only=True):
    """Of rest_bands: charge counted between two rests, and the SoC that the rest voltages told."""

    at_s: Annotated[Count, Wire(0)]  # of the later rest
    from_soc_pct: Annotated[float, Wire(1, per=100)] = 0.0
    to_soc_pct: Annotated[float, Wire(2, per=100)] = 0.0
    charge_in_ah: Annotated[float, Wire(3, per=100)] = 0.0  # net
    counted_h: Annotated[float, Wire(4, per=100), Meta(ge=0)] = 0.0  # with the sensor counted
    soc_sigma_pct: Annotated[float, Wire(5, per=1000), Meta(ge=0)] = 0.0  # of both ends together
    charge_sigma_ah: Annotated[float, Wire(6, per=1000), Meta(ge=0)] = 0.0
    lean_pct_per_v: Annotated[float, Wire(7, per=10)] = 0.0  # what a volt of hysteresis adds to the fall of the SoC


class LegItem(Body, frozen=True, kw_only=True):
    """Of charge_ratio: charge counted between two steps of the SoC."""

    charge_ah: Annotated[float, Wire(0, per=100), Meta(ge=0)]
    soc_change_pct: Annotated[float, Wire(1, per=100), Meta(ge=0)]
    charge_sigma_ah: Annotated[float, Wire(2, per=1000), Meta(ge=0)] = 0.0
    soc_sigma_pct: Annotated[float, Wire(3, per=1000), Meta(ge=0)] = 0.0
    bms: Annotated[bool, Wire(4)] = False  # the battery management's own SoC, not the displayed one


class SpanItem(Body, frozen=True, kw_only=True):
    """Of full_span: a charge over nearly the whole scale."""

    charge_ah: Annotated[float, Wire(0, per=100), Meta(ge=0)]
    soc_change_pct: Annotated[float, Wire(1, per=100), Meta(ge=0)]


class LeftItem(Body, frozen=True, kw_only=True):
    """Of energy_series: the energy that the car said was left, and its SoC then."""

    energy_left_kwh: Annotated[float, Wire(0, per=1000), Meta(ge=0)]
    soc_pct: Annotated[float, Wire(1, per=100), Meta(ge=0)]
    gids: Annotated[bool, Wire(2)] = False  # told in gids
    bms: Annotated[bool, Wire(3)] = False  # the battery management's own SoC, not the displayed one


class BmsItem(Body, frozen=True, kw_only=True):
    """Of bms_value: what the car's own battery management said last in this session."""

    at_s: Annotated[Count, Wire(0)]
    capacity_ah: Annotated[float | None, Wire(1, per=1000)] = None
    soh_pct: Annotated[float | None, Wire(2, per=1000)] = None


class ToldItem(Body, frozen=True, kw_only=True):
    """Of rest_bands: the reported capacity that it asked for."""

    at_s: Annotated[Count, Wire(0)]
    capacity_ah: Annotated[float, Wire(1, per=1000), Meta(ge=0)]


class SeenItem(Body, frozen=True, kw_only=True):
    """Of rest_bands: how often what was seen so far."""

    visits: Annotated[tuple[int, ...], Wire(0, counts=True)] = ()  # rests by SoC, lowest first
    off_curve: Annotated[Count, Wire(1)] = 0  # rest voltages off the curve
    stuck_n: Annotated[Count, Wire(2)] = 0  # hours with a current that could not be
    apart_n: Annotated[Count, Wire(3)] = 0  # rests beside which the car told its SoC
    apart_pct: Annotated[float, Wire(4, per=100), Meta(ge=0)] = 0.0  # how far the two were apart


class Reading(Message, frozen=True, kw_only=True):
    """What one session gave to the methods: with all of them anybody works the SoH out again (docs/trust.md).

    Seconds are those of the box's own line, which runs on over boots; `Soh.line_s` is on the same.
    """

    KIND: ClassVar = Kind.READING
    number: Annotated[Count, Wire(0)]  # since the pack is watched, from 1, without holes
    session: Annotated[Count, Wire(1)]
    line_s: Annotated[Count, Wire(2)]  # end of the session
    legs: Annotated[tuple[LegItem, ...], Wire(3), Meta(max_length=8)] = ()
    bms: Annotated[BmsItem | None, Wire(4)] = None
    prior: Annotated[ToldItem | None, Wire(5)] = None  # what rest_bands started from: used before the swings
    swings: Annotated[tuple[SwingItem, ...], Wire(6), Meta(max_length=8)] = ()
    told: Annotated[ToldItem | None, Wire(7)] = None  # used after the swings
    seen: Annotated[SeenItem | None, Wire(8)] = None
    span: Annotated[SpanItem | None, Wire(9)] = None
    refused: Annotated[Text | None, Wire(10)] = None  # why nothing counted with this current stands, from here on
    energy: Annotated[tuple[LeftItem, ...], Wire(11), Meta(max_length=8)] = ()


class Cells(Message, frozen=True, kw_only=True):
    """Spread of the cells at one quiet moment: once a day at most, and once more when it grew."""

    KIND: ClassVar = Kind.CELLS
    voltages_mv: Annotated[tuple[int | None, ...], Wire(0), Meta(max_length=512)] = ()
    soc_pct: Annotated[float | None, Wire(1, per=10)] = None
    pack_current_a: Annotated[float | None, Wire(2, per=10)] = None
    temps_degc: Annotated[tuple[float, ...], Wire(3, per=10), Meta(max_length=128)] = ()
    cell_voltage_min_v: Annotated[float | None, Wire(4, per=1000)] = None  # as the car sums its cells up
    cell_voltage_max_v: Annotated[float | None, Wire(5, per=1000)] = None
    quiet_s: Annotated[float | None, Wire(6, per=1)] = None  # next to no current for so long before


class Event(Message, frozen=True, kw_only=True):
    KIND: ClassVar = Kind.EVENT
    event: Annotated[EventKind, Wire(0)]
    duration_s: Annotated[float | None, Wire(1, per=10)] = None
    extreme: Annotated[float | None, Wire(2, per=1000)] = None  # in the kind's EXTREME_UNIT
    text: Annotated[Text | None, Wire(3)] = None
    wall_ms: Annotated[int | None, Wire(4)] = None
    mono_ms: Annotated[int | None, Wire(5)] = None
    boot: Annotated[Boot | None, Wire(6)] = None
    session: Annotated[Count | None, Wire(7)] = None


class Health(Message, frozen=True, kw_only=True):
    """The box itself: sealed once a day, and unsigned as the heartbeat."""

    KIND: ClassVar = Kind.HEALTH
    uptime_s: Annotated[float, Wire(0, per=1)] = 0.0
    frames: Annotated[Count, Wire(1)] = 0
    frames_dropped: Annotated[Count, Wire(2)] = 0  # by the kernel or a full queue
    frames_bad: Annotated[Count, Wire(3)] = 0  # checksum, length, unreadable line
    frames_unknown: Annotated[Count, Wire(4)] = 0
    frames_sent: Annotated[Count, Wire(5)] = 0  # onto the car's bus: 0 unless the owner agreed to polling
    bus_errors: Annotated[Count, Wire(6)] = 0
    outbox_waiting: Annotated[Count, Wire(7)] = 0
    oldest_waiting_s: Annotated[float | None, Wire(8, per=1)] = None
    journal_bytes: Annotated[Count, Wire(9)] = 0
    disk_free_bytes: Annotated[Count | None, Wire(10)] = None
    clock: Annotated[Text, Wire(11)] = "unset"  # unset | set
    uplink_bytes: Annotated[Count, Wire(12)] = 0
    uplink_refused: Annotated[Count, Wire(13)] = 0
    cpu_temp_degc: Annotated[float | None, Wire(14, per=10)] = None
    software: Annotated[Text, Wire(15)] = ""
    config_version: Annotated[Count, Wire(16)] = 0
    text: Annotated[Text | None, Wire(17)] = None
    # What was refused, by reason (`frames_bad` is the sum of those that point to a fault):
    wrong_length: Annotated[Count, Wire(18)] = 0  # of another length than the profile says
    bad_checksum: Annotated[Count, Wire(19)] = 0
    stuck_counter: Annotated[Count, Wire(20)] = 0
    unknown_mux: Annotated[Count, Wire(21)] = 0  # multiplexer values never seen
    broken_answers: Annotated[Count, Wire(22)] = 0  # ISO-TP out of order or cut
    foreign_answers: Annotated[Count, Wire(23)] = 0  # a control unit answered for another
    void_values: Annotated[Count, Wire(24)] = 0  # the car says "not available"
    implausible_values: Annotated[Count, Wire(25)] = 0  # outside any car's or the pack's range
    cells_not_sum: Annotated[Count, Wire(26)] = 0  # cells that do not add up to the pack voltage


class Consent(Message, frozen=True, kw_only=True):
    """What the owner agrees to from here on, all of it; an earlier one holds no longer. Nobody is named."""

    KIND: ClassVar = Kind.CONSENT
    purposes: Annotated[tuple[Text, ...], Wire(0), Meta(max_length=16)] = ()  # history passport polling diagnostics
    by: Annotated[Text, Wire(1)] = "owner"  # in which role somebody said so at the box: owner | keeper | operator
    text_version: Annotated[Text, Wire(2)] = ""  # of the explanation that was shown
    decided_ms: Annotated[Count | None, Wire(3)] = None


class Log(Message, frozen=True, kw_only=True):
    """Lines of the box's own log that the operator asked for. Never without consent to diagnostics."""

    KIND: ClassVar = Kind.LOG
    command: Annotated[Text, Wire(0)] = ""  # id of the command, hex
    lines: Annotated[tuple[Text, ...], Wire(1), Meta(max_length=64)] = ()


MESSAGES: Final[dict[Kind, type[Message]]] = {
    m.KIND: m for m in (Hello, Charge, Drive, Rest, Usage, Soh, Cells, Event, Health, Reading, Consent, Log)
}

# Sealed sizes in bytes with a little head-room (measured: docs/wire.md; tests/wire hold us to them).
TYPICAL_BYTES: Final[dict[Kind, int]] = {
    Kind.HELLO: 400,
    Kind.CHARGE: 320,
    Kind.DRIVE: 290,
    Kind.REST: 275,
    Kind.USAGE: 770,
    Kind.SOH: 400,
    Kind.CELLS: 490,
    Kind.EVENT: 220,
    Kind.HEALTH: 240,
    Kind.READING: 270,
    Kind.CONSENT: 220,
    Kind.LOG: 820,
}
# The largest honest message: every field there, histograms full, twenty years of counts.
BYTE_BUDGET: Final[dict[Kind, int]] = {
    Kind.HELLO: 1600,
    Kind.CHARGE: 460,
    Kind.DRIVE: 360,
    Kind.REST: 350,
    Kind.USAGE: 2200,
    Kind.SOH: 1400,
    Kind.CELLS: 960,
    Kind.EVENT: 380,
    Kind.HEALTH: 460,
    Kind.READING: 660,
    Kind.CONSENT: 245,
    Kind.LOG: 13_400,
}
