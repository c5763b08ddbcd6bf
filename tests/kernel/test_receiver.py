"""The receiver on the real kernel: what tests/edge plays with fakes is true here."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from can_fakes import can_frame, canfd_frame
from can_wires import Adapter, Cable, Sender, adapter, cable, wait_until
from packbox.adapters import can_bus, can_socket
from packbox.adapters.can_any import PythonCanSource
from packbox.adapters.can_bus import SocketCanSource
from packbox.adapters.can_filters import FILTER_MAX, exactly, fold
from packbox.adapters.can_socket import Interface, open_can_socket
from packbox.clock import ClockTrust, SystemClock
from packbox.core.frames import ERROR, EXTENDED, FD, SENT, FrameBatch, join
from packbox.core.stamp import NS_PER_MS, Tick
from packbox.ports import BusDownError, FrameSource

PATIENCE_S = 15.0
EARLY_MS = -50  # the two clocks are read one after the other, and a busy machine may stop in between
KERNEL_FRAMES = 2_000


@pytest.fixture
def wire() -> Iterator[Cable]:
    with cable() as made:
        yield made


@pytest.fixture
def slcan() -> Iterator[Adapter]:
    with adapter() as made:
        yield made


def source(*interfaces: Interface, **options: object) -> SocketCanSource:
    return SocketCanSource(interfaces, SystemClock(ClockTrust.ALWAYS), **options)  # type: ignore[arg-type]


class Ear:
    """Hears a source as the box does, and keeps everything."""

    def __init__(self, inputs: AsyncIterator[FrameBatch | Tick]) -> None:
        self.batches: list[FrameBatch] = []
        self._inputs = inputs
        self.coming = asyncio.ensure_future(anext(inputs))

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not enough():
                item = await self.coming
                self.coming = asyncio.ensure_future(anext(self._inputs))
                if isinstance(item, FrameBatch):
                    self.batches.append(item)

    async def hear(self, frames: int) -> FrameBatch:
        await self.until(lambda: self.frames >= frames)
        return join(self.batches)

    @property
    def frames(self) -> int:
        return sum(map(len, self.batches))


@asynccontextmanager
async def listening(bus: FrameSource) -> AsyncIterator[Ear]:
    """The sockets are open as soon as the block begins."""
    async with aclosing(bus.inputs()) as inputs:
        ear = Ear(inputs)
        await asyncio.sleep(0)
        try:
            yield ear
        finally:
            ear.coming.cancel()
            await asyncio.wait([ear.coming])
            if not ear.coming.cancelled():
                ear.coming.exception()


def numbers(batch: FrameBatch) -> list[int]:
    """What `Sender` counted into its frames."""
    return np.ascontiguousarray(batch.data[:, :4]).view("<u4")[:, 0].tolist()


END = b"the end"


def heard_until_the_end(listener: socket.socket) -> list[int]:
    """Ids of what comes, up to a frame that holds `END`."""
    listener.settimeout(PATIENCE_S)
    ids = []
    while True:
        frame = listener.recv(72)
        if frame[8:].startswith(END):
            return ids
        ids.append(struct.unpack("=I", frame[:4])[0])


# -- filters -----------------------------------------------------------------------------------------------------------


def test_an_id_that_nobody_asked_for_never_leaves_the_kernel(wire: Cable) -> None:
    """Nine of ten frames on a car's bus say nothing to us; each would cost a Pi as much as one that does."""
    wanted = (exactly(0x1DB), exactly(0x18DAF110, extended=True))
    with open_can_socket(Interface(wire.box, wanted)) as listener:
        wire.send(*(can_frame(can_id, b"") for can_id in range(0x1C0, 0x1F0)))
        wire.send(can_frame(0x80000000 | 0x1DB, b""), can_frame(0x80000000 | 0x18DAF110, b""))
        wire.send(can_frame(0x40000000 | 0x1DB, b""))  # a request for data says nothing
        wire.send(can_frame(0x1DB, END))
        assert heard_until_the_end(listener) == [0x1DB, 0x80000000 | 0x18DAF110]


@pytest.mark.parametrize("count", [FILTER_MAX, FILTER_MAX + 1, 1200])
def test_every_id_of_a_large_profile_is_heard(wire: Cable, count: int) -> None:
    """The kernel refuses more than 512 filters: then ids share them, and none of ours is lost."""
    ids = [(7 * k) % 0x800 for k in range(count)]
    wanted = tuple(exactly(can_id) for can_id in ids)
    with open_can_socket(Interface(wire.box, wanted)) as listener:
        wire.send(*(can_frame(can_id, b"") for can_id in range(0x800)))
        wire.send(can_frame(0, END))
        heard = heard_until_the_end(listener)
    passed = {f.can_id & f.mask for f in fold(wanted)}
    assert set(ids) <= set(heard)
    assert len(passed) <= FILTER_MAX
    assert count > FILTER_MAX or sorted(ids) == heard


# -- what comes with a frame -------------------------------------------------------------------------------------------


async def test_frames_have_the_time_of_their_arrival_in_their_order(wire: Cable) -> None:
    """Read half a second late, 20 ms apart on the bus: the integral of a current needs the 20 ms."""
    bus = source(Interface(wire.box))
    async with listening(bus) as ear:
        wire.send(can_frame(1, b""))
        await ear.hear(1)
        sent_ns = []
        for k in range(2, 12):
            sent_ns.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
            wire.send(can_frame(k, b""))
            time.sleep(0.02)  # noqa: ASYNC251 - the loop must not look meanwhile
        batch = await ear.hear(11)
    late_ms = (batch.mono_ns[1:] - np.array(sent_ns)) / NS_PER_MS
    assert batch.can_id.tolist() == list(range(1, 12))
    assert np.all(late_ms > EARLY_MS)
    assert np.median(late_ms) < 5
    assert np.all(np.diff(batch.mono_ns) > 0)
    assert bus.counts.restamped == 0


async def test_what_did_not_fit_is_counted_by_the_kernel(wire: Cable) -> None:
    """A gap that nobody knows of would be integrated over."""

    def small(interface: Interface) -> socket.socket:
        made = open_can_socket(interface)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        return made

    bus = source(Interface(wire.box), open_socket=small)
    async with listening(bus) as ear:
        wire.send(can_frame(0, b""))
        await ear.hear(1)
        wire.send(*(can_frame(1, b"") for _ in range(500)))
        await ear.hear(2)
        got = ear.frames
        wire.send(can_frame(2, b""))  # the count rides on the next frame
        await ear.hear(got + 1)
    assert bus.counts.dropped == 502 - ear.frames > 0


def test_the_queue_is_as_large_as_we_believe(wire: Cable) -> None:
    """How long we may sleep between two looks follows from it."""
    with open_can_socket(Interface(wire.box)) as listener:
        room = listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert room >= can_socket.QUEUE_BYTES  # as root: whatever net.core.rmem_max says
        believed = room // can_socket.FRAME_COST_BYTES
        wire.send(*(canfd_frame(1, bytes(64)) for _ in range(believed - 1)), canfd_frame(1, END))
        assert len(heard_until_the_end(listener)) == believed - 1


def test_without_rights_the_queue_is_what_the_system_grants(wire: Cable) -> None:
    """The shipped service runs without any: it must still hear."""
    grown = f"""
import os, socket
from packbox.adapters.can_socket import Interface, open_can_socket
os.setuid(65534)
made = open_can_socket(Interface({wire.box!r}))
print(made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
"""
    python = [sys.executable, "-c", grown]
    room = int(subprocess.run(python, check=True, capture_output=True, text=True).stdout)
    granted = int(Path("/proc/sys/net/core/rmem_max").read_text())
    assert room == 2 * min(granted, can_socket.QUEUE_BYTES)


async def test_can_fd_frames_come_beside_classic_ones(wire: Cable) -> None:
    """A modern bus mixes both."""
    bus = source(Interface(wire.box))
    async with listening(bus) as ear:
        wire.send(canfd_frame(0x80000000 | 0x17FE007B, bytes(range(64))), can_frame(1, b"\xff"))
        batch = await ear.hear(2)
    assert batch.flags.tolist() == [FD | EXTENDED, 0]
    assert batch.length.tolist() == [64, 1]
    assert batch.data[0].tolist() == list(range(64))
    assert batch.data[1].tolist() == [255] + [0] * 63


async def test_what_this_machine_sent_is_told_from_what_the_car_sent(wire: Cable) -> None:
    """Our own questions must not count as a sign that the car is awake."""
    bus = source(Interface(wire.box))
    async with listening(bus) as ear:
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as ours:
            ours.bind((wire.box,))
            ours.send(can_frame(0x7DF, b"\x02\x01\x00"))
        wire.send(can_frame(0x7E8, b""))
        batch = await ear.hear(2)
    assert dict(zip(batch.can_id.tolist(), batch.flags.tolist(), strict=True)) == {0x7DF: SENT, 0x7E8: 0}


async def test_two_interfaces_are_two_buses_on_one_timeline(wire: Cable) -> None:
    """Voltage on one bus, current on the other: power needs both in order."""
    with cable("can1", "car1") as other:
        bus = source(Interface(wire.box), Interface(other.box))
        async with listening(bus) as ear:
            wire.send(can_frame(0, b""))
            await ear.hear(1)
            for k in range(1, 21):
                (other if k % 2 else wire).send(can_frame(k, b""))
            batch = await ear.hear(21)
    assert list(zip(batch.can_id.tolist(), batch.bus.tolist(), strict=True)) == [(k, k % 2) for k in range(21)]


async def test_a_burst_of_two_busy_buses_is_heard_whole(wire: Cable) -> None:
    """After a stall of ours (a card that thinks for a second) all still waits in the kernel, in order of time."""
    with cable("can1", "car1") as other:
        bus = source(Interface(wire.box), Interface(other.box), batch_frames=256)
        async with listening(bus) as ear:
            wire.send(can_frame(0, b""))
            await ear.hear(1)
            for k in range(KERNEL_FRAMES):
                (other if k % 2 else wire).send(can_frame(1, struct.pack("<I", k)))
            batch = await ear.hear(KERNEL_FRAMES + 1)
    assert sorted(numbers(batch)[1:]) == list(range(KERNEL_FRAMES))
    assert np.diff(batch.mono_ns).min() > -NS_PER_MS  # the two clocks are read one after the other
    assert bus.counts.dropped == 0


# -- faults ------------------------------------------------------------------------------------------------------------


async def test_the_first_frame_after_a_link_flap_is_heard(wire: Cable, caplog: pytest.LogCaptureFixture) -> None:
    """A plug that is loose, a controller that is restarted: the same socket goes on, and says once what was."""
    caplog.set_level("INFO")
    bus = source(Interface(wire.box))
    async with listening(bus) as ear:
        for k in range(3):
            wire.send(can_frame(2 * k, b""))
            wire.down()
            await ear.until(lambda: bus.trouble is not None)
            assert bus.trouble == (
                "can0: the interface is down (bring it up with its bit rate, for example with the shipped network unit)"
            )
            assert ear.frames == 2 * k + 1  # the kernel tells of the fault before the frame that came earlier
            wire.up()
            wire.send(can_frame(2 * k + 1, b""))
            await ear.until(lambda k=k: ear.frames == 2 * (k + 1))
            assert bus.trouble is None
    assert join(ear.batches).can_id.tolist() == list(range(6))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 3


async def test_a_link_that_is_down_at_first_is_told_and_found_later(wire: Cable) -> None:
    """The box starts before the network unit: opening succeeds, but nothing can be heard."""
    wire.down()
    bus = source(Interface(wire.box))
    for _ in range(2):
        with pytest.raises(BusDownError, match="can0: the interface is down"):
            await anext(bus.inputs())
    wire.up()
    async with listening(bus) as ear:
        wire.send(can_frame(1, b""))
        assert (await ear.hear(1)).can_id.tolist() == [1]


async def test_an_interface_that_is_pulled_out_is_opened_again(wire: Cable) -> None:
    """A USB adapter: the socket is dead for good, a new interface has the old name."""
    bus = source(Interface(wire.box), batch_frames=16)
    async with listening(bus) as ear:
        wire.send(*(can_frame(1, b"") for _ in range(40)))
        wire.unplug()
        with pytest.raises(BusDownError, match="can0: there is no such interface"):
            await ear.until(lambda: False)
        assert ear.frames == 40
    with pytest.raises(BusDownError, match="can0: there is no such interface"):
        await anext(bus.inputs())
    wire.plug()
    async with listening(bus) as ear:
        wire.send(can_frame(2, b""))
        assert (await ear.hear(1)).can_id.tolist() == [2]
    assert bus.trouble is None


async def test_one_of_two_interfaces_may_be_pulled_out(wire: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other bus goes on, and the lost one joins again when it is back."""
    monkeypatch.setattr(can_bus, "RETRY_S", 0.2)
    with cable("can1", "car1") as other:
        bus = source(Interface(wire.box), Interface(other.box))
        async with listening(bus) as ear:
            other.send(can_frame(1, b""))
            await ear.hear(1)
            other.unplug()
            wire.send(can_frame(2, b""))
            await ear.until(lambda: bus.trouble is not None)
            wire.send(can_frame(3, b""))
            await ear.hear(3)
            other.plug()
            with Sender(other, 4, 0.05):
                await ear.until(lambda: 4 in ear.batches[-1].can_id)
            assert bus.trouble is None


async def test_bus_errors_are_counted_by_what_they_mean(slcan: Adapter) -> None:
    """A wrong bit rate, a car asleep and a controller that is too slow look alike until somebody asks."""
    bus = source(Interface(slcan.name, (exactly(0x123),)))
    async with listening(bus) as ear:
        slcan.frame(0x123, b"\x01")
        await ear.hear(1)
        slcan.bus_errors("a")
        slcan.bus_errors("cs")
        slcan.bus_errors("o")
        slcan.state("w", rx=96)
        slcan.state("p", rx=128)
        batch = await ear.hear(6)
    errors = bus.counts.errors
    assert batch.flags.tolist() == [0] + [ERROR] * 5
    assert (errors.no_ack, errors.protocol, errors.overrun, errors.warning, errors.passive) == (1, 1, 1, 1, 1)
    assert (bus.counts.frames, bus.counts.error_frames) == (6, 5)


async def test_bus_off_is_told_and_survived(slcan: Adapter, caplog: pytest.LogCaptureFixture) -> None:
    """The controller leaves the bus after too many errors; systemd-networkd restarts it, and the box must be there."""
    caplog.set_level("INFO")
    bus = source(Interface(slcan.name))
    async with listening(bus) as ear:
        slcan.frame(1, b"")
        await ear.hear(1)
        slcan.state("b", rx=0, tx=255)
        await ear.until(lambda: bus.trouble is not None)
        assert bus.trouble == f"{slcan.name}: bus off: too many errors, the controller has left the bus"
        assert slcan.shown() == "BUS-OFF"
        slcan.restart()
        slcan.frame(2, b"")
        await ear.until(lambda: bus.trouble is None)
    batch = join(ear.batches)
    assert batch.can_id[batch.flags & ERROR == 0].tolist() == [1, 2]
    assert bus.counts.errors.bus_off == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_the_emulated_adapter_is_a_can_controller(slcan: Adapter) -> None:
    """Else the two tests above would prove nothing."""
    assert b"".join(slcan.written) == b"C\rS6\rO\r"
    assert slcan.shown() == "ERROR-ACTIVE"
    slcan.state("p", rx=128)
    wait_until(lambda: slcan.shown() == "ERROR-PASSIVE", "the kernel took the state")


@pytest.mark.parametrize("steps_s", [(3 * 3600, -86_400), (-600_000_000, 600_000_000), (0.06, -0.06)])
async def test_a_clock_that_is_set_moves_no_frame(wire: Cable, steps_s: tuple[float, ...]) -> None:
    """The network comes in mid-charge, the clock jumps by hours or by years: no frame is lost or moved."""
    bus = source(Interface(wire.box))
    async with listening(bus) as ear:
        with Sender(wire, 0x1DB, 0.01) as car:
            for step_s in steps_s:
                now = ear.frames
                await ear.hear(now + 30)
                time.clock_settime(time.CLOCK_REALTIME, time.time() + step_s)
                await ear.hear(now + 90)
        batch = await ear.hear(len(car.sent_ns))
    assert numbers(batch) == list(range(len(car.sent_ns)))
    assert np.diff(batch.mono_ns).min() >= 0
    late_ms = (batch.mono_ns - np.array(car.sent_ns)) / NS_PER_MS
    assert late_ms.min() > -100  # a step smaller than that cannot be told from a late look at the clocks
    assert late_ms.max() < 1000
    assert abs(np.median(late_ms)) < 10
    assert bus.counts.restamped == 0


# -- python-can --------------------------------------------------------------------------------------------------------


async def test_python_can_hears_the_same_bus_and_tells_when_it_is_down(wire: Cable) -> None:
    """Its own asyncio reader hangs for good when an interface goes down; the box must come back by itself."""
    bus = PythonCanSource("socketcan", wire.box, SystemClock(ClockTrust.ALWAYS))
    async with listening(bus) as ear:
        await asyncio.to_thread(wait_until, wire.has_listener, "python-can opened its socket")
        sent_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wire.send(can_frame(1, b"\x01\x02"))
        batch = await ear.hear(1)
        assert (batch.can_id.tolist(), batch.length.tolist(), batch.flags.tolist()) == ([1], [2], [0])
        assert EARLY_MS < (batch.mono_ns[0] - sent_ns) / NS_PER_MS < 1000
        wire.down()
        with pytest.raises(BusDownError, match="can0"):
            await ear.until(lambda: False)
    wire.up()
    async with listening(bus) as ear:
        with Sender(wire, 2, 0.02):
            assert (await ear.hear(2)).can_id.tolist()[0] == 2
    assert bus.counts.restamped == 0
