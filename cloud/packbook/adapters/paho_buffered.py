"""paho's client, with a buffer between it and the kernel, and with the packets of a busy collector read and made here.

In:  a connected socket, as paho made it; publications, and the numbers of messages to acknowledge.
Out: the same packets in the same order, with one system call for many of them; each message by `on_arrival`.
paho 2 asks the kernel four times for each message and once for each PUBACK, and walks through some thirty functions
and two locks for each: half of all that a collector did (docs/benchmarks.md). Here PUBLISH and PUBACK of QoS 1 go
straight through. Connecting, subscribing, keep-alive, farewells and every packet that is not plain stay paho's.
It has no door for this: the methods overridden are its own, so its version is bounded in pyproject.toml, and the
collector's tests against real brokers run through them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

READ_BYTES: Final = 65_536
WINDOW: Final = 20  # publications on their way where the broker does not say how many it takes (MQTT 3.1.1)
WINDOW_MAX: Final = 1000
PUBLISH: Final = 0x30
RETAINED_QOS1: Final = 0x33
PUBACK: Final = 0x40
PUBACK_HEAD: Final = b"\x40\x02"
EXPIRY: Final = b"\x05\x02"  # five bytes of properties: Message Expiry Interval
FAILED: Final = 0x80  # reason codes from here on (MQTT 5 §2.4)


@dataclass(slots=True)
class _Outgoing:
    """Publications of ours: those that the broker has not confirmed, and those it has no room for yet."""

    window: int = WINDOW
    unsent: deque[tuple[bytes, bytes, Callable[[], None]]] = field(default_factory=deque)  # topic, rest, then
    unconfirmed: dict[int, Callable[[], None]] = field(default_factory=dict)


class BufferedClient(paho.Client):
    """`on_arrival`: called with topic, payload, packet number and QoS of each message."""

    def __init__(
        self,
        client_id: str,
        protocol: MQTTProtocolVersion,
        clean_session: bool | None,
        on_arrival: Callable[[bytes, bytes, int, int], None],
    ) -> None:
        self._received = b""
        self._at = 0
        self._cut = False  # what is left of `_received` is the beginning of a packet
        self._to_send = bytearray()
        self._outgoing = _Outgoing()
        self._on_arrival = on_arrival
        self.paused = False
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean_session,
            protocol=protocol,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self.on_message = self._pass_on

    # --- in -----------------------------------------------------------------------------------------------------

    @property
    def buffered(self) -> bool:
        """Is there more that no event will tell of, because it was read from the socket already?"""
        return self._at < len(self._received) and not self._cut

    def _packet_read(self) -> MQTTErrorCode:
        if self._in_packet["command"] == 0:  # else paho is in the middle of one
            if not self.buffered and (code := self._receive()) is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                return code
            if self._read_plain():
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super()._packet_read()

    def _read_plain(self) -> bool:
        """Deal with what was received, as far as it is whole and until we are paused. False: now comes one for paho."""
        try:
            while not self.paused:
                data, at = self._received, self._at
                head, length, begin = data[at], data[at + 1], at + 2
                if length > 127:
                    if data[begin] > 127:  # 16 kB and more
                        return False
                    length, begin = length & 127 | data[begin] << 7, begin + 1
                if begin + length > len(data):
                    self._cut = True
                    break
                if not self._is_plain(head, begin, begin + length):
                    return False
        except IndexError:
            self._cut = True  # not even its length is here
        return True

    def _is_plain(self, head: int, begin: int, end: int) -> bool:
        """Deal with this packet, whose contents begin here. False: it is one for paho."""
        data = self._received
        if head & 0xF0 == PUBLISH and head & 0x06 != 0x06 and not head & 0x04:
            topic_at, qos, number = begin + 2, head >> 1 & 3, 0
            at = topic_end = topic_at + (data[begin] << 8 | data[begin + 1]) if topic_at <= end else end + 1
            if qos and at + 2 <= end:
                number, at = data[at] << 8 | data[at + 1], at + 2
            if self._protocol == MQTTProtocolVersion.MQTTv5 and at < end:
                at += 1 + data[at] if data[at] < 128 else end  # properties, which we ask for none of
            if at > end or (qos and not number):
                return False
            self._at = end
            self._on_arrival(data[topic_at:topic_end], data[at:end], number, qos)
            return True
        if head == PUBACK and end - begin >= 2:
            self._at = end
            self._confirmed(data[begin] << 8 | data[begin + 1], data[begin + 2] if end - begin > 2 else 0)
            return True
        return False

    def _receive(self) -> MQTTErrorCode:
        try:
            more = super()._sock_recv(READ_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        if not more:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        self._received, self._at, self._cut = self._received[self._at :] + more, 0, False
        self._last_bytes_received = paho.time_func()  # for its keep-alive
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._at >= len(self._received):
            self._received, self._at = super()._sock_recv(READ_BYTES), 0
        part = self._received[self._at : self._at + bufsize]
        self._at += len(part)
        return part

    def _pass_on(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        """A message that paho read: a large one, or one in an odd form."""
        self._on_arrival(message._topic, bytes(message.payload), message.mid, message.qos)

    # --- out ----------------------------------------------------------------------------------------------------

    def acknowledge(self, number: int) -> None:
        """PUBACK."""
        self._to_send += PUBACK_HEAD + number.to_bytes(2)
        self._call_socket_register_write()

    def may_publish(self, at_once: int | None) -> None:
        """How many unconfirmed publications the broker takes, if it said so."""
        self._outgoing.window = WINDOW if at_once is None else min(at_once, WINDOW_MAX)

    def publish_retained(
        self, topic: str, payload: bytes, done: Callable[[], None], expiry_s: int | None = None
    ) -> None:
        """QoS 1. `done`: when the broker has taken it."""
        properties = b""
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            properties = b"\x00" if expiry_s is None else EXPIRY + expiry_s.to_bytes(4)
        self._outgoing.unsent.append((topic.encode(), properties + payload, done))
        self._publish_waiting()

    def _publish_waiting(self) -> None:
        out = self._outgoing
        while out.unsent and len(out.unconfirmed) < out.window:
            topic, rest, done = out.unsent.popleft()
            while (number := self._mid_generate()) in out.unconfirmed:
                pass
            out.unconfirmed[number] = done
            self._to_send += bytes((RETAINED_QOS1, *_length(len(topic) + len(rest) + 4))) + len(topic).to_bytes(2)
            self._to_send += topic + number.to_bytes(2) + rest
            self._call_socket_register_write()

    def _confirmed(self, number: int, reason: int) -> None:
        done = self._outgoing.unconfirmed.pop(number, None)
        if done is not None and reason < FAILED:
            done()
        self._publish_waiting()

    def want_write(self) -> bool:
        return bool(self._to_send) or super().want_write()

    def _sock_send(self, buf: bytes | bytearray) -> int:
        self._to_send += buf
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
        self._received, self._at, self._cut = b"", 0, False
        super()._sock_close()


def _length(of_bytes: int) -> list[int]:
    """MQTT's variable byte integer."""
    out = []
    while of_bytes > 127:
        out.append(of_bytes & 127 | 128)
        of_bytes >>= 7
    return [*out, of_bytes]
