"""The thinking part of the box as plain calls, for one worker thread: fold inputs, seal what comes out, commit.

In:  frame batches and ticks.
Out: records in the journal, together with the state that a restart continues from.
Outcomes stay unsealed until their commit succeeds: while the journal cannot be written they wait here, and what must go
because there are too many leaves no hole in the chain, only a count in a `data_lost` event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from packbox.adapters import snapshot
from packbox.core import box
from packbox.core.frames import FrameBatch
from packbox.core.inspection import TEXT_MAX
from packbox.core.outcome import (
    Agreement,
    BoxHealth,
    CellsSeen,
    ConsentSaid,
    EventName,
    EventSeen,
    Introduced,
    LogLines,
    Outcome,
    ReadingsTaken,
    SessionClosed,
    SohComputed,
    UsageDue,
)
from packbox.core.recognised import Recognised
from packbox.core.record import StoreId
from packbox.core.signals import Refused
from packbox.core.stamp import NS_PER_MS, Stamp, Tick
from packbox.core.summary import seal_outcomes
from packbox.ports import Journal, Signer
from packwire.consent import UNDECIDED, is_within
from packwire.messages import EventKind, Kind

BAD_FRAMES: Final = (
    "bad_checksum",
    "wrong_length",
    "stuck_counter",
    "broken_answers",
    "cells_not_sum",
    "foreign_answers",
)
PENDING_MAX: Final = 2000  # most of a year of driving without a writable journal, some megabytes


# Rest stands for all three: what is agreed to is the same for them.
_KIND_OF: Final[Mapping[type[Outcome], Kind]] = {
    Introduced: Kind.HELLO,
    SessionClosed: Kind.REST,
    UsageDue: Kind.USAGE,
    SohComputed: Kind.SOH,
    ReadingsTaken: Kind.READING,
    CellsSeen: Kind.CELLS,
    EventSeen: Kind.EVENT,
    BoxHealth: Kind.HEALTH,
    ConsentSaid: Kind.CONSENT,
    LogLines: Kind.LOG,
}


class Bookmark(msgspec.Struct, frozen=True, array_like=True):
    """How far the source was folded, saved with the state: what a log or a simulated car goes on from."""

    source: str = ""
    frames: int = 0
    wall_ms: int | None = None
    finished: bool = False  # it ended, and what was open is closed


class Saved(msgspec.Struct, frozen=True, array_like=True):
    """What lies in the journal as state."""

    bookmark: Bookmark
    state: bytes
    recognised: Recognised | None = None  # which car, where nobody named it
    agreement: Agreement | None = None  # the newest that this store tells


def remembered(saved: bytes) -> tuple[Recognised | None, Refused]:
    """What a saved state knows of the car, and what was refused since the store began. Raises SnapshotError."""
    try:
        whole = msgspec.msgpack.decode(saved, type=Saved)
    except msgspec.DecodeError as problem:
        raise snapshot.SnapshotError(f"saved state: broken ({problem})") from problem
    return whole.recognised, snapshot.load(whole.state, box.BoxState).refused


class Mind:
    """First `open`, then `begin` and `meet`, then the rest in any order."""

    def __init__(self, journal: Journal, signer: Signer) -> None:
        self.bookmark = Bookmark()
        self.recognised: Recognised | None = None
        self.pending: list[Outcome] = []
        self.lost = 0  # outcomes that did not fit while the journal could not be written
        self.frames = 0  # folded since this start
        self.trouble: str | None = None  # why nothing could be saved at the start
        self._refused_before = Refused()
        self._known: box.BoxPlan | None = None
        self._state = box.start()
        self._is_new = True
        self._journal = journal
        self._signer = signer
        self._health: Callable[[Stamp], BoxHealth]
        self._begun_after: str | None = None
        self._purposes: frozenset[str] = UNDECIDED
        self._told: Agreement | None = None  # as this store has it
        self._to_tell: Agreement | None = None  # as soon as it is known whose battery this is
        self._folded = False  # since the newest commit

    def open(self) -> None:
        """Go on from the checkpoint. Raises JournalError, or SnapshotError for a state of newer software."""
        checkpoint = self._journal.open()
        self.trouble = checkpoint.trouble
        self._head = checkpoint.head
        self.outbox = self._journal.outbox()
        self._begun_after = checkpoint.begun_after
        if checkpoint.state is not None:
            saved = msgspec.msgpack.decode(checkpoint.state, type=Saved)
            self.bookmark, self.recognised, self._told = saved.bookmark, saved.recognised, saved.agreement
            self._state = snapshot.load(saved.state, box.BoxState)
            self._refused_before = self._state.refused
            self._is_new = False

    def meet(self, plan: box.BoxPlan, recognised: Recognised | None) -> None:
        """This is the car. `recognised`: how we know, kept with the state; None where a person named it."""
        self._known, self.recognised = plan, recognised
        if self._is_new:
            self._state = box.start(plan)

    def begin(self, source: str, health: Callable[[Stamp], BoxHealth]) -> None:
        """Inputs come from this source; one that is not last time's was not folded yet.

        `health`: what the box knows of itself at a moment of the source's timeline; asked when usage is said.
        """
        self._health = health
        if self.bookmark.source != source:
            self.bookmark = Bookmark(source)

    @property
    def frames_bad(self) -> int:
        """Since this start: checksum or length wrong, counter stuck, answer broken, cells that contradict the pack."""
        return sum(getattr(self.refused, reason) for reason in BAD_FRAMES)

    @property
    def frames_unknown(self) -> int:
        """Since this start: not in the profile."""
        return self.refused.unknown_frames

    @property
    def refused(self) -> Refused:
        """Since this start, by reason."""
        return self._state.refused - self._refused_before

    @property
    def state(self) -> box.BoxState:
        """Of the fold, a frozen value: may be looked at from any thread."""
        return self._state

    @property
    def _plan(self) -> box.BoxPlan:
        assert self._known is not None
        return self._known

    @property
    def unsaved(self) -> bool:
        """Whether a commit would change what lies on disk."""
        return self._folded or bool(self.pending)

    @property
    def newest_seq(self) -> int:
        """Of the records on disk."""
        return self._head.next_seq - 1

    @property
    def store(self) -> StoreId:
        return self._head.store

    def fold(self, items: Sequence[FrameBatch | Tick]) -> None:
        self._folded = self._folded or bool(items)
        for item in items:
            self._state, outcomes = box.advance(self._plan, self._state, item)
            self.bookmark = _moved(self.bookmark, item)
            if isinstance(item, FrameBatch):
                self.frames += len(item)
            self._keep(outcomes)

    def finish(self) -> None:
        """The source has ended: close what is open. Once: a log that is replayed again has nothing to add."""
        if self.bookmark.finished:
            return
        self._state, outcomes = box.finish(self._plan, self._state)
        self.bookmark = msgspec.structs.replace(self.bookmark, finished=True)
        self._folded = True
        self._keep(outcomes)

    def no_longer_fits(self, text: str) -> None:
        """Another car than the one that was recognised: an event, as soon as there is a history that it concerns."""
        state = self._state
        if state.line is not None and state.introduced is not None:
            self._keep([EventSeen(state.line.stamp(state.line.high_ns), EventName.WRONG_PROFILE, text=text[:TEXT_MAX])])

    @property
    def may_tell(self) -> bool:
        """Whether it is known whose battery this is: nothing is told before."""
        return self._state.line is not None and self._state.introduced is not None

    def now(self) -> Stamp:
        """On the source's timeline. Only when `may_tell`."""
        assert self._state.line is not None
        return self._state.line.stamp(self._state.line.high_ns)

    def tell(self, event: EventName, text: str) -> None:
        """Something about the box itself. Only when `may_tell`."""
        self._keep([EventSeen(self.now(), event, text=text)])

    def show_log(self, command: str, lines: Sequence[str]) -> None:
        """What a command asked for; left out where the owner has not agreed. Only when `may_tell`."""
        self._keep([LogLines(self.now(), command, tuple(lines))])

    def agree(self, agreement: Agreement) -> None:
        """What the owner agrees to from here on. Each store tells it once, before anything that it lets through."""
        self._purposes = frozenset(agreement.purposes)
        if agreement != self._told:
            self._to_tell = agreement
            if self.may_tell:
                self._tell_agreement(self.now())

    def commit(self) -> None:
        """Seal and save. Raises JournalError: then everything is still pending."""
        outcomes = [*self.pending, *self._told_losses()]
        head, rows = seal_outcomes(outcomes, self._head, self._signer.sign, self._signer.public_key)
        saved = Saved(self.bookmark, snapshot.dump(self._state), self.recognised, self._told)
        self._journal.commit(msgspec.msgpack.encode(saved), rows)
        self._head = head
        self.pending.clear()
        self.lost = 0
        self._folded = False
        self.outbox = self._journal.outbox()

    def _keep(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if self._is_agreed(outcome):
                self.pending.append(outcome)
            if isinstance(outcome, Introduced):
                self._after_hello(outcome.stamp)
            if isinstance(outcome, UsageDue):
                self.pending.append(self._health(outcome.stamp))
        while len(self.pending) > PENDING_MAX:
            self.pending.pop(_least_missed(self.pending))
            self.lost += 1

    def _after_hello(self, stamp: Stamp) -> None:
        """The book knows our key only from there on."""
        if self._begun_after is not None:
            self.pending.append(EventSeen(stamp, EventName.STORE_BEGUN, text=self._begun_after))
            self._begun_after = None
        self._tell_agreement(stamp)

    def _tell_agreement(self, stamp: Stamp) -> None:
        if self._to_tell is not None:
            self.pending.append(ConsentSaid(stamp, self._to_tell))
            self._told, self._to_tell = self._to_tell, None

    def _is_agreed(self, outcome: Outcome) -> bool:
        """What the owner did not agree to is never sealed, so it can never leave."""
        event = EventKind(outcome.event.value) if isinstance(outcome, EventSeen) else None
        return is_within(self._purposes, _KIND_OF[type(outcome)], event)

    def _told_losses(self) -> list[EventSeen]:
        if not self.lost:
            return []
        text = f"{self.lost} summaries did not fit into memory while the journal could not be written"
        return [EventSeen(self.pending[-1].stamp, EventName.DATA_LOST, text=text)]


def _least_missed(outcomes: Sequence[Outcome]) -> int:
    """The oldest that a later one of its kind makes good; only then a session, and never who we are."""
    whole = (Introduced, ConsentSaid)
    for dear in ((SessionClosed, *whole), whole):
        found = next((k for k, outcome in enumerate(outcomes) if not isinstance(outcome, dear)), None)
        if found is not None:
            return found
    return 0


def _moved(bookmark: Bookmark, item: FrameBatch | Tick) -> Bookmark:
    if isinstance(item, Tick):
        return Bookmark(bookmark.source, bookmark.frames, item.stamp.wall_ms)
    wall_ms = bookmark.wall_ms
    if len(item) and item.wall_offset_ms is not None:
        wall_ms = int(item.mono_ns[-1]) // NS_PER_MS + item.wall_offset_ms
    return Bookmark(bookmark.source, bookmark.frames + len(item), wall_ms)
