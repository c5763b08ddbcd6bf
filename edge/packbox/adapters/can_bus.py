"""Listen on SocketCAN: all frames of one or more interfaces, drained in batches from the kernel's queues.

In:  interfaces by name, with the ids that matter; the kernel drops the others before they cost anything.
Out: `FrameBatch`es, gathered for up to 250 ms, with the kernel's time of each frame; `Tick` once a second of silence.
     What the kernel had to drop is counted (SO_RXQ_OVFL).
Refuses to send: nothing here can. A link that goes down keeps its socket, so that its first frame after it is up again
is heard; `trouble` says so meanwhile. One interface lost of several is opened again while the others go on; when the
last one is lost, BusDownError.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from packbox.adapters.can_errors import BUS_OFF, count_errors
from packbox.adapters.can_socket import (
    CLASSIC_FRAME_BYTES,
    FRAME_COST_BYTES,
    Interface,
    is_up,
    open_can_socket,
    parse_frames,
)
from packbox.adapters.frame_room import FRAME_BYTES, FrameRoom
from packbox.adapters.listening import (
    BATCH_FRAMES,
    GATHER_S,
    TICK_S,
    BusCounts,
    Reading,
    in_time_order,
    on_box_clock,
    read_clocks,
    wall_offset_ms,
)
from packbox.core.frames import (
    ERROR,
    SENT,
    BoolArray,
    FrameBatch,
    IntArray,
)
from packbox.core.stamp import NS_PER_S, Tick
from packbox.ports import BusDownError, FrameClock

_log = logging.getLogger(__name__)

RETRY_S: Final = 5.0  # one of several interfaces is gone: how often to try it again
BUSY_HZ: Final = 5000  # frames a second of the busiest classic bus we expect


_ADVICE: Final = {
    errno.ENETDOWN: "the interface is down (bring it up with its bit rate, for example with the shipped network unit)",
    errno.ENODEV: "there is no such interface (unplugged, or its driver is not loaded)",
    errno.EAFNOSUPPORT: "this kernel has no CAN sockets, or the service may not use them (module can_raw, AF_CAN)",
    errno.EPERM: "this user may not open CAN sockets",
}


class SocketCanSource:
    """`ports.FrameSource` of the car's buses: the interfaces are bus 0, 1, ... in the order given."""

    def __init__(
        self,
        interfaces: Sequence[Interface],
        clock: FrameClock,
        *,
        batch_frames: int = BATCH_FRAMES,
        open_socket: Callable[[Interface], socket.socket] | None = None,
    ) -> None:
        assert 0 < len(interfaces) <= min(256, batch_frames)
        self._lines = [_Line(interface) for interface in interfaces]
        self._clock = clock
        self._open_socket = open_socket or open_can_socket
        self._counts = BusCounts()
        self._room = FrameRoom(batch_frames)
        self._share = batch_frames // len(interfaces)  # else a busy bus would keep a quiet one waiting after a stall
        self._emptied = read_clocks(clock)
        self._more_waits = False

    @property
    def counts(self) -> BusCounts:
        return self._counts

    @property
    def trouble(self) -> str | None:
        """What keeps interfaces from giving frames now."""
        return "; ".join(f"{line.name}: {line.trouble}" for line in self._lines if line.trouble) or None

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        self._emptied = read_clocks(self._clock)
        for line in self._lines:
            line.retry_ns = 0  # whoever iterates again has waited as long as he thinks right
        try:
            self._open_lost()
            while True:
                batch = self._drain()
                if batch is not None:
                    yield batch
                if not any(line.socket for line in self._lines):
                    raise BusDownError(self.trouble)
                if batch is None:
                    if not await self._readable(TICK_S):
                        yield Tick(self._clock.now())
                else:
                    await asyncio.sleep(0 if self._more_waits else self._gather_s())
                self._open_lost()
        finally:
            for line in self._lines:
                line.close()

    def _drain(self) -> FrameBatch | None:
        """Everything that waits, at most a batch. An interface that fails is closed; what it gave before is kept."""
        spans: list[tuple[_Line, slice]] = []
        self._more_waits = False
        n = 0
        for line in self._lines:
            before = n
            if line.socket is not None:
                n = self._drain_one(line, line.socket, n)
            spans.append((line, slice(before, n)))
        empty, now = self._emptied, read_clocks(self._clock)
        if not self._more_waits:
            self._emptied = now
        batch = self._batch(n, spans, empty, now) if n else None
        for line in self._lines:
            line.settle(now.stamp.mono_ns)
        return batch

    def _batch(self, n: int, spans: list[tuple[_Line, slice]], empty: Reading, now: Reading) -> FrameBatch | None:
        size = self._room.sizes(n)
        mono_ns, restamped = on_box_clock(self._room.times_ns(n), empty, now)
        can_id, flags, length, data = parse_frames(self._room.raw[:n], size)
        flags |= np.where(self._room.sent_here(n), SENT, 0).astype(np.uint8)
        drops = self._room.drops(n)
        ours = (size == CLASSIC_FRAME_BYTES) | (size == FRAME_BYTES)  # else CAN XL, which we never asked for
        bus = np.empty(n, np.uint8)
        dropped = 0
        for number, (line, span) in enumerate(spans):
            bus[span] = number
            mono_ns[span] = line.in_order(mono_ns[span])
            line.heard(can_id[span], flags[span], now.stamp.mono_ns)
            dropped += line.newly_dropped(drops[span])
        error = flags & ERROR > 0
        self._counts = replace(
            self._counts,
            frames=self._counts.frames + int(np.count_nonzero(ours)),
            error_frames=self._counts.error_frames + int(np.count_nonzero(error & ours)),
            errors=self._counts.errors + count_errors(can_id[error], data[error])
            if error.any()
            else self._counts.errors,
            dropped=self._counts.dropped + dropped,
            restamped=self._counts.restamped + restamped,
        )
        offset_ms = wall_offset_ms(now.stamp)
        batch = FrameBatch(now.stamp.boot, offset_ms, mono_ns, bus, can_id, flags, length, data)
        if not ours.all():
            batch = batch.pick(np.flatnonzero(ours))
        if not len(batch):
            return None
        return in_time_order(batch) if len(self._lines) > 1 else batch

    def _drain_one(self, line: _Line, source: socket.socket, begin: int) -> int:
        """Fill rows from `begin` on with what waits, at most this interface's share; the row after the last one."""
        line.emptied = False
        end = begin + self._share
        while begin < end:
            try:
                begin = self._room.fill(source, begin, end)
            except BlockingIOError:
                line.emptied = True
                return begin
            except OSError as error:  # told before the frames that came earlier
                if line.failure is not None:
                    line.emptied = True
                    return begin
                line.failure = error
        self._more_waits = True
        return begin

    def _gather_s(self) -> float:
        """Long enough to sleep, short enough that the smallest queue is at most half full on the busiest bus."""
        return min([GATHER_S, *(line.queue_frames / 2 / BUSY_HZ for line in self._lines if line.socket)])

    async def _readable(self, timeout_s: float) -> bool:
        loop = asyncio.get_running_loop()
        something = asyncio.Event()
        sockets = [line.socket for line in self._lines if line.socket is not None]
        for source in sockets:
            loop.add_reader(source, something.set)
        try:
            async with asyncio.timeout(timeout_s):
                await something.wait()
        except TimeoutError:
            return False
        finally:
            for source in sockets:
                loop.remove_reader(source)
        return True

    def _open_lost(self) -> None:
        now_ns = self._clock.now().mono_ns
        for line in self._lines:
            if line.socket is None and now_ns >= line.retry_ns:
                try:
                    line.opened(self._open_socket(line.interface))
                except OSError as error:
                    line.lose(error, now_ns)


class _Line:
    """One interface: its socket while there is one, and since when it has been quiet by fault."""

    def __init__(self, interface: Interface) -> None:
        self.interface = interface
        self.name = interface.name
        self.socket: socket.socket | None = None
        self.emptied = False
        self.failure: OSError | None = None  # told, but frames that came before it may still be there
        self._was_up = False  # since the socket was opened
        self.trouble = ""
        self.retry_ns = 0
        self._dropped = 0
        self.queue_frames = 0
        self._lost_ns: int | None = None
        self._newest_ns = 0

    def opened(self, source: socket.socket) -> None:
        self.socket = source
        self.failure = None
        self._was_up = False
        self._dropped = 0
        self.queue_frames = source.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // FRAME_COST_BYTES

    def settle(self, now_ns: int) -> None:
        """After everything that waited was read."""
        if self.socket is None or not self.emptied:
            return
        failure, self.failure = self.failure, None
        if failure is None:
            self._was_up = True
        elif failure.errno != errno.ENETDOWN or not is_up(self.socket, self.name):  # else it is over already
            self.lose(failure, now_ns)

    def lose(self, error: OSError, now_ns: int) -> None:
        """A link that goes down is the same link when it comes up again; its socket goes on by itself (ENETDOWN)."""
        if error.errno != errno.ENETDOWN or not self._was_up:
            self.close()
            self.retry_ns = now_ns + round(RETRY_S * NS_PER_S)
        self._quiet(_ADVICE.get(error.errno or 0) or error.strerror or str(error), now_ns)

    def in_order(self, mono_ns: IntArray) -> IntArray:
        """A wall clock set by less than it takes to tell cannot make frames of one queue overtake each other."""
        if len(mono_ns):
            mono_ns = np.maximum.accumulate(np.maximum(mono_ns, self._newest_ns))
            self._newest_ns = int(mono_ns[-1])
        return mono_ns

    def newly_dropped(self, totals: IntArray) -> int:
        """By the kernel's count, which goes on in 32 bits from the socket's opening."""
        told = totals[totals > 0]
        if not len(told):
            return 0
        before, self._dropped = self._dropped, int(told[-1])
        return (self._dropped - before) % (1 << 32)

    def heard(self, can_id: npt.NDArray[np.uint32], flags: npt.NDArray[np.uint8], now_ns: int) -> None:
        """Only a frame ends an outage: a link that is down opens too, and one that is bus-off reports errors."""
        if not len(can_id):
            return
        last_frame = _last(flags & ERROR == 0)
        if _last((flags & ERROR > 0) & (can_id & BUS_OFF > 0)) > last_frame:
            self._quiet("bus off: too many errors, the controller has left the bus", now_ns)
        elif last_frame >= 0:
            self.trouble = ""
            if self._lost_ns is not None:
                _log.info("%s gives frames again after %.0f s", self.name, (now_ns - self._lost_ns) / NS_PER_S)
                self._lost_ns = None

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _quiet(self, why: str, now_ns: int) -> None:
        self.trouble = why
        if self._lost_ns is None:
            self._lost_ns = now_ns
            _log.warning("%s: %s", self.name, why)


def _last(which: BoolArray) -> int:
    """The place of the last one, or -1."""
    places = np.flatnonzero(which)
    return int(places[-1]) if len(places) else -1
