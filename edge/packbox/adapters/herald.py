"""Tell systemd how we are: started, alive, leaving. Three words in a datagram; without systemd they go nowhere.

Alive is said by whoever made progress, so that a stuck box is restarted and a busy one is not.
"""

from __future__ import annotations

import importlib
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Final

log = logging.getLogger(__name__)

US_PER_S: Final = 1_000_000


class Herald:
    """sd_notify(3). `address`: $NOTIFY_SOCKET; None makes every call a no-op.

    `notify`: systemd-python's, where it is installed; else the standard library does the same.
    """

    def __init__(
        self,
        address: str | None = None,
        watchdog_s: float | None = None,
        notify: Callable[[str], object] | None = None,
    ) -> None:
        self._address = None if address is None else _socket_address(address)
        self._watchdog_s = watchdog_s
        self._notify = notify
        self._said_alive_s: float | None = None

    @property
    def is_heard(self) -> bool:
        """A service manager started us, and will again."""
        return self._address is not None

    def ready(self) -> None:
        self._say("READY=1")

    def leaving(self) -> None:
        self._say("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._say("STATUS=" + text.replace("\n", " "))

    def alive(self, now_s: float) -> None:
        """Call at every progress; passed on at most four times per watchdog time. `now_s`: any monotonic seconds."""
        if self._watchdog_s is None:
            return
        if self._said_alive_s is None or now_s - self._said_alive_s >= self._watchdog_s / 4:
            self._said_alive_s = now_s
            self._say("WATCHDOG=1")

    def _say(self, words: str) -> None:
        if self._address is None:
            return
        if self._notify is not None:
            self._notify(words)
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
            try:
                out.sendto(words.encode(), self._address)
            except OSError as problem:  # the manager is not listening: no reason to stop listening to the car
                log.debug("systemd did not take %r: %s", words, problem)


def herald_from(environ: Mapping[str, str]) -> Herald:
    """From what systemd put into our environment (sd_notify(3), sd_watchdog_enabled(3))."""
    watchdog_us = environ.get("WATCHDOG_USEC", "")
    watchdog_s = int(watchdog_us) / US_PER_S if watchdog_us.isdecimal() and int(watchdog_us) > 0 else None
    address = environ.get("NOTIFY_SOCKET") or None
    return Herald(address, watchdog_s, None if address is None else _systemd_python())


def _systemd_python() -> Callable[[str], object] | None:
    try:
        notify: Callable[[str], object] = importlib.import_module("systemd.daemon").notify
    except ImportError:
        return None
    return notify


def _socket_address(address: str) -> str:
    return "\0" + address[1:] if address.startswith("@") else address
