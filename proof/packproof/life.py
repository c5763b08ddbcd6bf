"""The records of one pack in one store: a store lives on when the car gets another pack, its counts begin anew.

In:  the records of one store in order. Out: `Life`, one per pack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from packwire.ids import BootId
from packwire.messages import Hello, Session
from packwire.seal import Record


@dataclass(frozen=True, slots=True)
class Life:
    records: tuple[Record, ...]
    whole_until: int  # up to this record (seq) every record since the life began is there
    boots_before: frozenset[BootId]  # of the packs before; empty for the first

    @property
    def store(self) -> str:
        return self.records[0].envelope.store

    def whole(self, record: Record) -> bool:
        return record.envelope.seq <= self.whole_until

    def began_before(self, session: Session) -> bool:
        """It ended in this life, but part of it may belong to the pack before."""
        first = self.records[0].envelope
        if session.boot == first.boot:
            return bool(self.boots_before) and session.start_mono_ms < first.mono_ms
        return session.boot in self.boots_before


def lives(records: Sequence[Record]) -> Iterator[Life]:
    """One store's records, cut before each hello that names one pack more that went."""
    starts, packs_before = [0], 0
    for k, record in enumerate(records):
        if isinstance(record.message, Hello) and record.message.packs_before != packs_before:
            packs_before = record.message.packs_before
            starts += [k] if k else []
    for low, high in pairwise([*starts, len(records)]):
        # A record lost between two lives may have been the change, then it is not known where the later one began.
        before = records[low - 1].envelope.seq if low else 0
        boots = frozenset(r.envelope.boot for r in records[:low])
        yield Life(tuple(records[low:high]), _whole_until(records[low:high], before), boots)


def _whole_until(records: Sequence[Record], before: int) -> int:
    for record in records:
        if record.envelope.seq != before + 1:
            break
        before = record.envelope.seq
    return before
