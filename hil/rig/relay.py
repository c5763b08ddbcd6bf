"""From a port of the guest to a port of this machine, and how many bytes passed.

In:  the Unix socket that QEMU connects to, the TCP port behind it. Out: `passed_bytes`, both ways, TLS and all.
A partner that is not there ends the connection, as a server's closed port does.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 65_536


class Relay(socketserver.ThreadingUnixStreamServer):
    """Serves from `with` on. Nothing of it outlives the process."""

    daemon_threads = True

    def __init__(self, path: Path, port: int) -> None:
        super().__init__(str(path), _Passing)
        self.path = path
        self.port = port
        self.passed_bytes = 0
        self._counting = threading.Lock()
        self._serving = threading.Thread(target=self.serve_forever, name=f"relay {path.name}", daemon=True)

    def __enter__(self) -> Self:
        self._serving.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()
        self.path.unlink()

    def carry(self, source: socket.socket, goal: socket.socket) -> None:
        """One way, until its end says that it is over; the other way may go on. One that breaks takes both along."""
        try:
            while data := source.recv(CHUNK_BYTES):
                goal.sendall(data)
                with self._counting:
                    self.passed_bytes += len(data)
            goal.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, goal):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


class _Passing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        relay = self.server
        assert isinstance(relay, Relay)
        try:
            there = socket.create_connection((HOST, relay.port))
        except OSError:
            return
        with there:
            back = threading.Thread(target=relay.carry, args=(there, self.request), daemon=True)
            back.start()
            relay.carry(self.request, there)
            back.join()
