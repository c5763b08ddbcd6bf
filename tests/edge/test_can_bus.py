"""SocketCAN. Kernels without AF_CAN run these too: what the kernel adds to a frame, UDP sockets add as well."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import aclosing

import numpy as np
import pytest

from can_fakes import BOOT, FakeClock, can_frame, canfd_frame
from packbox.adapters import can_bus, can_socket
from packbox.adapters.can_bus import SocketCanSource
from packbox.adapters.can_errors import BusErrors, count_errors
from packbox.adapters.can_filters import FILTER_MAX, IdFilter, exactly, fold, pack_filters
from packbox.adapters.can_socket import Interface, parse_frames
from packbox.adapters.listening import Reading, on_box_clock
from packbox.core.frames import ERROR, EXTENDED, FD, REMOTE, FrameBatch
from packbox.core.stamp import NS_PER_S, Stamp, Tick
from packbox.ports import BusDownError


class Cable:
    """Interfaces that are UDP sockets: the kernel stamps and counts for them as it does for CAN."""

    def __init__(self) -> None:
        self.ends: dict[str, socket.socket] = {}
        self.failing: dict[str, int] = {}
        self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def open(self, interface: Interface) -> socket.socket:
        if interface.name in self.failing:
            raise OSError(self.failing[interface.name], "failing")
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        can_socket.ask_for_times(end)
        end.bind(("127.0.0.1", 0))
        self.ends[interface.name] = end
        return end

    def send(self, name: str, *frames: bytes) -> None:
        for frame in frames:
            self._sender.sendto(frame, self.ends[name].getsockname())

    def close(self) -> None:
        self._sender.close()


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable()
    yield made
    made.close()


def source(cable: Cable, *names: str, clock: FakeClock | None = None, batch_frames: int = 64) -> SocketCanSource:
    return SocketCanSource(
        [Interface(name) for name in names],
        clock or FakeClock(),
        batch_frames=batch_frames,
        open_socket=cable.open,
    )


def raw(*frames: bytes) -> tuple[np.ndarray, np.ndarray]:
    rows = [np.frombuffer(frame.ljust(72, b"\xee"), np.uint8) for frame in frames]
    return np.stack(rows), np.array([len(frame) for frame in frames], np.int64)


def test_the_kernels_frames_are_read_bit_by_bit() -> None:
    """A flag read as part of the id would make a known frame unknown. Stale bytes in the buffer must not show."""
    can_id, flags, length, data = parse_frames(
        *raw(
            can_frame(0x1DB, bytes(range(8))),
            can_frame(0x80000000 | 0x18DAF110, b"\x01\x02"),
            can_frame(0x40000000 | 0x123, b""),
            can_frame(0x20000000 | 0x40, b"\x00" * 8),
        )
    )
    assert can_id.tolist() == [0x1DB, 0x18DAF110, 0x123, 0x40]
    assert flags.tolist() == [0, EXTENDED, REMOTE, ERROR]
    assert length.tolist() == [8, 2, 0, 8]
    assert data.tolist() == [list(range(8)), [1, 2, 0, 0, 0, 0, 0, 0], [0] * 8, [0] * 8]


def test_can_fd_frames_share_a_batch_with_classic_ones() -> None:
    """A modern bus mixes both."""
    can_id, flags, length, data = parse_frames(*raw(canfd_frame(0x7FF, bytes(range(64))), can_frame(1, b"\xff")))
    assert (can_id.tolist(), flags.tolist(), length.tolist()) == ([0x7FF, 1], [FD, 0], [64, 1])
    assert data[0].tolist() == list(range(64))
    assert data[1].tolist() == [0xFF] + [0] * 63


def test_a_length_no_frame_can_have_reads_nothing_beyond_its_data() -> None:
    """A driver that sets the raw DLC (9..15) as length must not make us read the neighbour's memory."""
    frame = bytearray(can_frame(0x1DB, b"\x01" * 8))
    frame[4] = 15
    _, _, length, data = parse_frames(*raw(bytes(frame)))
    assert (length.tolist(), data.shape) == ([8], (1, 8))


def test_filters_are_the_kernels_and_exact_ids_are_found_by_table() -> None:
    """net/can/af_can.c uses its fast table only when the mask holds every id bit and both flags."""
    packed = pack_filters([exactly(0x1DB), exactly(0x18DAF110, extended=True)])
    assert np.frombuffer(packed, np.uint32).tolist() == [0x1DB, 0xC00007FF, 0x98DAF110, 0xDFFFFFFF]


def test_more_ids_than_the_kernel_has_filters_for_share_some() -> None:
    """All that were asked for pass, of the others as few as can be; what fits is left as it is."""
    few = [exactly(0x1DB), exactly(0x18DAF110, extended=True), IdFilter(0x00F09000, 0x03FFFF00, extended=True)]
    assert set(fold(few)) == set(few)
    many = [exactly(k) for k in range(0x400, 0x800)] + few
    folded = fold(many)
    assert len(folded) <= FILTER_MAX
    passed = [k for k in range(0x800) if any(not f.extended and k & f.mask == f.can_id for f in folded)]
    assert set(range(0x400, 0x800)) | {0x1DB} <= set(passed)
    assert len(passed) < 0x400 + 8
    assert any(f.extended and 0x18DAF110 & f.mask == f.can_id for f in folded)


def test_an_error_frame_may_report_several_things() -> None:
    """linux/can/error.h; drivers set "protocol" beside "no acknowledgement" (slcan, sja1000), which is no noise."""
    ids = np.array([0x08 | 0x80 | 0x20, 0x08 | 0x80, 0x04, 0x04 | 0x40, 0x100], np.uint32)
    data = np.zeros((5, 8), np.uint8)
    data[2, 1] = 0x01 | 0x04
    data[3, 1] = 0x20
    assert count_errors(ids, data) == BusErrors(
        protocol=1, no_ack=1, overrun=1, warning=1, passive=1, bus_off=1, restarted=1
    )
    assert BusErrors(overrun=1) + BusErrors(overrun=2, bus_off=1) == BusErrors(overrun=3, bus_off=1)


async def test_frames_come_with_the_time_the_kernel_gave_them(cable: Cable) -> None:
    """Integrals and time-outs need the moment of arrival, not that of our waking up, on the clock that never jumps."""
    clock = FakeClock(mono_ahead_ns=77 * NS_PER_S, wall_ms=1_000)
    bus = source(cable, "can0", clock=clock)
    async with aclosing(bus.inputs()) as inputs:
        first = asyncio.ensure_future(anext(inputs))
        await asyncio.sleep(0)
        before = clock.now()
        cable.send("can0", can_frame(0x1DB, b"\x01"), can_frame(0x55B, b"\x02"))
        after = clock.now()
        batch = await first
    assert isinstance(batch, FrameBatch)
    assert (batch.boot, batch.can_id.tolist(), batch.bus.tolist()) == (BOOT, [0x1DB, 0x55B], [0, 0])
    assert batch.wall_offset_ms is not None
    assert before.mono_ns - 1_000_000 <= batch.mono_ns[0] <= batch.mono_ns[1] <= after.mono_ns + 1_000_000
    assert (bus.counts.frames, bus.counts.restamped, bus.counts.dropped) == (2, 0, 0)


@pytest.fixture
def stamping() -> Iterator[None]:
    """The kernel begins to stamp a moment after the first socket asks; until then it stamps when read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        probe.bind(("127.0.0.1", 0))
        for _ in range(200):
            probe.sendto(b"x", probe.getsockname())
            time.sleep(0.005)
            read_ns = time.time_ns()
            ((_, _, stamp),) = probe.recvmsg(1, 64)[1]
            seconds, ns = struct.unpack("=qq", stamp)
            if read_ns - (seconds * 1_000_000_000 + ns) > 2_000_000:
                break
        yield


@pytest.mark.usefixtures("stamping")
async def test_interfaces_are_buses_by_their_order_and_frames_are_in_order_of_time(cable: Cable) -> None:
    """A profile says EV-CAN is bus 1: frames of two queues must not come one queue after the other."""
    bus = source(cable, "can0", "can1")
    async with aclosing(bus.inputs()) as inputs:
        first = asyncio.ensure_future(anext(inputs))
        await asyncio.sleep(0)
        for k in range(4):
            cable.send(("can1", "can0")[k % 2], can_frame(k, b""))
        batch = await first
    assert isinstance(batch, FrameBatch)
    assert list(zip(batch.can_id.tolist(), batch.bus.tolist(), strict=True)) == [(0, 1), (1, 0), (2, 1), (3, 0)]


async def test_a_full_batch_is_followed_at_once_by_the_rest(cable: Cable) -> None:
    """Under load nothing waits in the kernel longer than it must."""
    bus = source(cable, "can0", batch_frames=4)
    async with aclosing(bus.inputs()) as inputs:
        first = asyncio.ensure_future(anext(inputs))
        await asyncio.sleep(0)
        cable.send("can0", *(can_frame(k, b"") for k in range(10)))
        batches = [await first, await anext(inputs), await anext(inputs)]
    ids = [batch.can_id.tolist() for batch in batches if isinstance(batch, FrameBatch)]
    assert ids == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_error_frames_are_handed_on_and_counted(cable: Cable) -> None:
    """They tell a sleeping car from a wrong bit rate."""
    bus = source(cable, "can0")
    async with aclosing(bus.inputs()) as inputs:
        first = asyncio.ensure_future(anext(inputs))
        await asyncio.sleep(0)
        cable.send("can0", can_frame(0x20000004, b"\x00\x01" + bytes(6)), can_frame(0x100, b""))
        batch = await first
    assert isinstance(batch, FrameBatch)
    assert batch.flags.tolist() == [ERROR, 0]
    assert bus.counts.error_frames == 1


async def test_what_the_kernel_dropped_is_counted(cable: Cable) -> None:
    """A gap that nobody knows of would be integrated over."""
    bus = source(cable, "can0")
    async with aclosing(bus.inputs()) as inputs:
        first = asyncio.ensure_future(anext(inputs))
        await asyncio.sleep(0)
        cable.ends["can0"].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sent = 200
        cable.send("can0", *(can_frame(k, b"") for k in range(sent)))
        got = len(await first)
        cable.send("can0", can_frame(1, b""))  # the count rides on the next frame
        got += len(await anext(inputs))
    assert bus.counts.dropped == sent + 1 - got > 0


async def test_a_silent_bus_ticks(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions close and days end though no frame comes."""
    monkeypatch.setattr(can_bus, "TICK_S", 0.001)
    async with aclosing(source(cable, "can0").inputs()) as inputs:
        assert isinstance(await anext(inputs), Tick)
        assert isinstance(await anext(inputs), Tick)


async def test_a_machine_without_can_is_told_so_and_may_be_tried_again() -> None:
    """The first thing a new owner meets: the message must say what to do, and the loop above goes on trying."""
    bus = SocketCanSource([Interface("can9")], FakeClock())
    for _ in range(2):
        with pytest.raises(BusDownError, match=r"can9: (this kernel has no CAN|there is no such interface)"):
            await anext(bus.inputs())


async def test_frames_before_the_interface_went_away_are_not_lost(
    cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last frames before the fault are the interesting ones, and the kernel tells of the fault first."""
    bus = source(cable, "can0")
    async with aclosing(bus.inputs()) as inputs:
        first = asyncio.ensure_future(anext(inputs))
        await asyncio.sleep(0)
        fail_once(monkeypatch, bus, errno.ENODEV)
        cable.send("can0", can_frame(0x1DB, b""))
        batch = await first
        assert isinstance(batch, FrameBatch)
        with pytest.raises(BusDownError, match="can0: there is no such interface"):
            await anext(inputs)


async def test_a_link_that_goes_down_keeps_its_socket(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened anew it would miss what came until then; meanwhile ticks go on, and health can say why it is silent."""
    monkeypatch.setattr(can_bus, "TICK_S", 0.001)
    bus = source(cable, "can0")
    async with aclosing(bus.inputs()) as inputs:
        await anext(inputs)
        fail_once(monkeypatch, bus, errno.ENETDOWN)
        assert isinstance(await anext(inputs), Tick)
        assert isinstance(await anext(inputs), Tick)
        assert bus.trouble is not None
        cable.send("can0", can_frame(0x1DB, b""))
        while not isinstance(await anext(inputs), FrameBatch):
            pass
        assert bus.trouble is None


async def test_one_interface_lost_does_not_silence_the_other(cable: Cable, caplog: pytest.LogCaptureFixture) -> None:
    """A HAT's second channel may be unplugged for months: said once, tried again quietly, and the first goes on."""
    cable.failing["can1"] = errno.ENODEV
    clock = FakeClock()
    bus = source(cable, "can0", "can1", clock=clock)
    async with aclosing(bus.inputs()) as inputs:
        for k in range(3):
            coming = asyncio.ensure_future(anext(inputs))
            await asyncio.sleep(0)
            cable.send("can0", can_frame(k, b""))
            batch = await coming
            assert isinstance(batch, FrameBatch)
            assert batch.can_id.tolist() == [k]
            clock.mono_ahead_ns += 60 * NS_PER_S
        del cable.failing["can1"]
        cable.send("can0", can_frame(3, b""))
        await anext(inputs)
        clock.mono_ahead_ns += 60 * NS_PER_S
        cable.send("can0", can_frame(4, b""))
        await anext(inputs)
        cable.send("can1", can_frame(5, b""))
        batch = await anext(inputs)
        assert isinstance(batch, FrameBatch)
        assert batch.bus.tolist() == [1]
    said = [r.message for r in caplog.records if "can1" in r.message and r.levelname == "WARNING"]
    assert said == ["can1: there is no such interface (unplugged, or its driver is not loaded)"]


def fail_once(monkeypatch: pytest.MonkeyPatch, bus: SocketCanSource, error: int) -> None:
    """An interface fails: the kernel tells it once, before the frames that wait."""
    fill, left = bus._room.fill, [error]

    def fill_or_fail(source: socket.socket, begin: int, end: int) -> int:
        if left:
            raise OSError(left.pop(), "failing")
        return fill(source, begin, end)

    monkeypatch.setattr(bus._room, "fill", fill_or_fail)


def reading(mono_s: float, system_s: float) -> Reading:
    return Reading(Stamp(BOOT, round(mono_s * NS_PER_S), None), round(system_s * NS_PER_S))


def seconds(*values: float) -> np.ndarray:
    return np.array([round(v * NS_PER_S) for v in values], np.int64)


def test_a_clock_set_between_two_reads_moves_no_frame() -> None:
    """The network comes in mid-charge: frames stamped before and after the step lie where they were."""
    empty, now = reading(100.0, 5_000.0), reading(101.0, 99_001.0)
    mono_ns, restamped = on_box_clock(seconds(5_000.2, 5_000.4, 99_000.5, 99_000.9), empty, now)
    assert mono_ns.tolist() == seconds(100.2, 100.4, 100.5, 100.9).tolist()
    assert restamped == 0


def test_frames_that_waited_through_a_stall_keep_their_time() -> None:
    """A disk stall of a minute must not turn a minute of current into one moment."""
    empty, now = reading(100.0, 5_000.0), reading(160.0, 5_060.0)
    assert on_box_clock(seconds(5_000.1, 5_030.0), empty, now)[0].tolist() == seconds(100.1, 130.0).tolist()


def test_a_time_that_makes_no_sense_becomes_the_time_of_reading_and_is_counted() -> None:
    """No stamp at all (0), or one from a clock nobody knows."""
    empty, now = reading(100.0, 5_000.0), reading(101.0, 5_001.0)
    mono_ns, restamped = on_box_clock(seconds(0.0, 9_999.0, 5_000.5), empty, now)
    assert mono_ns.tolist() == seconds(101.0, 101.0, 100.5).tolist()
    assert restamped == 2
