"""Records from a topic of the Kafka protocol, in place of a subscription at the broker (docs/scale.md).

In:  a topic that a bridge of the MQTT cluster fills: key = the MQTT topic, value = the payload.
Out: the same messages as from MQTT, in the order of each partition. An offset is committed only when everything before
it in its partition is in the ledger; what was not comes again, to us or to another collector of the group.
Acks do not go this way: a box hears from its broker. Only this module imports aiokafka (extra `kafka`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from aiokafka import (  # type: ignore[import-untyped]  # it ships no types
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError  # type: ignore[import-untyped]  # as above
from aiokafka.helpers import create_ssl_context  # type: ignore[import-untyped]  # as above

from packbook.adapters.collector import Outage
from packbook.ports.taking import Incoming
from packbook.ports.trouble import BrokerError

RETRY_MAX_S: Final = 30.0
FETCH_MAX: Final = 500  # records at once: the collector's own inbox is the buffer
POLL_WAIT_MS: Final = 500
COMMIT_EVERY_S: Final = 1.0  # what is committed late comes again after a crash, and is known then
LOOK_EVERY_S: Final = 15.0  # nothing came: is the cluster there?
ANSWER_WAIT_MAX_S: Final = 10.0
UNPOLLED_MAX_MS: Final = 900_000  # a database may be away for so long before the group takes our partitions away

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    servers: tuple[str, ...]
    name: str
    group: str
    security: Literal["plaintext", "ssl", "sasl_ssl"] = "ssl"
    ca_file: Path | None = None  # absent: what the system trusts
    cert_file: Path | None = None
    key_file: Path | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    user: str | None = None
    password: str | None = None

    def options(self) -> dict[str, Any]:
        """Raises BrokerError when a certificate file cannot be used."""
        told: dict[str, Any] = {"security_protocol": self.security.upper()}
        if self.security != "plaintext":
            try:
                told["ssl_context"] = create_ssl_context(
                    cafile=self.ca_file, certfile=self.cert_file, keyfile=self.key_file
                )
            except OSError as problem:
                raise BrokerError(f"kafka_ca_file, kafka_cert_file or kafka_key_file: {problem}") from problem
        if self.security == "sasl_ssl":
            told |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return told


@dataclass(frozen=True, slots=True)
class KafkaMessage:
    """One record of the topic, as a message of a box. Fills `ports.Incoming`."""

    source: KafkaSource
    topic: str
    payload: bytes
    partition: TopicPartition
    offset: int
    assignment: int
    qos: int = 1

    def acknowledge(self) -> None:
        self.source.done(self)

    def pause(self) -> None:
        self.source.pause()


class KafkaSource:
    """Fills `ports.Source`."""

    def __init__(self, topic: KafkaTopic, retry_max_s: float = RETRY_MAX_S) -> None:
        self._topic = topic
        self._retry_max_s = retry_max_s
        self._room = asyncio.Event()
        self._room.set()
        self._assignment = 0  # counts: what was handed over under an older one is somebody else's by now
        self._done: dict[TopicPartition, int] = {}  # offsets to commit: one past the last in the ledger
        self.connected = False

    async def run(self, take: Callable[[Incoming], None]) -> None:
        outage = Outage("kafka", self._retry_max_s)
        while True:
            try:
                await self._consume(take, outage)
            except (KafkaError, OSError, TimeoutError) as problem:
                what = f"topic {self._topic.name} at {', '.join(self._topic.servers)}"
                outage.go_on(BrokerError(f"{what}: {type(problem).__name__}"))
            await outage.wait()

    def pause(self) -> None:
        self._room.clear()

    def resume(self) -> None:
        self._room.set()

    def done(self, message: KafkaMessage) -> None:
        """The collector acknowledges in the order in which it took, so nothing before this is open."""
        if message.assignment == self._assignment:
            self._done[message.partition] = message.offset + 1

    async def _consume(self, take: Callable[[Incoming], None], outage: Outage) -> None:
        """Until the cluster is away. Raises KafkaError."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=list(self._topic.servers),
            group_id=self._topic.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_interval_ms=UNPOLLED_MAX_MS,
            **self._topic.options(),
        )
        consumer.subscribe([self._topic.name], listener=_Rebalance(self, consumer))
        try:
            async with asyncio.timeout(ANSWER_WAIT_MAX_S):
                await consumer.start()
            await self._fetch(consumer, take, outage)
        finally:
            self.connected = False
            self._forget()
            await consumer.stop()

    async def _fetch(self, consumer: AIOKafkaConsumer, take: Callable[[Incoming], None], outage: Outage) -> None:
        loop = asyncio.get_running_loop()
        looked_s = committed_s = -LOOK_EVERY_S
        while True:
            found: Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]] = {}
            if await self._has_room():
                found = await consumer.getmany(timeout_ms=POLL_WAIT_MS, max_records=FETCH_MAX)
            for partition, records in found.items():
                for record in records:
                    take(self._message(partition, record))
            if found:
                looked_s = loop.time()
            elif loop.time() - looked_s >= LOOK_EVERY_S:
                async with asyncio.timeout(ANSWER_WAIT_MAX_S):
                    await consumer.topics()  # the library waits in silence for a cluster that is away
                looked_s = loop.time()
            if loop.time() - committed_s >= COMMIT_EVERY_S:
                await self.commit(consumer, self._done.keys())
                committed_s = loop.time()
            self.connected = True
            outage.over()

    async def _has_room(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_EVERY_S):
                await self._room.wait()
        return self._room.is_set()

    def _message(self, partition: TopicPartition, record: ConsumerRecord[bytes, bytes]) -> KafkaMessage:
        """What has no key or no value came from no bridge of ours: quarantine shows it."""
        topic = (record.key or b"").decode("utf-8", "backslashreplace")
        return KafkaMessage(self, topic, record.value or b"", partition, record.offset, self._assignment)

    async def commit(self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        """Offsets of what is in the ledger. A group that changed meanwhile refuses them: then it comes again."""
        offsets = {partition: self._done.pop(partition) for partition in list(partitions) if partition in self._done}
        if not offsets:
            return
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as problem:
            log.debug("offsets were not committed: %s", type(problem).__name__)

    def _forget(self) -> None:
        """What is open belongs to no assignment any more."""
        self._assignment += 1
        self._done.clear()

    async def moved(self, consumer: AIOKafkaConsumer, revoked: Iterable[TopicPartition]) -> None:
        await self.commit(consumer, revoked)
        self._forget()


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped, as above
    def __init__(self, source: KafkaSource, consumer: AIOKafkaConsumer) -> None:
        self._source = source
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._source.moved(self._consumer, revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        log.info("takes %d partitions", len(list(assigned)))
