"""Between bus and fold: nothing waits that must not, nothing is lost uncounted, a lost bus comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from packbox.app.inbox import Inbox
from packbox.app.listen import AGAIN_MAX_S, Listener
from packbox.core.frames import FrameBatch, empty_batch
from packbox.core.stamp import BootId, Stamp, Tick
from packbox.ports import BusDownError
from packbox.testing.sim_clock import SimClock

BOOT = BootId("b007" * 4)


def batch(frames: int) -> FrameBatch:
    import numpy as np

    return FrameBatch(
        BOOT,
        None,
        np.zeros(frames, np.int64),
        np.zeros(frames, np.uint8),
        np.zeros(frames, np.uint32),
        np.zeros(frames, np.uint8),
        np.zeros(frames, np.uint8),
        np.zeros((frames, 8), np.uint8),
    )


TICK = Tick(Stamp(BOOT, 0, None))


async def test_a_live_bus_never_waits_and_the_loss_is_counted() -> None:
    """A logger that is too slow must say how much it missed, not hide it."""
    inbox = Inbox(may_wait=False, room_frames=100)
    batches = [batch(40) for _ in range(5)]
    for item in batches:
        await inbox.put(item)
    assert await inbox.take(0) == batches[3:]
    assert inbox.dropped_frames == 120


async def test_one_batch_always_fits() -> None:
    """A batch larger than the room would otherwise be lost for ever."""
    inbox = Inbox(may_wait=False, room_frames=10)
    big = batch(1000)
    await inbox.put(big)
    assert await inbox.take(0) == [big]
    assert inbox.dropped_frames == 0


async def test_a_recording_waits_and_loses_nothing() -> None:
    """A replay must give the same history on a slow machine."""
    inbox = Inbox(may_wait=True, room_frames=100)
    sent = [batch(40) for _ in range(50)]

    async def write() -> None:
        for item in sent:
            await inbox.put(item)
        inbox.end()

    writer = asyncio.create_task(write())
    got: list[FrameBatch | Tick] = []
    while not inbox.ended:
        got += await inbox.take(1.0)
    await writer
    assert got == sent
    assert inbox.dropped_frames == 0


async def test_a_quiet_inbox_gives_nothing_after_the_wait() -> None:
    """So that the reader can commit on time although nothing comes."""
    assert await Inbox(may_wait=False).take(0.001) == []


async def test_the_end_wakes_the_reader() -> None:
    """Else a shutdown would hang until the commit interval."""
    inbox = Inbox(may_wait=False)
    reader = asyncio.create_task(inbox.take(60.0))
    await asyncio.sleep(0)
    inbox.end()
    assert await asyncio.wait_for(reader, 1.0) == []
    assert inbox.ended


class FlakyBus:
    """Plays a script: each entry is one opening of the bus; it ends with BusDownError, the last one for good."""

    def __init__(self, openings: Sequence[Sequence[FrameBatch | Tick]]) -> None:
        self.openings = list(openings)
        self.opened_at_s: list[float] = []

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        self.opened_at_s.append(asyncio.get_running_loop().time())
        for item in self.openings.pop(0):
            yield item
        if self.openings:
            raise BusDownError("can0: network is down")


async def listened(bus: FlakyBus) -> list[FrameBatch | Tick]:
    inbox = Inbox(may_wait=False)
    await Listener(bus, inbox, SimClock()).run()
    assert inbox._ended
    return await inbox.take(0)


@pytest.mark.looptime
async def test_the_back_off_grows_until_a_frame_comes() -> None:
    """An interface that opens and fails at once must not be hammered; a real wake-up must not be missed for long."""
    one = batch(1)
    bus = FlakyBus([[], [TICK], [empty_batch(BOOT)], [one], [], []])
    await listened(bus)
    gaps = [round(later - earlier) for earlier, later in zip(bus.opened_at_s, bus.opened_at_s[1:], strict=False)]
    assert gaps == [1, 2, 4, 1, 2]


@pytest.mark.looptime
async def test_the_back_off_has_a_ceiling() -> None:
    """A car that wakes up after a month is noticed within half a minute."""
    bus = FlakyBus([[]] * 12)
    await listened(bus)
    assert round(bus.opened_at_s[-1] - bus.opened_at_s[-2]) == AGAIN_MAX_S


@pytest.mark.looptime
async def test_time_goes_on_without_a_bus() -> None:
    """Ticks close the session that was open when the cable fell out."""
    one = batch(1)
    got = await listened(FlakyBus([[one], [], []]))
    assert got[0] is one
    assert got[1:] == [Tick(Stamp(BOOT, 0, None))] * 3


@pytest.mark.looptime
async def test_a_lost_bus_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Months without a bus must not fill the log."""
    caplog.set_level("INFO")
    await listened(FlakyBus([[], [], [], [batch(1)], []]))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


async def test_the_inbox_ends_also_when_the_source_breaks() -> None:
    """A bug in a source must take the box down, not leave it waiting for frames that never come."""

    class Broken:
        async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
            raise ZeroDivisionError
            yield TICK

    inbox = Inbox(may_wait=False)
    with pytest.raises(ZeroDivisionError):
        await Listener(Broken(), inbox, SimClock()).run()
    assert inbox.ended
