"""A real bus on which a simulated car speaks: SocketCAN, or any adapter that python-can knows.

In:  frames of the car and answers of its units.
Out: what others send, on the loop; counts of what went out and what did not.
A bus that takes no frames is no end: an unplugged cable and an adapter without a partner look the same, and both are
common on a bench. Only an adapter that cannot even be read for GONE_AFTER_S is gone.
Unlike everything else in the box this sends whatever it is given: it must never meet a car.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final

import can

from packbox.adapters.can_any import ADAPTER_TROUBLE, RECEIVE_S
from packbox.core.profile import EXTENDED_BIT, message_key
from packbox.ports import BusDownError

GONE_AFTER_S: Final = 10.0  # an interface that is only configured anew is back by then

Heard = Callable[[int, bytes], None]


class CarBus:
    """`packbox.sim.mouth.Bus`, as an async context manager. Everybody who joined hears what others send."""

    def __init__(self, name: str, bitrate: int) -> None:
        """`name`: `can1`, or `INTERFACE:CHANNEL` in python-can's words."""
        self.name = name
        self.sent = 0
        self.refused = 0  # frames that the bus did not take
        self.trouble: str | None = None  # why it takes none now
        interface, colon, channel = name.partition(":")
        self._options: dict[str, Any] = (
            {"interface": interface, "channel": channel, "bitrate": bitrate}
            if colon
            else {"interface": "socketcan", "channel": name}
        )
        self._heard: list[Heard] = []
        self._ended = threading.Event()
        self._gone: asyncio.Future[None] | None = None

    async def __aenter__(self) -> CarBus:
        """Raises BusDownError."""
        try:
            self._adapter = await asyncio.to_thread(lambda: can.Bus(**self._options))
        except ADAPTER_TROUBLE as problem:
            raise BusDownError(f"{self.name}: {problem}") from problem
        self._loop = asyncio.get_running_loop()
        self._gone = self._loop.create_future()
        self._reader = threading.Thread(target=self._read, name=f"hear {self.name}", daemon=True)
        self._reader.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        await asyncio.to_thread(self._reader.join)
        with contextlib.suppress(*ADAPTER_TROUBLE):
            await asyncio.to_thread(self._adapter.shutdown)

    def join(self, name: str, heard: Heard) -> None:  # noqa: ARG002 - on a real bus nobody has a name
        self._heard.append(heard)

    def send(self, name: str, key: int, data: bytes) -> None:  # noqa: ARG002 - on a real bus nobody has a name
        extended = bool(key & EXTENDED_BIT)
        try:
            self._adapter.send(can.Message(arbitration_id=key & ~EXTENDED_BIT, is_extended_id=extended, data=data), 0)
        except ADAPTER_TROUBLE as problem:
            self.refused += 1
            self.trouble = str(problem)
        else:
            self.sent += 1
            self.trouble = None

    def only(self, keys: Sequence[int]) -> None:
        """From now on hear nothing else: another car's traffic on a shared bus is not ours to read."""
        self._adapter.set_filters(
            [
                {
                    "can_id": key & ~EXTENDED_BIT,
                    "can_mask": 0x1FFFFFFF if key & EXTENDED_BIT else 0x7FF,
                    "extended": bool(key & EXTENDED_BIT),
                }
                for key in keys
            ]
        )

    async def gone(self) -> None:
        """Raises BusDownError when the adapter cannot be read any more; returns never."""
        assert self._gone is not None
        await self._gone

    def _read(self) -> None:
        """The reader thread."""
        failed = 0
        while not self._ended.is_set():
            try:
                message = self._adapter.recv(RECEIVE_S)
            except ADAPTER_TROUBLE as problem:
                failed += 1
                if failed * RECEIVE_S > GONE_AFTER_S:
                    self._call(self._lose, BusDownError(f"{self.name}: {problem}"))
                    return
                self._ended.wait(RECEIVE_S)
                continue
            failed = 0
            if message is not None and message.is_rx and not (message.is_error_frame or message.is_remote_frame):
                key = message_key(message.arbitration_id, message.is_extended_id)
                self._call(self._tell, key, bytes(message.data))

    def _tell(self, key: int, data: bytes) -> None:
        for heard in self._heard:
            heard(key, data)

    def _lose(self, problem: BusDownError) -> None:
        assert self._gone is not None
        if not self._gone.done():
            self._gone.set_exception(problem)

    def _call(self, call: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(call, *arguments)
