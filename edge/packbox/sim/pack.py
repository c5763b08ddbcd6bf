"""A battery pack whose truth is known: what it does to a current, and how it ages.

In:  a constant step, the current into the pack at each knot and the temperature around it.
Out: `Response`: state of charge, terminal voltage and temperature at each knot, and the pack's state afterwards.

This is the examiner of the estimator, so it shares no curve, table or equation with it: open-circuit voltage is a sum
of smooth terms (fitted once to the published cells of facts/soh.md §4, wrong by some mV as any real cell is), capacity
fades by calendar, cycling and a knee. Positive current charges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray

_ZERO_DEGC_K: Final = 273.15
_ROOM_K: Final = 298.15
_RELAXATION_S: Final = 40.0  # one RC pair stands for all slow polarisation
_RELAXATION_SHARE: Final = 0.8  # of the ohmic part, after it has settled
_HYSTERESIS_SPAN: Final = 0.03  # state of charge that has to move before the hysteresis turns over
_CALENDAR_K: Final = 6000.0  # activation energy over the gas constant
_DAY_S: Final = 86_400.0
_BLOCK: Final = 32  # recurrences run in blocks: long enough to be fast, short enough not to underflow


@dataclass(frozen=True, slots=True)
class OcvCurve:
    """V(s) = c0 + c1 s + c2 exp(-s/low) + c3 exp(-s/knee) + c4 tanh((s-mid)/width) + c5 exp((s-1)/top)."""

    c: tuple[float, float, float, float, float, float]
    low: float
    knee: float
    mid: float
    width: float
    top: float

    def volts(self, soc: FloatArray) -> FloatArray:
        c = self.c
        return (
            c[0]
            + c[1] * soc
            + c[2] * np.exp(-soc / self.low)
            + c[3] * np.exp(-soc / self.knee)
            + c[4] * np.tanh((soc - self.mid) / self.width)
            + c[5] * np.exp((soc - 1.0) / self.top)
        )


LMO: Final = OcvCurve((3.6808, 0.4836, -0.0956, -0.4082, -0.0234, 0.0389), 0.015, 0.08, 0.55, 0.15, 0.03)
NMC: Final = OcvCurve((3.5959, 0.3668, -0.1315, -0.1761, 0.0880, 0.1220), 0.020, 0.08, 0.70, 0.15, 0.08)
LFP: Final = OcvCurve((3.2431, 0.0833, -0.3471, -0.0868, 0.0091, 0.0846), 0.020, 0.08, 0.30, 0.08, 0.006)


@dataclass(frozen=True, slots=True)
class PackModel:
    """A pack as built. Losses are shares of the new capacity."""

    curve: OcvCurve
    cells: int
    capacity_new_ah: float
    resistance_new_ohm: float  # ohmic part of the whole pack at 25 °C
    temperature_k: float  # resistance goes with exp(this * (1/T - 1/298))
    heat_capacity_j_per_k: float
    cooling_w_per_k: float
    cell_full_v: float
    calendar_per_sqrt_year: float  # at 25 °C and half full
    cycling_per_100_cycles: float
    knee_cycles: float = 1e9  # equivalent full cycles after which fading speeds up
    knee_per_100_cycles: float = 0.0
    resistance_growth: float = 2.5  # relative resistance growth per share of capacity lost
    curve_bend: float = 0.004  # this pack's own deviation from the curve, as share of charge
    hysteresis_v: float = 0.004  # per cell, between having charged and having discharged, either way


@dataclass(frozen=True, slots=True)
class PackState:
    soc: float  # true charge over true capacity, 0..1
    temp_degc: float
    relaxation_v: float  # over the RC pair, whole pack
    hysteresis: float  # -1 after discharge .. 1 after charge
    weighted_days: float  # days lived, each counted by its temperature and charge
    cycles: float  # equivalent full cycles of the new capacity


@dataclass(frozen=True, slots=True)
class PackHealth:
    """The truth of one day."""

    capacity_ah: float
    resistance_ohm: float


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """All (n,), one value per knot."""

    soc: FloatArray
    voltage_v: FloatArray
    temp_degc: FloatArray


def health(model: PackModel, state: PackState) -> PackHealth:
    calendar = model.calendar_per_sqrt_year * (state.weighted_days / 365.25) ** 0.5
    cycling = model.cycling_per_100_cycles * state.cycles / 100.0
    knee = model.knee_per_100_cycles * float(np.logaddexp(0.0, (state.cycles - model.knee_cycles) / 50.0)) / 2.0
    loss = min(calendar + cycling + knee, 0.6)
    return PackHealth(
        model.capacity_new_ah * (1 - loss), model.resistance_new_ohm * (1 + model.resistance_growth * loss)
    )


def resistance_ohm(model: PackModel, now: PackHealth, temp_degc: float) -> float:
    """Ohmic part of the whole pack."""
    cold = model.temperature_k * (1 / (temp_degc + _ZERO_DEGC_K) - 1 / _ROOM_K)
    return now.resistance_ohm * float(np.exp(cold))


def open_circuit_v(model: PackModel, soc: FloatArray) -> FloatArray:
    """Mean cell, without hysteresis."""
    bent = soc + model.curve_bend * np.sin(2 * np.pi * soc)
    return model.curve.volts(bent)


def run(
    model: PackModel, now: PackHealth, start: PackState, step_s: float, current_a: FloatArray, ambient_degc: float
) -> tuple[Response, PackState]:
    """Carry a current, given at knots `step_s` apart and straight between them."""
    assert current_a.ndim == 1
    assert len(current_a) >= 2
    middle_a = 0.5 * (current_a[1:] + current_a[:-1])
    moved_ah = np.concatenate([[0.0], np.cumsum(middle_a)]) * (step_s / 3600.0)
    soc = start.soc + moved_ah / now.capacity_ah
    ohm = resistance_ohm(model, now, start.temp_degc)

    fade = float(np.exp(-step_s / _RELAXATION_S))
    relaxation_v = recur(
        np.full(len(middle_a), fade), (1 - fade) * _RELAXATION_SHARE * ohm * middle_a, start.relaxation_v
    )
    turn = np.exp(-np.abs(np.diff(soc)) / _HYSTERESIS_SPAN)
    hysteresis = recur(turn, (1 - turn) * np.sign(middle_a), start.hysteresis)
    cool = float(np.exp(-step_s * model.cooling_w_per_k / model.heat_capacity_j_per_k))
    heat_w = middle_a**2 * ohm + np.abs(middle_a * relaxation_v[1:])
    settled_degc = ambient_degc + heat_w / model.cooling_w_per_k
    temp_degc = recur(np.full(len(middle_a), cool), (1 - cool) * settled_degc, start.temp_degc)

    voltage_v = model.cells * (open_circuit_v(model, soc) + model.hysteresis_v * hysteresis)
    voltage_v += current_a * ohm + relaxation_v
    seconds = step_s * len(middle_a)
    end = replace(
        start,
        soc=float(soc[-1]),
        temp_degc=float(temp_degc[-1]),
        relaxation_v=float(relaxation_v[-1]),
        hysteresis=float(hysteresis[-1]),
        weighted_days=start.weighted_days + _aged_days(seconds, float(temp_degc.mean()), float(soc.mean())),
        cycles=start.cycles + float(np.abs(middle_a).sum()) * step_s / 7200.0 / model.capacity_new_ah,
    )
    return Response(soc, voltage_v, temp_degc), end


def run_power(
    model: PackModel, now: PackHealth, start: PackState, step_s: float, power_w: FloatArray, ambient_degc: float
) -> tuple[FloatArray, Response, PackState]:
    """Carry a power into the pack. Returns the current that did it, the response and the state afterwards."""
    voltage_v = np.full(len(power_w), model.cells * float(open_circuit_v(model, np.array([start.soc]))[0]))
    for _ in range(2):  # the voltage hardly depends on its own error: two rounds leave less than 0.1 %
        current_a = power_w / voltage_v
        response, _end = run(model, now, start, step_s, current_a, ambient_degc)
        voltage_v = response.voltage_v
    current_a = power_w / voltage_v
    response, end = run(model, now, start, step_s, current_a, ambient_degc)
    return current_a, response, end


def charge_current_a(
    model: PackModel, now: PackHealth, start: PackState, step_s: float, soc_to: float, power_w: float, seconds: float
) -> FloatArray:
    """What a charger pushes: its power until the cells are at their limit, then less and less.

    Ends at `soc_to`, after `seconds`, or when the current has fallen to C/40. At least two knots.
    """
    grid = np.linspace(start.soc, max(soc_to, start.soc + 1e-4), 400)
    ohm = resistance_ohm(model, now, start.temp_degc) * (1 + _RELAXATION_SHARE)
    rest_v = model.cells * (open_circuit_v(model, grid) + model.hysteresis_v)
    bulk_a = power_w / (rest_v + ohm * power_w / rest_v)
    limit_a = (model.cells * model.cell_full_v - rest_v) / ohm
    current_a = np.minimum(bulk_a, limit_a)
    done = current_a < now.capacity_ah / 40.0
    stop = int(np.argmax(done)) if done.any() else len(grid)
    if stop < 2:
        return np.zeros(2)
    grid, current_a = grid[:stop], current_a[:stop]
    hours = np.concatenate([[0.0], np.cumsum(np.diff(grid) * 2 * now.capacity_ah / (current_a[1:] + current_a[:-1]))])
    knots_s = np.arange(0.0, min(float(hours[-1]) * 3600.0, seconds), step_s)
    if len(knots_s) < 2:
        return np.zeros(2)
    pushed_a: FloatArray = np.interp(knots_s, hours * 3600.0, current_a)
    return pushed_a


def rest(model: PackModel, start: PackState, seconds: float, ambient_degc: float, drain_share: float) -> PackState:
    """Parked and asleep: voltage settles, temperature follows the air, a little charge leaks."""
    cool = float(np.exp(-seconds * model.cooling_w_per_k / model.heat_capacity_j_per_k))
    temp_degc = ambient_degc + (start.temp_degc - ambient_degc) * cool
    soc = start.soc - drain_share * seconds / _DAY_S
    return replace(
        start,
        soc=soc,
        temp_degc=temp_degc,
        relaxation_v=start.relaxation_v * float(np.exp(-seconds / _RELAXATION_S)),
        weighted_days=start.weighted_days + _aged_days(seconds, 0.5 * (temp_degc + start.temp_degc), soc),
    )


def recur(keep: FloatArray, add: FloatArray, first: float) -> FloatArray:
    """y[0] = first, y[k+1] = keep[k] y[k] + add[k], for keep in (0.4, 1]. Shapes (n,), (n,); result (n + 1,)."""
    assert keep.shape == add.shape
    n = len(keep)
    rows = -(-n // _BLOCK)
    kept = np.ones((rows, _BLOCK))
    added = np.zeros((rows, _BLOCK))
    kept.flat[:n] = keep
    added.flat[:n] = add
    product = np.cumprod(kept, axis=1)
    inner = np.cumsum(added / product, axis=1)
    carry = np.empty(rows)
    value = first
    for row, (scale, offset) in enumerate(zip(product[:, -1].tolist(), inner[:, -1].tolist(), strict=True)):
        carry[row] = value
        value = scale * (value + offset)
    result: FloatArray = np.concatenate([[first], (product * (carry[:, None] + inner)).ravel()[:n]])
    return result


def _aged_days(seconds: float, temp_degc: float, soc: float) -> float:
    warm = float(np.exp(_CALENDAR_K * (1 / _ROOM_K - 1 / (temp_degc + _ZERO_DEGC_K))))
    return seconds / _DAY_S * warm * (0.6 + 0.8 * soc)
