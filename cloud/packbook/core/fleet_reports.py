"""What operators report of a fleet: how figures are spread, a lease's end against its beginning, what promises cost.

In:  rows of the list, whole lives of batteries, and what a contract asks, as the operator typed it.
Out: plain values for pages and tables. What was not seen is None and is said, never counted as kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from packbook.core.fleet_row import FULL_PCT, Promise, coverage_pct
from packbook.core.fleet_table import FleetRow
from packbook.core.history import SOC_BANDS_PCT, TEMP_EDGES_DEGC, EventRow, SohPoint, UsageTotals
from packbook.core.merge import add_usage
from packbook.core.prospect import HARM_UNTIL_INSPECTED, HARM_WHILE_IT_LASTS

DAY_MS: Final = 86_400_000
YEAR_DAYS: Final = 365.25
HARMFUL: Final = (*HARM_UNTIL_INSPECTED, *HARM_WHILE_IT_LASTS)
FULL_SOC_PCT: Final = 80.0  # full and hot together age a pack most; the bands of the stress map on the owner's page
HOT_DEGC: Final = 30.0
SURE_MAX: Final = 0.99  # no model is surer of a battery; money is set aside for what it does not know


@dataclass(frozen=True, slots=True)
class Life:
    """One battery with all its readings, events and totals, each oldest first."""

    row: FleetRow
    readings: Sequence[SohPoint]
    events: Sequence[EventRow]
    usages: Sequence[UsageTotals]


# --- how figures are spread ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spread:
    """Batteries in equal bands. `counts[n]` lie from `edges[n]` up to `edges[n + 1]`, the last band has its end too."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    median: float | None
    unknown: int

    @property
    def known(self) -> int:
        return sum(self.counts)


def spread(values: Iterable[float | None], width: float, low: float, high: float) -> Spread:
    """Bands of `width` from the lowest value to the highest, within `low` and `high`; the outermost catch the rest."""
    told = list(values)
    known = sorted(min(max(value, low), high) for value in told if value is not None)
    unknown = len(told) - len(known)
    if not known:
        return Spread((), (), None, unknown)
    last = round((high - low) / width) - 1
    places = Counter(min(last, int((value - low) // width)) for value in known)
    first, end = min(places), max(places)
    counts = tuple(places[place] for place in range(first, end + 1))
    edges = tuple(low + width * place for place in range(first, end + 2))
    middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2.0
    return Spread(edges, counts, middle, unknown)


# --- a lease's end -------------------------------------------------------------------------------------------------


class Term(StrEnum):
    """What a contract may limit. The names are stable: catalogues and CSV use them."""

    SOH = "soh"  # percent, at least
    KM = "km"  # driven in the time, at most
    CYCLES = "cycles"  # equivalent full cycles a year, at most
    DC_SHARE = "dc_share"  # percent of the charged energy, at most
    FULL_HOT = "full_hot"  # percent of the time full and hot, at most
    HARM = "harm"  # harmful events, at most
    COVERAGE = "coverage"  # percent of the time seen, at least


AT_LEAST: Final = frozenset({Term.SOH, Term.COVERAGE})


class Verdict(StrEnum):
    KEPT = "kept"
    BROKEN = "broken"
    UNSURE = "unsure"  # the interval reaches over the limit: it cannot be told
    NOT_SEEN = "not_seen"


@dataclass(frozen=True, slots=True)
class Lease:
    """`limits`: only those that were agreed. Without `until_ms` the lease ends with the newest reading."""

    from_ms: int | None
    until_ms: int | None
    limits: tuple[tuple[Term, float], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """`found` None: not seen."""

    term: Term
    limit: float
    found: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Return:
    """`harmful`: by kind, within the lease. Totals are of the whole life: boxes add up, they do not cut."""

    row: FleetRow
    at_start: SohPoint | None
    at_return: SohPoint | None
    years: float | None  # between the two
    km: float | None
    usage: UsageTotals | None
    harmful: tuple[tuple[str, int], ...]
    undated: int  # harmful events that may lie within: their box had no clock
    coverage_pct: float | None
    findings: tuple[Found, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all findings; a return without a limit is kept."""
        order = (Verdict.BROKEN, Verdict.UNSURE, Verdict.NOT_SEEN)
        told = {finding.verdict for finding in self.findings}
        return next((verdict for verdict in order if verdict in told), Verdict.KEPT)


def lease_return(life: Life, lease: Lease) -> Return:
    start, end = _ends(life.readings, lease)
    years = None
    if start is not None and end is not None and start.at_ms is not None and end.at_ms is not None:
        years = (end.at_ms - start.at_ms) / DAY_MS / YEAR_DAYS or None
    usage = add_usage(life.usages)
    harmful = [event for event in life.events if event.event in HARMFUL]
    inside = [event for event in harmful if event.at_ms is not None and _in(lease, event.at_ms)]
    undated = sum(event.at_ms is None for event in harmful)
    km = _km(start, end)
    covered = coverage_pct(life.usages, end)
    seen = {
        Term.KM: km,
        Term.CYCLES: _a_year(usage.equivalent_full_cycles if usage else None, life.readings),
        Term.DC_SHARE: dc_share_pct(usage),
        Term.FULL_HOT: full_hot_pct(usage),
        Term.HARM: float(len(inside)),
        Term.COVERAGE: covered,
    }
    findings = tuple(
        _soh_found(end, limit) if term is Term.SOH else _found(term, limit, seen[term], undated)
        for term, limit in lease.limits
    )
    kinds = tuple(sorted(Counter(event.event for event in inside).items()))
    return Return(life.row, start, end, years, km, usage, kinds, undated, covered, findings)


def _ends(readings: Sequence[SohPoint], lease: Lease) -> tuple[SohPoint | None, SohPoint | None]:
    """The last figure before the lease began, or the first in it; and the last one in it."""
    dated = [point for point in readings if point.at_ms is not None and point.soh_pct is not None]
    inside = [point for point in dated if _in(lease, point.at_ms or 0)]
    before = [point for point in dated if lease.from_ms is not None and (point.at_ms or 0) < lease.from_ms]
    start = before[-1] if before else inside[0] if inside else None
    return start, inside[-1] if inside else None


def _in(lease: Lease, at_ms: int) -> bool:
    return (lease.from_ms is None or at_ms >= lease.from_ms) and (lease.until_ms is None or at_ms <= lease.until_ms)


def _km(start: SohPoint | None, end: SohPoint | None) -> float | None:
    if start is None or end is None or start.odometer_km is None or end.odometer_km is None:
        return None
    return max(0.0, end.odometer_km - start.odometer_km)


def _a_year(total: float | None, readings: Sequence[SohPoint]) -> float | None:
    """Of a total that counts from the first reading."""
    dated = [point.at_ms for point in readings if point.at_ms is not None]
    if total is None or len(dated) < 2 or dated[-1] <= dated[0]:
        return None
    return total / ((dated[-1] - dated[0]) / DAY_MS / YEAR_DAYS)


def dc_share_pct(usage: UsageTotals | None) -> float | None:
    charged = 0.0 if usage is None else usage.energy_ac_in_wh + usage.energy_dc_in_wh
    return None if usage is None or charged <= 0.0 else FULL_PCT * usage.energy_dc_in_wh / charged


def full_hot_pct(usage: UsageTotals | None) -> float | None:
    """Share of the known time at FULL_SOC_PCT and HOT_DEGC or above."""
    bands = len(TEMP_EDGES_DEGC) + 1
    if usage is None or not sum(usage.soc_temp_s):
        return None
    hot_from = TEMP_EDGES_DEGC.index(HOT_DEGC) + 1
    stressed = sum(
        sum(usage.soc_temp_s[row * bands + hot_from : (row + 1) * bands])
        for row, (low, _) in enumerate(SOC_BANDS_PCT)
        if low >= FULL_SOC_PCT
    )
    return FULL_PCT * stressed / sum(usage.soc_temp_s)


def _soh_found(end: SohPoint | None, limit: float) -> Found:
    """Broken or kept only where the whole interval lies on one side."""
    if end is None or end.soh_pct is None or end.lo90_pct is None or end.hi90_pct is None:
        return Found(Term.SOH, limit, None, Verdict.NOT_SEEN)
    verdict = Verdict.KEPT if end.lo90_pct >= limit else Verdict.BROKEN if end.hi90_pct < limit else Verdict.UNSURE
    return Found(Term.SOH, limit, end.soh_pct, verdict)


def _found(term: Term, limit: float, found: float | None, undated: int) -> Found:
    if found is None:
        return Found(term, limit, None, Verdict.NOT_SEEN)
    kept = found >= limit if term in AT_LEAST else found <= limit
    if term is Term.HARM and kept and found + undated > limit:
        return Found(term, limit, found, Verdict.UNSURE)
    return Found(term, limit, found, Verdict.KEPT if kept else Verdict.BROKEN)


# --- what a promise may cost ---------------------------------------------------------------------------------------


def expected_cost(promise: Promise, price: float) -> float:
    """What is to be set aside for one battery: the price of making good, times the chance that it comes to that."""
    return price * (1.0 - min(promise.probability, SURE_MAX))
