"""The records of one pack in one store: a store lives on when the car gets another pack, its counts begin anew.

In:  the records of one store in order. Out: `Life`, one per pack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from packwire.messages import Event, EventKind, Session
from packwire.seal import Record


@dataclass(frozen=True, slots=True)
class Life:
    records: tuple[Record, ...]
    whole_until: int  # up to this record (seq) every record since the life began is there

    @property
    def store(self) -> str:
        return self.records[0].envelope.store

    def whole(self, record: Record) -> bool:
        return record.envelope.seq <= self.whole_until


def lives(records: Sequence[Record]) -> Iterator[Life]:
    """One store's records, cut where the pack was changed; that event still counts for the pack that went."""
    starts = [0]
    starts += [k + 1 for k, r in enumerate(records) if _changes_pack(r)]
    for low, high in pairwise([*starts, len(records)]):
        if high > low:
            # A record lost between two lives may have been the change: then a later life could not be told apart.
            before = records[low - 1].envelope.seq if low else 0
            yield Life(tuple(records[low:high]), _whole_until(records[low:high], before))


def _changes_pack(record: Record) -> bool:
    return isinstance(record.message, Event) and record.message.event is EventKind.BATTERY_CHANGED


def _whole_until(records: Sequence[Record], before: int) -> int:
    for record in records:
        if record.envelope.seq != before + 1:
            break
        before = record.envelope.seq
    return before


def sessions_before(life: Life, seq: int) -> tuple[Session, ...]:
    """The sessions that had ended when record `seq` was made."""
    return tuple(r.message for r in life.records if r.envelope.seq < seq and isinstance(r.message, Session))
