"""The way from a guest's port to one of this machine: whole, counted, and ended as a server's end would."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from brokers import HOST, free_port
from rig.relay import Relay

ASKED = b"a" * 100_000


def told(path: Path, sent: bytes) -> bytes:
    """What came back until the other end closed."""
    with socket.socket(socket.AF_UNIX) as guest:
        guest.settimeout(10)
        guest.connect(str(path))
        guest.sendall(sent)
        guest.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: guest.recv(65_536), b""))


def test_both_ways_are_carried_whole_and_counted(tmp_path: Path) -> None:
    """The figure of bytes on the wire is this count."""
    with socket.create_server((HOST, 0)) as server:

        def answer() -> None:
            there, _ = server.accept()
            with there:
                there.sendall(b"".join(iter(lambda: there.recv(65_536), b"")).upper())

        answering = threading.Thread(target=answer)
        answering.start()
        with Relay(tmp_path / "1.sock", server.getsockname()[1]) as relay:
            assert told(relay.path, ASKED) == ASKED.upper()
            answering.join()
            assert relay.passed_bytes == 2 * len(ASKED)


def test_a_partner_that_is_not_there_ends_the_connection(tmp_path: Path) -> None:
    """A box must see that its broker is away, not wait for it."""
    with Relay(tmp_path / "1.sock", free_port()) as relay:
        assert told(relay.path, b"") == b""
        assert relay.passed_bytes == 0
