"""What `rest_bands` remembers: anchors, swings between them, and what was concluded from those.

In:  nothing. Out: the state, a frozen value that is saved with every commit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from packbox.core.ocv import VOLT_SIGMA_V
from packbox.core.packs import PackFacts
from packbox.core.soh.banded import Bands
from packbox.core.soh.reading import RestsSeen, RestSwing, as_sent
from packbox.core.soh.screen import UNRATED_AH

CHARGE_MIN: Final = 0.20  # of the capacity; chosen on charge, never on the noisy SoC difference
STANDBY_AH_PER_DAY: Final = 0.1  # sleeping cars draw less than 0.2
SHUNT_DOUBT: Final = 0.5  # of the charge that went past full cells: how much may have gone into them
CHARGE_SIGMA_ROOT: Final = 0.02
VISIT_BINS: Final = 20
NOTHING_SEEN: Final = RestsSeen((0,) * VISIT_BINS)


class Anchor(NamedTuple):
    """An instant at which the SoC is known, with all that was counted up to then. Saved without names: it is many."""

    at_s: float
    loud_s: float  # last second before it with current: tells one rest from another
    soc_pct: float
    sigma_pct: float
    charge_in_ah: float  # net
    moved_ah: float  # both ways
    counted_s: float
    unknown_s: float
    sampling_a2s2: float
    lost_ah2: float
    soc_told_pct: float  # by the car; NaN where it did not
    lean: float = 0.0  # 1: rests after a charge; -1: after a discharge; between: not clear
    shunted_ah: float = 0.0  # went past full cells: not in the charge above


@dataclass(frozen=True, slots=True, eq=False)
class RestBandsState:
    # What the samples so far lead to
    current_a: float | None = None
    loud_s: float | None = None
    unknown_at_loud_s: float = 0.0
    soc_pct: float | None = None  # as the car says, newest
    same_since_s: float | None = None  # the current has not changed since
    volts: float | None = None  # mean cell, newest
    step_v: float = math.inf  # smallest change of it so far
    stuck_n: int = 0  # hours in which the voltage jumped and the current stayed
    stuck_hour: int | None = None  # the newest of them
    filled_ah: float = 0.0  # net
    filled_moved_ah: float = 0.0  # both ways
    filled_s: float = 0.0
    lost_ah2: float = 0.0
    shunted_ah: float = 0.0  # through the balancing resistors of full cells
    shunted_s: float = 0.0
    spread_v: float | None = None
    spread_s: float = 0.0
    leans: tuple[int, int] = (0, 0)  # the way the charge last crossed a line of either grid
    candidate: Anchor | None = None
    lowest: Anchor | None = None
    highest: Anchor | None = None
    moves: tuple[RestSwing, ...] = ()  # since the last session ended
    visits: tuple[int, ...] = (0,) * VISIT_BINS
    off_curve: int = 0
    apart_n: int = 0  # anchors beside which the car told its SoC
    apart_pct: float = 0.0  # how far the two were apart, mean
    reported_ah: float | None = None
    reported_s: float | None = None
    best_ah: float = 0.0
    # What was concluded
    seen: RestsSeen = NOTHING_SEEN
    prior_ah: float | None = None  # as the car reported it before the first swing
    bands: Bands | None = None
    at_s: float = 0.0  # of the prediction in `bands`
    newest_s: float | None = None
    reported_taken_s: float | None = None
    n: int = 0
    misfits_in_a_row: int = 0
    ratios_ah: tuple[float, ...] = ()
    contrary: int = 0
    restarted: bool = False
    evidence: tuple[int, ...] = ()
    first_s: float | None = None  # of the first swing
    early_ah: float = 0.0  # the capacity at the end of the first `EARLY_S`


def scale_ah(state: RestBandsState, pack: PackFacts | None) -> float:
    """For limits that scale with the pack."""
    if state.bands is not None:
        return state.bands.capacity_ah
    rated_ah = None if pack is None else pack.reference_ah or pack.rated_ah
    return rated_ah or UNRATED_AH


def swing_between(first: Anchor, last: Anchor) -> RestSwing:
    """What two anchors tell, and how well."""
    moved_ah = last.moved_ah - first.moved_ah
    days = (last.at_s - first.at_s) / 86_400.0
    counted = CHARGE_SIGMA_ROOT * math.sqrt(moved_ah) + CHARGE_SIGMA_ROOT
    sampled = 0.5 * math.sqrt(max(0.0, last.sampling_a2s2 - first.sampling_a2s2)) / 3600.0
    unknown = moved_ah * max(0.0, last.unknown_s - first.unknown_s) / max(last.counted_s - first.counted_s, 1.0)
    lost = max(0.0, last.lost_ah2 - first.lost_ah2) + (SHUNT_DOUBT * (last.shunted_ah - first.shunted_ah)) ** 2
    return as_sent(
        RestSwing(
            int(last.at_s),
            first.soc_pct,
            last.soc_pct,
            last.charge_in_ah - first.charge_in_ah,
            (last.counted_s - first.counted_s) / 3600.0,
            math.hypot(first.sigma_pct, last.sigma_pct),
            math.sqrt(counted**2 + sampled**2 + unknown**2 + lost + (STANDBY_AH_PER_DAY * days) ** 2),
            (first.lean * first.sigma_pct - last.lean * last.sigma_pct) / VOLT_SIGMA_V,
        )
    )
