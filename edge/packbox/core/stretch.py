"""A piece of the line with what was seen on it; pieces in order join into one.

In:  ends, lowest, highest, first and last values of samples. Out: the same of any number of pieces together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from packbox.core import charging
from packbox.core.charging import Charged
from packbox.core.frames import FloatArray


class Hole(IntEnum):
    """What is missing inside a stretch."""

    NONE = 0
    SILENT = 1  # frames missing for a known time
    BROKEN = 2  # a restart or a clock that ran back


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A piece of the line. Arrays over `Col` (what was seen) and `Sum` (totals before and after)."""

    start_s: int
    end_s: int
    before: FloatArray
    after: FloatArray
    low: FloatArray
    high: FloatArray
    first: FloatArray  # first known value of each column
    last: FloatArray
    lead: Hole = Hole.NONE  # hole just before it
    hole: Hole = Hole.NONE  # worst hole inside
    charged: Charged | None = None  # in what of it was charged; came later: older snapshots have none

    @property
    def duration_s(self) -> int:
        return self.end_s - self.start_s


def join(*parts: Stretch | None) -> Stretch | None:
    """Parts in time order as one; None stands for nothing."""
    whole: Stretch | None = None
    for part in parts:
        if part is None:
            continue
        whole = part if whole is None else _join(whole, part)
    return whole


def _join(a: Stretch, b: Stretch) -> Stretch:
    return Stretch(
        a.start_s,
        b.end_s,
        a.before,
        b.after,
        np.fmin(a.low, b.low),
        np.fmax(a.high, b.high),
        np.where(np.isnan(a.first), b.first, a.first),
        np.where(np.isnan(b.last), a.last, b.last),
        a.lead,
        max(a.hole, b.lead, b.hole),
        charging.add(a.charged, b.charged),
    )
