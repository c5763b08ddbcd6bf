"""Any adapter through python-can, here its `virtual` one."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import can
import pytest

from can_fakes import BOOT, FakeClock
from packbox.adapters import can_any
from packbox.adapters.can_any import LISTEN_ONLY, PythonCanSource
from packbox.core.exchange import OutFrame
from packbox.core.frames import ERROR, EXTENDED, SENT, FrameBatch, join
from packbox.core.stamp import NS_PER_S, Tick
from packbox.ports import BusBusyError, BusDownError


@pytest.fixture
def car(request: pytest.FixtureRequest) -> Iterator[can.BusABC]:
    with can.Bus(interface="virtual", channel=request.node.name) as bus:
        yield bus


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(can_any, "GATHER_S", 0.0)
    monkeypatch.setattr(can_any, "RECEIVE_S", 0.01)
    monkeypatch.setattr(can_any, "TICK_S", 0.01)


def source(car: can.BusABC, clock: FakeClock | None = None, **more: int) -> PythonCanSource:
    return PythonCanSource("virtual", car.channel_id, clock or FakeClock(), **more)  # type: ignore[attr-defined]


def frame(can_id: int, data: bytes = b"", **more: bool) -> can.Message:
    return can.Message(arbitration_id=can_id, data=data, **{"is_extended_id": False, **more})


async def send(inputs: AsyncIterator[FrameBatch | Tick], car: can.BusABC, *messages: can.Message) -> None:
    """Once the adapter is open; until then there are only ticks."""
    while len(car.channel) < 2:  # type: ignore[attr-defined]  # one queue per open end of the virtual bus
        assert isinstance(await anext(inputs), Tick)
    for message in messages:
        car.send(message)


async def next_frames(inputs: AsyncIterator[FrameBatch | Tick], count: int) -> FrameBatch:
    batches: list[FrameBatch] = []
    while sum(map(len, batches)) < count:
        item = await anext(inputs)
        if isinstance(item, FrameBatch):
            batches.append(item)
    return join(batches)


@pytest.mark.usefixtures("quick")
async def test_frames_of_any_adapter_come_as_batches(car: can.BusABC) -> None:
    """Same columns, same clock as from SocketCAN: nothing behind the port can tell."""
    bus = source(car, bus=3, clock=FakeClock(mono_ahead_ns=9 * NS_PER_S))
    async with aclosing(bus.inputs()) as inputs:
        await send(
            inputs,
            car,
            frame(0x1DB, b"\x01\x02"),
            frame(0x18DAF110, b"\x03", is_extended_id=True),
            frame(0, is_error_frame=True),
        )
        batch = await next_frames(inputs, 3)
    assert batch.can_id.tolist() == [0x1DB, 0x18DAF110, 0]
    assert batch.flags.tolist() == [0, EXTENDED, ERROR]
    assert (batch.boot, batch.bus.tolist()) == (BOOT, [3, 3, 3])
    assert (bus.counts.frames, bus.counts.error_frames, bus.counts.restamped) == (3, 1, 0)


@pytest.mark.usefixtures("quick")
async def test_a_full_queue_drops_the_oldest_and_says_how_many(car: can.BusABC) -> None:
    """The newest frames tell what the pack is doing now; a loss nobody knows of would be integrated over."""
    bus = source(car, queue_frames=10)
    async with aclosing(bus.inputs()) as inputs:
        await send(inputs, car, *(frame(k) for k in range(100)))
        worker = next(t for t in threading.enumerate() if t.name == f"listen {bus.name}")
        while not all_read(car):
            worker.join(0.001)  # the loop stands still meanwhile, as in a stall
        seen: list[int] = []
        while 99 not in seen:
            seen += (await next_frames(inputs, 1)).can_id.tolist()
    assert seen == list(range(100 - len(seen), 100))
    assert bus.counts.dropped == 100 - len(seen) > 80


def all_read(car: can.BusABC) -> bool:
    return all(queue.empty() for queue in car.channel if queue is not car.queue)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("quick")
async def test_a_silent_adapter_ticks(car: can.BusABC) -> None:
    """Sessions close though no frame comes."""
    async with aclosing(source(car).inputs()) as inputs:
        assert isinstance(await anext(inputs), Tick)


async def test_an_adapter_that_cannot_be_opened_is_named() -> None:
    """Typing errors in the settings and unplugged adapters are the two usual ones."""
    with pytest.raises(BusDownError, match="no-such:can0: "):
        await anext(PythonCanSource("no-such", "can0", FakeClock()).inputs())
    with pytest.raises(BusDownError, match="slcan:/dev/no-such-tty: "):
        await anext(PythonCanSource("slcan", "/dev/no-such-tty", FakeClock()).inputs())


@pytest.mark.usefixtures("quick")
async def test_an_adapter_that_breaks_gives_what_it_had_and_then_says_so(
    car: can.BusABC, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pulled out while driving: frames before the pull are kept, and the loop above may open it again."""
    bus = source(car)
    received = can.BusABC.recv

    def unplugged(self: can.BusABC, timeout: float | None = None) -> can.Message | None:
        message = received(self, timeout)
        if message is not None and message.arbitration_id == 2:
            raise can.CanOperationError("unplugged")
        return message

    monkeypatch.setattr(can.BusABC, "recv", unplugged)
    async with aclosing(bus.inputs()) as inputs:
        await send(inputs, car, frame(1), frame(2))
        assert (await next_frames(inputs, 1)).can_id.tolist() == [1]
        with pytest.raises(BusDownError, match="unplugged"):
            await next_frames(inputs, 1)
    assert not [t for t in threading.enumerate() if t.name == f"listen {bus.name}"]


@pytest.mark.usefixtures("quick")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_reader_that_dies_of_a_bug_is_not_taken_for_a_silent_bus(
    car: can.BusABC, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticking on for ever over a dead thread would look like a sleeping car."""

    def buggy(self: can.BusABC, timeout: float | None = None) -> can.Message | None:
        raise KeyError("a bug")

    monkeypatch.setattr(can.BusABC, "recv", buggy)
    async with aclosing(source(car).inputs()) as inputs:
        with pytest.raises(RuntimeError, match="the reading thread died"):
            await next_frames(inputs, 1)


def test_adapters_that_can_listen_silently_are_told_to() -> None:
    """An adapter that acknowledges is part of the car's bus; do no harm is the default, not an option."""
    assert set(LISTEN_ONLY) <= set(can.VALID_INTERFACES)
    assert PythonCanSource("slcan", "/dev/ttyACM0", FakeClock()).listen_only
    assert not PythonCanSource("slcan", "/dev/ttyACM0", FakeClock(), options={"listen_only": False}).listen_only
    assert not PythonCanSource("virtual", "x", FakeClock()).listen_only
    assert not PythonCanSource("slcan", "/dev/ttyACM0", FakeClock(), may_send=True).listen_only


@pytest.mark.usefixtures("quick")
async def test_what_it_sends_is_on_the_bus_and_among_its_frames_marked(car: can.BusABC) -> None:
    """The history shows questions and answers alike, and nobody takes our own frames for the car's."""
    bus = PythonCanSource("virtual", car.channel_id, FakeClock(), may_send=True)  # type: ignore[attr-defined]
    async with aclosing(bus.inputs()) as inputs:
        await send(inputs, car)
        answers: list[bytes] = []
        with bus.overhear([0x7BB], lambda _key, data: answers.append(data)):
            await bus.send(OutFrame(0x79B, extended=False, data=bytes.fromhex("0221010000000000")))
            car.send(frame(0x7BB, b"\x01"))
            car.send(frame(0x7BC, b"\x02"))
            batch = await next_frames(inputs, 3)
        car.send(frame(0x7BB, b"\x03"))
        await next_frames(inputs, 1)
    assert sorted(zip(batch.can_id.tolist(), batch.flags.tolist(), strict=True)) == [
        (0x79B, SENT),
        (0x7BB, 0),
        (0x7BC, 0),
    ]
    heard = car.recv(1)
    assert heard is not None
    assert (heard.arbitration_id, heard.data.hex()) == (0x79B, "0221010000000000")
    assert answers == [b"\x01"]


async def test_a_source_that_is_not_open_sends_nothing() -> None:
    """The bus is down: the question is for later."""
    bus = PythonCanSource("virtual", "closed", FakeClock(), may_send=True)
    with pytest.raises(BusDownError, match="not open"):
        await bus.send(OutFrame(0x79B, extended=False, data=bytes.fromhex("0221010000000000")))


@pytest.mark.usefixtures("quick")
async def test_a_source_that_may_only_listen_cannot_send(car: can.BusABC) -> None:
    """Whoever calls it: our own mistake ends here, not on the bus."""
    with pytest.raises(AssertionError):
        await source(car).send(OutFrame(0x79B, extended=False, data=bytes.fromhex("0221010000000000")))
    assert car.recv(0) is None


@pytest.mark.usefixtures("quick")
async def test_an_adapter_that_cannot_send_now_says_so(car: can.BusABC, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue: nobody acknowledges. Listening goes on."""

    def full(*_args: object) -> None:
        raise can.CanOperationError("no buffer space available")

    bus = PythonCanSource("virtual", car.channel_id, FakeClock(), may_send=True)  # type: ignore[attr-defined]
    async with aclosing(bus.inputs()) as inputs:
        await send(inputs, car)
        with monkeypatch.context() as patched:
            patched.setattr(type(car), "send", full)
            with pytest.raises(BusBusyError, match="no buffer space"):
                await bus.send(OutFrame(0x79B, extended=False, data=bytes.fromhex("0221010000000000")))
        car.send(frame(0x1DB))
        assert (await next_frames(inputs, 1)).can_id.tolist() == [0x1DB]
