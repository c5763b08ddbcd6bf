"""What systemd hears of us."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from packbox.adapters.herald import Herald, herald_from


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0)
        yield listening


def heard(manager: socket.socket) -> list[bytes]:
    words = []
    try:
        while True:
            words.append(manager.recv(1000))
    except BlockingIOError:
        return words


def test_systemd_hears_ready_status_and_leaving(manager: socket.socket) -> None:
    """Type=notify waits for READY, `systemctl status` shows the line."""
    herald = herald_from({"NOTIFY_SOCKET": manager.getsockname()})
    herald.ready()
    herald.status("listening\non can0")
    herald.leaving()
    assert heard(manager) == [b"READY=1", b"STATUS=listening on can0", b"STOPPING=1"]


def test_the_watchdog_is_fed_by_progress_but_not_flooded(manager: socket.socket) -> None:
    """A thousand batches a second must not become a thousand datagrams; none at all must mean stuck."""
    herald = herald_from({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000000"})
    for tenth in range(101):
        herald.alive(tenth / 10)
    assert heard(manager) == [b"WATCHDOG=1"] * 3  # at 0, 5 and 10 s


def test_an_abstract_socket_is_reached() -> None:
    """systemd writes its NUL as @ (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0packbox-test-notify")
        listening.settimeout(0)
        Herald("@packbox-test-notify").ready()
        assert heard(listening) == [b"READY=1"]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "x"}])
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    """Run by hand, or the manager went away: never a reason to stop listening to the car."""
    herald = herald_from(environ)
    herald.ready()
    herald.alive(1.0)
    herald.leaving()


def test_systemd_python_is_used_where_it_is_installed(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's package keeps up with systemd; without it the standard library does the same."""
    words: list[str] = []
    package, daemon = ModuleType("systemd"), ModuleType("systemd.daemon")
    monkeypatch.setattr(daemon, "notify", words.append, raising=False)
    monkeypatch.setitem(sys.modules, "systemd", package)
    monkeypatch.setitem(sys.modules, "systemd.daemon", daemon)
    herald_from({"NOTIFY_SOCKET": manager.getsockname()}).ready()
    assert (words, heard(manager)) == (["READY=1"], [])
