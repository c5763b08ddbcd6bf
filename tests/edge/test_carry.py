"""The loop that carries records to the book, on virtual time against a broker in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest

from packbox.app.carry import LinkReport, carry, new_report
from packbox.core import delivery
from packbox.core.delivery import AGAIN_MAX_S, WINDOW
from packbox.core.record import BoxId, ChainHead, SealedRow, StoreId
from packbox.ports import Checkpoint, JournalError, LinkDownError, RefusedError, StoreEndedError
from packbox.testing.memory_uplink import MemoryUplink
from packwire.ack import Ack, ack_of, encode_ack
from packwire.ids import BoxId as WireBoxId
from packwire.ids import StoreId as WireStoreId
from packwire.messages import Health
from packwire.presence import (
    HEARTBEAT_EVERY_S,
    HEARTBEAT_QUIET_S,
    STANDING_EVERY_S,
    Standing,
    decode_heartbeat,
    decode_status,
)
from packwire.testing import BrokerDownError, Faults, MemoryBroker
from packwire.topics import Leaf, everything_up, parse, topic

BOX = BoxId("b000000000000001")
STORE = StoreId("5700000000000001")
T = TypeVar("T")

pytestmark = pytest.mark.looptime


class Rows:
    """An outbox in memory; `trouble` plays a disk that fails."""

    def __init__(self) -> None:
        self.rows: list[SealedRow] = []
        self.held: set[int] = set()
        self.trouble = ""
        self.over = ""
        self.room_aside = True

    def write(self, count: int) -> None:
        for seq in range(len(self.rows) + 1, len(self.rows) + count + 1):
            self.rows.append(SealedRow(seq, 2, None, 0, None, b"%d" % seq))

    def waiting(self, after_seq: int, limit: int) -> Sequence[SealedRow]:
        if self.trouble:
            raise JournalError(self.trouble)
        return [row for row in self.rows if row.seq > after_seq and row.seq not in self.held][:limit]

    def release(self, upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        new = {r.seq for r in self.rows if r.seq <= upto or any(lo <= r.seq <= hi for lo, hi in ranges)} - self.held
        self.held |= new
        return len(new)

    def take_back(self, from_seq: int, upto: int, ranges: Sequence[tuple[int, int]]) -> int:
        lost = {s for s in self.held if s >= from_seq and s > upto and not any(lo <= s <= hi for lo, hi in ranges)}
        self.held -= lost
        return len(lost)

    def digest_of(self, seq: int) -> bytes | None:
        return seq.to_bytes(16, "big") if seq <= len(self.rows) else None

    def end_store(self, reason: str) -> bool:
        self.over = reason if self.room_aside else ""
        return self.room_aside

    def open(self) -> Checkpoint:
        return Checkpoint(None, ChainHead(BOX, STORE, len(self.rows) + 1, bytes(16)))

    def commit(self, state: bytes, rows: Sequence[SealedRow]) -> None: ...

    def close(self) -> None: ...


@dataclass
class Book:
    """A collector that keeps what it hears and says so. `deaf`: it hears and says nothing."""

    broker: MemoryBroker
    heard: list[int] = field(default_factory=list)
    heartbeats: list[Health] = field(default_factory=list)
    deaf: bool = False
    mute: bool = False

    async def run(self) -> None:
        while True:
            try:
                link = self.broker.connect("book", lasting=True)
                link.subscribe(*everything_up())
                while True:
                    message = await link.receive()
                    address = parse(message.topic)
                    assert address is not None
                    if address.leaf is Leaf.HEARTBEAT:
                        self.heartbeats.append(decode_heartbeat(message.payload))
                    if address.leaf is Leaf.RECORD and not self.deaf:
                        self.heard.append(int(message.payload))
                        if not self.mute:
                            self.say()
                    link.ack(message)
            except BrokerDownError:
                await asyncio.sleep(20)

    def say(self) -> None:
        held = ack_of(WireStoreId(STORE), self.heard)
        self.broker.publish(topic(WireBoxId(BOX), Leaf.ACK), encode_ack(held), retain=True)


class World:
    """One box and one book around one broker."""

    def __init__(self, faults: Faults | None = None, seed: int = 1) -> None:
        self.broker = MemoryBroker(seed, faults)
        self.book = Book(self.broker)
        self.journal = Rows()
        self.committed = asyncio.Event()
        self.report: LinkReport = new_report(STORE)
        self.uplinks: list[MemoryUplink] = []
        self.frames = 0

    def open_uplink(self) -> MemoryUplink:
        self.uplinks.append(MemoryUplink(self.broker, BOX))
        return self.uplinks[-1]

    def write(self, count: int) -> None:
        self.journal.write(count)
        self.committed.set()

    async def carry(self) -> None:
        await carry(
            self.journal,
            self.open_uplink,
            self.report,
            newest_seq=lambda: len(self.journal.rows),
            health=lambda: Health(frames=self.frames, outbox_waiting=len(self.journal.rows) - len(self.journal.held)),
            committed=self.committed,
            offload=offload,
            jitter=lambda: 0.5,
        )

    @property
    def standing(self) -> Standing | None:
        told = self.broker.retained.get(topic(WireBoxId(BOX), Leaf.STATUS))
        return None if told is None else decode_status(told).standing

    @property
    def status(self) -> str:
        status = decode_status(self.broker.retained[topic(WireBoxId(BOX), Leaf.STATUS)])
        return "online" if status.online else f"offline {status.reason}"


async def offload(work: Callable[[], T]) -> T:
    return work()


@asynccontextmanager
async def running(world: World, *, book: bool = True) -> AsyncIterator[asyncio.Task[None]]:
    """Box and book at work; both end with the block."""
    box_task = asyncio.create_task(world.carry())
    book_task = asyncio.create_task(world.book.run()) if book else None
    try:
        yield box_task
    finally:
        for task in filter(None, (box_task, book_task)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], bool], within_s: float = 3600.0) -> None:
    """Virtual time passes until it is so."""
    async with asyncio.timeout(within_s):
        while not what():  # noqa: ASYNC110 - virtual time costs nothing, an event per condition would
            await asyncio.sleep(0.5)


async def test_what_was_written_is_held_by_the_book_and_leaves_the_outbox() -> None:
    """The main path: more records than the window, written before and while the link is up."""
    world = World()
    world.write(3 * WINDOW)
    async with running(world):
        await until(lambda: len(world.journal.held) == 3 * WINDOW)
        world.write(1)
        await until(lambda: len(world.journal.held) == 3 * WINDOW + 1, within_s=1)
    assert world.book.heard == list(range(1, 3 * WINDOW + 2))
    assert world.report.delivery.counts.acked == 3 * WINDOW + 1
    assert world.report.delivery.counts.published_again == 0


async def test_the_box_says_where_it_takes_its_store_to_stand() -> None:
    """A book that was restored from a backup sees what it lost at once, however long the car stays parked."""
    world = World()
    world.write(3)
    world.journal.held = {1, 2}
    async with running(world, book=False):
        await until(lambda: world.standing == Standing(WireStoreId(STORE), 2), within_s=1)
        world.journal.held = {1, 2, 3}
        await until(lambda: world.standing == Standing(WireStoreId(STORE), 3), within_s=STANDING_EVERY_S + 1)


async def test_the_brokers_puback_frees_nothing() -> None:
    """A broker without a book takes everything and keeps nothing."""
    world = World()
    world.write(5)
    async with running(world, book=False):
        await asyncio.sleep(3600)
    assert world.journal.held == set()
    assert world.report.delivery.counts.published >= 5


async def test_a_broker_that_is_down_at_start_only_delays_delivery() -> None:
    """Parked in a cellar for a day, then on the road again."""
    world = World()
    world.write(5)
    world.broker.stop()
    async with running(world) as box:
        await asyncio.sleep(86_400)
        assert not box.done()
        assert world.report.trouble == "memory: the broker is down"
        world.broker.start()
        await until(lambda: len(world.journal.held) == 5, within_s=AGAIN_MAX_S + 5)
    assert world.report.connections == 1


async def test_half_a_year_without_a_network_arrives_in_order_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported cars: the ship, the auction, the new owner's garage. Twenty records a day meanwhile.

    The link is tried about twice a day instead of every few minutes: fifty thousand tries would only take time.
    """
    monkeypatch.setattr(delivery, "AGAIN_MAX_S", 86_400.0)
    world = World()
    world.broker.stop()
    async with running(world, book=False):
        for _ in range(180):
            world.write(20)
            await asyncio.sleep(86_400)
        assert world.report.connections == 0
        world.broker.start()
        book = asyncio.create_task(world.book.run())
        await asyncio.sleep(86_400)
        book.cancel()
    assert world.journal.held == set(range(1, 3601))
    assert world.book.heard == list(range(1, 3601))
    assert world.report.delivery.counts.published_again == 0


async def test_a_broker_killed_half_way_costs_no_record() -> None:
    """It comes back without memory; every record still arrives."""
    world = World()
    async with running(world):
        for _ in range(5):
            world.write(2 * WINDOW)
            await asyncio.sleep(0)
            world.broker.stop(forget=True)
            await asyncio.sleep(30)
            world.broker.start()
            await asyncio.sleep(30)
        await until(lambda: len(world.journal.held) == 10 * WINDOW)
    assert set(world.book.heard) == set(range(1, 10 * WINDOW + 1))


async def test_a_lost_ack_is_made_good_by_the_next_one() -> None:
    """Acks are cumulative: nobody has to repeat one."""
    world = World()
    world.book.mute = True
    world.write(3)
    async with running(world):
        await until(lambda: len(set(world.book.heard)) == 3)
        world.book.mute = False
        world.write(1)
        await until(lambda: len(world.journal.held) == 4)


async def test_acks_that_come_twice_or_late_change_nothing() -> None:
    """QoS 1 may double and the retained ack comes at every connect."""
    world = World()
    world.write(4)
    async with running(world):
        await until(lambda: len(world.journal.held) == 4)
        for _ in range(3):
            world.book.say()
        await asyncio.sleep(1)
        assert world.uplinks[-1].link is not None
        world.uplinks[-1].link.cut()
        await until(lambda: world.report.connections == 2)
        await asyncio.sleep(1)
    assert world.report.delivery.counts.acked == 4
    assert world.book.heard == [1, 2, 3, 4]


async def test_a_book_restored_from_a_backup_gets_everything_again() -> None:
    """It once acknowledged what it no longer holds; the box still has it."""
    world = World()
    world.write(50)
    async with running(world):
        await until(lambda: len(world.journal.held) == 50)
        del world.book.heard[30:]
        held = ack_of(WireStoreId(STORE), world.book.heard)
        again = replace(held, head=(30).to_bytes(16, "big"), resend_from=31)
        world.broker.publish(topic(WireBoxId(BOX), Leaf.ACK), encode_ack(again), retain=True)
        await until(lambda: len(world.book.heard) == 50)
        await until(lambda: len(world.journal.held) == 50)
    assert world.book.heard == list(range(1, 51))
    assert world.report.delivery.counts.taken_back == 20


async def test_another_history_under_our_name_ends_the_store() -> None:
    """Sending on would help nobody; a restart begins a store that the book can believe."""
    world = World()
    world.write(3)
    async with running(world) as box:
        await until(lambda: len(world.journal.held) == 3)
        parted = Ack(WireStoreId(STORE), 2, head=bytes(16))
        world.broker.publish(topic(WireBoxId(BOX), Leaf.ACK), encode_ack(parted), retain=True)
        with pytest.raises(BaseExceptionGroup) as ended:
            await box
    assert ended.group_contains(StoreEndedError, match="record 2 here is not the one that the book holds")
    assert world.journal.over.startswith("record 2 here")


async def test_a_box_hands_over_what_nobody_holds_before_it_leaves_a_store() -> None:
    """Weeks without a link on a restored card: the book cannot believe them, but a person can look at them."""
    world = World()
    world.write(50)
    parted = Ack(WireStoreId(STORE), 2, head=bytes(16))
    world.broker.publish(topic(WireBoxId(BOX), Leaf.ACK), encode_ack(parted), retain=True)
    world.book.mute = True
    async with running(world) as box:
        with pytest.raises(BaseExceptionGroup):
            await box
        await until(lambda: set(world.book.heard) == set(range(1, 51)))
    assert world.journal.over


async def test_an_ack_that_would_end_one_store_too_many_is_ignored() -> None:
    """Whoever may write acks could otherwise fill the card: the box records and sends on."""
    world = World()
    world.journal.room_aside = False
    world.write(3)
    async with running(world):
        await until(lambda: len(world.journal.held) == 3)
        parted = Ack(WireStoreId(STORE), 2, head=bytes(16))
        world.broker.publish(topic(WireBoxId(BOX), Leaf.ACK), encode_ack(parted), retain=True)
        world.write(3)
        await until(lambda: len(world.journal.held) == 6)
    assert world.journal.over == ""


@pytest.mark.parametrize("seed", range(5))
async def test_a_broker_that_loses_doubles_and_swaps_only_costs_repeats(seed: int) -> None:
    """What facts/transport.md saw of real brokers, from a seed."""
    world = World(Faults(lose=0.3, double=0.2, swap=0.3), seed)
    async with running(world):
        for _ in range(10):
            world.write(13)
            await asyncio.sleep(60)
        await until(lambda: len(world.journal.held) == 130)
    assert set(world.book.heard) == set(range(1, 131))


async def test_silence_of_the_book_is_warned_of_once_and_its_return_told(caplog: pytest.LogCaptureFixture) -> None:
    """A denied topic looks like success in MQTT 3.1.1: the operator must hear of it, not every five minutes."""
    caplog.set_level(logging.INFO, logger="packbox.app.carry")
    world = World()
    world.book.deaf = True
    world.write(WINDOW)
    async with running(world):
        await asyncio.sleep(86_400)
        assert world.report.unheard
        sends = world.report.delivery.counts.published
        assert sends < 3 * WINDOW + 86_400 / 100
        world.book.deaf = False
        await until(lambda: len(world.journal.held) == WINDOW, within_s=AGAIN_MAX_S + 1)
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("records go out without an ack from the book: denied topic, or no collector?") == 1
    assert lines.count("the book answers again") == 1
    assert not world.report.unheard


async def test_a_refusal_by_the_broker_is_counted_and_the_records_wait() -> None:
    """Wrong certificate or ACL: slow repeats, a visible count, nothing lost."""
    world = World()
    world.write(2)
    refusing = True

    class Refusing(MemoryUplink):
        async def publish(self, sealed: bytes) -> None:
            if refusing:
                raise RefusedError("memory: not authorised")
            await super().publish(sealed)

    def open_uplink() -> MemoryUplink:
        return Refusing(world.broker, BOX)

    world.open_uplink = open_uplink  # type: ignore[method-assign]  # this world's broker has another ACL
    async with running(world):
        await asyncio.sleep(600)
        assert world.report.connections == 1
        assert world.journal.held == set()
        assert world.report.delivery.counts.refused_publishes > 2
        refusing = False
        await until(lambda: len(world.journal.held) == 2, within_s=AGAIN_MAX_S + 1)


async def test_a_journal_in_trouble_does_not_end_delivery(caplog: pytest.LogCaptureFixture) -> None:
    """A full disk is dealt with elsewhere; delivery is what makes room."""
    world = World()
    world.write(2)
    world.journal.trouble = "disk full"
    async with running(world):
        await asyncio.sleep(600)
        assert world.report.trouble == "disk full"
        world.journal.trouble = ""
        await until(lambda: len(world.journal.held) == 2, within_s=AGAIN_MAX_S + 1)
    warned = [r for r in caplog.records if "records wait in the outbox" in r.getMessage()]
    assert warned[0].__dict__["REASON"] == "disk full"


async def test_an_outage_is_logged_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    """A journal full of the same line hides the one that matters."""
    caplog.set_level(logging.INFO, logger="packbox.app.carry")
    world = World()
    async with running(world):
        await asyncio.sleep(100)
        world.broker.stop()
        await asyncio.sleep(86_400)
        world.broker.start()
        await until(lambda: world.report.connected)
    told = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert told == [
        ("INFO", "link to the broker is up"),
        ("WARNING", "no link to the broker: records wait in the outbox"),
        ("INFO", "link to the broker is up"),
    ]
    assert 86_400 <= caplog.records[-1].__dict__["GONE_FOR_S"] <= 86_400 + AGAIN_MAX_S


async def test_a_heartbeat_goes_out_at_once_and_then_every_five_minutes() -> None:
    """The operator sees what a driving box sees; every hour also that a box is alive although its car sleeps."""
    world = World()
    async with running(world):
        for world.frames in range(3):
            await asyncio.sleep(HEARTBEAT_EVERY_S)
        await asyncio.sleep(2 * HEARTBEAT_QUIET_S)
    assert [health.frames for health in world.book.heartbeats] == [0, 1, 2, 2, 2]
    assert world.report.wire_bytes >= 5


async def test_cancelling_says_goodbye() -> None:
    """`offline stopped` tells an operator apart from a lost box."""
    world = World()
    async with running(world):
        await until(lambda: world.report.connected)
        assert world.status == "online"
    assert world.status == "offline stopped"
    assert not world.report.connected


async def test_a_cut_link_leaves_the_brokers_word_behind() -> None:
    """The will speaks for a box that cannot."""
    world = World()
    async with running(world):
        await until(lambda: world.report.connected)
        link = world.uplinks[-1].link
        assert link is not None
        link.cut()
        assert world.status == "offline lost"
        await until(lambda: world.report.connections == 2)
        assert world.status == "online"


async def test_our_own_mistake_is_not_swallowed() -> None:
    """Only expected trouble is retried; a bug must stop the box and leave its trace."""
    world = World()

    def open_uplink() -> MemoryUplink:
        raise KeyError("bug")

    world.open_uplink = open_uplink  # type: ignore[method-assign]  # a bug is played
    with pytest.raises((KeyError, ExceptionGroup)):
        await world.carry()


async def test_a_link_that_holds_is_not_punished_for_old_losses() -> None:
    """After a minute of good service the next loss is retried within seconds."""
    world = World()
    world.broker.stop()
    async with running(world):
        await asyncio.sleep(86_400)
        world.broker.start()
        await until(lambda: world.report.connected)
        await asyncio.sleep(120)
        link = world.uplinks[-1].link
        assert link is not None
        link.cut()
        await until(lambda: world.report.connections == 2, within_s=5)


def test_link_down_is_the_kind_that_refusals_belong_to() -> None:
    """A caller that only knows LinkDownError stays safe."""
    assert issubclass(RefusedError, LinkDownError)
