"""The neutral record of one battery: what every format, sheet and credential is a view of.

One `Fact` is one value of one field with its unit, time, source, method, uncertainty and evidence. A field may hold
several facts from several sources (a box of ours, the car's own BMS, a workshop): they stand side by side and are
never merged or converted into each other. Fields are named and described by data (`packbook/rules/fields-*.toml`):
part, unit, access tier. Times are UTC milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from packbook.core.history import Provenance


class Source(StrEnum):
    MEASURED = "measured"  # by a box, from the car's sensors
    VEHICLE = "vehicle-reported"  # the car's own battery management says so
    DECLARED = "declared"  # a person or firm says so


class Part(StrEnum):
    """What is to be shared by all, and what its holder gives out under its own terms (facts/passport.md §8)."""

    IDENTITY = "identity"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Axis:
    """Bands of one axis of a histogram. `edges`: rising, one more than bands; None at an end: open there."""

    name: str  # soc_pct temp_degc c_rate depth_pct
    unit: str
    edges: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts`: row-major over the axes, in the fact's unit."""

    axes: tuple[Axis, ...]
    counts: tuple[int, ...]


Value = float | int | str | Histogram


@dataclass(frozen=True, slots=True)
class Fact:
    """`value` None: there is none, and `why` tells."""

    value: Value | None
    unit: str  # as the field's description says: % Ah kWh s km V A Ohm degC 1
    at_ms: int | None  # when it was last found to be so
    source: Source
    by: str  # box id, "vehicle", or who declared it
    method: str | None = None  # id/version
    sigma: float | None = None
    lo90: float | None = None
    hi90: float | None = None
    why: str | None = None
    conditions: Mapping[str, float | str] = field(default_factory=dict)  # temp_degc soc_pct document ...
    evidence: tuple[Provenance, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """Where the record breaks off or was lost, as the box told it."""

    kind: str  # data_lost store_begun time_back battery_changed
    at_ms: int | None
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the battery's life was watched."""

    since_ms: int | None
    until_ms: int | None
    observed_s: float
    inferred_s: float
    unobserved_s: float
    observed_ah: float
    observed_km: float
    odometer_km: float | None
    unwatched_s: float | None = None  # between first and last day, with no box to watch; None: not known
    gaps: tuple[Gap, ...] = ()  # the newest first


@dataclass(frozen=True, slots=True)
class Passport:
    """Facts by field, the best-founded first: measured, then vehicle-reported, then declared."""

    battery: str
    category: str  # ev lmt stationary industrial
    made_ms: int  # when this record was put together
    rules: Mapping[str, str]  # which version of which rule set it follows
    facts: Mapping[str, tuple[Fact, ...]]
    coverage: Coverage | None
    doubts: tuple[str, ...] = ()  # kinds of `history.Doubt`: not empty, nothing here is sure to be of one battery

    def first(self, name: str, *sources: Source) -> Fact | None:
        """The best-founded fact of a field that has a value, of these sources only if any are named."""
        return next(
            (f for f in self.facts.get(name, ()) if f.value is not None and (not sources or f.source in sources)), None
        )
