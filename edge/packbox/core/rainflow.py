"""Count charge cycles by depth while they happen: streaming rainflow (ASTM E1049-85 §5.4.4).

In:  state of charge in percent, in time order.
Out: half cycles in 7 depths x 10 bands of mean SoC (`DEPTH_EDGES_PCT`), and what is still open.
Swings below `SWING_MIN_PCT` are ignored. O(1) state: what is open is a stack that the SoC range bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from packbox.core.frames import FloatArray, IntArray

SWING_MIN_PCT: Final = 1.0  # facts/soh.md §10
DEPTH_EDGES_PCT: Final = (0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0)
SOC_BANDS: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class RainflowState:
    counts: IntArray  # (7, 10) half cycles closed so far
    turns: tuple[float, ...] = ()  # confirmed turning points not yet paired, oldest first
    tip: float | None = None  # extreme of the swing under way
    rising: bool | None = None


def start() -> RainflowState:
    return RainflowState(np.zeros((len(DEPTH_EDGES_PCT) - 1, SOC_BANDS), np.int64))


def feed(state: RainflowState, soc_pct: FloatArray) -> RainflowState:
    """Take in SoC values, shape (n,), none NaN."""
    counts = state.counts.copy()
    turns = list(state.turns)
    tip, rising = state.tip, state.rising
    for soc in _extremes(soc_pct).tolist():
        if tip is None:
            turns, tip = [soc], soc
        elif rising is None:
            if abs(soc - turns[0]) >= SWING_MIN_PCT:
                tip, rising = soc, soc > turns[0]
        elif soc > tip if rising else soc < tip:
            tip = soc
        elif abs(soc - tip) >= SWING_MIN_PCT:
            turns.append(tip)
            _pair(turns, counts)
            tip, rising = soc, not rising
    return RainflowState(counts, tuple(turns), tip, rising)


def counted(state: RainflowState) -> IntArray:
    """Half cycles so far, shape (7, 10): the closed ones, and each swing still open as one half."""
    counts = state.counts.copy()
    turns = list(state.turns)
    if state.tip is not None and state.rising is not None:
        turns.append(state.tip)
        _pair(turns, counts)
    for a, b in pairwise(turns):
        _count(counts, a, b, 1)
    return counts


def _extremes(soc_pct: FloatArray) -> FloatArray:
    """The ends and the local extremes: on a monotone stretch what lies between changes nothing."""
    if len(soc_pct) < 3:
        return soc_pct
    slope = np.sign(np.diff(soc_pct))
    moving = np.flatnonzero(slope)
    turn = moving[1:][slope[moving[1:]] != slope[moving[:-1]]]
    return soc_pct[np.concatenate(([0], turn, [len(soc_pct) - 1]))]


def _pair(turns: list[float], counts: IntArray) -> None:
    """Count and remove what the newest turning point closes."""
    while len(turns) >= 3:
        newest, before = abs(turns[-1] - turns[-2]), abs(turns[-2] - turns[-3])
        if newest < before:
            return
        if len(turns) == 3:  # the older range touches the start: half a cycle
            _count(counts, turns[0], turns[1], 1)
            del turns[0]
        else:
            _count(counts, turns[-3], turns[-2], 2)
            del turns[-3:-1]


def _count(counts: IntArray, a: float, b: float, halves: int) -> None:
    depth = _band(abs(a - b), DEPTH_EDGES_PCT[1:-1])
    mean = min(max(int((a + b) / 2.0 // 10.0), 0), SOC_BANDS - 1)
    counts[depth, mean] += halves


def _band(value: float, edges: Iterable[float]) -> int:
    return sum(value >= edge for edge in edges)
