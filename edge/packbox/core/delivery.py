"""Which records to send now, when to send again, and what an ack from the book sets free.

In:  the oldest waiting rows, a time that never runs back (seconds), a random number, acks as bytes.
Out: rows to hand to the broker; acks to release by; when to look again; counts of everything that went another way.
The window is simply the `WINDOW` oldest waiting rows. A broker's PUBACK never sets a row free: brokers lose what they
acknowledged (facts/transport.md §1). Refuses acks of another store and acks beyond what this store ever wrote. A book
that tells what it holds last (`head`) shows when its history and ours have parted: then nothing of ours would ever be
believed again in this store.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from packbox.core.record import SealedRow, StoreId
from packwire.ack import Ack, decode_ack
from packwire.errors import WireError

WINDOW: Final = 20  # paho's and mosquitto's own limit of unacknowledged QoS 1 messages; more would queue unseen
AGAIN_MIN_S: Final = 1.0  # the book acks within 60 ms of receipt, a mobile link adds up to a second
AGAIN_MAX_S: Final = 300.0  # a book that is away for hours is found again within five minutes
PROBE_AFTER_SENDS: Final = 3  # then nobody seems to listen: one record asks, the other nineteen save their bytes
TWO_HISTORIES: Final = "an old copy of the journal, or two boxes with one"
WARN_AFTER_SENDS: Final = 5  # about half a minute: longer than any restart of a collector


def backoff_s(tries: int, jitter: float) -> float:
    """Wait before trying again: full jitter below a ceiling that doubles from 4 s to AGAIN_MAX_S, never below 1 s.

    `tries`: how often it was tried, from 1. `jitter`: evenly within 0..1, so that a fleet does not return as one.
    """
    assert tries >= 1
    assert 0.0 <= jitter <= 1.0
    doublings = min(tries + 1, 60)  # beyond that a float would overflow after a century of trying
    ceiling = min(AGAIN_MAX_S, AGAIN_MIN_S * 2.0**doublings)
    return AGAIN_MIN_S + jitter * (ceiling - AGAIN_MIN_S)


@dataclass(frozen=True, slots=True)
class Flight:
    """One row on its way."""

    seq: int
    sends: int
    again_s: float  # when to send it again without an ack


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    published: int = 0  # rows handed to the broker, repeats included
    published_again: int = 0  # of these, repeats for want of an ack
    acked: int = 0  # rows set free
    refused_publishes: int = 0  # the broker said no: not authorised, quota
    bad_acks: int = 0  # unreadable, or for records that this store never wrote
    stray_acks: int = 0  # of another store
    taken_back: int = 0  # rows that the book had held and lost


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where delivery of one store's records stands. Lives as long as the process: after a restart all rows go again."""

    store: StoreId
    flights: tuple[Flight, ...] = ()  # rising seq
    counts: DeliveryCounts = field(default_factory=DeliveryCounts)

    @property
    def unanswered_sends(self) -> int:
        """How often the oldest row went out without an ack."""
        return self.flights[0].sends if self.flights else 0

    @property
    def again_s(self) -> float | None:
        """When the next row is due again; None while nothing is on its way."""
        return min((flight.again_s for flight in self.flights[: self.reach]), default=None)

    @property
    def reach(self) -> int:
        """How many of the oldest waiting rows may be on their way."""
        return 1 if self.unanswered_sends >= PROBE_AFTER_SENDS else WINDOW


def send_now(
    state: Delivery, waiting: Sequence[SealedRow], now_s: float, jitter: float
) -> tuple[Delivery, tuple[SealedRow, ...]]:
    """The rows to hand to the broker now, in order. `waiting`: the oldest WINDOW rows that the book does not hold."""
    assert len(waiting) <= WINDOW
    known = {flight.seq: flight for flight in state.flights}
    kept = replace(state, flights=tuple(known[row.seq] for row in waiting if row.seq in known))
    flights: list[Flight] = []
    due: list[SealedRow] = []
    again = 0
    for place, row in enumerate(waiting):
        flight = known.get(row.seq)
        if place >= kept.reach or (flight is not None and flight.again_s > now_s):
            flights.extend([flight] if flight is not None else [])
            continue
        sends = 1 + (flight.sends if flight is not None else 0)
        flights.append(Flight(row.seq, sends, now_s + backoff_s(sends, jitter)))
        due.append(row)
        again += flight is not None
    counts = replace(
        state.counts,
        published=state.counts.published + len(due),
        published_again=state.counts.published_again + again,
    )
    return replace(state, flights=tuple(flights), counts=counts), tuple(due)


def link_lost(state: Delivery) -> Delivery:
    """What was on its way may be gone: all of it is due as soon as there is a link again."""
    return replace(state, flights=tuple(replace(flight, again_s=-math.inf) for flight in state.flights))


def publish_refused(state: Delivery) -> Delivery:
    """The broker took the row's bytes and said no. The row waits on."""
    return replace(state, counts=replace(state.counts, refused_publishes=state.counts.refused_publishes + 1))


@dataclass(frozen=True, slots=True)
class AckRefused:
    """Why an ack sets nothing free."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forked:
    """The book holds records of this store that are not the journal's: nothing may follow in it."""

    reason: str


def take_ack(state: Delivery, data: bytes, newest_seq: int) -> tuple[Delivery, Ack | AckRefused | Forked]:
    """What an ack sets free, if it is one for us. `newest_seq`: the highest that this store ever wrote.

    Only a book that tells its head is believed to hold more than we wrote: others may have counted wrong.
    """
    counts = state.counts
    try:
        ack = decode_ack(data)
    except WireError as problem:
        return replace(state, counts=replace(counts, bad_acks=counts.bad_acks + 1)), AckRefused(str(problem))
    if str(ack.store) != state.store:
        stray = replace(state, counts=replace(counts, stray_acks=counts.stray_acks + 1))
        return stray, AckRefused(f"ack of store {ack.store}, ours is {state.store}")
    top = ack.ranges[-1][1] if ack.ranges else ack.upto
    if top > newest_seq:
        refused = replace(state, counts=replace(counts, bad_acks=counts.bad_acks + 1))
        reason = f"ack up to record {top}, this store wrote {newest_seq}: {TWO_HISTORIES}"
        return refused, AckRefused(reason) if ack.head is None else Forked(reason)
    left = tuple(flight for flight in state.flights if not ack.holds(flight.seq))
    if len(left) < len(state.flights) and state.unanswered_sends >= PROBE_AFTER_SENDS:
        left = ()  # somebody listens again: the whole window goes at once
    return replace(state, flights=left), ack


def compare_head(ack: Ack, ours: bytes | None) -> Forked | None:
    """`ours`: digest of our record `ack.upto`, None when we cannot tell. Two histories differ there or agree so far."""
    if ack.head is None or ours is None or ack.head == ours:
        return None
    return Forked(f"record {ack.upto} here is not the one that the book holds: {TWO_HISTORIES}")


def rows_taken_back(state: Delivery, rows: int) -> Delivery:
    """The journal put that many rows back into the outbox."""
    return replace(state, counts=replace(state.counts, taken_back=state.counts.taken_back + rows))


def rows_freed(state: Delivery, rows: int) -> Delivery:
    """The journal took that many rows out of the outbox."""
    return replace(state, counts=replace(state.counts, acked=state.counts.acked + rows))
