"""Packets that are read and made beside paho: as paho would, however the network cuts them."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

from packbook.adapters.paho_buffered import WINDOW, BufferedClient

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
PINGRESP = b"\xd0\x00"
Arrived = tuple[bytes, bytes, int, int]


@contextmanager
def connected(protocol: MQTTProtocolVersion) -> Iterator[tuple[BufferedClient, socket.socket, list[Arrived]]]:
    """A client, the broker's end of its connection, and what has arrived."""
    arrived: list[Arrived] = []
    client = BufferedClient(
        "test", protocol, None if protocol is V5 else True, on_arrival=lambda *message: arrived.append(message)
    )
    ours, brokers = socket.socketpair()
    with ours, brokers:
        ours.settimeout(0)
        client._sock = ours
        yield client, brokers, arrived
        client._sock = None


def read_all(client: BufferedClient) -> MQTTErrorCode:
    code = client.loop_read()
    while client.buffered:
        code = client.loop_read()
    return code


def length(of_bytes: int) -> bytes:
    out = bytearray()
    while of_bytes > 127:
        out.append(of_bytes & 127 | 128)
        of_bytes >>= 7
    return bytes((*out, of_bytes))


def publication(
    payload: bytes, number: int, protocol: MQTTProtocolVersion, properties: bytes = b"", topic: bytes = b"pb/v1/x/r"
) -> bytes:
    qos = 1 if number else 0
    body = len(topic).to_bytes(2) + topic + (number.to_bytes(2) if qos else b"")
    body += (length(len(properties)) + properties if protocol is V5 else b"") + payload
    return bytes([0x30 | qos << 1]) + length(len(body)) + body


@pytest.mark.parametrize("protocol", [V5, V311], ids=["5", "3.1.1"])
def test_messages_are_the_same_however_the_network_cuts_them(protocol: MQTTProtocolVersion) -> None:
    """TCP knows no messages: a length cut in half must not shift all that comes after it."""
    dice = random.Random(1)
    sizes = (0, 1, 100, 112, 113, 127, 128, 300, 16_000, 16_380, 16_390, 70_000, 240)
    sent = [(dice.randbytes(size), place if place % 4 else 0) for place, size in enumerate(sizes, 1)]
    user_property = b"\x26\x00\x01a\x00\x01b"
    stream = b"".join(
        publication(payload, number, protocol, user_property if number % 2 else b"") + PINGRESP
        for payload, number in sent
    )
    for most in (1, 3, 50, 5000, len(stream)):
        with connected(protocol) as (client, broker, arrived):
            at = 0
            while at < len(stream):
                step = dice.randint(1, most) if most > 3 or len(stream) - at < 400 else 4000
                broker.sendall(stream[at : at + step])
                at += step
                assert read_all(client) is MQTTErrorCode.MQTT_ERR_SUCCESS
            assert arrived == [(b"pb/v1/x/r", payload, number, 1 if number else 0) for payload, number in sent]


def test_a_paused_client_goes_on_where_it_stopped() -> None:
    """What was read from the kernel already waits, in order."""
    with connected(V5) as (client, broker, arrived):
        broker.sendall(b"".join(publication(bytes([n]), n, V5) for n in range(1, 6)))

        def until_two(*message: Any) -> None:
            arrived.append(message)
            client.paused = len(arrived) == 2

        client._on_arrival = until_two
        client.loop_read()
        assert [number for _, _, number, _ in arrived] == [1, 2]
        client.paused = False
        assert client.buffered
        read_all(client)
        assert [number for _, _, number, _ in arrived] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\x32\x04\x00\x09ab", id="topic longer than the packet"),
        pytest.param(b"\x30\x01\x00", id="half a topic length"),
        pytest.param(b"\x36\x06\x00\x01a\x00\x01\x00", id="QoS 3"),
        pytest.param(b"\x30\x04\x00\x01a\x7f", id="properties longer than the packet"),
        pytest.param(b"\x32\x80\x80\x80\x80\x80\x01", id="a length of five bytes"),
        pytest.param(b"\x40\x01\x00", id="half a packet number"),
        pytest.param(b"\xf0\x00", id="AUTH"),
    ],
)
def test_a_broken_packet_ends_the_connection_and_nothing_else(packet: bytes) -> None:
    """paho is the one to refuse it; we come back, and the broker sends again what was not acknowledged."""
    with connected(V5) as (client, broker, arrived):
        broker.sendall(publication(b"good", 1, V5) + packet + publication(b"behind", 2, V5))
        read_all(client)
        assert client.socket() is None
        assert arrived == [(b"pb/v1/x/r", b"good", 1, 1)]


def puback(number: int, reason: Sequence[int] = ()) -> bytes:
    return bytes((0x40, 2 + len(reason), number >> 8, number & 255, *reason))


def test_no_more_is_published_at_once_than_the_broker_takes() -> None:
    """One that said how many (MQTT 5, Receive Maximum) hangs up on more."""
    taken: list[int] = []
    with connected(V5) as (client, broker, _arrived):
        client.may_publish(3)
        for place in range(5):
            client.publish_retained("pb/v1/x/ack", bytes([place]), partial(taken.append, place))
        client.loop_write()
        sent = [b"\x33" + publication(bytes([n]), n + 1, V5, topic=b"pb/v1/x/ack")[1:] for n in range(3)]
        assert broker.recv(4096) == b"".join(sent)
        broker.sendall(puback(2) + puback(1, [0x87]) + puback(3, [0x10, 0]))
        read_all(client)
        client.loop_write()
        assert taken == [1, 2]
        assert broker.recv(4096)[-1] == 4
        broker.sendall(puback(99) + puback(4) + puback(5))
        read_all(client)
        assert taken == [1, 2, 3, 4]


def test_a_broker_that_names_no_limit_gets_a_moderate_one() -> None:
    """MQTT 3.1.1 has no word for it."""
    with connected(V311) as (client, broker, _arrived):
        for _ in range(WINDOW + 1):
            client.publish_retained("t", b"x", lambda: None)
        client.loop_write()
        assert broker.recv(65_536).count(b"\x33\x06\x00\x01t") == WINDOW


def test_acknowledgements_leave_together() -> None:
    """One system call for a batch."""
    with connected(V5) as (client, broker, _arrived):
        for number in (1, 256, 65_535):
            client.acknowledge(number)
        client.loop_write()
        assert broker.recv(4096) == puback(1) + puback(256) + puback(65_535)
