"""What the fold has to say: plain values, each with the stamp at which it became true.

In:  nothing; `core.box` makes these (`BoxHealth`, `ConsentSaid` and `LogLines` are made by the app, which knows
     disk and uplink, owner and operator).
Out: read by `core.summary`, which turns them into records, and by anyone who shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from packbox.core.charging import ChargeCurve
from packbox.core.packs import PackFacts
from packbox.core.record import BatteryId
from packbox.core.soh.energy_series import EnergyFull
from packbox.core.soh.method import Estimate
from packbox.core.soh.panel import Readings
from packbox.core.soh.weigh import SohValue
from packbox.core.stamp import Stamp
from packbox.core.usage import Usage


class ChargeKind(StrEnum):
    AC = "ac"
    DC = "dc"
    UNKNOWN = "unknown"


class EventName(StrEnum):
    """The names of the wire (`packwire.messages.EventKind`)."""

    CLOCK_SET = "clock_set"
    TIME_BACK = "time_back"
    BATTERY_CHANGED = "battery_changed"
    CELL_LOW = "cell_low"
    CELL_HIGH = "cell_high"
    PACK_HOT = "pack_hot"
    COLD_CHARGE = "cold_charge"
    SOC_JUMP = "soc_jump"
    WRONG_PROFILE = "wrong_profile"
    STORE_BEGUN = "store_begun"
    DATA_LOST = "data_lost"
    CONFIG_APPLIED = "config_applied"
    CONFIG_REFUSED = "config_refused"
    CONFIG_UNDONE = "config_undone"
    COMMAND_DONE = "command_done"
    COMMAND_REFUSED = "command_refused"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which battery is watched, through which car, with what knowledge."""

    battery: BatteryId
    battery_source: str  # read configured provisional
    vehicle: str | None
    software: str
    profile: str
    profile_digest: str  # hex
    variant: str | None
    pack: PackFacts | None
    packs_before: int = 0  # that the car had: with each more, counts begin anew


@dataclass(frozen=True, slots=True)
class Introduced:
    stamp: Stamp
    identity: Identity


@dataclass(frozen=True, slots=True)
class Session:
    """A drive, a charge or a rest that ended. Unknown is None; fields of another kind are None."""

    number: int
    kind: str  # drive charge rest
    start: Stamp
    duration_s: float
    observed_s: float
    unseen_s: float
    interrupted: bool
    charge_in_ah: float
    charge_out_ah: float
    energy_in_wh: float
    energy_out_wh: float
    soc_start_pct: float | None
    soc_end_pct: float | None
    soc_shown_start_pct: float | None
    soc_shown_end_pct: float | None
    current_max_a: float | None
    current_min_a: float | None
    pack_voltage_start_v: float | None
    pack_voltage_end_v: float | None
    cell_voltage_min_v: float | None
    cell_voltage_max_v: float | None
    temp_min_degc: float | None
    temp_mean_degc: float | None
    temp_max_degc: float | None
    ambient_temp_degc: float | None
    odometer_start_km: float | None
    odometer_end_km: float | None
    soh_reported_pct: float | None
    capacity_reported_ah: float | None
    charge_kind: ChargeKind | None = None
    segments: int | None = None
    power_max_kw: float | None = None
    distance_km: float | None = None
    speed_max_kmh: float | None = None
    energy_regenerated_wh: float | None = None
    curve: ChargeCurve | None = None


@dataclass(frozen=True, slots=True)
class SessionClosed:
    stamp: Stamp
    session: Session


@dataclass(frozen=True, slots=True, eq=False)
class UsageDue:
    """Life so far."""

    stamp: Stamp
    usage: Usage
    reference_ah: float | None  # what one full cycle is counted against


@dataclass(frozen=True, slots=True)
class SohComputed:
    stamp: Stamp
    soh: SohValue
    estimates: tuple[Estimate, ...]
    soh_reported_pct: float | None
    capacity_reported_ah: float | None
    observed_s: float
    inferred_s: float
    unobserved_s: float
    observed_ah: float
    observed_km: float
    odometer_km: float | None
    soce_pct: float | None = None  # estimated, not type-approval
    resistance_ohm: float | None = None  # of the pack at 25 degC
    line_s: int | None = None  # on the line that readings are told on
    energy: EnergyFull | None = None  # what the car itself counts


@dataclass(frozen=True, slots=True)
class ReadingsTaken:
    """What a session gave to the methods: evidence for every `SohComputed` after it."""

    stamp: Stamp
    readings: Readings


@dataclass(frozen=True, slots=True)
class CellsSeen:
    stamp: Stamp
    voltages_v: tuple[float | None, ...]
    soc_pct: float | None
    pack_current_a: float | None
    temps_degc: tuple[float, ...] = ()
    cell_voltage_min_v: float | None = None  # as the car sums its cells up
    cell_voltage_max_v: float | None = None
    quiet_s: float | None = None  # next to no current for so long before


@dataclass(frozen=True, slots=True)
class EventSeen:
    """An event that lasts is said when it is over; `began` is None where it began and ended at once."""

    stamp: Stamp
    event: EventName
    began: Stamp | None = None
    duration_s: float | None = None
    extreme: float | None = None  # in the unit of the event: V, degC, % or ms
    text: str | None = None


@dataclass(frozen=True, slots=True)
class BoxHealth:
    stamp: Stamp
    uptime_s: float = 0.0
    frames: int = 0
    frames_dropped: int = 0
    frames_bad: int = 0
    frames_unknown: int = 0
    frames_sent: int = 0
    bus_errors: int = 0
    outbox_waiting: int = 0
    oldest_waiting_s: float | None = None
    journal_bytes: int = 0
    disk_free_bytes: int | None = None
    clock: str = "unset"
    uplink_bytes: int = 0
    uplink_refused: int = 0
    cpu_temp_degc: float | None = None
    software: str = ""
    config_version: int = 0
    text: str | None = None
    wrong_length: int = 0
    bad_checksum: int = 0
    stuck_counter: int = 0
    unknown_mux: int = 0
    broken_answers: int = 0
    foreign_answers: int = 0
    void_values: int = 0
    implausible_values: int = 0
    cells_not_sum: int = 0


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the owner agrees to, as it was decided at the box. `by`: a role, nobody is named."""

    purposes: tuple[str, ...]
    by: str
    text_version: str
    decided_ms: int | None


@dataclass(frozen=True, slots=True)
class ConsentSaid:
    """It holds from here on."""

    stamp: Stamp
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class LogLines:
    """The newest lines of the box's log, because a command asked for them."""

    stamp: Stamp
    command: str
    lines: tuple[str, ...]


Outcome: TypeAlias = (
    Introduced
    | SessionClosed
    | UsageDue
    | SohComputed
    | ReadingsTaken
    | CellsSeen
    | EventSeen
    | BoxHealth
    | ConsentSaid
    | LogLines
)
