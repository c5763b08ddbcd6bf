"""paho's client, with a buffer between it and the kernel.

In:  a connected socket, as paho made it.
Out: the same packets in the same order, with one system call for many of them.
paho 2 asks the kernel four times for each message and once for each PUBACK; on a collector that was a third of all it
did (docs/benchmarks.md). It has no door for this: the methods overridden here are its own, so its version is bounded
in pyproject.toml, and the collector's tests against real brokers run through them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

READ_BYTES: Final = 65_536


class BufferedClient(paho.Client):
    _received: bytes = b""
    _at: int = 0
    _unsent: bytearray

    @property
    def buffered(self) -> bool:
        """Is there more that no event will tell of, because it was read from the socket already?"""
        return self._at < len(self._received)

    def want_write(self) -> bool:
        return bool(self._to_send) or super().want_write()

    @property
    def _to_send(self) -> bytearray:
        if "_unsent" not in self.__dict__:  # paho's own constructor does not know of it
            self._unsent = bytearray()
        return self._unsent

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self.buffered:
            self._received, self._at = super()._sock_recv(READ_BYTES), 0
        part = self._received[self._at : self._at + bufsize]
        self._at += len(part)
        return part

    def _sock_send(self, buf: bytes | bytearray) -> int:
        self._to_send.extend(buf)
        return len(buf)

    def _packet_write(self) -> MQTTErrorCode:
        code = super()._packet_write()
        if code not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN):
            return code
        try:
            self._flush()
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        return code

    def _flush(self) -> None:
        while self._to_send and self._sock is not None:
            del self._to_send[: super()._sock_send(self._to_send)]

    def _sock_close(self) -> None:
        with suppress(OSError):  # the farewell is among it; whoever hung up does not miss it
            self._flush()
        self._to_send.clear()
        self._received, self._at = b"", 0
        super()._sock_close()
