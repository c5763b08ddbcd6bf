"""Whether the current can be believed at all, before any method counts with it.

In:  samples. Out: the rows whose current cannot be true, and why no measured value may stand, if so.
Three things no current does: stay the same while a cell's voltage jumps, exceed `CURRENT_MAX_C`, and flow into every
sleep: an offset so large that it never comes near zero shows nowhere else.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from packbox.core.frames import BoolArray, FloatArray
from packbox.core.packs import PackFacts
from packbox.core.sample import Col, Samples, Sum

STUCK_S: Final = 60  # no current stays the same for so long while the car moves, or while
STUCK_JUMP_V: Final = 0.010  # a cell's voltage jumps by more: a charger's changes by some mV in ten seconds
STUCK_JUMP_STEPS: Final = 1.5  # and by more than one step in which it is told: one is only its rounding
CELLS_UNKNOWN: Final = 96  # only scales the jump where nobody knows how many there are
CURRENT_MAX_C: Final = 6.0  # more is no current
UNRATED_AH: Final = 50.0
WILD_MIN: Final = 3  # hours
WILD_SHARE: Final = 0.05  # of all hours with a current
QUIET_A: Final = 1.5  # a parked car's own load (facts/soh.md §7)
SLEEP_S: Final = 1800  # a silence that only a parked car makes
SLEEPS_MIN: Final = 2
SLEEPS_KEPT: Final = 0.9  # of all before, per sleep
WORDS: Final = {
    "scale": f"the current is beyond {CURRENT_MAX_C:g} C too often: is its scale wrong?",
    "offset": f"the current was above {QUIET_A:g} A before each of the newest sleeps: has its sensor an offset?",
}
QUIET_SHARE: Final = 0.25  # of the sleeps: below it the sensor's zero is nowhere to be seen


class ScreenState(NamedTuple):
    """Saved without names: it is written with every commit."""

    current_a: float | None = None  # newest
    volts: float | None = None  # mean cell, newest
    same_since_s: float | None = None  # the current has not changed since
    wild_n: int = 0  # hours with a current beyond any
    wild_hour: int | None = None  # the newest of them
    hours: float = 0.0  # with a current, in all
    sleeps: int = 0
    quiet_share: float = 0.0  # of the newest sleeps, those that began without current
    step_v: float = math.inf  # smallest change of `volts` so far


def watch(state: ScreenState, samples: Samples, pack: PackFacts | None) -> tuple[ScreenState, BoolArray]:
    """How samples are cut into calls does not matter. The rows told are those where false charge was counted."""
    current = samples.column(Col.CURRENT_A)
    known = ~np.isnan(current)
    before = before_each(current, known, state.current_a)
    rated_ah = None if pack is None else pack.rated_ah or pack.reference_ah
    wild = np.abs(current) > CURRENT_MAX_C * (rated_ah or UNRATED_AH)
    stuck, same_since_s, volts, step_v = _stuck(state, samples, pack, known, before)
    wild_n, wild_hour = _counted(state.wild_n, state.wild_hour, samples, wild)
    sleeps, quiet_share = state.sleeps, state.quiet_share
    for row in np.flatnonzero((samples.gap_s >= SLEEP_S) & ~np.isnan(before)).tolist():
        kept = min(SLEEPS_KEPT, sleeps / (sleeps + 1))
        quiet_share = kept * quiet_share + (1.0 - kept) * float(abs(before[row]) <= QUIET_A)
        sleeps += 1
    after = ScreenState(
        current_a=newest_of(current, known, state.current_a),
        volts=volts,
        same_since_s=same_since_s,
        wild_n=wild_n,
        wild_hour=wild_hour,
        hours=float(samples.total[-1, Sum.OBSERVED_S]) / 3600.0,
        sleeps=sleeps,
        quiet_share=quiet_share,
        step_v=step_v,
    )
    return after, wild | stuck


def why_not(state: ScreenState) -> str | None:
    """Why nothing counted with this current may stand, in a word of `WORDS`: short, for it is kept and sent."""
    if state.wild_n >= max(WILD_MIN, WILD_SHARE * state.hours):
        return "scale"
    if state.sleeps >= SLEEPS_MIN and state.quiet_share < QUIET_SHARE:
        return "offset"
    return None


def before_each(value: FloatArray, known: BoolArray, held: float | None) -> FloatArray:
    """The last known value before each row."""
    first = math.nan if held is None else held
    if known.all():
        return np.concatenate(([first], value[:-1]))
    newest = np.maximum.accumulate(np.where(known, np.arange(len(value)), -1))
    return np.append(value, first)[np.concatenate(([-1], newest[:-1]))]


def same_since(
    samples: Samples, current: FloatArray, known: BoolArray, before: FloatArray, held: float | None
) -> FloatArray:
    """For each row the second since when the current has been seen to be the same: nobody sees it in a gap."""
    changed = (known & ~(current == before)) | (samples.gap_s > 0)
    newest = np.maximum.accumulate(np.where(changed, np.arange(len(current)), -1))
    first_s = float(samples.second[0]) if held is None else held
    return np.append(samples.second.astype(np.float64), first_s)[newest]


def newest_of(value: FloatArray, known: BoolArray, held: float | None) -> float | None:
    if known[-1]:
        return float(value[-1])
    rows = np.flatnonzero(known)
    return float(value[rows[-1]]) if rows.size else held


def _stuck(
    state: ScreenState, samples: Samples, pack: PackFacts | None, known: BoolArray, before: FloatArray
) -> tuple[BoolArray, float, float | None, float]:
    """Rows at which the current is the same for long, and the voltage says that it cannot be; what to go on with."""
    cells = (None if pack is None else pack.cells_in_series) or CELLS_UNKNOWN
    current, volts = samples.column(Col.CURRENT_A), samples.column(Col.VOLTAGE_V) / cells
    told = ~np.isnan(volts)
    same_since_s = same_since(samples, current, known, before, state.same_since_s)
    same_s = samples.second - same_since_s
    stuck: BoolArray = (same_s > STUCK_S) & (samples.gap_s == 0) & known
    change_v = np.abs(volts - before_each(volts, told, state.volts))
    jump_v, step_v = jump_of(change_v, state.step_v)
    stuck &= change_v > jump_v
    return stuck, float(same_since_s[-1]), newest_of(volts, told, state.volts), step_v


def jump_of(change_v: FloatArray, step_v: float) -> tuple[FloatArray | float, float]:
    """What is a jump at each row, and the smallest change so far. `change_v` (n,), NaN where not known."""
    if step_v * STUCK_JUMP_STEPS <= STUCK_JUMP_V:
        return STUCK_JUMP_V, step_v  # told finely enough: nothing more to learn
    smallest = np.minimum.accumulate(np.fmin(np.where(change_v > 0.0, change_v, math.inf), step_v))
    return np.maximum(STUCK_JUMP_V, STUCK_JUMP_STEPS * smallest), float(smallest[-1])


def _counted(n: int, newest: int | None, samples: Samples, rows: BoolArray) -> tuple[int, int | None]:
    """Hours of the line in which something happened."""
    if not rows.any():
        return n, newest
    hours = np.unique(samples.second[rows] // 3600)
    return n + hours.size - int(hours[0] == newest), int(hours[-1])
