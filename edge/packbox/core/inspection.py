"""What one look at a car finds: who it is, what it says of its battery, its cells and trouble codes.

In:  a profile and frames, whoever asked the questions; what the fold learned from the same frames.
Out: `Inspection`, and the outcomes that a sealed inspection record is made of.
Numbers are the car's own or the fold's; nothing is estimated here. What was not seen is absent, never "good".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from packbox.core.answers import (
    CELL_ROWS,
    CELLS_TOLERANCE,
    Reading,
    Window,
    cells_contradict,
    layout_for,
    matching,
    read,
)
from packbox.core.box import BoxState
from packbox.core.broadcast_cells import BroadcastCells
from packbox.core.frames import FrameBatch
from packbox.core.outcome import BoxHealth, CellsSeen, EventSeen, Introduced, Outcome, SohComputed, UsageDue
from packbox.core.overheard import Overhearing
from packbox.core.packs import PackFacts
from packbox.core.profile import Profile
from packbox.core.seen import NAMES
from packbox.core.stamp import Stamp
from packbox.core.swap import SERIAL

TEMP_ROWS: Final = "temp_{n}"
CHASSIS: Final = ("vin", "chassis_number")  # stays on the sheet: no record carries it
TROUBLE_CODES: Final = "dtcs"
TEXT_MAX: Final = 200  # of the wire
SPREAD_NOTED_V: Final = 0.05  # between the highest and the lowest cell
SOH_TOLERANCE_PCT: Final = 2.0  # two roundings and a temperature
NEW_CAR_SOH_PCT: Final = 99.0
USED_KM: Final = 30_000.0  # nobody's battery reports as new after this


@dataclass(frozen=True, slots=True)
class Range:
    last: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Inspection:
    """Unknown is absent. `trouble_codes`: answering poll -> codes; empty mapping = nobody answered."""

    texts: Mapping[str, str] = field(default_factory=dict)  # identity as the car states it, by field name
    figures: Mapping[str, Range] = field(default_factory=dict)  # by quantity
    cells_v: tuple[float | None, ...] = ()
    temps_degc: tuple[float, ...] = ()
    trouble_codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pack: PackFacts | None = None
    soh: SohComputed | None = None
    remarks: tuple[str, ...] = ()  # keys of the sheet's sentences, see REMARKS

    def last(self, quantity: str) -> float | None:
        seen = self.figures.get(quantity)
        return None if seen is None else seen.last

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(code for codes in self.trouble_codes.values() for code in codes))


REMARKS: Final = (
    "experimental",  # nobody has proven this profile on a real car
    "wrong_profile",
    "cells_do_not_sum",  # cells and pack voltage disagree: the cells were left out
    "spread",
    "ratio",  # reported SoH and reported capacity disagree
    "reset",  # reports as new although it cannot be
    "codes",
    "no_identity",
)


class Collector:
    """Keeps the newest whole answer to each of the profile's polls."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._overhearing = Overhearing((poll.tx_key, poll.rx_key) for poll in profile.polls)
        self.contradicted: set[str] = set()  # polls whose cells once did not add up
        self._newest: dict[str, tuple[Reading, ...]] = {}
        self._broadcast = BroadcastCells(profile)

    def hear(self, frames: FrameBatch) -> None:
        self._broadcast.hear(frames)
        for answer in self._overhearing.hear(frames):
            poll = matching(self._profile.polls, answer.key, answer.data, answer.request)
            if poll is None or len(answer.data) in poll.ignored_lengths:
                continue
            layout = layout_for(poll, len(answer.data))
            if layout is None:
                continue
            readings = tuple(read(layout, Window(0, answer.data[len(poll.head) :])))
            if cells_contradict(readings):
                self.contradicted.add(poll.id)
            else:
                self._newest[poll.id] = readings

    def texts(self) -> dict[str, str]:
        """What the car says in letters: numbers of battery, parts and car."""
        said = {f.name for p in self._profile.polls for a in p.layouts for f in a.fields if f.kind == "ascii"}
        return {r.name: r.value for r in self._readings() if isinstance(r.value, str) and r.name in said}

    def trouble_codes(self) -> dict[str, tuple[str, ...]]:
        return {
            poll: tuple(reading.value)
            for poll, readings in self._newest.items()
            for reading in readings
            if reading.name == TROUBLE_CODES and isinstance(reading.value, list)
        }

    def rows(self, name: str) -> tuple[float | None, ...]:
        """Numbered readings of this name over all answers, in the order of the profile's polls."""
        head = name.removesuffix("{n}")
        return tuple(
            None if r.value is None else float(r.value)
            for r in self._readings()
            if r.name.startswith(head)
            and r.name[len(head) :].isdigit()
            and (r.value is None or isinstance(r.value, int | float))
        )

    def cells_v(self, in_series: int | None) -> tuple[float | None, ...]:
        """As the car answers them, else as it broadcasts them."""
        return self.rows(CELL_ROWS) or self._broadcast.cells_v(in_series)

    def _readings(self) -> Iterable[Reading]:
        return (reading for poll in self._profile.polls for reading in self._newest.get(poll.id, ()))


def inspection_of(
    collector: Collector, profile: Profile, state: BoxState, outcomes: Sequence[Outcome], pack: PackFacts | None
) -> Inspection:
    """Everything that one look found, with what a buyer should be told about it."""
    seen = state.seen
    found = Inspection(
        texts=collector.texts(),
        figures={
            name: Range(float(seen.last[k]), float(seen.low[k]), float(seen.high[k]))
            for k, name in enumerate(NAMES)
            if seen.count[k]
        },
        cells_v=collector.cells_v(None if pack is None else pack.cells_in_series),
        temps_degc=tuple(t for t in collector.rows(TEMP_ROWS) if t is not None),
        trouble_codes=collector.trouble_codes(),
        pack=pack,
        soh=next((o for o in reversed(outcomes) if isinstance(o, SohComputed)), None),
    )
    remarks = list(_remarks(found, profile, outcomes))
    if collector.contradicted and not found.cells_v:
        remarks.append("cells_do_not_sum")
    if "cells_do_not_sum" in remarks:
        found = replace(found, cells_v=())
    return replace(found, remarks=tuple(remarks))


def _remarks(found: Inspection, profile: Profile, outcomes: Sequence[Outcome]) -> Iterable[str]:
    if profile.experimental:
        yield "experimental"
    if any(isinstance(o, EventSeen) and o.event.value == "wrong_profile" for o in outcomes):
        yield "wrong_profile"
    cells = [v for v in found.cells_v if v is not None]
    voltage = found.figures.get("pack_voltage_v")
    if cells and len(cells) == len(found.cells_v) and voltage is not None:
        total = sum(cells)
        if not voltage.low * (1 - CELLS_TOLERANCE) <= total <= voltage.high * (1 + CELLS_TOLERANCE):
            yield "cells_do_not_sum"
    if spread_v(found) is not None and (spread_v(found) or 0.0) > SPREAD_NOTED_V:
        yield "spread"
    soh_pct, ratio_pct = found.last("soh_reported_pct"), capacity_ratio_pct(found)
    if soh_pct is not None and ratio_pct is not None and abs(soh_pct - ratio_pct) > SOH_TOLERANCE_PCT:
        yield "ratio"
    if soh_pct is not None and soh_pct >= NEW_CAR_SOH_PCT and (found.last("odometer_km") or 0.0) > USED_KM:
        yield "reset"
    if found.codes:
        yield "codes"
    if SERIAL not in found.texts:
        yield "no_identity"


def capacity_ratio_pct(found: Inspection) -> float | None:
    """Reported capacity over what the pack had when new."""
    capacity_ah = found.last("capacity_reported_ah")
    reference_ah = None if found.pack is None else found.pack.reference_ah
    return None if capacity_ah is None or reference_ah is None else 100 * capacity_ah / reference_ah


def spread_v(found: Inspection) -> float | None:
    """Highest less lowest cell: of all cells where they were read, else as the car sums it up."""
    cells = [v for v in found.cells_v if v is not None]
    if cells:
        return max(cells) - min(cells)
    low, high = found.last("cell_voltage_min_v"), found.last("cell_voltage_max_v")
    return None if low is None or high is None else high - low


def outcomes_of(found: Inspection, outcomes: Sequence[Outcome], health: BoxHealth) -> tuple[Outcome, ...]:
    """What is sealed: who, the newest usage and SoH, events, cells, and the look itself with its trouble codes."""
    hello = [o for o in outcomes if isinstance(o, Introduced)][-1:]
    usage = [o for o in outcomes if isinstance(o, UsageDue)][-1:]
    soh = [o for o in outcomes if isinstance(o, SohComputed)][-1:]
    events = [o for o in outcomes if isinstance(o, EventSeen)]
    cells = [_cells(found, health.stamp)] if found.cells_v else []
    return (*hello, *usage, *soh, *events, *cells, *(replace(health, text=text) for text in _code_texts(found)))


def _cells(found: Inspection, stamp: Stamp) -> CellsSeen:
    return CellsSeen(stamp, found.cells_v, found.last("soc_bms_pct"), found.last("pack_current_a"), found.temps_degc)


def _code_texts(found: Inspection) -> list[str]:
    """The trouble codes in as many texts as they need."""
    if not found.trouble_codes:
        return ["inspection; trouble codes not read"]
    texts = ["inspection; trouble codes:" + ("" if found.codes else " none")]
    for code in found.codes:
        if len(texts[-1]) + len(code) + 1 > TEXT_MAX:
            texts.append("trouble codes:")
        texts[-1] += f" {code}"
    return texts
