"""What the book learns from its own batteries: how packs of one family age, as numbers under a version.

In:  the SoH points of the batteries of a family.
Out: a `FleetModel`, or None where too few batteries teach: a model of three cars would tell of those three.
The same points give the same version on any machine, and the version names the numbers: a forecast made with it can be
recomputed from the stored numbers, and the numbers from the histories.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from packbook.core.forecast import READINGS_MIN, AgeingModel, Course
from packbook.core.history import SohPoint
from packbook.core.learning import learn
from packbook.core.prospect import BMS_VALUE, Lacking, course_of

LEARNER: Final = "fleet/1"  # raised when the same histories would give other numbers
TEACHERS_MIN: Final = 8  # batteries: among fewer, what one of them did could be guessed from the model
TEACHERS_MAX: Final = 60  # more make learning slow and the model no better
DIGITS: Final = 9  # significant; the last few differ between machines

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FleetModel:
    family: str  # the pack's name in its profile
    newest_ms: int  # of the readings learned from
    model: AgeingModel


def learn_family(family: str, histories: Sequence[Sequence[SohPoint]]) -> FleetModel | None:
    """`histories`: of each battery all its points, oldest first; the batteries in an order that stays the same."""
    courses: list[Course] = []
    newest_ms = 0
    for points in histories:
        measured = [point for point in points if point.basis != BMS_VALUE]  # the car's own figure is another quantity
        found = course_of(measured)
        if not isinstance(found, Lacking) and found[0].years.size >= READINGS_MIN:
            courses.append(found[0])
            newest_ms = max(newest_ms, found[1][-1].at_ms)
    if len(courses) < TEACHERS_MIN:
        return None
    return FleetModel(family, newest_ms, model_of(numbers_of(learn(evenly(courses, TEACHERS_MAX)))))


def evenly(all_of_them: Sequence[T], most: int) -> Sequence[T]:
    """At most so many, spread over the whole."""
    return all_of_them[:: -(-len(all_of_them) // most) or 1]


def numbers_of(model: AgeingModel) -> dict[str, Any]:
    """The model as plain numbers, for a database or a file."""
    return {
        "mean": _rounded(model.mean),
        "spread": [_rounded(row) for row in model.spread],
        "wander_sd_pct": model.wander_sd_pct,
        "wander_tau_years": model.wander_tau_years,
        "reading_sd_pct": model.reading_sd_pct,
        "factor": _rounded(model.factor),
        "factor_low": _rounded(model.factor_low),
        "vehicles": model.vehicles,
    }


def model_of(numbers: Mapping[str, Any]) -> AgeingModel:
    """The model these numbers are, under the version that follows from them."""
    return AgeingModel(
        mean=np.array(numbers["mean"]),
        spread=np.array(numbers["spread"]),
        wander_sd_pct=numbers["wander_sd_pct"],
        wander_tau_years=numbers["wander_tau_years"],
        reading_sd_pct=numbers["reading_sd_pct"],
        factor=tuple(numbers["factor"]),
        factor_low=tuple(numbers["factor_low"]),
        vehicles=numbers["vehicles"],
        version=_version(numbers),
    )


def _version(numbers: Mapping[str, Any]) -> str:
    text = json.dumps(numbers, sort_keys=True, separators=(",", ":"))
    return f"{LEARNER}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _rounded(values: Sequence[float] | np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    return [float(f"{float(value):.{DIGITS}g}") for value in values]
