"""The collector: records from the broker into the ledger, acknowledgements back to the boxes.

In:  MQTT messages of all boxes.
Out: committed batches; then PUBACK; then the application ack (retained), by which alone a box forgets a record.
The order never changes: receive, verify, one transaction, COMMIT, PUBACK, ack. While the database is away nothing
is acknowledged and reading stops when the inbox is full; while the broker is away we try again for ever. Whatever
cannot be believed goes to quarantine in the same transaction and is PUBACKed, so that it stands before nobody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias, TypeVar

from packbook.adapters.mqtt import CONNECT_WAIT_MAX_S, BrokerAddress, Link, TlsFiles, uninterrupted
from packbook.clock import now_ms
from packbook.core.intake import PARTS, Arrival, Reading
from packbook.ports.taking import Holding, Incoming, Ledger, Observer, Source, Taken, Unobserved
from packbook.ports.trouble import BrokerError, StoreError
from packwire.ack import Ack, ack_of, encode_ack
from packwire.ids import BoxId, StoreId
from packwire.tls import explain, visit
from packwire.topics import Leaf, everything_up, topic

INBOX_MAX: Final = 5000  # messages; reading stops above, the broker keeps the rest
BATCHES_AHEAD: Final = 1  # that wait beside the one being kept and the newest
TELLING_RELAPSES: Final = 4
QUIET_S: Final = 2.0  # nothing came for so long after we unsubscribed: the broker has nothing more for us
STABLE_AFTER_S: Final = 10.0  # what breaks sooner has not been back
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 5.0  # broker and database are ours and few ask them: a fleet must not wait for our patience

log = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")
Batch: TypeAlias = Sequence[tuple[Incoming, Arrival]]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    records_max: int = 500  # 100..2000 makes little difference (facts/transport.md §7)
    wait_max_s: float = 0.05  # after the first message of a batch


class Collector:
    """`run` it for as long as records shall come in. `connected` is set while subscribed."""

    def __init__(
        self,
        ledger: Ledger,
        address: BrokerAddress,
        limits: BatchLimits,
        share: str | None = None,
        retry_max_s: float = RETRY_MAX_S,
        observer: Observer | None = None,
        source: Source | None = None,
    ) -> None:
        """`source`: where records come from instead of the broker, which then only takes our acks."""
        self._ledger = ledger
        self._address = address
        self._name = address.client_id
        self._limits = limits
        self._source = source
        self._subscriptions = everything_up(share) if source is None else ()
        self._retry_max_s = retry_max_s
        self._observer = observer or Unobserved()
        self._inbox: deque[tuple[Incoming, Arrival]] = deque()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._link: Link | None = None
        self._owed: dict[tuple[str, str], Holding] = {}  # acks that the broker has not taken yet
        self._waiting: asyncio.Queue[tuple[Batch, asyncio.Task[Sequence[Reading]]]] = asyncio.Queue(BATCHES_AHEAD)
        self._database = Outage("database", retry_max_s)
        self._heard = 0  # messages ever taken
        self._open = 0  # messages that were taken and not committed yet
        self._leaving = False
        self.connected = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. What is being committed then is committed."""
        async with asyncio.TaskGroup() as collector:
            collector.create_task(self._stay_connected(), name="collector link")
            if self._source is not None:
                collector.create_task(self._source.run(self._take), name="collector source")
            collector.create_task(self._read(), name="collector reading")
            collector.create_task(self._keep(), name="collector ledger")

    async def drain(self) -> None:
        """Take leave for good: the broker gives what is new to others, and what it gave us is committed when this
        returns. `run` is to be cancelled then; the broker forgets us."""
        await self.connected.wait()
        self._leaving = True
        if self._link is not None:
            self._link.unsubscribe(self._subscriptions)
        heard = -1
        while self._open or heard != self._heard:
            heard = self._heard
            await asyncio.sleep(QUIET_S)

    @property
    def up(self) -> bool:
        """Records can come in, and acks go out."""
        return self.connected.is_set() and (self._source is None or self._source.connected)

    # --- the broker ---------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        outage = Outage("broker", self._retry_max_s)
        while True:
            if outage.relapses == TELLING_RELAPSES:  # mosquitto 2.0 does not say why it throws us out
                log.warning("the broker keeps throwing us out: does another client use the name %r?", self._name)
            link = self._link = Link(self._address, self._take)
            try:
                await link.open(() if self._leaving else self._subscriptions)
                outage.over()
                self.connected.set()
                for holding in list(self._owed.values()):
                    self._publish(link, holding)
                raise BrokerError(f"broker {self._address.name}: {await link.lost}")
            except BrokerError as problem:
                outage.go_on(problem)
            finally:
                self.connected.clear()
                self._link = None
                await (link.close(forget=True) if self._leaving else link.close())
            await outage.wait()

    def _take(self, message: Incoming) -> None:
        """Called by the link, or the source, for each message."""
        if len(self._inbox) >= INBOX_MAX:
            message.pause()
            if message.qos == 0:  # a heartbeat: the next one says the same
                return
        self._inbox.append((message, Arrival(message.topic, message.payload, now_ms())))
        self._open += 1
        self._heard += 1
        self._arrived.set()
        if len(self._inbox) >= self._limits.records_max:
            self._full.set()

    # --- the ledger ---------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Ahead of the database, in the order of arrival: asking for keys, checking signatures and decoding wait for
        different things, so the next batch begins before the one before it has been read."""
        async with asyncio.TaskGroup() as ahead:
            while True:
                batch = await self._batch()
                asked = self._through(partial(self._ledger.read, [arrival for _, arrival in batch]))
                await self._waiting.put((batch, ahead.create_task(asked, name="collector batch")))

    async def _keep(self) -> None:
        while True:
            batch, reading = await self._waiting.get()
            taken = await self._through(partial(self._ledger.keep, await reading))
            for message, _ in batch:
                message.acknowledge()
            self._open -= len(batch)
            for holding in taken.holdings:
                self._owed[holding.box, holding.store] = holding
                if self._link is not None and self.connected.is_set():
                    self._publish(self._link, holding)
            self._observer.committed([arrival for _, arrival in batch], taken)
            _report(taken)

    async def _batch(self) -> list[tuple[Incoming, Arrival]]:
        """What came, at once when many, after a moment when few."""
        await self._arrived.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.wait_max_s):
                await self._full.wait()
        count = min(len(self._inbox), self._limits.records_max)
        batch = [self._inbox.popleft() for _ in range(count)]
        if not self._inbox:
            self._arrived.clear()
        if len(self._inbox) < self._limits.records_max:
            self._full.clear()
        if self._link is not None and len(self._inbox) < INBOX_MAX:
            self._link.resume()
        if self._source is not None and len(self._inbox) < INBOX_MAX:
            self._source.resume()
        return batch

    async def _through(self, ask: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Ask the ledger until it answers. What it has begun comes to its end, also when we are cancelled."""
        while True:
            try:
                answer = await uninterrupted(ask())
            except StoreError as problem:
                self._database.go_on(problem)
                await self._database.wait()
            else:
                self._database.over()
                return answer

    def _publish(self, link: Link, holding: Holding) -> None:
        """The application ack. Owed until the broker has taken it; a lost one is repeated with the next duplicate."""
        key = (holding.box, holding.store)

        def taken() -> None:
            if self._owed.get(key) is holding:
                del self._owed[key]

        store = StoreId(holding.store)
        ack = Ack(store, holding.upto, ack_of(store, holding.beyond).ranges, holding.head, holding.resend_from)
        link.publish(topic(BoxId(holding.box), Leaf.ACK), encode_ack(ack), taken)


def _report(taken: Taken) -> None:
    if taken.quarantined:
        level = logging.ERROR if PARTS & taken.quarantined.keys() else logging.WARNING
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(taken.quarantined.items()))
        log.log(level, "messages in quarantine: %s; 'packbook quarantine list' shows them", counts)
    if taken.unready:
        log.warning("%d records of boxes whose key is not on file: not kept, the boxes keep them", taken.unready)
    log.debug("kept %d records, %d were here already", taken.accepted, taken.duplicates)


class Outage:
    """Something outside is away: said once when it goes, once when it is back, tried again with growing pauses."""

    def __init__(self, what: str, retry_max_s: float) -> None:
        self._what = what
        self._retry_max_s = retry_max_s
        self._tries = 0
        self._away_since_s: float | None = None
        self._back_since_s = 0.0
        self.relapses = 0  # how often in a row it came back and went away at once
        self._dice = random.SystemRandom()

    def go_on(self, problem: Exception) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._away_since_s is None:
            relapse = self._tries > 0 and now_s - self._back_since_s < STABLE_AFTER_S
            self.relapses = self.relapses + 1 if relapse else 0
            self._tries = self._tries if relapse else 0
            self._away_since_s = now_s
            log.warning("%s; trying again until it answers, nothing is lost meanwhile", problem)
        self._tries += 1

    async def wait(self) -> None:
        """Full jitter: workers that lost the same broker do not come back as one."""
        longest_s = min(self._retry_max_s, RETRY_FIRST_S * 2 ** min(self._tries - 1, 16))
        await asyncio.sleep(self._dice.uniform(0, longest_s))

    def over(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._away_since_s is not None:
            log.info("%s is back after %.0f s", self._what, now_s - self._away_since_s)
        self._away_since_s = None
        self._back_since_s = now_s


async def probe(address: BrokerAddress) -> None:
    """Connect once and leave. Raises BrokerError with the reason.

    With a certificate only as far as trust on both sides: the certificate's name is that of the running collector, and
    logging in under it would throw that one out.
    """
    if address.tls is not None and address.tls.cert is not None:
        await _knock(address, address.tls)
        return
    link = Link(address, lambda _message: None)
    try:
        await link.open(())
    finally:
        await link.close()


async def forget(address: BrokerAddress) -> None:
    """End the session that the broker keeps under this name, for a collector that does so no more. Raises BrokerError.

    Messages that it holds are lost with it: no book acknowledged them, so boxes send them again.
    """
    link = Link(replace(address, session_expiry_s=0), lambda _message: None)
    try:
        await link.open(())
    finally:
        await link.close()


async def _knock(address: BrokerAddress, files: TlsFiles) -> None:
    try:
        context = await asyncio.to_thread(files.context)
        await asyncio.to_thread(visit, address.host, address.port, context, CONNECT_WAIT_MAX_S)
    except OSError as problem:
        trouble = explain(problem)
        said = problem if trouble is None else f"{trouble.text} ({problem}); {trouble.do}"
        raise BrokerError(f"broker {address.name}: {said}") from problem
