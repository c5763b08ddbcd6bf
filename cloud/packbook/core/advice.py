"""Advice that follows from one battery's own data: each piece with the figure that called for it.

In:  totals, the newest state of health, chemistry, how much of its driving was watched, the spread of its cells.
Out: at most five pieces, what helps most first; none where the data do not support it.
The limits are ours, the mechanisms behind them published; `facts/soh.md` says where. Nobody is blamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.history import SOC_BANDS_PCT, TEMP_EDGES_DEGC, SohPoint, UsageTotals
from packbook.core.rounding import SIGMAS_90, shown

ADVICE_MAX: Final = 5
KNOWN_MIN_S: Final = 14 * 86_400.0  # of shares of time: one hot week-end is no habit
CHARGES_MIN: Final = 10  # before a share of fast charging means anything

# Leaf cells age 2.3 times as fast 10 K warmer and exp(162 SoC/T) faster with charge (facts/soh.md §11).
FULL_HOT_SHARE: Final = 0.05
FULL_PCT: Final = 80.0
WARM_DEGC: Final = 30.0
VERY_FULL_SHARE: Final = 0.35
VERY_FULL_PCT: Final = 90.0
HOT_SHARE: Final = 0.03
HOT_DEGC: Final = 40.0
FAST_SHARE: Final = 0.5  # mostly AC loses 1.5 %, much DC above 100 kW 3.0 % a year (facts/soh.md §3)
WIDE_HALF_PCT: Final = 3.0  # a promise wants no more (facts/soh.md §12)
KM_SHARE_LOW: Final = 0.85
UNSEEN_SHARE: Final = 0.10
SPREAD_MV: Final = 50.0  # in quiet, between empty and full; packs in good order stay well below
LFP: Final = "lfp"


class Rule(StrEnum):
    """The names are stable: the pages' catalogues use them."""

    PACK_HOT = "pack_hot"
    COLD_CHARGE = "cold_charge"
    CELL_LOW = "cell_low"
    FULL_HOT = "full_hot"
    HOT = "hot"
    VERY_FULL = "very_full"
    FAST = "fast"
    BALANCE = "balance"
    FULL_SPAN = "full_span"
    COVERAGE = "coverage"


COUNTED: Final = frozenset({Rule.PACK_HOT, Rule.COLD_CHARGE, Rule.CELL_LOW})  # their figure is a number of times


@dataclass(frozen=True, slots=True)
class Advice:
    rule: Rule
    figure: float  # what called for it: a share 0..1, a number of times, percent points or mV
    limit: float  # above (of coverage: below) which it is said


def advise(
    usage: UsageTotals | None,
    point: SohPoint | None,
    *,
    chemistry: str | None = None,
    km_share: float | None = None,
    spread_mv: float | None = None,
) -> tuple[Advice, ...]:
    """`km_share`: of the distance since the box was fitted, 0..1. `spread_mv`: of the cells at rest."""
    found = [
        *(_of_use(usage, (chemistry or "").lower() == LFP) if usage else ()),
        *_of_cells(spread_mv),
        *_of_knowledge(usage, point, km_share),
    ]
    return tuple(found[:ADVICE_MAX])


def _of_use(usage: UsageTotals, lfp: bool) -> list[Advice]:
    """Harm first, then habits, the faster-ageing one first."""
    counted = ((rule, usage.events.get(rule, 0)) for rule in (Rule.CELL_LOW, Rule.COLD_CHARGE, Rule.PACK_HOT))
    found = [Advice(rule, float(times), 0.0) for rule, times in counted if times]
    known_s = sum(usage.soc_temp_s)
    if known_s >= KNOWN_MIN_S:
        shares = [(Rule.FULL_HOT, _share(usage.soc_temp_s, FULL_PCT, WARM_DEGC), FULL_HOT_SHARE)]
        shares.append((Rule.HOT, _share(usage.soc_temp_s, 0.0, HOT_DEGC), HOT_SHARE))
        if not lfp:  # its voltage is flat, so standing full tells on it far less (facts/soh.md §4, §11)
            shares.append((Rule.VERY_FULL, _share(usage.soc_temp_s, VERY_FULL_PCT, None), VERY_FULL_SHARE))
        found += [Advice(rule, share, limit) for rule, share, limit in shares if share > limit]
    charged = usage.energy_ac_in_wh + usage.energy_dc_in_wh
    if usage.charges_ac + usage.charges_dc >= CHARGES_MIN and charged:
        fast = usage.energy_dc_in_wh / charged
        found += [Advice(Rule.FAST, fast, FAST_SHARE)] if fast > FAST_SHARE else []
    return found


def _share(soc_temp_s: Sequence[int], soc_from_pct: float, temp_from_degc: float | None) -> float:
    """Of the known time: at this charge or more and this warm or warmer. None: whatever the temperature."""
    temps = (float("-inf"), *TEMP_EDGES_DEGC)
    seconds = sum(
        soc_temp_s[row * len(temps) + column]
        for row, (low, _) in enumerate(SOC_BANDS_PCT)
        for column, temp in enumerate(temps)
        if low >= soc_from_pct and (temp_from_degc is None or temp >= temp_from_degc)
    )
    return seconds / sum(soc_temp_s)


def _of_cells(spread_mv: float | None) -> list[Advice]:
    return [Advice(Rule.BALANCE, spread_mv, SPREAD_MV)] if spread_mv is not None and spread_mv > SPREAD_MV else []


def _of_knowledge(usage: UsageTotals | None, point: SohPoint | None, km_share: float | None) -> list[Advice]:
    """What would make the figure surer."""
    found = []
    if point is not None and point.sigma_pct is not None and SIGMAS_90 * point.sigma_pct > WIDE_HALF_PCT:
        half_pct = SIGMAS_90 * point.sigma_pct
        if point.soh_pct is not None and point.lo90_pct is not None and point.hi90_pct is not None:
            half_pct = shown(point.soh_pct, point.lo90_pct, point.hi90_pct).half_pct  # as the page's head says it
        found.append(Advice(Rule.FULL_SPAN, half_pct, WIDE_HALF_PCT))
    awake = (usage.observed_s + usage.unobserved_s) if usage else 0.0
    unseen = usage.unobserved_s / awake if usage and awake else 0.0
    if km_share is not None and km_share < KM_SHARE_LOW:
        found.append(Advice(Rule.COVERAGE, km_share, KM_SHARE_LOW))
    elif km_share is None and unseen > UNSEEN_SHARE:  # a gap while the car stood is worth no journey to the garage
        found.append(Advice(Rule.COVERAGE, 1.0 - unseen, 1.0 - UNSEEN_SHARE))
    return found
