"""Carry records to the book for as long as the box runs: connect, send what waits, take acks, come back after trouble.

In:  the journal's outbox, a way to open an uplink, a wake-up when records were committed, a health snapshot.
Out: records at the broker, released rows in the journal, a heartbeat; a `LinkReport` for health and doctor.
Losing the link never stops the logging: no trouble of link or outbox leaves `carry`, it waits and tries again. Only
StoreEndedError leaves it: the book holds another history under this store's name, and the next start begins a new one.
Waits use the event loop's time, not the box's clock: a network keeps its pace also when a demo's clock runs fast.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Never, Protocol, TypeVar

from packbox.core import delivery
from packbox.core.record import SealedRow, StoreId
from packbox.ports import Journal, JournalError, LinkDownError, RefusedError, StoreEndedError, Uplink
from packwire.ack import Ack
from packwire.messages import Health
from packwire.presence import HEARTBEAT_EVERY_S, HEARTBEAT_QUIET_S, STANDING_EVERY_S, encode_heartbeat

HAND_OVER_MAX: Final = 1000  # records of an ended store; the book keeps so many per box in quarantine
STEADY_AFTER_S: Final = 60.0  # a link that held so long was good: the next loss is retried quickly again

log = logging.getLogger(__name__)

T = TypeVar("T")


class Offload(Protocol):
    """Runs blocking work in the one worker thread that owns the journal."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


@dataclass(slots=True)
class LinkReport:
    """How delivery goes. `carry` writes it, health and doctor read it."""

    delivery: delivery.Delivery
    connected: bool = False
    connections: int = 0
    trouble: str = ""  # why there is no link now, empty while there is one
    earlier_wire_bytes: int = 0  # of connections that are over
    uplink: Uplink | None = None  # the connection there is

    @property
    def wire_bytes(self) -> int:
        """What went over the network both ways, with MQTT and TLS."""
        return self.earlier_wire_bytes + (self.uplink.wire_bytes if self.uplink is not None else 0)

    acked_s: float | None = None  # loop time of the newest ack of this store

    @property
    def unheard(self) -> bool:
        """Records go out again and again without an ack: denied topic, or no collector."""
        return self.delivery.unanswered_sends >= delivery.WARN_AFTER_SENDS


def new_report(store: StoreId) -> LinkReport:
    return LinkReport(delivery.Delivery(store))


async def carry(
    journal: Journal,
    open_uplink: Callable[[], AbstractAsyncContextManager[Uplink]],
    report: LinkReport,
    *,
    newest_seq: Callable[[], int],
    health: Callable[[], Health],
    committed: asyncio.Event,
    offload: Offload,
    jitter: Callable[[], float] = random.random,
    beat_every_s: float = HEARTBEAT_EVERY_S,
) -> Never:
    """Runs until cancelled. One call serves one store: a new store gets a new report and a new call.

    `newest_seq`: the highest number this store wrote, also before this start. `committed`: set by whoever committed
    records; cleared here. `jitter`: a number within 0..1 for the back-off.
    """
    await _Carrier(journal, report, newest_seq, health, committed, offload, jitter, beat_every_s).run(open_uplink)


@dataclass(slots=True)
class _Carrier:
    journal: Journal
    report: LinkReport
    newest_seq: Callable[[], int]
    health: Callable[[], Health]
    committed: asyncio.Event
    offload: Offload
    jitter: Callable[[], float]
    beat_every_s: float
    tries: int = 0  # connections in a row that came to nothing
    warned_unheard: bool = False
    warned_refused: bool = False

    async def run(self, open_uplink: Callable[[], AbstractAsyncContextManager[Uplink]]) -> Never:
        loop = asyncio.get_running_loop()
        gone_s = loop.time()
        while True:
            up_s = math.inf
            try:
                async with open_uplink() as uplink:
                    up_s = loop.time()
                    self.report.uplink = uplink
                    self._came_up(up_s - gone_s)
                    await self._serve(uplink)
            except* (LinkDownError, JournalError) as trouble:
                if self.report.connected or not self.report.trouble:
                    gone_s = loop.time()
                self._went_down("; ".join(sorted(set(_reasons(trouble)))))
            finally:
                self.report.connected = False
                self.report.earlier_wire_bytes = self.report.wire_bytes
                self.report.uplink = None
            self.tries = 1 if loop.time() - up_s >= STEADY_AFTER_S else self.tries + 1
            await asyncio.sleep(delivery.backoff_s(self.tries, self.jitter()))

    def _came_up(self, gone_for_s: float) -> None:
        log.info("link to the broker is up", extra={"GONE_FOR_S": round(gone_for_s, 1)})
        self.report.connected = True
        self.report.connections += 1
        self.report.trouble = ""

    def _went_down(self, reason: str) -> None:
        if not self.report.trouble:  # once, not at every try
            log.warning("no link to the broker: records wait in the outbox", extra={"REASON": reason})
        self.report.trouble = reason
        self.report.delivery = delivery.link_lost(self.report.delivery)

    async def _serve(self, uplink: Uplink) -> None:
        """Ends only by trouble: the first task that meets it takes the others along."""
        async with asyncio.TaskGroup() as link:
            link.create_task(self._take_acks(uplink), name="carry: acks")
            link.create_task(self._present(uplink), name="carry: standing")
            link.create_task(self._send_records(uplink), name="carry: records")
            link.create_task(self._beat(uplink), name="carry: heartbeat")

    async def _take_acks(self, uplink: Uplink) -> None:
        async for data in uplink.acks():
            self.report.delivery, answer = delivery.take_ack(self.report.delivery, data, self.newest_seq())
            if isinstance(answer, delivery.AckRefused):
                log.warning("an ack was refused", extra={"REASON": answer.reason})
                continue
            if isinstance(answer, Ack) and answer.head is not None:
                ours = await self.offload(partial(self.journal.digest_of, answer.upto))
                answer = delivery.compare_head(answer, ours) or answer
            if isinstance(answer, delivery.Forked):
                await self._end_store(uplink, answer.reason)
            else:
                self.report.acked_s = asyncio.get_running_loop().time()
                await self._take_back(answer)
                await self._release(answer)

    async def _end_store(self, uplink: Uplink, reason: str) -> None:
        """The only trouble of the link that ends the box: whatever it recorded from here on nobody would believe.

        Acks are not signed. Somebody who ends store after store wants to fill the card: then the box goes on recording.
        """
        if not await self.offload(partial(self.journal.end_store, reason)):
            log.error("an ack would end one store too many: recording goes on", extra={"REASON": reason})
            return
        await self._hand_over(uplink)
        raise StoreEndedError(f"{reason}; a new store begins at the next start")

    async def _hand_over(self, uplink: Uplink) -> None:
        """What nobody else holds goes to the book's quarantine, once: a person can judge what he can see."""
        after_seq = 0
        for _ in range(HAND_OVER_MAX // delivery.WINDOW):
            rows = await self.offload(partial(self.journal.waiting, after_seq, delivery.WINDOW))
            if not rows:
                return
            await self._publish_all(uplink, rows)
            after_seq = rows[-1].seq

    async def _take_back(self, ack: Ack) -> None:
        if ack.resend_from is None:
            return
        rows = await self.offload(partial(self.journal.take_back, ack.resend_from, ack.upto, ack.ranges))
        if rows:
            log.warning("the book asks for records again", extra={"FROM_SEQ": ack.resend_from, "RECORDS": rows})
            self.report.delivery = delivery.rows_taken_back(self.report.delivery, rows)
            self.committed.set()

    async def _release(self, ack: Ack) -> None:
        rows = await self.offload(partial(self.journal.release, ack.upto, ack.ranges))
        if not rows:
            return
        self.report.delivery = delivery.rows_freed(self.report.delivery, rows)
        self.tries = 0
        if self.warned_unheard:
            log.info("the book answers again")
        self.warned_unheard = self.warned_refused = False
        self.committed.set()  # there is room in the window

    async def _send_records(self, uplink: Uplink) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.committed.clear()
            waiting = await self.offload(partial(self.journal.waiting, 0, delivery.WINDOW))
            self.report.delivery, due = delivery.send_now(self.report.delivery, waiting, loop.time(), self.jitter())
            self._warn_if_unheard()
            await self._publish_all(uplink, due)
            try:
                async with asyncio.timeout_at(self.report.delivery.again_s):
                    await self.committed.wait()
            except TimeoutError:
                continue  # something is due again

    async def _publish_all(self, uplink: Uplink, rows: Sequence[SealedRow]) -> None:
        """Together, so that a slow link costs one round trip; started in order, so that they travel in order."""
        async with asyncio.TaskGroup() as burst:
            for row in rows:
                burst.create_task(self._publish(uplink, row), name=f"carry: record {row.seq}")

    async def _publish(self, uplink: Uplink, row: SealedRow) -> None:
        try:
            await uplink.publish(row.sealed)
        except RefusedError as problem:
            self.report.delivery = delivery.publish_refused(self.report.delivery)
            if not self.warned_refused:
                log.warning("the broker refuses records: they wait in the outbox", extra={"REASON": str(problem)})
            self.warned_refused = True

    def _warn_if_unheard(self) -> None:
        if self.report.unheard and not self.warned_unheard:
            log.warning(
                "records go out without an ack from the book: denied topic, or no collector?",
                extra={"SENDS": self.report.delivery.unanswered_sends},
            )
            self.warned_unheard = True

    async def _present(self, uplink: Uplink) -> None:
        """A book restored from a backup does not know what it lost, and a parked car may have no news for days."""
        while True:
            waiting = await self.offload(partial(self.journal.waiting, 0, 1))
            held = waiting[0].seq - 1 if waiting else self.newest_seq()
            with suppress(RefusedError):  # nothing hangs on it: the next record tells the book too
                await uplink.present(self.report.delivery.store, held)
            await asyncio.sleep(STANDING_EVERY_S)

    async def _beat(self, uplink: Uplink) -> None:
        """Often while there is something new to say, else now and then."""
        now_s = asyncio.get_running_loop().time
        said: tuple[int, str | None] | None = None
        said_s = 0.0
        while True:
            health = self.health()
            news = (health.frames, health.text)
            if news != said or now_s() - said_s >= HEARTBEAT_QUIET_S:
                heartbeat = encode_heartbeat(health)
                await uplink.beat(heartbeat)
                said, said_s = news, now_s()
            await asyncio.sleep(self.beat_every_s)


def _reasons(trouble: BaseExceptionGroup[Exception]) -> Iterator[str]:
    """What the innermost exceptions say; groups nest as task groups do."""
    for problem in trouble.exceptions:
        if isinstance(problem, BaseExceptionGroup):
            yield from _reasons(problem)
        else:
            yield str(problem)
