"""`packbook forecast`: what a table of SoH by month says about the months after it, without a book or a fleet at hand.

JSON lines on stdout: one for each unit and month, and with --life one more for each unit (docs/forecast.md).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from packbook.adapters.soh_table import Month, TableError, UnitHistory, month, read_table
from packbook.app.command import DONE, PROBLEM, WRONG_USAGE
from packbook.core.fleet import TEACHERS_MAX, evenly
from packbook.core.forecast import (
    MONTHS_A_YEAR,
    READINGS_MIN,
    AgeingModel,
    Course,
    Outlook,
    Passage,
    interval90,
    outlook,
    passages,
)
from packbook.core.guarantee import KNEE_RATIO, Condition, Decision, Evidence, Failed, decide, knee_ratio
from packbook.core.learning import FLEET_MIN, learn
from packbook.core.triage import CAR_SOH_MIN_PCT, Standing, triage
from packbook.ports.trouble import PackbookError

MONTHS_AHEAD: Final = 36  # as far as a guarantee may reach
MONTHS_AHEAD_MAX: Final = 180
LIFE_THRESHOLDS_PCT: Final = (80.0, CAR_SOH_MIN_PCT)  # facts/soh.md §2: the floors at five and at eight years
TOO_SMALL: Final = f"fewer than {FLEET_MIN} other vehicles with {READINGS_MIN} readings; the published prior stands"

NO_PACE: Final = "no odometer_km of three months tells its pace; its promises are judged by years alone"
SILENT_MONTHS: Final = 12  # from then on a slip in --at is likelier than a car that nobody read
RISEN: Final = "the forecast rests on the readings from then on"

WHY: Final[Mapping[Condition, str]] = {
    Condition.PROBABILITY: "probability {found:.3f}, asked {asked:g}",
    Condition.LOGGED: "{found:.2f} years of readings, asked {asked:.2f} or six readings",
    Condition.EVIDENCE: "{found:g} readings behind the value, asked {asked:g}",
    Condition.INTERVAL: "value known to +-{found:.1f} pp, asked {asked:g}",
    Condition.HORIZON: "{found:.2f} years ahead, at most {asked:.2f}",
    Condition.MARGIN: "{found:.1f} pp above the threshold now, asked {asked:g}",
    Condition.HARM: "an open harmful event",
    Condition.RESISTANCE: "resistance grows {found:.0f} % a year, at most {asked:g}",
    Condition.LOW_PACK: "SoH {found:.1f} %, asked {asked:g}: knees lie below",
    Condition.KNEE: "the last half year fades {found:.1f} times as fast as the last two years",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE", help="table with unit, month, soh_pct")
    parser.add_argument(
        "--at", type=_month, required=True, metavar="MONTH", help="last month that counts as history, like 2020-07"
    )
    parser.add_argument(
        "--learn",
        type=Path,
        metavar="FILE",
        help="table of other vehicles of the model, all their months; a unit never learns from itself",
    )
    parser.add_argument(
        "--guarantee",
        type=_threshold,
        metavar="THRESHOLD",
        help="SoH in percent to promise: adds probability and decision to every month",
    )
    parser.add_argument(
        "--guarantee-km",
        type=_km,
        metavar="KM",
        help="with --guarantee: the promise ends in that month or after so many km, whichever comes first",
    )
    parser.add_argument(
        "--months", type=_months, default=MONTHS_AHEAD, metavar="N", help=f"how far ahead; default {MONTHS_AHEAD}"
    )
    parser.add_argument(
        "--life", action="store_true", help="a line more for each unit: time to 80 %% and 70 %%, and next use"
    )


def main(args: argparse.Namespace) -> int:
    if args.guarantee_km is not None and args.guarantee is None:
        print("packbook: --guarantee-km needs --guarantee", file=sys.stderr)
        return WRONG_USAGE
    try:
        units = _histories(args.csv, args.at)
        teacher = _Teacher(read_table(args.learn) if args.learn else {})
    except PackbookError as problem:
        print(f"packbook: {problem}", file=sys.stderr)
        return PROBLEM
    for unit in units:
        _warn(args, unit)
        model = teacher.model_for(unit.unit)
        seen = unit.course()
        if model.vehicles:  # its factor was measured on readings, which share such an error with those to come
            seen = replace(seen, persistent_sd_pct=0.0)
        known = outlook(seen, model)
        for line in _month_lines(unit, seen, known, args):
            print(json.dumps(line))
        if args.life:
            print(json.dumps(_life_line(unit, seen, known)))
    return DONE


def _histories(path: Path, at: Month) -> list[UnitHistory]:
    """What was known at that month. Units that begin later are named on stderr and left out."""
    units = read_table(path)
    written = next((row.month for unit in units.values() for row in unit.readings), None)
    if written is not None and written.calendar != at.calendar:
        raise TableError(f"--at {at}: {path} writes its months like {written}")
    found = [unit.until(at) for unit in units.values()]
    for unit in found:
        if not unit.readings:
            print(f"packbook: {path}: unit {unit.unit} has no soh_pct up to {at}; left out", file=sys.stderr)
    known = [unit for unit in found if unit.readings]
    if not known:
        raise TableError(f"{path}, column month: no unit has a soh_pct up to {at}")
    return known


def _warn(args: argparse.Namespace, unit: UnitHistory) -> None:
    """What may surprise in the figures of this unit, on stderr."""
    newest = unit.readings[-1].month
    silent = args.at.index - newest.index
    said = []
    if silent >= SILENT_MONTHS:
        said.append(f"its newest soh_pct is of {newest}, {silent} months before --at")
    if rise := unit.rise():
        said.append(f"its soh_pct rises at once in {rise}; {RISEN}")
    if args.guarantee_km is not None and unit.mileage() is None:
        said.append(NO_PACE)
    for text in said:
        print(f"packbook: {args.csv}: unit {unit.unit}: {text}", file=sys.stderr)


class _Teacher:
    """The ageing model for a unit, from all the fleet but the unit itself; learned once where the unit is not in it."""

    def __init__(self, fleet: Mapping[str, UnitHistory]) -> None:
        known = [(name, unit.course()) for name, unit in fleet.items() if unit.readings]
        self._courses = dict(evenly(known, TEACHERS_MAX))
        self._learned: dict[str | None, AgeingModel] = {}

    def model_for(self, unit: str) -> AgeingModel:
        left_out = unit if unit in self._courses else None
        if left_out not in self._learned:
            others = [seen for name, seen in self._courses.items() if name != left_out]
            self._learned[left_out] = learn(others)
            if self._courses and not self._learned[left_out].vehicles:
                print(f"packbook: --learn teaches nothing about {unit}: {TOO_SMALL}", file=sys.stderr)
        return self._learned[left_out]


def _month_lines(
    unit: UnitHistory, seen: Course, known: Outlook, args: argparse.Namespace
) -> Iterator[dict[str, object]]:
    silent_years = (args.at.index - unit.readings[-1].month.index) / MONTHS_A_YEAR
    horizons_years = silent_years + np.arange(1, args.months + 1) / MONTHS_A_YEAR
    mean, half = interval90(known, known.years + horizons_years)
    driven = unit.mileage()
    for ahead, horizon_years in enumerate(horizons_years):
        at = args.at.later(ahead + 1)
        line: dict[str, object] = {
            "unit": unit.unit,
            "month": str(at) if at.calendar else at.index,
            "soh_pct": _percent(mean[ahead]),
            "lo90_pct": _percent(mean[ahead] - half[ahead]),
            "hi90_pct": _percent(mean[ahead] + half[ahead]),
        }
        if args.guarantee is not None:
            decision = decide(seen, known, Evidence(), args.guarantee, float(horizon_years), args.guarantee_km, driven)
            line |= _said(decision)
        yield line


def _percent(value: float) -> float:
    """Decades ahead the model passes zero; a battery does not."""
    return round(max(0.0, float(value)), 2)


def _said(decision: Decision) -> dict[str, object]:
    return {
        "threshold_pct": decision.threshold_pct,
        "km": decision.horizon_km,
        "judged_years": round(decision.judged_years, 3),
        "probability": round(decision.probability, 4),
        "decision": "offered" if decision.offered else "not offered",
        "failed": [failed.condition.value for failed in decision.failed],
        "why": "; ".join(_why(failed) for failed in decision.failed) or None,
        "not_checked": [condition.value for condition in decision.not_checked],
    }


def _why(failed: Failed) -> str:
    return WHY[failed.condition].format(found=failed.found, asked=failed.asked)


def _life_line(unit: UnitHistory, seen: Course, known: Outlook) -> dict[str, object]:
    driven = unit.mileage()
    passed = passages(known, LIFE_THRESHOLDS_PCT, driven)
    mean, half = interval90(known, seen.years[-1:])
    ratio = knee_ratio(seen)
    next_use = triage(
        Standing(
            soh_lo90_pct=float(mean[0] - half[0]),
            to_car_minimum=passed[-1],
            knee=None if ratio is None else ratio >= KNEE_RATIO,
            harmful_open=None,
            resistance_growth_pct=None,
        )
    )
    return {
        "unit": unit.unit,
        "after_month": str(unit.readings[-1].month),
        "learned_from_vehicles": known.model.vehicles,
        "passages": [_passage(passage) for passage in passed],
        "next_use": next_use.use.value,
        "refused": {refusal.use.value: [reason.value for reason in refusal.reasons] for refusal in next_use.refusals},
        "not_known": [reason.value for reason in next_use.not_known],
    }


def _passage(passage: Passage) -> dict[str, object]:
    """5, 50 and 95 % points; what lies beyond fifteen years is said, not numbered."""
    km = passage.km and ["beyond" if point is None else round(point, -2) for point in passage.km]
    years = ["beyond" if point is None else round(point, 2) for point in passage.years]
    return {"threshold_pct": passage.threshold_pct, "years": years, "km": km}


def _month(text: str) -> Month:
    found = month(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a month like 2020-07 nor a whole number")
    return found


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1.0 < value <= 100.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage like 70")
    return value


def _km(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0.0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a distance in km like 100000")
    return value


def _months(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MONTHS_AHEAD_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of months from 1 to {MONTHS_AHEAD_MAX}")
    return int(text)
