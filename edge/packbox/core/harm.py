"""Watch for what harms a pack, and for a battery that is not the one it was.

In:  `Samples` and the pack's chemistry.
Out: `Harm`: what happened, from when, for how long, how far. One that stops for less than `LULL_S` is one event.
Refuses: to judge cell voltages of a chemistry whose limits nobody sourced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from packbox.core.frames import BoolArray, FloatArray
from packbox.core.packs import Chemistry
from packbox.core.sample import Col, Samples

LASTS_MIN_S: Final = 3  # while a car wakes up, cells are told volts apart for a second or two
LULL_S: Final = 60  # a cell that dips at every push of the pedal is low once
# facts/soh.md §10
CELL_LOW_V: Final[Mapping[Chemistry, float]] = {
    Chemistry.LMO: 2.8,
    Chemistry.NMC: 2.8,
    Chemistry.NCA: 2.8,
    Chemistry.LFP: 2.3,
}
CELL_HIGH_V: Final[Mapping[Chemistry, float]] = {
    Chemistry.LMO: 4.25,
    Chemistry.NMC: 4.25,
    Chemistry.NCA: 4.25,
    Chemistry.LFP: 3.70,
}
HOT_DEGC: Final = 55.0
COLD_DEGC: Final = 0.0
COLD_CHARGE_MIN_A: Final = 0.5
SOC_JUMP_PCT: Final = 2.0  # facts/soh.md §7
SOC_JUMP_WITHIN_S: Final = 60
SOC_JUMP_MAX_C: Final = 0.1
HEALTH_JUMP: Final = 0.08  # facts/soh.md §13: nothing heals by so much


@dataclass(frozen=True, slots=True)
class Harm:
    name: str
    start_s: int
    duration_s: int | None
    extreme: float | None
    at_s: int  # known from here on
    row: int  # rows before this belong to the time before that
    text: str | None = None


@dataclass(frozen=True, slots=True)
class OpenHarm:
    start_s: int
    end_s: int
    extreme: float


@dataclass(frozen=True, slots=True, eq=False)
class HarmState:
    open: tuple[OpenHarm | None, ...]  # one per kind of `_KINDS`
    reported: FloatArray  # (4,) newest of `_REPORTED`, NaN where never told
    soc_pct: float | None = None  # newest, with its second
    soc_s: int = 0

    @property
    def open_since_s(self) -> int | None:
        return min((h.start_s for h in self.open if h is not None), default=None)


_KINDS: Final = ("cell_low", "cell_high", "pack_hot", "cold_charge")
_LOWEST: Final = frozenset({"cell_low", "cold_charge"})  # the extreme is a minimum
# Column, whether it may rise, what to say.
_REPORTED: Final = (
    (Col.CAPACITY_REPORTED_AH, False, "reported capacity rose"),
    (Col.SOH_REPORTED_PCT, False, "reported state of health rose"),
    (Col.LIFETIME_CHARGE_IN_AH, True, "lifetime charge counter fell"),
    (Col.LIFETIME_ENERGY_IN_KWH, True, "lifetime energy counter fell"),
)


def start() -> HarmState:
    return HarmState((None,) * len(_KINDS), np.full(len(_REPORTED), np.nan))


def watch(
    state: HarmState, samples: Samples, chemistry: Chemistry, reference_ah: float | None
) -> tuple[HarmState, list[Harm]]:
    """Take in samples. Order of what is returned: by row."""
    found: list[Harm] = []
    open_now: list[OpenHarm | None] = []
    for kind, before in zip(_KINDS, state.open, strict=True):
        bad, value = _bad(kind, samples, chemistry)
        after, over = _spells(kind, before, samples, bad, value)
        open_now.append(after)
        found += over
    state, jumps = _jumps(replace(state, open=tuple(open_now)), samples, reference_ah)
    return state, sorted(_lasting(found) + jumps, key=lambda harm: (harm.row, harm.at_s, harm.name))


def silence(state: HarmState, until_s: int) -> tuple[HarmState, list[Harm]]:
    """No frames came up to `until_s`."""
    still = tuple(None if h is None or h.end_s + LULL_S <= until_s else h for h in state.open)
    found = [
        _over(kind, before, before.end_s + LULL_S, 0)
        for kind, before, after in zip(_KINDS, state.open, still, strict=True)
        if before is not None and after is None
    ]
    return replace(state, open=still), sorted(_lasting(found), key=lambda h: (h.at_s, h.name))


def finish(state: HarmState) -> tuple[HarmState, list[Harm]]:
    """The source ended: what is open ended where it was last seen."""
    found = [_over(kind, h, h.end_s, 0) for kind, h in zip(_KINDS, state.open, strict=True) if h is not None]
    return replace(state, open=(None,) * len(_KINDS)), _lasting(found)


def _bad(kind: str, samples: Samples, chemistry: Chemistry) -> tuple[BoolArray, FloatArray]:
    """Rows in which it is so, and the value that says how bad. NaN compares false."""
    if kind == "cell_low":
        value = samples.column(Col.CELL_LOW_V)
        return value < CELL_LOW_V.get(chemistry, -np.inf), value
    if kind == "cell_high":
        value = samples.column(Col.CELL_HIGH_V)
        return value > CELL_HIGH_V.get(chemistry, np.inf), value
    if kind == "pack_hot":
        value = np.fmax(samples.column(Col.TEMP_HIGH_DEGC), samples.column(Col.TEMP_DEGC))
        return value > HOT_DEGC, value
    value = np.fmin(samples.column(Col.TEMP_LOW_DEGC), samples.column(Col.TEMP_DEGC))
    stands = ~(np.abs(samples.column(Col.SPEED_KMH)) > 0.5)  # regeneration is limited by the car itself
    return (value < COLD_DEGC) & (samples.column(Col.CURRENT_A) >= COLD_CHARGE_MIN_A) & stands, value


def _spells(
    kind: str, spell: OpenHarm | None, samples: Samples, bad: BoolArray, value: FloatArray
) -> tuple[OpenHarm | None, list[Harm]]:
    found: list[Harm] = []
    start_s, end_s = samples.second + 1 - samples.span_s, samples.second + 1
    edges = np.flatnonzero(np.diff(bad.astype(np.int8), prepend=0, append=0))
    better = min if kind in _LOWEST else max
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        # A hole within the rows ends nothing by itself: only the lull counts.
        for low, high in _whole(samples, begin, end):
            worst = value[low:high].min() if kind in _LOWEST else value[low:high].max()
            if spell is not None and int(start_s[low]) >= spell.end_s + LULL_S:
                found.append(_ended(kind, spell, samples))
                spell = None
            spell = (
                OpenHarm(int(start_s[low]), int(end_s[high - 1]), float(worst))
                if spell is None
                else OpenHarm(spell.start_s, int(end_s[high - 1]), better(spell.extreme, float(worst)))
            )
    if spell is not None and spell.end_s + LULL_S <= int(end_s[-1]):
        found.append(_ended(kind, spell, samples))
        spell = None
    return spell, found


def _whole(samples: Samples, begin: int, end: int) -> list[tuple[int, int]]:
    """Rows begin to end, cut where a silence lies between two of them."""
    cuts = [begin, *(begin + 1 + np.flatnonzero(samples.gap_s[begin + 1 : end])).tolist(), end]
    return list(pairwise(cuts))


def _ended(kind: str, spell: OpenHarm, samples: Samples) -> Harm:
    at_s = spell.end_s + LULL_S
    row = int(np.searchsorted(samples.second + 1, at_s))
    in_silence = samples.second[row] + 1 - samples.span_s[row] >= at_s
    return _over(kind, spell, at_s, row if in_silence else row + 1)


def _lasting(found: list[Harm]) -> list[Harm]:
    return [h for h in found if h.duration_s is None or h.duration_s >= LASTS_MIN_S]


def _over(kind: str, spell: OpenHarm, at_s: int, row: int) -> Harm:
    return Harm(kind, spell.start_s, spell.end_s - spell.start_s, spell.extreme, at_s, row)


def _jumps(state: HarmState, samples: Samples, reference_ah: float | None) -> tuple[HarmState, list[Harm]]:
    """Steps that a battery cannot make."""
    found: list[Harm] = []
    soc = samples.column(Col.SOC_PCT)
    told = np.flatnonzero(~np.isnan(soc))
    if told.size:
        second = samples.second[told]
        step = np.diff(soc[told], prepend=soc[told[0]] if state.soc_pct is None else state.soc_pct)
        late_s = np.diff(second, prepend=second[0] if state.soc_pct is None else state.soc_s)
        if reference_ah is not None:
            idle = np.abs(samples.column(Col.CURRENT_A)[told]) < SOC_JUMP_MAX_C * reference_ah
            jump = (np.abs(step) > SOC_JUMP_PCT) & (late_s <= SOC_JUMP_WITHIN_S) & idle
            for k in np.flatnonzero(jump).tolist():
                at_s = int(second[k]) + 1
                found.append(Harm("soc_jump", at_s - 1, None, float(step[k]), at_s, int(told[k]) + 1))
        state = replace(state, soc_pct=float(soc[told[-1]]), soc_s=int(second[-1]))
    reported = state.reported.copy()
    for place, (col, may_rise, text) in enumerate(_REPORTED):
        value = samples.column(col)
        rows = np.flatnonzero(~np.isnan(value))
        if not rows.size:
            continue
        chain = np.concatenate(([reported[place]], value[rows]))
        wrong = chain[1:] < chain[:-1] if may_rise else chain[1:] > chain[:-1] * (1.0 + HEALTH_JUMP)
        for k in np.flatnonzero(wrong).tolist():
            at_s = int(samples.second[rows[k]]) + 1
            what = f"{text}: {chain[k]:g} to {chain[k + 1]:g}"
            found.append(Harm("battery_changed", at_s - 1, None, None, at_s, int(rows[k]) + 1, what))
        reported[place] = chain[-1]
    return replace(state, reported=reported), found
