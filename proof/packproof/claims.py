"""Compare what the exporter claims of a battery with what its records come to.

In:  believed records, the battery's name, and the exporter's claims.
Out: findings, one per claim.
A total is the newest of every installation, added up: that is what boxes send and books show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from packproof.finding import Finding, Verdict
from packwire.bundle import Claims
from packwire.codec import plan_of
from packwire.messages import Charge, Drive, Hello, Rest, Soh, Usage
from packwire.seal import Record

EXPORTER: Final = "exporter."  # begins the name of each of these findings
TOTALS: Final = ("charge_in_ah", "charge_out_ah", "energy_in_wh", "energy_out_wh", "distance_km")
SOH: Final = ("soh_pct", "lo90_pct", "hi90_pct")
_STEP: Final = {plan.name: 1.0 / (plan.wire.per or 1) for plan in plan_of(Claims)}


@dataclass(slots=True)
class Sums:
    """What the records of one battery come to."""

    records: int = 0
    charges: int = 0
    drives: int = 0
    rests: int = 0
    usages: dict[tuple[str, int], Usage] = field(default_factory=dict)  # newest by store and installation
    sohs: dict[str, Soh] = field(default_factory=dict)  # newest by store
    hellos: list[Hello] = field(default_factory=list)
    installations: int = 0
    wall_ms: list[int] = field(default_factory=list)  # first and last date that a box put on a record


def sums_of(battery: str, stores: Iterable[Sequence[Record]]) -> Sums:
    """Each store's records rising by number. A record belongs to the battery of the newest hello before it."""
    sums = Sums()
    for records in stores:
        current: str | None = None
        for record in records:
            if isinstance(record.message, Hello):
                if record.message.battery != current and record.message.battery == battery:
                    sums.installations += 1
                current = record.message.battery
            if current == battery:
                _add(sums, record)
    return sums


def _add(sums: Sums, record: Record) -> None:
    sums.records += 1
    if record.envelope.wall_ms is not None:
        known = [*sums.wall_ms, record.envelope.wall_ms]
        sums.wall_ms = [min(known), max(known)]
    match record.message:
        case Charge():
            sums.charges += 1
        case Drive():
            sums.drives += 1
        case Rest():
            sums.rests += 1
        case Usage():
            sums.usages[record.envelope.store, sums.installations] = record.message
        case Soh():
            sums.sohs[record.envelope.store] = record.message
        case Hello():
            sums.hellos.append(record.message)


def compare(claims: Claims, sums: Sums, *, whole: bool) -> Iterator[Finding]:
    """`whole`: no record is missing or damaged. If one is, a number that does not fit cannot be told from a lie."""
    for name in ("records", "charges", "drives", "rests"):
        yield _finding(name, getattr(claims, name), getattr(sums, name), whole=whole)
    for name in TOTALS:
        claimed = getattr(claims, name)
        if claimed is not None:
            told = sum(getattr(usage, name) for usage in sums.usages.values()) if sums.usages else None
            yield _finding(name, claimed, told, whole=whole)
    for name in SOH:
        claimed = getattr(claims, name)
        if claimed is not None:
            said = [value for soh in sums.sohs.values() if (value := getattr(soh, name)) is not None]
            yield _finding(name, claimed, min(said, key=lambda value: abs(value - claimed), default=None), whole=whole)


def _finding(name: str, claimed: float, recomputed: float | None, *, whole: bool) -> Finding:
    what = EXPORTER + name
    if recomputed is not None and abs(claimed - recomputed) <= 0.51 * _STEP[name]:
        return Finding(
            what,
            Verdict.PROVEN,
            f"the exporter claims {name} {claimed:g}, and the records say the same",
            claimed,
            recomputed,
        )
    told = "nothing" if recomputed is None else f"{recomputed:g}"
    words = f"the exporter claims {name} {claimed:g}, the records say {told}"
    return Finding(what, Verdict.DIFFERS if whole else Verdict.MISSING, words, claimed, recomputed)
