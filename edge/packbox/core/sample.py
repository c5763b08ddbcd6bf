"""Turn signals into samples: the pack once a second, and the charge and energy that moved meanwhile.

In:  the seconds in which frames came, and the signals decoded from them; seconds are complete and rise.
Out: `Samples`, columns with NaN for "not known", and totals that count up since the state began.
Charge and energy are integrated by trapezoids at the frames' native rate, never over more than `GAP_S`.
Refuses: to hold a value longer than its source's silence can explain (`SOURCES` says how long).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from packbox.core.frames import BoolArray, FloatArray, IntArray
from packbox.core.signals import Decoded, Signal
from packbox.core.stamp import NS_PER_S

GAP_S: Final = 10  # current is not interpolated over more than this (facts/soh.md §7), and a longer silence is unseen
NEVER_NS: Final = -(1 << 61)
_S_PER_H: Final = 3600.0


class Col(IntEnum):
    """Columns of `Samples.value`."""

    CURRENT_A = 0  # mean over the second
    CURRENT_LOW_A = 1
    CURRENT_HIGH_A = 2
    VOLTAGE_V = 3
    POWER_KW = 4  # mean voltage x mean current
    SOC_PCT = 5  # of the BMS
    SOC_SHOWN_PCT = 6
    CELL_LOW_V = 7
    CELL_HIGH_V = 8
    TEMP_LOW_DEGC = 9
    TEMP_DEGC = 10  # mean; where the car tells none, the middle of lowest and highest
    TEMP_HIGH_DEGC = 11
    SPEED_KMH = 12
    GEAR = 13
    CAR_ON = 14
    PLUGGED = 15
    CHARGE_KIND = 16
    ODOMETER_KM = 17
    AMBIENT_DEGC = 18
    SOH_REPORTED_PCT = 19
    CAPACITY_REPORTED_AH = 20
    CHARGE_COUNT_AC = 21
    CHARGE_COUNT_DC = 22
    LIFETIME_CHARGE_IN_AH = 23
    LIFETIME_ENERGY_IN_KWH = 24
    ENERGY_LEFT_KWH = 25
    ENERGY_LEFT_GID = 26  # Nissan's unit


class Sum(IntEnum):
    """Columns of `Samples.total`."""

    CHARGE_IN_AH = 0
    CHARGE_OUT_AH = 1
    ENERGY_IN_WH = 2
    ENERGY_OUT_WH = 3
    OBSERVED_S = 4  # with the pack current known
    AWAKE_S = 5  # frames came
    TEMP_DEGC_S = 6  # pack temperature x time
    TEMP_KNOWN_S = 7
    DISTANCE_KM = 8  # speed x time
    SPEED_KNOWN_S = 9
    SAMPLING_A2S2 = 10  # sum of (step of current x its time)^2: what slow polling may have missed (facts/soh.md §9)


class Pick(IntEnum):
    """Which value speaks for a second that holds several."""

    LAST = 0
    MEAN = 1
    LOW = 2
    HIGH = 3


@dataclass(frozen=True, slots=True)
class Source:
    col: Col
    quantity: str
    pick: Pick
    hold_s: float  # how old a value may grow before it is unknown


_DAY_S: Final = 86_400.0  # changes over weeks; the car tells it once per wake-up
SOURCES: Final = (
    Source(Col.CURRENT_A, "pack_current_a", Pick.MEAN, GAP_S),
    Source(Col.CURRENT_LOW_A, "pack_current_a", Pick.LOW, GAP_S),
    Source(Col.CURRENT_HIGH_A, "pack_current_a", Pick.HIGH, GAP_S),
    Source(Col.VOLTAGE_V, "pack_voltage_v", Pick.MEAN, GAP_S),
    Source(Col.SOC_PCT, "soc_bms_pct", Pick.LAST, 120.0),  # polled once a minute at the slowest
    Source(Col.SOC_SHOWN_PCT, "soc_shown_pct", Pick.LAST, 120.0),
    Source(Col.CELL_LOW_V, "cell_voltage_min_v", Pick.LOW, 120.0),
    Source(Col.CELL_HIGH_V, "cell_voltage_max_v", Pick.HIGH, 120.0),
    Source(Col.TEMP_LOW_DEGC, "pack_temp_min_degc", Pick.LOW, 600.0),  # polled every three minutes; a pack is slow
    Source(Col.TEMP_DEGC, "pack_temp_mean_degc", Pick.LAST, 600.0),
    Source(Col.TEMP_HIGH_DEGC, "pack_temp_max_degc", Pick.HIGH, 600.0),
    Source(Col.SPEED_KMH, "speed_kmh", Pick.LAST, GAP_S),
    Source(Col.GEAR, "gear", Pick.LAST, 30.0),
    Source(Col.CAR_ON, "car_on", Pick.LAST, 30.0),
    Source(Col.PLUGGED, "plugged", Pick.LAST, 30.0),
    Source(Col.CHARGE_KIND, "charge_kind", Pick.LAST, 30.0),
    Source(Col.ODOMETER_KM, "odometer_km", Pick.LAST, 600.0),  # after a sleep it must be told anew: was it one?
    Source(Col.AMBIENT_DEGC, "ambient_temp_degc", Pick.LAST, 3600.0),
    Source(Col.SOH_REPORTED_PCT, "soh_reported_pct", Pick.LAST, _DAY_S),
    Source(Col.CAPACITY_REPORTED_AH, "capacity_reported_ah", Pick.LAST, _DAY_S),
    Source(Col.CHARGE_COUNT_AC, "charge_count_ac", Pick.LAST, _DAY_S),
    Source(Col.CHARGE_COUNT_DC, "charge_count_dc", Pick.LAST, _DAY_S),
    Source(Col.LIFETIME_CHARGE_IN_AH, "lifetime_charge_in_ah", Pick.LAST, _DAY_S),
    Source(Col.LIFETIME_ENERGY_IN_KWH, "lifetime_energy_in_kwh", Pick.LAST, _DAY_S),
    Source(Col.ENERGY_LEFT_KWH, "energy_left_kwh", Pick.LAST, 120.0),  # as the SoC it stands beside
    Source(Col.ENERGY_LEFT_GID, "energy_left_gid", Pick.LAST, 120.0),
)


def _hold_ns() -> IntArray:
    hold = np.zeros(len(Col), np.int64)
    for source in SOURCES:
        hold[source.col] = int(source.hold_s * NS_PER_S)
    return hold


_HOLD_NS: Final = _hold_ns()


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """n seconds in which frames came, in order.

    `second` int64 (n,) on the line; `span_s` (n,) time the row stands for; `gap_s` (n,) unseen time before the
    row; `broken` (n,) the clock broke before the row; `value` (n, len(Col)); `total` (n + 1, len(Sum)), row k
    is the state before second k.
    """

    second: IntArray
    span_s: IntArray
    gap_s: IntArray
    broken: BoolArray
    value: FloatArray
    total: FloatArray

    def __len__(self) -> int:
        return int(self.second.shape[0])

    def column(self, col: Col) -> FloatArray:
        """One column, shape (n,)."""
        return self.value[:, col]

    def cut(self, low: int, high: int) -> Samples:
        """Rows low to high (not included)."""
        rows = slice(low, high)
        return Samples(
            self.second[rows],
            self.span_s[rows],
            self.gap_s[rows],
            self.broken[rows],
            self.value[rows],
            self.total[low : high + 1],
        )

    def at(self, k: int) -> PackSample:
        """One second in words."""
        fields = {col.name.lower(): known(self.value[k, col]) for col in Col}
        return PackSample(second=int(self.second[k]), **fields)


@dataclass(frozen=True, slots=True)
class PackSample:
    """The pack in one second; None is not known."""

    second: int
    current_a: float | None
    current_low_a: float | None
    current_high_a: float | None
    voltage_v: float | None
    power_kw: float | None
    soc_pct: float | None
    soc_shown_pct: float | None
    cell_low_v: float | None
    cell_high_v: float | None
    temp_low_degc: float | None
    temp_degc: float | None
    temp_high_degc: float | None
    speed_kmh: float | None
    gear: float | None
    car_on: float | None
    plugged: float | None
    charge_kind: float | None
    odometer_km: float | None
    ambient_degc: float | None
    soh_reported_pct: float | None
    capacity_reported_ah: float | None
    charge_count_ac: float | None
    charge_count_dc: float | None
    lifetime_charge_in_ah: float | None
    lifetime_energy_in_kwh: float | None
    energy_left_kwh: float | None
    energy_left_gid: float | None


@dataclass(frozen=True, slots=True, eq=False)
class SampleState:
    """What the next second needs to know of those before it."""

    held: FloatArray  # (len(Col),) newest value of each column
    held_ns: IntArray  # (len(Col),) and when it was said
    total: FloatArray  # (len(Sum),)
    current_ns: int = NEVER_NS
    current_a: float = 0.0
    power_w: float = float("nan")  # at that point, with the voltage known then
    voltage_ns: int = NEVER_NS
    voltage_v: float = 0.0
    second: int | None = None  # newest one seen
    broken: bool = False  # the clock broke after it


def start() -> SampleState:
    return SampleState(np.full(len(Col), np.nan), np.full(len(Col), NEVER_NS, np.int64), np.zeros(len(Sum), np.float64))


def after_break(state: SampleState, *, forget: bool) -> SampleState:
    """The clock broke: nothing is integrated across. `forget`: how long it took is unknown, so held values are void."""
    return SampleState(
        state.held,
        np.full(len(Col), NEVER_NS, np.int64) if forget else state.held_ns,
        state.total,
        second=state.second,
        broken=True,
    )


def known(value: float) -> float | None:
    """NaN as None."""
    return None if np.isnan(value) else float(value)


def sample(
    state: SampleState, second: IntArray, decoded: Decoded, *, gap_s: int = GAP_S
) -> tuple[SampleState, Samples]:
    """One row per second in which frames came. `second` (n,), n >= 1, rising, newer than any before.

    `gap_s`: a longer silence is unseen.
    """
    assert len(second) >= 1
    step_s = np.diff(second, prepend=second[0] - 1 if state.second is None else state.second)
    assert np.all(step_s > 0)
    asleep = step_s > gap_s
    span_s = np.where(asleep, 1, step_s)
    broken = np.zeros(len(second), np.bool_)
    broken[0] = state.broken
    value, held, held_ns = _values(state, second, decoded)
    moved, points = _moved(state, second, decoded, gap_s)
    _clock(moved, span_s, value)
    total = np.cumsum(np.vstack((state.total, moved)), axis=0)
    after = SampleState(held, held_ns, total[-1].copy(), *points, int(second[-1]))
    return after, Samples(second, span_s, np.where(asleep, step_s - 1, 0), broken, value, total)


def _values(state: SampleState, second: IntArray, decoded: Decoded) -> tuple[FloatArray, FloatArray, IntArray]:
    """The value matrix (n, len(Col)), and the newest values with their times."""
    end_ns = (second + 1) * NS_PER_S
    fresh = end_ns[:, np.newaxis] - state.held_ns <= _HOLD_NS
    value = np.where(fresh, state.held, np.nan)
    held, held_ns = state.held.copy(), state.held_ns.copy()
    groups: dict[str, _Groups] = {}
    for source in SOURCES:
        signal = decoded.signals.get(source.quantity)
        if signal is None or len(signal) == 0:
            continue
        if source.quantity not in groups:
            groups[source.quantity] = _group(signal, second)
        group = groups[source.quantity]
        spoken = group.picked(signal.value, source.pick)
        value[:, source.col] = _filled(
            spoken, group, end_ns, _HOLD_NS[source.col], held[source.col], held_ns[source.col]
        )
        held[source.col], held_ns[source.col] = spoken[-1], signal.mono_ns[-1]
    value[:, Col.POWER_KW] = value[:, Col.CURRENT_A] * value[:, Col.VOLTAGE_V] / 1000.0
    middle = (value[:, Col.TEMP_LOW_DEGC] + value[:, Col.TEMP_HIGH_DEGC]) / 2.0
    value[:, Col.TEMP_DEGC] = np.where(np.isnan(value[:, Col.TEMP_DEGC]), middle, value[:, Col.TEMP_DEGC])
    return value, held, held_ns


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """The points of a signal, by the second they fall in: row of each group, its first point and the end of it."""

    row: IntArray
    first: npt.NDArray[np.intp]
    end: npt.NDArray[np.intp]
    last_ns: IntArray

    def picked(self, value: FloatArray, pick: Pick) -> FloatArray:
        """One value per group."""
        if pick is Pick.LAST or len(value) == len(self.row):
            return value[self.end - 1]
        if pick is Pick.LOW:
            return np.minimum.reduceat(value, self.first)
        if pick is Pick.HIGH:
            return np.maximum.reduceat(value, self.first)
        # A group is a whole second, so its sum does not depend on how the frames were batched.
        mean: FloatArray = np.add.reduceat(value, self.first) / (self.end - self.first)
        return mean


def _group(signal: Signal, second: IntArray) -> _Groups:
    row = np.searchsorted(second, signal.mono_ns // NS_PER_S)
    change = np.flatnonzero(row[1:] != row[:-1]) + 1
    first = np.concatenate(([0], change))
    end = np.concatenate((change, [len(row)]))
    return _Groups(row[first], first, end, signal.mono_ns[end - 1])


def _filled(
    spoken: FloatArray, group: _Groups, end_ns: IntArray, hold_ns: int, held: float, held_ns: int
) -> FloatArray:
    """Values for every row: those spoken, and between them the newest one while it is young enough."""
    if len(group.row) == len(end_ns):
        return spoken
    newest = np.searchsorted(group.row, np.arange(len(end_ns)), side="right")
    said_ns = np.concatenate(([held_ns], group.last_ns))[newest]
    return np.where(end_ns - said_ns <= hold_ns, np.concatenate(([held], spoken))[newest], np.nan)


def _moved(
    state: SampleState, second: IntArray, decoded: Decoded, gap_s: int
) -> tuple[FloatArray, tuple[int, float, float, int, float]]:
    """What moved in each row, shape (n, len(Sum)), and the newest points of current, power and voltage."""
    moved = np.zeros((len(second), len(Sum)), np.float64)
    voltage_ns, voltage_v = np.array([state.voltage_ns]), np.array([state.voltage_v])
    voltage = decoded.signals.get("pack_voltage_v")
    if voltage is not None:
        voltage_ns = np.concatenate((voltage_ns, voltage.mono_ns))
        voltage_v = np.concatenate((voltage_v, voltage.value))
    voltage_end = (int(voltage_ns[-1]), float(voltage_v[-1]))
    current = decoded.signals.get("pack_current_a")
    if current is None or len(current) == 0:
        return moved, (state.current_ns, state.current_a, state.power_w, *voltage_end)
    # The newest voltage that was known then: a later one would make the result depend on what follows.
    newest = np.searchsorted(voltage_ns, current.mono_ns, side="right") - 1
    fresh = current.mono_ns - voltage_ns[newest] <= gap_s * NS_PER_S
    at_ns = np.concatenate(([state.current_ns], current.mono_ns))
    amps = np.concatenate(([state.current_a], current.value))
    watts = np.concatenate(([state.power_w], current.value * np.where(fresh, voltage_v[newest], np.nan)))
    dt_s = np.diff(at_ns) / NS_PER_S
    dt_s = np.where(dt_s <= gap_s, dt_s, 0.0)
    row = np.searchsorted(second, current.mono_ns // NS_PER_S)

    def add(what: Sum, amount: FloatArray) -> None:
        moved[:, what] = np.bincount(row, weights=amount, minlength=len(second))  # adds strictly in order

    charge_in, charge_out = _areas(amps, dt_s)
    energy_in, energy_out = _areas(watts, dt_s)
    add(Sum.CHARGE_IN_AH, charge_in / _S_PER_H)
    add(Sum.CHARGE_OUT_AH, charge_out / _S_PER_H)
    add(Sum.ENERGY_IN_WH, energy_in / _S_PER_H)
    add(Sum.ENERGY_OUT_WH, energy_out / _S_PER_H)
    add(Sum.OBSERVED_S, dt_s)
    add(Sum.SAMPLING_A2S2, np.square(np.diff(amps) * dt_s))
    return moved, (int(at_ns[-1]), float(amps[-1]), float(watts[-1]), *voltage_end)


def _areas(height: FloatArray, dt_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Area above and below zero under the line through the points, per step. `height` (n + 1,), `dt_s` (n,)."""
    above = np.maximum(height[:-1], 0.0) + np.maximum(height[1:], 0.0)
    below = np.maximum(-height[:-1], 0.0) + np.maximum(-height[1:], 0.0)
    both = above + below
    # A step that crosses zero is two triangles; otherwise one of the two is zero and this is the plain trapezoid.
    half: FloatArray = np.divide(dt_s, 2.0 * both, out=np.zeros_like(dt_s), where=both > 0)
    positive: FloatArray = half * np.where(both > 0, above * above, 0.0)
    negative: FloatArray = half * np.where(both > 0, below * below, 0.0)
    return positive, negative


def _clock(moved: FloatArray, span_s: IntArray, value: FloatArray) -> None:
    """Fill the columns that follow from the samples themselves."""
    moved[:, Sum.AWAKE_S] = span_s
    temp = value[:, Col.TEMP_DEGC]
    warm = ~np.isnan(temp)
    moved[:, Sum.TEMP_KNOWN_S] = np.where(warm, span_s, 0)
    moved[:, Sum.TEMP_DEGC_S] = np.where(warm, temp * span_s, 0.0)
    speed = np.abs(value[:, Col.SPEED_KMH])
    rolling = ~np.isnan(speed)
    moved[:, Sum.SPEED_KNOWN_S] = np.where(rolling, span_s, 0)
    moved[:, Sum.DISTANCE_KM] = np.where(rolling, speed * span_s / _S_PER_H, 0.0)
