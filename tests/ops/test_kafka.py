"""Records from a topic of the Kafka protocol: what reaches the ledger, and what comes again.

The cluster is the mock that librdkafka has built in (real protocol over real sockets, groups and offsets included, but
no replication and nothing on disk): Debian has no Kafka broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from confluent_kafka import Producer

from brokers import Mosquitto
from empty_book import empty_book
from packbook.adapters.collector import BatchLimits, Collector
from packbook.adapters.kafka import KafkaSource, KafkaTopic
from packbook.adapters.mqtt import BrokerAddress
from packbook.adapters.store import open_writer, tables
from packbook.adapters.store.database import Database
from packbook.adapters.store.ledger import Ledger
from packbook.core.intake import Reading
from packbook.ports.taking import Incoming, Taken
from packbook.ports.trouble import StoreError
from packbook.settings import Settings
from packbook.testing.scripted_box import ScriptedBox
from packwire.ack import decode_ack
from packwire.topics import Leaf, topic

TOPIC = "packbook"
SOON_S = 20.0


class Cluster:
    """One mock broker, and what an MQTT cluster's bridge would do: key is the topic, value the payload."""

    def __init__(self) -> None:
        self._bridge = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
        told = self._bridge.list_topics(TOPIC, timeout=10)
        [broker] = told.brokers.values()
        self.partitions = len(told.topics[TOPIC].partitions)
        self.server = f"{broker.host}:{broker.port}"

    def carry(self, name: str, payload: bytes) -> None:
        self._bridge.produce(TOPIC, key=name, value=payload)
        assert self._bridge.flush(10) == 0

    def carry_all(self, box: ScriptedBox, sealed: Sequence[bytes]) -> None:
        for record in sealed:
            self.carry(topic(box.box, Leaf.RECORD), record)

    async def committed(self) -> int:
        """Offsets of the group, all partitions together."""
        consumer = AIOKafkaConsumer(bootstrap_servers=[self.server], group_id="packbook", enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(TOPIC, n) for n in range(self.partitions)]
            consumer.assign(partitions)  # asked, not joined: that would move the group
            offsets = [await consumer.committed(partition) for partition in partitions]
        finally:
            await consumer.stop()
        return sum(offset or 0 for offset in offsets)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_writer(empty_book(tmp_path / "book.db"), "test") as opened:
        yield opened


class Seen(Ledger):
    """A ledger that tells what it took, and whose database may be away."""

    away = False
    taken = 0
    duplicates = 0

    async def keep(self, readings: Sequence[Reading]) -> Taken:
        if self.away:
            raise StoreError("database test: away")
        kept = await super().keep(readings)
        self.taken += kept.accepted
        self.duplicates += kept.duplicates
        return kept


@asynccontextmanager
async def collecting(ledger: Ledger, cluster: Cluster, mosquitto: Mosquitto) -> AsyncIterator[Collector]:
    source = KafkaSource(KafkaTopic((cluster.server,), TOPIC, "packbook", "plaintext"), retry_max_s=0.1)
    address = BrokerAddress(mosquitto.host, mosquitto.port, "collector-0")
    collector = Collector(ledger, address, BatchLimits(50, 0.01), retry_max_s=0.1, source=source)
    running = asyncio.create_task(collector.run())
    try:
        yield collector
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not happened():  # noqa: ASYNC110 - what is asked for sets no event
            await asyncio.sleep(0.02)


async def test_records_come_by_the_topic_and_acks_go_by_mqtt(
    cluster: Cluster, mosquitto: Mosquitto, database: Database
) -> None:
    """A box behind a large MQTT cluster notices nothing; garbage on the topic stands before nobody."""
    box = ScriptedBox(name="behind-a-bridge")
    box.life()
    cluster.carry("", b"no key")
    cluster.carry(topic(box.box, Leaf.RECORD), b"\xff" * 40)
    cluster.carry_all(box, box.sealed)
    ledger = Seen(database)
    async with (
        aiomqtt.Client(mosquitto.host, mosquitto.port) as listener,
        collecting(ledger, cluster, mosquitto) as collector,
    ):
        await listener.subscribe(topic(box.box, Leaf.ACK), qos=1)
        async with asyncio.timeout(SOON_S):
            async for message in listener.messages:
                assert isinstance(message.payload, bytes)
                if decode_ack(message.payload).upto == 7:
                    break
        assert collector.up
    assert ledger.taken == 7
    async with database.transaction() as connection:
        reasons = set(await connection.scalars(sa.select(tables.quarantine.c.reason)))
    assert reasons == {"malformed", "not_ours"}


async def test_an_offset_is_committed_after_the_record_is_on_disk(
    cluster: Cluster, mosquitto: Mosquitto, database: Database
) -> None:
    """A collector that dies with a full inbox costs nothing: the next one gets it, and doubles nothing."""
    box = ScriptedBox()
    box.hello()
    for _ in range(59):
        box.charge()
    cluster.carry_all(box, box.sealed)
    first = Seen(database)
    first.away = True
    async with collecting(first, cluster, mosquitto) as collector:
        await until(lambda: collector.up)
    assert await cluster.committed() == 0
    second = Seen(database)
    async with collecting(second, cluster, mosquitto):
        await until(lambda: second.taken == 60)
        async with asyncio.timeout(SOON_S):
            while await cluster.committed() < 60:  # noqa: ASYNC110 - nor does this
                await asyncio.sleep(0.1)
    third = Seen(database)
    box.charge()
    cluster.carry_all(box, box.sealed[-1:])
    async with collecting(third, cluster, mosquitto):
        await until(lambda: third.taken == 1)
    assert third.duplicates == 0


async def test_a_full_inbox_stops_the_fetching(
    cluster: Cluster, mosquitto: Mosquitto, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the database away the topic is the buffer, not our memory; then all of it comes in."""
    monkeypatch.setattr("packbook.adapters.collector.INBOX_MAX", 20)
    monkeypatch.setattr("packbook.adapters.kafka.FETCH_MAX", 10)
    box = ScriptedBox()
    box.hello()
    for _ in range(99):
        box.charge()
    cluster.carry_all(box, box.sealed)
    ledger = Seen(database)
    ledger.away = True
    async with collecting(ledger, cluster, mosquitto) as collector:
        await until(lambda: len(collector._inbox) >= 20)
        assert len(collector._inbox) <= 40
        ledger.away = False
        await until(lambda: ledger.taken == 100)
    assert ledger.duplicates == 0


async def test_what_was_handed_over_before_a_rebalance_commits_nothing() -> None:
    """Its partition may be another collector's by now; the offset would skip what that one has not kept."""

    class Elsewhere:
        def __init__(self) -> None:
            self.offsets: list[dict[TopicPartition, int]] = []

        async def commit(self, offsets: dict[TopicPartition, int]) -> None:
            self.offsets.append(offsets)

    source, consumer, partition = KafkaSource(KafkaTopic(("h:1",), TOPIC, "g")), Elsewhere(), TopicPartition(TOPIC, 0)

    def message(offset: int) -> Incoming:
        record: ConsumerRecord[bytes, bytes] = ConsumerRecord(TOPIC, 0, offset, 0, 0, b"t", b"v", None, 1, 1, ())
        return source._message(partition, record)

    before, open_one = message(4), message(5)
    before.acknowledge()
    await source.moved(consumer, [partition])  # type: ignore[arg-type]  # as much of a consumer as is asked for
    open_one.acknowledge()
    await source.commit(consumer, [partition])  # type: ignore[arg-type]  # as above
    assert consumer.offsets == [{partition: 5}]


async def test_a_cluster_that_is_away_is_tried_again_and_said_once(
    mosquitto: Mosquitto, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Boxes keep their records meanwhile; the collector is not ready."""
    source = KafkaSource(KafkaTopic(("127.0.0.1:1",), TOPIC, "packbook", "plaintext"), retry_max_s=0.01)
    running = asyncio.create_task(source.run(lambda _message: None))
    await until(lambda: "trying again until it answers" in caplog.text)
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not source.connected
    assert caplog.text.count("trying again until it answers") == 1
    assert "topic packbook at 127.0.0.1:1" in caplog.text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_servers": ["h:9092"], "share": "x" * 20, "database_url": "postgresql://h/b"}, "share: with kafka"),
        ({"kafka_servers": ["h"]}, "kafka_servers"),
        ({"kafka_user": "book"}, "sasl_ssl goes with"),
        ({"kafka_cert_file": "/c"}, "go together"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given: dict[str, object], said: str) -> None:
    """Two ways to share the work at once, half a login, half a certificate."""
    with pytest.raises(ValueError, match=said):
        Settings.model_validate(given)
