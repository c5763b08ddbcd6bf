"""A network that fails: a TCP cable of our own that can be cut in four ways, and a room of its own for the boxes.

In:  where connections shall go.
Out: an address to connect to; cuts, each of which ends by itself, at the latest when it is cancelled.
`Cable` works everywhere. `Room` is a network namespace behind a virtual Ethernet cable that is pulled out: packets
vanish, nobody is told. It needs root and a kernel that has both; `Room.make` gives None elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

AT_ONCE_BYTES: Final = 65_536
DRIP_BYTES: Final = 40  # of a slow line, every DRIP_EVERY_S: 2 kB/s
DRIP_EVERY_S: Final = 0.02
RST: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: closing sends RST


@dataclass(eq=False)
class _Call:
    """One connection through the cable."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    deaf: bool = False  # the far side is gone, and the near side was not told
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self, *sides: int) -> None:
        for side in sides or (0, 1):
            sock = self.writers[side].get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            self.writers[side].transport.abort()


@dataclass
class Cable:
    name: str
    to_host: str
    to_port: int
    port: int = 0
    host: str = "127.0.0.1"
    _calls: set[_Call] = field(default_factory=set)
    _flow: asyncio.Event = field(default_factory=asyncio.Event)
    _slow: bool = False
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._flow.set()
        self._server = await asyncio.start_server(self._carry, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for call in list(self._calls):
            call.told.set()
            call.reset()
        while self._calls:  # noqa: ASYNC110 - each takes itself out
            await asyncio.sleep(DRIP_EVERY_S)

    async def _carry(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        try:
            far_in, far_out = await asyncio.open_connection(self.to_host, self.to_port)
        except OSError:
            near_out.transport.abort()
            return
        except asyncio.CancelledError:  # the run was broken off
            return
        call = _Call((near_out, far_out))
        self._calls.add(call)
        pumps = [asyncio.create_task(self._pump(call, *way)) for way in ((near_in, far_out), (far_in, near_out))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._calls.discard(call)
            call.reset()

    async def _pump(self, call: _Call, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(DRIP_BYTES if self._slow else AT_ONCE_BYTES):
                await self._flow.wait()
                if self._slow:
                    await asyncio.sleep(DRIP_EVERY_S)
                if not call.deaf:
                    sink.write(data)
                    await sink.drain()
        if call.deaf:
            await call.told.wait()  # no FIN may reach the near side before

    # --- cuts ---------------------------------------------------------------------------------------------------

    async def reset(self, _for_s: float) -> None:
        """Both ends are told, in the middle of whatever was on its way."""
        for call in list(self._calls):
            call.reset()

    async def pause(self, for_s: float) -> None:
        """Nothing moves, then all of it."""
        self._flow.clear()
        try:
            await asyncio.sleep(for_s)
        finally:
            self._flow.set()

    async def half_open(self, for_s: float) -> None:
        """The far side hears that the near one is gone; the near one hears nothing, until its line is reset too."""
        cut = list(self._calls)
        for call in cut:
            call.deaf = True
            call.reset(1)
        try:
            await asyncio.sleep(for_s)
        finally:
            for call in cut:
                call.told.set()
                call.reset(0)

    async def slow(self, for_s: float) -> None:
        self._slow = True
        try:
            await asyncio.sleep(for_s)
        finally:
            self._slow = False


class Room:
    """A network namespace: `command` starts a program in it, which reaches us under `host`."""

    def __init__(self, number: int) -> None:
        self.name = f"chaos{number}"
        self._cable = f"ch{number}"
        self.host = f"10.213.{number % 256}.1"
        self._inside = f"10.213.{number % 256}.2"

    @classmethod
    def make(cls) -> Self | None:
        """None without the right or the kernel for it."""
        if os.getuid() != 0 or shutil.which("ip") is None:
            return None
        room = cls(os.getpid() % 10_000)
        inside = ["netns", "exec", room.name, "ip"]
        steps = (
            ["netns", "add", room.name],
            ["link", "add", room._cable, "type", "veth", "peer", "name", "eth0", "netns", room.name],
            ["addr", "add", f"{room.host}/30", "dev", room._cable],
            ["link", "set", room._cable, "up"],
            [*inside, "addr", "add", f"{room._inside}/30", "dev", "eth0"],
            [*inside, "link", "set", "eth0", "up"],
            [*inside, "link", "set", "lo", "up"],
        )
        if all(room._ip(*step) for step in steps):
            return room
        room.close()
        return None

    def _ip(self, *arguments: str) -> bool:
        return subprocess.run(["ip", *arguments], check=False, capture_output=True, timeout=30).returncode == 0

    def command(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    async def unplug(self, for_s: float) -> None:
        """Packets vanish in both directions; connections live on if it is not for too long."""
        link = ("netns", "exec", self.name, "ip", "link", "set", "eth0")
        self._ip(*link, "down")
        try:
            await asyncio.sleep(for_s)
        finally:
            self._ip(*link, "up")

    def close(self) -> None:
        self._ip("link", "del", self._cable)
        self._ip("netns", "del", self.name)
