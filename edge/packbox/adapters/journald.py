"""Log lines as entries of systemd's journal, `extra` fields as fields of their own: `journalctl PROFILE=nissan-leaf`.

In:  log records. Out: datagrams in the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).
A record that the journal does not take goes to the handler behind: nothing is lost for want of a socket.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
SYSLOG_LEVEL: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
FIELD_BYTES_MAX: Final = 16_384  # a trace is a few kilobytes; a datagram beyond the socket's buffer is refused


class JournaldHandler(logging.Handler):
    def __init__(self, behind: logging.Handler, address: Path = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._behind = behind
        self._address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.sendto(entry(self._fields(record)), self._address)
        except OSError:
            self._behind.handle(record)

    def close(self) -> None:
        self._socket.close()
        self._behind.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> dict[str, str]:
        return {
            "MESSAGE": self.format(record),
            "PRIORITY": str(SYSLOG_LEVEL.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "packbox",
            "LOGGER": record.name,
        } | {name: str(value) for name, value in vars(record).items() if name.isupper()}


def entry(fields: Mapping[str, str]) -> bytes:
    """One entry: `NAME=value` lines, or name, length and bytes where the value has lines of its own."""
    parts: list[bytes] = []
    for name, value in fields.items():
        data = value.encode(errors="replace")[:FIELD_BYTES_MAX]
        if b"\n" in data:
            parts += [name.encode(), b"\n", len(data).to_bytes(8, "little"), data, b"\n"]
        else:
            parts += [name.encode(), b"=", data, b"\n"]
    return b"".join(parts)
