"""Listen through python-can: any adapter it supports, where SocketCAN is not to be had.

In:  interface and channel in python-can's words, and its options for them.
Out: `FrameBatch` at most four times a second, `Tick` once a second of silence.
One worker thread reads (python-can waits in blocking calls, and its asyncio Notifier hangs when an interface dies); a
bounded queue to the loop drops the oldest and counts it.
Without `may_send` it refuses to send, and adapters with a listen-only mode are put into it, so that they do not even
acknowledge. With it, it is also a `ports.FrameLink`; what it sent stands among the frames, marked.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import can
import numpy as np

from packbox.adapters.can_messages import message_columns
from packbox.adapters.listening import (
    BATCH_FRAMES,
    GATHER_S,
    TICK_S,
    BusCounts,
    read_clocks,
    wall_offset_ms,
)
from packbox.core.exchange import OutFrame
from packbox.core.frames import ERROR, FrameBatch, IntArray
from packbox.core.profile import message_key
from packbox.core.stamp import NS_PER_MS, NS_PER_S, Tick
from packbox.ports import BusBusyError, BusDownError, FrameClock

QUEUE_FRAMES: Final = 20_000  # several seconds of a busy bus
SEND_S: Final = 0.1  # a queue that stays full for longer means that nobody acknowledges
RECEIVE_S: Final = 0.2  # how long the worker waits for a frame before it looks whether to stop

ADAPTER_TROUBLE: Final = (can.CanError, OSError, ImportError, ValueError, TypeError)  # python-can's drivers mix them

# python-can 4.6: what each interface calls listening without acknowledging. The others are set up outside or cannot.
LISTEN_ONLY: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        "cantact": {"monitor": True},
        "kvaser": {"driver_mode": False},  # canlib.DRIVER_MODE_SILENT
        "nixnet": {"listen_only": True},
        "pcan": {"state": can.BusState.PASSIVE},
        "seeedstudio": {"operation_mode": "silent"},
        "slcan": {"listen_only": True},
        "systec": {"state": can.BusState.PASSIVE},
        "vector": {"listen_only": True},
    }
)


class PythonCanSource:
    """`ports.FrameSource` of one python-can channel, as bus number `bus`."""

    def __init__(
        self,
        interface: str,
        channel: str,
        clock: FrameClock,
        *,
        bus: int = 0,
        options: Mapping[str, object] = MappingProxyType({}),
        queue_frames: int = QUEUE_FRAMES,
        batch_frames: int = BATCH_FRAMES,
        may_send: bool = False,
    ) -> None:
        """`options` go to `can.Bus` as they are, for example `{"bitrate": 500_000}`, and win over listen-only."""
        assert 0 <= bus < 256
        self.name = f"{interface}:{channel}"
        silent = {} if may_send else LISTEN_ONLY.get(interface, {})
        self._options: dict[str, Any] = {**silent, **options, "interface": interface, "channel": channel}
        self.listen_only = bool(silent) and all(self._options[key] == value for key, value in silent.items())
        self._clock = clock
        self._bus = bus
        self._queue_frames = queue_frames
        self._batch_frames = batch_frames
        self._counts = BusCounts()
        self._may_send = may_send
        self._open: tuple[can.BusABC, _Inbox] | None = None
        self._overhearing: dict[int, Callable[[bytes], None]] = {}

    @property
    def counts(self) -> BusCounts:
        return self._counts

    @property
    def trouble(self) -> str | None:
        """Nothing that the loop above does not know already: without its one channel it raises BusDownError."""
        return None

    async def send(self, frame: OutFrame) -> None:
        assert self._may_send
        if self._open is None:
            raise BusDownError(f"{self.name}: not open")
        adapter, inbox = self._open
        now = read_clocks(self._clock)
        message = can.Message(
            timestamp=now.system_ns / NS_PER_S,
            arbitration_id=frame.can_id,
            is_extended_id=frame.extended,
            data=frame.data,
            is_rx=False,
        )
        try:
            await asyncio.to_thread(adapter.send, message, SEND_S)
        except ADAPTER_TROUBLE as problem:
            raise BusBusyError(f"{self.name}: {problem}") from problem
        inbox.put(_Received(message, now.stamp.mono_ns, now.system_ns))

    @contextlib.contextmanager
    def overhear(self, keys: Sequence[int], heard: Callable[[int, bytes], None]) -> Iterator[None]:
        """One at a time for each id."""
        loop = asyncio.get_running_loop()
        self._overhearing |= {key: partial(_call_on, loop, heard, key) for key in keys}
        try:
            yield
        finally:
            for key in keys:
                del self._overhearing[key]

    async def inputs(self) -> AsyncIterator[FrameBatch | Tick]:
        inbox = _Inbox(self._queue_frames, asyncio.get_running_loop())
        worker = threading.Thread(target=self._listen, args=(inbox,), name=f"listen {self.name}", daemon=True)
        worker.start()
        try:
            while True:
                items, dropped = inbox.take(self._batch_frames)
                if dropped:
                    self._counts = replace(self._counts, dropped=self._counts.dropped + dropped)
                if items:
                    yield self._batch(items)
                    await asyncio.sleep(0 if len(items) == self._batch_frames else GATHER_S)
                elif inbox.trouble is not None:
                    raise BusDownError(f"{self.name}: {inbox.trouble}") from inbox.trouble
                elif not worker.is_alive():
                    raise RuntimeError(f"{self.name}: the reading thread died of a fault of its own")
                elif not await inbox.filled(TICK_S):
                    yield Tick(self._clock.now())
        finally:
            inbox.closed.set()
            await asyncio.to_thread(worker.join, RECEIVE_S * 5)

    def _listen(self, inbox: _Inbox) -> None:
        """The worker thread: owns the adapter from opening to closing."""
        try:
            with can.Bus(**self._options) as adapter:
                self._open = adapter, inbox
                while not inbox.closed.is_set():
                    message = adapter.recv(RECEIVE_S)
                    if message is not None:
                        now = read_clocks(self._clock)
                        inbox.put(_Received(message, now.stamp.mono_ns, now.system_ns))
                        if self._overhearing:
                            self._tell(message)
        except ADAPTER_TROUBLE as error:
            inbox.fail(error)

        finally:
            self._open = None

    def _tell(self, message: can.Message) -> None:
        heard = self._overhearing.get(message_key(message.arbitration_id, message.is_extended_id))
        if heard is not None and message.is_rx and not (message.is_error_frame or message.is_remote_frame):
            heard(bytes(message.data))

    def _batch(self, items: list[_Received]) -> FrameBatch:
        n = len(items)
        can_id, flags, length, data = message_columns([item.message for item in items])
        mono_ns, restamped = _on_box_clock(items)
        now = self._clock.now()
        self._counts = replace(
            self._counts,
            frames=self._counts.frames + n,
            error_frames=self._counts.error_frames + int(np.count_nonzero(flags & ERROR)),
            restamped=self._counts.restamped + restamped,
        )
        return FrameBatch(
            now.boot,
            wall_offset_ms(now),
            mono_ns,
            np.full(n, self._bus, np.uint8),
            can_id.astype(np.uint32),
            flags.astype(np.uint8),
            length.astype(np.uint8),
            data,
        )


class _Received(NamedTuple):
    message: can.Message
    mono_ns: int  # both clocks when it was handed over
    system_ns: int


def _on_box_clock(items: Sequence[_Received]) -> tuple[IntArray, int]:
    """Box times, and how many are those of reading: some adapters count from their own start, or give no time."""
    stamped_s = np.array([item.message.timestamp for item in items], np.float64)
    read_ns = np.array([item.mono_ns for item in items], np.int64)
    system_ns = np.array([item.system_ns for item in items], np.int64)
    stamped_ns = np.rint(np.nan_to_num(stamped_s) * 1e6).astype(np.int64) * 1000  # a double holds microseconds
    age_ns = system_ns - stamped_ns
    sound = (age_ns >= -NS_PER_MS) & (age_ns <= NS_PER_S)
    return np.where(sound, read_ns - age_ns, read_ns), int(np.count_nonzero(~sound))


class _Inbox:
    """A bounded queue from the worker thread to the loop. Full, it drops the oldest."""

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self.closed = threading.Event()
        self.trouble: Exception | None = None
        self._limit = limit
        self._loop = loop
        self._lock = threading.Lock()
        self._items: deque[_Received] = deque()
        self._dropped = 0
        self._something = asyncio.Event()

    def put(self, item: _Received) -> None:
        with self._lock:
            first = not self._items
            if len(self._items) == self._limit:
                self._items.popleft()
                self._dropped += 1
            self._items.append(item)
        if first:  # once per batch: waking the loop costs more than a frame
            self._wake()

    def fail(self, trouble: Exception) -> None:
        self.trouble = trouble
        self._wake()

    def take(self, limit: int) -> tuple[list[_Received], int]:
        """The oldest items and how many were dropped since last asked."""
        self._something.clear()
        with self._lock:
            items = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
            dropped, self._dropped = self._dropped, 0
        return items, dropped

    async def filled(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._something.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        _call_on(self._loop, self._something.set)


def _call_on(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
        loop.call_soon_threadsafe(call, *arguments)
