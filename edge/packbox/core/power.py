"""Stay up, or let the power go? A box that idles takes 0.2 A at 12 V and flattens a parked car in days.

In:  `Sight`: what bus, car and power lines show at this moment; `Limits`: what the operator set.
Out: `PowerState`: awake, settling, ready (everything is saved, the power may go), shutdown; and why.
Refuses to decide by one line alone: an electric car charges with the ignition off, on a bus that may fall silent.

Whatever keeps the box up is in `KEEPS`, whatever ends it all the same is in `ENDS`. While nothing keeps it, it goes one
step after the other to shutdown, and anything that turns up on the way brings it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from packbox.core.profile import CarState
from packbox.core.stamp import NS_PER_S

RAIL_FED_V: Final = 13.2  # the car's converter holds the rail up; a resting lead battery is at 12.8 V at most
RAIL_LOW_S: Final = 60  # heaters and pumps pull the rail down for seconds
SETTLE_MIN_S: Final = 60  # doors that open again, buses that wake for a moment
SETTLE_MAX_S: Final = 300  # for records that still go out; what is left goes next time
READY_S: Final = 30  # a power controller sees the word and may cut; whoever comes back now is not missed
FRESH_S: Final = 60  # what the car said of itself is worth this long without a frame


class PowerPhase(StrEnum):
    AWAKE = "awake"
    SETTLING = "settling"  # nothing keeps us: save, send what waits
    READY = "ready"  # everything is saved: the power may go
    SHUTDOWN = "shutdown"  # final: the machine is to be switched off


@dataclass(frozen=True, slots=True)
class Limits:
    quiet_s: float = 300.0  # a silent bus keeps us this long
    plugged_quiet_s: float = 3600.0  # the same while plugged in: solar surplus and night tariffs come and go
    unfed_s: float = 21_600.0  # the hard limit: six hours are 1.2 Ah of the 12 V battery
    rail_low_v: float = 11.8  # a lead battery that is nearly empty


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known now. Unknown is None: no ignition line, no voltage, a car that has said nothing yet."""

    now_ns: int
    heard_ns: int | None = None  # newest frame
    car: CarState | None = None
    plugged: bool | None = None
    ignition_on: bool | None = None
    rail_v: float | None = None
    sending: bool = False  # records wait and there is a link


@dataclass(frozen=True, slots=True)
class PowerState:
    """Times are monotonic."""

    phase: PowerPhase
    since_ns: int
    why: str
    began_ns: int
    fed_ns: int  # newest moment at which the car fed its 12 V side, or we began
    low_since_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    name: str
    when: str
    why: str
    holds: Callable[[PowerState, Sight, Limits], bool]


def _quiet_s(state: PowerState, sight: Sight) -> float:
    """How long no frame came. A box that just began waits for its first one as long as for the next."""
    since_ns = state.began_ns if sight.heard_ns is None else max(state.began_ns, sight.heard_ns)
    return (sight.now_ns - since_ns) / NS_PER_S


def _is_fed(state: PowerState, sight: Sight) -> bool:
    """The 12 V side is fed by the car: the converter runs whenever it drives or charges (some hold only 12.9 V)."""
    if sight.rail_v is not None and sight.rail_v >= RAIL_FED_V:
        return True
    return sight.car in (CarState.CHARGING, CarState.DRIVING) and _quiet_s(state, sight) <= FRESH_S


ENDS: Final = (
    Reason(
        "12 V low",
        "below `power.rail_low_v` (11.8 V) for 60 s",
        "the car must start again; whatever it does, it does not feed its 12 V battery",
        lambda state, sight, _limits: (
            state.low_since_ns is not None and sight.now_ns - state.low_since_ns >= RAIL_LOW_S * NS_PER_S
        ),
    ),
    Reason(
        "hard limit",
        "`power.unfed_s` (6 h) in which the car never fed its 12 V side: rail not at 13.2 V, and not seen driving or "
        "charging",
        "a stuck ignition line or a chattering bus must not flatten the battery",
        lambda state, sight, limits: sight.now_ns - state.fed_ns >= limits.unfed_s * NS_PER_S,
    ),
)
KEEPS: Final = (
    Reason(
        "charging",
        "the car charges, also when its bus fell silent meanwhile",
        "charges are what we are here for",
        lambda _state, sight, _limits: sight.car is CarState.CHARGING,
    ),
    Reason(
        "driving",
        "the car drives",
        "drives are half of the history",
        lambda _state, sight, _limits: sight.car is CarState.DRIVING,
    ),
    Reason(
        "ignition on",
        "the ignition line says so",
        "whoever turned it on is about to drive",
        lambda _state, sight, _limits: sight.ignition_on is True,
    ),
    Reason(
        "rail held up",
        "13.2 V and more",
        "the car's converter runs: it does something, and feeds us",
        lambda _state, sight, _limits: sight.rail_v is not None and sight.rail_v >= RAIL_FED_V,
    ),
    Reason(
        "bus alive",
        "a frame within the last `power.quiet_s` (300 s)",
        "a car that talks is awake; the first frame is waited for as long",
        lambda state, sight, limits: _quiet_s(state, sight) < limits.quiet_s,
    ),
    Reason(
        "plugged in",
        "plugged in, and a frame within the last `power.plugged_quiet_s` (3600 s)",
        "solar surplus and night tariffs begin and stop again and again",
        lambda state, sight, limits: sight.plugged is True and _quiet_s(state, sight) < limits.plugged_quiet_s,
    ),
)
SILENCE: Final = "nothing keeps it up"


def start(now_ns: int) -> PowerState:
    return PowerState(PowerPhase.AWAKE, now_ns, "just started", now_ns, now_ns)


def advance(state: PowerState, sight: Sight, limits: Limits) -> PowerState:
    """One look. Call it every second or so; several phases are never skipped but by `ENDS`."""
    if state.phase is PowerPhase.SHUTDOWN:
        return state
    state = _noted(state, sight, limits)
    end = _first(ENDS, state, sight, limits)
    if end is not None:
        return _to(state, PowerPhase.SHUTDOWN, end.name, sight.now_ns)
    keep = _first(KEEPS, state, sight, limits)
    if keep is not None:
        return _to(state, PowerPhase.AWAKE, keep.name, sight.now_ns)
    return _to(state, _onward(state, sight), SILENCE, sight.now_ns)


def _noted(state: PowerState, sight: Sight, limits: Limits) -> PowerState:
    is_low = sight.rail_v is not None and sight.rail_v < limits.rail_low_v
    since_ns = (sight.now_ns if state.low_since_ns is None else state.low_since_ns) if is_low else None
    return replace(state, low_since_ns=since_ns, fed_ns=sight.now_ns if _is_fed(state, sight) else state.fed_ns)


def _onward(state: PowerState, sight: Sight) -> PowerPhase:
    """Where to while nothing keeps us."""
    in_phase_s = (sight.now_ns - state.since_ns) / NS_PER_S
    match state.phase:
        case PowerPhase.AWAKE:
            return PowerPhase.SETTLING
        case PowerPhase.SETTLING if in_phase_s >= (SETTLE_MAX_S if sight.sending else SETTLE_MIN_S):
            return PowerPhase.READY
        case PowerPhase.READY if in_phase_s >= READY_S:
            return PowerPhase.SHUTDOWN
    return state.phase


def _first(reasons: tuple[Reason, ...], state: PowerState, sight: Sight, limits: Limits) -> Reason | None:
    return next((reason for reason in reasons if reason.holds(state, sight, limits)), None)


def _to(state: PowerState, phase: PowerPhase, why: str, now_ns: int) -> PowerState:
    return replace(state, phase=phase, why=why, since_ns=state.since_ns if phase is state.phase else now_ns)
