"""Counts and sums of a life, added up from the sessions and compared with the totals that the box sent.

In:  the records of one life. Out: findings.
Counts must be equal. Sums may exceed what sessions add up to, by what flowed between them; they may never be less.
Histograms are not in the sessions: they are looked at for sums that fit and counts that never fall.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from packproof.finding import Finding, Verdict
from packproof.life import Life
from packwire.codec import plan_of
from packwire.messages import Charge, ChargeKind, Drive, Event, Message, Session, Usage
from packwire.seal import Record

BETWEEN_SHARE: Final = 0.02  # of a sum: may have flowed between sessions, in pieces too short to be one
SHOWN: Final = 5  # records that are named
ROUNDED_S: Final = 1.0  # of times, each


@dataclass(frozen=True, slots=True)
class Quantity:
    """A total of `Usage`, and what a session adds to it."""

    field: str
    words: str
    of: Callable[[Session], float | None]
    exact: bool = False  # a count


def _dc(session: Session) -> bool:
    return isinstance(session, Charge) and session.charge_kind is ChargeKind.DC


def _ac(session: Session) -> bool:
    """A charge of unknown kind counts as AC, as in the box."""
    return isinstance(session, Charge) and session.charge_kind is not ChargeKind.DC


QUANTITIES: Final = (
    Quantity("charges_ac", "AC charges", lambda s: float(_ac(s)), exact=True),
    Quantity("charges_dc", "DC charges", lambda s: float(_dc(s)), exact=True),
    Quantity("drives", "drives", lambda s: float(isinstance(s, Drive)), exact=True),
    Quantity("distance_km", "km driven", lambda s: s.distance_km if isinstance(s, Drive) else None),
    Quantity("energy_ac_in_wh", "Wh charged by AC", lambda s: s.energy_in_wh if _ac(s) else None),
    Quantity("energy_dc_in_wh", "Wh charged by DC", lambda s: s.energy_in_wh if _dc(s) else None),
    Quantity("charge_in_ah", "Ah into the pack", lambda s: s.charge_in_ah),
    Quantity("charge_out_ah", "Ah out of the pack", lambda s: s.charge_out_ah),
    Quantity("energy_in_wh", "Wh into the pack", lambda s: s.energy_in_wh),
    Quantity("energy_out_wh", "Wh out of the pack", lambda s: s.energy_out_wh),
    Quantity("observed_s", "s observed", lambda s: s.observed_s),
)
# What a drive or charge adds up to is taken from the sessions by the box itself: nothing can lie between.
_OF_SESSIONS: Final = frozenset({"distance_km", "energy_ac_in_wh", "energy_dc_in_wh"})


def check_usage(life: Life) -> list[Finding]:
    """Every total in every usage record of this life."""
    told = [r for r in life.records if isinstance(r.message, Usage)]
    if not told:
        return []
    findings = [_sum(life, told, quantity) for quantity in QUANTITIES]
    findings.append(_events(life, told))
    findings.append(_histograms(life, told))
    return findings


def _sum(life: Life, told: list[Record], quantity: Quantity) -> Finding:
    """One quantity over all usage records: the worst verdict, and the newest numbers unless another record is worse."""
    half_step, share = _half_steps(quantity)
    added, n, maybe, least_proven = 0.0, 0, 0.0, True
    sessions = iter([r for r in life.records if isinstance(r.message, Session)])
    ahead = next(sessions, None)
    wrong: list[tuple[Record, float]] = []
    lost: list[Record] = []
    for record in told:
        while ahead is not None and ahead.envelope.seq < record.envelope.seq:
            amount = _amount(ahead, quantity)
            added, n = added + amount, n + (amount != 0.0)
            if not quantity.exact and quantity.field not in _OF_SESSIONS and life.began_before(_session(ahead)):
                maybe += amount
            ahead = next(sessions, None)
        claimed = float(getattr(record.message, quantity.field))
        slack = 0.0 if quantity.exact else half_step * (n + 1) + 1e-6
        over = claimed - added
        if -slack - maybe <= over <= slack:
            least_proven = True
        elif not life.whole(record):
            lost.append(record)
        elif over < 0 or quantity.exact or quantity.field in _OF_SESSIONS:
            wrong.append((record, added))
        else:
            open_now = 0.0 if ahead is None else _amount(ahead, quantity)
            least_proven = over <= slack + open_now + share * claimed
    newest = told[-1]
    claimed = float(getattr(newest.message, quantity.field))
    what, seqs = f"usage.{quantity.field}", (newest.envelope.seq,)
    if wrong:
        first, by_sessions = wrong[0]
        said = float(getattr(first.message, quantity.field))
        words = f"{len(wrong)} usage records say other {quantity.words} than the sessions before them add up to"
        named = tuple(r.envelope.seq for r, _ in wrong[:SHOWN])
        return Finding(what, Verdict.DIFFERS, words, said, _rounded(by_sessions), life.store, named)
    if lost:
        words = f"sessions are missing, so {quantity.words} cannot be added up for {len(lost)} usage records"
        named = tuple(r.envelope.seq for r in lost[:SHOWN])
        return Finding(what, Verdict.MISSING, words, claimed, _rounded(added), life.store, named)
    if not least_proven:
        words = f"{_rounded(added):g} of {claimed:g} {quantity.words} are in sessions that ended; the rest is claimed"
        return Finding(what, Verdict.CLAIMED, words, claimed, _rounded(added), life.store, seqs)
    words = f"{quantity.words}: {n} sessions add up to it" + ("" if quantity.exact else ", as far as they are rounded")
    return Finding(what, Verdict.PROVEN, words, claimed, _rounded(added), life.store, seqs)


def _amount(record: Record, quantity: Quantity) -> float:
    return quantity.of(_session(record)) or 0.0


def _session(record: Record) -> Session:
    assert isinstance(record.message, Session)
    return record.message


def _half_steps(quantity: Quantity) -> tuple[float, float]:
    """The most that rounding takes from one session or the total, and what may lie between sessions."""
    if quantity.exact:
        return 0.0, 0.0
    is_told = quantity.field in Drive.__struct_fields__
    name = quantity.field if is_told else quantity.field.replace("_ac", "").replace("_dc", "")
    return 0.5 * max(_step(Usage, quantity.field), _step(Drive, name)), BETWEEN_SHARE


def _step(model: type[Message], field: str) -> float:
    per = next(plan.wire.per for plan in plan_of(model) if plan.name == field)
    assert per is not None
    return 1.0 / per


def _rounded(value: float) -> float:
    return round(value, 3)


def _events(life: Life, told: list[Record]) -> Finding:
    """How often what happened: an event is said before it is counted."""
    newest = told[-1]
    assert isinstance(newest.message, Usage)
    claimed = dict(newest.message.events)
    seen = Counter(
        r.message.event.value
        for r in life.records
        if isinstance(r.message, Event) and r.envelope.seq < newest.envelope.seq
    )
    off = [name for name in claimed if claimed[name] != seen[name]]
    at = (newest.envelope.seq,)
    if not off:
        words = f"{sum(claimed.values())} events, each with a record of its own"
        return Finding("usage.events", Verdict.PROVEN, words, _listed(claimed), _listed(claimed), life.store, at)
    counted = _listed({name: seen[name] for name in claimed})
    if not life.whole(newest):
        words = "events are missing, so they cannot be counted"
        return Finding("usage.events", Verdict.MISSING, words, _listed(claimed), counted, life.store, at)
    words = f"the records hold another number of {', '.join(off)}"
    return Finding("usage.events", Verdict.DIFFERS, words, _listed(claimed), counted, life.store, at)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items())) or "none"


def _histograms(life: Life, told: list[Record]) -> Finding:
    """Cells of a histogram, like totals, never fall; and no histogram holds more time than has passed."""
    what = "usage.histograms"
    before: Usage | None = None
    for record in told:
        usage = record.message
        assert isinstance(usage, Usage)
        odd = _odd(before, usage)
        if odd is not None:
            return Finding(what, Verdict.DIFFERS, odd, store=life.store, seqs=(record.envelope.seq,))
        before = usage
    words = "histograms, inferred and unobserved time and ageing are the box's own: their sums fit, nothing ever falls"
    return Finding(what, Verdict.CLAIMED, words, store=life.store, seqs=(told[-1].envelope.seq,))


_RISING: Final = ("inferred_s", "unobserved_s", "arrhenius_s", *(q.field for q in QUANTITIES))
_HISTOGRAMS: Final = ("soc_temp_s", "c_rate_temp_s")  # a cycle not yet closed moves from depth to depth


def _odd(before: Usage | None, usage: Usage) -> str | None:
    seen_s = usage.observed_s + usage.inferred_s + usage.unobserved_s
    for name in _HISTOGRAMS:
        if sum(getattr(usage, name)) > seen_s + 2.0 * ROUNDED_S:
            return f"{name} holds more seconds than the life has"
    if before is None:
        return None
    for name in _RISING:
        if getattr(usage, name) < getattr(before, name):
            return f"{name} fell from one usage record to the next"
    for name in (*_HISTOGRAMS, "charging_temp_s"):  # a charge may have begun before this life, and is in it whole
        if not _never_falls(getattr(before, name), getattr(usage, name)):
            return f"a cell of {name} fell from one usage record to the next"
    return None


def _never_falls(before: Iterable[int], after: Iterable[int]) -> bool:
    """Trailing zeros are not sent."""
    old, new = tuple(before), tuple(after)
    return len(old) <= len(new) and all(a <= b for a, b in zip(old, new, strict=False))
