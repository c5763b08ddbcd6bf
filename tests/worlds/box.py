"""A box of a world: the real composition on virtual time, with a power switch.

`app.run` puts these parts together around a kernel, a network and a thread; here they stand around a simulated bus, a
broker in memory and one worker whose work takes some milliseconds. What was folded is written down beside, so that a
twin can fold it again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from packbox.adapters.herald import Herald
from packbox.adapters.identity import FileKey
from packbox.app.carry import carry, new_report
from packbox.app.inbox import ROOM_FRAMES, Inbox
from packbox.app.listen import Listener
from packbox.app.mind import Mind
from packbox.app.think import Thinker
from packbox.clock import ClockTrust, SystemClock
from packbox.core.box import BoxPlan
from packbox.core.frames import FrameBatch
from packbox.core.outcome import BoxHealth
from packbox.core.record import BoxId, SealedRow, StoreId
from packbox.core.stamp import BootId, Stamp, Tick
from packbox.ports import LinkDownError, PackboxError, RefusedError, Uplink
from packbox.testing.memory_uplink import MemoryUplink
from packbox.testing.sim_bus import Pieces, SimBus, SimLife, Wire
from packbox.testing.sim_clock import SimMachine
from packwire.ids import box_id_of
from packwire.testing import MemoryBroker
from worlds.card import Card, CardJournal, PowerCutError

WORK_S = 0.004  # what one piece of blocking work takes
TRIP_S = 0.08  # one way over a mobile network
RESTART_S = 5.0  # systemd's
SYNC_AFTER_S = 20.0  # of network: then NTP has answered
SYNC_EVERY_S = 1024.0
ASK_AGAIN_S = 256.0  # without a network
BEATS_LOST = 0.95  # QoS 0 over a poor line; and the book's database is spared
Item = FrameBatch | Tick
T = TypeVar("T")


@dataclass
class Tape:
    """What one store was told. `durable`: how many items the newest commit on disk stands for."""

    box: BoxId
    store: StoreId
    public_key: bytes
    plan: BoxPlan
    items: list[Item] = field(default_factory=list)
    heard_s: list[float] = field(default_factory=list)  # when each item was folded, in world time
    durable: int = 0
    made: dict[int, bytes] = field(default_factory=dict)  # seq -> sealed, as committed
    card_gone: bool = False  # with whatever had not been sent yet
    older: Tape | None = None  # this one began from a copy of its card: what the store wrote after the copy was made

    def copy(self) -> Tape:
        """As it lies on the card."""
        told = self.durable
        return replace(self, items=self.items[:told], heard_s=self.heard_s[:told], made=dict(self.made))


@dataclass(frozen=True)
class Loss:
    """What a power cut took."""

    at_s: float
    since_s: float  # the oldest item that went: what nobody heard before it is not lost


class TapedMind(Mind):
    """Says what it folds."""

    tape: Tape
    now_s: Callable[[], float]

    def fold(self, items: Sequence[Item]) -> None:
        self.tape.items += items
        self.tape.heard_s += [self.now_s()] * len(items)
        super().fold(items)


@dataclass
class Surroundings:
    """What every box of a world shares."""

    true_ms: Callable[[], float]
    broker: MemoryBroker
    pieces: Pieces
    commit_every_s: float
    trust: ClockTrust
    plan_of: Callable[[BoxId], BoxPlan]
    tapes: dict[tuple[BoxId, StoreId], Tape]
    machines: dict[BootId, SimMachine]
    losses: list[Loss]
    troubles: list[str]
    started_without_disk: int = 0


class Box:
    def __init__(self, around: Surroundings, card: Card, dice: random.Random, life: SimLife | None) -> None:
        self.around = around
        self.card = card
        self.life = life
        self.wire = Wire.SOUND
        self.online = True
        self.beats_lost = BEATS_LOST
        self.key = FileKey(dice.randbytes(32))
        self.id = BoxId(box_id_of(self.key.public_key))
        self.waiting = 0
        self._dice = dice
        self._bus: SimBus | None = None
        self._links: set[MemoryUplink] = set()
        self._power: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self.tape: Tape | None = None
        self.machine: SimMachine | None = None
        self._clock: SystemClock | None = None
        self._worker = asyncio.Lock()

    # -- power -------------------------------------------------------------------------------------------------------

    def switch_on(self) -> None:
        assert self._power is None
        around, dice = self.around, self._dice
        boot = BootId(dice.randbytes(8).hex())
        late_ms = dice.choice([-3_600_000.0, -40 * 86_400_000.0, -around.true_ms()])  # fake-hwclock, old one, none
        if around.trust is ClockTrust.ALWAYS:
            late_ms = dice.uniform(-300, 300)  # a battery, and somebody who looks after it
        self.machine = SimMachine(boot, around.true_ms, late_ms, dice.uniform(-30, 30))
        around.machines[boot] = self.machine
        self._clock = SystemClock(around.trust, machine=self.machine)
        self.card.powered = True
        self._stop = asyncio.Event()
        self._power = asyncio.create_task(self._live(), name=f"box {self.id}")

    async def switch_off(self) -> None:
        """No goodbye. Also for a box that lost its power by itself."""
        if self._power is None:
            return
        self.card.powered = self.card.cut_before_write = self.card.cut_after_write = False
        self.cut_links()
        self._power.cancel()
        (ended,) = await asyncio.gather(self._power, return_exceptions=True)
        self._power = None
        if isinstance(ended, Exception):  # a mistake of ours, which systemd would start again and again
            raise ended

    async def leave(self) -> None:
        """SIGTERM, and the power only after that."""
        self._stop.set()
        if self._power is not None:
            await asyncio.wait([self._power], timeout=60)
        await self.switch_off()

    @property
    def lost_power(self) -> bool:
        return self._power is not None and not self.card.powered

    def set_wire(self, wire: Wire) -> None:
        self.wire = wire
        if self._bus is not None:
            self._bus.wire = wire

    def set_life(self, life: SimLife | None) -> None:
        self.life = life
        if self._bus is not None:
            self._bus.life = life

    def cut_links(self) -> None:
        for uplink in self._links:
            if uplink.link is not None:
                uplink.link.cut()

    # -- what runs while there is power ------------------------------------------------------------------------------

    async def _live(self) -> None:
        """As under systemd: a box that gives up is started again."""
        async with asyncio.TaskGroup() as tasks:
            ntp = tasks.create_task(self._synchronize())
            while not self._stop.is_set():
                try:
                    await self._run()
                except* PackboxError as problems:
                    self.around.troubles.append(str(problems.exceptions))
                    await asyncio.sleep(RESTART_S)
            ntp.cancel()

    async def _synchronize(self) -> None:
        assert self.machine is not None
        while True:
            await asyncio.sleep(SYNC_AFTER_S if self.online else ASK_AGAIN_S)
            if self.online:
                self.machine.synchronize(self._dice.gauss(0, 20))
                await asyncio.sleep(SYNC_EVERY_S - SYNC_AFTER_S)

    async def _run(self) -> None:
        around, clock, machine = self.around, self._clock, self.machine
        assert clock is not None
        assert machine is not None
        journal = CardJournal(self.card, self.id, clock, lambda rows: self._wrote(mind, rows))
        mind = TapedMind(journal, self.key)
        mind.now_s = asyncio.get_running_loop().time
        bus = self._bus = SimBus(self.life, around.true_ms, clock, machine, around.pieces, self._dice)
        bus.wire = self.wire
        try:
            await self._offload(mind.open)
            self.around.started_without_disk += mind.trouble is not None
            mind.meet(around.plan_of(self.id), None)
            mind.tape = self.tape = self._tape(mind)
            mind.begin("world", lambda stamp: _health(stamp, mind))
            inbox = Inbox(may_wait=False, room_frames=ROOM_FRAMES)
            listener = Listener(bus, inbox, clock)
            committed = asyncio.Event()
            thinker = Thinker(mind, inbox, self._offload, committed, Herald(), around.commit_every_s)
            link = new_report(mind.store)
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(listener.run(), name="listen")
                stopping = tasks.create_task(self._cancel_on_stop(listening), name="stop")
                carrying = tasks.create_task(
                    carry(
                        journal,
                        self._uplink,
                        link,
                        newest_seq=lambda: mind.newest_seq,
                        health=lambda: _heartbeat(mind),
                        committed=committed,
                        offload=self._offload,
                        jitter=self._dice.random,
                    ),
                    name="carry",
                )
                await tasks.create_task(thinker.run(lambda: False), name="think")
                stopping.cancel()
                carrying.cancel()
            await self._offload(journal.close)
        finally:
            journal.drop()
            self._bus = None

    async def _cancel_on_stop(self, listening: asyncio.Task[None]) -> None:
        await self._stop.wait()
        listening.cancel()

    async def _offload(self, work: Callable[[], T], /) -> T:
        async with self._worker:
            await asyncio.sleep(WORK_S)
            if not self.card.powered:
                raise PowerCutError
            return work()

    @asynccontextmanager
    async def _uplink(self) -> AsyncIterator[Uplink]:
        await asyncio.sleep(2 * TRIP_S)
        if not self.online:
            raise LinkDownError("simulated: no network")
        uplink = MemoryUplink(self.around.broker, self.id)
        self._links.add(uplink)
        try:
            async with uplink:
                yield _SlowUplink(uplink, self._dice, self.beats_lost)
        finally:
            self._links.discard(uplink)

    # -- what is written down ----------------------------------------------------------------------------------------

    def _tape(self, mind: TapedMind) -> Tape:
        """Of this store: back to what its card holds. What was folded after that is lost."""
        key = self.id, mind.store
        tape = self.around.tapes.get(key)
        if tape is None:
            tape = self.around.tapes[key] = Tape(self.id, mind.store, self.key.public_key, self.around.plan_of(self.id))
        if len(tape.items) > tape.durable:
            self.around.losses.append(Loss(tape.heard_s[-1], tape.heard_s[tape.durable]))
        del tape.items[tape.durable :], tape.heard_s[tape.durable :]
        return tape

    def _wrote(self, mind: TapedMind, rows: Sequence[SealedRow]) -> None:
        mind.tape.durable = len(mind.tape.items)
        mind.tape.made |= {row.seq: row.sealed for row in rows}


class _SlowUplink:
    """A mobile network: each way takes its time, and a broker that says no now and then."""

    def __init__(self, uplink: MemoryUplink, dice: random.Random, beats_lost: float) -> None:
        self._uplink = uplink
        self._dice = dice
        self._beats_lost = beats_lost

    @property
    def wire_bytes(self) -> int | None:
        return self._uplink.wire_bytes

    async def publish(self, sealed: bytes) -> None:
        await asyncio.sleep(TRIP_S)
        if self._dice.random() < 0.005:
            raise RefusedError("simulated: quota")
        await self._uplink.publish(sealed)
        await asyncio.sleep(TRIP_S)

    async def beat(self, heartbeat: bytes) -> None:
        if self._dice.random() >= self._beats_lost:
            await self._uplink.beat(heartbeat)

    async def present(self, store: StoreId, held: int) -> None:
        await self._uplink.present(store, held)

    def acks(self) -> AsyncIterator[bytes]:
        return self._uplink.acks()


def _health(stamp: Stamp, mind: Mind) -> BoxHealth:
    return BoxHealth(stamp, frames=mind.frames, frames_bad=mind.frames_bad, outbox_waiting=mind.outbox.waiting)


def _heartbeat(mind: Mind) -> object:
    from packbox.core.summary import message_of

    return message_of(_health(Stamp(BootId("0" * 16), 0, None), mind), b"")
